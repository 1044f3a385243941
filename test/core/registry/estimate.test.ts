import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { buildCatalog } from '../../../core/definition/catalog.ts'
import { float64, int32, string, timestamp } from '../../../core/definition/fields.ts'
import {
  count,
  days,
  distinctCount,
  hours,
  last,
  mean,
  rows,
  session,
  sum,
  tumbling,
} from '../../../core/definition/functions.ts'
import { entity, stream } from '../../../core/definition/stream.ts'
import type { ViewDefinition } from '../../../core/definition/types.ts'
import { view } from '../../../core/definition/view.ts'
import { planView } from '../../../core/engine/plan.ts'
import {
  bytesText,
  countText,
  estimateText,
  estimateView,
  resolutionFor,
  type ViewSample,
} from '../../../core/registry/estimate.ts'

const dayMs = 86_400_000
const taps = stream('taps', {
  fields: { at: timestamp(), card: string(), amount: int32(), weight: float64(), shop: string() },
  eventTime: 'at',
  key: ['card'],
  partitions: 2,
})
const card = entity('card', { key: { card: string() } })
const planOf = (definition: ViewDefinition, historyMs = 0) =>
  planView(buildCatalog([taps, card, definition]), definition.name, historyMs)
const week = planOf(
  view('by_card', { from: taps, entity: card, features: ({ amount }) => ({ spent_7d: sum(amount).over(days(7)) }) }),
)

/** A log of ten days, all of it counted, with a card that has half of the events. */
const sampleOf = (given: Partial<ViewSample> = {}): ViewSample => ({
  records: 1_000_000,
  sampled: 1_000_000,
  events: 1_000_000,
  spanMs: 10 * dayMs,
  distinct: 500,
  once: 0,
  hottestEvents: 500_000,
  hottestSampled: 500_000,
  ...given,
})

describe('what is held', () => {
  test('is rate x reach, in total and for the hottest entity, at most what the log has', () => {
    expect(estimateView(week, sampleOf())).toEqual({
      view: 'by_card',
      entities: 500,
      // 16 bytes an event, 80 for each 64 of them, 100 an entity; stored 18 and 100.
      total: { events: 700_000, memoryBytes: 13_400_000, storedBytes: 12_650_000 },
      hottest: { events: 350_000, memoryBytes: 6_650_200, storedBytes: 6_300_100 },
      readSteps: 5_533,
      readCost: 'medium',
      warnings: [],
    })
    const short = estimateView(week, sampleOf({ spanMs: dayMs }))
    expect(short.total?.events).toBe(1_000_000)
    expect(short.hottest?.events).toBe(500_000)
  })

  test('counts the online history, a further field, and one event of every entity that went quiet', () => {
    const two = planOf(
      view('by_card', {
        from: taps,
        entity: card,
        features: ({ amount, weight }) => ({ a: sum(amount).over(days(1)), b: mean(weight).over(days(1)) }),
      }),
      dayMs,
    )
    const held = estimateView(two, sampleOf()).hottest
    expect(held).toEqual({ events: 100_000, memoryBytes: 2_837_700, storedBytes: 2_600_100 })
    expect(estimateView(week, sampleOf({ spanMs: 1_000_000 * dayMs })).total?.events).toBe(500)
  })

  test('entities seen once stand for those that the sample missed', () => {
    const sample = sampleOf({ sampled: 10_000, distinct: 500, once: 100 })
    expect(estimateView(week, sample).entities).toBe(400 + 100 * 10)
    expect(estimateView(week, sampleOf({ distinct: 500, once: 500 })).entities).toBe(500)
  })

  test('never falls when the reach or the rate grows', () => {
    const numbers = fc.record({
      spanMs: fc.integer({ min: 0, max: 1_000 * dayMs }),
      hottest: fc.integer({ min: 1, max: 5_000_000 }),
      others: fc.integer({ min: 0, max: 5_000_000 }),
      reachMs: fc.integer({ min: 1, max: 400 * dayMs }),
      more: fc.integer({ min: 1, max: 1_000 }),
      longer: fc.integer({ min: 0, max: 100 * dayMs }),
    })
    fc.assert(
      fc.property(numbers, ({ spanMs, hottest, others, reachMs, more, longer }) => {
        const estimated = (overMs: number, rate: number): number[] => {
          const plan = planOf(
            view('by_card', {
              from: taps,
              entity: card,
              features: ({ weight, shop }) => ({
                w: mean(weight).over(overMs),
                s: distinctCount(shop).over(overMs),
                n: count().over(overMs),
              }),
            }),
          )
          const events = (hottest + others) * rate
          const {
            total,
            hottest: held,
            readSteps,
            warnings,
          } = estimateView(
            plan,
            sampleOf({ spanMs, events, records: events, sampled: events, hottestEvents: hottest * rate }),
          )
          return [total, held]
            .flatMap((one) => [one?.events ?? 0, one?.memoryBytes ?? 0, one?.storedBytes ?? 0])
            .concat(readSteps ?? 0, warnings[0]?.events ?? 0)
        }
        const base = estimated(reachMs, 1)
        for (const grown of [estimated(reachMs + longer, 1), estimated(reachMs, more)])
          grown.forEach((value, index) => expect(value).toBeGreaterThanOrEqual(base[index] as number))
      }),
    )
  })
})

