/**
 * ClickHouse's HTTP protocol on loopback, answered by the embedded engine.
 *
 * A request: authenticate, parse (request.ts), take a connection with its settings (pool.ts), then one of three ways:
 * an insert is spooled whole and read by INFILE; a select in a format whose chunks concatenate is streamed; all else is
 * answered in one piece.
 */
import { randomBytes, timingSafeEqual } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { createGzip } from 'node:zlib'
import type { EngineStream } from './engine.ts'
import { engineError, FrontError } from './errors.ts'
import { type ConnectionPool, type PooledConnection } from './pool.ts'
import { type ParsedRequest, parseRequest } from './request.ts'
import { type Spool, SpoolFull } from './spool.ts'
import type { Statement } from './tokenize.ts'
import { Turnstile } from './turnstile.ts'

export interface FrontOptions {
  readonly pool: ConnectionPool
  readonly spool: Spool
  readonly password: string
  readonly engineVersion: string
  /** Requests under way or waiting; one more is refused with Code 202. */
  readonly requestsMax: number
  /** Engine calls of selects, and of all else, that run at a time; the others wait in order. */
  readonly selectsAtOnce: number
  readonly writesAtOnce: number
  /** Whenever a holder or a request has come or gone. */
  readonly onActivity: () => void
}

export interface Front {
  readonly server: Server
  /** Open `GET /hold` connections: processes that use this child. */
  holderCount(): number
  requestCount(): number
}

/** Formats whose chunks, one after the other, are the whole answer. Others have a header, a footer or a frame. */
const streamable = new Set(
  `Native RowBinary JSONEachRow JSONLines NDJSON JSONCompactEachRow JSONStringsEachRow JSONCompactStringsEachRow
   TabSeparated TSV TabSeparatedRaw TSVRaw CSV`
    .split(/\s+/)
    .map((name) => name.toUpperCase()),
)
/**
 * A format in which words behind the data would be read as values: an error cuts the connection instead. Not so in
 * Native: as a block they make no sense to any reader.
 */
const withoutTrailer = 'ROWBINARY'

function contentType(format: string): string {
  if (/NATIVE|ARROW|PARQUET|ORC|BINARY/.test(format)) return 'application/octet-stream'
  if (format === 'JSON' || format === 'JSONCOMPACT') return 'application/json; charset=UTF-8'
  if (/^JSON|^NDJSON/.test(format)) return 'application/x-ndjson; charset=UTF-8'
  if (format.startsWith('CSV')) return 'text/csv; charset=UTF-8; header=absent'
  return 'text/plain; charset=UTF-8'
}

export function createFront(options: FrontOptions): Front {
  const front = new HttpFront(options)
  const server = createServer({ keepAliveTimeout: 10_000 }, (request, response) => {
    front.handle(request, response).catch((error: unknown) => response.destroy(error as Error))
  })
  return { server, holderCount: () => front.holders.size, requestCount: () => front.requests }
}

class HttpFront {
  readonly holders = new Set<ServerResponse>()
  requests = 0
  readonly #options: FrontOptions
  readonly #password: Buffer
  readonly #selects: Turnstile
  readonly #writes: Turnstile

  constructor(options: FrontOptions) {
    this.#options = options
    this.#password = Buffer.from(options.password)
    this.#selects = new Turnstile(options.selectsAtOnce)
    this.#writes = new Turnstile(options.writesAtOnce)
  }

  async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    // A client that goes away is seen by the close of its response.
    request.on('error', () => {})
    response.on('error', () => {})
    const url = new URL(request.url ?? '/', 'http://localhost')
    if (url.pathname === '/ping' || url.pathname === '/replicas_status') return void response.end('Ok.\n')
    this.requests++
    try {
      this.#authenticate(request, url)
      if (url.pathname === '/hold') this.#hold(response)
      else if (url.pathname === '/') await this.#statement(request, response, url)
      else response.writeHead(404).end('There is no handle for this path\n')
    } catch (error) {
      await fail(request, response, error, this.#options.engineVersion)
    } finally {
      this.requests--
      this.#options.onActivity()
    }
  }

  #authenticate(request: IncomingMessage, url: URL): void {
    const basic = /^Basic (.+)$/i.exec(request.headers.authorization ?? '')?.[1]
    const decoded = basic === undefined ? undefined : Buffer.from(basic, 'base64').toString()
    const given =
      decoded?.slice(decoded.indexOf(':') + 1) ??
      request.headers['x-clickhouse-key']?.toString() ??
      url.searchParams.get('password') ??
      ''
    const bytes = Buffer.from(given)
    if (bytes.length !== this.#password.length || !timingSafeEqual(bytes, this.#password))
      throw new FrontError(516, 'AUTHENTICATION_FAILED', 'Authentication failed: password is incorrect')
  }

