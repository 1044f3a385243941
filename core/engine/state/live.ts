import type { EventStore } from './event-store.ts'
import type { Extremes, Tally } from './tally.ts'

/** Records of one run that count: the scans' common scratch, valid until the next call. */
export const live = new Int32Array(64)

/**
 * Writes the records of places [from, to) of a run that count as of K to `live`, in order; their number. The one place
 * here that knows the bound of knowledge (core/asof): known by K, and not ended by K.
 */
export function liveRecords(store: EventStore, run: number, from: number, to: number, knownAsOfMs: number): number {
  const { words, floats, layout } = store
  const { stride, until } = layout
  const knownMax = knownAsOfMs - store.knownBaseOf(run)
  let found = 0
  for (let place = from; place < to; place++) {
    const record = store.record(run, place)
    const at = record * stride
    if ((words[at + 1] as number) > knownMax) continue
    if (until >= 0) {
      const untilMs = floats[(at >> 1) + until] as number
      if (untilMs <= knownAsOfMs && untilMs !== Number.POSITIVE_INFINITY) continue
    }
    live[found++] = record
  }
  return found
}

export const isLive = (store: EventStore, run: number, place: number, knownAsOfMs: number): boolean =>
  liveRecords(store, run, place, place + 1, knownAsOfMs) === 1

/** Of `live[0, found)`, those whose input is not null; their number. */
export function present(store: EventStore, input: number, found: number): number {
  const { nulls, stride } = store.layout
  if (nulls < 0) return found
  const { words } = store
  const at = nulls + (input >> 5)
  const bit = 1 << (input & 31)
  let kept = 0
  for (let index = 0; index < found; index++) {
    const record = live[index] as number
    if (((words[record * stride + at] as number) & bit) === 0) live[kept++] = record
  }
  return kept
}

/** For a summary: the standing records of a whole run whose input is not null, in `live`; their number. */
export function standingRecords(store: EventStore, run: number, input: number): number {
  const found = liveRecords(store, run, 0, store.lengthOf(run), Number.POSITIVE_INFINITY)
  return input < 0 ? found : present(store, input, found)
}

export function addIntegers(tally: Tally, { words, layout }: EventStore, input: number, found: number): void {
  const at = layout.inputs[input] as number
  const { stride } = layout
  for (let index = 0; index < found; index++) tally.addInteger(words[(live[index] as number) * stride + at] as number)
}

/** Values of float64 and timestamps of records in `live`, in the same places. */
export const values = new Float64Array(64)

export function copyValues({ floats, layout }: EventStore, input: number, found: number): void {
  const at = layout.inputs[input] as number
  const half = layout.stride >> 1
  for (let index = 0; index < found; index++) values[index] = floats[(live[index] as number) * half + at] as number
}

/** Events that count among those of the last call of `liveValues`, whether or not their input is null. */
export let counting = 0

/**
 * `liveRecords`, `present` and `copyValues` in one; the number of values. `all`: it is known that all of them count.
 */
export function liveValues(
  store: EventStore,
  input: number,
  run: number,
  from: number,
  to: number,
  knownAsOfMs: number,
  all: boolean,
): number {
  const { words, floats, layout } = store
  const { stride, until, nulls } = layout
  const half = stride >> 1
  const value = layout.inputs[input] as number
  if (all && nulls < 0) {
    for (let place = from; place < to; place++)
      values[place - from] = floats[store.record(run, place) * half + value] as number
    counting = to - from
    return counting
  }
  const nullWord = nulls + (input >> 5)
  const nullBit = 1 << (input & 31)
  const knownMax = knownAsOfMs - store.knownBaseOf(run)
  let events = 0
  let found = 0
  for (let place = from; place < to; place++) {
    const record = store.record(run, place)
    const at = record * stride
    if ((words[at + 1] as number) > knownMax) continue
    if (until >= 0) {
      const untilMs = floats[record * half + until] as number
      if (untilMs <= knownAsOfMs && untilMs !== Number.POSITIVE_INFINITY) continue
    }
    events++
    if (nulls >= 0 && ((words[at + nullWord] as number) & nullBit) !== 0) continue
    values[found++] = floats[record * half + value] as number
  }
  counting = events
  return found
}

export function addExtremes(extremes: Extremes, store: EventStore, input: number, found: number): void {
  copyValues(store, input, found)
  extremes.addAll(values, found)
}
