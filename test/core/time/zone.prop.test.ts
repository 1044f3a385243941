import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { windowEnd, windowReachMs, windowStart } from '../../../core/asof/visible.ts'
import { tumbling } from '../../../core/definition/functions.ts'
import { dayMs, hourMs, minuteMs } from '../../../core/time/time.ts'
import { dayStart, localDay, zoneOf } from '../../../core/time/zone.ts'

const zones = [
  'Europe/Zurich',
  'America/New_York',
  'Australia/Sydney',
  'Asia/Kolkata',
  // Half an hour of daylight saving.
  'Australia/Lord_Howe',
  // No 2011-12-30.
  'Pacific/Apia',
  // 1969-09-30 twice, but for an hour; no 1993-08-21.
  'Pacific/Kwajalein',
  // Clocks skip midnight.
  'America/Sao_Paulo',
  // An hour less in Ramadan.
  'Africa/Casablanca',
  // Clocks were put back at 00:01, so midnight came twice.
  'America/St_Johns',
  // -00:44:30 until 1972.
  'Africa/Monrovia',
  'Etc/UTC',
]

/** The date that Intl shows, in days from 1970-01-01. */
const shownDay = (zone: string): ((atMs: number) => number) => {
  const format = new Intl.DateTimeFormat('en-CA', { timeZone: zone, year: 'numeric', month: '2-digit', day: '2-digit' })
  return (atMs) => Date.parse(`${format.format(atMs)}T00:00Z`) / dayMs
}

/** The first instant whose date is `day` or a later one: forwards from well before it, minute by minute. */
function naiveDayStart(zone: string, day: number): number {
  const shown = shownDay(zone)
  let atMs = day * dayMs - 40 * hourMs
  while (shown(atMs) < day) atMs += minuteMs
  for (let second = atMs - minuteMs; second < atMs; second += 1000) if (shown(second) >= day) return second
  return atMs
}

/** [start, start of the next) of the interval of n dates that holds T, by dates alone. */
function naiveInterval(zone: string, n: number, atMs: number, back: number): readonly [number, number] {
  // Dates may come twice: what has begun stays begun.
  let interval = Math.floor(shownDay(zone)(atMs) / n) - 1
  while (naiveDayStart(zone, (interval + 1) * n) <= atMs) interval++
  return [naiveDayStart(zone, (interval - back) * n), naiveDayStart(zone, (interval - back + 1) * n)]
}

/** Instants from 1900 to 2100, many of them near a transition of the zone. */
const instants = (zone: string): fc.Arbitrary<number> => {
  const { transitionsMs } = zoneOf(zone)
  const anywhere = fc.integer({ min: Date.UTC(1900, 0, 3), max: Date.UTC(2099, 11, 28) })
  if (transitionsMs.length === 0) return anywhere
  const near = fc
    .tuple(fc.constantFrom(...transitionsMs), fc.integer({ min: -2 * dayMs, max: 2 * dayMs }))
    .map(([atMs, by]) => atMs + by)
  const at = fc.tuple(fc.constantFrom(...transitionsMs), fc.integer({ min: -1, max: 1 })).map(([atMs, by]) => atMs + by)
  return fc.oneof(anywhere, near, at)
}

