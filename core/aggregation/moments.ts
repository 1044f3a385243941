import { roundRational, roundSqrtRational, toScaledBigInt } from '../number/rational.ts'
import { overflow, type Aggregation, type Finished } from './aggregation.ts'

/** Every finite float64 is an integer multiple of 2^-1074: sums are exact integers at that scale. */
const scaleBits = 1074n
const scaled = (value: number): bigint => {
  const { mantissa, exponent } = toScaledBigInt(value)
  return mantissa << (BigInt(exponent) + scaleBits)
}

/** n, Σx and Σx² as exact integers at 2^-1074 and 2^-2148, and what is not finite beside them. */
export interface Moments {
  readonly n: bigint
  readonly sum: bigint
  readonly squares: bigint
  readonly nans: number
  readonly positiveInfinities: number
  readonly negativeInfinities: number
}

const algebra = {
  empty: (): Moments => ({ n: 0n, sum: 0n, squares: 0n, nans: 0, positiveInfinities: 0, negativeInfinities: 0 }),
  add: (acc: Moments, value: number | bigint): Moments => {
    if (typeof value === 'number' && !Number.isFinite(value)) {
      return {
        ...acc,
        n: acc.n + 1n,
        nans: acc.nans + (Number.isNaN(value) ? 1 : 0),
        positiveInfinities: acc.positiveInfinities + (value === Number.POSITIVE_INFINITY ? 1 : 0),
        negativeInfinities: acc.negativeInfinities + (value === Number.NEGATIVE_INFINITY ? 1 : 0),
      }
    }
    const x = typeof value === 'bigint' ? value << scaleBits : scaled(value)
    return { ...acc, n: acc.n + 1n, sum: acc.sum + x, squares: acc.squares + x * x }
  },
  merge: (older: Moments, newer: Moments): Moments => ({
    n: older.n + newer.n,
    sum: older.sum + newer.sum,
    squares: older.squares + newer.squares,
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
  acc.n === 0n ? null : (nonFinite(acc) ?? roundRational(acc.sum, 1n << scaleBits)),
)

const int64Max = (1n << 63n) - 1n
/** Σx as int64; OVERFLOW outside of it. */
export const sumOfIntegers = moments((acc) => {
  if (acc.n === 0n) return null
  const total = acc.sum >> scaleBits
  return total > int64Max || total < -int64Max - 1n ? overflow : total
})

/** RN(Σx / n). */
export const mean = moments((acc) =>
  acc.n === 0n ? null : (nonFinite(acc) ?? roundRational(acc.sum, acc.n << scaleBits)),
)

type Divisor = 'sample' | 'population'

function momentOf(acc: Moments, divisor: Divisor, round: (numerator: bigint, denominator: bigint) => number): Finished {
  if (acc.n < (divisor === 'sample' ? 2n : 1n)) return null
  if (nonFinite(acc) !== null) return Number.NaN
  const denominator = acc.n * (divisor === 'sample' ? acc.n - 1n : acc.n)
  return round(acc.n * acc.squares - acc.sum * acc.sum, denominator << (2n * scaleBits))
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
