/** A worker as a process of its own, to be killed, stopped and woken. */
import { spawn, type ChildProcess } from 'node:child_process'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import type { Finished } from '../cli/support.ts'
import type { Places } from './servers.ts'

export interface WorkerStart {
  readonly folder: string
  /** Null: where the config says. */
  readonly places: Places | null
  /** Dies by SIGKILL when it comes to this step (kill-steps.ts) for the n-th time. */
  readonly killAt?: { readonly step: string; readonly times: number }
  /** Instead of `tidemark worker`: a file that is started with the project folder as its argument. */
  readonly program?: string
}

/** What a supervisor allows a process to end in order; a slow, shared machine is no reason to fail. */
const leaveMsMax = 60_000
/** Of a launcher whose child was ended by a signal that it did not listen to. */
const signalledCode = 143
const stderrBytesMax = 1 << 20
const preload = pathToFileURL(join(import.meta.dirname, 'preload.ts')).href
const tidemark = join(import.meta.dirname, '..', '..', 'bin', 'tidemark.js')

export class WorkerProcess {
  readonly number: number
  /** When it has ended, however that happened. */
  readonly ended: Promise<Finished>
  /** By SIGKILL, of ours or at a step: it is or will be. */
  isKilled: boolean
  /** False: that it ends is a finding. */
  mayEnd: boolean
  readonly #child: ChildProcess
  #stdout = ''
  #stderr = ''
  #hasEnded = false

  constructor(number: number, { folder, places, killAt, program }: WorkerStart) {
    this.number = number
    this.isKilled = killAt !== undefined
    this.mayEnd = this.isKilled
    const args = program === undefined ? [tidemark, 'worker', '--project', folder] : [program, folder]
    this.#child = spawn(process.execPath, args, {
      cwd: folder,
      // A group of its own: launcher and worker are harmed together.
      detached: true,
      stdio: ['pipe', 'pipe', 'pipe'],
      env: {
        ...process.env,
        TIDEMARK_LOG_LEVEL: 'info',
        NODE_OPTIONS: `${process.env['NODE_OPTIONS'] ?? ''} --import ${preload}`.trim(),
        ...(places === null ? {} : { TIDEMARK_CHAOS_PLACES: JSON.stringify(places) }),
        ...(killAt === undefined ? {} : { TIDEMARK_CHAOS_KILL: `${killAt.step}:${killAt.times}` }),
      },
    })
    this.#child.stdin?.on('error', () => {})
    this.#child.stdout?.on('data', (bytes: Buffer) => (this.#stdout += bytes.toString()))
    this.#child.stderr?.on('data', (bytes: Buffer) => {
      this.#stderr = (this.#stderr + bytes.toString()).slice(-stderrBytesMax)
    })
    this.ended = new Promise((resolve, reject) => {
      this.#child.once('error', reject)
      this.#child.once('close', (code) => {
        this.#hasEnded = true
        resolve({ code, stdout: this.#stdout, stderr: this.#stderr })
      })
    })
  }

  get hasEnded(): boolean {
    return this.#hasEnded
  }

  /** Of the process group: the launcher and the worker itself. */
  get pid(): number {
    return this.#child.pid as number
  }

  /** What it wrote to stderr: one line an event, `info` and above. */
  get stderr(): string {
    return this.#stderr
  }

  /** How many shards the group gave it, each time that it did: by its own word, so to choose a moment by, no more. */
  get shares(): readonly number[] {
    return [...this.#stderr.matchAll(/"owned":(\d+).*"shards\.shared"/g)].map(([, owned]) => Number(owned))
  }

  /** Resolves when it has been given shards (or has ended): more often than `rounds` times. Errors: not in a minute. */
  async sharing(rounds = 0): Promise<void> {
    const until = performance.now() + leaveMsMax
    while (!this.#hasEnded && !this.shares.slice(rounds).some((owned) => owned > 0)) {
      if (performance.now() > until) throw new Error(`worker ${this.number} gets no shards\n${this.#stderr}`)
      await sleep(20)
    }
  }

  /** SIGKILL, stopped or not. */
  async kill(): Promise<void> {
    this.isKilled = true
    this.mayEnd = true
    this.#signal('SIGKILL')
    await this.ended
  }

  /** SIGSTOP: its connections stay open, and nothing is answered. */
  pause(): void {
    this.#signal('SIGSTOP')
  }

  wake(): void {
    this.#signal('SIGCONT')
  }

  /** SIGTERM, as a supervisor sends it. Errors: it does not end, or not with code 0. */
  async leave(): Promise<void> {
    this.mayEnd = true
    // While it starts it does not listen yet, and just ends.
    const isYoung = this.shares.length === 0
    if (!this.#hasEnded) process.kill(this.pid, 'SIGTERM')
    const end = await Promise.race([this.ended, sleep(leaveMsMax, null, { ref: false })])
    if (end === null) throw new Error(`worker ${this.number} does not end in order\n${this.#stderr}`)
    if (end.code === 0 || (isYoung && (end.code === signalledCode || end.code === null))) return
    throw new Error(`worker ${this.number} ended with code ${end.code}\n${this.#stderr}`)
  }

  #signal(name: NodeJS.Signals): void {
    if (this.#hasEnded) return
    try {
      process.kill(-this.pid, name)
    } catch (error) {
      // It has ended; we shall be told in a moment.
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
    }
  }
}
