import { productTail, residual } from './integer-moments.ts'
import { ExactSquares, exactStddev, ExactSum, exactMean, exactVariance, type VarianceKind } from './exact-sum.ts'
import { powerOfTwo } from './rational.ts'

/*
 * Exact sums of float64 values, and of their squares, in a few float64 words: the summary of a run of events.
 *
 * A lane holds a multiple of its grid. A value is cut at the grids by adding and subtracting 1.5 * 2^52 grids: each piece
 * is a multiple of its grid, so each addition to a lane is one of integers below 2^53, exact in any order and grouping.
 * Squares are cut likewise, after Dekker's TwoProd made them a pair of doubles. Grids, for anchor 0:
 *
 *     word        0       1    |   2       3       4       5    |   6       7
 *     lane        s0      s1   |   q0      q1      q2      q3   |   sC      qC
 *     grid       2^-16   2^-62 |  2^14    2^-32   2^-78   2^-124|  2^30    2^60
 *                `--- sum ---' `---------- squares ----------'  `-- carries --'
 *                `------------- a run: 6 words --------------'
 *                `------------------- a total: 8 words -----------------------'
 *
 * A lane is one grid of the lane above, 46 bits, plus 7 bits of headroom: for the 64 values of a run, or for 32 merges,
 * after which the overflow moves up a lane. s0 is the tightest: 32 runs of 2^31 each are 2^52 grids.
 *
 * A run is narrow if its summary is exact: every value a multiple of 2^-62, and Σx² < 2^56 (where only sums are kept,
 * Σ|x| < 2^31). Otherwise it is wide, its summary is NaN, and it must be read from its values by ExactSum and
 * ExactSquares; so must NaN and the infinities.
 *
 * The anchor moves the grids by 2^anchor (of squares by 2^2anchor), by changing the constants, not the values: scaling a
 * value could underflow, and the lanes are numbers as they are. It belongs to a column, not to a run: totals add only
 * equal grids, and a column's values lie together. It decides the share of narrow runs, never a bit of a result, so
 * `laneAnchor` may be asked at any time, of any values. Narrow runs of 64, of 10,000 drawn:
 *
 *     kind                                  anchor 0   laneAnchor of 64 values
 *     amounts, 0.01 to 1e6                     100 %      100 %
 *     log-normal amounts                       100 %      100 %
 *     uniform (-1, 1)                          100 %      100 %
 *     normal                                  96.7 %      100 %
 *     normal * 1e-9                              0 %      100 %
 *     exponential                             96.1 %      100 %
 *     Cauchy                                  97.3 %    99.96 %
 *     degrees to 1e-6                        99.96 %      100 %
 *     ratios of counts                        23.3 %      100 %
 *     epoch ms, epoch ns, integers to 2^53       0 %      100 %
 *     log-uniform over 9 decades               0.4 %      100 %
 *     log-uniform over 12 decades                0 %      3.5 %
 */

/** Words of a run's summary; a summary without squares is the first `sumLaneWords` of them. */
export const runLaneWords = 6
export const sumLaneWords = 2
/** Words of a stored total. */
export const totalLaneWords = 8
/** Values that a run's lanes have headroom for. */
export const runValuesMax = 64

const S0 = 0
const S1 = 1
const Q0 = 2
const Q1 = 3
const Q2 = 4
const Q3 = 5
const SC = 6
const QC = 7

/** Within these, squares of the lowest and of the highest grid are far from underflow and overflow. */
const anchorMax = 400
/** Merges that a total's lanes have headroom for. */
const mergesMax = 32
/** n (n - 1) stays exact below this count, and so do the columns of `numerator`. */
const countMax = 94_906_265

/** Adding and subtracting this rounds to a multiple of 2^exponent what is below 2^(exponent + 51). */
const cutter = (exponent: number): number => 1.5 * powerOfTwo(exponent + 52)

