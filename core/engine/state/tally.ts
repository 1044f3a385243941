/** Values of a lane that moves up: 2^52, so that what is left and what comes in one batch stay below 2^53. */
const laneMax = 2 ** 52

/**
 * Σx and Σx² of int32 values and bools, exactly, of any number of them:
 *
 *     Σx  = sumOver 2^52 + sum            Σx² = (squaresOver 2^52 + squaresHi) 2^32 + squaresLo
 *
 * Summaries have no overs: of 65,536 values at most, Σx is below 2^47 and Σx² below 2^78. `carry` is due after every 64 of
 * them, or of values.
 */
export class Tally {
  n = 0
  sum = 0
  sumOver = 0
  squaresHi = 0
  squaresLo = 0
  squaresOver = 0
  min = Number.POSITIVE_INFINITY
  max = Number.NEGATIVE_INFINITY

  reset(): void {
    this.n = 0
    this.sum = 0
    this.sumOver = 0
    this.squaresHi = 0
    this.squaresLo = 0
    this.squaresOver = 0
    this.min = Number.POSITIVE_INFINITY
    this.max = Number.NEGATIVE_INFINITY
  }

  copy(other: Tally): void {
    this.n = other.n
    this.sum = other.sum
    this.sumOver = other.sumOver
    this.squaresHi = other.squaresHi
    this.squaresLo = other.squaresLo
    this.squaresOver = other.squaresOver
    this.min = other.min
    this.max = other.max
  }

  addInteger(value: number): void {
    this.n++
    this.sum += value
    const magnitude = value < 0 ? -value : value
    if (magnitude < 65_536) this.squaresLo += magnitude * magnitude
    else {
      // (high 2^16 + low)²: every part stays an exact integer.
      const high = Math.floor(magnitude / 65_536)
      const low = magnitude - high * 65_536
      const middle = 2 * high * low
      const middleHigh = Math.floor(middle / 65_536)
      this.squaresHi += high * high + middleHigh
      this.squaresLo += (middle - middleHigh * 65_536) * 65_536 + low * low
    }
    if (value < this.min) this.min = value
    if (value > this.max) this.max = value
  }

  merge(summary: Float64Array, at: number): void {
    this.n += summary[at] as number
    this.sum += summary[at + 1] as number
    this.squaresHi += summary[at + 2] as number
    this.squaresLo += summary[at + 3] as number
    if ((summary[at + 4] as number) < this.min) this.min = summary[at + 4] as number
    if ((summary[at + 5] as number) > this.max) this.max = summary[at + 5] as number
  }

  /** Adds a sum of a tile: hi 2^32 + lo. */
  addSum(hi: number, lo: number): void {
    const over = Math.floor(hi / 2 ** 20)
    this.sumOver += over
    this.sum += (hi - over * 2 ** 20) * 2 ** 32 + lo
    this.carry()
  }

  /** Adds squares of a tile: top 2^64 + hi 2^32 + lo. */
  addSquares(top: number, hi: number, lo: number): void {
    const over = Math.floor(top / 2 ** 20)
    this.squaresOver += over
    this.squaresHi += (top - over * 2 ** 20) * 2 ** 32 + hi
    this.squaresLo += lo
    this.carry()
  }

  carry(): void {
    if (this.squaresLo >= laneMax) {
      const carried = Math.floor(this.squaresLo / 4_294_967_296)
      this.squaresHi += carried
      this.squaresLo -= carried * 4_294_967_296
    }
    if (this.squaresHi >= laneMax) {
      this.squaresHi -= laneMax
      this.squaresOver++
    }
    if (this.sum >= laneMax) {
      this.sum -= laneMax
      this.sumOver++
    } else if (this.sum <= -laneMax) {
      this.sum += laneMax
      this.sumOver--
    }
  }

  /** Nothing is beyond `sum` and `squaresHi`. */
  get plain(): boolean {
    return this.sumOver === 0 && this.squaresOver === 0
  }
  bigSum(): bigint {
    return (BigInt(this.sumOver) << 52n) + BigInt(this.sum)
  }
  bigSquares(): bigint {
    return (((BigInt(this.squaresOver) << 52n) + BigInt(this.squaresHi)) << 32n) + BigInt(this.squaresLo)
  }

  store(summary: Float64Array, at: number): void {
    summary[at] = this.n
    summary[at + 1] = this.sum
    summary[at + 2] = this.squaresHi
    summary[at + 3] = this.squaresLo
    summary[at + 4] = this.min
    summary[at + 5] = this.max
  }
}

/** Least and greatest of float64 values; NaN is skipped. */
export class Extremes {
  n = 0
  min = Number.POSITIVE_INFINITY
  max = Number.NEGATIVE_INFINITY

  reset(): void {
    this.n = 0
    this.min = Number.POSITIVE_INFINITY
    this.max = Number.NEGATIVE_INFINITY
  }

  copy(other: Extremes): void {
    this.n = other.n
    this.min = other.min
    this.max = other.max
  }

  add(value: number): void {
    if (value !== value) return
    this.n++
    if (value < this.min) this.min = value
    if (value > this.max) this.max = value
  }

  /** Adds `values[0, count)`. */
  addAll(values: Float64Array, count: number): void {
    let { n, min, max } = this
    for (let index = 0; index < count; index++) {
      const value = values[index] as number
      if (value !== value) continue
      n++
      if (value < min) min = value
      if (value > max) max = value
    }
    this.n = n
    this.min = min
    this.max = max
  }

  merge(summary: Float64Array, at: number): void {
    this.n += summary[at] as number
    if ((summary[at + 1] as number) < this.min) this.min = summary[at + 1] as number
    if ((summary[at + 2] as number) > this.max) this.max = summary[at + 2] as number
  }

  /**
   * `merge` of a run without its `values[0, count)`; false, and nothing is merged, where one of them is as far out as any of
   * the run.
   */
  mergeWithout(summary: Float64Array, at: number, values: Float64Array, count: number): boolean {
    const runMin = summary[at + 1] as number
    const runMax = summary[at + 2] as number
    let numbers = 0
    for (let index = 0; index < count; index++) {
      const value = values[index] as number
      if (value !== value) continue
      if (value <= runMin || value >= runMax) return false
      numbers++
    }
    this.n += (summary[at] as number) - numbers
    if (runMin < this.min) this.min = runMin
    if (runMax > this.max) this.max = runMax
    return true
  }

  /** `merge` at each of `offsets[0, count)` plus `shift`. */
  mergeAll(summaries: Float64Array, offsets: Int32Array, shift: number, count: number): void {
    let { n, min, max } = this
    for (let index = 0; index < count; index++) {
      const at = (offsets[index] as number) + shift
      n += summaries[at] as number
      const least = summaries[at + 1] as number
      const greatest = summaries[at + 2] as number
      if (least < min) min = least
      if (greatest > max) max = greatest
    }
    this.n = n
    this.min = min
    this.max = max
  }

  store(summary: Float64Array, at: number): void {
    summary[at] = this.n
    summary[at + 1] = this.min
    summary[at + 2] = this.max
  }
}
