import {
  ExactSquares,
  ExactSum,
  exactMean,
  exactStddev,
  exactVariance,
  type VarianceKind,
} from '../../number/exact-sum.ts'
import { LaneTotal } from '../../number/lanes.ts'

/**
 * Σx and Σx² of float64 values, exactly, from runs and single events in any order; rounded once, when asked. In lanes as
 * long as the values lie in their domain; what does not goes to the wide accumulators, and in the end everything does.
 */
export class FloatMoments {
  n = 0
  #squared = false
  /** Some value was outside of the lanes' domain. */
  #wide = false
  #drained = false
  #lanes = new LaneTotal()
  readonly #byAnchor = new Map<number, LaneTotal>([[0, this.#lanes]])
  #anchor = 0
  readonly #sum = new ExactSum()
  readonly #squares = new ExactSquares()

  reset(squared: boolean, anchor: number): void {
    this.n = 0
    this.#squared = squared
    if (anchor !== this.#anchor) {
      let lanes = this.#byAnchor.get(anchor)
      if (lanes === undefined) this.#byAnchor.set(anchor, (lanes = new LaneTotal(anchor)))
      this.#lanes = lanes
      this.#anchor = anchor
    }
    this.#lanes.reset()
    if (this.#wide) {
      this.#sum.reset()
      this.#squares.reset()
    }
    this.#wide = false
    this.#drained = false
  }

  /** Makes this one what another is. */
  copy(other: FloatMoments): void {
    this.reset(other.#squared, other.#anchor)
    this.n = other.n
    this.#lanes.copy(other.#lanes)
    if (!other.#wide) return
    this.#wide = true
    this.#sum.merge(other.#sum)
    if (this.#squared) this.#squares.merge(other.#squares)
  }

  add(value: number): void {
    this.n++
    if (this.#squared ? this.#lanes.addValue(value) : this.#lanes.addSumValue(value)) return
    this.#wide = true
    this.#sum.add(value)
    if (this.#squared) this.#squares.add(value)
  }

  /** Adds `values[0, count)`, at most 64. */
  addAll(values: Float64Array, count: number): void {
    const lanes = this.#lanes
    if (this.#squared ? lanes.addValues(values, count) : lanes.addSumValues(values, count)) this.n += count
    else for (let index = 0; index < count; index++) this.add(values[index] as number)
  }

  /** Takes the run of a summary `| n | lanes |` without its `values[0, count)`; false, and nothing is, where lanes do not hold it. */
  mergeWithout(summaries: Float64Array, at: number, values: Float64Array, count: number): boolean {
    const lanes = this.#lanes
    if (Number.isNaN(summaries[at + 1]) || !lanes.subtractValues(values, count)) return false
    lanes.mergeRun(summaries, at + 1)
    this.n += (summaries[at] as number) - count
    return true
  }

  /**
   * Takes summaries `| n | lanes |` of runs, or of nodes, at `offsets[first, end)` plus `shift`: the index of the first whose
   * lanes do not hold it, so that its events must be added; `end` where there is none.
   */
  mergeAll(
    summaries: Float64Array,
    offsets: Int32Array,
    shift: number,
    first: number,
    end: number,
    nodes: boolean,
  ): number {
    const lanes = this.#lanes
    const reached = nodes
      ? lanes.mergeTotals(summaries, offsets, shift + 1, first, end)
      : lanes.mergeRuns(summaries, offsets, shift + 1, first, end)
    let { n } = this
    for (let index = first; index < reached; index++) n += summaries[(offsets[index] as number) + shift] as number
    this.n = n
    return reached
  }

  /** Takes `n` values by their exact sums, as ExactSum and ExactSquares store them; `squaresAt` is read where asked for. */
  addStored(n: number, words: Float64Array, sumAt: number, squaresAt: number): void {
    this.n += n
    this.#wide = true
    this.#sum.addStored(words, sumAt)
    if (this.#squared) this.#squares.addStored(words, squaresAt)
  }

  sum(): number | null {
    if (this.n === 0) return null
    return this.#isWide() ? this.#sum.round() : this.#lanes.roundSum()
  }
  mean(): number | null {
    return this.#isWide() ? exactMean(this.#sum, this.n) : this.#lanes.mean(this.n)
  }
  variance(kind: VarianceKind): number | null {
    return this.#isWide() ? exactVariance(this.#sum, this.#squares, this.n, kind) : this.#lanes.variance(this.n, kind)
  }
  stddev(kind: VarianceKind): number | null {
    return this.#isWide() ? exactStddev(this.#sum, this.#squares, this.n, kind) : this.#lanes.stddev(this.n, kind)
  }

  #isWide(): boolean {
    if (this.#wide && !this.#drained) {
      this.#lanes.drainTo(this.#sum, this.#squared ? this.#squares : null)
      this.#drained = true
    }
    return this.#wide
  }
}
