import { scalarAt } from '../../../core/event/column.ts'
import avsc from 'avsc'
import { offset, offsetZero } from '../../../core/event/position.ts'
import { type EventBatch } from '../../../core/event/batch.ts'
import { type FieldType, type Scalar } from '../../../core/event/types.ts'
import { type LogChunk } from '../../../core/ports/event-log.ts'
import {
  type AvroSchema,
  canonicalForm,
  createStreamDecoder,
  fingerprintHex,
  singleObjectHeader,
} from '../../../schemas/avro/index.ts'
import { encodeBatch } from '../../../schemas/recordbatch/index.ts'

/** avsc's own long ends at 2^53; this one is the whole int64, as bigint. */
const bigLong = avsc.types.LongType.__with({
  fromBuffer: (bytes: Buffer) => bytes.readBigInt64LE(),
  toBuffer: (value: bigint) => {
    const bytes = Buffer.alloc(8)
    bytes.writeBigInt64LE(value)
    return bytes
  },
  fromJSON: BigInt,
  toJSON: Number,
  isValid: (value: unknown) => typeof value === 'bigint',
  compare: (a: bigint, b: bigint) => (a < b ? -1 : a > b ? 1 : 0),
})

/** The canonical form has longs by name, where avsc looks into the registry. */
export const avscType = (schema: AvroSchema): avsc.Type =>
  avsc.Type.forSchema(JSON.parse(canonicalForm(schema)) as avsc.Schema, {
    registry: { long: bigLong },
    wrapUnions: true,
  })

/** A payload as avsc writes it. */
export const avscPayload = (schema: AvroSchema, value: unknown): Uint8Array =>
  Uint8Array.from([...singleObjectHeader(schema), ...avscType(schema).toBuffer(value)])

export function chunkOf(payloads: readonly Uint8Array[], baseOffset = 0): LogChunk {
  const bytes = encodeBatch(
    payloads.map((value, index) => ({ key: null, value, timestampMs: 1000 + index })),
    { baseOffset },
  )
  return { bytes, baseOffset: offset(baseOffset), nextOffset: offset(baseOffset + payloads.length) }
}

export interface Reading {
  readonly fields: Readonly<Record<string, FieldType>>
  readonly eventTime?: string
  readonly projection?: readonly string[]
  readonly corrections?: { readonly id?: string; readonly primaryKey?: readonly string[]; readonly op?: string }
}

export const decoderOf = (
  schemas: readonly AvroSchema[],
  { fields, eventTime = 'at', projection, corrections }: Reading,
) =>
  createStreamDecoder({
    stream: 'events',
    fields,
    eventTime,
    schemas: (hex) => schemas.find((schema) => fingerprintHex(schema) === hex),
    ...(corrections === undefined ? {} : { corrections }),
    ...(projection === undefined ? {} : { projection }),
  })

export const decodeAll = (
  schemas: readonly AvroSchema[],
  payloads: readonly Uint8Array[],
  reading: Reading,
): EventBatch => decoderOf(schemas, reading).decode(chunkOf(payloads), 0, 0, offsetZero)

/** The rows of a batch as people read them. */
export function rowsOf(batch: EventBatch): Record<string, Scalar>[] {
  return Array.from({ length: batch.count }, (_, row) =>
    Object.fromEntries(
      Object.entries(batch.columns).map(([name, column]): [string, Scalar] => [name, scalarAt(column, row)]),
    ),
  )
}