/** The constants of an anchor. */
class LaneGrid {
  readonly s0: number
  readonly s1: number
  readonly sC: number
  readonly q0: number
  readonly q1: number
  readonly q2: number
  readonly qC: number
  /** Bounds of |x|, Σ|x| and Σx². */
  readonly valueMax: number
  readonly reachMax: number
  readonly energyMax: number

  constructor(anchor: number) {
    if (!Number.isInteger(anchor) || Math.abs(anchor) > anchorMax) throw new RangeError(`no lanes at anchor ${anchor}`)
    this.s0 = cutter(anchor - 16)
    this.s1 = cutter(anchor - 62)
    this.sC = cutter(anchor + 30)
    this.q0 = cutter(2 * anchor + 14)
    this.q1 = cutter(2 * anchor - 32)
    this.q2 = cutter(2 * anchor - 78)
    this.qC = cutter(2 * anchor + 60)
    this.valueMax = powerOfTwo(anchor + 28)
    this.reachMax = powerOfTwo(anchor + 31)
    this.energyMax = powerOfTwo(2 * anchor + 56)
  }
}

/** Adds x² to the lanes of squares; x must be in the domain. */
function addSquare(lanes: Float64Array, grid: LaneGrid, x: number): number {
  // Dekker's product: x² = square + tail, both doubles. 2^27 + 1 cuts the significand in half.
  const square = x * x
  const scaled = x * 134217729
  const high = scaled - (scaled - x)
  const low = x - high
  const tail = high * high - square + 2 * high * low + low * low
  const piece0 = square + grid.q0 - grid.q0
  const rest0 = square - piece0
  const piece1 = rest0 + grid.q1 - grid.q1
  const rest1 = rest0 - piece1
  const piece2 = rest1 + grid.q2 - grid.q2
  const tail1 = tail + grid.q1 - grid.q1
  const tailRest = tail - tail1
  const tail2 = tailRest + grid.q2 - grid.q2
  lanes[Q0] = (lanes[Q0] as number) + piece0
  lanes[Q1] = (lanes[Q1] as number) + (piece1 + tail1)
  lanes[Q2] = (lanes[Q2] as number) + (piece2 + tail2)
  // Multiples of the lowest grid by now, for x is one of 2^(anchor - 62).
  lanes[Q3] = (lanes[Q3] as number) + (rest1 - piece2 + (tailRest - tail2))
  return square
}

/** What `sumRun` and `sumRunPlain` found: the words of a run. */
const run = new Float64Array(runLaneWords)

/**
 * `RunLanes` over `values[0, count)`, at most 64, with the lanes in registers: its words are left in `run`; false, and nothing
 * is, for a run that is wide.
 */
function sumRun(values: Float64Array, count: number, grid: LaneGrid): boolean {
  const { s0, s1, q0, q1, q2 } = grid
  let sum0 = 0
  let sum1 = 0
  let square0 = 0
  let square1 = 0
  let square2 = 0
  let square3 = 0
  let residue = 0
  let energy = 0
  for (let index = 0; index < count; index++) {
    const x = values[index] as number
    const high0 = x + s0 - s0
    const rest = x - high0
    const high1 = rest + s1 - s1
    sum0 += high0
    sum1 += high1
    residue += Math.abs(rest - high1)
    // As in addSquare.
    const square = x * x
    const scaled = x * 134217729
    const high = scaled - (scaled - x)
    const low = x - high
    const tail = high * high - square + 2 * high * low + low * low
    const piece0 = square + q0 - q0
    const rest0 = square - piece0
    const piece1 = rest0 + q1 - q1
    const rest1 = rest0 - piece1
    const piece2 = rest1 + q2 - q2
    const tail1 = tail + q1 - q1
    const tailRest = tail - tail1
    const tail2 = tailRest + q2 - q2
    square0 += piece0
    square1 += piece1 + tail1
    square2 += piece2 + tail2
    square3 += rest1 - piece2 + (tailRest - tail2)
    energy += square
  }
  if (!(residue === 0 && energy < grid.energyMax)) return false
  run[S0] = sum0
  run[S1] = sum1
  run[Q0] = square0
  run[Q1] = square1
  run[Q2] = square2
  run[Q3] = square3
  lift(run, S0, S1, s0)
  lift(run, Q2, Q3, q2)
  lift(run, Q1, Q2, q1)
  lift(run, Q0, Q1, q0)
  return true
}

