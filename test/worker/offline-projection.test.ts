import { expect, it } from 'vitest'
import { MemoryLog } from '../../connectors/memory/log.ts'
import { openMemoryOfflineStore } from '../../connectors/memory/offline-store.ts'
import { int32, timestamp } from '../../core/definition/fields.ts'
import { stream } from '../../core/definition/stream.ts'
import type { PartitionPosition } from '../../core/event/position.ts'
import type { EventLog } from '../../core/ports/event-log.ts'
import type { OfflineStore } from '../../core/ports/offline-store.ts'
import { compileEncoder, streamSchema } from '../../schemas/avro/index.ts'
import { StreamReader } from '../../schemas/stream-reader.ts'
import { OfflineProjection } from '../../worker/offline-projection.ts'

const taps = stream('taps', { fields: { at: timestamp(), card: int32() }, eventTime: 'at' })
const schema = streamSchema('taps', taps.fields)
const encoder = compileEncoder(schema)

async function append(log: MemoryLog, count: number, partition = 0): Promise<void> {
  const records = Array.from({ length: count }, (_, card) => ({
    key: null,
    value: encoder.encode({ at: 1_000, card }).slice(),
    timestampMs: 1_000,
  }))
  await log.append('taps', partition, records)
}

it('a table that a predecessor fills while its successor starts is not dropped', async () => {
  await using log = new MemoryLog()
  await log.create('taps', { partitions: 1 })
  await append(log, 3)
  const store = openMemoryOfflineStore()
  const reader = (): StreamReader => new StreamReader({ log, stream: taps, schemas: () => schema })
  const predecessor = await OfflineProjection.start(store, reader(), 1 << 20, 1 << 24)
  let drops = 0
  const meanwhile: OfflineStore = {
    prepare: (tables) => store.prepare(tables),
    pending: (name) => store.pending(name),
    insert: (batch) => store.insert(batch),
    events: (query) => store.events(query),
    drop: (name) => {
      drops++
      return store.drop(name)
    },
    // The log has been looked at; before the table is, both grow.
    positions: async (name, partitions): Promise<readonly PartitionPosition[]> => {
      await append(log, 2)
      await predecessor.step(0)
      return store.positions(name, partitions)
    },
  }
  const successor = await OfflineProjection.start(meanwhile, reader(), 1 << 20, 1 << 24)
  expect(drops).toBe(0)
  expect(successor.positions.map(({ next }) => next)).toEqual([5])
})

it('a partition that was added is read from its first record on; a table of more than the log has is filled again', async () => {
  await using log = new MemoryLog()
  await log.create('taps', { partitions: 3 })
  let partitions = 1
  const growing: EventLog = Object.assign(Object.create(log) as MemoryLog, {
    describe: async (name: string) => (await log.describe(name))?.slice(0, partitions) ?? null,
  })
  const reader = (): StreamReader => new StreamReader({ log: growing, stream: taps, schemas: () => schema })
  for (const [partition, count] of [3, 4, 5].entries()) await append(log, count, partition)
  const store = openMemoryOfflineStore()
  const source = reader()
  const projection = await OfflineProjection.start(store, source, 1 << 20, 1 << 26)
  const follow = async (): Promise<void> => {
    const { length } = await source.refresh()
    for (let partition = 0; partition < length; partition++) while ((await projection.step(partition)) > 0);
  }
  await follow()
  expect(await store.positions('taps', 1)).toEqual([{ epoch: 0, next: 3 }])
  partitions = 3
  await follow()
  expect(projection.applied).toBe(12)
  expect((await store.positions('taps', 1)).map(({ next }) => next)).toEqual([3, 4, 5])
  expect((await OfflineProjection.start(store, reader(), 1 << 20, 1 << 26)).applied).toBe(12)
  partitions = 2
  expect((await OfflineProjection.start(store, reader(), 1 << 20, 1 << 26)).positions.map(({ next }) => next)).toEqual([
    0, 0,
  ])
})
