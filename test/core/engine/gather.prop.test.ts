import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { buildCatalog } from '../../../core/definition/catalog.ts'
import { float64, int32, nullable, string, timestamp } from '../../../core/definition/fields.ts'
import { count, lastN, max, mean, series, session, sum } from '../../../core/definition/functions.ts'
import { service } from '../../../core/definition/service.ts'
import { entity, stream } from '../../../core/definition/stream.ts'
import { view } from '../../../core/definition/view.ts'
import { ViewFinisher } from '../../../core/engine/finish.ts'
import { Gather } from '../../../core/engine/gather.ts'
import { featureMatrix, matrixSpec } from '../../../core/engine/matrix.ts'
import { planView } from '../../../core/engine/plan.ts'
import { ViewEngine } from '../../../core/engine/view-engine.ts'
import { encodeKey } from '../../../core/event/key.ts'
import { batchOf, correctedFields, generatedCorrections } from '../../support/history.ts'
import { loadFrom, storedAfter, type StoredRow } from './harness.ts'

const events = stream('events', {
  fields: {
    id: string(),
    line: int32(),
    at: timestamp(),
    who: string(),
    region: int32(),
    i: nullable(int32()),
    f: nullable(float64({ allowNonFinite: true })),
  },
  eventTime: 'at',
  id: 'id',
  key: ['who'],
  partitions: 3,
})
const who = entity('who', { key: { who: string() } })
const people = view('people', {
  from: events,
  entity: who,
  ttl: 4_000,
  features: ({ i, f }) => ({
    n: count(),
    n_700: count().over(700),
    i_mean: mean(i).over(2_000),
    f_sum: sum(f).over(900),
    f_max: max(f),
    i_last2: lastN(i, 2),
    i_series: mean(i).over(series(900, 300)),
    n_session: count().over(session(300)),
  }),
})
const scores = service('scores', { features: [people.all()] })
const catalog = buildCatalog([events, who, people, scores])
const spec = matrixSpec(catalog, scores)
const width = spec.inputs.length

const steps = fc.array(
  fc.oneof(
    fc.record({ kind: fc.constant('feed' as const), count: fc.integer({ min: 1, max: 15 }) }),
    fc.record({
      kind: fc.constant('wait' as const),
      ms: fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: -100, max: 700 })),
    }),
    fc.record({
      kind: fc.constant('gather' as const),
      who: fc.array(fc.nat({ max: 4 }), { minLength: 1, maxLength: 8 }),
    }),
    fc.constant({ kind: 'gather' as const, who: [0, 1, 2, 3, 4] }),
    fc.constant({ kind: 'evict' as const }),
  ),
  { minLength: 20, maxLength: 60, size: 'max' },
)

describe('what is gathered from kept rows is what finishing gives, bit for bit', () => {
  for (const rowsMax of [100, 2, 0])
    it(`with room for ${rowsMax}`, () => {
      const plan = planView(catalog, 'people', 300)
      const finisher = new ViewFinisher(plan)
      const total = { hits: 0, misses: 0 }
      const histories = generatedCorrections({ kind: 'id', records: [30, 120], ids: 12, spanMs: 6_000, delayMs: 1_000 })
      fc.assert(
        fc.property(histories, steps, (history, todo) => {
          const engine = new ViewEngine(plan, 2, new Set([0, 1]))
          const store = new Map<string, StoredRow>()
          const gather = new Gather(engine, spec, rowsMax)
          const left = [...history]
          let nowMs = 1_002_000
          const name = (key: Uint8Array): string => `people/${Buffer.from(key).toString('hex')}`
          for (const step of todo) {
            if (step.kind === 'wait') nowMs += step.ms
            else if (step.kind === 'evict') {
              for (const changed of engine.takeChanged())
                store.set(name(changed.key), storedAfter(store.get(name(changed.key)), changed))
              engine.evictClean()
            } else if (step.kind === 'feed') {
              const next = left.splice(0, step.count)
              for (const partition of [0, 1, 2]) {
                const own = next.filter((event) => event.partition === partition)
                const batch = batchOf('events', partition, own, correctedFields)
                const entities = engine.resolve(batch)
                loadFrom(engine, store)
                engine.apply(
                  batch,
                  entities,
                  () => 0,
                  () => {},
                )
              }
            } else {
              const entities = Int32Array.from(step.who, (index) => {
                const found = engine.find(encodeKey([['a', 'b', 'ü\0', '', 'nobody'][index] as string], ['string']))
                return found === null || !engine.isLoaded(found) ? -1 : found
              })
              const out = new Float32Array(entities.length * width)
              const pruned = gather.rows(entities, nowMs, out)
              const builders = finisher.builders(entities.length)
              const asOf = { asOfMs: nowMs, knownAsOfMs: Number.POSITIVE_INFINITY }
              const unanswered: number[] = []
              entities.forEach((index, row) => {
                const held = index < 0 ? null : { state: engine.state, entity: index }
                if (!finisher.finish(held, asOf, builders, row)) unanswered.push(row)
              })
              const columns = builders.map((builder) => builder.build())
              const expected = featureMatrix(spec, columns, {}, entities.length)
              for (const row of unanswered) expected.fill(Number.NaN, row * width, (row + 1) * width)
              expect(pruned.every((row) => unanswered.includes(row))).toBe(true)
              // What was finished before its events were pruned still holds.
              for (let row = 0; row < entities.length; row++) {
                if (unanswered.includes(row) && !pruned.includes(row)) continue
                const bits = (matrix: Float32Array) => [
                  ...new Int32Array(matrix.slice(row * width, (row + 1) * width).buffer),
                ]
                expect(bits(out)).toEqual(bits(expected))
              }
            }
          }
          total.hits += gather.counts.hits
          total.misses += gather.counts.misses
        }),
        { numRuns: Number(process.env['TIDEMARK_PROPERTY_RUNS'] ?? 150) },
      )
      if (rowsMax === 100) expect(total.hits).toBeGreaterThan(total.misses / 20)
      if (rowsMax === 2) expect(total.hits).toBeGreaterThan(total.misses / 60)
      if (rowsMax === 0) expect(total.hits).toBe(0)
    })
})
