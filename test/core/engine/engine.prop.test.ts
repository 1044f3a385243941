import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { buildCatalog } from '../../../core/definition/catalog.ts'
import {
  count,
  distinctCount,
  first,
  last,
  lastN,
  max,
  mean,
  min,
  rows,
  series,
  session,
  share,
  stddev,
  sum,
  tumbling,
  variance,
  type FeatureBuilder,
} from '../../../core/definition/functions.ts'
import type { BoolExpr, NumericExpr, StringExpr } from '../../../core/definition/expressions.ts'
import { entity, stream } from '../../../core/definition/stream.ts'
import { bool, float64, int32, int64, nullable, string, timestamp } from '../../../core/definition/fields.ts'
import { view } from '../../../core/definition/view.ts'
import { planView } from '../../../core/engine/plan.ts'
import { ViewEngine } from '../../../core/engine/view-engine.ts'
import { ViewFinisher } from '../../../core/engine/finish.ts'
import { acceptedEvents, naiveValue, type NaiveEvent } from '../../../core/engine/naive.ts'
import { statusName, valueAt } from '../../../core/engine/feature-column.ts'
import type { ScalarType } from '../../../core/event/types.ts'
import { encodeKey } from '../../../core/event/key.ts'
import { batchOf, generatedEvent, logged } from '../../support/history.ts'

const events = stream('events', {
  fields: {
    at: timestamp(),
    who: string(),
    region: int32(),
    i: nullable(int32()),
    b: nullable(int64()),
    f: nullable(float64({ allowNonFinite: true })),
    s: nullable(string()),
    ok: nullable(bool()),
  },
  eventTime: 'at',
  key: ['who'],
  partitions: 3,
})
const who = entity('who', { key: { who: string(), region: int32() } })

type AnyFeature = FeatureBuilder<ScalarType | `list<${ScalarType}>`>

/** A condition that is true, false and null, of fields that features also aggregate. */
type Condition = (fields: {
  readonly i: NumericExpr<'int32'>
  readonly ok: BoolExpr
  readonly s: StringExpr
}) => BoolExpr

const everyFunction = (over: (feature: AnyFeature) => AnyFeature, where?: Condition) =>
  view('every', {
    from: events,
    entity: who,
    ttl: 4_000,
    lateness: 1_500,
    maxAhead: 40,
    features: ({ i, b, f, s, ok, at }) => {
      const all = {
        n: count(),
        i_sum: sum(i),
        i_mean: mean(i),
        i_min: min(i),
        i_max: max(i),
        i_var: variance(i),
        i_std: stddev(i),
        i_stdp: stddev(i, { divisor: 'population' }),
        big: share(i.gt(3)),
        ratio: mean(i.div(3)),
        b_sum: sum(b),
        b_mean: mean(b),
        b_max: max(b),
        b_min: min(b),
        b_std: stddev(b),
        f_sum: sum(f),
        f_mean: mean(f),
        f_std: stddev(f),
        f_var: variance(f, { divisor: 'population' }),
        f_max: max(f),
        f_min: min(f),
        f_distinct: distinctCount(f),
        s_distinct: distinctCount(s),
        s_last: last(s),
        s_first: first(s),
        s_last3: lastN(s, 3),
        i_last2: lastN(i, 2),
        ok_share: share(ok),
        ok_last: last(ok),
        newest: max(at),
        b_last: last(b),
      }
      const features: [string, AnyFeature][] = Object.entries(all)
      if (where !== undefined)
        for (const [name, feature] of Object.entries(all))
          features.push([`${name}_if`, feature.where(where({ i, ok, s }))])
      return Object.fromEntries(features.map(([name, feature]) => [name, over(feature)]))
    },
  })

const keyOf = (event: NaiveEvent): string => `${String(event.fields['who'])}/${String(event.fields['region'])}`

/** Over a series; a list over its whole span, since it cannot be an item. */
const seriesOf =
  (spanMs: number, stepMs: number) =>
  (feature: AnyFeature): AnyFeature =>
    feature.aggregation.function === 'lastN' ? feature.over(spanMs) : feature.over(series(spanMs, stepMs))

