import assert from 'node:assert/strict'
import { opField, takesBack } from '../../core/definition/corrections.ts'
import { type ErrorCode } from '../../core/errors.ts'
import { Op, opNames } from '../../core/event/operation.ts'
import { type FieldType, scalarText, shapeOf } from '../../core/event/types.ts'
import { decimalDigitsMax, fitsPrecision, powerOfTen, rescaled } from '../../core/number/decimal.ts'
import { earliestMs, latestMs } from '../../core/time/time.ts'
import { type RecordCursor } from '../recordbatch/walk.ts'
import { lowHalf } from './encode.ts'
import { differsSource, framedBytes, type Framing } from './framing.ts'
import { isAscii, type StringInterner, validUtf8 } from './intern.ts'
import { type AvroNode, type AvroSchema, type AvroType, fullName, primitives } from './schema.ts'
import { compileSkipper, type NamedTypes, namedTypes, type Skipper } from './skip.ts'

/** One declared field of the stream, as the decoder needs it. */
export interface PlannedField {
  readonly name: string
  readonly type: FieldType
  /** The event time of the stream. */
  readonly isEventTime: boolean
  /** Whether a column is wanted. A field that is not projected is checked all the same: whether a record is dead must not depend on who reads it. */
  readonly projected: boolean
  /** Not nullable, but null in a record that only takes back another one (retract, delete) is no problem. */
  readonly mayBeAbsent: boolean
  readonly strings: StringInterner | null
}

/** How records of a stream say what they do. */
export interface PlannedOps {
  /** Index of the declared field that holds the operation; -1: the writer's field `_op`, where its schema has one. */
  readonly field: number
  /** Of a record that names none. */
  readonly whenNone: number
  /** One more than the code of the written word (0: no known word) -> the operation, -1 where the stream does not take it. */
  readonly byWord: Int8Array
  /** Whether the stream takes more than inserts: operations then become a column. */
  readonly kept: boolean
}

/** Columns under construction, shared by the plans of one decoder. */
export interface RowBuffer {
  capacity: number
  row: number
  /** Of a dead record: 0 for a broken structure, else field index * 8 + cause. */
  problem: number
  offsets: Float64Array
  knownAts: Float64Array
  eventTimes: Float64Array
  /** Op codes; empty where all records are inserts. */
  ops: Uint8Array
  /** Per field; of int64 and decimals the 32-bit halves; null where no column is wanted. */
  values: (Float64Array | Int32Array | Uint8Array | null)[]
  /** Per field; null where it is never null or no column is wanted. */
  nulls: (Uint8Array | null)[]
  /** Per field: 1 when a null may have been written. */
  nullSeen: Uint8Array
  /**
   * Per field: where the strings lie whose codes are looked up when the loop has come back (\`internRows\`), -1 for none.
   * Null where it is no string or no column is wanted.
   */
  starts: (Int32Array | null)[]
  ends: (Int32Array | null)[]
}

/** Why a plan's loop came back. */
export const runEnd = { chunk: 0, other: 1, full: 2, dead: 3 } as const

/** Decodes records from the cursor's current one on, as long as they have the plan's fingerprint and there is room. */
export type Run = (cursor: RecordCursor, out: RowBuffer) => number

const cause = { range: 1, null: 2, nonFinite: 3, eventTime: 4, utf8: 5, op: 6 } as const

/** What a problem number means; never with the value itself. */
export function explainProblem(
  problem: number,
  fields: readonly PlannedField[],
): { readonly code: ErrorCode; readonly reason: string } {
  const field = fields[problem >>> 3]
  const name = field?.name ?? ''
  switch (problem & 7) {
    case cause.range:
      return {
        code: 'FS_DEAD_RANGE',
        reason: `the field ${name} does not fit ${field === undefined ? '' : scalarText(field.type)}`,
      }
    case cause.null:
      return { code: 'FS_DEAD_NULL', reason: `the field ${name} is null or missing` }
    case cause.nonFinite:
      return { code: 'FS_DEAD_NON_FINITE', reason: `the field ${name} is not finite` }
    case cause.eventTime:
      return {
        code: 'FS_DEAD_EVENT_TIME',
        reason: `the event time ${name} is null, missing, not an integer or outside the years 1 to 9999`,
      }
    case cause.op:
      return { code: 'FS_DEAD_OP', reason: 'the operation is unknown, or one that the stream does not take' }
    case cause.utf8:
      return { code: 'FS_DEAD_UNDECODABLE', reason: `the field ${name} is not valid UTF-8` }
    default:
      return { code: 'FS_DEAD_UNDECODABLE', reason: 'the payload does not decode with its writer schema' }
  }
}

