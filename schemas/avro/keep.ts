import { FeatureStoreError } from '../../core/errors.ts'
import { fingerprintHex, type AvroSchema } from './schema.ts'

/** Logical types that change no value: they may be there or not. */
const neutral: ReadonlySet<unknown> = new Set(['timestamp-millis', 'uuid'])

/**
 * The logical types per field that make other values of the same bytes, in a form that can be compared: they are not part
 * of the fingerprint (milliseconds or microseconds, the scale of a decimal), so of two such schemas only one can be kept.
 */
function meaning({ fields }: AvroSchema): string {
  const found = fields.map(({ type }) => {
    const logical: unknown[] = []
    JSON.stringify(type, (_, value: unknown) => {
      const { logicalType, scale = 0 } = (value ?? {}) as { readonly logicalType?: unknown; readonly scale?: unknown }
      if (logicalType === 'decimal') logical.push({ logicalType, scale })
      else if (logicalType !== undefined && !neutral.has(logicalType)) logical.push(logicalType)
      return value
    })
    return logical
  })
  return JSON.stringify(found)
}

/**
 * Whether a schema that is to be kept for a stream is there already.
 *
 * Errors: FS_DEFINITION_INVALID when `there`, which has the same fingerprint, means other values.
 */
export function isKept(stream: string, schema: AvroSchema, there: AvroSchema | undefined): boolean {
  if (there === undefined) return false
  if (meaning(there) === meaning(schema)) return true
  throw new FeatureStoreError(
    'FS_DEFINITION_INVALID',
    `${stream} has a schema with the fingerprint ${fingerprintHex(schema)} and other logical types`,
  )
}