describe('days of a zone', () => {
  test.each(zones)('%s: windows are those of the dates that Intl shows', { timeout: 60_000 }, (zone) => {
    fc.assert(
      fc.property(instants(zone), fc.constantFrom(1, 1, 1, 2, 7), (atMs, n) => {
        const current = tumbling(n * dayMs, { take: 'current', zone })
        const last = tumbling(n * dayMs, { take: 'last', zone })
        expect([windowStart(atMs, current, null), windowEnd(atMs, current)]).toEqual([
          naiveInterval(zone, n, atMs, 0)[0],
          atMs,
        ])
        expect([windowStart(atMs, last, null), windowEnd(atMs, last)]).toEqual(naiveInterval(zone, n, atMs, 1))
        for (const window of [current, last]) {
          expect(atMs - windowStart(atMs, window, null)).toBeLessThanOrEqual(windowReachMs(window, null))
          expect(windowStart(atMs, window, 2 * n * dayMs)).toBeGreaterThanOrEqual(atMs - 2 * n * dayMs)
        }
      }),
      { numRuns: 25 },
    )
  })

  test.each(zones)('%s: the date at any instant is the one that Intl shows', (zone) => {
    const shown = shownDay(zone)
    const table = zoneOf(zone)
    fc.assert(
      fc.property(instants(zone), (atMs) => {
        expect(localDay(table, atMs)).toBe(shown(atMs))
      }),
      { numRuns: 300 },
    )
  })

  const startOf = (zone: string, date: string): string =>
    new Date(dayStart(zoneOf(zone), Date.parse(date) / dayMs)).toISOString()
  test.each([
    ['winter', 'Europe/Zurich', '2024-01-15', '2024-01-14T23:00:00.000Z'],
    ['summer', 'Europe/Zurich', '2024-07-15', '2024-07-14T22:00:00.000Z'],
    ['a midnight that there is not: the skip', 'America/Sao_Paulo', '2017-10-15', '2017-10-15T03:00:00.000Z'],
    ['a midnight that came twice: the first', 'America/St_Johns', '2008-11-02', '2008-11-02T02:30:00.000Z'],
    ['a date that there was not: as the next one', 'Pacific/Apia', '2011-12-30', '2011-12-30T10:00:00.000Z'],
    ['the date after it', 'Pacific/Apia', '2011-12-31', '2011-12-30T10:00:00.000Z'],
    ['half hours', 'Asia/Kolkata', '2024-01-15', '2024-01-14T18:30:00.000Z'],
    ['before the table', 'Asia/Tokyo', '1850-01-01', '1849-12-31T15:00:00.000Z'],
    ['behind it: the last offset', 'Europe/Zurich', '2150-07-15', '2150-07-14T23:00:00.000Z'],
  ])('begin: %s', (_, zone, date, instant) => {
    expect(startOf(zone, date)).toBe(instant)
  })

  test('a day of 25 hours and one of 23', () => {
    const last = tumbling(dayMs, { take: 'last', zone: 'Europe/Zurich' })
    const hoursOf = (at: string, ttlMs: number | null = null): number =>
      (windowEnd(Date.parse(at), last) - windowStart(Date.parse(at), last, ttlMs)) / hourMs
    expect(hoursOf('2024-10-28T12:00+01:00')).toBe(25)
    expect(hoursOf('2024-04-01T12:00+02:00')).toBe(23)
    expect(hoursOf('2024-10-28T23:30+01:00')).toBe(25)
    // A ttl of two days is enough to be allowed, and then cuts what is older than it.
    expect(hoursOf('2024-10-28T23:30+01:00', 2 * dayMs)).toBe(24.5)
  })

  test('a table is made once, and known by its digest', () => {
    expect(zoneOf('Europe/Zurich')).toBe(zoneOf('Europe/Zurich'))
    expect(zoneOf('Asia/Calcutta').digest).toBe(zoneOf('Asia/Kolkata').digest)
    expect(zoneOf('Europe/Zurich').digest).not.toBe(zoneOf('Europe/Lisbon').digest)
    expect([...zoneOf('Etc/UTC').transitionsMs]).toEqual([])
  })

  test('other data than the definition was made with is no value', () => {
    const { zone } = tumbling(dayMs, { take: 'last', zone: 'Europe/Zurich' })
    const other = { name: zone?.name ?? '', digest: '0'.repeat(16) }
    expect(() => windowEnd(0, { kind: 'tumbling', spanMs: dayMs, take: 'last', zone: other })).toThrow(
      expect.objectContaining({ code: 'FS_NOT_APPLIED' }),
    )
  })
})