describe('what a read visits', () => {
  const steps = (features: Parameters<typeof view>[1]['features']): number | null =>
    estimateView(planOf(view('by_card', { from: taps, entity: card, ttl: days(10), features } as never)), sampleOf())
      .readSteps

  test('is runs and edges where summaries answer, every event where they cannot, and little for the last ones', () => {
    const runs = Math.round(500_000 / 64 + 64)
    expect(steps(({ amount }) => ({ a: sum(amount as never), b: mean(amount as never) }) as never)).toBe(runs)
    expect(steps(() => ({ n: count() }) as never)).toBe(runs)
    expect(steps(({ weight }) => ({ w: mean(weight as never) }) as never)).toBe(runs)
    expect(steps(({ shop }) => ({ s: distinctCount(shop as never) }) as never)).toBe(500_000)
    expect(steps(({ shop }) => ({ s: last(shop as never) }) as never)).toBe(1)
    expect(steps(({ amount }) => ({ m: mean(amount as never).over(rows(10)) }) as never)).toBe(10)
  })
})

describe('warnings', () => {
  const texts = (definition: ViewDefinition, sample: ViewSample | null): string[] =>
    estimateView(planOf(definition), sample).warnings.map(({ text }) => text)
  const hot = sampleOf({ records: 9_000_000, sampled: 200_000, events: 9_000_000, hottestEvents: 7_428_571 })
  const over = (...spansMs: readonly number[]): ViewDefinition =>
    view('by_card', {
      from: taps,
      entity: card,
      ttl: days(30),
      features: ({ amount }) => Object.fromEntries(spansMs.map((ms, index) => [`f${index}`, sum(amount).over(ms)])),
    })

  test('a hot entity in an exact window names the finest resolution that fits', () => {
    expect(texts(over(days(7), hours(1)), hot)).toEqual([
      "view by_card: exact window of 7d holds about 5.2 M events (94 MiB) of its hottest entity; resolution '5m' would keep about 2,020 summaries",
    ])
    expect(estimateView(planOf(over(days(7))), hot).warnings).toMatchObject([
      { kind: 'hot-window', events: 5_200_000, resolution: '5m', summaries: 2016 },
    ])
    expect(texts(over(days(1)), hot)).toEqual([])
  })

  test('of a log shorter than the window says what there will be, where the rate is known', () => {
    const young = sampleOf({
      spanMs: 3_600_000,
      events: 20_000,
      records: 20_000,
      sampled: 20_000,
      hottestEvents: 10_000,
    })
    expect(texts(over(days(7)), young)).toEqual([
      "view by_card: exact window of 7d will hold about 1.7 M events (30 MiB) of its hottest entity at the rate of the log, 10,000 now; resolution '5m' would keep about 2,020 summaries",
    ])
    expect(texts(over(days(7)), { ...young, hottestSampled: 99 })).toEqual([])
    // All at one moment: there is no rate.
    expect(texts(over(days(7)), { ...young, spanMs: 0 })).toEqual([])
  })

  test('too many bytes are too much as well', () => {
    const wide = planOf(
      view('by_card', {
        from: taps,
        entity: card,
        features: ({ amount, weight, shop }) => ({
          a: sum(amount).over(days(7)),
          b: sum(weight).over(days(7)),
          c: distinctCount(shop).over(days(7)),
        }),
      }),
    )
    const some = sampleOf({ hottestEvents: 1_400_000, events: 2_000_000 })
    expect(estimateView(wide, some).warnings).toEqual([])
    expect(estimateView(wide, some, { entityEventsMax: 1_000_000, entityBytesMax: 2 ** 20 }).warnings).toMatchObject([
      { kind: 'hot-window', resolution: '5m' },
    ])
  })

  test('other windows: what would help them', () => {
    const tumbled = view('by_card', {
      from: taps,
      entity: card,
      features: () => ({ n: count().over(tumbling(days(7), { take: 'last' })) }),
    })
    expect(texts(tumbled, hot)[0]).toMatch(/tumbling window of 7d .*; a sliding window with resolution '5m' would keep/)
    const chained = view('by_card', {
      from: taps,
      entity: card,
      ttl: days(30),
      features: () => ({ n: count().over(session(1_000)) }),
    })
    expect(texts(chained, hot)[0]).toMatch(/session with a ttl of 30d .* a shorter ttl would hold fewer/)
  })

  test('what has no bound grows for ever, with a sample or without one', () => {
    const lifetime = view('by_card', {
      from: taps,
      entity: card,
      features: () => ({ n: count(), m: count().over(rows(3)) }),
    })
    expect(texts(lifetime, null)).toEqual([
      'view by_card: lifetime without a ttl keeps every event for ever; a ttl of the view would bound it',
      'view by_card: window of 3 rows without a ttl keeps every event for ever; a ttl of the view would bound it',
    ])
    expect(texts(lifetime, sampleOf())[0]).toMatch(/keeps every event for ever, about 100,000 a day;/)
    expect(estimateView(planOf(lifetime), sampleOf()).hottest?.events).toBe(500_000)
  })

  test('a window that has a resolution holds summaries, and is no longer warned of', () => {
    const coarse: ViewDefinition = {
      ...over(days(7)),
      features: over(days(7)).features.map((feature) => ({
        ...feature,
        window: { kind: 'sliding', spanMs: days(7), resolutionMs: 300_000 },
      })),
    }
    const { warnings, hottest } = estimateView(planOf(coarse), hot)
    expect(warnings).toEqual([])
    // One interval of events, and what is known of the others.
    expect(hottest?.events).toBeLessThan(10_000)
    expect(hottest?.memoryBytes).toBeLessThan(600_000)
  })
})