/**
 * A loop made for one writer schema and the fields of a stream (resolution by name, as the Avro specification's
 * "Schema Resolution", but a value that does not fit makes its record dead and is no error).
 *
 * The source is put together from numbers and the names of locals alone: no name or text of a schema gets into it.
 * Locals: B bytes, V view, p position, end, b byte, lo and hi the halves of the last long, err the first problem. Where
 * records can take back others: op the operation, nerr the first null that is a problem unless the record only does that.
 */
export function compileRun(
  schema: AvroSchema,
  framing: Framing,
  fields: readonly PlannedField[],
  ops: PlannedOps,
): Run {
  const source = new RunSource(schema, fields, ops).write(framing)
  const make = new Function('R', 'skippers', 'strings', 'opByWord', source.text) as (
    helpers: typeof runtime,
    skippers: readonly Skipper[],
    strings: readonly (StringInterner | null)[],
    opByWord: Int8Array,
  ) => Run
  const loop = make(
    runtime,
    source.skippers,
    fields.map((field) => field.strings),
    ops.byWord,
  )
  return (cursor, out) => {
    const { bytes } = cursor
    const fromRow = out.row
    const end = loop(cursor, out)
    for (let index = 0; index < fields.length; index++) {
      const [starts, ends] = [out.starts[index] ?? null, out.ends[index] ?? null]
      if (starts !== null && ends !== null)
        fields[index]?.strings?.internRows(bytes, starts, ends, out.values[index] as Int32Array, fromRow, out.row)
    }
    return end
  }
}

const broken = '{ out.row = row; out.problem = 0; return 3 }'

/** A zigzag varint into lo and hi: up to four bytes here, longer ones in rest(). */
const readLong = `b = B[p++]; lo = b & 127;
if (b > 127) { b = B[p++]; lo |= (b & 127) << 7;
if (b > 127) { b = B[p++]; lo |= (b & 127) << 14;
if (b > 127) { b = B[p++]; lo |= (b & 127) << 21; } } }
if (b > 127) { p = R.rest(B, p, lo); if (p < 0) ${broken} lo = R.low; hi = R.high; }
else { lo = (lo >>> 1) ^ -(lo & 1); hi = lo >> 31; }
`
const readLength = `${readLong}if (hi !== 0 || lo < 0 || lo > end - p) ${broken}
`

/** Index of the writer's `_op` among the fields. */
const opIndex = -2

class RunSource {
  private readonly schema: AvroSchema
  private readonly fields: readonly PlannedField[]
  private readonly ops: PlannedOps
  private readonly known: NamedTypes
  private readonly namespace: string
  private readonly skippers: Skipper[] = []

  constructor(schema: AvroSchema, fields: readonly PlannedField[], ops: PlannedOps) {
    this.schema = schema
    this.fields = fields
    this.ops = ops
    this.known = namedTypes(schema)
    const { name } = schema
    this.namespace = name.includes('.') ? name.slice(0, name.lastIndexOf('.')) : (schema.namespace ?? '')
  }

