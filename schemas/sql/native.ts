/**
 * ClickHouse's Native format, from and to typed arrays. The form without `client_protocol_version`, which concatenates:
 *
 *     block   = varint columns, varint rows, column...
 *     column  = string name, string type, data (absent when rows = 0)
 *     string  = varint length, bytes
 *     Nullable(T)        rows bytes (1 = null), then T's data
 *     LowCardinality(T)  u64 version = 1, u64 flags (bits 0-7 index width, 9 own keys), u64 keys, T's data,
 *                        u64 rows, indexes (in LowCardinality(Nullable(T)) key 0 is null)
 *     Array(T)           a u64 per row: where its items end, counted over the column; then all items as T's data
 *     numbers            little-endian, as typed arrays lie on every platform that Node and ClickHouse share
 *
 * Source: ClickHouse `Formats/NativeReader.cpp`, `DataTypes/Serializations/SerializationLowCardinality.cpp`.
 */
import { FeatureStoreError } from '../../core/errors.ts'
import { StringInterner } from './strings.ts'

/** Strings as codes into a list of distinct ones; code -1 is ''. */
export interface CodedStrings {
  readonly codes: Int32Array
  readonly strings: readonly string[]
}

export type NumberArray =
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | BigInt64Array
  | BigUint64Array
  | Float32Array
  | Float64Array

/** Items of row i: [ends[i - 1] ?? 0, ends[i]). */
export interface NativeLists {
  readonly ends: Int32Array
  readonly items: NumberArray | readonly string[]
  /** One byte per item, 1 = null; only for Array(Nullable(T)). */
  readonly itemNulls?: Uint8Array | null
}

/** What a column takes: for Int64 and DateTime64 also a Float64Array of integers, for String also raw bytes. */
export type NativeInput = NumberArray | CodedStrings | NativeLists | readonly (string | Uint8Array)[]

export interface NativeColumn {
  readonly name: string
  /** As ClickHouse writes it: `Nullable(Int32)`, `DateTime64(3, 'UTC')`. */
  readonly type: string
  readonly data: NativeInput
  /** One byte per row, 1 = null; only for Nullable. What `data` holds at a null is written as 0 or ''. */
  readonly nulls?: Uint8Array | null
}

export interface DecodedColumn {
  readonly name: string
  readonly type: string
  readonly data: NumberArray | CodedStrings
  readonly nulls: Uint8Array | null
}

export interface NativeBlock {
  readonly rows: number
  readonly columns: readonly DecodedColumn[]
}

type Base = { readonly kind: 'number'; readonly make: NumberArrayConstructor } | { readonly kind: 'string' }
interface NumberArrayConstructor {
  readonly BYTES_PER_ELEMENT: number
  new (buffer: ArrayBuffer): NumberArray
  new (length: number): NumberArray
}
interface ParsedType {
  readonly base: Base
  readonly nullable: boolean
  readonly lowCardinality: boolean
}

const numberTypes: Readonly<Record<string, NumberArrayConstructor>> = {
  UInt8: Uint8Array,
  Bool: Uint8Array,
  Int8: Int8Array,
  UInt16: Uint16Array,
  Date: Uint16Array,
  Int16: Int16Array,
  UInt32: Uint32Array,
  DateTime: Uint32Array,
  Int32: Int32Array,
  Int64: BigInt64Array,
  /** Unscaled. ClickHouse names every decimal Decimal(P, S); of 10 to 18 digits it is 64 bits wide. */
  Decimal64: BigInt64Array,
  DateTime64: BigInt64Array,
  UInt64: BigUint64Array,
  Float32: Float32Array,
  Float64: Float64Array,
}
const parsedTypes = new Map<string, ParsedType>()

