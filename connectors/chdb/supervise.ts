/**
 * The embedded ClickHouse of a folder, shared by every process that opens it: whoever needs it first starts the child,
 * under a lock; others find it in `server.json`. Each user holds one idle connection, which keeps the child alive and
 * tells at once when it has died.
 */
import { spawn } from 'node:child_process'
import { closeSync, mkdirSync, openSync, rmSync, statSync } from 'node:fs'
import { request } from 'node:http'
import { join, resolve } from 'node:path'
import { FeatureStoreError } from '../../core/errors.ts'
import { type Logger, silentLogger } from '../../core/ports/environment.ts'
import { readServerFile, type ServerFile } from './server-file.ts'
import { acquireStartLock } from './start-lock.ts'

export interface ClickHouseEndpoint {
  readonly url: string
  readonly username: string
  readonly password: string
}

export interface EmbeddedClickHouseOptions {
  readonly logger?: Logger
  /** How long the child outlives its last user. Taken by whoever starts it. */
  readonly idleMs?: number
  /** Bound on starting, waiting for another starter included. */
  readonly startTimeoutMs?: number
}

export interface EmbeddedClickHouse extends AsyncDisposable {
  readonly url: string
  readonly password: string
  readonly pid: number
  /**
   * Where the engine answers now; starts it again when it has died. Cheap while it lives (no I/O).
   *
   * Errors: FS_OFFLINE_UNAVAILABLE, FS_LOCKED, FS_CLOSED.
   */
  endpoint(): Promise<ClickHouseEndpoint>
  /** Lets go of the child, which ends itself when nobody else holds it. */
  close(): Promise<void>
}

interface Held {
  readonly server: ServerFile
  /** False once the child is gone. */
  alive(): boolean
  release(): void
}

const logBytesMax = 4 << 20
const holdTimeoutMs = 5_000

/** `folder` gets `data/`, `server.json`, `server.log` and `start.lock`. */
export async function openEmbeddedClickHouse(
  folder: string,
  options: EmbeddedClickHouseOptions = {},
): Promise<EmbeddedClickHouse> {
  const embedded = new Embedded(resolve(folder), options)
  await embedded.endpoint()
  return embedded
}

class Embedded implements EmbeddedClickHouse {
  readonly #folder: string
  readonly #logger: Logger
  readonly #idleMs: number
  readonly #startTimeoutMs: number
  #held: Held | null = null
  #connecting: Promise<Held> | null = null
  #closed = false

  constructor(folder: string, options: EmbeddedClickHouseOptions) {
    this.#folder = folder
    this.#logger = options.logger ?? silentLogger
    this.#idleMs = options.idleMs ?? 2_000
    this.#startTimeoutMs = options.startTimeoutMs ?? 30_000
  }

  get url(): string {
    return this.#current().url
  }

  get password(): string {
    return this.#current().password
  }

  get pid(): number {
    return this.#current().pid
  }