  write(framing: Framing): { readonly text: string; readonly skippers: readonly Skipper[] } {
    const indexOf = new Map(this.fields.map((field, index) => [field.name, index]))
    if (this.ops.field === -1) indexOf.set(opField, opIndex)
    const { kept, whenNone } = this.ops
    const readsOp = kept || this.schema.fields.some(({ name }) => indexOf.get(name) === opIndex)
    const body = this.schema.fields.map(({ name, type }) => this.read(indexOf.get(name) ?? -1, type)).join('')
    const written = new Set(this.schema.fields.map(({ name }) => name))
    let missing = ''
    let firstProblem = 0
    this.fields.forEach((field, index) => {
      if (written.has(field.name)) return
      if (field.isEventTime) firstProblem ||= index * 8 + cause.eventTime
      else if (field.type.nullable !== true && !field.mayBeAbsent) firstProblem ||= index * 8 + cause.null
      else missing += this.whenNull(index)
    })
    const locals = this.fields.map(
      (_, i) =>
        `const C${i} = out.values[${i}], N${i} = out.nulls[${i}], S${i} = strings[${i}], P${i} = out.starts[${i}], E${i} = out.ends[${i}];`,
    )
    const text = `'use strict';
return function run(cursor, out) {
  const B = cursor.bytes, V = cursor.view, limit = out.capacity, seen = out.nullSeen;
  const offsets = out.offsets, knownAts = out.knownAts, T = out.eventTimes;
  ${locals.join('\n  ')}
  ${kept ? 'const O = out.ops;\n  ' : ''}let row = out.row, p = 0, end = 0, b = 0, lo = 0, hi = 0, v = 0, err = 0${readsOp ? ', op = 0, nerr = 0' : ''};
  do {
    p = cursor.valueStart; end = cursor.valueEnd;
    if (cursor.bytes !== B || end - p < ${framedBytes(framing)} || ${differsSource(framing)}) { out.row = row; return 1 }
    if (row === limit) { out.row = row; return 2 }
    p += ${framedBytes(framing)};
    err = ${firstProblem};${readsOp ? ` op = ${whenNone}; nerr = 0;` : ''}
${missing}${body}
    if (p !== end) ${broken}${kept ? '\n    if (nerr !== 0 && (op & 1) === 0) err = nerr;' : ''}
    if (err !== 0) { out.row = row; out.problem = err; return 3 }
    offsets[row] = cursor.offset;
    knownAts[row] = cursor.timestampMs;${kept ? '\n    O[row] = op;' : ''}
    row++;
  } while (cursor.next());
  out.row = row;
  return 0;
}`
    return { text, skippers: this.skippers }
  }

  /** Code that reads a value of `type` for field `index`, or walks over it where the index is -1. */
  private read(index: number, type: AvroType): string {
    if (Array.isArray(type)) {
      // One byte holds the zigzag of branch 0 to 63; what has more branches does not decode here.
      const branches = (type as readonly AvroType[]).slice(0, 64)
      const cases = branches.map((branch, tag) => `if (b === ${tag * 2}) {\n${this.read(index, branch)}} else `)
      return `b = B[p++];\n${cases.join('')}${broken}\n`
    }
    const { base, logical } = plainType(type)
    if (index >= 0) {
      const decimal = decimalOf(type, this.namespace, this.known)
      if (decimal !== null && this.fields[index]?.type.type === 'decimal') return this.decimal(index, decimal)
    }
    if (index === opIndex) {
      if (base === 'null') return ''
      if (base === 'string') return `${readLength}hi = p + lo;\n${this.readOp()}p = hi;\n`
      return this.skip(base, type) + this.fail(0, cause.op)
    }
    if (base === null || index === -1)
      return this.skip(base, type) + (index === -1 ? '' : this.fail(index, this.unfit(index)))
    if (base === 'null') return this.whenNull(index)
    return this.value(index, base, logical) ?? this.skip(base, type) + this.fail(index, this.unfit(index))
  }

  /** The writer's type is none that the field is read from. */
  private unfit(index: number): number {
    return this.fields[index]?.isEventTime === true ? cause.eventTime : cause.range
  }

  /** A decimal of the writer into lo and hi, at the field's scale. */
  private decimal(index: number, { size, scale }: WrittenDecimal): string {
    const field = this.fields[index] as PlannedField
    const length = size === null ? readLength : `lo = ${size};\nif (lo > end - p) ${broken}\n`
    const isNulled = field.type.nullable === true || field.mayBeAbsent
    const clear = field.projected && isNulled ? `N${index}[row] = 0;\n` : ''
    const shift = shapeOf(field.type).scale - scale
    const range = this.fail(index, cause.range)
    const read =
      shift === 0 ? 'R.twosComplement(B, p, v)' : `R.rescaleBytes(B, p, v, ${shift}, ${shapeOf(field.type).precision})`
    const store = this.storeDecimal(index, field, 'R.low', 'R.high', 0)
    return `${length}v = p + lo;\nif (!${read}) { ${range} } else {\n${store}}\np = v;\n${clear}`
  }

