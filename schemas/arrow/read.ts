import { zstdDecompressSync } from 'node:zlib'
import {
  compressionRegistry,
  CompressionType,
  DataType,
  DateUnit,
  Precision,
  tableFromIPC,
  TimeUnit,
  Vector,
  type Data,
  type Decimal,
  type Table,
} from 'apache-arrow'
import { FeatureStoreError } from '../../core/errors.ts'
import type { ScalarValues } from '../../core/engine/feature-column.ts'
import type { NullMask, ScalarType } from '../../core/event/types.ts'
import { decimalDigitsMax, fitsPrecision, type DecimalShape } from '../../core/number/decimal.ts'
import { floorDivide } from '../../core/number/floor-divide.ts'
import { dayMs } from '../../core/time/time.ts'
import { lz4Frame } from '../compression/lz4.ts'
import { scalarColumn, type FileColumn } from './columns.ts'

// The library reads compressed buffers through codecs that it is given, and has none of its own.
compressionRegistry.set(CompressionType.ZSTD, { decode: (bytes) => new Uint8Array(zstdDecompressSync(bytes)) })
compressionRegistry.set(CompressionType.LZ4_FRAME, { decode: lz4Frame })

export interface ArrowFile {
  readonly rowCount: number
  /** By name, in the order of the file. */
  readonly columns: Readonly<Record<string, FileColumn>>
  readonly schemaMetadata: Readonly<Record<string, string>>
  /** Metadata of the fields that have any. */
  readonly fieldMetadata: Readonly<Record<string, Readonly<Record<string, string>>>>
}

/**
 * Reads an Arrow IPC file or stream: its buffers as they are, or compressed with lz4 or zstd.
 *
 * Types:  integers up to 32 bits to int32, uint32 and int64 to int64; floats to float64; decimals of up to 18 digits; bool; utf8, large utf8 and
 *         dictionaries of them to string; timestamps of any unit and dates to timestamp, in epoch milliseconds, cut off
 *         downwards; lists of these.
 * Errors: FS_FILE_INVALID for other bytes or other types.
 */
export function readArrowFile(bytes: Uint8Array): ArrowFile {
  let table: Table
  try {
    table = tableFromIPC(bytes)
  } catch (cause) {
    const reason = cause instanceof Error ? `: ${cause.message}` : ''
    throw new FeatureStoreError('FS_FILE_INVALID', `these bytes are no Arrow file${reason}`, { cause })
  }
  const columns: Record<string, FileColumn> = {}
  const fieldMetadata: Record<string, Record<string, string>> = {}
  table.schema.fields.forEach((field, index) => {
    const vector = table.getChildAt(index)
    if (vector === null) throw invalid(field.name, 'has no data')
    columns[field.name] = columnOf(field.name, vector)
    if (field.metadata.size > 0) fieldMetadata[field.name] = Object.fromEntries(field.metadata)
  })
  const schemaMetadata = Object.fromEntries(table.schema.metadata)
  return { rowCount: table.numRows, columns, schemaMetadata, fieldMetadata }
}

const invalid = (name: string, what: string): FeatureStoreError =>
  new FeatureStoreError('FS_FILE_INVALID', `Arrow column ${name} ${what}`)

function columnOf(name: string, vector: Vector): FileColumn {
  const type: DataType = vector.type
  const nulls = nullsOf(vector.data)
  if (!DataType.isList(type)) return scalarColumn(scalarsOf(name, vector.data, type), nulls)
  const ends = new Int32Array(vector.length)
  const children: Data[] = []
  let row = 0
  let end = 0
  for (const data of vector.data) {
    const offsets = data.valueOffsets as Int32Array
    const child = data.children[0] as Data
    const first = offsets[0] ?? 0
    children.push(child.slice(first, (offsets[data.length] ?? first) - first))
    for (let index = 0; index < data.length; index++) ends[row++] = end + (offsets[index + 1] as number) - first
    end += (offsets[data.length] ?? first) - first
  }
  const items = scalarsOf(name, children, type.valueType as DataType)
  return { type: 'list', ends, items, itemNulls: nullsOf(children), nulls }
}

function nullsOf(chunks: readonly Data[]): NullMask {
  if (chunks.every(({ nullCount }) => nullCount === 0)) return null
  const nulls = new Uint8Array(lengthOf(chunks))
  let row = 0
  for (const data of chunks)
    for (let index = 0; index < data.length; index++) nulls[row++] = data.getValid(index) ? 0 : 1
  return nulls
}

const lengthOf = (chunks: readonly Data[]): number => chunks.reduce((total, { length }) => total + length, 0)

function scalarsOf(name: string, chunks: readonly Data[], type: DataType): ScalarValues {
  const count = lengthOf(chunks)
  const kind = kindOf(type)
  switch (kind) {
    case null:
      throw invalid(name, `is of type ${String(type)}, which is not read`)
    case 'string':
      return { type: kind, values: strings(chunks) }
    case 'bool':
      return { type: kind, values: bools(chunks, count) }
    case 'int32':
      return { type: kind, values: copied(chunks, new Int32Array(count)) }
    case 'int64': {
      const values = new BigInt64Array(count)
      return {
        type: kind,
        values: DataType.isInt(type) && type.bitWidth === 64 ? copied(chunks, values) : widened(chunks, values),
      }
    }
    case 'decimal':
      return { type: kind, ...decimals(name, chunks, type as Decimal, count) }
    case 'float64':
      return { type: kind, values: floats(chunks, type, new Float64Array(count)) }
    case 'timestamp':
      return { type: kind, values: instants(chunks, type, new Float64Array(count)) }
  }
}

