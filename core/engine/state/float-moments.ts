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

  add(value: number): void {
    this.n++
    if (this.#squared ? this.#lanes.addValue(value) : this.#lanes.addSumValue(value)) return
    this.#wide = true
    this.#sum.add(value)
    if (this.#squared) this.#squares.add(value)
  }

  /** Takes a run by its lanes, `| n | lanes |`; false when they do not hold it, and its events must be added one by one. */
  mergeRun(summaries: Float64Array, at: number): boolean {
    if (!(this.#squared ? this.#lanes.mergeRun(summaries, at + 1) : this.#lanes.mergeSum(summaries, at + 1)))
      return false
    this.n += summaries[at] as number
    return true
  }

  /** As mergeRun, of a node: `| n | total |`, NaN where one of its runs is wide. */
  mergeNode(summaries: Float64Array, at: number): boolean {
    if (!this.#lanes.mergeTotal(summaries, at + 1)) return false
    this.n += summaries[at] as number
    return true
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
