import { gzipSync, zstdCompressSync } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { FeatureStoreError } from '../../../core/errors.ts'
import { type LogRecord } from '../../../core/ports/event-log.ts'
import { batchHeader, crc32c, encodeBatch, isGoodBatch, RecordCursor } from '../../../schemas/recordbatch/index.ts'
import { naiveParse, type NaiveRecord } from './naive.ts'

const text = (value: string): Uint8Array => new TextEncoder().encode(value)
const threeRecords: readonly LogRecord[] = [
  { key: null, value: text('first'), timestampMs: 1_700_000_000_000 },
  { key: text(''), value: text(''), timestampMs: 1_700_000_000_001 },
  { key: text('key'), value: text('x'.repeat(300)), timestampMs: 1_600_000_000_000 },
]

function walk(bytes: Uint8Array, cursor = new RecordCursor()): NaiveRecord[] {
  const records: NaiveRecord[] = []
  cursor.reset(bytes)
  while (cursor.next()) {
    const piece = (from: number, to: number): number[] | null => (from < 0 ? null : [...cursor.bytes.slice(from, to)])
    records.push({
      offset: cursor.offset,
      timestampMs: cursor.timestampMs,
      key: piece(cursor.keyStart, cursor.keyEnd),
      value: piece(cursor.valueStart, cursor.valueEnd),
    })
  }
  return records
}

function concat(...parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...part]))
}

/** The same batch after `change`, its length and checksum set right again. */
function rewritten(batch: Uint8Array, change: (bytes: Uint8Array, view: DataView) => Uint8Array | void): Uint8Array {
  const copy = batch.slice()
  const bytes = change(copy, new DataView(copy.buffer)) ?? copy
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  view.setInt32(8, bytes.length - 12)
  view.setUint32(17, crc32c(bytes, 21, bytes.length))
  return bytes
}

const compressed = (batch: Uint8Array, attributes: number, compress: (bytes: Uint8Array) => Uint8Array): Uint8Array =>
  rewritten(batch, (bytes, view) => {
    view.setInt16(21, attributes)
    return concat(bytes.subarray(0, 61), compress(bytes.subarray(61)))
  })

const codeOf = (run: () => unknown): string => {
  try {
    run()
  } catch (error) {
    return error instanceof FeatureStoreError ? error.code : String(error)
  }
  return 'none'
}

const recordBytes = fc.oneof(fc.uint8Array({ maxLength: 10 }), fc.uint8Array({ minLength: 60, maxLength: 200 }))
const timestamp = fc.oneof(
  fc.integer({ min: 1_500_000_000_000, max: 1_900_000_000_000 }),
  fc.constantFrom(0, -1, 2 ** 31, 2 ** 32, -(2 ** 32) - 1, 2 ** 51, -(2 ** 51), 253_370_764_799_999),
)
const records = fc.array(
  fc.record({ key: fc.option(recordBytes), value: recordBytes, timestampMs: timestamp }) as fc.Arbitrary<LogRecord>,
  { minLength: 1, maxLength: 70 },
)

