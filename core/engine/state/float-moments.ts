import {
  ExactSquares,
  ExactSum,
  exactMean,
  exactStddev,
  exactVariance,
  type VarianceKind,
} from '../../number/exact-sum.ts'

/** Σx and Σx² of float64 values, exactly, from runs and single events in any order; rounded once, when asked. */
export class FloatMoments {
  n = 0
  #squared = false
  readonly #sum = new ExactSum()
  readonly #squares = new ExactSquares()

  reset(squared: boolean): void {
    this.n = 0
    this.#squared = squared
    this.#sum.reset()
    if (squared) this.#squares.reset()
  }

  add(value: number): void {
    this.n++
    this.#sum.add(value)
    if (this.#squared) this.#squares.add(value)
  }

  /** Takes a run by its lanes; false when they do not hold it, and its events must be added one by one. */
  mergeRun(_summaries: Float64Array, _at: number): boolean {
    return false
  }

  sum(): number | null {
    return this.n === 0 ? null : this.#sum.round()
  }
  mean(): number | null {
    return exactMean(this.#sum, this.n)
  }
  variance(kind: VarianceKind): number | null {
    return exactVariance(this.#sum, this.#squares, this.n, kind)
  }
  stddev(kind: VarianceKind): number | null {
    return exactStddev(this.#sum, this.#squares, this.n, kind)
  }
}
