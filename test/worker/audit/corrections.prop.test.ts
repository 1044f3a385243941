import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { openMemoryOfflineStore } from '../../../connectors/memory/offline-store.ts'
import { tableOf } from '../../../core/definition/corrections.ts'
import { valueAt, type StatusCode } from '../../../core/engine/feature-column.ts'
import { ViewFinisher } from '../../../core/engine/finish.ts'
import type { NaiveEvent } from '../../../core/engine/naive.ts'
import { planView } from '../../../core/engine/plan.ts'
import { takeBelow } from '../../../core/event/batch-ops.ts'
import { Op, type OpCode } from '../../../core/event/operation.ts'
import { offset, type Position } from '../../../core/event/position.ts'
import type { Scalar } from '../../../core/event/types.ts'
import { fromHistory } from '../../../serving/lookup/history.ts'
import { auditSamples } from '../../../worker/audit/audit.ts'
import type { EventSource } from '../../../worker/audit/entity-history.ts'
import { explainValue } from '../../../worker/audit/explain.ts'
import type { AuditSample } from '../../../worker/audit/sample.ts'
import { corrected, type CorrectedProject } from '../../support/corrected.ts'
import { batchOf, correctedFields, generatedCorrections } from '../../support/history.ts'

const partitions = [0, 1, 2]
const keys = ['a', 'b', 'ü\0'].flatMap((who) => [0, 1].map((region) => ({ who, region })))

const batchesOf = (name: string, history: readonly NaiveEvent[]) =>
  partitions.map((partition) =>
    batchOf(
      name,
      partition,
      history.filter((event) => event.partition === partition),
      correctedFields,
    ),
  )

const sourceOf = ({ stream }: CorrectedProject, history: readonly NaiveEvent[]): EventSource => ({
  stream,
  async *scan(to) {
    for (const batch of batchesOf(stream.name, history)) {
      const end = to[batch.partition]?.next ?? 0
      if (end > 0 && batch.count > 0) yield takeBelow(await Promise.resolve(batch), end)
    }
  },
})

const positionOf = (name: string, nexts: readonly number[]): Position => ({
  logId: 'log',
  streams: { [name]: nexts.map((next) => ({ epoch: 0, next: offset(next) })) },
})

/** What histories answer for every entity and feature. */
async function samplesOf(
  { catalog, stream, views }: CorrectedProject,
  history: readonly NaiveEvent[],
  asOf: { readonly asOfMs: number; readonly knownAsOfMs: number },
  position: Position,
): Promise<AuditSample[]> {
  const store = openMemoryOfflineStore()
  await store.prepare([tableOf(stream)])
  for (const batch of batchesOf(stream.name, history)) await store.insert(batch)
  const samples: AuditSample[] = []
  for (const entities of keys) {
    const values: AuditSample['values'][number][] = []
    for (const view of views) {
      const plan = planView(catalog, view.name, 0)
      const key = Object.fromEntries(view.keyFields.map((field) => [field, entities[field as 'who' | 'region']]))
      const finisher = new ViewFinisher(
        plan,
        view.features.map(({ name }) => name),
      )
      const builders = finisher.builders(1)
      finisher.finish(await fromHistory(store, plan, key, asOf, position), asOf, builders, 0)
      for (const column of builders.map((builder) => builder.build()))
        values.push({ name: column.name, status: column.statuses[0] as StatusCode, value: valueAt(column, 0) })
    }
    samples.push({ kind: 'as-of', service: '', entities, request: {}, ...asOf, position, values })
  }
  return samples
}

