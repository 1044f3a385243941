/**
 * GetFeaturesResponse written straight from the columns: a typed array is already what the wire calls a packed field of
 * fixed width, so it is copied whole. Its plain twin is `toBinary(GetFeaturesResponseSchema, toReply(reply))`, byte for
 * byte. Source: https://protobuf.dev/programming-guides/encoding/ (packed repeated fields).
 */
import { endianness } from 'node:os'
import { toBinary } from '@bufbuild/protobuf'
import { unreachable } from '../../core/brand.ts'
import { type FeatureColumn, type ListValues, type ScalarValues } from '../../core/engine/feature-column.ts'
import { type Position } from '../../core/event/position.ts'
import { GetFeaturesResponseSchema } from '../../schemas/proto/generated/tidemark/v1/feature_service_pb.js'
import { type LookupReply } from '../lookup/types.ts'
import { toReply } from './codec.ts'
import { ReverseWriter } from './reverse-writer.ts'

/** Field numbers of the value types, in FeatureColumn and in Lists. */
const valueFields = { float64: 5, int32: 6, int64: 7, string: 8, bool: 9, timestamp: 10, decimal: 13 } as const
const listField = 11
const countsField = 12

const one = new Float64Array(1)
const oneByBytes = new Uint8Array(one.buffer)

/** Valid until the next call: a reply for one entity has many columns of one number, and a view of each costs more than it. */
function bytesOf(values: ArrayBufferView): Uint8Array {
  if (values instanceof Uint8Array) return values
  if (values instanceof Float64Array && values.length === 1) {
    one[0] = values[0] as number
    return oneByBytes
  }
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
}

/** Whole milliseconds as little-endian int64, in two halves: no BigInt per value. */
function int64Bytes(millis: Float64Array): Uint8Array {
  const words = new Int32Array(millis.length * 2)
  for (let i = 0; i < millis.length; i++) {
    const value = millis[i] as number
    const high = Math.floor(value / 2 ** 32)
    words[2 * i] = value - high * 2 ** 32
    words[2 * i + 1] = high
  }
  return bytesOf(words)
}

/** An empty packed field, like every field at its zero, is left out. */
function packed(writer: ReverseWriter, field: number, values: ArrayBufferView): void {
  if (values.byteLength > 0) writer.bytes(field, bytesOf(values))
}

function text(writer: ReverseWriter, field: number, value: string): void {
  if (value !== '') writer.string(field, value)
}

function int64(writer: ReverseWriter, field: number, value: number): void {
  if (value !== 0) writer.int64(field, value)
}

function writeScalars(writer: ReverseWriter, values: ScalarValues): void {
  const before = writer.written
  switch (values.type) {
    case 'float64':
    case 'int32':
    case 'int64':
    case 'bool':
      packed(writer, 1, values.values)
      break
    case 'timestamp':
      packed(writer, 1, int64Bytes(values.values))
      break
    case 'decimal':
      int64(writer, 3, values.scale)
      int64(writer, 2, values.precision)
      packed(writer, 1, values.values)
      break
    case 'string':
      for (let i = values.values.length - 1; i >= 0; i--) writer.string(1, values.values[i] as string)
      break
    default:
      unreachable(values)
  }
  writer.close(valueFields[values.type], writer.written - before)
}

function writeValues(writer: ReverseWriter, values: ScalarValues | ListValues): void {
  if (values.type !== 'list') return writeScalars(writer, values)
  const before = writer.written
  writeScalars(writer, values.items)
  if (values.itemNulls !== null) packed(writer, 2, values.itemNulls)
  packed(writer, 1, values.ends)
  writer.close(listField, writer.written - before)
}

function writeColumn(writer: ReverseWriter, column: FeatureColumn): void {
  const before = writer.written
  // In the order of field numbers, of which decimals have the last one.
  const decimals = column.values.type === 'decimal'
  if (decimals) writeValues(writer, column.values)
  int64(writer, countsField, column.counts === true ? 1 : 0)
  if (!decimals) writeValues(writer, column.values)
  for (const { row, code } of column.errors.toReversed()) {
    const beforeError = writer.written
    text(writer, 2, code)
    int64(writer, 1, row)
    writer.close(4, writer.written - beforeError)
  }
  packed(writer, 3, column.statuses)
  text(writer, 2, column.fingerprint)
  text(writer, 1, column.name)
  writer.close(5, writer.written - before)
}

function writePosition(writer: ReverseWriter, position: Position): void {
  const before = writer.written
  for (const [stream, partitions] of Object.entries(position.streams).reverse()) {
    const beforeStream = writer.written
    for (const { epoch, next } of partitions.toReversed()) {
      const beforePartition = writer.written
      int64(writer, 2, next)
      int64(writer, 1, epoch)
      writer.close(2, writer.written - beforePartition)
    }
    text(writer, 1, stream)
    writer.close(2, writer.written - beforeStream)
  }
  text(writer, 1, position.logId)
  writer.close(6, writer.written - before)
}

/** About what a reply takes: enough for numbers, and doubled when strings or lists need more. */
function roughBytes({ columns, rows, token }: LookupReply): number {
  return 256 + 2 * token.length + columns.length * (128 + 10 * rows)
}

/** Fields from the last to the first: see ReverseWriter. */
function writeReply(reply: LookupReply): Uint8Array {
  const writer = new ReverseWriter(roughBytes(reply))
  writePosition(writer, reply.position)
  for (let i = reply.columns.length - 1; i >= 0; i--) writeColumn(writer, reply.columns[i] as FeatureColumn)
  int64(writer, 4, reply.rows)
  text(writer, 3, reply.token)
  if (reply.knownAsOfMs !== null) writer.int64(2, reply.knownAsOfMs)
  int64(writer, 1, reply.asOfMs)
  return writer.finish()
}

/** The bytes of a GetFeaturesResponse. */
export const encodeReply: (reply: LookupReply) => Uint8Array =
  endianness() === 'LE' ? writeReply : (reply) => toBinary(GetFeaturesResponseSchema, toReply(reply))
