import type { AsOf } from '../asof/visible.ts'
import { runLength, runShift, type EntityColumns, type InputColumn } from './entity-columns.ts'
import type { InputPlan } from './plan.ts'
import { stride, summarise, type Tally } from './summaries.ts'

/**
 * Scans over slots [lo, hi) of one entity. What is not known by K is passed over; where a scan can use them, runs whose
 * newest knownAt is at or before K are taken whole by their summaries.
 */

/** The newest slot below `hi` that is known by K, or start - 1. */
export function newestKnown(entity: EntityColumns, hi: number, knownAsOfMs: number): number {
  let slot = hi - 1
  while (slot >= entity.start && (entity.knowns[slot] as number) > knownAsOfMs) slot--
  return slot
}

/** The slot in [lo, hi) from which on `n` events are known by K, `lo` when there are fewer. */
export function nthLastKnown(entity: EntityColumns, lo: number, hi: number, knownAsOfMs: number, n: number): number {
  let left = n
  let slot = hi
  while (slot > lo && left > 0) if ((entity.knowns[--slot] as number) <= knownAsOfMs) left--
  return slot
}

/** The first slot of [lo, hi) in the session that T ends, `hi` when it is over. */
export function sessionStart(entity: EntityColumns, lo: number, hi: number, asOf: AsOf, gapMs: number): number {
  let start = hi
  let nextMs = asOf.asOfMs
  for (let slot = hi - 1; slot >= lo; slot--) {
    const time = entity.times[slot] as number
    // Older events lie further back still, whether or not they are known.
    if (nextMs - time >= gapMs) break
    if ((entity.knowns[slot] as number) > asOf.knownAsOfMs) continue
    start = slot
    nextMs = time
  }
  return start
}

export function countKnown(
  entity: EntityColumns,
  plans: readonly InputPlan[],
  lo: number,
  hi: number,
  knownAsOfMs: number,
): number {
  const summaries = hi - lo >= runLength ? summarise(entity, plans) : null
  let events = 0
  let slot = lo
  while (slot < hi) {
    if (
      summaries !== null &&
      (slot & (runLength - 1)) === 0 &&
      slot + runLength <= hi &&
      (summaries.known[slot >> runShift] as number) <= knownAsOfMs
    ) {
      events += runLength
      slot += runLength
    } else {
      const end = Math.min(hi, (slot | (runLength - 1)) + 1)
      for (; slot < end; slot++) if ((entity.knowns[slot] as number) <= knownAsOfMs) events++
    }
  }
  return events
}

/** Tallies what is known by K in slots [lo, hi): whole runs by their summaries, the rest event by event. */
export function tallyInput(
  tally: Tally,
  entity: EntityColumns,
  plans: readonly InputPlan[],
  index: number,
  lo: number,
  hi: number,
  knownAsOfMs: number,
): void {
  tally.reset()
  const summaries = hi - lo >= runLength ? summarise(entity, plans) : null
  const summary = summaries?.inputs[index] ?? null
  const input = entity.inputs[index] as InputColumn
  let slot = lo
  while (slot < hi) {
    if (
      summaries !== null &&
      summary !== null &&
      (slot & (runLength - 1)) === 0 &&
      slot + runLength <= hi &&
      (summaries.known[slot >> runShift] as number) <= knownAsOfMs
    ) {
      tally.merge(summary, (slot >> runShift) * stride)
      tally.carry()
      slot += runLength
      continue
    }
    const end = Math.min(hi, (slot | (runLength - 1)) + 1)
    if (input.type === 'int32')
      tallyIntegers(tally, entity.knowns, input.values as Int32Array, input.nulls, slot, end, knownAsOfMs)
    else if (input.type === 'bool')
      tallyBools(tally, entity.knowns, input.values as Uint8Array, input.nulls, slot, end, knownAsOfMs)
    else tallyExtremes(tally, entity.knowns, input.values as Float64Array, input.nulls, slot, end, knownAsOfMs)
    tally.carry()
    slot = end
  }
}

