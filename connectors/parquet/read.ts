import { open, type FileHandle } from 'node:fs/promises'
import { brotliDecompressSync, gunzipSync, zstdDecompressSync } from 'node:zlib'
import {
  parquetMetadataAsync,
  parquetRead,
  parquetSchema,
  type AsyncBuffer,
  type Compressors,
  type FileMetaData,
  type ParquetParsers,
  type SchemaElement,
} from 'hyparquet'
import { FeatureStoreError } from '../../core/errors.ts'
import type { Column, ScalarType } from '../../core/event/types.ts'
import { decimalDigitsMax, fitsPrecision, type DecimalShape } from '../../core/number/decimal.ts'
import { floorDivide } from '../../core/number/floor-divide.ts'
import { dayMs } from '../../core/time/time.ts'
import { lz4Block } from '../../schemas/compression/lz4.ts'

export interface ParquetTable {
  readonly rowCount: number
  /** By name, in the order of the file. */
  readonly columns: Readonly<Record<string, Column>>
}

const notRead = (codec: string, what: string) => (): never => {
  throw new FeatureStoreError('FS_FILE_INVALID', `columns compressed with ${codec} are not read: ${what}`, {
    remedy: 'Write the file with SNAPPY, ZSTD, GZIP, BROTLI or LZ4_RAW.',
  })
}

/** Uncompressed and Snappy are hyparquet's own. */
const compressors: Compressors = {
  ZSTD: (input, outputLength) => zstdDecompressSync(input, { maxOutputLength: outputLength }),
  GZIP: (input, outputLength) => gunzipSync(input, { maxOutputLength: outputLength }),
  BROTLI: (input, outputLength) => brotliDecompressSync(input, { maxOutputLength: outputLength }),
  LZ4_RAW: lz4Block,
  LZ4: notRead('LZ4', 'its framing differs from writer to writer'),
  LZO: notRead('LZO', 'nothing writes it any more'),
}

/**
 * Reads flat columns of a Parquet file, one column of one row group at a time.
 *
 * Types:  integers up to 32 bits to int32, other signed ones to int64; float and double to float64; decimals of up to 18 digits; boolean; UTF-8 to
 *         string codes; timestamps of any unit, with a zone or without one (read as UTC), and dates to timestamp, in
 *         epoch milliseconds, cut off downwards.
 * Shape:  every column of the file, or those named. Memory O(rows), and one column chunk more.
 * Errors: FS_FILE_INVALID for a file that is no Parquet, a missing column, a nested column, another type or codec.
 */
export async function readParquet(path: string, columns?: readonly string[]): Promise<ParquetTable> {
  let handle: FileHandle
  try {
    handle = await open(path)
  } catch (cause) {
    throw new FeatureStoreError('FS_FILE_INVALID', `${path} cannot be opened`, { cause })
  }
  try {
    const file = bufferOf(handle, (await handle.stat()).size)
    const metadata = await parquetMetadataAsync(file)
    const read: Record<string, Column> = {}
    for (const column of flatColumns(path, metadata, columns))
      read[column.name] = await readColumn(file, metadata, column)
    return { rowCount: Number(metadata.num_rows), columns: read }
  } catch (cause) {
    if (cause instanceof FeatureStoreError) throw cause
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new FeatureStoreError('FS_FILE_INVALID', `${path}: ${reason}`, { cause })
  } finally {
    await handle.close()
  }
}

const bufferOf = (handle: FileHandle, byteLength: number): AsyncBuffer => ({
  byteLength,
  async slice(start, end = byteLength) {
    const bytes = new Uint8Array(end - start)
    let at = 0
    while (at < bytes.length) {
      const { bytesRead } = await handle.read(bytes, at, bytes.length - at, start + at)
      if (bytesRead === 0) throw new Error('the file ends before its metadata says')
      at += bytesRead
    }
    return bytes.buffer
  },
})

interface FlatColumn {
  readonly name: string
  readonly type: ScalarType
  /** Of a decimal. */
  readonly shape: DecimalShape | null
}

function flatColumns(path: string, metadata: FileMetaData, wanted: readonly string[] | undefined): FlatColumn[] {
  const byName = new Map(parquetSchema(metadata).children.map((child) => [child.element.name, child]))
  return [...(wanted ?? byName.keys())].map((name) => {
    const child = byName.get(name)
    if (child === undefined) throw new FeatureStoreError('FS_FILE_INVALID', `${path} has no column ${name}`)
    const { element } = child
    const nested = child.children.length > 0 || element.repetition_type === 'REPEATED'
    const shape = nested ? null : decimalShape(element)
    const type = nested ? null : shape === null ? scalarTypeOf(element) : 'decimal'
    if (type === null) {
      const what = nested ? 'nested' : `of type ${element.converted_type ?? element.logical_type?.type ?? element.type}`
      throw new FeatureStoreError('FS_FILE_INVALID', `${path}: column ${name} is ${what}, which is not read`)
    }
    return { name, type, shape }
  })
}

