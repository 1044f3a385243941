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

export function addIntegers(tally: Tally, store: EventStore, input: number, found: number): void {
  const { words, layout } = store
  const at = layout.inputs[input] as number
  for (let index = 0; index < found; index++)
    tally.addInteger(words[(live[index] as number) * layout.stride + at] as number)
}

export function addExtremes(extremes: Extremes, store: EventStore, input: number, found: number): void {
  const { floats, layout } = store
  const at = layout.inputs[input] as number
  const half = layout.stride >> 1
  for (let index = 0; index < found; index++) extremes.add(floats[(live[index] as number) * half + at] as number)
}