function kindOf(type: DataType): ScalarType | null {
  if (DataType.isInt(type)) {
    if (type.bitWidth < 32 || (type.bitWidth === 32 && type.isSigned)) return 'int32'
    return type.bitWidth === 32 || type.isSigned ? 'int64' : null
  }
  if (DataType.isFloat(type)) return 'float64'
  if (DataType.isDecimal(type)) return 'decimal'
  if (DataType.isBool(type)) return 'bool'
  if (DataType.isUtf8(type) || DataType.isLargeUtf8(type)) return 'string'
  if (DataType.isDictionary(type)) return kindOf(type.dictionary as DataType) === 'string' ? 'string' : null
  return DataType.isTimestamp(type) || DataType.isDate(type) ? 'timestamp' : null
}

/** Errors: FS_FILE_INVALID for a value of more than 18 digits, or of a negative scale. */
function decimals(
  name: string,
  chunks: readonly Data[],
  { scale, precision, bitWidth }: Decimal,
  count: number,
): DecimalShape & { readonly values: BigInt64Array } {
  if (scale < 0 || scale > decimalDigitsMax)
    throw invalid(name, `has ${scale} digits behind the point: 0 to 18 are read`)
  const values = new BigInt64Array(count)
  const width = bitWidth / 32
  let row = 0
  for (const chunk of chunks) {
    const words = chunk.values as Uint32Array
    for (let index = 0; index < chunk.length; index++, row++) {
      if (!chunk.getValid(index)) continue
      let value = BigInt((words[index * width + width - 1] as number) | 0)
      for (let word = width - 2; word >= 0; word--)
        value = (value << 32n) | BigInt(words[index * width + word] as number)
      if (!fitsPrecision(value, decimalDigitsMax)) throw invalid(name, `has more than 18 digits in row ${row + 1}`)
      values[row] = value
    }
  }
  return { precision: Math.min(precision, decimalDigitsMax), scale, values }
}

type Numbers = Int32Array | BigInt64Array

function copied<T extends Numbers>(chunks: readonly Data[], into: T): T {
  let row = 0
  for (const { values, length } of chunks) {
    into.set(values.subarray(0, length), row)
    row += length
  }
  return into
}

function widened(chunks: readonly Data[], into: BigInt64Array): BigInt64Array {
  let row = 0
  for (const { values, length } of chunks)
    for (let index = 0; index < length; index++) into[row++] = BigInt(values[index] as number)
  return into
}

function floats(chunks: readonly Data[], type: DataType, into: Float64Array): Float64Array {
  let row = 0
  for (const chunk of chunks) {
    // Half floats lie there as 16-bit words.
    const half = DataType.isFloat(type) && type.precision === Precision.HALF ? new Vector([chunk]) : null
    for (let index = 0; index < chunk.length; index++)
      into[row++] = half === null ? (chunk.values[index] as number) : ((half.get(index) as number | null) ?? 0)
  }
  return into
}

function instants(chunks: readonly Data[], type: DataType, into: Float64Array): Float64Array {
  const toMs = instantMs(type)
  let row = 0
  for (const { values, length } of chunks)
    for (let index = 0; index < length; index++) into[row++] = toMs(values[index] as number | bigint)
  return into
}

function instantMs(type: DataType): (value: number | bigint) => number {
  if (DataType.isDate(type)) return type.unit === DateUnit.DAY ? (days) => Number(days) * dayMs : Number
  switch (DataType.isTimestamp(type) ? type.unit : TimeUnit.MILLISECOND) {
    case TimeUnit.SECOND:
      return (seconds) => Number(seconds) * 1000
    case TimeUnit.MILLISECOND:
      return Number
    case TimeUnit.MICROSECOND:
      return (micros) => floorDivide(BigInt(micros), 1000)
    case TimeUnit.NANOSECOND:
      return (nanos) => floorDivide(BigInt(nanos), 1_000_000)
  }
}

function bools(chunks: readonly Data[], count: number): Uint8Array {
  const flags = new Uint8Array(count)
  let row = 0
  for (const { values, offset, length } of chunks) {
    const bits = values as Uint8Array
    for (let bit = offset; bit < offset + length; bit++) flags[row++] = ((bits[bit >> 3] as number) >> (bit & 7)) & 1
  }
  return flags
}

function strings(chunks: readonly Data[]): string[] {
  const texts: string[] = []
  for (const chunk of chunks) {
    if (DataType.isDictionary(chunk.type)) {
      for (const text of new Vector([chunk])) texts.push((text as string | null) ?? '')
      continue
    }
    const { buffer, byteOffset, byteLength } = chunk.values as Uint8Array
    const bytes = Buffer.from(buffer, byteOffset, byteLength)
    const offsets = chunk.valueOffsets as Int32Array | BigInt64Array
    for (let index = 0; index < chunk.length; index++)
      texts.push(bytes.toString('utf8', Number(offsets[index]), Number(offsets[index + 1])))
  }
  return texts
}
