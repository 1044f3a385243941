/**
 * The events of one stream in total order: (eventTime, knownAt, partition, offset), whatever the order of reading.
 *
 * Rows in order of (partition, offset) are counted into slices of time of a few events each, and each slice is sorted by
 * insertion, which keeps ties as they lie. A log is nearly in order, so this reads and writes memory nearly in order.
 *
 * A slice of many events is sorted by least significant digits (Knuth, The Art of Computer Programming 3, section 5.2.5):
 * stable, so sorting by knownAt and then by eventTime settles every tie. Linear in the events, however they lie.
 */
import type { EventBatch } from '../core/event/batch.ts'
import type { OpCode } from '../core/event/operation.ts'

const digitBits = 11
const digits = 1 << digitBits
/** The low part of a key: two digits. Above it remain 27 bits of the 49 that the years 1 to 9998 take in milliseconds. */
const lowBits = 2 * digitBits

/** Events of a slice, on average, and the most that insertion sorts. */
const sliceEvents = 4
const insertedMax = 128

/** The events of a stream as one range of rows: batch b holds rows [starts[b], starts[b] + count). */
export interface StreamEvents {
  /** In order of (partition, offset). */
  readonly batches: readonly EventBatch[]
  readonly starts: readonly number[]
  readonly rows: number
  readonly times: Float64Array
  readonly knowns: Float64Array
  /** Rows in total order. */
  readonly order: Int32Array
}

/** Memory: 25 bytes an event beside the batches while it runs, 20 after. */
export function inTotalOrder(unordered: readonly EventBatch[]): StreamEvents {
  const batches = unordered.toSorted((a, b) => a.partition - b.partition || a.firstOffset - b.firstOffset)
  const starts: number[] = []
  let rows = 0
  for (const batch of batches) {
    starts.push(rows)
    rows += batch.count
  }
  const gathered = (pick: (batch: EventBatch) => Float64Array): Float64Array => {
    const all = new Float64Array(rows)
    batches.forEach((batch, index) => all.set(pick(batch).subarray(0, batch.count), starts[index]))
    return all
  }
  const times = gathered((batch) => batch.eventTimes)
  const knowns = gathered((batch) => batch.knownAts)
  return { batches, starts, rows, times, knowns, order: byTimes(times, knowns) }
}

/** Positions in ascending order of (time, known, position). */
export function byTimes(times: Float64Array, knowns: Float64Array): Int32Array {
  const { ends, order } = sliced(times)
  for (let slice = 0, from = 0; slice < ends.length; slice++) {
    const to = ends[slice] as number
    if (to - from > insertedMax) sortByDigits(times, knowns, order.subarray(from, to))
    else for (let at = from + 1; at < to; at++) insert(times, knowns, order, from, at)
    from = to
  }
  return order
}

/** Positions by slice of time, as they lie within one; where each slice ends. */
function sliced(times: Float64Array): { readonly ends: Int32Array; readonly order: Int32Array } {
  let least = Number.POSITIVE_INFINITY
  let most = Number.NEGATIVE_INFINITY
  for (const time of times) {
    if (time < least) least = time
    if (time > most) most = time
  }
  const slices = Math.max(1, Math.ceil(times.length / sliceEvents))
  // Rounding keeps order: a later time is in the same slice or in a later one.
  const perMs = slices / (most - least + 1)
  const starts = new Int32Array(slices)
  for (const time of times) {
    const slice = Math.min(slices - 1, Math.floor((time - least) * perMs))
    starts[slice] = (starts[slice] as number) + 1
  }
  for (let slice = 0, sum = 0; slice < slices; slice++) {
    const events = starts[slice] as number
    starts[slice] = sum
    sum += events
  }
  const order = new Int32Array(times.length)
  for (let row = 0; row < times.length; row++) {
    const slice = Math.min(slices - 1, Math.floor(((times[row] as number) - least) * perMs))
    const at = starts[slice] as number
    order[at] = row
    starts[slice] = at + 1
  }
  return { ends: starts, order }
}

