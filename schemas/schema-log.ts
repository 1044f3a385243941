import { FeatureStoreError } from '../core/errors.ts'
import { type Offset, offset } from '../core/event/position.ts'
import type { EventLog } from '../core/ports/event-log.ts'
import { fingerprintHex, isKept, parseSchema, type AvroSchema } from './avro/index.ts'
import { RecordCursor } from './recordbatch/index.ts'

/** Internal streams begin with `_`. One partition: of two schemas with one fingerprint, the first stays. */
export const schemaStream = '_schemas'
const partition = 0
const fetchBytes = 1024 * 1024

const utf8 = new TextEncoder()
const text = new TextDecoder()

/**
 * Writer schemas kept in the log itself, for logs that have no folder beside them: one record each, its key
 * `<stream>/<fingerprint>`, its value the schema's JSON. Put a schema before the first event that names it; a reader
 * that meets a fingerprint which it does not know loads what was kept since, and then knows it or it is not there.
 */
export class LoggedSchemas {
  readonly #log: EventLog
  readonly #known = new Map<string, AvroSchema>()
  #next: Offset | null = null
  #loading: Promise<void> | null = null

  constructor(log: EventLog) {
    this.#log = log
  }

  /**
   * Keeps a schema; answers its fingerprint, 16 hex digits.
   *
   * Errors: FS_DEFINITION_INVALID when one with the same fingerprint is there that means other values.
   */
  async putSchema(stream: string, schema: AvroSchema, nowMs: number): Promise<string> {
    const fingerprint = fingerprintHex(schema)
    if (isKept(stream, schema, this.schema(stream, fingerprint))) return fingerprint
    await this.#log.create(schemaStream, { partitions: 1 })
    await this.load()
    if (isKept(stream, schema, this.schema(stream, fingerprint))) return fingerprint
    const record = { key: utf8.encode(`${stream}/${fingerprint}`), value: utf8.encode(JSON.stringify(schema)) }
    await this.#log.append(schemaStream, partition, [{ ...record, timestampMs: nowMs }])
    await this.load()
    // Another writer may have kept its own between the two.
    isKept(stream, schema, this.schema(stream, fingerprint))
    return fingerprint
  }

  /** The schema of a fingerprint among those loaded, or undefined. */
  schema(stream: string, fingerprint: string): AvroSchema | undefined {
    return this.#known.get(`${stream}/${fingerprint}`)
  }

  /** Reads what was kept since the last call. Errors: those of the log; FS_LOG_CORRUPT for a record that is no schema. */
  load(): Promise<void> {
    // A call that joins one under way might miss what was kept since that one asked for the end.
    const earlier = this.#loading ?? Promise.resolve()
    const loading = earlier.then(
      () => this.#read(),
      () => this.#read(),
    )
    this.#loading = loading
    return loading
  }

  async #read(): Promise<void> {
    const [info] = (await this.#log.describe(schemaStream)) ?? []
    if (info === undefined) return
    const cursor = new RecordCursor()
    for (let next = this.#next ?? info.start; next < info.end; this.#next = next) {
      const chunk = await this.#log.fetch(schemaStream, partition, next, fetchBytes)
      if (chunk.nextOffset <= next)
        throw new FeatureStoreError('FS_LOG_CORRUPT', `${schemaStream} ends at ${next}, before ${info.end}`)
      cursor.reset(chunk.bytes)
      while (cursor.next()) if (cursor.offset >= next) this.#keep(cursor)
      next = offset(chunk.nextOffset)
    }
  }

  #keep({ bytes, keyStart, keyEnd, valueStart, valueEnd, offset: at }: RecordCursor): void {
    const key = text.decode(bytes.subarray(Math.max(keyStart, 0), Math.max(keyEnd, 0)))
    const schema = schemaAt(text.decode(bytes.subarray(Math.max(valueStart, 0), Math.max(valueEnd, 0))), at)
    if (!key.endsWith(`/${fingerprintHex(schema)}`))
      throw new FeatureStoreError('FS_LOG_CORRUPT', `${schemaStream} at offset ${at}: the key names another schema`)
    if (!this.#known.has(key)) this.#known.set(key, schema)
  }
}

function schemaAt(json: string, at: number): AvroSchema {
  try {
    return parseSchema(json)
  } catch (cause) {
    throw new FeatureStoreError('FS_LOG_CORRUPT', `${schemaStream} at offset ${at} is no schema`, { cause })
  }
}
