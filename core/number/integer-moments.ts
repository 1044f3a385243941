import type { VarianceKind } from './exact-sum.ts'
import { roundRational, roundSqrtRational } from './rational.ts'

/*
 * Moments of integers from their exact sums: the float64 nearest to the exact rational, or to its root. In doubles where
 * that is certain, by BigInt where it is not, so the answer never depends on the path.
 *
 * The fast path holds N = n Σx² - (Σx)² exactly as a pair of doubles (Dekker's TwoProd, Knuth's TwoSum), takes a first
 * answer, corrects it by the exact residual, and accepts the rounding only if the largest possible error of the
 * correction cannot change it (Ziv's test). An exact tie never passes the test.
 * Source: J.-M. Muller et al., "Handbook of Floating-Point Arithmetic" (2018), chapters 4 and 5.
 */
const integerMax = 2 ** 53
/** Bound of the relative error of a correction: a few roundings of 2^-53 each. */
const correctionError = 2 ** -44
/** Bound, relative to the answer, of what the first-order correction leaves out. */
const remainderError = 2 ** -94

/** RN(Σx / (n unit)); `sum` exact, below 2^53 in magnitude; null for n = 0. `unit` as of `varianceOfIntegers`. */
export function meanOfIntegers(n: number, sum: number, unit = 1): number | null {
  if (n === 0) return null
  const denominator = n * unit
  return denominator <= integerMax ? sum / denominator + 0 : roundRational(BigInt(sum), BigInt(n) * BigInt(unit))
}

/**
 * RN of the variance of n integers.
 *
 * `sum` is Σx, exact, below 2^53 in magnitude; Σx² = sumSquaresHi * 2^32 + sumSquaresLo, exact, 0 <= sumSquaresLo < 2^32
 * (or any exact pair of integers). Null for n < 2 (sample), n < 1 (population). `unit`: by what the variance is divided as
 * well, an integer that doubles carry; of decimals 100^scale.
 */
export function varianceOfIntegers(
  n: number,
  sum: number,
  sumSquaresHi: number,
  sumSquaresLo: number,
  kind: VarianceKind,
  unit = 1,
): number | null {
  if (n < (kind === 'sample' ? 2 : 1)) return null
  const squares = sumSquaresHi * 2 ** 32 + sumSquaresLo
  const denominator = n * (kind === 'sample' ? n - 1 : n) * unit
  const a = n * squares
  const b = sum * sum
  const exact = denominator <= integerMax
  if (exact && a < integerMax && b < integerMax) return (a - b) / denominator
  if (exact && squares < integerMax) {
    numerator(n, squares, sum)
    const first = high / denominator
    const correction = (residual(high, first, denominator) + low) / denominator
    const margin = Math.abs(correction) * correctionError + first * remainderError
    const rounded = first + (correction - margin)
    if (rounded === first + (correction + margin)) return rounded
  }
  return varianceOfBigIntegers(n, BigInt(sum), squaresOf(sumSquaresHi, sumSquaresLo), kind, BigInt(unit))
}

/** RN of the root of the exact variance; arguments as in `varianceOfIntegers`. Not the root of the rounded variance. */
export function stddevOfIntegers(
  n: number,
  sum: number,
  sumSquaresHi: number,
  sumSquaresLo: number,
  kind: VarianceKind,
  unit = 1,
): number | null {
  if (n < (kind === 'sample' ? 2 : 1)) return null
  const squares = sumSquaresHi * 2 ** 32 + sumSquaresLo
  const denominator = n * (kind === 'sample' ? n - 1 : n) * unit
  if (denominator <= integerMax && squares < integerMax) {
    numerator(n, squares, sum)
    if (high === 0) return 0
    const first = Math.sqrt(high / denominator)
    // N - first² d, with first² = square + tail exactly.
    const square = first * first
    const tail = productTail(first, first, square)
    const left = residual(high, square, denominator) + (low - tail * denominator)
    const correction = left / (2 * first * denominator)
    const margin = Math.abs(correction) * correctionError + first * remainderError
    const rounded = first + (correction - margin)
    if (rounded === first + (correction + margin)) return rounded
  }
  return stddevOfBigIntegers(n, BigInt(sum), squaresOf(sumSquaresHi, sumSquaresLo), kind, BigInt(unit))
}

/** The plain twin of `varianceOfIntegers`, for integers of any size. */
export function varianceOfBigIntegers(
  n: number,
  sum: bigint,
  sumSquares: bigint,
  kind: VarianceKind,
  unit = 1n,
): number | null {
  if (n < (kind === 'sample' ? 2 : 1)) return null
  const count = BigInt(n)
  return roundRational(count * sumSquares - sum * sum, count * (kind === 'sample' ? count - 1n : count) * unit)
}

/** The plain twin of `stddevOfIntegers`, for integers of any size. */
export function stddevOfBigIntegers(
  n: number,
  sum: bigint,
  sumSquares: bigint,
  kind: VarianceKind,
  unit = 1n,
): number | null {
  if (n < (kind === 'sample' ? 2 : 1)) return null
  const count = BigInt(n)
  return roundSqrtRational(count * sumSquares - sum * sum, count * (kind === 'sample' ? count - 1n : count) * unit)
}

/** RN(Σx / n) for a sum of any size. */
export function meanOfBigIntegers(n: number, sum: bigint): number | null {
  return n === 0 ? null : roundRational(sum, BigInt(n))
}

const squaresOf = (hi: number, lo: number): bigint => (BigInt(hi) << 32n) + BigInt(lo)

// N = high + low exactly, |low| at most half an ulp of high: two module variables, for a pair would be an object a call.
let high = 0
let low = 0

/** N = n Σx² - (Σx)²: below 2^106, so two doubles hold it. */
function numerator(n: number, squares: number, sum: number): void {
  const a = n * squares
  const b = sum * sum
  if (a < integerMax && b < integerMax) {
    high = a - b
    low = 0
    return
  }
  const aTail = productTail(n, squares, a)
  const bTail = productTail(sum, sum, b)
  // TwoSum(a, -b); every part is an integer, and what is left of the tails is small enough to be exact.
  const top = a - b
  const bVirtual = top - a
  const rest = a - (top - bVirtual) + (-b - bVirtual) + (aTail - bTail)
  high = top + rest
  low = rest - (high - top)
}

/** a b - product, exactly, for product = RN(a b) (Dekker). */
export function productTail(a: number, b: number, product: number): number {
  const aScaled = a * 134217729
  const aHigh = aScaled - (aScaled - a)
  const aLow = a - aHigh
  const bScaled = b * 134217729
  const bHigh = bScaled - (bScaled - b)
  const bLow = b - bHigh
  return aLow * bLow - (product - aHigh * bHigh - aLow * bHigh - aHigh * bLow)
}

/** x - a b for a b within a few ulps of x: the difference of the leading parts is exact (Sterbenz). */
export function residual(x: number, a: number, b: number): number {
  const product = a * b
  return x - product - productTail(a, b, product)
}
