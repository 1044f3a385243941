/** Stream payloads: Avro records in the single-object encoding, written from rows and read into columns. */
export { createStreamDecoder, type StreamDecoder, type StreamDecoderOptions } from './decode.ts'
export { compileEncoder, lowHalf, type FieldColumns, type FieldValues, type RowEncoder } from './encode.ts'
export { registryIdOf } from './framing.ts'
export { isKept } from './keep.ts'
export {
  type AvroField,
  type AvroSchema,
  type AvroType,
  canonicalForm,
  fingerprint,
  fingerprintHex,
  parseSchema,
  singleObjectHeader,
  streamSchema,
} from './schema.ts'