/** Moves the row at `at` down to its place among those from `from` on, behind its equals. */
function insert(times: Float64Array, knowns: Float64Array, order: Int32Array, from: number, at: number): void {
  const row = order[at] as number
  const time = times[row] as number
  const known = knowns[row] as number
  let to = at
  for (; to > from; to--) {
    const before = order[to - 1] as number
    const beforeTime = times[before] as number
    if (beforeTime < time || (beforeTime === time && (knowns[before] as number) <= known)) break
    order[to] = before
  }
  order[to] = row
}

/** Sorts some rows in place. */
function sortByDigits(times: Float64Array, knowns: Float64Array, rows: Int32Array): void {
  const own = (values: Float64Array): Float64Array => Float64Array.from(rows, (row) => values[row] as number)
  const sorted = sortedBy(own(times), ascending(own(knowns)))
  rows.set(sorted.map((index) => rows[index] as number))
}

/** Positions of `keys`, in ascending order of the keys, and of the positions where they tie. */
export function ascending(keys: Float64Array): Int32Array {
  const order = new Int32Array(keys.length)
  for (let row = 0; row < order.length; row++) order[row] = row
  return sortedBy(keys, order)
}

export interface EventPlaces {
  readonly partitions: Int32Array
  readonly offsets: Float64Array
  readonly ops: Uint8Array
}

/** Where each row lies in the log and what it does; `whenNone` is the operation of batches that name none. */
export function placesOf({ batches, starts, rows }: StreamEvents, whenNone: OpCode): EventPlaces {
  const partitions = new Int32Array(rows)
  const offsets = new Float64Array(rows)
  const ops = new Uint8Array(rows).fill(whenNone)
  batches.forEach((batch, index) => {
    const start = starts[index] as number
    partitions.fill(batch.partition, start, start + batch.count)
    offsets.set(batch.offsets.subarray(0, batch.count), start)
    if (batch.ops !== null) ops.set(batch.ops.subarray(0, batch.count), start)
  })
  return { partitions, offsets, ops }
}

/** `order`, stably sorted by key. Keys are integers that span less than 2^53. */
function sortedBy(keys: Float64Array, order: Int32Array): Int32Array {
  let least = Number.POSITIVE_INFINITY
  let most = Number.NEGATIVE_INFINITY
  for (const key of keys) {
    if (key < least) least = key
    if (key > most) most = key
  }
  const part = new Int32Array(keys.length)
  const scale = 2 ** lowBits
  for (let row = 0; row < keys.length; row++) {
    const key = (keys[row] as number) - least
    part[row] = key - Math.floor(key / scale) * scale
  }
  const span = keys.length === 0 ? 0 : most - least
  let sorted = sortedByParts(part, Math.min(span, scale - 1), order)
  if (span >= scale) {
    for (let row = 0; row < keys.length; row++) part[row] = Math.floor(((keys[row] as number) - least) / scale)
    sorted = sortedByParts(part, Math.floor(span / scale), sorted)
  }
  return sorted
}

function sortedByParts(part: Int32Array, most: number, order: Int32Array): Int32Array {
  let from = order
  for (let shift = 0; shift < 31 && most >>> shift > 0; shift += digitBits) {
    const ends = new Int32Array(digits + 1)
    for (const value of part) {
      const digit = ((value >>> shift) & (digits - 1)) + 1
      ends[digit] = (ends[digit] as number) + 1
    }
    for (let digit = 1; digit <= digits; digit++) ends[digit] = (ends[digit] as number) + (ends[digit - 1] as number)
    const to = new Int32Array(from.length)
    for (const row of from) {
      const digit = ((part[row] as number) >>> shift) & (digits - 1)
      const at = ends[digit] as number
      to[at] = row
      ends[digit] = at + 1
    }
    from = to
  }
  return from
}