describe.each(['id', 'changelog'] as const)('the audit of a stream with corrections by %s', (kind) => {
  const project = corrected[kind]
  test(
    'agrees with histories at every (T, K, P), and finds what a correction would change',
    { timeout: 60_000 },
    async () => {
      let found = 0
      await fc.assert(
        fc.asyncProperty(
          generatedCorrections({ kind }),
          fc.array(fc.nat({ max: 30 }), { minLength: 3, maxLength: 3 }),
          fc.integer({ min: 0, max: 2_500 }),
          async (history, cuts, k) => {
            const nexts = cuts.map((cut, at) =>
              Math.min(cut, history.filter(({ partition }) => partition === at).length),
            )
            const position = positionOf('events', nexts)
            const asOf = { asOfMs: 1_001_200, knownAsOfMs: 1_000_000 + k }
            const samples = [
              ...(await samplesOf(project, history, asOf, position)),
              ...(await samplesOf(project, history, { ...asOf, knownAsOfMs: Infinity }, position)),
            ]
            const audit = (of: readonly NaiveEvent[]) =>
              auditSamples({ catalog: project.catalog, samples, readers: () => sourceOf(project, of) })
            expect((await audit(history)).mismatches).toEqual([])
            const without = history.map((event) => ({ ...event, op: kind === 'id' ? Op.insert : Op.upsert }))
            if ((await audit(without)).mismatched > 0) found++
          },
        ),
        { numRuns: 30 },
      )
      expect(found).toBeGreaterThan(10)
    },
  )
})

describe('explain', () => {
  let next = 0
  const record = (knownAtMs: number, op: OpCode, fields: Readonly<Record<string, Scalar>> = {}): NaiveEvent => ({
    partition: 1,
    offset: next++,
    eventTimeMs: 1_000,
    knownAtMs,
    op,
    fields: { id: 'x', line: 0, who: 'a', region: 0, i: 1, b: null, f: null, s: null, ok: null, at: 1_000, ...fields },
  })
  const explain = (project: CorrectedProject, events: readonly NaiveEvent[], knownAsOfMs = 5_000) =>
    explainValue({
      catalog: project.catalog,
      reference: 'people:n',
      entities: { who: 'a' },
      asOfMs: 1_100,
      knownAsOfMs,
      position: positionOf('events', [0, events.length, 0]),
      reader: sourceOf(project, events),
    })
  const place = (at: number, knownAtMs: number) => ({ partition: 1, offset: at, knownAtMs })

  test('names the retraction and the first one of a duplicate', async () => {
    next = 0
    const events = [
      record(1_010, Op.insert),
      record(1_020, Op.insert, { i: 2 }),
      record(1_030, Op.retract, { i: null }),
      record(1_040, Op.insert, { id: 'y' }),
    ]
    const now = await explain(corrected.id, events)
    expect([now.value, now.events.map(({ offset: at }) => at), now.excluded.corrected]).toEqual([1n, [3], 2])
    expect(now.corrected).toEqual([
      {
        stream: 'events',
        eventTimeMs: 1_000,
        ...place(0, 1_010),
        fields: {},
        by: { ...place(2, 1_030), op: 'retract' },
      },
      {
        stream: 'events',
        eventTimeMs: 1_000,
        ...place(1, 1_020),
        fields: {},
        by: { ...place(0, 1_010), op: 'insert' },
      },
    ])
    const before = await explain(corrected.id, events, 1_025)
    expect([before.value, before.corrected.length, before.excluded.notKnown]).toEqual([1n, 1, 1])
  })

  test('names the version that took the place of another, also when it is of another entity', async () => {
    next = 0
    const events = [
      record(1_010, Op.upsert),
      record(1_020, Op.upsert, { who: 'b' }),
      record(1_030, Op.upsert, { line: 1 }),
      record(1_040, Op.delete, { line: 1, who: null, region: null, i: null }),
    ]
    const now = await explain(corrected.changelog, events)
    expect([now.value, now.events, now.excluded.corrected]).toEqual([0n, [], 2])
    expect(now.corrected.map(({ offset: at, by }) => [at, by])).toEqual([
      [0, { ...place(1, 1_020), op: 'upsert' }],
      [2, { ...place(3, 1_040), op: 'delete' }],
    ])
    expect((await explain(corrected.changelog, events, 1_035)).value).toBe(1n)
  })
})