/** As sumRun, of sums alone. */
function sumRunPlain(values: Float64Array, count: number, { s0, s1, reachMax }: LaneGrid): boolean {
  let sum0 = 0
  let sum1 = 0
  let residue = 0
  let reach = 0
  for (let index = 0; index < count; index++) {
    const x = values[index] as number
    const high0 = x + s0 - s0
    const rest = x - high0
    const high1 = rest + s1 - s1
    sum0 += high0
    sum1 += high1
    residue += Math.abs(rest - high1)
    reach += Math.abs(x)
  }
  if (!(residue === 0 && reach < reachMax)) return false
  run[S0] = sum0
  run[S1] = sum1
  lift(run, S0, S1, s0)
  return true
}

/**
 * Summarises a run: `reset`, up to 64 times `add`, then `store`.
 *
 * With `add` the summary has squares; with `addSum` only sums, in half the time. One of the two between two resets.
 */
export class RunLanes {
  readonly #grid: LaneGrid
  readonly #lanes = new Float64Array(runLaneWords)
  /** Σ|what is below the lowest grid|, Σx² and Σ|x|, rounded: 0 and below the bounds if the run is narrow. */
  readonly #checks = new Float64Array(3)
  #count = 0

  constructor(anchor = 0) {
    this.#grid = new LaneGrid(anchor)
  }

  reset(): void {
    this.#lanes.fill(0)
    this.#checks.fill(0)
    this.#count = 0
  }

  /** Adds any double to sum and squares. */
  add(x: number): void {
    const grid = this.#grid
    const lanes = this.#lanes
    const checks = this.#checks
    const piece0 = x + grid.s0 - grid.s0
    const rest = x - piece0
    const piece1 = rest + grid.s1 - grid.s1
    lanes[S0] = (lanes[S0] as number) + piece0
    lanes[S1] = (lanes[S1] as number) + piece1
    checks[0] = (checks[0] as number) + Math.abs(rest - piece1)
    checks[1] = (checks[1] as number) + addSquare(lanes, grid, x)
    this.#count++
  }

  /** Adds any double to the sum alone. */
  addSum(x: number): void {
    const grid = this.#grid
    const lanes = this.#lanes
    const checks = this.#checks
    const piece0 = x + grid.s0 - grid.s0
    const rest = x - piece0
    const piece1 = rest + grid.s1 - grid.s1
    lanes[S0] = (lanes[S0] as number) + piece0
    lanes[S1] = (lanes[S1] as number) + piece1
    checks[0] = (checks[0] as number) + Math.abs(rest - piece1)
    checks[2] = (checks[2] as number) + Math.abs(x)
    this.#count++
  }

