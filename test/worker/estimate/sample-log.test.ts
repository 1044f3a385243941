import { expect, test } from 'vitest'
import { MemoryLog } from '../../../connectors/memory/log.ts'
import { buildCatalog } from '../../../core/definition/catalog.ts'
import { int32, string, timestamp } from '../../../core/definition/fields.ts'
import { count, days } from '../../../core/definition/functions.ts'
import { entity, stream } from '../../../core/definition/stream.ts'
import { view } from '../../../core/definition/view.ts'
import { planView } from '../../../core/engine/plan.ts'
import { partitionOf } from '../../../core/event/key.ts'
import type { ViewSample } from '../../../core/registry/estimate.ts'
import { compileEncoder, streamSchema } from '../../../schemas/avro/index.ts'
import { StreamReader } from '../../../schemas/stream-reader.ts'
import { sampledFields, sampleViews, type SampleLimits } from '../../../worker/estimate/sample-log.ts'

const partitions = 4
const taps = stream('taps', {
  fields: { at: timestamp(), card: string(), shop: int32(), amount: int32() },
  eventTime: 'at',
  key: ['card'],
  partitions,
})
const card = entity('card', { key: { card: string() } })
const shop = entity('shop', { key: { shop: int32() } })
const byCard = view('by_card', { from: taps, entity: card, features: () => ({ n: count().over(days(1)) }) })
const byShop = view('by_shop', { from: taps, entity: shop, features: () => ({ n: count().over(days(1)) }) })
const catalog = buildCatalog([taps, card, shop, byCard, byShop])
const plans = [planView(catalog, 'by_card', 0), planView(catalog, 'by_shop', 0)]

interface Tap {
  readonly at: number
  readonly card: string
  readonly shop: number
}
const start = Date.UTC(2026, 0, 1)
const schema = streamSchema('taps', taps.fields)
const encoder = compileEncoder(schema)

async function logOf(taps: readonly Tap[], perBatch = 500): Promise<MemoryLog> {
  const log = new MemoryLog()
  await log.create('taps', { partitions })
  const pending = Array.from({ length: partitions }, () => [] as Tap[])
  const write = async (partition: number): Promise<void> => {
    const records = (pending[partition] as Tap[])
      .splice(0)
      .map((tap) => ({ key: null, value: encoder.encode({ ...tap, amount: 1 }), timestampMs: tap.at }))
    if (records.length > 0) await log.append('taps', partition, records)
  }
  for (const tap of taps) {
    const partition = partitionOf(Buffer.from(tap.card), partitions)
    if ((pending[partition] as Tap[]).push(tap) === perBatch) await write(partition)
  }
  for (let partition = 0; partition < partitions; partition++) await write(partition)
  return log
}

const readerOf = (log: MemoryLog): StreamReader =>
  new StreamReader({ log, stream: taps, schemas: () => schema, projection: sampledFields(plans) })

const sampled = async (log: MemoryLog, limits?: SampleLimits): Promise<readonly ViewSample[]> => {
  const samples = await sampleViews(readerOf(log), plans, limits)
  if (samples === null) throw new Error('nothing was sampled')
  return samples
}

test('a log below the limits is counted whole', async () => {
  const log = await logOf(
    Array.from({ length: 3_000 }, (_, index) => ({
      at: start + index * 1_000,
      card: index % 3 === 0 ? 'hot' : index < 10 ? `once ${index}` : `card ${index % 7}`,
      shop: index % 2,
    })),
  )
  const [cards, shops] = await sampled(log)
  expect(cards).toEqual({
    records: 3_000,
    sampled: 3_000,
    events: 3_000,
    // The quantiles are those of an even stream.
    spanMs: 2_999_000,
    distinct: 1 + 6 + 7,
    once: 6,
    hottestEvents: 1_000,
    hottestSampled: 1_000,
  })
  expect(shops).toMatchObject({ events: 3_000, distinct: 2, once: 0, hottestEvents: 1_500 })
})

test('of a long log evenly spaced chunks are enough: rates, the hottest entity and the span come out', async () => {
  const total = 100_000
  const log = await logOf(
    Array.from({ length: total }, (_, index) => ({
      at: start + index * 100,
      // One in five is of one card, in a partition that is fuller than the others.
      card: index % 5 === 0 ? 'hot' : `card ${(index * 7919) % 1_000}`,
      shop: (index * 31) % 50,
    })),
  )
  const limits = { recordsMax: 10_000, bytesMax: 64 * 2 ** 20 }
  const [cards, shops] = (await sampled(log, limits)) as readonly [ViewSample, ViewSample]
  expect(cards.records).toBe(total)
  expect(cards.sampled).toBeLessThanOrEqual(10_000)
  expect(cards.sampled).toBeGreaterThan(9_000)
  const near = (value: number, wanted: number): void => {
    expect(value).toBeGreaterThan(wanted * 0.93)
    expect(value).toBeLessThan(wanted * 1.07)
  }
  near(cards.events, total)
  near(cards.hottestEvents, total / 5)
  near(cards.spanMs, total * 100)
  near(shops.hottestEvents, total / 50)
  expect(shops.distinct).toBe(50)
})

test('few bytes allowed are few bytes asked', async () => {
  const log = await logOf(Array.from({ length: 50_000 }, (_, index) => ({ at: start + index, card: 'a', shop: 1 })))
  let asked = 0
  const fetch = log.fetch.bind(log)
  log.fetch = (stream, partition, from, maxBytes) => {
    asked += maxBytes
    return fetch(stream, partition, from, maxBytes)
  }
  const [cards] = await sampled(log, { recordsMax: 50_000, bytesMax: 300_000 })
  // At least one fetch a chunk.
  expect(asked).toBeLessThanOrEqual(32 * 64 * 1024)
  expect(cards).toMatchObject({ records: 50_000, hottestEvents: 50_000, distinct: 1 })
})

test('one clock of 1970 does not make every rate small, and what the view refuses is not counted', async () => {
  const even = Array.from({ length: 1_000 }, (_, index) => ({ at: start + index * 1_000, card: 'a', shop: 1 }))
  const log = await logOf([...even, { at: 0, card: 'a', shop: 1 }])
  const [cards] = (await sampled(log)) as readonly [ViewSample]
  expect(cards.spanMs).toBeGreaterThan(990_000)
  expect(cards.spanMs).toBeLessThan(1_010_000)
  const early = new MemoryLog()
  await early.create('taps', { partitions })
  const value = encoder.encode({ at: Date.UTC(9998, 11, 1), card: 'a', shop: 1, amount: 1 })
  await early.append('taps', 0, [{ key: null, value, timestampMs: start }])
  expect(await sampled(early)).toMatchObject([{ records: 1, sampled: 1, events: 0, distinct: 0, hottestEvents: 0 }, {}])
})

test('an empty stream is no sample, and a stream that is not there is refused', async () => {
  const log = new MemoryLog()
  await expect(sampleViews(readerOf(log), plans)).rejects.toMatchObject({ code: 'FS_STREAM_UNKNOWN' })
  await log.create('taps', { partitions })
  expect(await sampleViews(readerOf(log), plans)).toBeNull()
})
