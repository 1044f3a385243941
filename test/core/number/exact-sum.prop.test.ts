import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  behindStored,
  exactMean,
  ExactSquares,
  exactStddev,
  ExactSum,
  exactVariance,
} from '../../../core/number/exact-sum.ts'
import { roundRational, roundSqrtRational, toScaledBigInt } from '../../../core/number/rational.ts'
import { wideDoubles } from './values.ts'

const runs = { numRuns: 3000 }

/** The twin: every value an integer on the grid 2^-1074. */
const onGrid = (x: number): bigint => {
  const { mantissa, exponent } = toScaledBigInt(x)
  return mantissa << BigInt(exponent + 1074)
}
const grid = 1n << 1074n
const plainSum = (values: readonly number[]): bigint => values.reduce((sum, x) => sum + onGrid(x), 0n)
const plainSquares = (values: readonly number[]): bigint => values.reduce((sum, x) => sum + onGrid(x) ** 2n, 0n)

const sumOf = (values: readonly number[]): ExactSum => {
  const sum = new ExactSum()
  for (const x of values) sum.add(x)
  return sum
}
const squaresOf = (values: readonly number[]): ExactSquares => {
  const squares = new ExactSquares()
  for (const x of values) squares.add(x)
  return squares
}
const same = (a: number | null, b: number | null): boolean => Object.is(a, b)

test('a sum is the exact one, rounded once', () => {
  fc.assert(
    fc.property(wideDoubles, (values) => same(sumOf(values).round(), roundRational(plainSum(values), grid))),
    runs,
  )
})

test('squares are exact, from subnormals to beyond the doubles', () => {
  fc.assert(
    fc.property(wideDoubles, (values) => {
      const squares = squaresOf(values)
      expect(squares.round()).toBe(roundRational(plainSquares(values), grid * grid))
      const { value, exponent } = squares.toBigInt()
      expect(value << BigInt(exponent + 2148)).toBe(plainSquares(values))
    }),
    runs,
  )
})

test('no order changes a bit, and rounding in between changes nothing', () => {
  fc.assert(
    fc.property(wideDoubles, (values) => {
      const forward = sumOf(values)
      const backward = new ExactSum()
      for (const x of values.toReversed()) {
        backward.add(x)
        backward.round()
      }
      return same(forward.round(), backward.round()) && same(forward.round(), forward.round())
    }),
    runs,
  )
})

test('merge is concatenation, and reset forgets', () => {
  fc.assert(
    fc.property(wideDoubles, wideDoubles, wideDoubles, (a, b, before) => {
      const [sum, squares] = [sumOf(before), squaresOf(before)]
      sum.reset()
      squares.reset()
      for (const values of [a, b]) {
        sum.merge(sumOf(values))
        squares.merge(squaresOf(values))
      }
      const both = [...a, ...b]
      return same(sum.round(), sumOf(both).round()) && same(squares.round(), squaresOf(both).round())
    }),
    runs,
  )
})

test('mean, variance and stddev round the exact rational once', () => {
  fc.assert(
    fc.property(wideDoubles, fc.constantFrom('sample' as const, 'population' as const), (values, kind) => {
      const n = BigInt(values.length)
      const [sum, squares] = [sumOf(values), squaresOf(values)]
      expect(exactMean(sum, values.length)).toBe(n === 0n ? null : roundRational(plainSum(values), n * grid))
      const defined = n >= (kind === 'sample' ? 2n : 1n)
      const numerator = n * plainSquares(values) - plainSum(values) ** 2n
      const denominator = n * (kind === 'sample' ? n - 1n : n) * grid * grid
      const variance = defined ? roundRational(numerator, denominator) : null
      const stddev = defined ? roundSqrtRational(numerator, denominator) : null
      expect(exactVariance(sum, squares, values.length, kind)).toBe(variance)
      expect(exactStddev(sum, squares, values.length, kind)).toBe(stddev)
    }),
    runs,
  )
})

test('NaN and infinities win over every finite value', () => {
  const odd = fc.constantFrom(Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY)
  fc.assert(
    fc.property(wideDoubles, fc.array(odd, { minLength: 1, maxLength: 3 }), (values, odds) => {
      const sum = sumOf([...values, ...odds])
      expect(sum.round()).toBe(odds.reduce((total, x) => total + x, 0))
      expect(exactMean(sum, values.length + odds.length)).toBe(sum.round())
      const squares = squaresOf([...odds, ...values])
      expect(squares.round()).toBe(odds.some(Number.isNaN) ? Number.NaN : Number.POSITIVE_INFINITY)
      expect(exactVariance(sum, squares, values.length + odds.length, 'population')).toBe(Number.NaN)
    }),
    runs,
  )
})

test('carries keep three million additions exact', () => {
  const sum = new ExactSum()
  const squares = new ExactSquares()
  for (let index = 0; index < 3_000_000; index++) {
    sum.add(-0.1)
    squares.add(1e-200)
  }
  expect(sum.round()).toBe(roundRational(3_000_000n * onGrid(-0.1), grid))
  expect(squares.toBigInt().value << BigInt(squares.toBigInt().exponent + 2148)).toBe(3_000_000n * onGrid(1e-200) ** 2n)
  const doubled = new ExactSum()
  for (let times = 0; times < 40; times++) doubled.merge(sum)
  expect(doubled.round()).toBe(roundRational(120_000_000n * onGrid(-0.1), grid))
})

test('what is stored is the same for every order, and adding it loses nothing', () => {
  const odd = fc.array(fc.constantFrom(Number.NaN, Infinity, -Infinity), { maxLength: 2 })
  fc.assert(
    fc.property(wideDoubles, fc.oneof(fc.constant([]), fc.constant([]), odd), fc.nat(), (finite, others, at) => {
      const values = [...finite, ...others]
      const cut = values.length === 0 ? 0 : at % values.length
      for (const of of [sumOf, squaresOf]) {
        const stored: number[] = []
        of(values.toReversed()).store(stored)
        const whole: number[] = []
        const sum = of(values.slice(0, cut))
        const rest: number[] = []
        of(values.slice(cut)).store(rest)
        expect(sum.addStored(Float64Array.from(rest), 0)).toBe(rest.length)
        sum.store(whole)
        expect(whole).toEqual(stored)
        expect(behindStored(Float64Array.from(stored), 0)).toBe(stored.length)
        expect(same(sum.round(), of(values).round())).toBe(true)
      }
    }),
    runs,
  )
})