test('a resolution divides the window and leaves at most 10,000 summaries', () => {
  const cases: readonly (readonly [spanMs: number, resolutionMs: number])[] = [
    [60_000, 1_000],
    [hours(1), 1_000],
    [hours(3), 10_000],
    [days(1), 10_000],
    [days(2), 60_000],
    [days(7), 300_000],
    [days(30), 300_000],
    [days(365), 3_600_000],
    [days(9_999), 86_400_000],
    [days(40_000), 86_400_000],
    // Divided by none of them.
    [days(7) + 1, 300_000],
  ]
  for (const [spanMs, resolutionMs] of cases) expect([spanMs, resolutionFor(spanMs)]).toEqual([spanMs, resolutionMs])
})

test('nothing to sample leaves the numbers open and prints no line', () => {
  const empty = estimateView(week, null)
  expect(empty).toEqual({
    view: 'by_card',
    entities: null,
    total: null,
    hottest: null,
    readSteps: null,
    readCost: null,
    warnings: [],
  })
  expect(estimateText(empty)).toEqual([])
  // Every event of the log is refused by the view.
  expect(estimateView(week, sampleOf({ events: 0, distinct: 0, hottestEvents: 0, hottestSampled: 0 }))).toEqual(empty)
})

test('the lines of an estimate', () => {
  expect(estimateText(estimateView(week, sampleOf()))).toEqual([
    'view by_card: about 500 entities: 700,000 events, 13 MiB in memory, 12 MiB stored',
    '    hottest entity: 350,000 events, 6.3 MiB in memory, 6.0 MiB stored; a read visits about 5,530 events and summaries (medium)',
  ])
  expect([0, 999, 12_345, 999_499, 999_500, 5_249_000, 12_345_678].map(countText)).toEqual([
    ...['0', '999', '12,300', '999,000', '1.0 M', '5.2 M', '12 M'],
  ])
  expect([0, 1023, 1024, 87_000_000, 5 * 2 ** 30].map(bytesText)).toEqual([
    ...['0 B', '1023 B', '1.0 KiB', '83 MiB', '5.0 GiB'],
  ])
})
