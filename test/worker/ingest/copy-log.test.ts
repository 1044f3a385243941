import { describe, expect, it } from 'vitest'
import { MemoryLog } from '../../../connectors/memory/log.ts'
import { offset } from '../../../core/event/position.ts'
import type { EventLog, LogRecord } from '../../../core/ports/event-log.ts'
import { RecordCursor } from '../../../schemas/recordbatch/index.ts'
import { copyStream } from '../../../worker/ingest/copy-log.ts'

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)
const record = (at: number, key: string | null = `k${at}`): LogRecord => ({
  key: key === null ? null : bytes(key),
  value: bytes(`value ${at}`),
  timestampMs: 1_000 + at,
})
const producerId = 77n

async function sourceLog(): Promise<MemoryLog> {
  const log = new MemoryLog('source')
  await log.create('taps', { partitions: 2 })
  await log.append('taps', 0, [record(0), record(1, null), record(2)], { producerId, baseSequence: 0 })
  await log.append('taps', 0, [record(3)])
  await log.append('taps', 0, [record(4), record(5)], { producerId, baseSequence: 3 })
  await log.append('taps', 1, [record(6)])
  return log
}

async function contents(log: EventLog): Promise<string[]> {
  const found: string[] = []
  for (const [partition, { end }] of ((await log.describe('taps')) ?? []).entries())
    for (let next = offset(0); next < end;) {
      const chunk = await log.fetch('taps', partition, next, 1_000_000)
      const cursor = new RecordCursor()
      cursor.reset(chunk.bytes)
      while (cursor.next()) {
        const text = (from: number, to: number): string => Buffer.from(cursor.bytes.subarray(from, to)).toString()
        const key = cursor.keyStart < 0 ? null : text(cursor.keyStart, cursor.keyEnd)
        found.push(
          `${partition}@${cursor.offset} ${key} ${text(cursor.valueStart, cursor.valueEnd)} ${cursor.timestampMs}`,
        )
      }
      next = chunk.nextOffset
    }
  return found
}

describe('a copy of a log', () => {
  it('has every record at its offset, and goes on with its producers', async () => {
    const [from, to] = [await sourceLog(), new MemoryLog('target')]
    expect(await copyStream(from, to, 'taps')).toEqual({ stream: 'taps', records: 7, copied: 7 })
    expect(await contents(to)).toEqual(await contents(from))
    expect(await to.nextSequence('taps', 0, producerId)).toBe(5)
    expect(await copyStream(from, to, 'taps')).toEqual({ stream: 'taps', records: 7, copied: 0 })
  })

  it('goes on wherever it was cut short', async () => {
    const from = await sourceLog()
    for (let cut = 1; cut <= 6; cut++) {
      const to = new MemoryLog('target')
      let left = cut
      const failing: EventLog = {
        logId: to.logId,
        create: (...given) => to.create(...given),
        describe: (stream) => to.describe(stream),
        fetch: (...given) => to.fetch(...given),
        nextSequence: (...given) => to.nextSequence(...given),
        append: async (...given) => {
          if (--left === 0) throw new Error('cut')
          return to.append(...given)
        },
      }
      await copyStream(from, failing, 'taps').catch(() => {})
      await copyStream(from, to, 'taps')
      expect(await contents(to)).toEqual(await contents(from))
    }
  })

  it('refuses a target with other records', async () => {
    const from = await sourceLog()
    const other = new MemoryLog('target')
    await other.create('taps', { partitions: 2 })
    await other.append('taps', 0, [record(9)])
    const longer = new MemoryLog('target')
    await copyStream(from, longer, 'taps')
    await longer.append('taps', 1, [record(9)])
    for (const to of [other, longer])
      await expect(copyStream(from, to, 'taps')).rejects.toMatchObject({ code: 'FS_COPY_DIFFERS' })
    await expect(copyStream(from, new MemoryLog('target'), 'none')).rejects.toMatchObject({ code: 'FS_STREAM_UNKNOWN' })
  })
})
