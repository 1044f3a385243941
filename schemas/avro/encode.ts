import { FeatureStoreError, notYet } from '../../core/errors.ts'
import { type Column, type Scalar, scalarText, type StringTable } from '../../core/event/types.ts'
import { type DecimalShape, unscaledOf } from '../../core/number/decimal.ts'
import {
  type AvroField,
  type AvroNode,
  type AvroSchema,
  type AvroType,
  singleObjectBytes,
  singleObjectHeader,
} from './schema.ts'

export type FieldValues = Readonly<Record<string, Scalar | undefined>>
export type FieldColumns = Readonly<Record<string, Column>>

/** Payloads in the single-object encoding. Each answer is bytes of its own, never written again. */
export interface RowEncoder {
  /** From values by field name, or in the order of the schema. A missing value is null. */
  encode(values: FieldValues | readonly Scalar[]): Uint8Array
  /** From row `row` of columns by field name. A missing column is null. */
  encodeRow(columns: FieldColumns, row: number): Uint8Array
}

const slabBytes = 64 * 1024
const utf8 = new TextEncoder()

/**
 * An encoder for a flat record of null, boolean, int, long, float, double, string and decimals (bytes, or
 * a fixed of 8), or unions of null with one.
 * Every int64 is taken: as a bigint, or as a safe integer.
 *
 * Errors: FS_NOT_YET for another type; the encoder throws FS_EVENT_INVALID, naming the field, for a value that does not
 * fit.
 */
export function compileEncoder(schema: AvroSchema): RowEncoder {
  const header = singleObjectHeader(schema)
  const fields = schema.fields.map(compileField)
  const names = new Set(fields.map(({ name }) => name))
  const out = new Writer()
  let bound: FieldColumns | undefined
  let readers: readonly RowWriter[] = []
  return {
    encode(values) {
      if (isList(values)) {
        if (values.length !== fields.length)
          throw new FeatureStoreError(
            'FS_EVENT_INVALID',
            `${values.length} values for the ${fields.length} fields of ${schema.name}`,
          )
      } else {
        for (const name in values)
          if (!names.has(name))
            throw new FeatureStoreError('FS_EVENT_INVALID', `${schema.name} has no field ${JSON.stringify(name)}`)
      }
      out.begin(header)
      for (let index = 0; index < fields.length; index++) {
        const field = fields[index] as FieldEncoder
        field.writeValue(out, (isList(values) ? values[index] : values[field.name]) ?? null)
      }
      return out.finish()
    },
    encodeRow(columns, row) {
      if (columns !== bound) {
        readers = fields.map((field) => field.bind(columns[field.name]))
        bound = columns
      }
      out.begin(header)
      for (let index = 0; index < readers.length; index++) (readers[index] as RowWriter)(out, row)
      return out.finish()
    },
  }
}

const isList = (values: FieldValues | readonly Scalar[]): values is readonly Scalar[] => Array.isArray(values)

type RowWriter = (out: Writer, row: number) => void

interface FieldEncoder {
  readonly name: string
  writeValue(out: Writer, value: Scalar): void
  bind(column: Column | undefined): RowWriter
}

function compileField({ name, type }: AvroField): FieldEncoder {
  const { base, nullBranch, decimal } = unwrap(name, type)
  // Zigzag of the branch index: 0 for branch 0, 2 for branch 1.
  const nullTag = nullBranch * 2
  const valueTag = 2 - nullTag
  const writeNull = (out: Writer): void => {
    if (nullBranch >= 0) out.byte(nullTag)
    else if (base !== 'null') throw wrong(name, base, null)
  }
  const writeValue = (out: Writer, value: Scalar): void => {
    if (value === null) return writeNull(out)
    if (nullBranch >= 0) out.byte(valueTag)
    if (decimal !== null) writeDecimal(out, name, decimal, value)
    else writeScalar(out, name, base, value)
  }
  return {
    name,
    writeValue,
    bind(column) {
      if (column === undefined) return writeNull
      const write = decimal === null ? bindColumn(name, base, column) : bindDecimal(name, decimal, column)
      const { nulls } = column
      return (out, row) => {
        if (nulls !== null && nulls[row] === 1) return writeNull(out)
        if (nullBranch >= 0) out.byte(valueTag)
        write(out, row)
      }
    },
  }
}

const encodable = new Set(['null', 'boolean', 'int', 'long', 'float', 'double', 'string'])

/** `size` of a fixed, null of bytes. */
interface WrittenDecimal extends DecimalShape {
  readonly size: number | null
}

interface Unwrapped {
  readonly base: string
  readonly nullBranch: 0 | 1 | -1
  readonly decimal: WrittenDecimal | null
}

