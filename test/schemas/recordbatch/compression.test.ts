import { readFileSync } from 'node:fs'
import { zstdCompressSync } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { lz4Frame } from '../../../schemas/compression/lz4.ts'
import { snappy } from '../../../schemas/compression/snappy.ts'
import { crc32c, RecordCursor } from '../../../schemas/recordbatch/index.ts'
import { FeatureStoreError } from '../../../core/errors.ts'

/** One batch each, as a broker gave it back: of the Java client 4.3.1 and of librdkafka (kcat), by compression. */
const fixtures = JSON.parse(
  readFileSync(new URL('fixtures/batches-of-clients.json', import.meta.url), 'utf8'),
) as Readonly<Record<string, string>>

const batchOf = (name: string): Uint8Array => Uint8Array.from(Buffer.from(fixtures[name] ?? '', 'base64'))

function walk(bytes: Uint8Array): { offset: number; timestampMs: number; key: string | null; value: string | null }[] {
  const cursor = new RecordCursor()
  const records = []
  cursor.reset(bytes)
  while (cursor.next()) {
    const piece = (from: number, to: number): string | null =>
      from < 0 ? null : Buffer.from(cursor.bytes.subarray(from, to)).toString()
    const { offset, timestampMs, keyStart, keyEnd, valueStart, valueEnd } = cursor
    records.push({ offset, timestampMs, key: piece(keyStart, keyEnd), value: piece(valueStart, valueEnd) })
  }
  return records
}

/** The batch with other records, its length and checksum right. */
function withRecords(batch: Uint8Array, records: Uint8Array): Uint8Array {
  const bytes = Uint8Array.from(Buffer.concat([batch.subarray(0, 61), records]))
  const view = new DataView(bytes.buffer)
  view.setInt32(8, bytes.length - 12)
  view.setUint32(17, crc32c(bytes, 21, bytes.length))
  return bytes
}

const codeOf = (run: () => unknown): string => {
  try {
    run()
  } catch (error) {
    return error instanceof FeatureStoreError ? error.code : String(error)
  }
  return 'none'
}

const kinds = ['gzip', 'snappy', 'lz4', 'zstd'] as const