// Three times the same loop, one for each kind of array: a function that sees several kinds is thirty times slower. The
// bound of knowledge stands inline here for the same reason; it is `knownBy` of core/asof.
function tallyIntegers(
  tally: Tally,
  knowns: Float64Array,
  values: Int32Array,
  nulls: Uint8Array | null,
  from: number,
  to: number,
  knownAsOfMs: number,
): void {
  for (let slot = from; slot < to; slot++) {
    if ((knowns[slot] as number) <= knownAsOfMs && (nulls === null || nulls[slot] === 0))
      tally.addInteger(values[slot] as number)
  }
}
function tallyBools(
  tally: Tally,
  knowns: Float64Array,
  values: Uint8Array,
  nulls: Uint8Array | null,
  from: number,
  to: number,
  knownAsOfMs: number,
): void {
  for (let slot = from; slot < to; slot++) {
    if ((knowns[slot] as number) <= knownAsOfMs && (nulls === null || nulls[slot] === 0))
      tally.addInteger(values[slot] as number)
  }
}
function tallyExtremes(
  tally: Tally,
  knowns: Float64Array,
  values: Float64Array,
  nulls: Uint8Array | null,
  from: number,
  to: number,
  knownAsOfMs: number,
): void {
  for (let slot = from; slot < to; slot++) {
    if ((knowns[slot] as number) <= knownAsOfMs && (nulls === null || nulls[slot] === 0))
      tally.addExtreme(values[slot] as number)
  }
}

const isPresent = (entity: EntityColumns, input: InputColumn, slot: number, knownAsOfMs: number): boolean =>
  (entity.knowns[slot] as number) <= knownAsOfMs && (input.nulls === null || input.nulls[slot] === 0)

export function itemAt(input: InputColumn, slot: number): string | boolean | number | bigint {
  if (input.table !== null) return input.table.strings[input.values[slot] as number] as string
  return input.type === 'bool' ? input.values[slot] === 1 : (input.values[slot] as number | bigint)
}

export function firstPresent(
  entity: EntityColumns,
  input: InputColumn,
  lo: number,
  hi: number,
  knownAsOfMs: number,
): number {
  for (let slot = lo; slot < hi; slot++) if (isPresent(entity, input, slot, knownAsOfMs)) return slot
  return -1
}

export function lastPresent(
  entity: EntityColumns,
  input: InputColumn,
  lo: number,
  hi: number,
  knownAsOfMs: number,
): number {
  for (let slot = hi - 1; slot >= lo; slot--) if (isPresent(entity, input, slot, knownAsOfMs)) return slot
  return -1
}

export function lastPresentItems(
  entity: EntityColumns,
  input: InputColumn,
  lo: number,
  hi: number,
  knownAsOfMs: number,
  n: number,
): (string | boolean | number | bigint)[] {
  const items: (string | boolean | number | bigint)[] = []
  for (let slot = hi - 1; slot >= lo && items.length < n; slot--)
    if (isPresent(entity, input, slot, knownAsOfMs)) items.push(itemAt(input, slot))
  return items.reverse()
}

/** Stamps by string code: a code was seen in this call when it carries the call's stamp. */
let stamps = new Int32Array(1024)
let stamp = 0

export function distinctItems(
  entity: EntityColumns,
  input: InputColumn,
  lo: number,
  hi: number,
  knownAsOfMs: number,
): number {
  if (input.table === null) {
    const items = new Set<unknown>()
    for (let slot = lo; slot < hi; slot++)
      if (isPresent(entity, input, slot, knownAsOfMs)) items.add(input.values[slot])
    return items.size
  }
  if (stamps.length < input.table.strings.length) stamps = new Int32Array(input.table.strings.length * 2)
  stamp = stamp === 0x7fffffff ? 1 : stamp + 1
  if (stamp === 1) stamps.fill(0)
  const codes = input.values as Int32Array
  let distinct = 0
  for (let slot = lo; slot < hi; slot++) {
    if (!isPresent(entity, input, slot, knownAsOfMs)) continue
    const code = codes[slot] as number
    if (stamps[code] !== stamp) {
      stamps[code] = stamp
      distinct++
    }
  }
  return distinct
}

export function presentBigInts(
  entity: EntityColumns,
  input: InputColumn,
  lo: number,
  hi: number,
  knownAsOfMs: number,
): bigint[] {
  const items: bigint[] = []
  for (let slot = lo; slot < hi; slot++)
    if (isPresent(entity, input, slot, knownAsOfMs)) items.push(BigInt(input.values[slot] as number | bigint))
  return items
}
