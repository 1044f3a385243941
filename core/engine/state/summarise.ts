import { laneAnchor, RunLanes } from '../../number/lanes.ts'
import { runLength, runShift } from './event-store.ts'
import { addExtremes, addIntegers, copyValues, standingRecords, values } from './live.ts'
import { LongTally } from './long-tally.ts'
import { newestKnownAt, standingAt } from './summary-layout.ts'
import { Extremes, Tally } from './tally.ts'
import type { ViewState } from './view-state.ts'

/** Shorter runs are read event by event: a summary would cost more than it saves. */
const summarisedMin = runLength / 4

const tally = new Tally()
const extremes = new Extremes()
/** By anchor: a few, since the values of a column lie together. */
const runLanes = new Map<number, RunLanes>()
const long = new LongTally()

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
  const { tallies, extremes: extremesAt, lanes, longs, longLayouts } = state.plan.summary
  for (let input = 0; input < tallies.length; input++) {
    const tallyAt = tallies[input] as number
    const extremeAt = extremesAt[input] as number
    const lanesAt = lanes[input] as number
    const longLayout = longLayouts[input] ?? null
    if (tallyAt < 0 && extremeAt < 0 && lanesAt < 0 && longLayout === null) continue
    const found = standingRecords(store, run, input)
    if (tallyAt >= 0) {
      tally.reset()
      addIntegers(tally, store, input, found)
      tally.store(store.summaries, at + tallyAt)
    }
    if (extremeAt >= 0) {
      extremes.reset()
      addExtremes(extremes, store, input, found)
      extremes.store(store.summaries, at + extremeAt)
    }
    if (lanesAt >= 0) storeLanes(state, input, found, at + lanesAt)
    if (longLayout !== null) {
      long.reset()
      long.addLive(store, input, found, longLayout.squares >= 0)
      long.store(store.summaries, at + (longs[input] as number), longLayout)
    }
  }
  return summary
}

/** The anchor of an input's lanes, where a run was summarised or folded before. */
export const anchorOf = (state: ViewState, input: number): number => state.anchors[input] ?? 0

/**
 * The anchor of an input's lanes: chosen once, by the first values at hand, for as long as the state lives. A fold asks
 * before it adds anything, or a summary made on the way would lie on other grids than what came before.
 */
export function chooseAnchor(state: ViewState, entity: number, input: number, lo: number, hi: number): number {
  const known = state.anchors[input] ?? null
  if (known !== null) return known
  const store = state.events
  const last = Math.min(hi >> runShift, store.runsOf(entity) - 1)
  for (let index = lo >> runShift; index <= last; index++) {
    const found = standingRecords(store, store.runAt(entity, index), input)
    if (found === 0) continue
    copyValues(store, input, found)
    return (state.anchors[input] = laneAnchor(values, 0, 1, found))
  }
  return 0
}

function storeLanes(state: ViewState, input: number, found: number, at: number): void {
  const store = state.events
  copyValues(store, input, found)
  const anchor = (state.anchors[input] ??= laneAnchor(values, 0, 1, found))
  let lanes = runLanes.get(anchor)
  if (lanes === undefined) runLanes.set(anchor, (lanes = new RunLanes(anchor)))
  store.summaries[at] = found
  lanes.storeAll(values, found, store.summaries, at + 1)
}