  /** `reset`, `add` of each of `values[0, count)`, at most 64, and `store`, in half the time. */
  storeAll(values: Float64Array, count: number, to: Float64Array, at: number): void {
    if (!sumRun(values, count, this.#grid)) return markWide(to, at, runLaneWords)
    for (let word = 0; word < runLaneWords; word++) to[at + word] = run[word] as number
  }

  /** Whether what was added is no summary: a value outside of the domain, or more than 64 of them. */
  get wide(): boolean {
    const checks = this.#checks
    // Of NaN every comparison is false.
    return !(
      checks[0] === 0 &&
      (checks[1] as number) < this.#grid.energyMax &&
      (checks[2] as number) < this.#grid.reachMax &&
      this.#count <= runValuesMax
    )
  }

  /** Writes `runLaneWords` words: NaN if the run is wide. */
  store(to: Float64Array, at: number): void {
    if (this.wide) return markWide(to, at, runLaneWords)
    const { s0, q0, q1, q2 } = this.#grid
    // From the lowest lane up, so that 32 of these can be added before the next time.
    const lanes = this.#lanes
    lift(lanes, S0, S1, s0)
    lift(lanes, Q2, Q3, q2)
    lift(lanes, Q1, Q2, q1)
    lift(lanes, Q0, Q1, q0)
    for (let word = 0; word < runLaneWords; word++) to[at + word] = lanes[word] as number
  }

  /** Writes `sumLaneWords` words: NaN if the run is wide. */
  storeSum(to: Float64Array, at: number): void {
    if (this.wide) return markWide(to, at, sumLaneWords)
    const lanes = this.#lanes
    lift(lanes, S0, S1, this.#grid.s0)
    to[at] = lanes[S0] as number
    to[at + 1] = lanes[S1] as number
  }
}

/** Makes a summary one of a wide run. */
export function markWide(to: Float64Array, at: number, words: number): void {
  for (let word = 0; word < words; word++) to[at + word] = Number.NaN
}

/** Moves what is above a grid of lane `upper` there from `lower`. */
function lift(lanes: Float64Array, upper: number, lower: number, cut: number): void {
  const value = lanes[lower] as number
  const over = value + cut - cut
  lanes[upper] = (lanes[upper] as number) + over
  lanes[lower] = value - over
}

/**
 * Adds summaries and single values, of one anchor, and finishes them: bit for bit what ExactSum and ExactSquares give.
 *
 * Laws:   merging is associative and commutative; a new one is its identity.
 * Bounds: 2^40 values; from 2^26.5 on variances take the slow path.
 * Cost:   a run 2 to 4 ns by `mergeRuns`, 3 to 9 by `mergeRun`; a value 8; a sum 5, a mean 18, a stddev 50. About one finish in
 *         2^16, and deviations exactly halfway between two doubles, take the slow path: some microseconds.
 * Counts: the number of values is the caller's; it must be that of the values merged.
 */
export class LaneTotal {
  readonly #grid: LaneGrid
  readonly #lanes = new Float64Array(totalLaneWords)
  #merges = 0

  constructor(anchor = 0) {
    this.#grid = new LaneGrid(anchor)
  }

  reset(): void {
    const lanes = this.#lanes
    for (let word = 0; word < totalLaneWords; word++) lanes[word] = 0
    this.#merges = 0
  }

  /** Adds the run stored at `at`; false, and nothing is added, if it is wide. */
  mergeRun(from: Float64Array, at: number): boolean {
    const s0 = from[at] as number
    if (s0 !== s0) return false
    const lanes = this.#lanes
    lanes[S0] = (lanes[S0] as number) + s0
    lanes[S1] = (lanes[S1] as number) + (from[at + S1] as number)
    lanes[Q0] = (lanes[Q0] as number) + (from[at + Q0] as number)
    lanes[Q1] = (lanes[Q1] as number) + (from[at + Q1] as number)
    lanes[Q2] = (lanes[Q2] as number) + (from[at + Q2] as number)
    lanes[Q3] = (lanes[Q3] as number) + (from[at + Q3] as number)
    if (++this.#merges === mergesMax) this.#carry()
    return true
  }

  /**
   * Adds the runs stored at `offsets[first, end)` plus `shift`, with the lanes in registers: the index of the first that is
   * wide, `end` where none is.
   */
  mergeRuns(from: Float64Array, offsets: Int32Array, shift: number, first: number, end: number): number {
    const lanes = this.#lanes
    let next = first
    while (next < end) {
      const stop = Math.min(end, next + mergesMax - this.#merges)
      const begin = next
      let s0 = lanes[S0] as number
      let s1 = lanes[S1] as number
      let q0 = lanes[Q0] as number
      let q1 = lanes[Q1] as number
      let q2 = lanes[Q2] as number
      let q3 = lanes[Q3] as number
      for (; next < stop; next++) {
        const at = (offsets[next] as number) + shift
        const top = from[at] as number
        if (top !== top) break
        s0 += top
        s1 += from[at + S1] as number
        q0 += from[at + Q0] as number
        q1 += from[at + Q1] as number
        q2 += from[at + Q2] as number
        q3 += from[at + Q3] as number
      }
      lanes[S0] = s0
      lanes[S1] = s1
      lanes[Q0] = q0
      lanes[Q1] = q1
      lanes[Q2] = q2
      lanes[Q3] = q3
      this.#merges += next - begin
      if (this.#merges === mergesMax) this.#carry()
      if (next < stop) break
    }
    return next
  }

  /** As mergeRuns, of totals. */
  mergeTotals(from: Float64Array, offsets: Int32Array, shift: number, first: number, end: number): number {
    const reached = this.mergeRuns(from, offsets, shift, first, end)
    const lanes = this.#lanes
    let sC = lanes[SC] as number
    let qC = lanes[QC] as number
    for (let index = first; index < reached; index++) {
      const at = (offsets[index] as number) + shift
      sC += from[at + SC] as number
      qC += from[at + QC] as number
    }
    lanes[SC] = sC
    lanes[QC] = qC
    return reached
  }

  /** Adds `values[0, count)`, at most 64, to sum and squares; false, and nothing is added, if a run of them would be wide. */
  addValues(values: Float64Array, count: number): boolean {
    return sumRun(values, count, this.#grid) && this.mergeRun(run, 0)
  }

  /** Takes `values[0, count)`, at most 64, from sum and squares; false, and nothing is taken, if a run of them would be wide. */
  subtractValues(values: Float64Array, count: number): boolean {
    if (!sumRun(values, count, this.#grid)) return false
    for (let word = 0; word < runLaneWords; word++) run[word] = -(run[word] as number)
    return this.mergeRun(run, 0)
  }

  /** As addValues, to the sum alone. */
  addSumValues(values: Float64Array, count: number): boolean {
    return sumRunPlain(values, count, this.#grid) && this.mergeSum(run, 0)
  }

  /** Makes this one what another of the same anchor is. */
  copy(other: LaneTotal): void {
    const lanes = this.#lanes
    const from = other.#lanes
    for (let word = 0; word < totalLaneWords; word++) lanes[word] = from[word] as number
    this.#merges = other.#merges
  }

  /** Adds a run of `storeSum`; false, and nothing is added, if it is wide. */
  mergeSum(from: Float64Array, at: number): boolean {
    const s0 = from[at] as number
    if (s0 !== s0) return false
    const lanes = this.#lanes
    lanes[S0] = (lanes[S0] as number) + s0
    lanes[S1] = (lanes[S1] as number) + (from[at + S1] as number)
    if (++this.#merges === mergesMax) this.#carry()
    return true
  }

  /** Adds a total stored at `at`; false, and nothing is added, if it is marked wide. */
  mergeTotal(from: Float64Array, at: number): boolean {
    if (!this.mergeRun(from, at)) return false
    const lanes = this.#lanes
    lanes[SC] = (lanes[SC] as number) + (from[at + SC] as number)
    lanes[QC] = (lanes[QC] as number) + (from[at + QC] as number)
    return true
  }

  /** Adds a value to sum and squares; false, and nothing is added, if it is outside of the domain of a run of one. */
  addValue(x: number): boolean {
    if (!(Math.abs(x) < this.#grid.valueMax) || !this.addSumValue(x)) return false
    addSquare(this.#lanes, this.#grid, x)
    return true
  }

  /** Adds a value to the sum alone; false, and nothing is added, if it is outside of the domain of a run of one. */
  addSumValue(x: number): boolean {
    const { s0, s1, reachMax } = this.#grid
    const piece0 = x + s0 - s0
    const rest = x - piece0
    const piece1 = rest + s1 - s1
    if (rest !== piece1 || !(Math.abs(x) < reachMax)) return false
    const lanes = this.#lanes
    lanes[S0] = (lanes[S0] as number) + piece0
    lanes[S1] = (lanes[S1] as number) + piece1
    if (++this.#merges === mergesMax) this.#carry()
    return true
  }

  /** Writes `totalLaneWords` words, for `mergeTotal`. */
  store(to: Float64Array, at: number): void {
    this.#carry()
    const lanes = this.#lanes
    for (let word = 0; word < totalLaneWords; word++) to[at + word] = lanes[word] as number
  }

  /** RN of the sum. Never -0. */
  roundSum(): number {
    const lanes = this.#lanes
    // Two doubles, each exact: one addition rounds once.
    if (lanes[SC] === 0) return (lanes[S0] as number) + (lanes[S1] as number)
    this.#pairOfSum()
    return pairHigh
  }

  /** RN(Σ / n); null for n = 0: `exactMean`. */
  mean(n: number): number | null {
    if (n === 0) return null
    this.#pairOfSum()
    const high = pairHigh
    const low = pairLow
    const first = high / n
    const remainder = residual(high, first, n)
    const missing = remainder + low
    const correction = missing / n
    const margin = Math.abs(correction) * correctionError + Math.abs(first) * meanRemainder
    const rounded = first + (correction - margin)
    if (rounded === first + (correction + margin)) return rounded
    // Halfway between two doubles, as the mean of an even number of values often is. A power of two only moves the point;
    // otherwise, if nothing was rounded so far, this addition is the first to do so.
    if (n < 2 ** 31 && (n & (n - 1)) === 0) return first
    const exact = this.#lanes[SC] === 0 && missing - remainder === low && missing - low === remainder
    if (exact && residual(missing, correction, n) === 0) return first + correction
    const [sum] = this.#drained(false)
    return exactMean(sum, n)
  }

  /** `exactVariance`. */
  variance(n: number, kind: VarianceKind): number | null {
    if (n < (kind === 'sample' ? 2 : 1)) return null
    if (n <= countMax) {
      this.#numerator(n)
      const denominator = n * (kind === 'sample' ? n - 1 : n)
      const first = pairHigh / denominator
      const correction = (residual(pairHigh, first, denominator) + pairLow) / denominator
      const margin = Math.abs(correction) * correctionError + first * remainderError
      const rounded = first + (correction - margin)
      if (rounded === first + (correction + margin)) return rounded
    }
    const [sum, squares] = this.#drained(true)
    return exactVariance(sum, squares, n, kind)
  }

  /** `exactStddev`. */
  stddev(n: number, kind: VarianceKind): number | null {
    if (n < (kind === 'sample' ? 2 : 1)) return null
    if (n <= countMax) {
      this.#numerator(n)
      if (pairHigh === 0) return 0
      const denominator = n * (kind === 'sample' ? n - 1 : n)
      const first = Math.sqrt(pairHigh / denominator)
      // N - first² d, with first² = square + tail exactly.
      const square = first * first
      const tail = productTail(first, first, square)
      const left = residual(pairHigh, square, denominator) + (pairLow - tail * denominator)
      const correction = left / (2 * first * denominator)
      const margin = Math.abs(correction) * correctionError + first * remainderError
      const rounded = first + (correction - margin)
      if (rounded === first + (correction + margin)) return rounded
    }
    const [sum, squares] = this.#drained(true)
    return exactStddev(sum, squares, n, kind)
  }

  /** Adds what was merged to the wide accumulators, exactly: for a range of which some runs are wide. */
  drainTo(sum: ExactSum, squares: ExactSquares | null): void {
    const lanes = this.#lanes
    sum.add(lanes[SC] as number)
    sum.add(lanes[S0] as number)
    sum.add(lanes[S1] as number)
    if (squares === null) return
    squares.addPart(lanes[QC] as number)
    squares.addPart(lanes[Q0] as number)
    squares.addPart(lanes[Q1] as number)
    squares.addPart(lanes[Q2] as number)
    squares.addPart(lanes[Q3] as number)
  }

  /** Brings every lane but the carries to half a grid of the lane above, at most. */
  #carry(): void {
    const grid = this.#grid
    const lanes = this.#lanes
    lift(lanes, S0, S1, grid.s0)
    lift(lanes, SC, S0, grid.sC)
    lift(lanes, Q2, Q3, grid.q2)
    lift(lanes, Q1, Q2, grid.q1)
    lift(lanes, Q0, Q1, grid.q0)
    lift(lanes, QC, Q0, grid.qC)
    this.#merges = 0
  }

  #drained(withSquares: boolean): readonly [ExactSum, ExactSquares] {
    scratchSum.reset()
    scratchSquares.reset()
    this.drainTo(scratchSum, withSquares ? scratchSquares : null)
    return [scratchSum, scratchSquares]
  }

  /** The sum as RN(sum) and what is left of it, to within 2^-105 of the sum. */
  #pairOfSum(): void {
    const lanes = this.#lanes
    if (lanes[SC] !== 0) {
      this.#carry()
      const carry = lanes[SC] as number
      const s0 = lanes[S0] as number
      const upper = carry + s0
      // |carry| >= 2^30 is above |s0| <= 2^29, or 0: what the addition lost is exact.
      const lost = carry === 0 ? 0 : s0 - (upper - carry)
      if (lost !== 0) return pairOfThree(upper, lost, lanes[S1] as number)
      pairOfTwo(upper, lanes[S1] as number)
    } else pairOfTwo(lanes[S0] as number, lanes[S1] as number)
  }

  /**
   * N = n Σx² - (Σx)² as a pair, to within 2^-72 of N however much cancels; pairLow is 0 and N exact if two doubles hold it.
   *
   * Every lane is cut into limbs of 23 bits, signed; products of limbs of one weight share a column:
   *
   *     Σx  = a4 a3 a2 a1 a0                column k = n b_k - Σ(i + j = k) a_i a_j, weight 2^(23 k)
   *     Σx² = b8 b7 b6 b5 b4 b3 b2 b1 b0    |column| < 2^51 weights for n < 2^26.5, so no column rounds
   *
   * The columns are added from the top. Until an addition loses something all is exact; from there on the sum is above
   * 2^53 weights and the columns to come below 2^29, so plain additions are good for 2^-74.
   */
  #numerator(n: number): void {
    this.#carry()
    const lanes = this.#lanes
    const { s1, q0, q1, q2 } = this.#grid
    // A cutter 2^23 up. The cutters of the lanes are a power of two, so this product is exact.
    const half = 2 ** 23
    const sHalf1 = s1 * half
    const sHalf0 = sHalf1 * 2 ** 46
    const qHalf3 = q2 * 2 ** -23
    const qHalf2 = q2 * half
    const qHalf1 = q1 * half
    const qHalf0 = q0 * half
    const a4 = lanes[SC] as number
    const s0 = lanes[S0] as number
    const a3 = s0 + sHalf0 - sHalf0
    const a2 = s0 - a3
    const s1Lane = lanes[S1] as number
    const a1 = s1Lane + sHalf1 - sHalf1
    const a0 = s1Lane - a1
    const q3Lane = lanes[Q3] as number
    const b1 = q3Lane + qHalf3 - qHalf3
    const b0 = q3Lane - b1
    const q2Lane = lanes[Q2] as number
    const b3 = q2Lane + qHalf2 - qHalf2
    const b2 = q2Lane - b3
    const q1Lane = lanes[Q1] as number
    const b5 = q1Lane + qHalf1 - qHalf1
    const b4 = q1Lane - b5
    const q0Lane = lanes[Q0] as number
    const b7 = q0Lane + qHalf0 - qHalf0
    const b6 = q0Lane - b7
    columns[8] = n * (lanes[QC] as number) - a4 * a4
    columns[7] = n * b7 - 2 * a4 * a3
    columns[6] = n * b6 - (2 * a4 * a2 + a3 * a3)
    columns[5] = n * b5 - 2 * (a4 * a1 + a3 * a2)
    columns[4] = n * b4 - (2 * (a4 * a0 + a3 * a1) + a2 * a2)
    columns[3] = n * b3 - 2 * (a3 * a0 + a2 * a1)
    columns[2] = n * b2 - (2 * a2 * a0 + a1 * a1)
    columns[1] = n * b1 - 2 * a1 * a0
    columns[0] = n * b0 - a0 * a0
    let high = columns[8] as number
    let low = 0
    for (let k = 7; k >= 0; k--) {
      const column = columns[k] as number
      const sum = high + column
      const virtual = sum - high
      low = high - (sum - virtual) + (column - virtual)
      high = sum
      if (low !== 0) {
        for (k--; k >= 0; k--) low += columns[k] as number
        break
      }
    }
    pairHigh = high + low
    pairLow = low - (pairHigh - high)
  }
}

/** Bound of the relative error of a correction: a few roundings of 2^-53 each. */
const correctionError = 2 ** -44
/** Bounds, relative to the answer, of what a correction leaves out. */
const meanRemainder = 2 ** -94
const remainderError = 2 ** -70

// Pairs are two module variables, for one would be an object a call.
let pairHigh = 0
let pairLow = 0
const columns = new Float64Array(9)
const scratchSum = new ExactSum()
const scratchSquares = new ExactSquares()

/** Knuth's TwoSum: the pair is a + b, exactly. */
function pairOfTwo(a: number, b: number): void {
  const sum = a + b
  const virtual = sum - a
  pairLow = a - (sum - virtual) + (b - virtual)
  pairHigh = sum
}

/** RN(a + b + c), and the rest rounded, for |b| <= ulp(a) / 2 and |c| < every non-zero b. */
function pairOfThree(a: number, b: number, c: number): void {
  const middle = b + c
  const last = c - (middle - b)
  let high = a + middle
  let low = middle - (high - a)
  // Halfway, and tied to the even one, away from what is still to come: the other neighbour is RN.
  if (low !== 0 && last !== 0 && low > 0 === last > 0) {
    const other = high + 2 * low
    if (other - high === 2 * low) {
      high = other
      low = -low
    }
  }
  pairHigh = high
  pairLow = low + last
}

const double = new Float64Array(1)
const words = new Int32Array(double.buffer)

/**
 * The anchor whose domain has the given values in its middle: `count` of them from `at`, `stride` words apart. 0 without
 * a value to go by.
 */
export function laneAnchor(values: Float64Array, at: number, stride: number, count: number): number {
  let top = Number.NEGATIVE_INFINITY
  let bottom = Number.POSITIVE_INFINITY
  for (let index = 0; index < count; index++) {
    const x = values[at + index * stride] as number
    if (x === 0 || !Number.isFinite(x)) continue
    double[0] = x
    const high = words[1] as number
    const low = words[0] as number
    const biased = (high >>> 20) & 0x7ff
    const ulp = Math.max(biased, 1) - 1075
    // The least bit that is set: x & -x has only that one.
    const zeros = low !== 0 ? 31 - Math.clz32(low & -low) : 32 + 31 - Math.clz32((high | 0x100000) & -(high | 0x100000))
    top = Math.max(top, ulp + 53)
    bottom = Math.min(bottom, ulp + zeros)
  }
  if (top < bottom) return 0
  // From multiples of 2^(anchor - 62) to 64 values of 2^(anchor + 25).
  const middle = Math.round((bottom + 62 + (top - 25)) / 2)
  return Math.min(Math.max(middle, -anchorMax), anchorMax)
}
