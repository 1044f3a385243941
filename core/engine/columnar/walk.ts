import { isVisible, type EventColumns, type InputColumn } from './columns.ts'
import type { BigTally } from '../finished.ts'
import type { FloatMoments } from '../state/float-moments.ts'

/**
 * Walks over the events of places [from, to) that count as of K, one by one: for what no prefix tells.
 */

/** Values of one input as people see them, decimals unscaled. */
export type Item = string | boolean | number | bigint

export function itemAt(column: InputColumn, place: number): Item {
  switch (column.type) {
    case 'string':
      return column.table.strings[column.values[place] as number] as string
    case 'bool':
      return column.values[place] === 1
    default:
      return column.values[place] as number | bigint
  }
}

const has = ({ nulls }: InputColumn, place: number): boolean => nulls === null || nulls[place] === 0

/** Event time of the newest event before place `to` that counts as of K, -Infinity when there is none. */
export function newestVisibleMs(events: EventColumns, to: number, knownAsOfMs: number): number {
  for (let place = to - 1; place >= 0; place--)
    if (isVisible(events, place, knownAsOfMs)) return events.times[place] as number
  return Number.NEGATIVE_INFINITY
}

/** The place in [from, to) from which on `n` events count, `from` when there are fewer. */
export function nthLastVisible(events: EventColumns, from: number, to: number, knownAsOfMs: number, n: number): number {
  let left = n
  for (let place = to - 1; place >= from; place--)
    if (isVisible(events, place, knownAsOfMs) && --left === 0) return place
  return from
}

/** The first place of [from, to) in the session that T ends, `to` when it is over. */
export function sessionFrom(
  events: EventColumns,
  from: number,
  to: number,
  asOfMs: number,
  knownAsOfMs: number,
  gapMs: number,
): number {
  let start = to
  let nextMs = asOfMs
  for (let place = to - 1; place >= from; place--) {
    const timeMs = events.times[place] as number
    // Older events lie further back still, whether or not they count.
    if (nextMs - timeMs >= gapMs) break
    if (!isVisible(events, place, knownAsOfMs)) continue
    start = place
    nextMs = timeMs
  }
  return start
}

/** The value of the first event that counts and has one; null when none has. */
export function firstItem(
  events: EventColumns,
  column: InputColumn,
  from: number,
  to: number,
  knownAsOfMs: number,
): Item | null {
  for (let place = from; place < to; place++)
    if (has(column, place) && isVisible(events, place, knownAsOfMs)) return itemAt(column, place)
  return null
}

/** Values of the last `n` events that count and have one, oldest first. */
export function lastItems(
  events: EventColumns,
  column: InputColumn,
  from: number,
  to: number,
  knownAsOfMs: number,
  n: number,
): Item[] {
  const items: Item[] = []
  for (let place = to - 1; place >= from && items.length < n; place--)
    if (has(column, place) && isVisible(events, place, knownAsOfMs)) items.push(itemAt(column, place))
  return items.reverse()
}

export function distinctItems(
  events: EventColumns,
  column: InputColumn,
  from: number,
  to: number,
  knownAsOfMs: number,
): number {
  const items = new Set<Item>()
  for (let place = from; place < to; place++)
    if (has(column, place) && isVisible(events, place, knownAsOfMs)) items.add(itemAt(column, place))
  return items.size
}

/** Of int32, int64 and decimals. */
export function bigTally(
  events: EventColumns,
  column: InputColumn,
  from: number,
  to: number,
  knownAsOfMs: number,
): BigTally {
  const tally: BigTally = { n: 0, sum: 0n, squares: 0n, min: 0n, max: 0n }
  for (let place = from; place < to; place++) {
    if (!has(column, place) || !isVisible(events, place, knownAsOfMs)) continue
    const value = BigInt(column.values[place] as number | bigint)
    tally.min = tally.n === 0 || value < tally.min ? value : tally.min
    tally.max = tally.n === 0 || value > tally.max ? value : tally.max
    tally.n++
    tally.sum += value
    tally.squares += value * value
  }
  return tally
}

export function addEachMoment(
  moments: FloatMoments,
  events: EventColumns,
  column: Extract<InputColumn, { readonly type: 'float64' }>,
  from: number,
  to: number,
  knownAsOfMs: number,
): void {
  for (let place = from; place < to; place++)
    if (has(column, place) && isVisible(events, place, knownAsOfMs)) moments.add(column.values[place] as number)
}
