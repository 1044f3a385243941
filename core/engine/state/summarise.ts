import type { InputPlan } from '../plan.ts'
import { runLength } from './event-store.ts'
import { addExtremes, addIntegers, standingRecords } from './live.ts'
import { newestKnownAt, standingAt } from './summary-layout.ts'
import { Tally } from './tally.ts'
import type { ViewState } from './view-state.ts'

/** Shorter runs are read event by event: a summary would cost more than it saves. */
const summarisedMin = runLength / 4

const tally = new Tally()

/** The summary of a run, made now if the run changed since; -1 for a run that is too short to have one. */
export function ensureSummary(state: ViewState, run: number): number {
  const store = state.events
  const known = store.summaryOf(run)
  if (known >= 0 || store.lengthOf(run) < summarisedMin) return known
  const summary = store.addSummary(run)
  const at = summary * store.summaryStride
  let newest = Number.NEGATIVE_INFINITY
  for (let place = store.lengthOf(run) - 1; place >= 0; place--)
    newest = Math.max(newest, store.newestKnownOf(run, place))
  store.summaries[at + newestKnownAt] = newest
  store.summaries[at + standingAt] = standingRecords(store, run, -1)
  const { tallies } = state.plan.summary
  for (let input = 0; input < tallies.length; input++) {
    const into = tallies[input] as number
    if (into < 0) continue
    const found = standingRecords(store, run, input)
    tally.reset()
    const { type } = state.plan.inputs[input] as InputPlan
    if (type === 'int32' || type === 'bool') addIntegers(tally, store, input, found)
    else addExtremes(tally, store, input, found)
    tally.store(store.summaries, at + into)
  }
  return summary
}
