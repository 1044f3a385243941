/**
 * Writer schemas of a Confluent-compatible schema registry, by id (its HTTP API: GET /schemas/ids/{id}). An id names one
 * schema for ever, so what was once read is never asked for again: while the registry is down, known ids go on.
 */
import { FeatureStoreError } from '../../core/errors.ts'
import { parseSchema, type AvroSchema } from '../../schemas/avro/index.ts'

export interface RegistryOptions {
  /** Base address, such as http://127.0.0.1:8081; a path in it is kept. */
  readonly url: string
  readonly username?: string
  readonly password?: string
  /** How long one answer may take, milliseconds. Default 5,000. */
  readonly timeoutMs?: number
  /** Default: Node's own. */
  readonly fetch?: typeof fetch
}

interface Answer {
  readonly schema?: unknown
  readonly schemaType?: unknown
  readonly references?: unknown
  readonly error_code?: unknown
}

/** Answers of a registry that say: there is no such schema. Others may be mended by waiting, or by the operator. */
const notFoundStatus = 404
const defaultTimeoutMs = 5_000
/** A schema is bounded (schemas/avro/schema.ts); its JSON inside JSON is at most six times as long. */
const answerBytesMax = 8 * 1024 * 1024

export class RegistrySchemas {
  readonly #options: RegistryOptions
  /** Null: the registry has no such schema, or none that events can be read with. */
  readonly #known = new Map<number, AvroSchema | null>()

  constructor(options: RegistryOptions) {
    this.#options = options
  }

  /** The schema of an id among those loaded, or undefined. */
  schema(id: number): AvroSchema | undefined {
    return this.#known.get(id) ?? undefined
  }

  /**
   * Asks the registry for ids that are not known.
   *
   * Errors: FS_REGISTRY_UNAVAILABLE (unavailable) when it does not answer; FS_REGISTRY_REFUSED (invalid) when it refuses
   *         the user. An id that it does not have stays unknown, and is asked for again by the next call.
   */
  async load(ids: readonly number[]): Promise<void> {
    for (const id of new Set(ids)) if (!this.#known.has(id)) await this.#load(id)
  }

  async #load(id: number): Promise<void> {
    const answer = await this.#ask(`/schemas/ids/${id}`)
    if (answer === null) return
    this.#known.set(id, readable(answer))
  }

  async #ask(path: string): Promise<Answer | null> {
    const { url, username, password, timeoutMs = defaultTimeoutMs } = this.#options
    const authorization = `Basic ${Buffer.from(`${username ?? ''}:${password ?? ''}`).toString('base64')}`
    let response: Response
    let text: string
    try {
      response = await (this.#options.fetch ?? fetch)(`${url.replace(/\/+$/, '')}${path}`, {
        headers: {
          accept: 'application/vnd.schemaregistry.v1+json, application/json',
          ...(username === undefined ? {} : { authorization }),
        },
        redirect: 'error',
        signal: AbortSignal.timeout(timeoutMs),
      })
      text = await bounded(response)
    } catch (cause) {
      throw unavailable(`${new URL(url).host} does not answer`, cause)
    }
    if (response.status === notFoundStatus && isRegistryError(text)) return null
    if (response.status === 401 || response.status === 403)
      throw new FeatureStoreError('FS_REGISTRY_REFUSED', `the schema registry answers ${response.status}`)
    if (!response.ok) throw unavailable(`it answers ${response.status}`)
    try {
      return JSON.parse(text) as Answer
    } catch (cause) {
      throw unavailable('its answer is no JSON', cause)
    }
  }
}

/** Null where it is of another kind, is spread over several subjects, or is no Avro record. */
function readable({ schema, schemaType = 'AVRO', references }: Answer): AvroSchema | null {
  if (schemaType !== 'AVRO' || typeof schema !== 'string') return null
  if (Array.isArray(references) && references.length > 0) return null
  try {
    return parseSchema(schema)
  } catch {
    return null
  }
}

async function bounded(response: Response): Promise<string> {
  const parts: Uint8Array[] = []
  let bytes = 0
  for await (const part of response.body ?? []) {
    bytes += part.length
    if (bytes > answerBytesMax) throw new Error(`an answer of more than ${answerBytesMax} bytes`)
    parts.push(part)
  }
  return Buffer.concat(parts).toString()
}

/** A 404 of the registry itself; a proxy in front of it, or a wrong path, has no such body. */
function isRegistryError(text: string): boolean {
  try {
    return typeof (JSON.parse(text) as Answer | null)?.error_code === 'number'
  } catch {
    return false
  }
}

const unavailable = (what: string, cause?: unknown): FeatureStoreError =>
  new FeatureStoreError('FS_REGISTRY_UNAVAILABLE', `the schema registry: ${what}`, cause === undefined ? {} : { cause })
