import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { openMemoryOfflineStore } from '../../../connectors/memory/offline-store.ts'
import { MemoryOnlineStore } from '../../../connectors/memory/online-store.ts'
import { valueAt } from '../../../core/engine/feature-column.ts'
import { ViewFinisher } from '../../../core/engine/finish.ts'
import { planView } from '../../../core/engine/plan.ts'
import { type Position } from '../../../core/event/position.ts'
import type { Scalar } from '../../../core/event/types.ts'
import { Arena, copyVector } from '../../../serving/lookup/arena.ts'
import { Lookup } from '../../../serving/lookup/lookup.ts'
import type { LookupReply, LookupRequest } from '../../../serving/lookup/types.ts'
import { OnlineProjection } from '../../../worker/online-projection.ts'
import { batchOf, generatedEvent, logged } from '../../support/history.ts'
import { catalog, events as stream, people, places } from '../../worker/audit/system.ts'

const partitions = [0, 1, 2]
const names = [places, people].flatMap((view) => view.features.map(({ name }) => `${view.name}:${name}`))
const shards = 3

/** A store that two lookups read: one keeps vectors, one finishes every answer anew. */
async function openBoth(arenaBytesMax: number) {
  let nowMs = 1_000_000
  const store = new MemoryOnlineStore({ bytes: (length) => new Uint8Array(length).fill(7) })
  const settings = { shards, historyMs: 300, memoryBytesMax: 3_000 }
  const online = await OnlineProjection.start(catalog, store, 'log', settings)
  for (const partition of partitions) online.begin('events', partition, 0)
  const offline = openMemoryOfflineStore()
  await offline.prepare([{ stream: 'events', fields: stream.fields }])
  const open = (bytes: number): Lookup =>
    new Lookup({
      catalog,
      online: store,
      offline: async () => ({
        store: offline,
        position: async (): Promise<Position> => ({
          logId: 'log',
          streams: { events: await offline.positions('events', partitions.length) },
        }),
      }),
      clock: { nowMs: () => nowMs },
      shards,
      historyMs: 300,
      rowsMax: 20,
      cacheBytesMax: 2_048,
      arenaBytesMax: bytes,
      sleep: () => Promise.resolve(),
    })
  return {
    keeping: open(arenaBytesMax),
    plain: open(0),
    setNow: (ms: number) => (nowMs = ms),
    now: () => nowMs,
    async feed(batch: ReturnType<typeof batchOf>): Promise<void> {
      await online.apply(batch)
      await online.flush()
      await offline.insert(batch)
    },
  }
}

/** Bits, so that NaN and -0 differ from what they are not. */
const content = ({ columns, ...reply }: LookupReply) => ({
  ...reply,
  columns: columns.map(({ statuses, values, ...column }) => ({
    ...column,
    statuses: [...statuses],
    values:
      values.type === 'float64'
        ? [...new BigInt64Array(values.values.slice().buffer)]
        : values.type === 'list'
          ? { ends: [...values.ends], items: [...values.items.values], nulls: values.itemNulls }
          : [...values.values],
  })),
})

type Step =
  | { readonly kind: 'feed'; readonly partition: number; readonly count: number }
  | { readonly kind: 'wait'; readonly ms: number }
  | { readonly kind: 'ask'; readonly who: readonly number[]; readonly features: readonly string[] | null }
  | { readonly kind: 'past'; readonly ms: number }

const steps = fc.array(
  fc.oneof(
    {
      weight: 3,
      arbitrary: fc.record({
        kind: fc.constant('feed' as const),
        partition: fc.nat({ max: 2 }),
        count: fc.integer({ min: 1, max: 6 }),
      }),
    },
    {
      weight: 3,
      arbitrary: fc.record({
        kind: fc.constant('wait' as const),
        ms: fc.oneof(fc.integer({ min: 1, max: 30 }), fc.integer({ min: -50, max: 900 })),
      }),
    },
    {
      weight: 9,
      arbitrary: fc.record({
        kind: fc.constant('ask' as const),
        who: fc.array(fc.nat({ max: 9 }), { maxLength: 6 }),
        features: fc.oneof(fc.constant(null), fc.constant(names), fc.subarray(names, { minLength: 1 })),
      }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('past' as const), ms: fc.nat({ max: 3_000 }) }) },
  ),
  { minLength: 10, maxLength: 60, size: 'max' },
)

const asked: readonly (readonly [who: Scalar, region: Scalar])[] = [
  ...['a', 'b', 'ü\0', ''].flatMap((who) => [0, 1].map((region) => [who, region] as const)),
  ['nobody', 0],
  [null, 0],
]

function requestOf({ who, features }: Extract<Step, { kind: 'ask' }>): LookupRequest {
  const rows = who.map((index) => asked[index] as (typeof asked)[number])
  const entities = { who: rows.map(([name]) => name), region: rows.map(([, region]) => region) }
  return features === null
    ? { service: 'risk', entities, request: { limit: rows.map((_, row) => row) } }
    : { features, entities: usedOf(features, entities), request: {} }
}

