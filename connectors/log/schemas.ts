import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { FeatureStoreError } from '../../core/errors.ts'
import { type AvroSchema, fingerprintHex, isKept, parseSchema } from '../../schemas/avro/index.ts'
import { makeFolder, replaceFile } from './files.ts'
import { isStreamName } from './names.ts'

const fingerprintPattern = /^[0-9a-f]{16}$/

/**
 * Writer schemas beside the log: `<root>/<stream>/schemas/<fingerprint>.avsc`. Named by content and written whole, so it
 * needs no lock. Put a schema before the first event that names it.
 */
export class LogSchemas {
  private readonly root: string
  private readonly known = new Map<string, AvroSchema>()

  constructor(root: string) {
    this.root = root
  }

  /**
   * Keeps a schema; answers its fingerprint, 16 hex digits.
   *
   * Errors: FS_STREAM_UNKNOWN; FS_DEFINITION_INVALID when a schema with the same fingerprint is there that means other
   * values: logical types (milliseconds or microseconds, the scale of decimals) are not in the fingerprint, so only one of the two can be kept.
   */
  putSchema(stream: string, schema: AvroSchema): string {
    const fingerprint = fingerprintHex(schema)
    if (!isStreamName(stream) || !existsSync(join(this.root, stream, 'stream.json')))
      throw new FeatureStoreError('FS_STREAM_UNKNOWN', `the log has no stream ${JSON.stringify(stream)}`)
    if (isKept(stream, schema, this.schema(stream, fingerprint))) return fingerprint
    const folder = join(this.root, stream, 'schemas')
    if (!existsSync(folder)) makeFolder(folder)
    replaceFile(join(folder, `${fingerprint}.avsc`), JSON.stringify(schema, null, 2))
    return fingerprint
  }

  /** Every schema kept for a stream. Errors: FS_FILE_INVALID. */
  all(stream: string): AvroSchema[] {
    const folder = join(this.root, stream, 'schemas')
    if (!isStreamName(stream) || !existsSync(folder)) return []
    const names = readdirSync(folder).filter((name) => name.endsWith('.avsc'))
    return names.sort().flatMap((name) => this.schema(stream, name.slice(0, -'.avsc'.length)) ?? [])
  }

  /** The schema of a fingerprint, or undefined. Errors: FS_FILE_INVALID when the file holds another. */
  schema(stream: string, fingerprint: string): AvroSchema | undefined {
    const key = `${stream}/${fingerprint}`
    const known = this.known.get(key)
    if (known !== undefined) return known
    if (!isStreamName(stream) || !fingerprintPattern.test(fingerprint)) return undefined
    const path = join(this.root, stream, 'schemas', `${fingerprint}.avsc`)
    if (!existsSync(path)) return undefined
    const schema = parseSchema(readFileSync(path, 'utf8'))
    if (fingerprintHex(schema) !== fingerprint)
      throw new FeatureStoreError('FS_FILE_INVALID', `${path} holds a schema with another fingerprint`)
    this.known.set(key, schema)
    return schema
  }
}