  /** Answers that it is there, and does not end: the child lives while somebody holds it. */
  #hold(response: ServerResponse): void {
    this.holders.add(response)
    response.on('close', () => {
      this.holders.delete(response)
      this.#options.onActivity()
    })
    response.writeHead(200, { 'content-type': 'application/json' }).write(`{"pid":${process.pid}}\n`)
  }

  async #statement(request: IncomingMessage, response: ServerResponse, url: URL): Promise<void> {
    if (this.requests - this.holders.size > this.#options.requestsMax)
      throw new FrontError(202, 'TOO_MANY_SIMULTANEOUS_QUERIES', `Too many requests: ${this.#options.requestsMax} wait`)
    const parsed = await parseRequest(request, url)
    const { statement } = parsed
    if (statement.kind === 'empty') throw new FrontError(62, 'SYNTAX_ERROR', 'Empty query')
    if (statement.kind === 'refused') throw new FrontError(statement.code, statement.name, statement.message)
    if (statement.kind === 'insert') return await this.#insert(response, parsed, statement)
    await this.#withConnection(response, parsed, async (pooled) => {
      const format = formatOf(statement.format ?? parsed.defaultFormat)
      if (statement.kind === 'select' && !statement.whole && streamable.has(format)) {
        const stream = await this.#startStream(pooled, statement.sql, parsed.defaultFormat)
        if (stream !== null) return await this.#stream(response, parsed, format, stream)
      }
      await this.#whole(response, parsed, format, pooled, statement.sql)
      return !(statement.kind === 'other' && statement.sticky)
    })
  }

  /** `work` answers whether the connection can be used again. A client that goes away has its statement killed. */
  async #withConnection(
    response: ServerResponse,
    { needs }: Pick<ParsedRequest, 'needs'>,
    work: (pooled: PooledConnection) => Promise<boolean>,
  ): Promise<void> {
    const { pool } = this.#options
    const pooled = await pool.acquire(needs)
    let reusable = false
    let settled = false
    const killed: Promise<void>[] = []
    const onClose = (): void => {
      // What is killed has failed already, as far as the client can tell; a failing KILL changes nothing for it.
      if (!settled && !response.writableFinished) killed.push(pool.kill(pooled).catch(() => undefined))
    }
    response.once('close', onClose)
    try {
      reusable = await work(pooled)
    } finally {
      settled = true
      response.off('close', onClose)
      await Promise.all(killed)
      await pool.release(pooled, reusable && killed.length === 0)
    }
  }

  async #startStream(pooled: PooledConnection, sql: string, format: string): Promise<EngineStream | null> {
    try {
      return pooled.connection.stream(toUtf8(sql), format)
    } catch (error) {
      // Not a plain SELECT after all (WITH ... INSERT): the engine says so before it runs anything.
      if (engineError(error).code === 36) return null
      throw error
    }
  }

  async #stream(
    response: ServerResponse,
    parsed: ParsedRequest,
    format: string,
    stream: EngineStream,
  ): Promise<boolean> {
    const fetch = (): Promise<Buffer | null> => this.#selects.run(() => stream.fetch())
    // The first chunk is read before the status line is written, so that most errors have a status of their own.
    let chunk = await fetch()
    const tag = randomBytes(8).toString('hex')
    const sink = start(response, parsed, format, { 'x-clickhouse-exception-tag': tag }, summary({}))
    try {
      for (; chunk !== null; chunk = await fetch()) {
        if (!sink.write(chunk)) await drained(sink, response)
        if (response.destroyed) {
          await stream.cancel()
          return false
        }
      }
    } catch (error) {
      if (format === withoutTrailer || response.destroyed) response.destroy()
      else sink.end(exceptionTrailer(tag, engineError(error).message))
      return false
    }
    sink.end()
    return true
  }

  async #whole(
    response: ServerResponse,
    parsed: ParsedRequest,
    format: string,
    { connection }: PooledConnection,
    sql: string,
  ): Promise<void> {
    const isSelect = parsed.statement.kind === 'select'
    const gate = isSelect ? this.#selects : this.#writes
    const result = await gate.run(() => connection.query(toUtf8(sql), parsed.defaultFormat))
    const counts = { read_rows: result.rowsRead, read_bytes: result.bytesRead }
    start(response, parsed, format, {}, summary(counts)).end(result.bytes)
  }

  async #insert(
    response: ServerResponse,
    parsed: ParsedRequest,
    statement: Extract<Statement, { kind: 'insert' }>,
  ): Promise<void> {
    const file = await this.#options.spool.create()
    try {
      for await (const bytes of parsed.data) await file.write(bytes)
      await file.finish()
      // Settings of an insert (its token, above all) are its own: in its text they need no connection of their own.
      const { settings, ...needs } = parsed.needs
      const readonly = settings.get('readonly')
      const sql = infileInsert(statement, file.path, settings)
      const sticky: ReadonlyMap<string, string> = readonly === undefined ? new Map() : new Map([['readonly', readonly]])
      await this.#withConnection(response, { needs: { ...needs, settings: sticky } }, async ({ connection }) => {
        const written = await this.#writes.run(() => connection.insert(toUtf8(sql)))
        const counts = { written_rows: written.rowsWritten, written_bytes: written.bytesWritten }
        start(response, parsed, statement.format.toUpperCase(), {}, summary(counts)).end()
        return true
      })
    } catch (error) {
      if (error instanceof SpoolFull) throw new FrontError(307, 'TOO_MANY_BYTES', error.message)
      throw error
    } finally {
      await file.remove()
    }
  }
}

