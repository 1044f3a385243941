/**
 * A thin, typed wrapper over @clickhouse/client: Native in and out, every setting that matters said on every call, and
 * errors of ours. What may have reached the engine is not sent twice by itself: whether it may be repeated is for the
 * caller to know.
 */
import { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { ClickHouseError, ClickHouseLogLevel, createClient, type ClickHouseClient as Driver } from '@clickhouse/client'
import { type ErrorCode, FeatureStoreError } from '../../core/errors.ts'
import { concatBlocks, NativeDecoder, type NativeBlock } from '../../schemas/sql/native.ts'

export interface ClickHouseEndpoint {
  readonly url: string
  readonly username: string
  readonly password: string
}

export interface ClickHouseClientOptions {
  /** Asked before every call, so that an engine that was started again is found; must be cheap. */
  readonly endpoint: () => Promise<ClickHouseEndpoint>
  /** Default: `default`. */
  readonly database?: string
  readonly requestTimeoutMs?: number
  /** Sockets, and so calls at a time; more of them wait. */
  readonly connectionsMax?: number
}

export type QueryParams = Readonly<Record<string, string | number | bigint | boolean | readonly (number | string)[]>>
export type Settings = Readonly<Record<string, string | number>>

export interface CallOptions {
  readonly params?: QueryParams
  readonly settings?: Settings
  readonly signal?: AbortSignal
}

export interface NativeInsert {
  readonly table: string
  readonly columns: readonly string[]
  /** Whole Native blocks. */
  readonly bytes: Uint8Array
  /** Determines the bytes: a second insert with it into the table is skipped. */
  readonly token: string
}

/**
 * Errors of every method: FS_OFFLINE_UNAVAILABLE when the engine cannot be reached or cannot answer now,
 * FS_OFFLINE_QUERY when it refuses; both with the engine's words as cause. FS_CLOSED after close.
 */
export interface ClickHouseClient extends AsyncDisposable {
  readonly database: string
  /** The whole answer as one block; `sql` without FORMAT. */
  query(sql: string, options?: CallOptions): Promise<NativeBlock>
  /** The same block by block, as they arrive; leaving the loop ends the query. */
  blocks(sql: string, options?: CallOptions): AsyncIterable<NativeBlock>
  exec(sql: string, options?: CallOptions): Promise<void>
  insert(insert: NativeInsert, options?: CallOptions): Promise<void>
  close(): Promise<void>
}

/** ClickHouse 26 changed several defaults; what is exact must not depend on a server's configuration. */
const always: Settings = {
  async_insert: 0,
  output_format_json_quote_64bit_integers: 1,
  session_timezone: 'UTC',
}
/** One insert is one block and so one part: all or nothing. */
const oneBlock: Settings = {
  max_insert_block_size: 10_000_000,
  min_insert_block_size_rows: 10_000_000,
  min_insert_block_size_bytes: 0,
  insert_deduplicate: 1,
}
/** The engine is overloaded, out of memory, disk or time, or was told to stop: it may answer later. */
const passingCodes = new Set([159, 202, 209, 210, 236, 241, 242, 243, 252, 394, 439])
/** Below the 10 s of the embedded front and the 3 s of old servers, so that no call meets a socket just being closed. */
const idleSocketMs = 2_500
const refusedMs = 1_000
/** Of an answer, kept for the words of an engine that fails in the middle. */
const tailBytes = 16_384
const refusedPauseMs = 50

export const quoteName = (name: string): string => `\`${name.replace(/[\\`]/g, '\\$&')}\``

export function openClickHouseClient(options: ClickHouseClientOptions): ClickHouseClient {
  return new DriverClient(options)
}

class DriverClient implements ClickHouseClient {
  readonly database: string
  readonly #options: ClickHouseClientOptions
  #driver: { readonly at: ClickHouseEndpoint; readonly client: Driver } | null = null
  #closed = false

  constructor(options: ClickHouseClientOptions) {
    this.database = options.database ?? 'default'
    this.#options = options
  }

  async query(sql: string, options: CallOptions = {}): Promise<NativeBlock> {
    const blocks: NativeBlock[] = []
    for await (const block of this.blocks(sql, options)) blocks.push(block)
    return concatBlocks(blocks)
  }

