/**
 * The calendar days of named time zones.
 *
 * `Intl` is the one thing of the environment that core asks for a meaning: whenever a zone is first named, all of its
 * transitions from 1900 to 2100 are read into a table, once per zone and process. From then on everything here is
 * arithmetic on that table. Its digest is part of the definitions that use the zone, and so of their fingerprints: other
 * time zone data is another feature, never a silently different value. Before 1900 and after 2100 the offsets nearest to
 * them hold.
 */
import { createHash } from 'node:crypto'
import { FeatureStoreError } from '../errors.ts'
import { dayMs } from './time.ts'

export interface Zone {
  /** As it was named. */
  readonly name: string
  /** 16 hex digits of the SHA-256 of the table. */
  readonly digest: string
  /** Ascending instants: from transitionsMs[i] on, local time is UTC + offsetsMs[i + 1]; before the first, offsetsMs[0]. */
  readonly transitionsMs: Float64Array
  readonly offsetsMs: Float64Array
}

const tableFromMs = Date.UTC(1900, 0, 1)
const tableToMs = Date.UTC(2100, 0, 1)
/** No zone has ever changed its offset and changed it back within a week. */
const gridMs = 7 * dayMs
/** More than any offset has ever been. */
const offsetMaxMs = 26 * 3_600_000

const zones = new Map<string, Zone>()

/**
 * The table of an IANA zone such as 'Europe/Zurich'.
 *
 * Errors: FS_DEFINITION_INVALID for a name that this runtime does not know.
 */
export function zoneOf(name: string): Zone {
  const known = zones.get(name)
  if (known !== undefined) return known
  const offsetAt = offsetsOf(name)
  const transitionsMs: number[] = []
  const offsetsMs = [offsetAt(tableFromMs)]
  // Bisects to the second; (from, to] holds a change wherever the offsets at its ends differ.
  const find = (fromMs: number, from: number, toMs: number, to: number): void => {
    if (from === to) return
    if (toMs - fromMs <= 1000) {
      transitionsMs.push(toMs)
      offsetsMs.push(to)
      return
    }
    const middleMs = Math.floor((fromMs + toMs) / 2000) * 1000
    const middle = offsetAt(middleMs)
    find(fromMs, from, middleMs, middle)
    find(middleMs, middle, toMs, to)
  }
  for (let fromMs = tableFromMs; fromMs < tableToMs; fromMs += gridMs) {
    const toMs = Math.min(fromMs + gridMs, tableToMs)
    find(fromMs, offsetsMs.at(-1) as number, toMs, offsetAt(toMs))
  }
  const text = JSON.stringify([offsetsMs[0], ...transitionsMs.flatMap((atMs, index) => [atMs, offsetsMs[index + 1]])])
  const digest = createHash('sha256').update(text).digest('hex').slice(0, 16)
  const zone = {
    name,
    digest,
    transitionsMs: Float64Array.from(transitionsMs),
    offsetsMs: Float64Array.from(offsetsMs),
  }
  zones.set(name, zone)
  return zone
}

/** UTC offset at an instant of whole seconds, milliseconds: as `Intl` has it. */
function offsetsOf(name: string): (atMs: number) => number {
  const unknown = (cause?: unknown): FeatureStoreError =>
    new FeatureStoreError('FS_DEFINITION_INVALID', `there is no time zone ${JSON.stringify(name)}`, { cause })
  // Newer runtimes take offsets such as +05:30 too, older ones do not.
  if (typeof name !== 'string' || !/^[a-z]/i.test(name)) throw unknown()
  let format: Intl.DateTimeFormat
  try {
    format = new Intl.DateTimeFormat('en-US', {
      timeZone: name,
      calendar: 'gregory',
      numberingSystem: 'latn',
      hourCycle: 'h23',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
      second: 'numeric',
    })
  } catch (cause) {
    throw unknown(cause)
  }
  return (atMs) => {
    const [, month, day, year, hour, minute, second] = (format.format(atMs).match(localTime) ?? []).map(Number)
    if (second === undefined) throw new FeatureStoreError('FS_INTERNAL', `the local time of ${name} does not read`)
    return Date.UTC(year as number, (month as number) - 1, day, hour, minute, second) - atMs
  }
}

const localTime = /^(\d+)\/(\d+)\/(\d+), (\d+):(\d+):(\d+)$/

/** Index of the offset that holds at an instant: the number of transitions at or before it. */
function segmentAt({ transitionsMs }: Zone, atMs: number): number {
  let low = 0
  let high = transitionsMs.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((transitionsMs[middle] as number) <= atMs) low = middle + 1
    else high = middle
  }
  return low
}

/** The date on the calendars of the zone at an instant, in days from 1970-01-01. */
export const localDay = (zone: Zone, atMs: number): number =>
  Math.floor((atMs + (zone.offsetsMs[segmentAt(zone, atMs)] as number)) / dayMs)

/**
 * The first instant at which the zone's calendars show a date or a later one: local midnight, the first of two; where the
 * clocks skip midnight, the instant of the skip; where they skip a whole date, that of the next one.
 */
export function dayStart(zone: Zone, day: number): number {
  const midnightMs = day * dayMs
  const { transitionsMs, offsetsMs } = zone
  // Before the segment that this finds, local time is certainly below midnight.
  let segment = segmentAt(zone, midnightMs - offsetMaxMs)
  for (; segment < transitionsMs.length; segment++)
    if ((transitionsMs[segment] as number) + (offsetsMs[segment] as number) > midnightMs) break
  const fromMs = segment === 0 ? Number.NEGATIVE_INFINITY : (transitionsMs[segment - 1] as number)
  return Math.max(fromMs, midnightMs - (offsetsMs[segment] as number))
}

/**
 * Start of the interval of `days` local dates, counted from 1970-01-01, that an instant lies in, or of the interval
 * `back` before it (-1: behind it). Intervals are cut where they begin (`dayStart`), so clocks that are put back over midnight repeat a
 * piece of the old date within the new one's interval.
 */
export function intervalStart(zone: Zone, atMs: number, days: number, back: 0 | 1 | -1): number {
  let interval = Math.floor(localDay(zone, atMs) / days)
  while (dayStart(zone, (interval + 1) * days) <= atMs) interval++
  return dayStart(zone, (interval - back) * days)
}