describe('record batches', () => {
  it('come back from a plain parser and from the walker as they were written', () => {
    const cursor = new RecordCursor()
    fc.assert(
      fc.property(fc.array(records, { minLength: 1, maxLength: 4 }), (batches) => {
        let next = 2 ** 40
        const expected: NaiveRecord[] = []
        const bytes = concat(
          ...batches.map((batch) => {
            const encoded = encodeBatch(batch, { baseOffset: next })
            for (const { key, value, timestampMs } of batch)
              expected.push({ offset: next++, timestampMs, key: key && [...key], value: [...value] })
            return encoded
          }),
        )
        expect(naiveParse(bytes)).toEqual(expected)
        expect(walk(bytes, cursor)).toEqual(expected)
      }),
    )
  })

  it('carry their header', () => {
    const batch = encodeBatch(threeRecords, {
      baseOffset: 2 ** 33 + 5,
      epoch: 7,
      producerId: 2n ** 63n - 1n,
      producerEpoch: 3,
      baseSequence: 12,
    })
    expect(batchHeader(concat(Uint8Array.of(1, 2, 3), batch), 3)).toMatchObject({
      baseOffset: 2 ** 33 + 5,
      byteLength: batch.length,
      batchLength: batch.length - 12,
      epoch: 7,
      magic: 2,
      attributes: 0,
      lastOffsetDelta: 2,
      baseTimestamp: 1_700_000_000_000,
      maxTimestamp: 1_700_000_000_001,
      producerId: 2n ** 63n - 1n,
      producerEpoch: 3,
      baseSequence: 12,
      recordCount: 3,
    })
    const plain = batchHeader(encodeBatch(threeRecords, { baseOffset: 0 }), 0)
    expect(plain).toMatchObject({ producerId: -1n, producerEpoch: -1, baseSequence: -1, epoch: -1 })
  })

  it('have the bytes that Kafka gives them', () => {
    const batch = encodeBatch([{ key: text('k'), value: text('v'), timestampMs: 1 }], { baseOffset: 0, epoch: 0 })
    expect(Buffer.from(batch).toString('hex')).toBe(
      '0000000000000000' + // base offset
        '0000003a' + // length, 58
        '00000000' + // epoch
        '02' + // magic
        crc32c(batch, 21, batch.length).toString(16).padStart(8, '0') +
        '0000' + // attributes
        '00000000' + // last offset delta
        '0000000000000001' + // base timestamp
        '0000000000000001' + // max timestamp
        'ffffffffffffffff' + // producer id
        'ffff' + // producer epoch
        'ffffffff' + // base sequence
        '00000001' + // records
        '10' + // record length, 8
        '00' + // attributes
        '00' + // timestamp delta
        '00' + // offset delta
        '026b' + // key
        '0276' + // value
        '00', // headers
    )
  })

  it('with LogAppendTime give every record the max timestamp', () => {
    const batch = rewritten(encodeBatch(threeRecords, { baseOffset: 0 }), (_, view) => view.setInt16(21, 8))
    expect(walk(batch).map(({ timestampMs }) => timestampMs)).toEqual(Array(3).fill(1_700_000_000_001))
    expect(walk(batch)).toEqual(naiveParse(batch))
  })

  it('of control records are passed over', () => {
    const data = encodeBatch(threeRecords, { baseOffset: 0 })
    const control = rewritten(encodeBatch(threeRecords.slice(0, 1), { baseOffset: 3 }), (_, view) =>
      view.setInt16(21, 0x30),
    )
    const more = encodeBatch(threeRecords, { baseOffset: 4 })
    expect(walk(concat(data, control, more)).map(({ offset }) => offset)).toEqual([0, 1, 2, 4, 5, 6])
    expect(walk(control)).toEqual([])
  })

  it('are read from gzip and zstd; a compression that there is not is refused', () => {
    const batch = encodeBatch(threeRecords, { baseOffset: 9 })
    const plain = walk(batch)
    const gzip = compressed(batch, 1, gzipSync)
    const zstd = compressed(batch, 4, zstdCompressSync)
    expect(walk(concat(gzip, batch, zstd))).toEqual([...plain, ...plain, ...plain])
    for (const attributes of [5, 6, 7])
      expect(codeOf(() => walk(rewritten(batch, (_, view) => view.setInt16(21, attributes))))).toBe('FS_LOG_CORRUPT')
    expect(codeOf(() => walk(compressed(batch, 1, (bytes) => bytes)))).toBe('FS_LOG_CORRUPT')
  })

  it('with record headers are walked over', () => {
    const batch = encodeBatch([{ key: null, value: text('v'), timestampMs: 5 }], { baseOffset: 0 })
    // Two headers, a=b and c=null, in place of none; the record is 8 bytes longer.
    const headers = Uint8Array.of(4, 2, 97, 2, 98, 2, 99, 1)
    const longer = rewritten(batch, (bytes) => {
      const out = concat(bytes.subarray(0, bytes.length - 1), headers)
      out[61] = (out[61] as number) + 2 * (headers.length - 1)
      return out
    })
    expect(walk(longer)).toEqual(naiveParse(longer))
    expect(walk(longer)).toHaveLength(1)
  })

  it('with any byte changed under the checksum, or cut anywhere, are refused at the byte of the batch', () => {
    const first = encodeBatch(threeRecords, { baseOffset: 0 })
    const both = concat(first, encodeBatch(threeRecords, { baseOffset: 3 }))
    for (let at = first.length + 8; at < both.length; at++) {
      if (at >= first.length + 12 && at < first.length + 16) continue // the epoch is not under the checksum
      const damaged = both.slice()
      damaged[at] = (damaged[at] as number) ^ 0x10
      expect(() => walk(damaged), `byte ${at}`).toThrow(`at byte ${first.length}`)
      expect(isGoodBatch(damaged, first.length)).toBe(false)
    }
    for (let end = first.length + 1; end < both.length; end++)
      expect(codeOf(() => walk(both.subarray(0, end)))).toBe('FS_LOG_CORRUPT')
    expect(isGoodBatch(both, first.length)).toBe(true)
  })

  it('with a right checksum over broken records never run away: each ends in FS_LOG_CORRUPT or in records', () => {
    const batch = encodeBatch(threeRecords, { baseOffset: 0 })
    fc.assert(
      fc.property(fc.integer({ min: 21, max: batch.length - 1 }), fc.integer({ min: 0, max: 255 }), (at, byte) => {
        const damaged = rewritten(batch, (bytes) => void (bytes[at] = byte))
        expect(['none', 'FS_LOG_CORRUPT']).toContain(codeOf(() => walk(damaged)))
      }),
      { numRuns: 2000 },
    )
  })
})