  async endpoint(): Promise<ClickHouseEndpoint> {
    if (this.#closed) throw new FeatureStoreError('FS_CLOSED', 'the embedded ClickHouse was closed')
    if (this.#held?.alive() !== true) {
      this.#connecting ??= this.#connect().finally(() => (this.#connecting = null))
      const held = await this.#connecting
      if (this.#isClosed()) {
        held.release()
        throw new FeatureStoreError('FS_CLOSED', 'the embedded ClickHouse was closed')
      }
      this.#held = held
    }
    const { url, password } = this.#current()
    return { url, username: 'default', password }
  }

  close(): Promise<void> {
    this.#closed = true
    this.#held?.release()
    return Promise.resolve()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #isClosed(): boolean {
    return this.#closed
  }

  #current(): ServerFile {
    if (this.#held === null) throw new FeatureStoreError('FS_CLOSED', 'the embedded ClickHouse is not open')
    return this.#held.server
  }

  async #connect(): Promise<Held> {
    const running = await this.#holdRunning()
    if (running !== null) return running
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 })
    const release = await acquireStartLock(join(this.#folder, 'start.lock'), this.#startTimeoutMs)
    try {
      return (await this.#holdRunning()) ?? (await this.#start())
    } finally {
      release()
    }
  }

  async #holdRunning(): Promise<Held | null> {
    const server = readServerFile(this.#folder)
    return server === null ? null : await hold(server)
  }

  async #start(): Promise<Held> {
    await startChild(this.#folder, this.#idleMs, this.#startTimeoutMs)
    const held = await this.#holdRunning()
    if (held === null)
      throw new FeatureStoreError('FS_OFFLINE_UNAVAILABLE', 'the embedded ClickHouse started and ended at once')
    this.#logger.info('chdb.started', { pid: held.server.pid })
    return held
  }
}

/** Opens the holding connection; null when nobody answers there, or somebody else does. */
function hold(server: ServerFile): Promise<Held | null> {
  return new Promise((resolve) => {
    let alive = true
    const holding = request(`${server.url}/hold`, {
      agent: false,
      headers: { 'x-clickhouse-key': server.password },
      timeout: holdTimeoutMs,
    })
    const gone = (): void => {
      alive = false
      holding.destroy()
      resolve(null)
    }
    holding.on('error', gone)
    holding.on('timeout', gone)
    holding.on('response', (response) => {
      response.on('error', gone)
      response.on('close', gone)
      response.once('data', (line: Buffer) => {
        if (response.statusCode !== 200 || pidOf(line) !== server.pid) return gone()
        holding.setTimeout(0)
        // The connection alone does not keep its process running.
        response.socket.unref()
        resolve({ server, alive: () => alive, release: gone })
      })
    })
    holding.end()
  })
}

function pidOf(line: Buffer): number | null {
  try {
    return (JSON.parse(line.toString()) as { pid?: number }).pid ?? null
  } catch {
    return null
  }
}

/** Starts the child and waits for its word. It is its own process group: neither a signal nor an end of ours reaches it. */
function startChild(folder: string, idleMs: number, timeoutMs: number): Promise<void> {
  const log = openLog(join(folder, 'server.log'))
  const entry = join(import.meta.dirname, 'child.ts')
  const child = spawn(process.execPath, ['--no-warnings', entry, folder, String(idleMs)], {
    detached: true,
    stdio: ['ignore', log, log, 'ipc'],
    env: childEnvironment(),
  })
  closeSync(log)
  return new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => settle('did not start in time'), timeoutMs)
    const settle = (problem: string | null): void => {
      clearTimeout(timer)
      child.removeAllListeners()
      child.on('error', () => {})
      if (child.connected) child.disconnect()
      child.unref()
      if (problem === null) return resolve()
      child.kill('SIGKILL')
      reject(
        new FeatureStoreError('FS_OFFLINE_UNAVAILABLE', `the embedded ClickHouse ${problem}`, {
          remedy: 'See server.log in its folder; chDB runs on Linux (glibc) and macOS.',
        }),
      )
    }
    child.once('message', () => settle(null))
    child.once('error', (error) => settle(`could not be started: ${error.message}`))
    child.once('exit', (code, signal) => settle(`ended at start (${signal ?? String(code)})`))
  })
}

/** Only what the engine needs: secrets of this process stay here. UTC, so that no answer depends on the machine's zone. */
function childEnvironment(): NodeJS.ProcessEnv {
  const kept = ['PATH', 'HOME', 'TMPDIR', 'LANG', 'LD_LIBRARY_PATH', 'DYLD_LIBRARY_PATH']
  const env: NodeJS.ProcessEnv = { TZ: 'UTC', UV_THREADPOOL_SIZE: '16' }
  for (const name of kept) if (process.env[name] !== undefined) env[name] = process.env[name]
  return env
}

function openLog(path: string): number {
  try {
    if (statSync(path).size > logBytesMax) rmSync(path)
  } catch {
    // There is none yet.
  }
  return openSync(path, 'a', 0o600)
}
