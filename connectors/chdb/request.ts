/** An HTTP request of ClickHouse's protocol, taken apart: what to run, with what settings, on which data. */
import type { IncomingMessage } from 'node:http'
import { createBrotliDecompress, createGunzip, createInflate, createZstdDecompress } from 'node:zlib'
import { FrontError } from './errors.ts'
import type { ConnectionNeeds } from './pool.ts'
import { parseStatement, type Statement } from './tokenize.ts'

/** A statement longer than this is refused, as by a server with its default settings. */
export const statementBytesMax = 262_144
const multipartBytesMax = 16 << 20

export interface ParsedRequest {
  readonly statement: Statement
  readonly needs: ConnectionNeeds
  readonly defaultFormat: string
  readonly queryId: string | null
  readonly wantsGzip: boolean
  /** What belongs to the data of an insert, in order: the rest of the statement's text, then of the body. */
  readonly data: AsyncIterable<Uint8Array>
}

/** Parameters that are for a server's HTTP layer, not for its engine; the engine would refuse them (Code 115). */
const httpOnly = new Set(
  `wait_end_of_query send_progress_in_http_headers http_headers_progress_interval_ms enable_http_compression buffer_size
   client_protocol_version role session_timeout session_check cancel_http_readonly_queries_on_client_close
   add_http_cors_header quota_key stacktrace close_session http_zlib_compression_level user password log_comment`.split(
    /\s+/,
  ),
)
const refusedParameters: Readonly<Record<string, string>> = {
  session_id: 'HTTP sessions are not for the embedded engine',
  compress: 'native block compression is not for the embedded engine: use gzip',
  decompress: 'native block compression is not for the embedded engine: use gzip or zstd',
}

export async function parseRequest(request: IncomingMessage, url: URL): Promise<ParsedRequest> {
  const form = await multipartFields(request)
  const fields = new Map([...url.searchParams, ...form])
  const body = form.size > 0 || request.method === 'GET' ? emptyBody() : bodyOf(request)
  const query = fields.get('query') ?? ''
  const head = await readHead(Buffer.from(query), body)
  const statement = parseStatement(head.text)
  if (statement.kind === 'insert' && head.bytes.length > statement.dataStart && statement.dataStart > statementBytesMax)
    throw tooLong()
  if (statement.kind !== 'insert' && head.bytes.length > statementBytesMax) throw tooLong()
  return {
    statement,
    needs: needsOf(fields, request),
    defaultFormat: fields.get('default_format') ?? header(request, 'x-clickhouse-format') ?? 'TabSeparated',
    queryId: fields.get('query_id') ?? null,
    wantsGzip:
      fields.get('enable_http_compression') === '1' && /\bgzip\b/.test(header(request, 'accept-encoding') ?? ''),
    data: statement.kind === 'insert' ? dataFrom(head.bytes.subarray(statement.dataStart), body) : emptyIterable(),
  }
}

const tooLong = (): FrontError =>
  new FrontError(62, 'SYNTAX_ERROR', `Max query size exceeded: a statement has at most ${statementBytesMax} bytes`)

const header = (request: IncomingMessage, name: string): string | undefined => {
  const value = request.headers[name]
  return Array.isArray(value) ? value[0] : value
}

function needsOf(fields: ReadonlyMap<string, string>, request: IncomingMessage): ConnectionNeeds {
  const settings = new Map<string, string>()
  const params = new Map<string, string>()
  for (const [name, value] of fields) {
    const refusal = refusedParameters[name]
    if (refusal !== undefined && value !== '' && value !== '0') throw new FrontError(48, 'NOT_IMPLEMENTED', refusal)
    if (refusal !== undefined || httpOnly.has(name)) continue
    if (['query', 'database', 'default_format', 'query_id'].includes(name)) continue
    if (name.startsWith('param_')) params.set(name.slice('param_'.length), value)
    else settings.set(name, value)
  }
  // As a server does: a GET may change nothing, so that a link cannot.
  if (request.method === 'GET') settings.set('readonly', '2')
  const database = fields.get('database') ?? header(request, 'x-clickhouse-database') ?? ''
  return { database: database === '' || database === 'default' ? null : database, settings, params }
}

type Body = AsyncIterator<Uint8Array>

async function* emptyIterable(): AsyncGenerator<Uint8Array, void, void> {}
const emptyBody = (): Body => emptyIterable()

function bodyOf(request: IncomingMessage): Body {
  const encoding = header(request, 'content-encoding')?.toLowerCase() ?? 'identity'
  if (encoding === 'identity') return request[Symbol.asyncIterator]() as Body
  const makers: Readonly<Record<string, () => ReturnType<typeof createGunzip>>> = {
    gzip: createGunzip,
    deflate: createInflate,
    br: createBrotliDecompress,
    zstd: createZstdDecompress,
  }
  const make = Object.hasOwn(makers, encoding) ? makers[encoding] : undefined
  if (make === undefined)
    throw new FrontError(48, 'NOT_IMPLEMENTED', `Content-Encoding ${encoding}: use gzip, deflate, br or zstd`)
  const plain = make()
  // A request that breaks off must break off here too, or its body would wait for ever.
  request.once('error', (error) => plain.destroy(error))
  return request.pipe(plain)[Symbol.asyncIterator]() as Body
}

/** The text to parse: `?query=` and behind it as much of the body as a statement can have. */
async function readHead(query: Buffer, body: Body): Promise<{ readonly bytes: Buffer; readonly text: string }> {
  const own = query.toString('latin1')
  // An insert that stands in the URL as a whole has nothing but data in its body.
  if (query.length > 0 && parseStatement(own).kind === 'insert') {
    const ended = /\s$/.test(own) ? query : Buffer.concat([query, Buffer.from('\n')])
    return { bytes: ended, text: ended.toString('latin1') }
  }
  const parts: Buffer[] = query.length > 0 ? [query, Buffer.from('\n')] : []
  let length = query.length
  while (length <= statementBytesMax) {
    const next = await body.next()
    if (next.done === true) break
    parts.push(Buffer.from(next.value))
    length += next.value.length
  }
  const bytes = Buffer.concat(parts)
  return { bytes, text: bytes.toString('latin1', 0, Math.min(bytes.length, statementBytesMax + 1)) }
}

async function* dataFrom(first: Uint8Array, rest: Body): AsyncGenerator<Uint8Array, void, void> {
  if (first.length > 0) yield first
  for (let next = await rest.next(); next.done !== true; next = await rest.next()) yield next.value
}

/** `use_multipart_params`: the query and its parameters as a form. */
async function multipartFields(request: IncomingMessage): Promise<ReadonlyMap<string, string>> {
  const type = header(request, 'content-type') ?? ''
  if (!type.startsWith('multipart/form-data')) return new Map()
  const parts: Buffer[] = []
  let length = 0
  for await (const part of request as AsyncIterable<Buffer>) {
    parts.push(part)
    length += part.length
    if (length > multipartBytesMax) throw new FrontError(307, 'TOO_MANY_BYTES', 'a form is too large')
  }
  const form = await new Response(Buffer.concat(parts), { headers: { 'content-type': type } }).formData()
  const fields = new Map<string, string>()
  for (const [name, value] of form) if (typeof value === 'string') fields.set(name, value)
  return fields
}
