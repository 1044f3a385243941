import type { InputPlan } from '../plan.ts'
import { longLayout, type LongLayout } from './long-tally.ts'

/**
 * What a run tells about itself without its events being read, and a node about 32 runs or 32 nodes (nodes.ts): float64
 * numbers, in memory only.
 *
 *     | newest known | standing | tally, extremes, lanes or long of each input | …
 *
 *     newest known   when the last of its events, and of what ended one of them, was known: the summary holds from then on
 *     standing       events that count then
 *     tally          | n | sum | squaresHi | squaresLo | min | max |   int32 and bool (tally.ts)
 *     extremes       | n | min | max |                                 float64 and timestamp, where asked for
 *     lanes          | n | s0 s1 q0 q1 q2 q3 |                         sums of float64 (number/lanes.ts)
 *       of a node    | n | s0 s1 q0 q1 q2 q3 sC qC |
 *     long           | n | … |                                         int64 and decimal, what is asked for (long-tally.ts)
 *
 * n counts values that are not null, in extremes not NaN either.
 */
export interface SummaryLayout {
  readonly stride: number
  /** By input; -1: none. */
  readonly tallies: readonly number[]
  readonly extremes: readonly number[]
  readonly lanes: readonly number[]
  readonly longs: readonly number[]
  /** By input: what its long has; null where it has none. */
  readonly longLayouts: readonly (LongLayout | null)[]
}

export const newestKnownAt = 0
export const standingAt = 1
const tallyLength = 6
const extremesLength = 3

/** `laneWords`: runLaneWords for runs, totalLaneWords for nodes. */
export function summaryLayout(inputs: readonly InputPlan[], laneWords: number): SummaryLayout {
  let stride = 2
  const take = (length: number, wanted: boolean): number => {
    if (!wanted) return -1
    stride += length
    return stride - length
  }
  const tallies: number[] = []
  const extremes: number[] = []
  const lanes: number[] = []
  const longs: number[] = []
  const longLayouts: (LongLayout | null)[] = []
  for (const input of inputs) {
    const isFloat = input.type === 'float64' || input.type === 'timestamp'
    const isLong = input.type === 'int64' || input.type === 'decimal'
    const long = isLong ? longLayout(input.moments, input.extremes, input.squares) : null
    tallies.push(take(tallyLength, input.type === 'int32' || input.type === 'bool'))
    extremes.push(take(extremesLength, isFloat && input.extremes))
    lanes.push(take(1 + laneWords, input.type === 'float64' && input.moments))
    longs.push(take(long?.words ?? 0, long !== null))
    longLayouts.push(long)
  }
  return { stride, tallies, extremes, lanes, longs, longLayouts }
}
