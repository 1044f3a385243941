import { roundRational, roundSqrtRational } from './rational.ts'
import { Superaccumulator } from './superaccumulator.ts'

/** An exact number: `value * 2^exponent`. */
export interface ExactValue {
  readonly value: bigint
  readonly exponent: number
}

/** Where a sum that `store` made ends. */
export const behindStored = (words: Float64Array, at: number): number =>
  (words[at] as number) > 0 ? at + 2 + (words[at] as number) : at + 1

/** Divisor of a variance: n - 1 of a sample, n of a population. */
export type VarianceKind = 'sample' | 'population'

/**
 * The exact sum of float64 values: adding and merging lose nothing, so no order changes a bit; rounded once, at the end.
 *
 * Laws:   merge is associative and commutative; a new one is its identity; merge(sum(a), sum(b)) = sum(a ++ b).
 * Values: -0 counts as +0. Any NaN, or both infinities, make the sum NaN; infinities of one sign make it that one.
 * Cost:   544 bytes and about 9 ns an addition; it is meant to be reused (`reset`). At most 2^40 additions.
 */
export class ExactSum {
  readonly #sum = new Superaccumulator(-1074, 1024)

  reset(): void {
    this.#sum.reset()
  }

  add(x: number): void {
    this.#sum.add(x)
  }

  merge(other: ExactSum): void {
    this.#sum.merge(other.#sum)
  }

  /** RN of the sum: Infinity where it is beyond the doubles. Never -0. */
  round(): number {
    return this.#sum.round()
  }

  /** NaN or an infinity if such were added, else 0. */
  nonFinite(): number {
    return this.#sum.nonFinite()
  }

  /** Appends the sum, exactly, in the one form that it has: numbers that `addStored` adds to another one. */
  store(to: number[]): void {
    this.#sum.store(to)
  }

  /** Adds what was stored at `at`; returns where that ends. */
  addStored(from: Float64Array, at: number): number {
    return this.#sum.addStored(from, at)
  }

  /** The sum of finite values, exactly. */
  toBigInt(): ExactValue {
    return this.#sum.toBigInt()
  }
}

/** Within these bounds x² neither overflows nor loses a bit of its residual below 2^-1074. */
const plainSquareMin = 2 ** -480
const plainSquareMax = 2 ** 500

const double = new Float64Array(1)
const words = new Int32Array(double.buffer)

/** The exact sum of squares of float64 values, under the laws of ExactSum; any NaN or infinity makes it NaN or Infinity. */
export class ExactSquares {
  readonly #sum = new Superaccumulator(-2148, 2048)

  reset(): void {
    this.#sum.reset()
  }

  /** Adds x², exactly. */
  add(x: number): void {
    const magnitude = Math.abs(x)
    if (magnitude >= plainSquareMin && magnitude <= plainSquareMax) {
      // Dekker's product: x² = square + residual, both doubles. 2^27 + 1 cuts the significand in half.
      const square = x * x
      const scaled = x * 134217729
      const high = scaled - (scaled - x)
      const low = x - high
      this.#sum.add(square)
      this.#sum.add(high * high - square + 2 * high * low + low * low)
    } else if (Number.isFinite(x)) this.#addFarSquare(magnitude)
    else this.#sum.add(x * x)
  }

  /** Adds x itself, part of a sum of squares that was kept elsewhere. */
  addPart(x: number): void {
    this.#sum.add(x)
  }

  merge(other: ExactSquares): void {
    this.#sum.merge(other.#sum)
  }

  round(): number {
    return this.#sum.round()
  }

  nonFinite(): number {
    return this.#sum.nonFinite()
  }

  store(to: number[]): void {
    this.#sum.store(to)
  }

  addStored(from: Float64Array, at: number): number {
    return this.#sum.addStored(from, at)
  }

  toBigInt(): ExactValue {
    return this.#sum.toBigInt()
  }

  /** (high 2^27 + low)² of the integer significand, placed by its exponent: for magnitudes whose square is no double. */
  #addFarSquare(magnitude: number): void {
    double[0] = magnitude
    const biased = (words[1] as number) >>> 20
    const bit = 2 * (Math.max(biased, 1) - 1)
    const significand =
      (((words[1] as number) & 0xfffff) + (biased === 0 ? 0 : 2 ** 20)) * 2 ** 32 + ((words[0] as number) >>> 0)
    const high = Math.floor(significand / 2 ** 27)
    const low = significand - high * 2 ** 27
    // low² has up to 54 bits, so low is cut once more.
    const lowHigh = Math.floor(low / 2 ** 14)
    const lowLow = low - lowHigh * 2 ** 14
    this.#sum.addAtBit(high * high, bit + 54)
    this.#sum.addAtBit(high * low, bit + 28)
    this.#sum.addAtBit(lowHigh * lowHigh, bit + 28)
    this.#sum.addAtBit(lowHigh * lowLow, bit + 15)
    this.#sum.addAtBit(lowLow * lowLow, bit)
  }
}

const shifted = (exact: ExactValue, exponent: number): bigint => exact.value << BigInt(exact.exponent - exponent)

/** RN(Σ / n); null for n = 0. */
export function exactMean(sum: ExactSum, n: number): number | null {
  if (n === 0) return null
  const odd = sum.nonFinite()
  if (odd !== 0) return odd
  const { value, exponent } = sum.toBigInt()
  return exponent >= 0
    ? roundRational(value << BigInt(exponent), BigInt(n))
    : roundRational(value, BigInt(n) << BigInt(-exponent))
}

/**
 * RN of the exact rational (n Σx² - (Σx)²) / (n (n - 1)), by n² for a population. Null where it is not defined: n < 2 for
 * a sample, 0 for a population. NaN if any value was NaN or infinite.
 */
export function exactVariance(sum: ExactSum, squares: ExactSquares, n: number, kind: VarianceKind): number | null {
  return finishMoments(sum, squares, n, kind, roundRational)
}

/** RN of the root of the exact rational whose rounding `exactVariance` is. */
export function exactStddev(sum: ExactSum, squares: ExactSquares, n: number, kind: VarianceKind): number | null {
  return finishMoments(sum, squares, n, kind, roundSqrtRational)
}

function finishMoments(
  sum: ExactSum,
  squares: ExactSquares,
  n: number,
  kind: VarianceKind,
  round: (num: bigint, den: bigint) => number,
): number | null {
  if (n < (kind === 'sample' ? 2 : 1)) return null
  if (squares.nonFinite() !== 0) return Number.NaN
  const s = sum.toBigInt()
  const q = squares.toBigInt()
  // Both on the grid 2^(2 e), Σx itself on 2^e.
  const e = Math.min(s.exponent, Math.floor(q.exponent / 2))
  const total = shifted(s, e)
  const count = BigInt(n)
  const numerator = count * shifted(q, 2 * e) - total * total
  const denominator = count * (kind === 'sample' ? count - 1n : count)
  return e >= 0 ? round(numerator << BigInt(2 * e), denominator) : round(numerator, denominator << BigInt(-2 * e))
}