  /** Stores an integer, times 10^shift, if the field's digits hold that. */
  private storeDecimal(index: number, field: PlannedField, low: string, high: string, shift: number): string {
    const { precision } = shapeOf(field.type)
    const fits =
      shift === 0 ? `R.fits(${low}, ${high}, ${precision})` : `R.rescale(${low}, ${high}, ${shift}, ${precision})`
    const store = `C${index}[row * 2 + ${lowHalf}] = R.low; C${index}[row * 2 + ${1 - lowHalf}] = R.high;\n`
    return `if (!${fits}) { ${this.fail(index, cause.range)} }\n${field.projected ? store : ''}`
  }

  private value(index: number, base: string, logical: string): string | null {
    const field = this.fields[index] as PlannedField
    const text = this.valueOf(index, field, base, logical)
    const isNulled = field.type.nullable === true || field.mayBeAbsent
    const clear = field.projected && isNulled ? `N${index}[row] = 0;\n` : ''
    return text === null ? null : text + clear
  }

  private valueOf(index: number, field: PlannedField, base: string, logical: string): string | null {
    const store = (value: string): string => (field.projected ? `C${index}[row] = ${value};\n` : '')
    const whole = base === 'int' || base === 'long'
    switch (field.type.type) {
      case 'bool':
        if (base !== 'boolean') return null
        return `b = B[p++];\nif (b > 1) ${broken}\n${store('b')}`
      case 'int32':
        if (!whole) return null
        return `${readLong}if (hi !== lo >> 31) { ${this.fail(index, cause.range)} }\n${store('lo')}`
      case 'int64': {
        if (!whole) return null
        const halves = `C${index}[row * 2 + ${lowHalf}] = lo; C${index}[row * 2 + ${1 - lowHalf}] = hi;\n`
        return readLong + (field.projected ? halves : '')
      }
      case 'decimal':
        return whole && logical === ''
          ? readLong + this.storeDecimal(index, field, 'lo', 'hi', shapeOf(field.type).scale)
          : null
      case 'timestamp':
        return whole ? this.timestamp(index, field, logical) : null
      case 'float64':
        return this.float(index, field, base, store)
      case 'string': {
        // Bytes of a decimal are no text.
        if (base !== 'string' && (base !== 'bytes' || logical !== '')) return null
        const check = field.projected
          ? `if (R.isAscii(B, p, hi)) { P${index}[row] = p; E${index}[row] = hi }
else { lo = S${index}.intern(B, p, hi);\nif (lo < 0) { ${this.fail(index, cause.utf8)} }\n${store('lo')}P${index}[row] = -1 }\n`
          : `if (!R.validUtf8(B, p, hi)) { ${this.fail(index, cause.utf8)} }\n`
        const readOp = index === this.ops.field ? this.readOp() : ''
        return `${readLength}hi = p + lo;\n${readOp}${check}p = hi;\n`
      }
    }
  }

  /** The operation that the text from p to hi names. Its codes are odd exactly where a record only takes back. */
  private readOp(): string {
    return `op = opByWord[R.opWord(B, p, hi) + 1];\nif (op < 0) { ${this.fail(0, cause.op)} }\n`
  }

  private timestamp(index: number, field: PlannedField, logical: string): string | null {
    const scale = { '': 'millis', 'timestamp-millis': 'millis', 'timestamp-micros': 'micros' }[logical]
    if (scale === undefined) return null
    const value = scale === 'millis' ? 'hi * 4294967296 + (lo >>> 0)' : 'R.millisOf(lo, hi)'
    if (field.isEventTime)
      return `${readLong}v = ${value};\nif (v < ${earliestMs} || v > ${latestMs}) { ${this.fail(index, cause.eventTime)} }\nT[row] = v;\n`
    const safe = `if (v > ${Number.MAX_SAFE_INTEGER} || v < ${Number.MIN_SAFE_INTEGER}) { ${this.fail(index, cause.range)} }\n`
    return `${readLong}v = ${value};\n${safe}${field.projected ? `C${index}[row] = v;\n` : ''}`
  }

