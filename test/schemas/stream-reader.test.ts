import { describe, expect, it } from 'vitest'
import { MemoryLog } from '../../connectors/memory/log.ts'
import { string, timestamp } from '../../core/definition/fields.ts'
import { stream } from '../../core/definition/stream.ts'
import { scalarAt } from '../../core/event/column.ts'
import { offset, type Offset } from '../../core/event/position.ts'
import type { Column, StringTable } from '../../core/event/types.ts'
import type { EventLog } from '../../core/ports/event-log.ts'
import { compileEncoder, streamSchema } from '../../schemas/avro/index.ts'
import { StreamReader } from '../../schemas/stream-reader.ts'

const visits = stream('visits', { fields: { at: timestamp(), who: string() }, eventTime: 'at' })
const schema = streamSchema(visits.name, visits.fields)

async function logOf(batches: number, each: number): Promise<MemoryLog> {
  const log = new MemoryLog()
  await log.create(visits.name, { partitions: 1 })
  const encoder = compileEncoder(schema)
  for (let batch = 0; batch < batches; batch++)
    await log.append(
      visits.name,
      0,
      Array.from({ length: each }, (_, row) => ({
        key: null,
        value: encoder.encode({ at: row, who: `visitor ${batch}-${row}` }),
        timestampMs: row,
      })),
    )
  return log
}

describe('a stream reader', () => {
  it('gives batches that begin where they were asked for, also before the first record of a log with gaps', async () => {
    const log = await logOf(1, 3)
    // As after a transaction that was aborted: offsets 0 to 9 belong to no record.
    const gap = 10
    const moved: EventLog = Object.assign(Object.create(log) as MemoryLog, {
      fetch: async (name: string, partition: number, from: Offset) => {
        const { bytes } = await log.fetch(name, partition, offset(0), 1)
        if (from >= gap + 3) return { bytes: new Uint8Array(0), baseOffset: from, nextOffset: from }
        const own = bytes.slice()
        new DataView(own.buffer).setBigInt64(0, BigInt(gap))
        return { bytes: own, baseOffset: offset(gap), nextOffset: offset(gap + 3) }
      },
    })
    const reader = new StreamReader({ log: moved, stream: visits, schemas: () => schema })
    const batch = await reader.read(0, offset(4), 1)
    expect(batch).toMatchObject({ firstOffset: 4, nextOffset: 13, count: 3 })
    expect([...(batch?.offsets ?? [])]).toEqual([10, 11, 12])
    expect(await reader.read(0, offset(12), 1)).toMatchObject({ firstOffset: 12, count: 1 })
  })

  it('begins its string tables anew when they are full, and reads on', async () => {
    const log = await logOf(6, 2_000)
    const reader = new StreamReader({ log, stream: visits, schemas: () => schema, tableBytesMax: 100_000, reuse: true })
    await reader.refresh()
    const tables = new Set<StringTable>()
    const seen: unknown[] = []
    for (let at = offset(0); ;) {
      const batch = await reader.read(0, at, 1)
      if (batch === null) break
      const column = batch.columns['who'] as Column & { readonly type: 'string' }
      tables.add(column.table)
      for (let row = 0; row < batch.count; row++) seen.push(scalarAt(column, row))
      at = batch.nextOffset
    }
    const expected = Array.from({ length: 12_000 }, (_, at) => `visitor ${Math.floor(at / 2_000)}-${at % 2_000}`)
    expect(seen).toEqual(expected)
    expect(tables.size).toBeGreaterThan(2)
  })
})