const smallIntegers: readonly unknown[] = ['INT_8', 'INT_16', 'INT_32', 'UINT_8', 'UINT_16']
const dates: readonly unknown[] = ['DATE', 'TIMESTAMP_MILLIS', 'TIMESTAMP_MICROS']

const isDecimal = (element: Pick<SchemaElement, 'converted_type' | 'logical_type'>): boolean =>
  element.converted_type === 'DECIMAL' || element.logical_type?.type === 'DECIMAL'

/** The digits of a decimal, null for what is none. Errors: FS_FILE_INVALID for a scale that no decimal of ours has. */
function decimalShape(element: SchemaElement): DecimalShape | null {
  if (!isDecimal(element)) return null
  const { name, logical_type: logical, precision, scale } = element
  const digits = logical?.type === 'DECIMAL' ? logical : { precision: precision ?? decimalDigitsMax, scale: scale ?? 0 }
  if (digits.scale < 0 || digits.scale > decimalDigitsMax)
    throw new FeatureStoreError(
      'FS_FILE_INVALID',
      `column ${name} has ${digits.scale} digits behind the point: 0 to 18 are read`,
    )
  return { precision: Math.min(digits.precision, decimalDigitsMax), scale: digits.scale }
}

/**
 * The metadata without what says that integers and bytes are decimals: hyparquet makes doubles of those. Bytes are handed
 * to the parser of strings.
 */
function withoutDecimals(metadata: FileMetaData): FileMetaData {
  const schema = metadata.schema.map((element): SchemaElement => {
    if (!isDecimal(element)) return element
    const { converted_type: _, logical_type: __, ...raw } = element
    return raw.type === 'INT32' || raw.type === 'INT64' ? raw : { ...raw, converted_type: 'UTF8' }
  })
  return { ...metadata, schema }
}

/** A big-endian integer in two's complement. */
function bigInteger(bytes: Uint8Array): bigint {
  let value = 0n
  for (const byte of bytes) value = (value << 8n) | BigInt(byte)
  return BigInt.asIntN(8 * bytes.length, value)
}

/** Null for what has no column here: unsigned 64 bits, times of day, intervals, raw fixed-size bytes. */
function scalarTypeOf({ type, converted_type: converted, logical_type: logical }: SchemaElement): ScalarType | null {
  if (logical?.type === 'TIMESTAMP' || dates.includes(converted) || type === 'INT96') return 'timestamp'
  if (logical?.type === 'INTEGER' && logical.bitWidth === 64 && !logical.isSigned) return null
  const plain = converted === undefined && (logical === undefined || logical.type === 'INTEGER')
  switch (type) {
    case 'BOOLEAN':
      return 'bool'
    case 'FLOAT':
    case 'DOUBLE':
      return 'float64'
    case 'INT32':
      // Of a column that holds nothing but nulls, writers such as pyarrow know no other type.
      if (logical?.type === 'NULL') return 'int32'
      if (converted === 'UINT_32' || (logical?.type === 'INTEGER' && logical.bitWidth === 32 && !logical.isSigned))
        return 'int64'
      return plain || smallIntegers.includes(converted) ? 'int32' : null
    case 'INT64':
      return plain || converted === 'INT_64' ? 'int64' : null
    case 'BYTE_ARRAY':
      return plain || converted === 'UTF8' || converted === 'ENUM' || logical?.type === 'STRING' ? 'string' : null
    default:
      return null
  }
}

/** Hands out the code of a string; a dictionary page asks once for each of its entries, whatever the rows. */
class Codes {
  readonly strings: string[] = []
  readonly #byString = new Map<string, number>()
  /** A byte order mark is part of the string; bytes that are no UTF-8 are no string. */
  readonly #decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

  codeOf(bytes: Uint8Array): number {
    const text = this.#textOf(bytes)
    let code = this.#byString.get(text)
    if (code === undefined) {
      code = this.strings.length
      this.strings.push(text)
      this.#byString.set(text, code)
    }
    return code
  }