  async *blocks(sql: string, options: CallOptions = {}): AsyncGenerator<NativeBlock, void, void> {
    const stream = await this.#send(`${sql}\nFORMAT Native`, options)
    const decoder = new NativeDecoder()
    let tail: Buffer = Buffer.alloc(0)
    let problem: unknown = null
    try {
      for await (const chunk of stream as AsyncIterable<Buffer>) {
        tail = Buffer.concat([tail.subarray(-tailBytes), chunk.subarray(-tailBytes)])
        // Where no block can be read, the engine may be saying why: that is heard to its end.
        if (problem !== null) continue
        const { blocks, error } = tryPush(decoder, chunk)
        problem = error
        for (const block of blocks) if (block.rows > 0) yield block
      }
      if (problem === null) decoder.end()
    } catch (error) {
      problem ??= error
    } finally {
      stream.destroy()
    }
    if (problem !== null) throw storeError(midStreamError(tail) ?? problem)
  }

  async exec(sql: string, options: CallOptions = {}): Promise<void> {
    await drain(await this.#send(sql, options))
  }

  async insert({ table, columns, bytes, token }: NativeInsert, options: CallOptions = {}): Promise<void> {
    const settings = { ...oneBlock, ...options.settings, insert_deduplication_token: token }
    const sql = `INSERT INTO ${quoteName(table)} (${columns.map(quoteName).join(', ')}) FORMAT Native`
    await drain(await this.#send(sql, { ...options, settings }, bytes))
  }

  async close(): Promise<void> {
    this.#closed = true
    const driver = this.#driver
    this.#driver = null
    await driver?.client.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** A refused connection has carried nothing: the engine may just be starting again, so it is tried for a while. */
  async #send(sql: string, options: CallOptions, bytes?: Uint8Array): Promise<Readable> {
    for (let waitedMs = 0; ; waitedMs += refusedPauseMs) {
      const driver = await this.#connected()
      try {
        return await execute(driver, sql, options, bytes)
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ECONNREFUSED' || waitedMs >= refusedMs) throw storeError(error)
        await sleep(refusedPauseMs)
      }
    }
  }

  async #connected(): Promise<Driver> {
    if (this.#closed) throw new FeatureStoreError('FS_CLOSED', 'the ClickHouse client was closed')
    const at = await this.#options.endpoint()
    const held = this.#driver
    if (held !== null && held.at.url === at.url && held.at.password === at.password) return held.client
    const client = createClient({
      ...at,
      database: this.database,
      application: 'tidemark',
      request_timeout: this.#options.requestTimeoutMs ?? 300_000,
      max_open_connections: this.#options.connectionsMax ?? 8,
      compression: { request: false, response: false },
      keep_alive: { enabled: true, idle_socket_ttl: idleSocketMs },
      log: { level: ClickHouseLogLevel.OFF },
    })
    this.#driver = { at, client }
    await held?.client.close()
    return client
  }
}

async function execute(
  driver: Driver,
  sql: string,
  { params, settings, signal }: CallOptions,
  bytes: Uint8Array | undefined,
): Promise<Readable> {
  const { stream } = await driver.exec({
    query: sql,
    clickhouse_settings: { ...always, ...settings },
    ...(params === undefined ? {} : { query_params: params as Record<string, unknown> }),
    ...(signal === undefined ? {} : { abort_signal: signal }),
    ...(bytes === undefined ? {} : { values: Readable.from([bytes]) }),
  })
  return stream as Readable
}

function tryPush(decoder: NativeDecoder, chunk: Buffer): { readonly blocks: NativeBlock[]; readonly error: unknown } {
  try {
    return { blocks: decoder.push(chunk), error: null }
  } catch (error) {
    return { blocks: [], error }
  }
}

/** An engine that fails in mid-answer (the embedded one; a server since 25.11) says so behind the data. */
function midStreamError(tail: Buffer): Error | null {
  const words = /__exception__\r\n\w+\r\n(Code: (\d+)\. DB::Exception: [^\r\n]*)/.exec(tail.toString('utf8'))
  return words === null ? null : new ClickHouseError({ message: words[1] as string, code: words[2] as string })
}

function storeError(cause: unknown): Error {
  if (cause instanceof FeatureStoreError) return cause
  const engineCode = cause instanceof ClickHouseError ? Number(cause.code) : null
  const code: ErrorCode =
    engineCode === null || passingCodes.has(engineCode) ? 'FS_OFFLINE_UNAVAILABLE' : 'FS_OFFLINE_QUERY'
  const words = cause instanceof Error ? cause.message : String(cause)
  return new FeatureStoreError(code, `ClickHouse${engineCode === null ? '' : ` ${engineCode}`}: ${words}`, { cause })
}

/** A socket is free again only when its answer was read. */
async function drain(stream: Readable): Promise<void> {
  try {
    for await (const _ of stream as AsyncIterable<Buffer>);
  } catch (error) {
    throw storeError(error)
  }
}
