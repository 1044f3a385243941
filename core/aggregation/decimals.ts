import { formatDecimal, powerOfTen, unscaledMax, unscaledOfCanonical } from '../number/decimal.ts'
import { roundRational, roundSqrtRational } from '../number/rational.ts'
import { overflow, type Aggregation, type Finished } from './aggregation.ts'

/** n, Σ and Σ² of unscaled values, exactly. */
export interface DecimalMoments {
  readonly n: bigint
  readonly sum: bigint
  readonly squares: bigint
}

type OfDecimals<Acc> = Aggregation<string, Acc>

const moments = (finish: (acc: DecimalMoments) => Finished): OfDecimals<DecimalMoments> => ({
  empty: () => ({ n: 0n, sum: 0n, squares: 0n }),
  add: ({ n, sum, squares }, value) => {
    const x = unscaledOfCanonical(value)
    return { n: n + 1n, sum: sum + x, squares: squares + x * x }
  },
  merge: (older, newer) => ({
    n: older.n + newer.n,
    sum: older.sum + newer.sum,
    squares: older.squares + newer.squares,
  }),
  finish: (acc) => (acc.n === 0n ? null : finish(acc)),
})

/** Σ with the scale of the values; OVERFLOW beyond 18 digits. */
export const sumOfDecimals = (scale: number): OfDecimals<DecimalMoments> =>
  moments(({ sum }) => (sum > unscaledMax || sum < -unscaledMax ? overflow : formatDecimal(sum, scale)))

/** RN(Σ / (n 10^scale)). */
export const meanOfDecimals = (scale: number): OfDecimals<DecimalMoments> =>
  moments(({ n, sum }) => roundRational(sum, n * powerOfTen(scale)))

type Divisor = 'sample' | 'population'

const moment = (
  scale: number,
  divisor: Divisor,
  round: (numerator: bigint, denominator: bigint) => number,
): OfDecimals<DecimalMoments> =>
  moments(({ n, sum, squares }) =>
    divisor === 'sample' && n < 2n
      ? null
      : round(n * squares - sum * sum, n * (divisor === 'sample' ? n - 1n : n) * powerOfTen(2 * scale)),
  )

/** RN of the exact rational variance; of a sample null below two values. */
export const varianceOfDecimals = (scale: number, divisor: Divisor) => moment(scale, divisor, roundRational)
/** RN of the root of the exact rational variance. */
export const stddevOfDecimals = (scale: number, divisor: Divisor) => moment(scale, divisor, roundSqrtRational)

const extreme = (better: (a: bigint, b: bigint) => boolean): OfDecimals<string | null> => {
  const pick = (a: string | null, b: string | null): string | null =>
    a === null || (b !== null && better(unscaledOfCanonical(b), unscaledOfCanonical(a))) ? b : a
  return { empty: () => null, add: pick, merge: pick, finish: (acc) => acc }
}

export const minOfDecimals = extreme((a, b) => a < b)
export const maxOfDecimals = extreme((a, b) => a > b)