function parseType(type: string): ParsedType {
  const known = parsedTypes.get(type)
  if (known !== undefined) return known
  let rest = type
  const unwrap = (wrapper: string): boolean => {
    if (!rest.startsWith(`${wrapper}(`) || !rest.endsWith(')')) return false
    rest = rest.slice(wrapper.length + 1, -1)
    return true
  }
  const lowCardinality = unwrap('LowCardinality')
  const nullable = unwrap('Nullable')
  const digits = /^Decimal\((\d+), \d+\)$/.exec(rest)?.[1]
  const name =
    digits !== undefined && Number(digits) >= 10 && Number(digits) <= 18 ? 'Decimal64' : rest.replace(/\(.*\)$/, '')
  const make = Object.hasOwn(numberTypes, name) ? numberTypes[name] : undefined
  if (rest !== 'String' && (make === undefined || lowCardinality))
    throw new FeatureStoreError('FS_OFFLINE_QUERY', `a column of type ${type} has no typed array`, {
      remedy: 'Cast the column in the SQL to an integer, Float64 or String.',
    })
  const base: Base = make === undefined ? { kind: 'string' } : { kind: 'number', make }
  const parsed = { base, nullable, lowCardinality }
  parsedTypes.set(type, parsed)
  return parsed
}

class ByteWriter {
  bytes: Buffer
  length = 0

  constructor(capacity: number) {
    this.bytes = Buffer.allocUnsafe(capacity)
  }

  /** Makes room for `count` bytes and answers where they start. `bytes` may be another buffer afterwards. */
  reserve(count: number): number {
    if (this.length + count > this.bytes.length) {
      const larger = Buffer.allocUnsafe(Math.max(this.bytes.length * 2, this.length + count))
      this.bytes.copy(larger, 0, 0, this.length)
      this.bytes = larger
    }
    const at = this.length
    this.length += count
    return at
  }

  varint(value: number): void {
    let rest = value
    let at = this.reserve(10)
    while (rest >= 0x80) {
      this.bytes[at++] = (rest & 0x7f) | 0x80
      rest = Math.floor(rest / 128)
    }
    this.bytes[at++] = rest
    this.length = at
  }

  uint64(value: number): void {
    const at = this.reserve(8)
    this.bytes.writeBigUInt64LE(BigInt(value), at)
  }

  raw(bytes: Uint8Array): void {
    const at = this.reserve(bytes.length)
    this.bytes.set(bytes, at)
  }

  string(value: string): void {
    const length = Buffer.byteLength(value)
    this.varint(length)
    const at = this.reserve(length)
    this.bytes.write(value, at)
  }
}

const bytesOf = (array: NumberArray): Uint8Array => new Uint8Array(array.buffer, array.byteOffset, array.byteLength)
const isCoded = (data: NativeInput): data is CodedStrings => 'codes' in data
const isLists = (data: NativeInput): data is NativeLists => 'ends' in data

/** One block of `rows` rows. The same columns always give the same bytes. */
export function encodeNativeBlock(columns: readonly NativeColumn[], rows: number): Buffer {
  const out = new ByteWriter(256 + columns.length * (32 + rows * 9))
  out.varint(columns.length)
  out.varint(rows)
  for (const column of columns) {
    out.string(column.name)
    out.string(column.type)
    if (rows > 0) encodeColumn(out, column, rows)
  }
  return out.bytes.subarray(0, out.length)
}

function encodeColumn(out: ByteWriter, column: NativeColumn, rows: number): void {
  const { data } = column
  if (isLists(data)) {
    encodeLists(out, column, data, rows)
    return
  }
  const type = parseType(column.type)
  const length = isCoded(data) ? data.codes.length : data.length
  if (length !== rows) throw wrongData(column, `${length} values for ${rows} rows`)
  const nulls = column.nulls ?? null
  if (nulls !== null && !type.nullable) throw wrongData(column, 'nulls in a column that is not Nullable')
  if (type.lowCardinality) {
    if (nulls !== null || type.nullable || !isCoded(data)) throw wrongData(column, 'only coded strings without nulls')
    encodeLowCardinality(out, data, rows)
    return
  }
  if (type.nullable) out.raw(nulls ?? new Uint8Array(rows))
  if (type.base.kind === 'number') encodeNumbers(out, column, type.base.make, nulls)
  else if (isCoded(data)) encodeCoded(out, data, nulls)
  else encodeStrings(out, column, nulls)
}

function encodeLists(
  out: ByteWriter,
  column: NativeColumn,
  { ends, items, itemNulls }: NativeLists,
  rows: number,
): void {
  const inner = /^Array\((.*)\)$/.exec(column.type)?.[1]
  if (inner === undefined || ends.length !== rows) throw wrongData(column, `${ends.length} lists for ${rows} rows`)
  out.raw(bytesOf(BigUint64Array.from(ends, BigInt)))
  const count = rows === 0 ? 0 : (ends[rows - 1] as number)
  if (count > 0) encodeColumn(out, { name: column.name, type: inner, data: items, nulls: itemNulls ?? null }, count)
}

