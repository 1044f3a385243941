/**
 * Limit of engine/finish: counts, sums, maxima and standard deviations over windows that end at T, from columns that are
 * sorted already, with everything known. Plain float64 prefix sums, so sums are not those of exact arithmetic; maxima of
 * blocks of 64 and of 4,096. It can take no event out of order.
 */
const blockShift = 6
const tallShift = 12

export class SortedWindows {
  readonly #times: Float64Array
  readonly #values: Float64Array
  readonly #sums: Float64Array
  readonly #squares: Float64Array
  readonly #blocks: Float64Array
  readonly #tall: Float64Array

  /** Values are shifted by their mean, or the squares would cancel. */
  readonly #shift: number

  constructor(times: Float64Array, values: Float64Array) {
    this.#times = times
    this.#values = values
    this.#shift = values.reduce((sum, value) => sum + value, 0) / values.length
    this.#sums = new Float64Array(values.length + 1)
    this.#squares = new Float64Array(values.length + 1)
    for (let slot = 0; slot < values.length; slot++) {
      const value = (values[slot] as number) - this.#shift
      this.#sums[slot + 1] = (this.#sums[slot] as number) + value
      this.#squares[slot + 1] = (this.#squares[slot] as number) + value * value
    }
    this.#blocks = maximaOf(values, blockShift)
    this.#tall = maximaOf(values, tallShift)
  }

  /** Sets `out[4 w ..]` to count, sum, max and sample stddev of window w; NaN where there is none. */
  finish(asOfMs: number, windowsMs: readonly number[], out: Float64Array): void {
    const high = this.#lowerBound(asOfMs)
    for (let window = 0; window < windowsMs.length; window++) {
      const low = this.#lowerBound(asOfMs - (windowsMs[window] as number))
      const count = high - low
      const sum = (this.#sums[high] as number) - (this.#sums[low] as number)
      const squares = (this.#squares[high] as number) - (this.#squares[low] as number)
      out[window * 4] = count
      out[window * 4 + 1] = count === 0 ? Number.NaN : sum + count * this.#shift
      out[window * 4 + 2] = count === 0 ? Number.NaN : this.#max(low, high)
      out[window * 4 + 3] = Math.sqrt(Math.max(squares - (sum * sum) / count, 0) / (count - 1))
    }
  }

  #lowerBound(timeMs: number): number {
    const times = this.#times
    let low = 0
    let high = times.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((times[middle] as number) < timeMs) low = middle + 1
      else high = middle
    }
    return low
  }

  #max(low: number, high: number): number {
    const values = this.#values
    let max = Number.NEGATIVE_INFINITY
    let slot = low
    while (slot < high) {
      let value: number
      if ((slot & 4095) === 0 && slot + 4096 <= high) {
        value = this.#tall[slot >> tallShift] as number
        slot += 4096
      } else if ((slot & 63) === 0 && slot + 64 <= high) {
        value = this.#blocks[slot >> blockShift] as number
        slot += 64
      } else value = values[slot++] as number
      if (value > max) max = value
    }
    return max
  }
}

/** Of each whole or begun block of 2^shift values. */
function maximaOf(values: Float64Array, shift: number): Float64Array {
  const maxima = new Float64Array((values.length >> shift) + 1).fill(Number.NEGATIVE_INFINITY)
  for (let slot = 0; slot < values.length; slot++)
    maxima[slot >> shift] = Math.max(maxima[slot >> shift] as number, values[slot] as number)
  return maxima
}
