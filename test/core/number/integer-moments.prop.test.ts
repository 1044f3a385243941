import fc from 'fast-check'
import { expect, test } from 'vitest'
import { meanOfDecimals, stddevOfDecimals, varianceOfDecimals } from '../../../core/number/decimal.ts'
import {
  meanOfBigIntegers,
  meanOfIntegers,
  stddevOfBigIntegers,
  stddevOfIntegers,
  varianceOfBigIntegers,
  varianceOfIntegers,
} from '../../../core/number/integer-moments.ts'

const runs = { numRuns: 2000 }
const kind = fc.constantFrom('sample' as const, 'population' as const)
const int32 = fc.oneof(
  fc.integer(),
  fc.integer({ min: -2000, max: 2000 }),
  fc.integer({ min: 1_000_000, max: 1_000_010 }),
  fc.constantFrom(-(2 ** 31), 2 ** 31 - 1, 0, 1),
)

function check(n: number, sum: bigint, squares: bigint, of: 'sample' | 'population'): void {
  const hi = Number(squares >> 32n)
  const lo = Number(squares & 0xffffffffn)
  expect(varianceOfIntegers(n, Number(sum), hi, lo, of)).toBe(varianceOfBigIntegers(n, sum, squares, of))
  expect(stddevOfIntegers(n, Number(sum), hi, lo, of)).toBe(stddevOfBigIntegers(n, sum, squares, of))
  expect(meanOfIntegers(n, Number(sum))).toBe(meanOfBigIntegers(n, sum))
  for (const scale of [1, 2, 5, 9, 11]) {
    const unit = 10 ** (2 * scale)
    expect(varianceOfIntegers(n, Number(sum), hi, lo, of, unit)).toBe(varianceOfDecimals(n, sum, squares, scale, of))
    expect(stddevOfIntegers(n, Number(sum), hi, lo, of, unit)).toBe(stddevOfDecimals(n, sum, squares, scale, of))
    expect(meanOfIntegers(n, Number(sum), 10 ** scale)).toBe(meanOfDecimals(n, sum, scale))
  }
}

test('moments of int32 values equal the exact ones', () => {
  fc.assert(
    fc.property(fc.array(int32, { maxLength: 30 }), kind, (values, of) => {
      const sum = values.reduce((total, x) => total + BigInt(x), 0n)
      const squares = values.reduce((total, x) => total + BigInt(x) ** 2n, 0n)
      check(values.length, sum, squares, of)
    }),
    runs,
  )
})

test('moments of repeated values, as of large windows, equal the exact ones', () => {
  const repeated = fc.tuple(int32, fc.integer({ min: 1, max: 1_000_000 }))
  fc.assert(
    fc.property(fc.array(repeated, { minLength: 1, maxLength: 5 }), kind, (groups, of) => {
      const n = groups.reduce((total, [, times]) => total + times, 0)
      const sum = groups.reduce((total, [x, times]) => total + BigInt(x) * BigInt(times), 0n)
      const squares = groups.reduce((total, [x, times]) => total + BigInt(x) ** 2n * BigInt(times), 0n)
      check(n, sum, squares, of)
    }),
    runs,
  )
})

test('the root is of the exact rational, not of the rounded quotient', () => {
  let differ = 0
  for (let n = 2; n < 400; n++) {
    const squares = BigInt(n * 3 + 7)
    const rounded = Math.sqrt(varianceOfIntegers(n, 3, 0, Number(squares), 'sample') as number)
    if (rounded !== stddevOfIntegers(n, 3, 0, Number(squares), 'sample')) differ++
    check(n, 3n, squares, 'sample')
  }
  expect(differ).toBeGreaterThan(0)
})

test('undefined moments are null, equal values have none', () => {
  expect(varianceOfIntegers(1, 5, 0, 25, 'sample')).toBeNull()
  expect(stddevOfIntegers(0, 0, 0, 0, 'population')).toBeNull()
  expect(meanOfIntegers(0, 0)).toBeNull()
  expect(meanOfIntegers(3, -0)).toBe(0)
  expect(varianceOfIntegers(1, 5, 0, 25, 'population')).toBe(0)
  expect(stddevOfIntegers(4, 8, 0, 16, 'sample')).toBe(0)
})
