/** Up to this many int32 values the lanes of a tally are exact; of bools any number. */
export const tallyEventsMax = 1 << 22

/** Σx and Σx² of integers, exactly: |x| <= 2^31, at most 2^22 values (`tallyEventsMax`), and a carry every run keep each lane below 2^53. */
export class Tally {
  n = 0
  sum = 0
  squaresHi = 0
  squaresLo = 0
  min = Number.POSITIVE_INFINITY
  max = Number.NEGATIVE_INFINITY

  reset(): void {
    this.n = 0
    this.sum = 0
    this.squaresHi = 0
    this.squaresLo = 0
    this.min = Number.POSITIVE_INFINITY
    this.max = Number.NEGATIVE_INFINITY
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

  /** Moves what the low lane holds above 2^32 into the high one; due after each run, which adds less than 2^40. */
  carry(): void {
    if (this.squaresLo < 4_503_599_627_370_496) return
    const carried = Math.floor(this.squaresLo / 4_294_967_296)
    this.squaresHi += carried
    this.squaresLo -= carried * 4_294_967_296
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

  add(value: number): void {
    if (value !== value) return
    this.n++
    if (value < this.min) this.min = value
    if (value > this.max) this.max = value
  }

  merge(summary: Float64Array, at: number): void {
    this.n += summary[at] as number
    if ((summary[at + 1] as number) < this.min) this.min = summary[at + 1] as number
    if ((summary[at + 2] as number) > this.max) this.max = summary[at + 2] as number
  }

  store(summary: Float64Array, at: number): void {
    summary[at] = this.n
    summary[at + 1] = this.min
    summary[at + 2] = this.max
  }
}
