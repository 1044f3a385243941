import {
  Bool,
  type Data,
  type DataType,
  Decimal,
  Field,
  Float64,
  Int32,
  Int64,
  List,
  makeData,
  RecordBatch,
  RecordBatchFileWriter,
  Schema,
  Struct,
  TimestampMillisecond,
  Utf8,
} from 'apache-arrow'
import { FeatureStoreError } from '../../core/errors.ts'
import { itemOf, itemTypeOf, type ItemType } from '../../core/engine/feature-column.ts'
import { shapeOf, type Column, type NullMask } from '../../core/event/types.ts'
import type { DecimalShape } from '../../core/number/decimal.ts'
import {
  fileColumn,
  listStart,
  rowCountOf,
  valueTypeOf,
  type FileColumn,
  type ListColumn,
  type NamedColumn,
} from './columns.ts'

/** Rows of one record batch: what readers take in one piece. */
export const batchRows = 65_536

/**
 * An Arrow IPC file ("Feather v2"), uncompressed, in record batches of 65,536 rows.
 *
 * Types:  timestamp is Timestamp(ms, UTC), a decimal Decimal128 of its digits; every field is nullable; a null slot holds zeros.
 * Bytes:  equal columns and metadata give equal bytes: keys of metadata are sorted.
 * Errors: FS_INTERNAL if the columns have different lengths.
 */
export function writeArrowFile(
  columns: readonly NamedColumn[],
  schemaMetadata: Readonly<Record<string, string>>,
): Uint8Array {
  const plain = columns.map(({ column }) => fileColumn(column))
  const rowCount = plain[0] === undefined ? 0 : rowCountOf(plain[0])
  if (plain.some((column) => rowCountOf(column) !== rowCount))
    throw new FeatureStoreError('FS_INTERNAL', 'columns of different lengths do not make a file')
  const fields = plain.map((column, index) => {
    const { name, metadata } = columns[index] as NamedColumn
    return new Field(name, arrowType(column), true, sortedMap(metadata ?? {}))
  })
  const schema = new Schema(fields, sortedMap(schemaMetadata))
  const writer = new RecordBatchFileWriter()
  // A file without rows still has one batch, for readers that take the schema from it.
  for (let from = 0; from === 0 || from < rowCount; from += batchRows) {
    const to = Math.min(from + batchRows, rowCount)
    const children = plain.map((column) => dataOf(column, from, to))
    const rows = makeData({ type: new Struct(fields), length: to - from, nullCount: 0, children })
    writer.write(new RecordBatch(schema, rows))
  }
  writer.finish()
  return writer.toUint8Array(true)
}

const sortedMap = (record: Readonly<Record<string, string>>): Map<string, string> =>
  new Map(Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1)))

function arrowType(column: FileColumn): DataType {
  const type = valueTypeOf(column)
  const scalar = scalarType(itemTypeOf(type))
  return type.kind === 'scalar' ? scalar : new List(new Field('item', scalar, true))
}

function decimalType(item: Partial<DecimalShape>): Decimal {
  const { precision, scale } = shapeOf(item)
  return new Decimal(scale, precision, 128)
}

function scalarType(item: ItemType): DataType {
  switch (item.type) {
    case 'decimal':
      return decimalType(item)
    case 'float64':
      return new Float64()
    case 'timestamp':
      return new TimestampMillisecond('UTC')
    case 'int32':
      return new Int32()
    case 'int64':
      return new Int64()
    case 'bool':
      return new Bool()
    case 'string':
      return new Utf8()
  }
}

const dataOf = (column: FileColumn, from: number, to: number): Data =>
  column.type === 'list' ? listData(column, from, to) : scalarData(column, from, to)

/** The nulls of a batch: how many, and a bit a row that is 1 where there is a value. */
function validity(nulls: NullMask, from: number, to: number): { nullCount: number; nullBitmap: Uint8Array | null } {
  let nullCount = 0
  if (nulls !== null) for (let row = from; row < to; row++) nullCount += nulls[row] as number
  if (nulls === null || nullCount === 0) return { nullCount: 0, nullBitmap: null }
  const nullBitmap = new Uint8Array((to - from + 7) >> 3)
  for (let row = from; row < to; row++) {
    const bit = row - from
    if (nulls[row] === 0) nullBitmap[bit >> 3] = (nullBitmap[bit >> 3] as number) | (1 << (bit & 7))
  }
  return { nullCount, nullBitmap }
}

/** A copy of the rows with zeros at the nulls, so that what stood there cannot show. */
function filled<T extends Float64Array | Int32Array | BigInt64Array | Uint8Array>(
  values: T,
  nulls: NullMask,
  from: number,
  to: number,
): T {
  const copy = values.slice(from, to) as T
  const zero = copy instanceof BigInt64Array ? 0n : 0
  if (nulls !== null) for (let row = from; row < to; row++) if (nulls[row] === 1) copy[row - from] = zero as never
  return copy
}

function scalarData(column: Column, from: number, to: number): Data {
  const { nulls } = column
  const length = to - from
  const { nullCount, nullBitmap } = validity(nulls, from, to)
  const shape = { length, nullCount, nullBitmap }
  switch (column.type) {
    case 'float64':
      return makeData({ type: new Float64(), ...shape, data: filled(column.values, nulls, from, to) })
    case 'timestamp':
      return makeData({
        type: new TimestampMillisecond('UTC'),
        ...shape,
        data: int64OfDoubles(filled(column.values, nulls, from, to)),
      })
    case 'int32':
      return makeData({ type: new Int32(), ...shape, data: filled(column.values, nulls, from, to) })
    case 'int64':
      return makeData({ type: new Int64(), ...shape, data: filled(column.values, nulls, from, to) })
    case 'decimal':
      return makeData({
        type: decimalType(column),
        ...shape,
        data: int128Of(filled(column.values, nulls, from, to)),
      })
    case 'bool':
      return makeData({ type: new Bool(), ...shape, data: bitsOf(filled(column.values, nulls, from, to)) })
    case 'string': {
      const { strings } = column.table
      const text = (row: number): string => (nulls?.[row] === 1 ? '' : (strings[column.values[row] as number] ?? ''))
      return makeData({ type: new Utf8(), ...shape, ...utf8Of(text, from, to) })
    }
  }
}

