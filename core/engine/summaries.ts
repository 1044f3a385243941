import { runLength, runShift, type EntityColumns, type InputColumn, type RunSummaries } from './entity-columns.ts'
import type { InputPlan } from './plan.ts'

/**
 * Summary of one run and input, six float64:
 *
 *     | n | sum | squaresHi | squaresLo | min | max |
 *
 * n counts values that are not null (for min and max: not NaN either). Integers: sum and squaresHi x 2^32 + squaresLo are
 * exact. float64: sums stay 0 here, they are taken from the events by the exact accumulator.
 */
export const stride = 6

/** Σx and Σx² of integers, exactly: |x| <= 2^31, at most 2^22 values, and a carry every run keep each lane below 2^53. */
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

  /** For float64 and timestamps: extremes only; NaN is skipped. */
  addExtreme(value: number): void {
    if (value !== value) return
    this.n++
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

const isSummarised = (plan: InputPlan): boolean =>
  plan.type === 'int32' ||
  plan.type === 'bool' ||
  ((plan.type === 'float64' || plan.type === 'timestamp') && plan.extremes)

/** Brings the summaries of runs that lie wholly below `end` up to date. */
export function summarise(entity: EntityColumns, plans: readonly InputPlan[]): RunSummaries {
  const runs = entity.end >> runShift
  const summaries = (entity.summaries ??= {
    known: new Float64Array(0),
    inputs: plans.map((plan) => (isSummarised(plan) ? new Float64Array(0) : null)),
  })
  if (entity.runsSummarised >= runs) return summaries
  if (summaries.known.length < runs) {
    const capacity = Math.max(runs, entity.times.length >> runShift)
    summaries.known = enlarged(summaries.known, capacity)
    summaries.inputs.forEach((summary, index) => {
      if (summary !== null) summaries.inputs[index] = enlarged(summary, capacity * stride)
    })
  }
  for (let run = entity.runsSummarised; run < runs; run++) {
    const from = run << runShift
    let known = Number.NEGATIVE_INFINITY
    for (let slot = from; slot < from + runLength; slot++)
      if ((entity.knowns[slot] as number) > known) known = entity.knowns[slot] as number
    summaries.known[run] = known
    summaries.inputs.forEach((summary, index) => {
      if (summary !== null) summariseRun(entity.inputs[index] as InputColumn, from, summary, run * stride)
    })
  }
  entity.runsSummarised = runs
  return summaries
}

function enlarged(from: Float64Array, length: number): Float64Array {
  const to = new Float64Array(length)
  to.set(from)
  return to
}

const scratch = new Tally()

function summariseRun(input: InputColumn, from: number, summary: Float64Array, at: number): void {
  scratch.reset()
  if (input.type === 'int32') addIntegers(scratch, input.values as Int32Array, input.nulls, from)
  else if (input.type === 'bool') addBools(scratch, input.values as Uint8Array, input.nulls, from)
  else addExtremes(scratch, input.values as Float64Array, input.nulls, from)
  scratch.store(summary, at)
}

// One function per array kind: a function that sees several kinds of typed arrays is thirty times slower.
function addIntegers(tally: Tally, values: Int32Array, nulls: Uint8Array | null, from: number): void {
  for (let slot = from; slot < from + runLength; slot++)
    if (nulls === null || nulls[slot] === 0) tally.addInteger(values[slot] as number)
}
function addBools(tally: Tally, values: Uint8Array, nulls: Uint8Array | null, from: number): void {
  for (let slot = from; slot < from + runLength; slot++)
    if (nulls === null || nulls[slot] === 0) tally.addInteger(values[slot] as number)
}
function addExtremes(tally: Tally, values: Float64Array, nulls: Uint8Array | null, from: number): void {
  for (let slot = from; slot < from + runLength; slot++)
    if (nulls === null || nulls[slot] === 0) tally.addExtreme(values[slot] as number)
}
