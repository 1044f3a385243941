import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { openMemoryOfflineStore } from '../../../connectors/memory/offline-store.ts'
import { tableOf } from '../../../core/definition/corrections.ts'
import { statusName, valueAt } from '../../../core/engine/feature-column.ts'
import { ViewFinisher } from '../../../core/engine/finish.ts'
import { naiveValue } from '../../../core/engine/naive.ts'
import { planView } from '../../../core/engine/plan.ts'
import { offset, type Position } from '../../../core/event/position.ts'
import { fromHistory } from '../../../serving/lookup/history.ts'
import { corrected, countingOf } from '../../support/corrected.ts'
import { batchOf, correctedFields, generatedCorrections } from '../../support/history.ts'

const keys = ['a', 'b', 'ü\0', '', 'nobody'].flatMap((who) => [0, 1].map((region) => ({ who, region })))

describe.each(['id', 'changelog'] as const)('a history with corrections by %s', (kind) => {
  const project = corrected[kind]
  const { catalog, stream, views } = project
  const plans = views.map(({ name }) => planView(catalog, name, 0))

  test('gives every value of the plain twin', { timeout: 60_000 }, async () => {
    let counted = 0
    await fc.assert(
      fc.asyncProperty(
        generatedCorrections({ kind }),
        fc.array(fc.record({ t: fc.integer({ min: -100, max: 2_500 }), k: fc.integer({ min: -100, max: 2_500 }) }), {
          minLength: 2,
          maxLength: 4,
        }),
        fc.array(fc.nat({ max: 30 }), { minLength: 3, maxLength: 3 }),
        async (history, moments, cuts) => {
          const store = openMemoryOfflineStore()
          await store.prepare([tableOf(stream)])
          for (const partition of [0, 1, 2]) {
            const own = history.filter((event) => event.partition === partition)
            await store.insert(batchOf(stream.name, partition, own, correctedFields))
          }
          const position: Position = {
            logId: 'log',
            streams: { [stream.name]: cuts.map((next) => ({ epoch: 0, next: offset(next) })) },
          }
          for (const { t, k } of [...moments, { t: 3_000, k: Infinity }]) {
            const asOf = { asOfMs: 1_000_000 + t, knownAsOfMs: 1_000_000 + k }
            for (const [index, plan] of plans.entries()) {
              const view = views[index] as (typeof views)[number]
              for (const key of keys) {
                const entity = await fromHistory(
                  store,
                  plan,
                  Object.fromEntries(view.keyFields.map((field) => [field, key[field as 'who' | 'region']])),
                  asOf,
                  position,
                )
                const finisher = new ViewFinisher(
                  plan,
                  view.features.map(({ name }) => name),
                )
                const builders = finisher.builders(1)
                finisher.finish(entity, asOf, builders, 0)
                const counting = countingOf(project, view, history, key, asOf.knownAsOfMs, (at) => cuts[at] as number)
                counted += counting.length
                const expected = view.features.map((feature) => {
                  const { status, value } = naiveValue(view, stream.fields, feature, counting, asOf)
                  return [feature.name, statusName(status), value]
                })
                const got = builders.map((builder, at) => {
                  const column = builder.build()
                  return [view.features[at]?.name, statusName(column.statuses[0] as number), valueAt(column, 0)]
                })
                expect(got).toEqual(expected)
              }
            }
          }
        },
      ),
      { numRuns: 40 },
    )
    expect(counted).toBeGreaterThan(500)
  })
})
