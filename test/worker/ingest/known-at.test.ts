/** Into a log that raises timestamps as it appends: what jumps is refused before it is there, since it would raise the rest. */
import { describe, expect, it } from 'vitest'
import { MemoryLog } from '../../../connectors/memory/log.ts'
import { string, timestamp } from '../../../core/definition/fields.ts'
import { stream } from '../../../core/definition/stream.ts'
import { offset } from '../../../core/event/position.ts'
import type { EventLog } from '../../../core/ports/event-log.ts'
import { streamSchema } from '../../../schemas/avro/index.ts'
import { StreamReader } from '../../../schemas/stream-reader.ts'
import { appendLines } from '../../../worker/ingest/append.ts'
import { importTable } from '../../../worker/ingest/import.ts'

const taps = (maxKnownAtJump?: number) =>
  stream('taps', {
    fields: { at: timestamp(), who: string() },
    eventTime: 'at',
    partitions: 2,
    ...(maxKnownAtJump === undefined ? {} : { maxKnownAtJump }),
  })

async function openLog(): Promise<MemoryLog> {
  const log = new MemoryLog('log')
  await log.create('taps', { partitions: 2 })
  return log
}

const line = (_knownAt: number, _partition = 0): string =>
  JSON.stringify({ at: _knownAt, who: 'a', _knownAt, _partition })

const append = (log: EventLog, lines: readonly string[], of = taps(50)) =>
  appendLines({ log, putSchema: () => null, stream: of, clock: { nowMs: () => 0 }, lines })

async function knownAts(log: EventLog, of = taps(50)): Promise<number[]> {
  const reader = new StreamReader({ log, stream: of, schemas: () => streamSchema('taps', of.fields) })
  await reader.refresh()
  const batches = [await reader.read(0, offset(0), 1_000_000), await reader.read(1, offset(0), 1_000_000)]
  return batches.flatMap((batch) => [
    ...(batch?.knownAts ?? []).slice(0, batch?.count),
    ...(batch?.dead ?? []).map(({ knownAt }) => -knownAt),
  ])
}

describe('maxKnownAtJump of a log that raises', () => {
  it('refuses the line that jumps, by partition; those before it are in the log', async () => {
    const log = await openLog()
    // The first record of a partition has nothing to jump from; one that goes back is raised.
    await append(log, [line(1_000), line(900), line(1_050), line(5_000, 1)])
    await expect(append(log, [line(1_100), line(1_151), line(1_101)])).rejects.toMatchObject({
      code: 'FS_EVENT_INVALID',
      message: expect.stringContaining(
        'line 2: known at 1151, 51 ms beyond all that taps/0 has: more than maxKnownAtJump of 50ms (1 events before it',
      ) as unknown,
    })
    await append(log, [line(1_150), line(5_050, 1)])
    expect(await knownAts(log)).toEqual([1_000, 1_000, 1_050, 1_100, 1_150, 5_000, 5_050])
  })

  it('counts what others append meanwhile', async () => {
    const log = await openLog()
    await append(log, [line(1_000)])
    const lines = async function* () {
      yield line(1_010)
      await append(log, [line(1_050)])
      yield line(1_100)
    }
    await appendLines({ log, putSchema: () => null, stream: taps(50), clock: { nowMs: () => 0 }, lines: lines() })
    expect(await knownAts(log)).toEqual([1_000, 1_050, 1_050, 1_100])
  })

  it('refuses a file whose rows lie further apart; it goes on once they may', async () => {
    const log = await openLog()
    const column = Float64Array.of(100, 150, 201)
    const table = {
      rowCount: 3,
      columns: {
        at: { type: 'timestamp' as const, values: column, nulls: null },
        who: { type: 'string' as const, values: new Int32Array(3), table: { strings: ['a'] }, nulls: null },
      },
    }
    const importAs = (of: ReturnType<typeof taps>) =>
      importTable({ log, putSchema: () => null, stream: of, table, digest: '00' })
    await expect(importAs(taps(50))).rejects.toMatchObject({ code: 'FS_DEAD_KNOWN_AT' })
    expect(await importAs(taps(51))).toMatchObject({ appended: 3 })
    expect(await knownAts(log, taps(51))).toEqual([100, 150, 201])
    // Declared later: what is there stays, and is judged by the definition alone.
    expect(await knownAts(log, taps(50))).toEqual([100, 150, -150])
  })

  it('refuses nothing without a bound, nor where times stay as they are given', async () => {
    const log = await openLog()
    await append(log, [line(1_000), line(10_000)], taps())
    const traits = {
      offsets: 'dense',
      timestamps: 'given',
      epochs: 'counted',
      producers: 'kept',
      batches: 'kept',
    } as const
    const given: EventLog = Object.assign(Object.create(log) as MemoryLog, { traits })
    expect(await append(given, [line(99_000), line(10_001)])).toMatchObject({ appended: 2 })
  })
})
