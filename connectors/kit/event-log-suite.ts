import assert from 'node:assert/strict'
import { type ErrorCode, FeatureStoreError } from '../../core/errors.ts'
import { offset, type Offset, offsetZero } from '../../core/event/position.ts'
import {
  type EventLog,
  type EventLogTraits,
  type KnownAtSource,
  lawfulTraits,
  type LogRecord,
} from '../../core/ports/event-log.ts'
import { batchHeader, RecordCursor } from '../../schemas/recordbatch/index.ts'

/** The two functions of a test runner that a suite needs. */
export interface TestRunner {
  describe(name: string, body: () => void): void
  it(name: string, body: () => Promise<void>): void
}

export type OpenEventLog = () => Promise<EventLog & AsyncDisposable>

const stream = 'clicks'
const fetchBytes = 64 * 1024
const text = new TextEncoder()

/**
 * The laws of the EventLog port (core/ports/event-log.ts). `open` gives a new, empty log each time. `knownAt`: whose time
 * records bear, of a log that can keep either.
 */
export function eventLogSuite(
  name: string,
  open: OpenEventLog,
  { describe, it }: TestRunner,
  knownAt: KnownAtSource = 'createTime',
): void {
  const timestampsOf = (log: EventLog): 'raised' | 'given' | 'appended' => {
    const { timestamps } = traitsOf(log)
    return timestamps !== 'declared' ? timestamps : knownAt === 'createTime' ? 'given' : 'appended'
  }
  /** As it was written; but for the time, where the system has its own. */
  const same = (log: EventLog, read: readonly LogRecord[], written: readonly LogRecord[]): void => {
    if (timestampsOf(log) !== 'appended') return assert.deepEqual(read, written)
    const timeless = (records: readonly LogRecord[]) => records.map(({ key, value }) => ({ key, value }))
    assert.deepEqual(timeless(read), timeless(written))
  }
  const law = (title: string, body: (log: EventLog & AsyncDisposable) => Promise<void>): void =>
    it(title, async () => {
      await using log = await open()
      await log.create(stream, { partitions: 2, knownAt })
      await body(log)
    })

  describe(`event log: ${name}`, () => {
    law('a stream is made once, with a number of partitions that stays', async (log) => {
      await log.create(stream, { partitions: 2 })
      await rejects(log.create(stream, { partitions: 3 }), 'FS_DEFINITION_INVALID')
      await rejects(log.create('no', { partitions: 0 }), 'FS_DEFINITION_INVALID')
      await rejects(log.create('../up', { partitions: 1 }), 'FS_DEFINITION_INVALID')
      assert.equal(await log.describe('other'), null)
      const epoch = await epochOf(log)
      assert.ok(traitsOf(log).epochs === 'counted' ? epoch === 0 : Number.isSafeInteger(epoch) && epoch > 0)
      const fresh = { epochs: [{ epoch, firstOffset: offsetZero }], start: offsetZero, end: offsetZero }
      assert.deepEqual(await log.describe(stream), [fresh, fresh])
    })

    law('it says how a stream is kept, or would be: here everything, for ever', async (log) => {
      if (log.inspect === undefined) return
      const asked = { partitions: 3, knownAt }
      const kept = await log.inspect([
        { ...asked, stream: 'other' },
        { ...asked, stream },
      ])
      assert.deepEqual(
        kept.map(({ isThere, partitions }) => [isThere, partitions]),
        [
          [false, 3],
          [true, 2],
        ],
      )
      for (const { isCompacted, retentionMs, retentionBytes, knownAt: found, system } of kept) {
        assert.deepEqual([isCompacted, retentionMs, retentionBytes], [false, null, null])
        assert.equal(found, traitsOf(log).timestamps === 'declared' ? knownAt : null)
        assert.equal(system === null, found === null)
      }
      assert.equal(await log.describe('other'), null)
    })

    law('what was appended is read in order, byte for byte, from every offset', async (log) => {
      const written: LogRecord[] = []
      const epoch = await epochOf(log)
      for (let index = 0; index < 40; index++) {
        const records = recordsFrom(written.length, 1 + ((index * 7) % 13))
        const result = await log.append(stream, 1, records)
        assert.deepEqual(result, {
          epoch,
          firstOffset: written.length,
          nextOffset: written.length + records.length,
          clamped: 0,
        })
        written.push(...records)
      }
      for (let from = 0; from <= written.length; from++)
        same(log, await readAll(log, 1, offset(from), 500), written.slice(from))
      assert.equal((await log.describe(stream))?.[1]?.end, written.length)
      assert.equal((await log.describe(stream))?.[0]?.end, 0)
    })

    law('an append is one whole batch, read whole', async (log) => {
      await log.append(stream, 0, recordsFrom(0, 1000))
      const chunk = await log.fetch(stream, 0, offset(999), 1)
      if (traitsOf(log).batches === 'made') return assert.equal(chunk.nextOffset, 1000)
      assert.equal(chunk.baseOffset, 0)
      assert.equal(chunk.nextOffset, 1000)
      assert.equal(batchHeader(chunk.bytes, 0).recordCount, 1000)
      assert.equal(batchHeader(chunk.bytes, 0).byteLength, chunk.bytes.length)
    })

    law('a fetch takes at least one batch, and no more bytes than asked where that leaves one', async (log) => {
      const tenEqual = Array.from({ length: 10 }, () => recordAt(1))
      for (let index = 0; index < 20; index++) await log.append(stream, 0, tenEqual)
      const one = (await log.fetch(stream, 0, offsetZero, 0)).bytes.length
      const some = await log.fetch(stream, 0, offset(15), one * 3 + 20)
      if (traitsOf(log).batches === 'made') return assert.ok(some.nextOffset > 15)
      assert.equal(some.baseOffset, 10)
      assert.equal(some.nextOffset, 40)
    })

    law('a fetch at the end is empty, beyond it is refused', async (log) => {
      await log.append(stream, 0, recordsFrom(0, 3))
      const chunk = await log.fetch(stream, 0, offset(3), fetchBytes)
      assert.equal(chunk.bytes.length, 0)
      assert.equal(chunk.nextOffset, 3)
      await rejects(log.fetch(stream, 0, offset(4), fetchBytes), 'FS_REQUEST_INVALID')
      await rejects(log.fetch(stream, 0, offset(-1), fetchBytes), 'FS_REQUEST_INVALID')
    })

    law('timestamps are raised to the newest and counted, or as the traits say', async (log) => {
      const times = [5, 9, 3, 9, 2 ** 41, -7, 1]
      const clamped: number[] = []
      for (const [from, to] of [
        [0, 3],
        [3, 6],
        [6, 7],
      ] as const)
        clamped.push((await log.append(stream, 0, times.slice(from, to).map(recordAt))).clamped)
      assert.equal((await log.append(stream, 1, [recordAt(-(2 ** 40))])).clamped, 0)
      const read = (await readAll(log, 0, offsetZero, fetchBytes)).map(({ timestampMs }) => timestampMs)
      const other = (await readAll(log, 1, offsetZero, fetchBytes)).map(({ timestampMs }) => timestampMs)
      const timestamps = timestampsOf(log)
      assert.deepEqual(clamped, timestamps === 'raised' ? [1, 1, 1] : [0, 0, 0])
      if (timestamps === 'raised') assert.deepEqual(read, [5, 9, 9, 9, 2 ** 41, 2 ** 41, 2 ** 41])
      if (timestamps === 'given') assert.deepEqual(read, times)
      if (timestamps !== 'appended') return assert.deepEqual(other, [-(2 ** 40)])
      // None of the given ones: the system's time, the same for a whole append and later for a later one.
      assert.equal(read.length, times.length)
      assert.ok(read.every((time, index) => time > 1e12 && time < 2 ** 41 && time >= (read[index - 1] ?? 0)))
      assert.ok(read[0] === read[2] && read[3] === read[5])
    })

    law('a producer appends each sequence once', async (log) => {
      const producerId = 2n ** 62n + 1n
      if (traitsOf(log).producers === 'none') {
        await rejects(log.append(stream, 0, recordsFrom(0, 1), { producerId, baseSequence: 0 }), 'FS_NOT_YET')
        return
      }
      assert.equal(await log.nextSequence(stream, 0, producerId), 0)
      await log.append(stream, 0, recordsFrom(0, 4), { producerId, baseSequence: 0 })
      await log.append(stream, 0, recordsFrom(4, 2))
      assert.equal(await log.nextSequence(stream, 0, producerId), 4)
      assert.equal(await log.nextSequence(stream, 0, 7n), 0)
      assert.equal(await log.nextSequence(stream, 1, producerId), 0)
      for (const baseSequence of [0, 3, 5])
        await rejects(log.append(stream, 0, recordsFrom(6, 1), { producerId, baseSequence }), 'FS_POSITION_GAP')
      await log.append(stream, 0, recordsFrom(6, 1), { producerId, baseSequence: 4 })
      same(log, await readAll(log, 0, offsetZero, fetchBytes), recordsFrom(0, 7))
      const header = batchHeader((await log.fetch(stream, 0, offset(6), fetchBytes)).bytes, 0)
      assert.equal(header.producerId, producerId)
      assert.equal(header.baseSequence, 4)
    })

    law('appends that overlap in time are applied in the order of the calls', async (log) => {
      const results = await Promise.all(
        Array.from({ length: 30 }, (_, index) => log.append(stream, 0, recordsFrom(index * 3, 3))),
      )
      results.forEach((result, index) => assert.equal(result.firstOffset, index * 3))
      same(log, await readAll(log, 0, offsetZero, fetchBytes), recordsFrom(0, 90))
    })

    law('an append that is refused leaves nothing behind', async (log) => {
      await log.append(stream, 0, recordsFrom(0, 1))
      const many = Array.from({ length: 10_001 }, () => recordAt(0))
      await rejects(log.append(stream, 0, many), 'FS_LIMIT_EXCEEDED')
      const large = { key: null, value: new Uint8Array(9 * 1024 * 1024), timestampMs: 0 }
      await rejects(log.append(stream, 0, [large]), 'FS_LIMIT_EXCEEDED')
      await rejects(log.append(stream, 0, [recordAt(Number.NaN)]), 'FS_EVENT_INVALID')
      await rejects(log.append(stream, 0, [recordAt(0.5)]), 'FS_EVENT_INVALID')
      const nothing = await log.append(stream, 0, [])
      assert.deepEqual(nothing, { epoch: await epochOf(log), firstOffset: 1, nextOffset: 1, clamped: 0 })
      same(log, await readAll(log, 0, offsetZero, fetchBytes), recordsFrom(0, 1))
    })

    law('unknown streams and partitions are refused', async (log) => {
      await rejects(log.append('other', 0, recordsFrom(0, 1)), 'FS_STREAM_UNKNOWN')
      await rejects(log.append(stream, 2, recordsFrom(0, 1)), 'FS_STREAM_UNKNOWN')
      await rejects(log.fetch(stream, 2, offsetZero, 1), 'FS_STREAM_UNKNOWN')
      await rejects(log.nextSequence('other', 0, 1n), 'FS_STREAM_UNKNOWN')
    })

    law('closing twice is safe, and a closed log says so', async (log) => {
      await log[Symbol.asyncDispose]()
      await log[Symbol.asyncDispose]()
      await rejects(log.append(stream, 0, recordsFrom(0, 1)), 'FS_CLOSED')
      await rejects(log.describe(stream), 'FS_CLOSED')
      await rejects(log.fetch(stream, 0, offsetZero, 1), 'FS_CLOSED')
    })
  })
}

