import type { EventStore } from './event-store.ts'
import { live } from './live.ts'

/** Bits of a limb, and their span. */
const limbBits = 22
const limb = 2 ** limbBits
const limbMask = limb - 1
/** Limbs below this one that are in place make a number that doubles carry. */
const plainTop = 2 ** 8

/**
 * What is kept of int64 values, and of decimals unscaled, in a summary; only what functions ask for. In words of float64:
 *
 *     | n | s0 s1 s2 | least: high low | greatest: high low | c0 c1 c2 c3 c4 c5 |
 *
 *     s     Σx  = s2 2^44 + s1 2^22 + s0
 *     high  x   = high 2^22 + low, 0 <= low < 2^22
 *     c     Σx² = Σ c_k 2^(22 k), 0 <= c_k < 2^22 but for the last
 */
export interface LongLayout {
  readonly words: number
  /** From the first word on; -1: not there. */
  readonly sums: number
  readonly extremes: number
  readonly squares: number
}

export function longLayout(sums: boolean, extremes: boolean, squares: boolean): LongLayout {
  let words = 1
  const take = (length: number, wanted: boolean): number => {
    if (!wanted) return -1
    words += length
    return words - length
  }
  const layout = { sums: take(3, sums), extremes: take(4, extremes), squares: take(6, squares) }
  return { words, ...layout }
}

/**
 * Σx, Σx² and the extremes of int64 values, exactly, of up to 2^30 of them, without a BigInt until they are asked for.
 *
 * A value is cut into limbs of 22 bits, a2 signed: x = a2 2^44 + a1 2^22 + a0. Products of limbs that have one weight share
 * a column, of which each value adds less than 2^45 in magnitude: `carry` is due after every 64 of them.
 */
export class LongTally {
  n = 0
  #s0 = 0
  #s1 = 0
  #s2 = 0
  readonly #columns = new Float64Array(6)
  #minHigh = Number.POSITIVE_INFINITY
  #minLow = 0
  #maxHigh = Number.NEGATIVE_INFINITY
  #maxLow = 0

  reset(): void {
    this.n = 0
    this.#s0 = 0
    this.#s1 = 0
    this.#s2 = 0
    for (let column = 0; column < 6; column++) this.#columns[column] = 0
    this.#minHigh = Number.POSITIVE_INFINITY
    this.#minLow = 0
    this.#maxHigh = Number.NEGATIVE_INFINITY
    this.#maxLow = 0
  }

  copy(other: LongTally): void {
    this.n = other.n
    this.#s0 = other.#s0
    this.#s1 = other.#s1
    this.#s2 = other.#s2
    for (let column = 0; column < 6; column++) this.#columns[column] = other.#columns[column] as number
    this.#minHigh = other.#minHigh
    this.#minLow = other.#minLow
    this.#maxHigh = other.#maxHigh
    this.#maxLow = other.#maxLow
  }

  /** Adds the input of records `live[0, found)`, at most 64. */
  addLive({ words, layout }: EventStore, input: number, found: number, squared: boolean): void {
    const { stride } = layout
    const at = (layout.inputs[input] as number) * 2
    for (let index = 0; index < found; index++) {
      const word = (live[index] as number) * stride + at
      this.add(words[word] as number, words[word + 1] as number, squared)
    }
    if (squared) this.carry()
  }

  /** Adds the value of two words, the lower one first. */
  add(low: number, high: number, squared: boolean): void {
    this.n++
    const a0 = low & limbMask
    const a1 = (low >>> limbBits) | ((high & 0xfff) << 10)
    const a2 = high >> 12
    this.#s0 += a0
    this.#s1 += a1
    this.#s2 += a2
    const top = a2 * limb + a1
    this.#widen(top, a0, top, a0)
    if (!squared) return
    const columns = this.#columns
    columns[0] = (columns[0] as number) + a0 * a0
    columns[1] = (columns[1] as number) + 2 * a0 * a1
    columns[2] = (columns[2] as number) + (2 * a0 * a2 + a1 * a1)
    columns[3] = (columns[3] as number) + 2 * a1 * a2
    columns[4] = (columns[4] as number) + a2 * a2
  }

