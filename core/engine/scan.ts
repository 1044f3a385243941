import type { AsOf } from '../asof/visible.ts'
import type { InputPlan } from './plan.ts'
import { runMask, runShift, type EventStore } from './state/event-store.ts'
import { isLive, live, liveRecords, present } from './state/live.ts'
import type { ViewState } from './state/view-state.ts'

/**
 * Scans over the events [lo, hi) of one entity, cursors as in event-store.ts, for what no summary tells. What does not
 * count as of K is passed over.
 */

/** Called for each run of [lo, hi) with the places that lie in it, in order; it ends early on true. */
type RunVisitor = (run: number, from: number, to: number) => boolean | void

function forRuns(store: EventStore, entity: number, lo: number, hi: number, visit: RunVisitor): void {
  const lastIndex = hi >> runShift
  for (let index = lo >> runShift; index <= lastIndex; index++) {
    const from = index === lo >> runShift ? lo & runMask : 0
    if (index === lastIndex && (hi & runMask) === 0) return
    const run = store.runAt(entity, index)
    const to = index === lastIndex ? hi & runMask : store.lengthOf(run)
    if (from < to && visit(run, from, to) === true) return
  }
}

function forRunsBackwards(store: EventStore, entity: number, lo: number, hi: number, visit: RunVisitor): void {
  const firstIndex = lo >> runShift
  const lastIndex = (hi & runMask) === 0 ? (hi >> runShift) - 1 : hi >> runShift
  for (let index = lastIndex; index >= firstIndex; index--) {
    const run = store.runAt(entity, index)
    const from = index === firstIndex ? lo & runMask : 0
    const to = index === hi >> runShift ? hi & runMask : store.lengthOf(run)
    if (from < to && visit(run, from, to) === true) return
  }
}

/** Event time of the newest event before cursor `hi` that counts as of K, -Infinity when there is none. */
export function newestLiveMs(store: EventStore, entity: number, hi: number, knownAsOfMs: number): number {
  let newest = Number.NEGATIVE_INFINITY
  forRunsBackwards(store, entity, 0, hi, (run, from, to) => {
    // Mostly the last one counts.
    for (let place = to - 1; place >= from; place--) {
      if (!isLive(store, run, place, knownAsOfMs)) continue
      newest = store.baseOf(run) + (store.words[store.record(run, place) * store.layout.stride] as number)
      return true
    }
    return false
  })
  return newest
}

/** The cursor in [lo, hi) from which on `n` events count, `lo` when there are fewer. */
export function nthLastLive(
  store: EventStore,
  entity: number,
  lo: number,
  hi: number,
  knownAsOfMs: number,
  n: number,
): number {
  let left = n
  for (let cursor = hi; cursor > lo;) {
    cursor = store.previous(entity, cursor)
    if (isLive(store, store.runAt(entity, cursor >> runShift), cursor & runMask, knownAsOfMs) && --left === 0)
      return cursor
  }
  return lo
}

/** The first cursor of [lo, hi) in the session that T ends, `hi` when it is over. */
export function sessionStart(
  store: EventStore,
  entity: number,
  lo: number,
  hi: number,
  asOf: AsOf,
  gapMs: number,
): number {
  let start = hi
  let nextMs = asOf.asOfMs
  for (let cursor = hi; cursor > lo;) {
    cursor = store.previous(entity, cursor)
    const time = store.timeAt(entity, cursor)
    // Older events lie further back still, whether or not they count.
    if (nextMs - time >= gapMs) break
    if (!isLive(store, store.runAt(entity, cursor >> runShift), cursor & runMask, asOf.knownAsOfMs)) continue
    start = cursor
    nextMs = time
  }
  return start
}

/** Values of one input as people see them, decimals unscaled. */
type Item = string | boolean | number | bigint

function itemOf(state: ViewState, input: number, record: number): Item {
  const { words, floats, longs, layout } = state.events
  const at = layout.inputs[input] as number
  switch ((state.plan.inputs[input] as InputPlan).type) {
    case 'float64':
    case 'timestamp':
      return floats[record * (layout.stride >> 1) + at] as number
    case 'int64':
    case 'decimal':
      return longs[record * (layout.stride >> 1) + at] as bigint
    case 'bool':
      return words[record * layout.stride + at] === 1
    case 'string':
      return state.tables[input]?.strings[words[record * layout.stride + at] as number] as string
    case 'int32':
      return words[record * layout.stride + at] as number
  }
}

/** The value of the first event that counts and has one; null when none has. */
export function firstItem(
  state: ViewState,
  entity: number,
  input: number,
  lo: number,
  hi: number,
  knownAsOfMs: number,
): Item | null {
  const store = state.events
  let item: Item | null = null
  forRuns(store, entity, lo, hi, (run, from, to) => {
    if (present(store, input, liveRecords(store, run, from, to, knownAsOfMs)) === 0) return false
    item = itemOf(state, input, live[0] as number)
    return true
  })
  return item
}

/** Values of the last `n` events that count and have one, oldest first. */
export function lastItems(
  state: ViewState,
  entity: number,
  input: number,
  lo: number,
  hi: number,
  knownAsOfMs: number,
  n: number,
): Item[] {
  const store = state.events
  const items: Item[] = []
  forRunsBackwards(store, entity, lo, hi, (run, from, to) => {
    const found = present(store, input, liveRecords(store, run, from, to, knownAsOfMs))
    for (let index = found - 1; index >= 0 && items.length < n; index--)
      items.push(itemOf(state, input, live[index] as number))
    return items.length === n
  })
  return items.reverse()
}

/** Stamps by string code: a code was seen in this call when it carries the call's stamp. */
let stamps = new Int32Array(1024)
let stamp = 0

export function distinctItems(
  state: ViewState,
  entity: number,
  input: number,
  lo: number,
  hi: number,
  knownAsOfMs: number,
): number {
  const store = state.events
  const table = state.tables[input] ?? null
  if (table === null) {
    const items = new Set<Item>()
    forRuns(store, entity, lo, hi, (run, from, to) => {
      const found = present(store, input, liveRecords(store, run, from, to, knownAsOfMs))
      for (let index = 0; index < found; index++) items.add(itemOf(state, input, live[index] as number))
    })
    return items.size
  }
  if (stamps.length < table.strings.length) stamps = new Int32Array(table.strings.length * 2)
  stamp = stamp === 0x7fffffff ? 1 : stamp + 1
  if (stamp === 1) stamps.fill(0)
  const at = store.layout.inputs[input] as number
  let distinct = 0
  forRuns(store, entity, lo, hi, (run, from, to) => {
    const found = present(store, input, liveRecords(store, run, from, to, knownAsOfMs))
    for (let index = 0; index < found; index++) {
      const code = store.words[(live[index] as number) * store.layout.stride + at] as number
      if (stamps[code] === stamp) continue
      stamps[code] = stamp
      distinct++
    }
  })
  return distinct
}