const traitsOf = (log: EventLog): EventLogTraits => log.traits ?? lawfulTraits

const epochOf = async (log: EventLog): Promise<number> => (await log.describe(stream))?.[0]?.epochs.at(-1)?.epoch ?? -1

/** Records that differ by their offset: keys null and empty, values empty and longer than a one-byte varint tells. */
export function recordsFrom(first: number, count: number): LogRecord[] {
  return Array.from({ length: count }, (_, index) => {
    const at = first + index
    const key = at % 3 === 0 ? null : text.encode(at % 3 === 1 ? '' : `key ${at}`)
    return { key, value: text.encode(`value ${at} `.repeat(at % 11)), timestampMs: 1_700_000_000_000 + at * 10 }
  })
}

const recordAt = (timestampMs: number): LogRecord => ({ key: null, value: new Uint8Array(0), timestampMs })

/** Every record of a partition from `from` on. */
export async function readAll(log: EventLog, partition: number, from: Offset, maxBytes: number): Promise<LogRecord[]> {
  const records: LogRecord[] = []
  const cursor = new RecordCursor()
  for (let next = from; ;) {
    const chunk = await log.fetch(stream, partition, next, maxBytes)
    if (chunk.nextOffset === next) return records
    cursor.reset(chunk.bytes)
    while (cursor.next()) {
      if (cursor.offset < next) continue
      assert.equal(cursor.offset, from + records.length)
      const { bytes, keyStart, keyEnd, valueStart, valueEnd, timestampMs } = cursor
      const key = keyStart < 0 ? null : bytes.slice(keyStart, keyEnd)
      records.push({ key, value: bytes.slice(valueStart, valueEnd), timestampMs })
    }
    next = chunk.nextOffset
  }
}

async function rejects(promise: Promise<unknown>, code: ErrorCode): Promise<void> {
  await assert.rejects(promise, (error) => error instanceof FeatureStoreError && error.code === code)
}