  #widen(minHigh: number, minLow: number, maxHigh: number, maxLow: number): void {
    if (minHigh < this.#minHigh || (minHigh === this.#minHigh && minLow < this.#minLow)) {
      this.#minHigh = minHigh
      this.#minLow = minLow
    }
    if (maxHigh > this.#maxHigh || (maxHigh === this.#maxHigh && maxLow > this.#maxLow)) {
      this.#maxHigh = maxHigh
      this.#maxLow = maxLow
    }
  }

  /** Adds the summaries at `offsets[0, count)` plus `shift`, at most 64. */
  mergeAll(summaries: Float64Array, offsets: Int32Array, shift: number, count: number, layout: LongLayout): void {
    const { sums, extremes, squares } = layout
    for (let index = 0; index < count; index++) {
      const at = (offsets[index] as number) + shift
      this.n += summaries[at] as number
      if (sums >= 0) {
        this.#s0 += summaries[at + sums] as number
        this.#s1 += summaries[at + sums + 1] as number
        this.#s2 += summaries[at + sums + 2] as number
      }
      if (extremes >= 0)
        this.#widen(
          summaries[at + extremes] as number,
          summaries[at + extremes + 1] as number,
          summaries[at + extremes + 2] as number,
          summaries[at + extremes + 3] as number,
        )
      if (squares >= 0) {
        const columns = this.#columns
        for (let column = 0; column < 6; column++)
          columns[column] = (columns[column] as number) + (summaries[at + squares + column] as number)
      }
    }
    if (squares >= 0) this.carry()
  }

  store(to: Float64Array, at: number, { sums, extremes, squares }: LongLayout): void {
    to[at] = this.n
    if (sums >= 0) {
      to[at + sums] = this.#s0
      to[at + sums + 1] = this.#s1
      to[at + sums + 2] = this.#s2
    }
    if (extremes >= 0) {
      to[at + extremes] = this.#minHigh
      to[at + extremes + 1] = this.#minLow
      to[at + extremes + 2] = this.#maxHigh
      to[at + extremes + 3] = this.#maxLow
    }
    if (squares >= 0)
      for (let column = 0; column < 6; column++) to[at + squares + column] = this.#columns[column] as number
  }

  /** Brings every column but the last to [0, 2^22). */
  carry(): void {
    const columns = this.#columns
    for (let column = 0; column < 5; column++) {
      const value = columns[column] as number
      const over = Math.floor(value / limb)
      columns[column] = value - over * limb
      columns[column + 1] = (columns[column + 1] as number) + over
    }
  }

  /** Σx as a number; NaN where it is beyond what all doubles carry: `bigSum`. */
  sum(): number {
    const middle = this.#s1 + Math.floor(this.#s0 / limb)
    const top = this.#s2 + Math.floor(middle / limb)
    if (top < -plainTop || top >= plainTop) return Number.NaN
    return this.#s2 * 2 ** 44 + this.#s1 * limb + this.#s0
  }
  bigSum(): bigint {
    return (BigInt(this.#s2) << 44n) + (BigInt(this.#s1) << 22n) + BigInt(this.#s0)
  }

  /** Σx² as `sum` is. */
  squares(): number {
    const columns = this.#columns
    const [c0 = 0, c1 = 0, c2 = 0, c3 = 0, c4 = 0, c5 = 0] = columns
    return c5 !== 0 || c4 !== 0 || c3 !== 0 || c2 >= plainTop ? Number.NaN : (c2 * limb + c1) * limb + c0
  }
  bigSquares(): bigint {
    let squares = 0n
    for (let column = 5; column >= 0; column--) squares = (squares << 22n) + BigInt(this.#columns[column] as number)
    return squares
  }

  /** Only where there is one. */
  min(): bigint {
    return (BigInt(this.#minHigh) << 22n) + BigInt(this.#minLow)
  }
  max(): bigint {
    return (BigInt(this.#maxHigh) << 22n) + BigInt(this.#maxLow)
  }
}
