import { expect, it } from 'vitest'
import { MemoryLog } from '../../connectors/memory/log.ts'
import { openMemoryOfflineStore } from '../../connectors/memory/offline-store.ts'
import { int32, timestamp } from '../../core/definition/fields.ts'
import { stream } from '../../core/definition/stream.ts'
import type { PartitionPosition } from '../../core/event/position.ts'
import type { OfflineStore } from '../../core/ports/offline-store.ts'
import { compileEncoder, streamSchema } from '../../schemas/avro/index.ts'
import { StreamReader } from '../../schemas/stream-reader.ts'
import { OfflineProjection } from '../../worker/offline-projection.ts'

const taps = stream('taps', { fields: { at: timestamp(), card: int32() }, eventTime: 'at' })
const schema = streamSchema('taps', taps.fields)
const encoder = compileEncoder(schema)

async function append(log: MemoryLog, count: number): Promise<void> {
  const records = Array.from({ length: count }, (_, card) => ({
    key: null,
    value: encoder.encode({ at: 1_000, card }).slice(),
    timestampMs: 1_000,
  }))
  await log.append('taps', 0, records)
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
