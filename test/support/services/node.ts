/** One server process that belongs to a test: it can be ended, killed, paused and started again, and never outlives us. */
import { spawn, type ChildProcess } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { lastLines } from '../../../scripts/services/command.ts'
import type { Launch } from '../../../scripts/services/service.ts'
import { until } from '../../../scripts/services/wait.ts'

/**
 * The shell between us and the server holds our end of a pipe as its stdin: when we end, however that happens, `read`
 * comes back and the server is killed, paused or not. In a session of its own, so that Ctrl-C ends us first.
 *
 *     us ── stdin ──► sh ─┬─ server          its pid is the first line on stdout; sh ends as it does, with its code
 *                         └─ sh: read, stop, remove, kill
 */
const guardScript = `folder=$1
log=$2
shift 2
exec 3<&0 2>/dev/null
"$@" </dev/null >>"$log" 2>&1 3<&- &
server=$!
( read -r _ <&3; kill -STOP $server; rm -rf "$folder"; kill -9 $server ) &
guard=$!
echo $server
wait $server
code=$?
kill -9 $guard
exit $code`

export interface NodeOptions {
  readonly title: string
  readonly port: number
  /** Of the whole server: removed when we end without having disposed of it. */
  readonly folder: string
  readonly logFile: string
  /** How to start it, with the data that is there. */
  launch(): Launch
  /** Rejects until it is ready for clients. */
  check(): Promise<void>
  readonly readyMs: number
  readonly stopMs: number
}

interface Running {
  readonly guard: ChildProcess
  readonly pid: number
  readonly ended: Promise<void>
}

/** Who waits for its end is kept alive meanwhile, also where nothing else does that. */
function endOf({ guard, ended }: Running): Promise<void> {
  guard.ref()
  return ended
}

export class ServerNode {
  readonly port: number
  readonly address: string
  readonly logFile: string
  readonly #options: NodeOptions
  #running: Running | null = null

  constructor(options: NodeOptions) {
    this.#options = options
    this.port = options.port
    this.address = `127.0.0.1:${options.port}`
    this.logFile = options.logFile
  }

  get isRunning(): boolean {
    return this.#running !== null
  }

  /** Of the server itself. */
  get pid(): number {
    if (this.#running === null) throw new Error(`${this.#options.title} is not running`)
    return this.#running.pid
  }

  /** Starts the process and waits until it is ready; does nothing to one that runs. */
  async start(): Promise<void> {
    await this.launch()
    await this.ready()
  }

  /** Starts the process only: nodes that wait for each other are launched first, then awaited. */
  async launch(): Promise<void> {
    if (this.#running !== null) return
    const { launch, folder, logFile, title } = this.#options
    mkdirSync(dirname(logFile), { recursive: true })
    const { command, args, env, cwd } = launch()
    const guard = spawn('sh', ['-c', guardScript, 'guard', folder, logFile, command, ...args], {
      cwd,
      env: { ...process.env, ...env },
      stdio: ['pipe', 'pipe', 'inherit'],
      detached: true,
    })
    const ended = new Promise<void>((resolve) =>
      guard.once('exit', () => {
        if (this.#running?.guard === guard) this.#running = null
        resolve()
      }),
    )
    const pid = await new Promise<number>((resolve, reject) => {
      guard.once('error', reject)
      guard.stdout.once('data', (line: Buffer) => resolve(Number(line.toString())))
      guard.once('exit', () => reject(new Error(`${title} did not start${this.#logTail()}`)))
    })
    guard.stdout.resume()
    // Nothing of it keeps the test process alive.
    guard.unref()
    for (const pipe of [guard.stdin, guard.stdout])
      if ('unref' in pipe && typeof pipe.unref === 'function') pipe.unref()
    if (guard.exitCode === null && guard.signalCode === null) this.#running = { guard, pid, ended }
  }

  async ready(): Promise<void> {
    const { title, check, readyMs } = this.#options
    const stillWorth = (): void => {
      if (this.#running === null) throw new Error(`${title} ended${this.#logTail()}`)
    }
    try {
      await until(title, check, { deadlineMs: readyMs, stillWorth })
    } catch (error) {
      await this.kill()
      throw error
    }
  }

  /** In order, as by an operator; killed when it takes longer than it may. */
  async stop(): Promise<void> {
    const running = this.#running
    if (running === null) return
    this.#signal('SIGTERM')
    this.#signal('SIGCONT')
    const late = setTimeout(() => this.#signal('SIGKILL'), this.#options.stopMs)
    await endOf(running)
    clearTimeout(late)
  }

  /** SIGKILL, and waits until it is gone. */
  async kill(): Promise<void> {
    const running = this.#running
    if (running === null) return
    this.#signal('SIGKILL')
    await endOf(running)
  }

  /** SIGSTOP: its connections stay open and nothing is answered. */
  pause(): void {
    process.kill(this.pid, 'SIGSTOP')
  }

  resume(): void {
    process.kill(this.pid, 'SIGCONT')
  }

  #signal(name: NodeJS.Signals): void {
    if (this.#running === null) return
    try {
      process.kill(this.#running.pid, name)
    } catch {
      // It has ended; the shell will say so in a moment.
    }
  }

  #logTail(): string {
    const { logFile } = this.#options
    return existsSync(logFile) ? `; its log ends with:\n${lastLines(readFileSync(logFile, 'utf8'), 10)}` : ''
  }
}
