import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { buildCatalog } from '../../../core/definition/catalog.ts'
import { string } from '../../../core/definition/fields.ts'
import { count, distinctCount, last, lastN, mean, sum, tumbling } from '../../../core/definition/functions.ts'
import { entity, stream } from '../../../core/definition/stream.ts'
import { view } from '../../../core/definition/view.ts'
import { ViewFinisher } from '../../../core/engine/finish.ts'
import { acceptedEvents, naiveValue, type NaiveEvent } from '../../../core/engine/naive.ts'
import { statusName, valueAt } from '../../../core/engine/feature-column.ts'
import { planView } from '../../../core/engine/plan.ts'
import { ValidUntil } from '../../../core/engine/valid-until.ts'
import { ViewEngine } from '../../../core/engine/view-engine.ts'
import { encodeKey } from '../../../core/event/key.ts'
import { dayMs, hourMs } from '../../../core/time/time.ts'
import { batchOf, generatedEvent, logged } from '../../support/history.ts'
import { declared } from '../../support/declared.ts'

const events = stream('events', { fields: declared, eventTime: 'at', key: ['who'], partitions: 3 })
const who = entity('who', { key: { who: string() } })

/** Around a transition, so that its days are longer or shorter, or begin elsewhere. */
const cases = [
  ['Europe/Zurich', '2024-10-27T01:00Z', 1],
  ['Europe/Zurich', '2024-03-31T01:00Z', 2],
  ['Australia/Lord_Howe', '2024-04-06T15:00Z', 1],
  ['America/Sao_Paulo', '2017-10-15T03:00Z', 1],
  ['Pacific/Apia', '2011-12-30T10:00Z', 1],
  ['Asia/Kolkata', '2024-01-01T00:00Z', 3],
] as const

describe('days of a zone: the engine equals the naive twin', () => {
  test.each(cases)(
    '%s around %s, %i days, with a ttl that cuts and without',
    { timeout: 60_000 },
    (zone, around, n) => {
      for (const ttl of [2 * n * dayMs, undefined]) {
        const definition = view('v', {
          from: events,
          entity: who,
          ...(ttl === undefined ? {} : { ttl }),
          features: ({ i, b, f, s }) => ({
            n_current: count().over(tumbling(n * dayMs, { take: 'current', zone })),
            n_last: count().over(tumbling(n * dayMs, { take: 'last', zone })),
            i_mean_last: mean(i).over(tumbling(n * dayMs, { take: 'last', zone })),
            b_sum_last: sum(b).over(tumbling(n * dayMs, { take: 'last', zone })),
            f_sum_current: sum(f).over(tumbling(n * dayMs, { take: 'current', zone })),
            s_last: last(s).over(tumbling(n * dayMs, { take: 'last', zone })),
            s_last2: lastN(s, 2).over(tumbling(n * dayMs, { take: 'current', zone })),
            s_distinct: distinctCount(s).over(tumbling(n * dayMs, { take: 'last', zone })),
          }),
        })
        const plan = planView(buildCatalog([events, who, definition]), 'v', hourMs)
        const finisher = new ViewFinisher(plan)
        const validUntil = new ValidUntil(plan, finisher.features)
        const span = (4 * n + 1) * dayMs
        const shift = Date.parse(around) - span / 2 - 1_000_000
        let answered = 0
        fc.assert(
          fc.property(
            fc.array(generatedEvent(span, 2 * hourMs, true), { minLength: 20, maxLength: 200, size: 'max' }),
            fc.array(fc.nat({ max: span }), { minLength: 5, maxLength: 20 }),
            (generated, asOfs) => {
              const history = logged(
                generated.map((event) => ({ ...event, eventTimeMs: Math.round(event.eventTimeMs + shift) })),
              )
              const engine = new ViewEngine(plan, 1, new Set([0]))
              for (const partition of [0, 1, 2]) {
                const batch = batchOf(
                  'events',
                  partition,
                  history.filter((event) => event.partition === partition),
                )
                const resolved = engine.resolve(batch)
                engine.load(engine.unloaded(), [])
                engine.apply(
                  batch,
                  resolved,
                  () => 0,
                  () => {},
                )
              }
              const found = engine.find(encodeKey(['a'], ['string']))
              const entity = found === null ? null : { state: engine.state, entity: found }
              const accepted = acceptedEvents(definition, history, () => Number.POSITIVE_INFINITY)
              const check = (): void => {
                for (const at of asOfs) {
                  const asOf = { asOfMs: Math.round(1_000_000 + shift + at), knownAsOfMs: Number.POSITIVE_INFINITY }
                  const builders = finisher.builders(1)
                  if (!finisher.finish(entity, asOf, builders, 0)) continue
                  answered++
                  const got = builders.map((builder) => builder.build())
                  const naive = definition.features.map((feature) =>
                    naiveValue(definition, plan.fields, feature, accepted as NaiveEvent[], asOf),
                  )
                  expect(got.map((column) => [statusName(column.statuses[0] as number), valueAt(column, 0)])).toEqual(
                    naive.map(({ status, value }) => [statusName(status), value]),
                  )
                  if (entity === null) continue
                  const lastMs = validUntil.at(entity, asOf.asOfMs) - 1
                  expect(lastMs).toBeGreaterThanOrEqual(asOf.asOfMs)
                  if (lastMs === Number.POSITIVE_INFINITY) continue
                  const last = finisher.builders(1)
                  expect(finisher.finish(entity, { ...asOf, asOfMs: lastMs }, last, 0)).toBe(true)
                  expect(last.map((builder) => builder.build())).toEqual(got)
                }
              }
              check()
              // Rows are pruned as they are taken: they give the same, or say that they cannot.
              for (const { row } of engine.takeChanged()) expect(row.length).toBeGreaterThan(0)
              check()
            },
          ),
          { numRuns: 40 },
        )
        expect(answered).toBeGreaterThan(50)
      }
    },
  )
})