describe('compressed record batches', () => {
  it.each(['none', ...kinds])('of the Java client are read: %s', (kind) => {
    const expected = Array.from({ length: 40 }, (_, index) => ({
      offset: index,
      timestampMs: 1_700_000_000_000 + index,
      key: index % 4 === 0 ? null : `key ${index}`,
      value: index % 10 === 9 ? null : `value ${index} `.repeat(index % 13),
    }))
    expect(walk(batchOf(`java-${kind}`))).toEqual(expected)
  })

  it.each(kinds)('of librdkafka are read: %s', (kind) => {
    const values = walk(batchOf(`librdkafka-${kind}`)).map(({ value }) => value)
    expect(values).toEqual(Array.from({ length: 40 }, (_, index) => `value ${index} `.repeat(1 + (index % 13))))
  })

  it('have snappy in both of its forms: framed by the Java client, raw by librdkafka', () => {
    expect(Buffer.from(batchOf('java-snappy').subarray(62, 68)).toString()).toBe('SNAPPY')
    expect(Buffer.from(batchOf('librdkafka-snappy').subarray(62, 68)).toString()).not.toBe('SNAPPY')
  })

  it.each(kinds)(
    'whose records are damaged under a right checksum end in FS_LOG_CORRUPT, or in records: %s',
    (kind) => {
      for (const name of [`java-${kind}`, `librdkafka-${kind}`]) {
        const batch = batchOf(name)
        const records = batch.subarray(61)
        for (let length = 0; length < records.length; length += 1 + (records.length >> 5))
          expect(
            codeOf(() => walk(withRecords(batch, records.subarray(0, length)))),
            `${name} cut at ${length}`,
          ).toBe('FS_LOG_CORRUPT')
        fc.assert(
          fc.property(fc.nat({ max: records.length - 1 }), fc.integer({ min: 1, max: 255 }), (at, flip) => {
            const damaged = records.slice()
            damaged[at] = (damaged[at] as number) ^ flip
            expect(['none', 'FS_LOG_CORRUPT']).toContain(codeOf(() => walk(withRecords(batch, damaged))))
          }),
          { numRuns: 200 },
        )
      }
    },
  )

  it('whose snappy lengths turn negative as int32 end all the same', () => {
    // A literal of 0xffffffff + 1 bytes, which a decoder with 32 bits takes for a step back.
    const literal = Buffer.from('10fcfffffffe6161616161616161', 'hex')
    const copy = Buffer.from('100061ff00000080', 'hex')
    for (const block of [literal, copy]) expect(() => snappy(block, 1_000)).toThrow(/damaged Snappy data/)
    for (const [block, words] of [
      ['0300610000', '2 bytes instead of 3'],
      ['02006100610061', 'it is longer than its length'],
      ['0500610502', 'a copy from before its start'],
      ['05006106', 'it ends early'],
      ['', 'its length has no end'],
    ] as const)
      expect(() => snappy(Buffer.from(block, 'hex'), 1_000)).toThrow(`damaged Snappy data: ${words}`)
    // Overlapping copies by each of the three kinds: one byte, then 4, 2 and 3 times the same.
    expect(Buffer.from(snappy(Buffer.from('0a006101010601000b01000000', 'hex'), 100)).toString()).toBe('a'.repeat(10))
  })

  it('that would take all memory are refused before they do', () => {
    const batch = batchOf('java-snappy')
    // A raw block that announces a gigabyte, with as many bytes as make that possible.
    const announced = Buffer.concat([Buffer.from('8080808004', 'hex'), Buffer.alloc(20 << 20)])
    expect(() => snappy(announced, 256 << 20)).toThrow(/1073741824 bytes, at most 268435456/)
    expect(() => snappy(Buffer.from('8080800400', 'hex'), 256 << 20)).toThrow(/8388608 bytes out of 5/)
    // Framed: each block is small enough, all of them are not.
    const block = Buffer.concat([Buffer.from('808001', 'hex'), Buffer.alloc(300)])
    const size = Buffer.alloc(4)
    size.writeInt32BE(block.length)
    const head = Buffer.concat([Buffer.from([0x82]), Buffer.from('SNAPPY'), Buffer.alloc(9)])
    const framed = Buffer.concat([head, ...Array.from({ length: 20 }, () => Buffer.concat([size, block]))])
    expect(() => snappy(framed, 100_000)).toThrow(/327680 bytes, at most 100000/)
    const view = new DataView(batch.buffer)
    view.setInt16(21, 4)
    const zeros = zstdCompressSync(Buffer.alloc(257 << 20))
    expect(zeros.length).toBeLessThan(100_000)
    expect(codeOf(() => walk(withRecords(batch, zeros)))).toBe('FS_LOG_CORRUPT')
  })

  it('by lz4 grow no further than they may', () => {
    // One literal and a match of 65,000 bytes at distance 1, 50 times.
    const match = 65_000 - 4 - 15
    const block = Buffer.concat([
      Buffer.from([0x1f, 0x61, 1, 0]),
      Buffer.alloc(Math.floor(match / 255), 255),
      Buffer.from([match % 255]),
      Buffer.from([0x10, 0x62]),
    ])
    const size = Buffer.alloc(4)
    size.writeUInt32LE(block.length)
    const blocks = Array.from({ length: 50 }, () => Buffer.concat([size, block]))
    const frame = Buffer.concat([Buffer.from('04224d18604000', 'hex'), ...blocks, Buffer.alloc(4)])
    expect(lz4Frame(frame)).toHaveLength(50 * 65_002)
    expect(lz4Frame(frame, 50 * 65_002)).toHaveLength(50 * 65_002)
    expect(() => lz4Frame(frame, 50 * 65_002 - 1)).toThrow(/damaged LZ4 data: (more than|it is longer)/)
    expect(() => lz4Frame(frame, 10)).toThrow(/damaged LZ4 data: (more than|it is longer)/)
  })
})