function encodeNumbers(
  out: ByteWriter,
  column: NativeColumn,
  make: NumberArrayConstructor,
  nulls: Uint8Array | null,
): void {
  const { data } = column
  const width = make.BYTES_PER_ELEMENT
  const start = out.length
  if (ArrayBuffer.isView(data) && data.constructor === make) out.raw(bytesOf(data))
  else if (data instanceof Float64Array && make === (BigInt64Array as NumberArrayConstructor)) integers(out, data)
  else throw wrongData(column, 'another kind of array')
  if (nulls === null) return
  for (let row = 0; row < nulls.length; row++)
    if (nulls[row] === 1) out.bytes.fill(0, start + row * width, start + (row + 1) * width)
}

/** Integers in doubles, as 64-bit two's complement: exact within the safe integers. */
function integers(out: ByteWriter, values: Float64Array): void {
  const words = new Uint32Array(values.length * 2)
  for (let row = 0; row < values.length; row++) {
    const value = values[row] as number
    words[2 * row] = value >>> 0
    words[2 * row + 1] = Math.floor(value / 0x1_0000_0000) >>> 0
  }
  out.raw(bytesOf(words))
}

const emptyString = Buffer.of(0)

/** Each distinct string is encoded once per block, and copied from there. */
function encodeCoded(out: ByteWriter, { codes, strings }: CodedStrings, nulls: Uint8Array | null): void {
  const encoded = new Map<number, Buffer>()
  let lastCode = -1
  let last: Buffer = emptyString
  const few = strings.length <= codes.length * 4 ? new Array<Buffer | undefined>(strings.length) : null
  for (let row = 0; row < codes.length; row++) {
    if (nulls !== null && nulls[row] === 1) {
      out.varint(0)
      continue
    }
    const code = Math.max(-1, codes[row] as number)
    if (code === -1) last = emptyString
    else if (code !== lastCode) {
      const known = few === null ? encoded.get(code) : few[code]
      last = known ?? lengthPrefixed(strings[code] ?? '')
      if (known === undefined) {
        if (few === null) encoded.set(code, last)
        else few[code] = last
      }
    }
    lastCode = code
    const at = out.reserve(last.length)
    const { bytes } = out
    if (last.length > 24) last.copy(bytes, at)
    else for (let i = 0; i < last.length; i++) bytes[at + i] = last[i] as number
  }
}

function lengthPrefixed(value: string): Buffer {
  const writer = new ByteWriter(value.length * 3 + 10)
  writer.string(value)
  return writer.bytes.subarray(0, writer.length)
}

function encodeStrings(out: ByteWriter, column: NativeColumn, nulls: Uint8Array | null): void {
  const { data } = column
  if (!Array.isArray(data)) throw wrongData(column, 'numbers for strings')
  for (let row = 0; row < data.length; row++) {
    const value: unknown = nulls !== null && nulls[row] === 1 ? '' : data[row]
    if (typeof value === 'string') out.string(value)
    else if (value instanceof Uint8Array) {
      out.varint(value.length)
      out.raw(value)
    } else throw wrongData(column, `a ${typeof value} for a string`)
  }
}

const ownKeysBit = 1 << 9
const updateDictionaryBit = 1 << 10

function encodeLowCardinality(out: ByteWriter, { codes, strings }: CodedStrings, rows: number): void {
  const slots = new Map<number, number>()
  const indexes = new Uint32Array(rows)
  for (let row = 0; row < rows; row++) {
    const code = codes[row] as number
    let slot = slots.get(code)
    if (slot === undefined) slots.set(code, (slot = slots.size))
    indexes[row] = slot
  }
  const width = slots.size <= 0x100 ? 0 : slots.size <= 0x1_0000 ? 1 : 2
  out.uint64(1)
  out.uint64(ownKeysBit | updateDictionaryBit | width)
  out.uint64(slots.size)
  for (const code of slots.keys()) out.string(strings[code] ?? '')
  out.uint64(rows)
  out.raw(bytesOf(width === 0 ? Uint8Array.from(indexes) : width === 1 ? Uint16Array.from(indexes) : indexes))
}

