import { describe, expect, test } from 'vitest'
import { refusal, seriesParts, ttlMinMs, windowEnd, windowReachMs, windowStart } from '../../../core/asof/visible.ts'
import type { WindowDefinition } from '../../../core/definition/types.ts'

const hour = 3_600_000
const at = Date.UTC(2024, 2, 1, 12, 30)
const span = (window: WindowDefinition, asOfMs: number, ttlMs: number | null = null) => [
  windowStart(asOfMs, window, ttlMs),
  windowEnd(asOfMs, window),
]

describe('the event times of a window at T', () => {
  const current: WindowDefinition = { kind: 'tumbling', spanMs: hour, take: 'current' }
  const last: WindowDefinition = { kind: 'tumbling', spanMs: hour, take: 'last' }
  test.each<[string, WindowDefinition, number, number, number]>([
    ['sliding', { kind: 'sliding', spanMs: 10 }, 100, 90, 100],
    ['shifted', { kind: 'sliding', spanMs: 10, endsBeforeMs: 3 }, 100, 87, 97],
    ['lowered to a resolution', { kind: 'sliding', spanMs: 10, resolutionMs: 7 }, 100, 84, 100],
    ['which it is on', { kind: 'sliding', spanMs: 9, resolutionMs: 7 }, 100, 91, 100],
    ['lowered before 1970', { kind: 'sliding', spanMs: 10, resolutionMs: 7 }, 5, -7, 5],
    ['shifted and lowered', { kind: 'sliding', spanMs: 10, endsBeforeMs: 3, resolutionMs: 7 }, 100, 84, 97],
    ['a series', { kind: 'series', spanMs: 12, stepMs: 4 }, 100, 88, 100],
    ['the current hour', current, at, at - hour / 2, at],
    ['the current hour as it begins is empty', current, at - hour / 2, at - hour / 2, at - hour / 2],
    ['the last hour', last, at, at - 1.5 * hour, at - 0.5 * hour],
    ['the last hour as the next begins', last, at - hour / 2, at - 1.5 * hour, at - 0.5 * hour],
    ['the current hour before 1970', current, -1, -hour, -1],
    ['the last hour before 1970', last, -hour, -2 * hour, -hour],
    ['the last hour at 1970', last, 0, -hour, 0],
  ])('%s', (_, window, asOfMs, fromMs, toMs) => {
    expect(span(window, asOfMs)).toEqual([fromMs, toMs])
    expect(asOfMs - fromMs).toBeLessThanOrEqual(windowReachMs(window, null))
  })
  test('as far as the ttl', () => {
    for (const window of [{ kind: 'lifetime' }, { kind: 'rows', count: 2 }, { kind: 'session', gapMs: 2 }] as const) {
      expect(span(window, 100)).toEqual([Number.NEGATIVE_INFINITY, 100])
      expect(span(window, 100, 30)).toEqual([70, 100])
      expect(windowReachMs(window, 30)).toBe(30)
      expect(windowReachMs(window, null)).toBe(Number.POSITIVE_INFINITY)
    }
  })
  test('never before the ttl, which a resolution need not fit', () => {
    const window: WindowDefinition = { kind: 'sliding', spanMs: 10, resolutionMs: 7 }
    expect([ttlMinMs(window), windowReachMs(window, null), windowReachMs(window, 12)]).toEqual([10, 17, 12])
    expect(span(window, 100, 12)).toEqual([88, 100])
    expect(span(window, 100, 16)).toEqual([84, 100])
  })
  test('of the parts of a series, oldest first: one begins where the other ends', () => {
    const parts = (spanMs: number, stepMs: number) =>
      seriesParts({ kind: 'series', spanMs, stepMs }).map((part) => span(part, 100))
    expect(parts(12, 4)).toEqual([
      [88, 92],
      [92, 96],
      [96, 100],
    ])
    expect(parts(5, 5)).toEqual([[95, 100]])
  })
})

describe('an event by itself', () => {
  const at = 1_000_000
  test.each([
    { lateBy: 500, latenessMs: 500, code: null },
    { lateBy: 501, latenessMs: 500, code: 'FS_DEAD_TOO_LATE' },
    { lateBy: 1, latenessMs: 0, code: 'FS_DEAD_TOO_LATE' },
    { lateBy: 0, latenessMs: 0, code: null },
    { lateBy: 1e15, latenessMs: null, code: null },
    { lateBy: -300, latenessMs: 0, code: null },
    { lateBy: -301, latenessMs: 0, code: 'FS_DEAD_TOO_EARLY' },
  ])('known $lateBy ms after it happened, with lateness $latenessMs: $code', ({ lateBy, latenessMs, code }) => {
    expect(refusal(at, at + lateBy, { latenessMs, maxAheadMs: 300 })).toBe(code)
  })
})