/** Features of people alone have no region. */
const usedOf = (features: readonly string[], { who, region }: Record<'who' | 'region', Scalar[]>) =>
  features.some((name) => name.startsWith('places:')) ? { who, region } : { who }

describe('a lookup that keeps finished vectors', () => {
  for (const [title, arenaBytesMax] of [
    ['with room', 2_000_000],
    ['with room for a few blocks', 100_000],
    ['with hardly any', 20_000],
  ] as const) {
    it(`${title} answers as one that keeps none, whatever is asked, flushed and waited for`, async () => {
      const total = { hits: 0, misses: 0, evictions: 0 }
      await fc.assert(
        fc.asyncProperty(
          fc.array(generatedEvent(6_000, 500), { maxLength: 80, size: 'max' }),
          steps,
          async (events, todo) => {
            const both = await openBoth(arenaBytesMax)
            const logs = partitions.map((partition) => logged(events).filter((event) => event.partition === partition))
            for (const partition of partitions)
              await both.feed(batchOf('events', partition, logs[partition]?.splice(0, 5) ?? []))
            const ask = async (request: LookupRequest): Promise<void> =>
              expect(content(await both.keeping.getFeatures(request))).toEqual(
                content(await both.plain.getFeatures(request)),
              )
            for (const step of todo) {
              if (step.kind === 'wait') both.setNow(both.now() + step.ms)
              else if (step.kind === 'feed') {
                const own = logs[step.partition]?.splice(0, step.count) ?? []
                if (own.length > 0) await both.feed(batchOf('events', step.partition, own))
              } else if (step.kind === 'ask') await ask(requestOf(step))
              else {
                const asOfMs = both.now() - step.ms
                await ask({ ...requestOf({ kind: 'ask', who: [0, 3, 8], features: null }), asOfMs })
              }
              expect(both.keeping.arena.bytes).toBeLessThanOrEqual(arenaBytesMax)
            }
            const { hits, misses, evictions } = both.keeping.arena
            total.hits += hits
            total.misses += misses
            total.evictions += evictions
            expect(both.plain.arena).toEqual({ hits: 0, misses: 0, evictions: 0, bytes: 0 })
          },
        ),
        { numRuns: Math.ceil(Number(process.env['TIDEMARK_PROPERTY_RUNS'] ?? 150) / 3) },
      )
      if (arenaBytesMax > 20_000) expect(total.hits).toBeGreaterThan(total.misses / 25)
      expect(total.misses).toBeGreaterThan(100)
      if (arenaBytesMax === 100_000) expect(total.evictions).toBeGreaterThan(100)
    }, 60_000)
  }
})

describe('an arena', () => {
  it('gives back the last vector kept for a key, or none, whatever was dropped', () => {
    const plan = planView(catalog, 'people', 300)
    const keeps = fc.array(
      fc.record({
        view: fc.nat({ max: 1 }),
        key: fc.nat({ max: 400 }),
        value: fc.nat({ max: 1_000 }),
        rowBytes: fc.oneof(fc.constant(-1), fc.integer({ min: 1, max: 5_000 })),
      }),
      { minLength: 300, maxLength: 600, size: 'max' },
    )
    let dropped = 0
    fc.assert(
      fc.property(keeps, (todo) => {
        const arena = new Arena(200_000)
        const finishers = [new ViewFinisher(plan, ['n']), new ViewFinisher(plan, ['n', 'f_max'])]
        const model = new Map<string, { readonly value: number; readonly row: Uint8Array | null }>()
        const version = 1
        for (const { view, key, value, rowBytes } of todo) {
          const finisher = finishers[view] as ViewFinisher
          const row = rowBytes < 0 ? null : new Uint8Array(rowBytes).fill(value)
          const builders = finisher.builders(1)
          for (const builder of builders) builder.setValue(0, value)
          arena.of(finisher).keep(`${key}`, 5, version, { row, events: null }, builders, 0)
          model.set(`${view}/${key}`, { value, row })
          expect(arena.bytes).toBeLessThanOrEqual(arena.bytesMax)
        }
        let found = 0
        for (const [name, { value, row }] of model) {
          const finisher = finishers[Number(name[0])] as ViewFinisher
          const vectors = arena.of(finisher)
          const place = vectors.find(name.slice(2), 7, version)
          expect(vectors.find(name.slice(2), 4, version)).toBeUndefined()
          expect(vectors.find(name.slice(2), 7, version + 1)).toBeUndefined()
          const byRow = vectors.findByRow(name.slice(2), 7, version, row)
          if (byRow !== undefined) expect(byRow).toBe(place)
          expect(vectors.findByRow(name.slice(2), 7, version, Uint8Array.of(1, 2))).toBeUndefined()
          if (place === undefined) continue
          found++
          const builders = finisher.builders(2)
          copyVector(place, builders, 1)
          for (const builder of builders) expect(Number(valueAt(builder.build(), 1))).toBe(value)
        }
        expect(found).toBeGreaterThan(0)
        expect(found + arena.counts.evictions).toBeGreaterThanOrEqual(model.size)
        dropped += model.size - found
      }),
      { numRuns: 40 },
    )
    expect(dropped).toBeGreaterThan(100)
  })
})