function unwrap(name: string, type: AvroType): Unwrapped {
  if (typeof type === 'string' && encodable.has(type)) return { base: type, nullBranch: -1, decimal: null }
  if (Array.isArray(type)) {
    const branches = type as readonly AvroType[]
    const nullBranch = branches.indexOf('null')
    const other = branches[1 - nullBranch]
    if (branches.length === 2 && (nullBranch === 0 || nullBranch === 1) && other !== undefined && other !== 'null')
      return { ...unwrap(name, other), nullBranch }
  } else if (typeof type === 'object') {
    const { type: inner, logicalType, precision, scale = 0, size } = type as AvroNode
    const whole = inner === 'bytes' || (inner === 'fixed' && size === 8)
    if (logicalType === 'decimal' && whole && precision !== undefined)
      return { base: inner, nullBranch: -1, decimal: { precision, scale, size: inner === 'fixed' ? 8 : null } }
    if (typeof inner === 'string') return unwrap(name, inner)
  }
  throw notYet(`writing the field ${name} of Avro type ${JSON.stringify(type)}`)
}

function writeDecimal(out: Writer, name: string, { size, ...shape }: WrittenDecimal, value: Scalar): void {
  const unscaled = typeof value === 'string' ? unscaledOf(value, shape) : null
  if (unscaled === null) throw wrong(name, `decimal(${shape.precision}, ${shape.scale})`, value)
  out.decimal(Number(BigInt.asIntN(32, unscaled)), Number(unscaled >> 32n), size)
}

/** By its two halves, as int64. A column of fewer digits fits; whoever has more rescales or says so in the schema. */
function bindDecimal(name: string, { precision, scale, size }: WrittenDecimal, column: Column): RowWriter {
  if (column.type !== 'decimal' || column.scale !== scale || column.precision > precision)
    throw new FeatureStoreError(
      'FS_EVENT_INVALID',
      `the field ${name} is decimal(${precision}, ${scale}), its column ${column.type === 'decimal' ? scalarText(column) : column.type}`,
    )
  const halves = new Int32Array(column.values.buffer, column.values.byteOffset, column.values.length * 2)
  return (out, row) => out.decimal(halves[row * 2 + lowHalf] as number, halves[row * 2 + 1 - lowHalf] as number, size)
}

function writeScalar(out: Writer, name: string, base: string, value: string | boolean | number | bigint): void {
  switch (base) {
    case 'boolean':
      if (typeof value !== 'boolean') throw wrong(name, base, value)
      return out.byte(value ? 1 : 0)
    case 'int':
      if (typeof value !== 'number' || (value | 0) !== value) throw wrong(name, base, value)
      return out.int(value)
    case 'long':
      if (typeof value === 'number' && Number.isSafeInteger(value)) return out.long(value)
      if (typeof value === 'bigint' && BigInt.asIntN(64, value) === value) return out.bigLong(value)
      throw wrong(name, base, value)
    case 'float':
    case 'double':
      if (typeof value !== 'number') throw wrong(name, base, value)
      return base === 'float' ? out.float(value) : out.double(value)
    case 'string':
      if (typeof value !== 'string' || !value.isWellFormed()) throw wrong(name, base, value)
      return out.string(utf8.encode(value))
    default:
      throw wrong(name, base, value)
  }
}

/** Which column types a writer's type takes; int64 goes by its two halves, so no BigInt is made per row. */
function bindColumn(name: string, base: string, column: Column): RowWriter {
  switch (column.type) {
    case 'bool':
      if (base === 'boolean') return (out, row) => out.byte(column.values[row] === 0 ? 0 : 1)
      break
    case 'int32':
      if (base === 'int' || base === 'long') return (out, row) => out.int(column.values[row] as number)
      break
    case 'int64': {
      const halves = new Int32Array(column.values.buffer, column.values.byteOffset, column.values.length * 2)
      if (base === 'long')
        return (out, row) => out.halves(halves[row * 2 + lowHalf] as number, halves[row * 2 + 1 - lowHalf] as number)
      break
    }
    case 'timestamp':
      if (base === 'long')
        return (out, row) => {
          const value = column.values[row] as number
          if (!Number.isSafeInteger(value)) throw wrong(name, base, value)
          out.long(value)
        }
      break
    case 'float64':
      if (base === 'double') return (out, row) => out.double(column.values[row] as number)
      if (base === 'float') return (out, row) => out.float(column.values[row] as number)
      break
    case 'string': {
      if (base !== 'string') break
      const bytesOf = stringBytes(name, column.table)
      return (out, row) => out.string(bytesOf(column.values[row] as number))
    }
    case 'decimal':
      // bindDecimal has those that fit.
      break
  }
  throw new FeatureStoreError('FS_EVENT_INVALID', `the field ${name} is ${base}, its column ${column.type}`)
}