  private float(index: number, field: PlannedField, base: string, store: (value: string) => string): string | null {
    const range = this.fail(index, cause.range)
    switch (base) {
      case 'int':
      case 'long':
        return `${readLong}v = hi * 4294967296 + (lo >>> 0);\nif (v > ${Number.MAX_SAFE_INTEGER} || v < ${Number.MIN_SAFE_INTEGER}) { ${range} }\n${store('v')}`
      case 'float':
      case 'double': {
        const bytes = base === 'float' ? 4 : 8
        const read = `if (end - p < ${bytes}) ${broken}\nv = V.getFloat${bytes * 8}(p, true);\np += ${bytes};\n`
        // v - v is 0 for every finite number, NaN for the others. + 0 makes -0 into +0.
        const finite =
          field.type.allowNonFinite === true
            ? 'if (v !== v) v = NaN;\n'
            : `if (v - v !== 0) { ${this.fail(index, cause.nonFinite)} }\n`
        return read + finite + store('v + 0')
      }
      default:
        return null
    }
  }

  private whenNull(index: number): string {
    const field = this.fields[index] as PlannedField
    if (field.isEventTime) return `${this.fail(index, cause.eventTime)}\n`
    const none = field.projected && field.type.type === 'string' ? `P${index}[row] = -1; ` : ''
    const mark = field.projected ? `${none}N${index}[row] = 1; seen[${index}] = 1;\n` : ''
    if (field.type.nullable === true) return mark
    if (!field.mayBeAbsent) return `${this.fail(index, cause.null)}\n`
    return `if (err === 0 && nerr === 0) nerr = ${index * 8 + cause.null};\n${mark}`
  }

  /** The first problem of a record counts. */
  private fail(index: number, why: number): string {
    return `if (err === 0) err = ${index * 8 + why};`
  }

  private skip(base: string | null, type: AvroType): string {
    switch (base) {
      case 'null':
        return ''
      case 'boolean':
        return 'p++;\n'
      case 'float':
        return 'p += 4;\n'
      case 'double':
        return 'p += 8;\n'
      case 'string':
      case 'bytes':
        return `${readLength}p += lo;\n`
      case 'int':
      case 'long':
        return readLong
      default: {
        const index = this.skippers.push(compileSkipper(type, this.namespace, this.known)) - 1
        return `p = skippers[${index}](B, p, end, 0);\nif (p < 0) ${broken}\n`
      }
    }
  }
}

/** The primitive that a type comes down to, or null, and its logical type. */
function plainType(type: AvroType, logical = ''): { readonly base: string | null; readonly logical: string } {
  if (typeof type === 'string') return { base: primitives.has(type) ? type : null, logical }
  const node = type as AvroNode
  if (Array.isArray(type) || node.name !== undefined) return { base: null, logical }
  return plainType(node.type, node.logicalType ?? logical)
}

/** A decimal as a writer has it: of `size` bytes, or of as many as it says. */
interface WrittenDecimal {
  readonly size: number | null
  readonly scale: number
}

/** Null for what is no decimal; specification 1.11, "Decimal". */
function decimalOf(type: AvroType, namespace: string, known: NamedTypes): WrittenDecimal | null {
  const node = typeof type === 'string' ? known.get(fullName(type, namespace))?.node : (type as AvroNode)
  if (node === undefined || Array.isArray(node) || node.logicalType !== 'decimal') return null
  const { scale = 0, size = 0 } = node
  if (!Number.isInteger(scale) || scale < 0 || scale > scaleMax) return null
  if (node.type === 'bytes') return { size: null, scale }
  return node.type === 'fixed' ? { size, scale } : null
}

/** No writer has more digits, of which 77 are as many as other databases have: powers of ten are made of them. */
const scaleMax = 100
const decimalBytesMax = 64

const opWords = opNames.map((name) => new TextEncoder().encode(name))
assert(opNames.every((name, code) => Op[name] === code && (code & 1) === (takesBack(code) ? 1 : 0)))

/** By precision: the greatest value in two halves. */
const limits = Array.from({ length: decimalDigitsMax + 1 }, (_, precision): readonly [number, number] => {
  const limit = powerOfTen(precision) - 1n
  return [Number(limit & 0xffff_ffffn), Number(limit >> 32n)]
})

