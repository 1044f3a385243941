import { roundRational, roundSqrtRational, toScaledBigInt } from '../number/rational.ts'
import { overflow, type Aggregation, type Finished } from './aggregation.ts'

/** Every finite float64 is an integer multiple of 2^-1074: sums are exact integers at that scale. */
const scaleBits = 1074n
const scaled = (value: number): bigint => {
  const { mantissa, exponent } = toScaledBigInt(value)
  return mantissa << (BigInt(exponent) + scaleBits)
}

/**
 * n, Σx and Σx² exactly, and what is not finite beside them. Integers are summed as they are, which is most of what is
 * ever summed; every other number at 2^-1074 and 2^-2148. `sumOf` and `squaresOf` put the two together at that scale.
 */
export interface Moments {
  n: bigint
  integerSum: bigint
  integerSquares: bigint
  scaledSum: bigint
  scaledSquares: bigint
  nans: number
  positiveInfinities: number
  negativeInfinities: number
}

const sumOf = (acc: Moments): bigint => (acc.integerSum << scaleBits) + acc.scaledSum
const squaresOf = (acc: Moments): bigint => (acc.integerSquares << (2n * scaleBits)) + acc.scaledSquares

const algebra = {
  empty: (): Moments => ({
    n: 0n,
    integerSum: 0n,
    integerSquares: 0n,
    scaledSum: 0n,
    scaledSquares: 0n,
    nans: 0,
    positiveInfinities: 0,
    negativeInfinities: 0,
  }),
  add: (acc: Moments, value: number | bigint): Moments => {
    acc.n += 1n
    if (typeof value === 'bigint' || Number.isSafeInteger(value)) {
      const x = BigInt(value)
      acc.integerSum += x
      acc.integerSquares += x * x
    } else if (Number.isFinite(value)) {
      const x = scaled(value)
      acc.scaledSum += x
      acc.scaledSquares += x * x
    } else if (Number.isNaN(value)) acc.nans++
    else if (value > 0) acc.positiveInfinities++
    else acc.negativeInfinities++
    return acc
  },
  merge: (older: Moments, newer: Moments): Moments => ({
    n: older.n + newer.n,
    integerSum: older.integerSum + newer.integerSum,
    integerSquares: older.integerSquares + newer.integerSquares,
    scaledSum: older.scaledSum + newer.scaledSum,
    scaledSquares: older.scaledSquares + newer.scaledSquares,
    nans: older.nans + newer.nans,
    positiveInfinities: older.positiveInfinities + newer.positiveInfinities,
    negativeInfinities: older.negativeInfinities + newer.negativeInfinities,
  }),
}

/** The sum of what is not finite: NaN, an infinity, or null when all is finite. */
function nonFinite(acc: Moments): number | null {
  if (acc.nans > 0 || (acc.positiveInfinities > 0 && acc.negativeInfinities > 0)) return Number.NaN
  if (acc.positiveInfinities > 0) return Number.POSITIVE_INFINITY
  return acc.negativeInfinities > 0 ? Number.NEGATIVE_INFINITY : null
}

const moments = (finish: (acc: Moments) => Finished): Aggregation<number | bigint, Moments> => ({ ...algebra, finish })

/** RN(Σx). */
export const sumOfFloats = moments((acc) =>
  acc.n === 0n ? null : (nonFinite(acc) ?? roundRational(sumOf(acc), 1n << scaleBits)),
)

const int64Max = (1n << 63n) - 1n
/** Σx as int64; OVERFLOW outside of it. */
export const sumOfIntegers = moments((acc) => {
  if (acc.n === 0n) return null
  const total = acc.integerSum
  return total > int64Max || total < -int64Max - 1n ? overflow : total
})

/** RN(Σx / n). */
export const mean = moments((acc) =>
  acc.n === 0n ? null : (nonFinite(acc) ?? roundRational(sumOf(acc), acc.n << scaleBits)),
)

type Divisor = 'sample' | 'population'

function momentOf(acc: Moments, divisor: Divisor, round: (numerator: bigint, denominator: bigint) => number): Finished {
  if (acc.n < (divisor === 'sample' ? 2n : 1n)) return null
  if (nonFinite(acc) !== null) return Number.NaN
  const denominator = acc.n * (divisor === 'sample' ? acc.n - 1n : acc.n)
  const sum = sumOf(acc)
  return round(acc.n * squaresOf(acc) - sum * sum, denominator << (2n * scaleBits))
}

/** RN of the exact rational variance; of a sample null below two values. */
export const variance = (divisor: Divisor) => moments((acc) => momentOf(acc, divisor, roundRational))
/** RN of the root of the exact rational variance: rounded once, not twice. */
export const stddev = (divisor: Divisor) => moments((acc) => momentOf(acc, divisor, roundSqrtRational))

/** Share of true among what is not null: RN(trues / n). */
export const share: Aggregation<boolean, { readonly trues: number; readonly n: number }> = {
  empty: () => ({ trues: 0, n: 0 }),
  add: (acc, value) => ({ trues: acc.trues + (value ? 1 : 0), n: acc.n + 1 }),
  merge: (older, newer) => ({ trues: older.trues + newer.trues, n: older.n + newer.n }),
  finish: (acc) => (acc.n === 0 ? null : acc.trues / acc.n),
}
