import { describe, expect, test } from 'vitest'
import { buildCatalog } from '../../../core/definition/catalog.ts'
import type { Expr, NumericExpr } from '../../../core/definition/expressions.ts'
import { float64, int32, int64, string, timestamp } from '../../../core/definition/fields.ts'
import { count, last, max, mean, sum, variance } from '../../../core/definition/functions.ts'
import { entity, stream } from '../../../core/definition/stream.ts'
import { view } from '../../../core/definition/view.ts'
import { valueAt } from '../../../core/engine/feature-column.ts'
import { ViewFinisher } from '../../../core/engine/finish.ts'
import { planView, type ViewPlan } from '../../../core/engine/plan.ts'
import { ViewEngine } from '../../../core/engine/view-engine.ts'
import { Op } from '../../../core/event/operation.ts'
import { offset } from '../../../core/event/position.ts'
import type { AnyFeature } from './harness.ts'

const hourMs = 3_600_000
const dayMs = 24 * hourMs
const fields = { at: timestamp(), card: string(), amount: float64(), items: int32(), code: int64() }
const taps = stream('taps', { fields, eventTime: 'at', key: ['card'] })
const card = entity('card', { key: { card: string() } })

interface Fields {
  readonly amount: NumericExpr<'float64'>
  readonly items: NumericExpr<'int32'>
  readonly code: Expr<'int64'>
}

const planOf = (
  features: (fields: Fields) => Record<string, AnyFeature>,
  { historyMs = hourMs, ttl }: { readonly historyMs?: number; readonly ttl?: number } = {},
): ViewPlan => {
  const definition = view('v', { from: taps, entity: card, ...(ttl === undefined ? {} : { ttl }), features })
  return planView(buildCatalog([taps, card, definition]), 'v', historyMs)
}

/** Applies events of one card, `everyMs` apart, and flushes now and then. */
function engineOf(plan: ViewPlan, events: number, everyMs: number, items: (event: number) => number): ViewEngine {
  const engine = new ViewEngine(plan, 1, new Set([0]))
  const size = 50_000
  for (let from = 0; from < events; from += size) {
    const rows = Math.min(size, events - from)
    const times = Float64Array.from({ length: rows }, (_, row) => (from + row) * everyMs)
    const batch = {
      stream: 'taps',
      partition: 0,
      epoch: 0,
      firstOffset: offset(from),
      nextOffset: offset(from + rows),
      count: rows,
      offsets: Float64Array.from({ length: rows }, (_, row) => from + row),
      eventTimes: times,
      knownAts: times,
      columns: {
        at: { type: 'timestamp' as const, values: times, nulls: null },
        card: { type: 'string' as const, values: new Int32Array(rows), table: { strings: ['a'] }, nulls: null },
        amount: {
          type: 'float64' as const,
          values: Float64Array.from({ length: rows }, (_, row) => ((from + row) % 997) / 100),
          nulls: null,
        },
        items: {
          type: 'int32' as const,
          values: Int32Array.from({ length: rows }, (_, row) => items(from + row)),
          nulls: null,
        },
        code: { type: 'int64' as const, values: new BigInt64Array(rows), nulls: null },
      },
      ops: new Uint8Array(rows).fill(Op.insert),
      dead: [],
    }
    const entities = engine.resolve(batch)
    for (let missing = engine.unloaded(); missing.length > 0; missing = engine.unloaded())
      engine.load(
        missing,
        missing.map(() => null),
      )
    engine.apply(
      batch,
      entities,
      () => 0,
      () => {},
    )
    // A flush prunes and folds as its rows are read.
    for (const { row } of engine.takeChanged()) if (row.length === 0) throw new Error('an empty row')
  }
  return engine
}

/** Values as of T, everything known; null where the offline store would answer. */
function valuesAt(engine: ViewEngine, asOfMs: number): unknown[] | null {
  const finisher = new ViewFinisher(engine.plan)
  const builders = finisher.builders(1)
  const answered = finisher.finish(
    { state: engine.state, entity: 0 },
    { asOfMs, knownAsOfMs: Number.POSITIVE_INFINITY },
    builders,
    0,
  )
  return answered ? builders.map((builder) => valueAt(builder.build(), 0)) : null
}

const over =
  (resolution?: '5m') =>
  (feature: AnyFeature): AnyFeature =>
    feature.over(7 * dayMs, resolution === undefined ? {} : { resolution })