/** What generated loops call. `low` and `high` are the second result of rest(). */
const runtime = {
  low: 0,
  high: 0,

  /** The rest of a varint whose first four bytes gave `low28`; -1 when it has more than 64 bits. */
  rest(bytes: Uint8Array, from: number, low28: number): number {
    let at = from
    let byte = bytes[at++] as number
    const low = low28 | ((byte & 127) << 28)
    let high = (byte & 127) >>> 4
    for (let shift = 3; byte > 127; shift += 7) {
      byte = bytes[at++] as number
      if (shift === 31 && byte > 1) return -1
      high |= (byte & 127) << shift
    }
    const sign = -(low & 1)
    this.low = ((low >>> 1) | (high << 31)) ^ sign
    this.high = (high >>> 1) ^ sign
    return at
  },

  /** A big-endian integer into low and high; false when it has no bytes, or more than 64 bits. */
  twosComplement(bytes: Uint8Array, from: number, to: number): boolean {
    if (from >= to) return false
    const sign = ((bytes[from] as number) << 24) >> 31
    let at = from
    for (; to - at > 8; at++) if (bytes[at] !== (sign & 0xff)) return false
    if (at > from && ((bytes[at] as number) << 24) >> 31 !== sign) return false
    let low = sign
    let high = sign
    for (; at < to; at++) {
      high = (high << 8) | (low >>> 24)
      low = (low << 8) | (bytes[at] as number)
    }
    this.low = low
    this.high = high
    return true
  },

  /** Whether |value| < 10^precision; low and high are the value then. */
  fits(low: number, high: number, precision: number): boolean {
    this.low = low
    this.high = high
    const [limitLow, limitHigh] = limits[precision] as readonly [number, number]
    if (high >= 0) return high < limitHigh || (high === limitHigh && low >>> 0 <= limitLow)
    // -limit - 1 in two's complement is ~limit.
    return high > ~limitHigh || (high === ~limitHigh && low >>> 0 > ~limitLow >>> 0)
  },

  rescale(low: number, high: number, shift: number, precision: number): boolean {
    return this.rescaleBig((BigInt(high) << 32n) | BigInt(low >>> 0), shift, precision)
  },

  /** Of a big-endian integer, which may have more bits than its value has here. */
  rescaleBytes(bytes: Uint8Array, from: number, to: number, shift: number, precision: number): boolean {
    if (from >= to || to - from > decimalBytesMax) return false
    let value = 0n
    for (let at = from; at < to; at++) value = (value << 8n) | BigInt(bytes[at] as number)
    return this.rescaleBig(BigInt.asIntN(8 * (to - from), value), shift, precision)
  },

  /** value * 10^shift into low and high; false where that is no integer, or has more digits. */
  rescaleBig(unscaled: bigint, shift: number, precision: number): boolean {
    const value = rescaled(unscaled, Math.max(-shift, 0), Math.max(shift, 0))
    this.low = 0
    this.high = 0
    if (value === null || !fitsPrecision(value, precision)) return false
    this.low = Number(BigInt.asIntN(32, value))
    this.high = Number(value >> 32n)
    return true
  },

  /** Microseconds to milliseconds, downwards, exactly. */
  millisOf(low: number, high: number): number {
    const micros = high * 0x1_0000_0000 + (low >>> 0)
    if (Number.isSafeInteger(micros)) return (micros - (((micros % 1000) + 1000) % 1000)) / 1000
    const exact = (BigInt(high) << 32n) | BigInt(low >>> 0)
    return Number((exact - (((exact % 1000n) + 1000n) % 1000n)) / 1000n)
  },

  /** The code of the operation that a text names, -1 for none. */
  opWord(bytes: Uint8Array, from: number, to: number): number {
    for (let code = 0; code < opWords.length; code++) {
      const word = opWords[code] as Uint8Array
      if (word.length !== to - from) continue
      let at = 0
      while (at < word.length && word[at] === bytes[from + at]) at++
      if (at === word.length) return code
    }
    return -1
  },

  isAscii,
  validUtf8,
}