/** The items of null lists are left out. */
function listData(list: ListColumn, from: number, to: number): Data {
  const { nullCount, nullBitmap } = validity(list.nulls, from, to)
  const valueOffsets = new Int32Array(to - from + 1)
  const isNull = (row: number): boolean => list.nulls?.[row] === 1
  for (let row = from; row < to; row++) {
    const size = isNull(row) ? 0 : (list.ends[row] as number) - listStart(list, row)
    valueOffsets[row - from + 1] = (valueOffsets[row - from] as number) + size
  }
  const kept = new Int32Array(valueOffsets[to - from] as number)
  for (let row = from; row < to; row++) {
    const at = valueOffsets[row - from] as number
    const size = (valueOffsets[row - from + 1] as number) - at
    for (let index = 0; index < size; index++) kept[at + index] = listStart(list, row) + index
  }
  const child = itemData(list, kept)
  const type = new List(new Field('item', scalarType(itemOf(list.items)), true))
  return makeData({ type, length: to - from, nullCount, nullBitmap, valueOffsets, child })
}

/** Items by index. */
function itemData({ items, itemNulls }: ListColumn, indexes: Int32Array): Data {
  const length = indexes.length
  const nulls = itemNulls === null ? null : gather(itemNulls, new Uint8Array(length), indexes, null)
  const shape = { length, ...validity(nulls, 0, length) }
  switch (items.type) {
    case 'float64':
      return makeData({
        type: new Float64(),
        ...shape,
        data: gather(items.values, new Float64Array(length), indexes, nulls),
      })
    case 'timestamp': {
      const data = int64OfDoubles(gather(items.values, new Float64Array(length), indexes, nulls))
      return makeData({ type: new TimestampMillisecond('UTC'), ...shape, data })
    }
    case 'int32':
      return makeData({
        type: new Int32(),
        ...shape,
        data: gather(items.values, new Int32Array(length), indexes, nulls),
      })
    case 'int64':
      return makeData({
        type: new Int64(),
        ...shape,
        data: gather(items.values, new BigInt64Array(length), indexes, nulls),
      })
    case 'decimal':
      return makeData({
        type: decimalType(items),
        ...shape,
        data: int128Of(gather(items.values, new BigInt64Array(length), indexes, nulls)),
      })
    case 'bool':
      return makeData({
        type: new Bool(),
        ...shape,
        data: bitsOf(gather(items.values, new Uint8Array(length), indexes, nulls)),
      })
    case 'string': {
      const text = (at: number): string => (nulls?.[at] === 1 ? '' : (items.values[indexes[at] as number] ?? ''))
      return makeData({ type: new Utf8(), ...shape, ...utf8Of(text, 0, length) })
    }
  }
}

/** Into zeros: what stands at a null stays behind. */
function gather<T extends Float64Array | Int32Array | BigInt64Array | Uint8Array>(
  values: T,
  into: T,
  indexes: Int32Array,
  nulls: NullMask,
): T {
  for (let at = 0; at < indexes.length; at++)
    if (nulls === null || nulls[at] === 0) into[at] = values[indexes[at] as number] as never
  return into
}

/** Integers in doubles to 64-bit integers, by halves: no BigInt per value. */
function int64OfDoubles(values: Float64Array): BigInt64Array {
  const result = new BigInt64Array(values.length)
  const halves = new Int32Array(result.buffer)
  for (let row = 0; row < values.length; row++) {
    const value = values[row] as number
    const high = Math.floor(value / 2 ** 32)
    halves[2 * row] = value - high * 2 ** 32
    halves[2 * row + 1] = high
  }
  return result
}

/** Integers of 64 bits as 128, four little-endian words each. */
function int128Of(values: BigInt64Array): Uint32Array {
  const halves = new Int32Array(values.buffer, values.byteOffset, values.length * 2)
  const words = new Uint32Array(values.length * 4)
  for (let row = 0; row < values.length; row++) {
    const high = halves[2 * row + 1] as number
    words[4 * row] = halves[2 * row] as number
    words[4 * row + 1] = high
    words[4 * row + 2] = words[4 * row + 3] = high >> 31
  }
  return words
}

function bitsOf(flags: Uint8Array): Uint8Array {
  const bits = new Uint8Array((flags.length + 7) >> 3)
  for (let row = 0; row < flags.length; row++)
    if (flags[row] !== 0) bits[row >> 3] = (bits[row >> 3] as number) | (1 << (row & 7))
  return bits
}

function utf8Of(
  text: (row: number) => string,
  from: number,
  to: number,
): { valueOffsets: Int32Array; data: Uint8Array } {
  const valueOffsets = new Int32Array(to - from + 1)
  let data = Buffer.allocUnsafe(16 * (to - from) + 64)
  let at = 0
  for (let row = from; row < to; row++) {
    const string = text(row)
    // Three bytes at most for each UTF-16 unit.
    if (at + 3 * string.length > data.length) {
      const larger = Buffer.allocUnsafe(2 * data.length + 3 * string.length)
      data.copy(larger, 0, 0, at)
      data = larger
    }
    at += data.write(string, at)
    valueOffsets[row - from + 1] = at
  }
  return { valueOffsets, data: new Uint8Array(data.subarray(0, at)) }
}
