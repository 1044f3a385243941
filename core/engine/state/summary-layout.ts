import type { InputPlan } from '../plan.ts'

/**
 * What a run tells about itself without its events being read: float64 numbers.
 *
 *     | newest known | standing | input | input | …
 *
 *     newest known   when the last of its events, and of what ended one of them, was known: the summary holds from then on
 *     standing       events that count then
 *     input          tally, then lanes, of what it needs
 *       tally        | n | sum | squaresHi | squaresLo | min | max |   integers and bools; min and max of float64
 *       lanes        | n | wide | s0 s1 q0 q1 q2 q3 |                  sums of float64 (number/lanes.ts)
 *
 * n counts values that are not null, in a tally of float64 not NaN either. int64 has neither: its functions read events.
 */
export interface SummaryLayout {
  readonly stride: number
  /** By input; -1: none. */
  readonly tallies: readonly number[]
  readonly lanes: readonly number[]
}

export const newestKnownAt = 0
export const standingAt = 1
export const tallyLength = 6
/** n, wide and the lanes. */
export const lanesLength = 8

const hasTally = ({ type, extremes }: InputPlan): boolean =>
  type === 'int32' || type === 'bool' || ((type === 'float64' || type === 'timestamp') && extremes)

export function summaryLayout(inputs: readonly InputPlan[]): SummaryLayout {
  let stride = 2
  const take = (length: number, wanted: boolean): number => {
    if (!wanted) return -1
    stride += length
    return stride - length
  }
  const tallies: number[] = []
  const lanes: number[] = []
  for (const input of inputs) {
    tallies.push(take(tallyLength, hasTally(input)))
    lanes.push(take(lanesLength, input.type === 'float64' && input.moments))
  }
  return { stride, tallies, lanes }
}
