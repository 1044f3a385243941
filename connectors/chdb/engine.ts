/**
 * A narrow, typed module over chDB's addon: connections to the one data directory of this process. The addon is loaded
 * past the package's own wrapper, because only the addon tells the rows that an insert wrote, and because the wrapper
 * delays the closing of one connection until every other is idle.
 */
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'

interface Addon {
  CreateConnection(folder: string, args: readonly string[]): unknown
  CloseConnection(connection: unknown): void
  QueryAsyncConnection(connection: unknown, sql: string, format: string): Promise<EngineResult>
  InsertRawAsyncConnection(connection: unknown, sql: string, bytes: Buffer, countLines: boolean): Promise<EngineWrite>
  StreamQuery(connection: unknown, sql: string, format: string): unknown
  StreamFetch(stream: unknown): Promise<{ readonly done: boolean; readonly bytes: Buffer; readonly numRows: number }>
  StreamCancel(stream: unknown): void
}

export interface EngineResult {
  readonly bytes: Buffer
  readonly rowsRead: number
  readonly bytesRead: number
}

export interface EngineWrite {
  readonly rowsWritten: number
  readonly bytesWritten: number
}

/** Chunks of one answer, each a document of its own; null at the end. */
export interface EngineStream {
  fetch(): Promise<Buffer | null>
  /** Frees it; waits for a fetch that is running. */
  cancel(): Promise<void>
}

/** One statement at a time. */
export interface EngineConnection {
  query(sql: string, format: string): Promise<EngineResult>
  /** An `INSERT ... FROM INFILE`. */
  insert(sql: string): Promise<EngineWrite>
  /** Refuses what is not a SELECT with Code 36. Analysis runs on the calling thread (about 1 ms). */
  stream(sql: string, format: string): EngineStream
  /** Waits for what runs on it: the engine does not survive a connection closed under a statement. */
  close(): Promise<void>
}

function loadAddon(): Addon {
  const require = createRequire(import.meta.url)
  const loader = require(join(dirname(require.resolve('chdb')), 'dist', 'loader.js')) as { loadNative(): Addon }
  return loader.loadNative()
}

/**
 * Opens the data directory; every connection of a process must name the same one.
 *
 * Errors: the engine's own (`Failed to create connection` while another process holds the directory).
 */
export function openEngine(folder: string, args: readonly string[]): { connect(): EngineConnection } {
  const addon = loadAddon()
  return { connect: () => new AddonConnection(addon, addon.CreateConnection(folder, args)) }
}

class AddonConnection implements EngineConnection {
  readonly #addon: Addon
  readonly #handle: unknown
  #running: Promise<unknown> = Promise.resolve()
  #open = true

  constructor(addon: Addon, handle: unknown) {
    this.#addon = addon
    this.#handle = handle
  }

  query(sql: string, format: string): Promise<EngineResult> {
    return this.#track(this.#addon.QueryAsyncConnection(this.#handle, sql, format))
  }

  insert(sql: string): Promise<EngineWrite> {
    // The data lies in the file that the statement names; the raw entry wants some inline bytes all the same.
    return this.#track(this.#addon.InsertRawAsyncConnection(this.#handle, sql, Buffer.from('\n'), false))
  }

  stream(sql: string, format: string): EngineStream {
    const handle = this.#addon.StreamQuery(this.#handle, sql, format)
    let ended = false
    return {
      fetch: async () => {
        if (ended) return null
        try {
          const chunk = await this.#track(this.#addon.StreamFetch(handle))
          if (!chunk.done) return chunk.bytes
          ended = true
          return null
        } catch (error) {
          ended = true
          throw error
        }
      },
      cancel: async () => {
        await this.#running
        if (!ended) this.#addon.StreamCancel(handle)
        ended = true
      },
    }
  }

  async close(): Promise<void> {
    if (!this.#open) return
    this.#open = false
    await this.#running
    this.#addon.CloseConnection(this.#handle)
  }

  #track<T>(work: Promise<T>): Promise<T> {
    this.#running = work.then(
      () => undefined,
      () => undefined,
    )
    return work
  }
}
