import { describe, expect, it } from 'vitest'
import { featureFingerprint } from '../../../core/definition/fingerprint.ts'
import { Status } from '../../../core/engine/feature-column.ts'
import type { NaiveEvent } from '../../../core/engine/naive.ts'
import type { Position } from '../../../core/event/position.ts'
import type { Scalar } from '../../../core/event/types.ts'
import { explainValue } from '../../../worker/audit/explain.ts'
import { catalog, openSystem } from './system.ts'

/** One event of ('a', 0) unless `fields` says otherwise; all in partition 1, offsets by order. */
function history(...given: readonly [atMs: number, knownAtMs: number, fields: Record<string, Scalar>][]): NaiveEvent[] {
  return given.map(([eventTimeMs, knownAtMs, fields], offset) => ({
    partition: 1,
    offset,
    eventTimeMs,
    knownAtMs,
    fields: { who: 'a', region: 0, at: eventTimeMs, i: null, b: null, f: null, s: null, ok: null, ...fields },
  }))
}

const events = history(
  [4_000, 5_000, { i: 1 }], // before the window of 4 s, and the ttl
  [6_000, 7_600, { i: 2 }], // known 1,600 ms late: refused
  [6_000, 8_000, { who: 'b' }],
  [8_000, 8_010, { i: 3 }],
  [7_900, 8_020, { i: 4 }], // happened before the one above
  [8_100, 8_200, {}], // nothing to aggregate
  [9_000, 9_001, { i: 5 }], // at T
  [8_500, 9_500, { i: 6 }], // not known by K
  [8_600, 9_600, { i: 7 }], // beyond the position
)
const position = (next: number): Position => ({
  logId: 'log',
  streams: { events: [0, next, 0].map((end) => ({ epoch: 0, next: end })) as unknown as Position['streams'][string] },
})

async function explain(reference: string, changes: Partial<Parameters<typeof explainValue>[0]> = {}) {
  const system = await openSystem()
  await system.append(events, 3)
  return explainValue({
    catalog,
    reference,
    entities: { who: 'a', region: 0 },
    asOfMs: 9_000,
    knownAsOfMs: 9_000,
    position: position(8),
    reader: system.newReader(),
    ...changes,
  })
}

describe('explain', () => {
  it('names exactly the events behind a value, and counts the others by reason', async () => {
    expect(await explain('places:i_mean')).toEqual({
      status: Status.PRESENT,
      value: 3.5,
      fingerprint: featureFingerprint(catalog, { view: 'places', feature: 'i_mean' }),
      events: [
        { stream: 'events', partition: 1, offset: 4, eventTimeMs: 7_900, knownAtMs: 8_020, fields: { i: 4 } },
        { stream: 'events', partition: 1, offset: 3, eventTimeMs: 8_000, knownAtMs: 8_010, fields: { i: 3 } },
      ],
      window: [5_000, 9_000],
      excluded: {
        refused: 1,
        atOrAfterAsOf: 1,
        notKnown: 1,
        corrected: 0,
        beforeWindow: 1,
        afterWindow: 0,
        notWhere: 0,
        nullInput: 1,
      },
      corrected: [],
    })
  })

  it('sees more when more is known, and never beyond the position', async () => {
    const {
      value,
      events: behind,
      excluded,
    } = await explain('places:i_mean', { knownAsOfMs: Number.POSITIVE_INFINITY })
    expect([value, behind.map(({ offset }) => offset), excluded.notKnown]).toEqual([13 / 3, [4, 3, 7], 0])
    expect((await explain('places:i_mean', { position: position(4) })).events.map(({ offset }) => offset)).toEqual([3])
  })

  it('a count reads no field and counts nulls; a lifetime without ttl reaches back for ever', async () => {
    const explained = await explain('people:n')
    expect(explained.value).toBe(5n)
    expect(explained.window).toEqual([Number.NEGATIVE_INFINITY, 9_000])
    expect(explained.events.map(({ offset, fields }) => [offset, fields])).toEqual(
      [0, 1, 4, 3, 5].map((at) => [at, {}]),
    )
    expect(explained.excluded).toEqual({
      refused: 0,
      atOrAfterAsOf: 1,
      notKnown: 1,
      corrected: 0,
      beforeWindow: 0,
      afterWindow: 0,
      notWhere: 0,
      nullInput: 0,
    })
  })

  it('tells what lies after a window, and what where leaves out', async () => {
    const shifted = await explain('people:i_last_shifted')
    expect([shifted.value, shifted.window, shifted.excluded.afterWindow]).toEqual([null, [8_400, 8_900], 0])
    const later = await explain('people:i_last_shifted', { asOfMs: 8_150, knownAsOfMs: 8_150 })
    expect([later.value, later.window]).toEqual([3, [7_550, 8_050]])
    const after = await explain('people:i_last_shifted', { asOfMs: 8_050, knownAsOfMs: 9_000 })
    expect([after.value, after.excluded.afterWindow]).toEqual([4, 1])
    const rows = await explain('places:i_std_rows', { asOfMs: 8_150, knownAsOfMs: 9_000 })
    expect([rows.events.map(({ offset }) => offset), rows.window, rows.excluded.beforeWindow]).toEqual([
      [4, 3],
      [7_900, 8_150],
      1,
    ])
    const session = await explain('people:i_last_session', { asOfMs: 8_140, knownAsOfMs: 9_000 })
    expect([session.events.map(({ offset }) => offset), session.window]).toEqual([
      [4, 3],
      [7_900, 8_140],
    ])
    const over = await explain('people:i_last_session', { asOfMs: 8_250, knownAsOfMs: 9_000 })
    expect([over.events, over.window]).toEqual([[], [8_250, 8_250]])
    const series = await explain('people:i_last_series', { asOfMs: 8_450, knownAsOfMs: 9_000 })
    expect([series.value, series.events.map(({ offset }) => offset), series.window]).toEqual([
      [null, 3, null],
      [4, 3],
      [7_550, 8_450],
    ])
    const { status, excluded } = await explain('places:i_mean_ok')
    expect([status, excluded.notWhere, excluded.nullInput]).toEqual([Status.NULL, 3, 0])
  })

  it('says EXPIRED and NOT_FOUND with what was left out', async () => {
    const expired = await explain('places:n', { asOfMs: 50_000, knownAsOfMs: 50_000 })
    expect([expired.status, expired.value, expired.events, expired.excluded.beforeWindow]).toEqual([
      Status.EXPIRED,
      null,
      [],
      6,
    ])
    const missing = await explain('places:n', { entities: { who: 'nobody', region: 0 } })
    expect([missing.status, missing.value, missing.events]).toEqual([Status.NOT_FOUND, 0n, []])
    expect(Object.values(missing.excluded).every((count) => count === 0)).toBe(true)
  })

  it('refuses what names no feature and no entity', async () => {
    await expect(explain('places')).rejects.toMatchObject({ code: 'FS_REQUEST_INVALID' })
    await expect(explain('places:gone')).rejects.toMatchObject({ code: 'FS_FEATURE_UNKNOWN' })
    await expect(explain('gone:n')).rejects.toMatchObject({ code: 'FS_VIEW_UNKNOWN' })
    await expect(explain('places:n', { entities: { who: 'a' } })).rejects.toMatchObject({ code: 'FS_ENTITY_INVALID' })
  })
})