/** Splits the log into batches of consecutive records of one partition, in an interleaving that keeps each partition's order. */
function cut(history: readonly NaiveEvent[], sizes: readonly number[]): NaiveEvent[][] {
  const queues = [0, 1, 2].map((partition) => history.filter((event) => event.partition === partition))
  const batches: NaiveEvent[][] = []
  for (let turn = 0; queues.some((queue) => queue.length > 0); turn++) {
    const queue = queues[turn % 3] as NaiveEvent[]
    const batch = queue.splice(0, sizes[turn % sizes.length] as number)
    if (batch.length > 0) batches.push(batch)
  }
  return batches
}

const size = Number(process.env['TIDEMARK_PROPERTY_RUNS'] ?? 150)

describe('the engine equals the naive twin, bit for bit', () => {
  const windows: [string, (feature: AnyFeature) => AnyFeature, Condition?][] = [
    ['over 1 ms', (feature) => feature.over(1)],
    ['over 700 ms', (feature) => feature.over(700)],
    ['over 4000 ms', (feature) => feature.over(4_000)],
    ['over lifetime', (feature) => feature],
    ['over 700 ms ending 900 ms before', (feature) => feature.over(700, { endsBefore: 900 })],
    ['over 3000 ms ending 1000 ms before', (feature) => feature.over(3_000, { endsBefore: 1_000 })],
    ['over 2000 ms where ok', (feature) => feature.over(2_000), ({ ok }) => ok],
    ['over rows(1)', (feature) => feature.over(rows(1))],
    ['over rows(5) where ok', (feature) => feature.over(rows(5)), ({ ok }) => ok],
    ['over rows(150)', (feature) => feature.over(rows(150))],
    ['over tumbling 700 ms, current', (feature) => feature.over(tumbling(700, { take: 'current' }))],
    ['over tumbling 2000 ms, last', (feature) => feature.over(tumbling(2_000, { take: 'last' })), ({ ok }) => ok],
    ['over sessions of 1 ms', (feature) => feature.over(session(1))],
    ['over sessions of 60 ms', (feature) => feature.over(session(60)), ({ ok }) => ok],
    ['over sessions of 900 ms', (feature) => feature.over(session(900))],
    ['over 2000 ms to 700 ms', (feature) => feature.over(2_000, { resolution: 700 }), ({ ok }) => ok],
    [
      'over 3000 ms ending 1000 ms before to 3000 ms',
      (feature) => feature.over(3_000, { endsBefore: 1_000, resolution: 3_000 }),
    ],
    ['over 4 parts of 1000 ms', seriesOf(4_000, 1_000)],
    ['over 7 parts of 300 ms where ok', seriesOf(2_100, 300), ({ ok }) => ok],
    ['over 1 part of 900 ms', seriesOf(900, 900)],
    ['over 40 parts of 1 ms', seriesOf(40, 1)],
    ['over lifetime where i > 0 or s is x', (feature) => feature, ({ i, s }) => i.gt(0).or(s.eq('x'))],
  ]
  const cases = windows.flatMap(([title, over, where], index) => {
    const numRuns = index < 4 ? size : Math.ceil(size / 2)
    return [
      { title, over, where, hot: false, eventsMax: 260, numRuns },
      { title: `one hot entity ${title}`, over, where, hot: true, eventsMax: 900, numRuns: Math.ceil(numRuns / 5) },
    ]
  })
  for (const { title, over, where, hot, eventsMax, numRuns } of cases) {
    it(`${title}: every function, any batches, flushes, evictions, T, K and P`, { timeout: 120_000 }, () => {
      const definition = everyFunction(over, where)
      const catalog = buildCatalog([events, who, definition])
      const plan = planView(catalog, 'every', 300)
      const finisher = new ViewFinisher(plan)
      fc.assert(
        fc.property(
          fc.array(generatedEvent(9_000, 2_000, hot), {
            minLength: hot ? 300 : 30,
            maxLength: eventsMax,
            size: 'max',
          }),
          fc.array(fc.integer({ min: 1, max: 90 }), { minLength: 1, maxLength: 6 }),
          fc.array(
            fc.record({
              at: fc.integer({ min: 999_000, max: 1_015_000 }),
              knownAfter: fc.oneof(fc.constant(null), fc.integer({ min: -2_000, max: 2_000 })),
            }),
            { minLength: 5, maxLength: 12 },
          ),
          fc.nat({ max: 3 }),
          (generated, sizes, asOfs, flushEvery) => {
            const history = logged(generated)
            const engine = new ViewEngine(plan, 4, new Set([0, 1, 2, 3]))
            const store = new Map<string, Uint8Array>()
            const below = [0, 0, 0]
            const dead: number[] = []
            const check = (): void => {
              const entities = new Map<string, NaiveEvent[]>()
              for (const event of history)
                if (event.offset < (below[event.partition] as number))
                  entities.set(keyOf(event), [...(entities.get(keyOf(event)) ?? []), event])
              for (const [, own] of entities) {
                const accepted = acceptedEvents(definition, own, (partition) => below[partition] as number)
                const key = encodeKey(
                  [own[0]?.fields['who'] ?? null, own[0]?.fields['region'] ?? null],
                  ['string', 'int32'],
                )
                const found = engine.find(key)
                const held = found === null || !engine.isLoaded(found) ? null : { state: engine.state, entity: found }
                for (const { at, knownAfter } of asOfs) {
                  const asOf = {
                    asOfMs: at,
                    knownAsOfMs: knownAfter === null ? Number.POSITIVE_INFINITY : at + knownAfter,
                  }
                  const builders = finisher.builders(1)
                  if (!finisher.finish(held, asOf, builders, 0)) continue
                  builders.forEach((builder, index) => {
                    const column = builder.build()
                    const feature = finisher.features[index]?.definition as (typeof definition.features)[number]
                    const naive = naiveValue(definition, plan.fields, feature, accepted, asOf)
                    const got = [statusName(column.statuses[0] as number), valueAt(column, 0)]
                    if (!sameBits(got, [statusName(naive.status), naive.value]))
                      expect([feature.name, ...got]).toEqual([feature.name, statusName(naive.status), naive.value])
                  })
                }
              }
            }
            let turn = 0
            for (const batch of cut(history, sizes)) {
              const columns = batchOf('events', batch[0]?.partition as number, batch)
              const resolved = engine.resolve(columns)
              loadFrom(engine, store)
              engine.apply(
                columns,
                resolved,
                () => 0,
                (_shard, letter) => dead.push(letter.offset),
              )
              below[columns.partition] = columns.nextOffset
              if (turn++ % (flushEvery + 1) === 0) {
                for (const { key, row } of engine.takeChanged()) store.set(Buffer.from(key).toString('hex'), row)
                if (turn % 2 === 0) engine.evictClean()
              }
            }
            for (const { key, row } of engine.takeChanged()) store.set(Buffer.from(key).toString('hex'), row)
            engine.evictClean()
            for (const batch of cut(history, [10_000]))
              engine.resolve(batchOf('events', batch[0]?.partition as number, batch))
            loadFrom(engine, store)
            check()
            // Canonical form: one batch a partition, flushed once, gives the same rows.
            const whole = new ViewEngine(plan, 4, new Set([0, 1, 2, 3]))
            for (const batch of cut(history, [10_000])) {
              const columns = batchOf('events', batch[0]?.partition as number, batch)
              const resolved = whole.resolve(columns)
              loadFrom(whole, new Map())
              whole.apply(
                columns,
                resolved,
                () => 0,
                () => {},
              )
            }
            for (const { key, row } of whole.takeChanged())
              expect(
                Buffer.from(row).equals(Buffer.from(store.get(Buffer.from(key).toString('hex')) as Uint8Array)),
              ).toBe(true)
          },
        ),
        { numRuns },
      )
    })
  }
})

/** Brings what the engine asks for into memory. */
function loadFrom(engine: ViewEngine, store: ReadonlyMap<string, Uint8Array>): void {
  const missing = engine.unloaded()
  const rows = missing.map(({ key }) => store.get(Buffer.from(key).toString('hex')) ?? null)
  engine.load(missing, rows)
}

/** Equal to the bit: NaN is NaN, and 0 is not -0. */
function sameBits(a: unknown, b: unknown): boolean {
  if (Array.isArray(a) && Array.isArray(b))
    return a.length === b.length && a.every((item, index) => sameBits(item, b[index]))
  return Object.is(a, b)
}