/** Which 32-bit half of an int64 in a typed array is the low one: the first on a little-endian machine. */
export const lowHalf = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1 ? 0 : 1

/** UTF-8 of a table's strings, each encoded once. */
function stringBytes(name: string, table: StringTable): (code: number) => Uint8Array {
  const encoded: (Uint8Array | undefined)[] = []
  return (code) => {
    const known = encoded[code]
    if (known !== undefined) return known
    const text = table.strings[code]
    if (text === undefined || !text.isWellFormed()) throw wrong(name, 'string', text ?? null)
    const bytes = utf8.encode(text)
    encoded[code] = bytes
    return bytes
  }
}

/** Names the field and the kind of value, never the value: messages end in logs. */
const wrong = (name: string, base: string, value: Scalar): FeatureStoreError =>
  new FeatureStoreError(
    'FS_EVENT_INVALID',
    `the field ${name} is ${base} and cannot be ${value === null ? 'null' : `this ${typeof value}`}`,
  )

/** Grows slabs, so that many small payloads cost one allocation. */
class Writer {
  private slab = new Uint8Array(slabBytes)
  private view = new DataView(this.slab.buffer)
  private start = 0
  private at = 0

  begin(header: Uint8Array): void {
    this.at = this.start
    this.reserve(singleObjectBytes)
    for (let index = 0; index < singleObjectBytes; index++) this.slab[this.at + index] = header[index] as number
    this.at += singleObjectBytes
  }

  finish(): Uint8Array {
    const payload = this.slab.subarray(this.start, this.at)
    this.start = this.at
    return payload
  }

  byte(value: number): void {
    this.reserve(1)
    this.slab[this.at++] = value
  }

  int(value: number): void {
    this.reserve(5)
    const { slab } = this
    let at = this.at
    let rest = ((value << 1) ^ (value >> 31)) >>> 0
    for (; rest > 0x7f; rest >>>= 7) slab[at++] = (rest & 0x7f) | 0x80
    slab[at++] = rest
    this.at = at
  }

  /** A safe integer. */
  long(value: number): void {
    this.halves(value | 0, Math.floor(value / 0x1_0000_0000))
  }

  bigLong(value: bigint): void {
    this.halves(Number(BigInt.asIntN(32, value)), Number(value >> 32n))
  }

  /** An int64 as its two halves. */
  halves(low: number, high: number): void {
    this.reserve(10)
    const { slab } = this
    let at = this.at
    const sign = high >> 31
    let restLow = ((low << 1) ^ sign) >>> 0
    let restHigh = (((high << 1) | (low >>> 31)) ^ sign) >>> 0
    while (restHigh !== 0 || restLow > 0x7f) {
      slab[at++] = (restLow & 0x7f) | 0x80
      restLow = ((restLow >>> 7) | (restHigh << 25)) >>> 0
      restHigh >>>= 7
    }
    slab[at++] = restLow
    this.at = at
  }

  /** An int64, its two halves big-endian: as fixed 8 bytes, or as a length and the fewest bytes. */
  decimal(low: number, high: number, size: number | null): void {
    this.reserve(9)
    this.view.setInt32(this.at + 1, high)
    this.view.setInt32(this.at + 5, low)
    const { slab, at } = this
    let first = 1
    // A byte of nothing but the sign is left out where the next one has that sign too.
    if (size === null)
      for (; first < 8; first++) {
        const sign = ((slab[at + first + 1] as number) << 24) >> 31
        if (((slab[at + first] as number) << 24) >> 24 !== sign) break
      }
    const length = 9 - first
    const start = size === null ? at + 1 : at
    // Zigzag of a length below 64.
    if (size === null) slab[at] = length * 2
    slab.copyWithin(start, at + first, at + 9)
    this.at = start + length
  }

  float(value: number): void {
    this.reserve(4)
    this.view.setFloat32(this.at, value, true)
    this.at += 4
  }

  double(value: number): void {
    this.reserve(8)
    this.view.setFloat64(this.at, value, true)
    this.at += 8
  }

  string(bytes: Uint8Array): void {
    const { length } = bytes
    this.int(length)
    this.reserve(length)
    if (length > 48) this.slab.set(bytes, this.at)
    else for (let index = 0; index < length; index++) this.slab[this.at + index] = bytes[index] as number
    this.at += length
  }

  /** Room for `bytes` more: what is written of the current payload moves to a new slab. */
  private reserve(bytes: number): void {
    if (this.at + bytes <= this.slab.length) return
    const written = this.at - this.start
    const slab = new Uint8Array(Math.max(slabBytes, (written + bytes) * 2))
    slab.set(this.slab.subarray(this.start, this.at))
    this.slab = slab
    this.view = new DataView(slab.buffer)
    this.start = 0
    this.at = written
  }
}