  #textOf(bytes: Uint8Array): string {
    try {
      return this.#decoder.decode(bytes)
    } catch (cause) {
      throw new FeatureStoreError('FS_FILE_INVALID', 'a string column holds bytes that are no UTF-8', { cause })
    }
  }
}

function parsersFor(codes: Codes, type: ScalarType): Partial<ParquetParsers> {
  return {
    timestampFromMilliseconds: Number,
    timestampFromMicroseconds: (micros) => floorDivide(micros, 1000),
    timestampFromNanoseconds: (nanos) => floorDivide(nanos, 1_000_000),
    dateFromDays: (days) => days * dayMs,
    stringFromBytes: type === 'decimal' ? bigInteger : (bytes) => codes.codeOf(bytes),
  }
}

async function readColumn(
  file: AsyncBuffer,
  fileMetadata: FileMetaData,
  { name, type, shape }: FlatColumn,
): Promise<Column> {
  const metadata = shape === null ? fileMetadata : withoutDecimals(fileMetadata)
  const count = Number(metadata.num_rows)
  const codes = new Codes()
  const sink: Sink = { values: valuesOf(type, count), nulls: null, wideRow: null }
  let rowStart = 0
  for (const { num_rows: rows } of metadata.row_groups) {
    const rowEnd = rowStart + Number(rows)
    let filled = rowStart
    await parquetRead({
      file,
      metadata,
      columns: [name],
      rowStart,
      rowEnd,
      compressors,
      parsers: parsersFor(codes, type),
      onChunk: (chunk) => {
        if (shape === null) fill(sink, chunk.columnData, chunk.rowStart)
        else fillDecimals(sink, chunk.columnData, chunk.rowStart)
        filled = chunk.rowEnd
      },
    })
    if (sink.wideRow !== null)
      throw new FeatureStoreError(
        'FS_FILE_INVALID',
        `column ${name} has more than ${decimalDigitsMax} digits in row ${sink.wideRow + 1}`,
      )
    if (filled !== rowEnd) throw new Error(`column ${name} ends at row ${filled} of ${rowEnd}`)
    rowStart = rowEnd
  }
  return shape === null
    ? columnOf(type, sink, codes.strings)
    : ({ type, ...shape, values: sink.values, nulls: sink.nulls } as Column)
}

type Values = Float64Array | Int32Array | BigInt64Array | Uint8Array

/** A column while it is read. */
interface Sink {
  readonly values: Values
  nulls: Uint8Array | null
  /** A decimal that does not fit. */
  wideRow: number | null
}

function valuesOf(type: ScalarType, count: number): Values {
  switch (type) {
    case 'float64':
    case 'timestamp':
      return new Float64Array(count)
    case 'int32':
    case 'string':
      return new Int32Array(count)
    case 'int64':
    case 'decimal':
      return new BigInt64Array(count)
    case 'bool':
      return new Uint8Array(count)
  }
}

/** Copies a chunk to its rows. What parsers and pages give is a number, a bigint or a boolean. */
function fill(sink: Sink, chunk: ArrayLike<unknown>, from: number): void {
  const { values } = sink
  if (values instanceof BigInt64Array) {
    for (let index = 0; index < chunk.length; index++) {
      const value = chunk[index] as bigint | number | null | undefined
      if (value === null || value === undefined) markNull(sink, from + index)
      else values[from + index] = typeof value === 'bigint' ? value : BigInt(value)
    }
    return
  }
  for (let index = 0; index < chunk.length; index++) {
    const value = chunk[index] as number | boolean | null | undefined
    if (value === null || value === undefined) markNull(sink, from + index)
    else values[from + index] = value as number
  }
}

/** Notes the first row whose value has more than 18 digits: an error thrown in a callback of hyparquet would be nobody's. */
function fillDecimals(sink: Sink, chunk: ArrayLike<unknown>, from: number): void {
  for (let index = 0; index < chunk.length; index++) {
    const value = chunk[index] as bigint | number | null | undefined
    if (value === null || value === undefined) markNull(sink, from + index)
    else if (fitsPrecision(BigInt(value), decimalDigitsMax)) sink.values[from + index] = BigInt(value)
    else sink.wideRow ??= from + index
  }
}

function markNull(sink: Sink, row: number): void {
  sink.nulls ??= new Uint8Array(sink.values.length)
  sink.nulls[row] = 1
}

function columnOf(type: ScalarType, { values, nulls }: Sink, strings: readonly string[]): Column {
  return (type === 'string' ? { type, values, table: { strings }, nulls } : { type, values, nulls }) as Column
}
