const fanShift = 4
const fanMask = (1 << fanShift) - 1

/**
 * Least and greatest of any stretch of some numbers, NaN skipped: blocks of 16, of 256 and so on. A stretch is read from at
 * most 30 values of each level.
 */
export class ExtremesTree {
  #values: Float64Array = new Float64Array(0)
  readonly #mins: Float64Array[] = []
  readonly #maxs: Float64Array[] = []
  /** Of the stretch asked for last: min above max where it has no number. */
  min = Number.POSITIVE_INFINITY
  max = Number.NEGATIVE_INFINITY

  /** Over the first `count` of `values`, which must not change while this is asked. */
  build(values: Float64Array, count: number): void {
    this.#values = values
    let below: Float64Array = values
    let belowMax: Float64Array = values
    let size = count
    for (let level = 0; size > 1; level++) {
      const blocks = Math.ceil(size / (1 << fanShift))
      let mins = this.#mins[level] ?? new Float64Array(0)
      let maxs = this.#maxs[level] ?? new Float64Array(0)
      if (mins.length < blocks) {
        mins = this.#mins[level] = new Float64Array(Math.ceil(blocks * 1.5))
        maxs = this.#maxs[level] = new Float64Array(mins.length)
      }
      summarise(below, belowMax, size, mins, maxs)
      below = mins
      belowMax = maxs
      size = blocks
    }
  }

  /** Sets `min` and `max` to those of [from, to). */
  ask(from: number, to: number): void {
    this.min = Number.POSITIVE_INFINITY
    this.max = Number.NEGATIVE_INFINITY
    let mins: Float64Array = this.#values
    let maxs: Float64Array = this.#values
    for (let level = 0; from < to; level++) {
      const middle = Math.min(to, (from + fanMask) & ~fanMask)
      this.#take(mins, maxs, from, middle)
      from = middle
      const last = Math.max(from, to & ~fanMask)
      this.#take(mins, maxs, last, to)
      if (from >= last) return
      from >>= fanShift
      to = last >> fanShift
      mins = this.#mins[level] as Float64Array
      maxs = this.#maxs[level] as Float64Array
    }
  }

  #take(mins: Float64Array, maxs: Float64Array, from: number, to: number): void {
    let { min, max } = this
    for (let at = from; at < to; at++) {
      if ((mins[at] as number) < min) min = mins[at] as number
      if ((maxs[at] as number) > max) max = maxs[at] as number
    }
    this.min = min
    this.max = max
  }
}

function summarise(
  below: Float64Array,
  belowMax: Float64Array,
  size: number,
  mins: Float64Array,
  maxs: Float64Array,
): void {
  for (let from = 0, block = 0; from < size; block++) {
    let min = Number.POSITIVE_INFINITY
    let max = Number.NEGATIVE_INFINITY
    for (const end = Math.min(size, from + (1 << fanShift)); from < end; from++) {
      if ((below[from] as number) < min) min = below[from] as number
      if ((belowMax[from] as number) > max) max = belowMax[from] as number
    }
    mins[block] = min
    maxs[block] = max
  }
}
