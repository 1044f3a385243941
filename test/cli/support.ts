/** The real command as a child process, on projects in temporary folders. */
import { spawn, type ChildProcess } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

const bin = join(import.meta.dirname, '..', '..', 'bin', 'tidemark.js')

export interface Finished {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface ErrorJson {
  readonly code: string
  readonly kind: string
  readonly message: string
  readonly remedy: string
}

/** A command that runs; `group` is its process group, so that a test can press Ctrl-C as a terminal does. */
export class Running {
  readonly child: ChildProcess
  readonly finished: Promise<Finished>
  stdout = ''
  stderr = ''

  constructor(folder: string, args: readonly string[], input?: string) {
    // `init` takes its folder as an argument.
    const project = args[0] === 'init' || args.includes('--help') ? [] : ['--project', folder]
    this.child = spawn(process.execPath, [bin, ...args, ...project], {
      cwd: folder,
      detached: true,
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { ...process.env, TIDEMARK_LOG_LEVEL: 'warn' },
    })
    this.child.stdout?.on('data', (bytes: Buffer) => (this.stdout += bytes.toString()))
    this.child.stderr?.on('data', (bytes: Buffer) => (this.stderr += bytes.toString()))
    this.child.stdin?.on('error', () => {})
    if (input !== undefined) this.child.stdin?.end(input)
    this.finished = new Promise((resolve) =>
      this.child.on('close', (code) => resolve({ code, stdout: this.stdout, stderr: this.stderr })),
    )
  }

  get pid(): number {
    return this.child.pid as number
  }

  interrupt(): void {
    process.kill(-this.pid, 'SIGINT')
  }
}

export const start = (folder: string, args: readonly string[], input?: string): Running =>
  new Running(folder, args, input)

/** Runs a command to its end. */
export async function run(folder: string, args: readonly string[], input = ''): Promise<Finished> {
  return start(folder, args, input).finished
}

/** Runs a command with --json that must succeed. `T` is what it prints. */
export async function json<T>(folder: string, args: readonly string[], input = ''): Promise<T> {
  const { code, stdout, stderr } = await run(folder, [...args, '--json'], input)
  if (code !== 0) throw new Error(`tidemark ${args.join(' ')}: exit code ${code}\n${stderr}\n${stdout}`)
  return JSON.parse(stdout) as T
}

export interface Refusal extends ErrorJson {
  readonly exit: number | null
}

/** Runs a command with --json that must fail; the error that it prints. */
export async function refusal(folder: string, args: readonly string[], input = ''): Promise<Refusal> {
  const { code, stdout, stderr } = await run(folder, [...args, '--json'], input)
  const line = stderr.split('\n').find((text) => text.startsWith('{"error"'))
  if (line === undefined) throw new Error(`tidemark ${args.join(' ')}: exit code ${code}\n${stderr}\n${stdout}`)
  return { exit: code, ...(JSON.parse(line) as { readonly error: ErrorJson }).error }
}

/** A few at a time: starting a process is most of the work of a command. */
export async function inParallel<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const queue = [...items]
  const worker = async (): Promise<void> => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) await work(item)
  }
  await Promise.all([worker(), worker()])
}

export const eventually = async <T>(what: string, ms: number, look: () => T | Promise<T>): Promise<NonNullable<T>> => {
  const until = Date.now() + ms
  for (;;) {
    const found = await look()
    if (found !== undefined && found !== null && found !== false) return found as NonNullable<T>
    if (Date.now() > until) throw new Error(`not within ${ms} ms: ${what}`)
    await sleep(10)
  }
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    // A zombie has ended; only its parent has not looked yet.
    return process.platform !== 'linux' || !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return false
  }
}

export function readJson<T>(path: string): T | null {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as T
  } catch {
    return null
  }
}

/** Who holds a lock of the project now: `log/writer.lock` or `worker.lock`. */
export const holderOf = (folder: string, lock: string): number | null =>
  readJson<{ readonly pid: number }>(join(folder, '.tidemark', `${lock}.json`))?.pid ?? null

const folders: string[] = []

/** A folder that `removeFolders` takes away. */
export function testFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'tidemark-cli-'))
  folders.push(folder)
  return folder
}

/** Files by name, in a folder of their own. */
export function projectOf(files: Readonly<Record<string, string>>): string {
  const folder = testFolder()
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(join(folder, name, '..'), { recursive: true })
    writeFileSync(join(folder, name), text)
  }
  return folder
}

/** Removes every folder, once the embedded ClickHouse of each has ended: it goes by itself when nobody uses it. */
export async function removeFolders(): Promise<void> {
  await Promise.all(
    folders.splice(0).map(async (folder) => {
      const server = readJson<{ readonly pid: number }>(join(folder, '.tidemark', 'offline', 'server.json'))
      if (server !== null) await eventually('the embedded ClickHouse ends', 15_000, () => !isAlive(server.pid))
      rmSync(folder, { recursive: true, force: true })
    }),
  )
}

export const dataFile = (folder: string, ...parts: readonly string[]): string => join(folder, '.tidemark', ...parts)

export const isThere = (path: string): boolean => existsSync(path)