const formatOf = (name: string): string => name.toUpperCase()

/** Statements are parsed with one character per byte. */
const toUtf8 = (latin1: string): string => Buffer.from(latin1, 'latin1').toString('utf8')

/** INFILE stands before SETTINGS and FORMAT; what the statement sets wins over the URL. */
function infileInsert(
  statement: Extract<Statement, { kind: 'insert' }>,
  path: string,
  fromUrl: ReadonlyMap<string, string>,
): string {
  const own = statement.settings
  const settings = [...fromUrl]
    .filter(([name]) => /^\w+$/.test(name) && name !== 'readonly' && !new RegExp(`\\b${name}\\s*=`).test(own))
    .map(([name, value]) => `${name} = ${latin1Literal(value)}`)
  if (own !== '') settings.push(own)
  const clause = settings.length === 0 ? '' : ` SETTINGS ${settings.join(', ')}`
  return `${statement.head} FROM INFILE ${latin1Literal(path)} COMPRESSION 'none'${clause} FORMAT ${statement.format}`
}

const latin1Literal = (text: string): string => `'${Buffer.from(text).toString('latin1').replace(/[\\']/g, '\\$&')}'`

function summary(counts: Readonly<Record<string, number>>): string {
  const zero = { read_rows: 0, read_bytes: 0, written_rows: 0, written_bytes: 0, total_rows_to_read: 0 }
  return JSON.stringify(Object.fromEntries(Object.entries({ ...zero, ...counts }).map(([k, v]) => [k, String(v)])))
}

interface Sink {
  write(bytes: Uint8Array): boolean
  end(bytes?: Uint8Array): unknown
  once(event: 'drain', listener: () => void): unknown
}

/** Writes the head of the answer; what follows goes into the sink. */
function start(
  response: ServerResponse,
  parsed: ParsedRequest,
  format: string,
  extra: Readonly<Record<string, string>>,
  summaryText: string,
): Sink {
  response.writeHead(200, {
    'content-type': contentType(format),
    'x-clickhouse-format': format,
    'x-clickhouse-timezone': 'UTC',
    'x-clickhouse-server-display-name': 'tidemark-embedded',
    'x-clickhouse-summary': summaryText,
    ...(parsed.queryId === null || !isHeaderSafe(parsed.queryId) ? {} : { 'x-clickhouse-query-id': parsed.queryId }),
    ...(parsed.wantsGzip ? { 'content-encoding': 'gzip' } : {}),
    ...extra,
  })
  if (!parsed.wantsGzip) return response
  const gzip = createGzip({ level: 1 })
  gzip.pipe(response)
  return gzip
}

const isHeaderSafe = (value: string): boolean => /^[\x20-\x7e]*$/.test(value)

function drained(sink: Sink, response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const go = (): void => {
      response.off('close', go)
      resolve()
    }
    sink.once('drain', go)
    response.once('close', go)
    if (response.destroyed) go()
  })
}

/** In one piece: @clickhouse/client 1.23 spins for ever when it comes in two. */
function exceptionTrailer(tag: string, message: string): Buffer {
  const bytes = Buffer.byteLength(message) + 1
  return Buffer.from(`\r\n__exception__\r\n${tag}\r\n${message}\n${bytes} ${tag}\r\n__exception__\r\n`)
}

async function fail(
  request: IncomingMessage,
  response: ServerResponse,
  cause: unknown,
  version: string,
): Promise<void> {
  if (response.headersSent || response.destroyed) return void response.destroy()
  const { code, status, message } = engineError(cause)
  // A client that still sends would otherwise meet a reset instead of the answer.
  if (!request.complete) response.setHeader('connection', 'close')
  response
    .writeHead(status, { 'content-type': 'text/plain; charset=UTF-8', 'x-clickhouse-exception-code': String(code) })
    .end(`${message.trimEnd()} (version ${version} (embedded))\n`)
  request.resume()
}