const wrongData = (column: NativeColumn, what: string): FeatureStoreError =>
  new FeatureStoreError('FS_INTERNAL', `column ${column.name} ${column.type}: ${what}`)

/**
 * Blocks from chunks that may be cut anywhere. Codes of a string column mean the same in every block of one decoder.
 * Memory: the bytes of one column beyond what is decoded.
 */
export class NativeDecoder {
  #bytes: Buffer = Buffer.alloc(0)
  #at = 0
  #end = 0
  readonly #interners: StringInterner[] = []
  readonly #blocks: NativeBlock[] = []
  #steps: Generator<number, void, void> | null = null
  /** Bytes that must lie beyond #at before the parser can go on. */
  #need = 1

  /** Takes one chunk and answers the blocks that it completes. */
  push(chunk: Uint8Array): NativeBlock[] {
    this.#append(chunk)
    while (this.#end - this.#at >= this.#need) {
      this.#steps ??= this.#block()
      const step = this.#steps.next()
      if (step.done === true) {
        this.#steps = null
        this.#need = 1
      } else {
        this.#need = step.value
      }
    }
    return this.#blocks.splice(0)
  }

  /** Says that no chunk follows. Errors: FS_OFFLINE_UNAVAILABLE when a block is incomplete. */
  end(): void {
    if (this.#steps !== null || this.#end > this.#at)
      throw new FeatureStoreError('FS_OFFLINE_UNAVAILABLE', 'an answer ended in the middle of a block')
  }

  #append(chunk: Uint8Array): void {
    const left = this.#end - this.#at
    if (left === 0) {
      this.#bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
      this.#at = 0
      this.#end = chunk.length
      return
    }
    if (this.#end + chunk.length > this.#bytes.length) {
      const larger = Buffer.allocUnsafe(Math.max(left + chunk.length, Math.min(2 * left, 1 << 26), this.#need))
      this.#bytes.copy(larger, 0, this.#at, this.#end)
      this.#bytes = larger
      this.#at = 0
      this.#end = left
    }
    this.#bytes.set(chunk, this.#end)
    this.#end += chunk.length
  }

  /** Yields how many bytes it needs; whoever resumes it has seen to that. */
  *#block(): Generator<number, void, void> {
    const columnCount = yield* this.#varint()
    const rows = yield* this.#varint()
    const columns: DecodedColumn[] = []
    for (let index = 0; index < columnCount; index++) {
      const name = yield* this.#string()
      const type = yield* this.#string()
      columns.push(yield* this.#column(index, name, type, rows))
    }
    this.#blocks.push({ rows, columns })
  }

  *#column(index: number, name: string, type: string, rows: number): Generator<number, DecodedColumn, void> {
    const parsed = parseType(type)
    if (parsed.lowCardinality) {
      const { codes, nulls } = yield* this.#lowCardinality(index, parsed.nullable, rows)
      return { name, type, nulls, data: { codes, strings: this.#interner(index).strings } }
    }
    const nulls = parsed.nullable ? ((yield* this.#numbers(Uint8Array, rows)) as Uint8Array) : null
    const some = nulls?.includes(1) === true ? nulls : null
    if (parsed.base.kind === 'number')
      return { name, type, nulls: some, data: yield* this.#numbers(parsed.base.make, rows) }
    const codes = yield* this.#strings(this.#interner(index), rows)
    return { name, type, nulls: some, data: { codes, strings: this.#interner(index).strings } }
  }

  #interner(index: number): StringInterner {
    return (this.#interners[index] ??= new StringInterner())
  }

  *#numbers(make: NumberArrayConstructor, count: number): Generator<number, NumberArray, void> {
    const size = count * make.BYTES_PER_ELEMENT
    if (this.#end - this.#at < size) yield size
    const copy = new Uint8Array(size)
    copy.set(this.#bytes.subarray(this.#at, this.#at + size))
    this.#at += size
    return new make(copy.buffer)
  }

  *#strings(interner: StringInterner, count: number): Generator<number, Int32Array, void> {
    const codes = new Int32Array(count)
    for (let row = 0; row < count; row++) {
      // The one-byte length, which nearly every string has, without a nested generator.
      let length = this.#at < this.#end ? (this.#bytes[this.#at] as number) : 0x80
      if (length < 0x80) this.#at++
      else length = yield* this.#varint()
      if (this.#end - this.#at < length) yield length
      codes[row] = interner.intern(this.#bytes, this.#at, this.#at + length)
      this.#at += length
    }
    return codes
  }

  *#lowCardinality(
    index: number,
    nullable: boolean,
    rows: number,
  ): Generator<number, { codes: Int32Array; nulls: Uint8Array | null }, void> {
    if (rows === 0) return { codes: new Int32Array(0), nulls: null }
    const version = yield* this.#uint64()
    const flags = yield* this.#uint64()
    if (version !== 1 || (flags & ownKeysBit) === 0)
      throw new FeatureStoreError('FS_OFFLINE_QUERY', `LowCardinality version ${version}, flags ${flags}`)
    const keys = yield* this.#strings(this.#interner(index), yield* this.#uint64())
    const count = yield* this.#uint64()
    const width = flags & 0xff
    const make = width === 0 ? Uint8Array : width === 1 ? Uint16Array : width === 2 ? Uint32Array : BigUint64Array
    const indexes = yield* this.#numbers(make, count)
    const codes = new Int32Array(count)
    const nulls = nullable ? new Uint8Array(count) : null
    for (let row = 0; row < count; row++) {
      const key = Number(indexes[row])
      codes[row] = keys[key] as number
      if (nulls !== null && key === 0) nulls[row] = 1
    }
    return { codes, nulls: nulls?.includes(1) === true ? nulls : null }
  }

  *#string(): Generator<number, string, void> {
    const length = yield* this.#varint()
    if (this.#end - this.#at < length) yield length
    this.#at += length
    return this.#bytes.toString('utf8', this.#at - length, this.#at)
  }

  *#uint64(): Generator<number, number, void> {
    if (this.#end - this.#at < 8) yield 8
    this.#at += 8
    return Number(this.#bytes.readBigUInt64LE(this.#at - 8))
  }

  *#varint(): Generator<number, number, void> {
    let value = 0
    for (let scale = 1; ; scale *= 128) {
      if (this.#at === this.#end) yield 1
      const byte = this.#bytes[this.#at++] as number
      value += (byte & 0x7f) * scale
      if (byte < 0x80) return value
      if (scale > 2 ** 49) throw new FeatureStoreError('FS_OFFLINE_QUERY', 'an answer is not in Native format')
    }
  }
}

/** All blocks of one answer as one: no rows, and the columns of the first block, when there is nothing. */
export function concatBlocks(blocks: readonly NativeBlock[]): NativeBlock {
  const first = blocks[0]
  if (first === undefined) return { rows: 0, columns: [] }
  if (blocks.length === 1) return first
  const rows = blocks.reduce((sum, block) => sum + block.rows, 0)
  return { rows, columns: first.columns.map((column, index) => concatColumn(column, index, blocks, rows)) }
}

function concatColumn(
  { name, type, data }: DecodedColumn,
  index: number,
  blocks: readonly NativeBlock[],
  rows: number,
): DecodedColumn {
  const codes = isCoded(data)
  const target: NumberArray = codes ? new Int32Array(rows) : new (data.constructor as NumberArrayConstructor)(rows)
  const bytes = bytesOf(target)
  let nulls: Uint8Array | null = null
  let row = 0
  for (const block of blocks) {
    const column = block.columns[index] as DecodedColumn
    const part = isCoded(column.data) ? column.data.codes : column.data
    bytes.set(bytesOf(part), row * target.BYTES_PER_ELEMENT)
    if (column.nulls !== null) (nulls ??= new Uint8Array(rows)).set(column.nulls, row)
    row += block.rows
  }
  return { name, type, nulls, data: isCoded(data) ? { codes: target as Int32Array, strings: data.strings } : target }
}

/** Int64 as doubles, exact within the safe integers; no BigInt is made. */
export function int64ToNumbers(values: BigInt64Array): Float64Array {
  const low = new Uint32Array(values.buffer, values.byteOffset, values.length * 2)
  const high = new Int32Array(values.buffer, values.byteOffset, values.length * 2)
  const numbers = new Float64Array(values.length)
  for (let row = 0; row < values.length; row++)
    numbers[row] = (high[2 * row + 1] as number) * 0x1_0000_0000 + (low[2 * row] as number)
  return numbers
}
