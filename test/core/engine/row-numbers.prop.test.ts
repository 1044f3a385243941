import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Reader, Writer } from '../../../core/engine/row-bytes.ts'
import {
  packed,
  readDecimals,
  readIntegers,
  reservePacked,
  writeDecimals,
  writeIntegers,
} from '../../../core/engine/row-numbers.ts'

const runs = Number(process.env['TIDEMARK_PROPERTY_RUNS'] ?? 150)

const int32 = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 })
const near = fc.constantFrom(0, 127, 128, -128, -129, 32_767, 32_768, -32_768, -32_769, 2 ** 31 - 1, -(2 ** 31))

/** Places of the values in a record, so that neighbours that must stay are seen. */
const stride = 3
const at = 1

function encoded(write: (writer: Writer) => void): Uint8Array {
  const writer = new Writer()
  writer.begin()
  writer.reserve(1 << 16)
  write(writer)
  return writer.end()
}

function integersOf(values: readonly number[]): Uint8Array {
  reservePacked(values.length)
  packed.integers.set(values)
  return encoded((writer) => writeIntegers(writer, values.length))
}

/** Records in an order that is not theirs in memory. */
function placed(values: readonly number[]): { readonly records: Int32Array; readonly floats: Float64Array } {
  const records = Int32Array.from(values, (_, slot) => values.length - 1 - slot)
  const floats = new Float64Array(values.length * stride).fill(7)
  values.forEach((value, slot) => (floats[(records[slot] as number) * stride + at] = value))
  return { records, floats }
}

function decimalsOf(values: readonly number[]): Uint8Array {
  const { records, floats } = placed(values)
  reservePacked(values.length)
  return encoded((writer) => writeDecimals(writer, floats, records, stride, at, values.length))
}

function decimalsIn(bytes: Uint8Array, count: number): { readonly values: number[]; readonly rest: number } {
  const { records } = placed(new Array<number>(count).fill(0))
  const floats = new Float64Array(count * stride).fill(7)
  const reader = new Reader(bytes)
  readDecimals(reader, floats, records, stride, at, count)
  const values = Array.from(records, (record) => floats[record * stride + at] as number)
  expect(floats.filter((_, index) => index % stride !== at).every((value) => value === 7)).toBe(true)
  return { values, rest: bytes.length - reader.at }
}

/** Digits behind the point of the shortest literal that means the value. */
function fractionDigits(value: number): number {
  const [digits = '', exponent = '0'] = String(Math.abs(value)).split('e')
  return Math.max(0, (digits.split('.')[1] ?? '').length - Number(exponent))
}

/** By literals, and not by arithmetic: 255 where no scale fits. */
function plainScale(values: readonly number[]): number {
  if (!values.every((value) => Number.isFinite(value) && !Object.is(value, -0))) return 255
  const scale = Math.max(0, ...values.map(fractionDigits))
  if (scale > 6) return 255
  const isFit = (value: number): boolean => {
    const whole = Math.round(Math.abs(value) * 10 ** scale) * Math.sign(value)
    return whole >= -(2 ** 31) && whole < 2 ** 31
  }
  return values.every(isFit) ? scale : 255
}

const double = fc.double()
const amount = fc.tuple(int32, fc.integer({ min: 0, max: 8 })).map(([whole, digits]) => Number(`${whole}e-${digits}`))
const cents = fc.integer({ min: -1_000_000, max: 1_000_000 }).map((whole) => whole / 100)
const odd = fc.constantFrom(0, -0, Number.NaN, Infinity, -Infinity, 0.1 + 0.2, 5e-324, 1e300, 2 ** 53, 2147483647.5)
const columns = fc.oneof(
  fc.array(cents, { maxLength: 80 }),
  fc.array(amount, { maxLength: 80 }),
  fc.array(fc.oneof(cents, amount, double, odd), { maxLength: 20 }),
  fc.tuple(fc.array(cents, { maxLength: 20 }), odd).map(([values, last]) => [...values, last]),
)

describe('numbers of a packed row', () => {
  it('integers come back, in no more bytes than the widest needs', () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(near, int32, fc.integer({ min: -300, max: 300 })), { maxLength: 80 }), (values) => {
        const bytes = integersOf(values)
        const records = Int32Array.from(values, (_, slot) => slot)
        const into = new Int32Array(values.length * stride)
        readIntegers(new Reader(bytes), into, records, stride, at, values.length)
        expect(Array.from(records, (record) => into[record * stride + at])).toEqual(values)
        const fits = (bits: number): boolean =>
          values.every((value) => value >= -(2 ** (bits - 1)) && value < 2 ** (bits - 1))
        const width = values.every((value) => value === 0) ? 0 : fits(8) ? 1 : fits(16) ? 2 : 4
        expect(bytes.length).toBe(1 + width * values.length)
      }),
      { numRuns: 2 * runs },
    )
  })

  it('decimals come back bit for bit, by the scale that their literals have', () => {
    fc.assert(
      fc.property(columns, (values) => {
        const bytes = decimalsOf(values)
        const { values: again, rest } = decimalsIn(bytes, values.length)
        expect(rest).toBe(0)
        expect(again.every((value, slot) => Object.is(value, values[slot]))).toBe(true)
        expect(bytes[0]).toBe(plainScale(values))
      }),
      { numRuns: 4 * runs },
    )
  })

  it('a large value that a finer scale has no room for makes all of them floats', () => {
    expect(decimalsOf([2 ** 31 - 1])[0]).toBe(0)
    expect(decimalsOf([2 ** 31 - 1, 0.5])[0]).toBe(255)
    expect(decimalsOf([0.5, 2 ** 31])[0]).toBe(255)
    expect(decimalsOf([0.25, 1_234])[0]).toBe(2)
  })

  it('a width or a scale that there is none of is refused', () => {
    expect(() => decimalsIn(Uint8Array.of(7, 1, 1), 1)).toThrow(RangeError)
    expect(() => decimalsIn(Uint8Array.of(2, 3, 1, 1, 1), 1)).toThrow(RangeError)
  })
})

describe('the writer of rows', () => {
  it('leaves rows that were ended as they are, small and large ones in any order', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 90_000 }), { maxLength: 20 }), (lengths) => {
        const writer = new Writer()
        const rows = lengths.map((length, index) => {
          writer.begin()
          for (let left = length; left > 0; left -= 1_000) {
            writer.reserve(Math.min(left, 1_000))
            writer.bytes(new Uint8Array(Math.min(left, 1_000)).fill(index + 1))
          }
          return writer.end()
        })
        rows.forEach((row, index) => {
          expect(row.length).toBe(lengths[index])
          expect(row.every((byte) => byte === index + 1)).toBe(true)
        })
      }),
      { numRuns: runs },
    )
  })
})
