import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { keepCommitted } from '../../../connectors/kafka/aborted.ts'
import { FeatureStoreError } from '../../../core/errors.ts'
import { RecordCursor } from '../../../schemas/recordbatch/index.ts'
import { FakePartition, type FakeRecord } from './fake-log.ts'

const runs = Number(process.env['TIDEMARK_PROPERTY_RUNS'] ?? 300)
/** Above 32 bits, and equal in one half: the filter compares halves. */
const producers = [2n ** 40n + 7n, 2n ** 40n + 8n, 7n, -(2n ** 33n) + 7n]

const halves = (producer: bigint) => ({
  high: Number(BigInt.asIntN(32, producer >> 32n)),
  low: Number(BigInt.asIntN(32, producer)),
})

/** What is read from `from` to the end, by fetches of `maxBytes` whose bytes stand in the middle of a response. */
function readCommitted(partition: FakePartition, from: number, maxBytes: number): FakeRecord[] {
  const records: FakeRecord[] = []
  const cursor = new RecordCursor()
  for (let next = from; ;) {
    const answer = partition.fetch(next, maxBytes)
    const response = new Uint8Array(answer.bytes.length + 15).fill(0xee)
    response.set(answer.bytes, 10)
    const kept = keepCommitted({
      bytes: response,
      from: 10,
      to: 10 + answer.bytes.length,
      asked: next,
      aborted: answer.aborted.map(({ producer, first }) => ({ ...halves(producer), firstOffset: first })),
      name: 'clicks/0',
    })
    expect(response.subarray(10 + answer.bytes.length)).toEqual(new Uint8Array(5).fill(0xee))
    expect(response.subarray(0, 10)).toEqual(new Uint8Array(10).fill(0xee))
    if (kept.nextOffset === next) return records
    cursor.reset(response.subarray(10, kept.end))
    let first = true
    while (cursor.next()) {
      if (first) expect(cursor.offset).toBe(kept.baseOffset)
      first = false
      expect(cursor.offset).toBeLessThan(kept.nextOffset)
      if (cursor.offset < next) continue
      records.push({
        offset: cursor.offset,
        value: Buffer.from(cursor.bytes.subarray(cursor.valueStart, cursor.valueEnd)).toString(),
      })
    }
    if (first) expect(kept.baseOffset).toBe(next)
    next = kept.nextOffset
  }
}

const codeOf = (run: () => unknown): string => {
  try {
    run()
  } catch (error) {
    return error instanceof FeatureStoreError ? `${error.code} ${error.message}` : String(error)
  }
  return 'none'
}

const step = fc.record({
  producer: fc.nat({ max: 4 }),
  what: fc.constantFrom('send', 'send', 'send', 'commit', 'abort', 'abort'),
  count: fc.integer({ min: 1, max: 3 }),
})

describe('batches of aborted transactions', () => {
  it('of one producer are dropped between committed ones: c1 A1 c2 A2 A3 c3', () => {
    const partition = new FakePartition()
    for (const [name, commit] of [
      ['c1', true],
      ['A1', false],
      ['c2', true],
      ['A2', false],
      ['A3', false],
      ['c3', true],
    ] as const) {
      partition.append([name], producers[0])
      partition.finish(producers[0] as bigint, commit)
    }
    const values = readCommitted(partition, 0, 1 << 20).map(({ value }) => value)
    expect(values).toEqual(['c1', 'c2', 'c3'])
    // From the middle of the aborted ones, which the broker names with offsets below the asked one.
    expect(readCommitted(partition, 6, 0).map(({ value }) => value)).toEqual(['c3'])
  })

  it('leave what was committed, from every offset and cut anywhere', () => {
    fc.assert(
      fc.property(
        fc.array(step, { minLength: 5, maxLength: 40 }),
        fc.constantFrom(0, 90, 250, 1 << 20),
        (steps, max) => {
          const partition = new FakePartition()
          steps.forEach(({ producer, what, count }, index) => {
            const id = producers[producer]
            if (what === 'send')
              partition.append(
                Array.from({ length: count }, (_, at) => `${index}.${at}`),
                id,
              )
            else if (id !== undefined) partition.finish(id, what === 'commit')
          })
          const stable = partition.committed.filter(({ offset }) => offset < partition.stable)
          for (let from = 0; from <= partition.stable; from++)
            expect(readCommitted(partition, from, max)).toEqual(stable.filter(({ offset }) => offset >= from))
        },
      ),
      { numRuns: runs },
    )
  })

  it('are not dropped unseen when they are damaged', () => {
    const partition = new FakePartition()
    partition.append(['kept'])
    partition.append(['aborted'], 5n)
    partition.finish(5n, false)
    const { bytes } = partition.fetch(0, 1 << 20)
    const aborted = [{ ...halves(5n), firstOffset: 1 }]
    const keep = (damaged: Uint8Array) =>
      keepCommitted({ bytes: damaged, from: 0, to: damaged.length, asked: 0, aborted, name: 'clicks/0' })
    const second = (partition.batches[0]?.bytes as Uint8Array).length
    const third = second + (partition.batches[1]?.bytes as Uint8Array).length
    for (const [at, message] of [
      [third - 3, 'clicks/0 at offset 1: the checksum fails'],
      [bytes.length - 3, 'clicks/0 at offset 2: the checksum fails'],
      // Magic, base offset, length: what has to be right before any checksum can be.
      [second + 16, 'clicks/0 at offset 1: magic is'],
      [second + 7, 'clicks/0 at offset 1: a batch of the offsets 0 to 0 comes next'],
      [second + 8, 'clicks/0 at offset 1: a batch of -'],
    ] as const) {
      const damaged = bytes.slice()
      damaged[at] = (damaged[at] as number) ^ (at === second + 7 ? 0x01 : 0x80)
      expect(
        codeOf(() => keep(damaged)),
        `byte ${at}`,
      ).toContain(`FS_LOG_CORRUPT ${message}`)
    }
    expect(codeOf(() => keep(bytes.slice()))).toBe('none')
  })

  it('tell how many bytes the first batch needs when it does not fit', () => {
    const partition = new FakePartition()
    partition.append(['x'.repeat(500)])
    const { bytes } = partition.fetch(0, 1 << 20)
    const needed = (to: number): number =>
      keepCommitted({ bytes: bytes.slice(0, to), from: 0, to, asked: 0, aborted: [], name: 'n' }).needed
    expect([1, 11, 12, 60, bytes.length - 1].map(needed)).toEqual([61, 61, bytes.length, bytes.length, bytes.length])
    expect([0, bytes.length].map(needed)).toEqual([0, 0])
  })
})