describe('a window of 7 days to 5 minutes beside one of an hour', () => {
  const planned = (resolution?: '5m'): ViewPlan =>
    planOf(({ amount, items }) => ({
      spent_1h: sum(amount).over(hourMs),
      n_7d: over(resolution)(count()),
      spent_7d: over(resolution)(sum(amount)),
      mean_7d: over(resolution)(mean(amount)),
      items_7d: over(resolution)(sum(items)),
    }))
  const events = 100_000
  const everyMs = Math.floor((7 * dayMs) / events)
  const coarse = engineOf(planned('5m'), events, everyMs, (event) => event % 7)

  test('holds less than 15 % of what the events take', () => {
    const all = engineOf(planned(), events, everyMs, (event) => event % 7)
    expect(coarse.memoryBytes() / all.memoryBytes()).toBeLessThan(0.15)
    expect(coarse.state.events.count(0)).toBeLessThan(((2 * hourMs) / everyMs) * 1.1)
  })

  test('answers at the newest event and an hour of online history before it, as all of the events do', () => {
    const newestMs = (events - 1) * everyMs
    const fresh = engineOf(
      planOf(({ amount, items, code }) => ({
        spent_1h: sum(amount).over(hourMs),
        n_7d: over('5m')(count()),
        spent_7d: over('5m')(sum(amount)),
        mean_7d: over('5m')(mean(amount)),
        items_7d: over('5m')(sum(items)),
        // Of which no tile is made.
        code_7d: over('5m')(sum(code)),
      })),
      events,
      everyMs,
      (event) => event % 7,
    )
    expect(fresh.plan.tile).toBeNull()
    for (const asOfMs of [newestMs, newestMs + 1, newestMs - hourMs, newestMs + 3 * dayMs + 17, newestMs + 9 * dayMs]) {
      const values = valuesAt(coarse, asOfMs)
      expect(values).not.toBeNull()
      expect(values).toEqual(valuesAt(fresh, asOfMs)?.slice(0, 5))
    }
    expect(valuesAt(coarse, newestMs - dayMs)).toBeNull()
  })
})

test('more integers than a tally holds are summed exactly', () => {
  const plan = planOf(({ items }) => ({
    n: count().over(7 * dayMs, { resolution: '1h' }),
    sum: sum(items).over(7 * dayMs, { resolution: '1h' }),
    variance: variance(items, { divisor: 'population' }).over(7 * dayMs, { resolution: '1h' }),
    max: max(items).over(7 * dayMs, { resolution: '1h' }),
  }))
  const events = 2 ** 22 + 1_000
  const most = 2 ** 31 - 1
  const engine = engineOf(plan, events, 10, (event) => (event % 2 === 0 ? most : -most - 1))
  expect(valuesAt(engine, events * 10)).toEqual([BigInt(events), BigInt(-events / 2), (2 ** 31 - 0.5) ** 2, most])
}, 60_000)

describe('tiles are made', () => {
  const week = { resolution: '1h' } as const
  test.each<readonly [string, ViewPlan, boolean]>([
    ['of sums', planOf(({ amount }) => ({ s: sum(amount).over(7 * dayMs, week) })), true],
    ['not of order', planOf(({ amount }) => ({ s: last(amount).over(7 * dayMs, week) })), false],
    ['not of int64', planOf(({ code }) => ({ s: sum(code).over(7 * dayMs, week) })), false],
    ['not without a resolution', planOf(({ amount }) => ({ s: sum(amount).over(7 * dayMs) })), false],
    [
      'not beside a longer exact window',
      planOf(({ amount }) => ({ s: sum(amount).over(7 * dayMs, week), t: sum(amount).over(8 * dayMs) })),
      false,
    ],
    [
      'not beside a lifetime',
      planOf(({ amount }) => ({ s: sum(amount).over(7 * dayMs, week), t: sum(amount) })),
      false,
    ],
    [
      'not of resolutions on different grids',
      planOf(({ amount }) => ({
        s: sum(amount).over(7 * dayMs, { resolution: '2h' }),
        t: sum(amount).over(7 * dayMs, { resolution: '3h' }),
      })),
      false,
    ],
    [
      'not with an online history as long',
      planOf(({ amount }) => ({ s: sum(amount).over(7 * dayMs, week) }), { historyMs: 8 * dayMs }),
      false,
    ],
    [
      'not where a ttl would cut them',
      planOf(({ amount }) => ({ s: sum(amount).over(7 * dayMs, week) }), { ttl: 7 * dayMs }),
      false,
    ],
  ])('%s', (_, plan, made) => {
    expect(plan.tile !== null).toBe(made)
  })
})
