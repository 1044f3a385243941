import fc from 'fast-check'
import { randomBytes } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { type KafkaOptions, openKafkaLog } from '../../../connectors/kafka/index.ts'
import { FeatureStoreError } from '../../../core/errors.ts'
import { offset } from '../../../core/event/position.ts'
import { type EventLog } from '../../../core/ports/event-log.ts'
import { RecordCursor } from '../../../schemas/recordbatch/index.ts'
import { FakeCluster } from './fake-broker.ts'
import { type FakePartition, type FakeRecord } from './fake-log.ts'

const runs = Math.ceil(Number(process.env['TIDEMARK_PROPERTY_RUNS'] ?? 300) / 25)
const random = { bytes: (length: number) => randomBytes(length) }

const open = (cluster: FakeCluster, more: Partial<KafkaOptions> = {}) =>
  openKafkaLog({ brokers: cluster.addresses, random, retryMs: 2_000, requestTimeoutMs: 2_000, ...more })

const failure = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'none',
    (error: unknown) => (error instanceof FeatureStoreError ? `${error.code}: ${error.message}` : String(error)),
  )

async function read(log: EventLog, partition: number, from: number, maxBytes: number): Promise<FakeRecord[]> {
  const records: FakeRecord[] = []
  const cursor = new RecordCursor()
  for (let next = offset(from); ;) {
    const chunk = await log.fetch('clicks', partition, next, maxBytes)
    if (chunk.nextOffset === next) return records
    cursor.reset(chunk.bytes)
    while (cursor.next())
      if (cursor.offset >= next)
        records.push({
          offset: cursor.offset,
          value: Buffer.from(cursor.bytes.subarray(cursor.valueStart, cursor.valueEnd)).toString(),
        })
    next = chunk.nextOffset
  }
}

/** `batches` batches of about `size` bytes; every third of a transaction, of which every second is aborted. */
function fill(partition: FakePartition, batches: number, size = 100): void {
  for (let index = 0; index < batches; index++) {
    const values = [`${index} `.padEnd(size, 'x'), `${index}b`]
    if (index % 3 !== 2) partition.append(values)
    else {
      partition.append(values, 9n)
      partition.finish(9n, index % 2 === 0)
    }
  }
}

describe('fetching from brokers that misbehave', () => {
  it('gives every committed record, however responses are cut, throttled and shared between partitions', async () => {
    const broken = fc.record({
      cuts: fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1, maxLength: 6 }),
      maxBytes: fc.constantFrom(0, 150, 1_000, 1 << 20),
      throttled: fc.array(fc.record({ ms: fc.integer({ min: 1, max: 5 }), empty: fc.boolean() }), { maxLength: 4 }),
      leaders: fc.tuple(fc.nat({ max: 1 }), fc.nat({ max: 1 }), fc.nat({ max: 1 })),
      moves: fc.boolean(),
      reader: fc.boolean(),
    })
    const byCuts = (cut: number): [ReturnType<typeof broken.generate>['value']] => [
      { cuts: [cut], maxBytes: 150, throttled: [], leaders: [0, 0, 1], moves: false, reader: true },
    ]
    await fc.assert(
      fc.asyncProperty(broken, async ({ cuts, maxBytes, throttled, leaders, moves, reader }) => {
        await using cluster = await FakeCluster.start(2)
        const topic = cluster.addTopic('clicks', 3)
        topic.leaders.splice(0, 3, ...leaders)
        for (const [index, partition] of topic.partitions.entries()) fill(partition, 20 + index)
        cluster.throttles.push(...throttled)
        cluster.pieces = (response) => {
          const pieces: Uint8Array[] = []
          for (let at = 0, cut = 0; at < response.length; cut++) {
            // Small pieces first, so that a length is cut too; then the rest, lest it takes for ever.
            const size = cut < 12 ? (cuts[cut % cuts.length] as number) : response.length
            pieces.push(response.slice(at, at + size))
            at += size
          }
          return pieces
        }
        await using log = await open(cluster)
        const from = reader ? log.reader() : log
        const reading = topic.partitions.map((_, index) => read(from, index, index * 5, maxBytes))
        if (moves) setTimeout(() => topic.leaders.reverse(), 3)
        for (const [index, records] of (await Promise.all(reading)).entries())
          expect(records).toEqual(topic.partitions[index]?.committed.filter(({ offset }) => offset >= index * 5))
      }),
      {
        numRuns: runs,
        // Byte by byte, and a length that is cut in the middle, whatever else is drawn.
        examples: [byCuts(1), byCuts(3), byCuts(7)],
      },
    )
  }, 120_000)

  it('asks for the partitions of a leader in one request, and for the next chunk before this one is walked', async () => {
    await using cluster = await FakeCluster.start()
    const topic = cluster.addTopic('clicks', 3)
    for (const partition of topic.partitions) fill(partition, 30)
    await using log = await open(cluster)
    const reader = log.reader()
    await reader.describe('clicks')
    const chunks = await Promise.all([0, 1, 2].map((index) => reader.fetch('clicks', index, offset(0), 500)))
    expect(cluster.fetches[0]?.partitions).toHaveLength(3)
    await new Promise((resolve) => setTimeout(resolve, 50))
    // One chunk ahead of each partition was asked for, and no more than that.
    const asked = cluster.fetches.slice(1).flatMap(({ partitions }) => partitions)
    const ahead = asked.map(({ partition, offset }) => [partition, offset]).toSorted()
    expect(ahead).toEqual(chunks.map(({ nextOffset }, index) => [index, nextOffset]))
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect(cluster.fetches.slice(1).flatMap(({ partitions }) => partitions)).toHaveLength(3)
    const before = cluster.fetches.length
    const next = await reader.fetch('clicks', 1, chunks[1]?.nextOffset ?? offset(0), 500)
    expect(next.bytes.length).toBeGreaterThan(0)
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect(cluster.fetches.slice(before).flatMap(({ partitions }) => partitions)).toHaveLength(1)
  })

  it('asks again for a partition whose bytes another one in the request has used up', async () => {
    await using cluster = await FakeCluster.start()
    const topic = cluster.addTopic('clicks', 3)
    for (const partition of topic.partitions) fill(partition, 2, 1_000)
    await using log = await open(cluster)
    await log.describe('clicks')
    const chunks = await Promise.all([0, 1, 2].map((index) => log.fetch('clicks', index, offset(0), 0)))
    expect(cluster.fetches[0]?.partitions).toHaveLength(3)
    expect(chunks.map(({ nextOffset }) => nextOffset)).toEqual([2, 2, 2])
    // With room for half a batch beside the first.
    const halves = await Promise.all([0, 1, 2].map((index) => log.fetch('clicks', index, offset(0), 600)))
    expect(halves.map(({ nextOffset }) => nextOffset)).toEqual([2, 2, 2])
  })

  it('jumps where a reader jumps, whatever was asked ahead', async () => {
    await using cluster = await FakeCluster.start()
    const partition = cluster.addTopic('clicks', 1).partitions[0] as FakePartition
    fill(partition, 30)
    await using log = await open(cluster)
    const reader = log.reader()
    for (const from of [0, 40, 10, 11, 60, 0, 0]) {
      const chunk = await reader.fetch('clicks', 0, offset(from), 300)
      expect(chunk.baseOffset).toBeLessThanOrEqual(from)
      expect(chunk.nextOffset).toBeGreaterThan(from)
      expect(await read(reader, 0, from, 300)).toEqual(partition.committed.filter(({ offset }) => offset >= from))
    }
  })

  it("leaves a reader's bytes alone until its next fetch of the partition, and the log's for good", async () => {
    await using cluster = await FakeCluster.start()
    const topic = cluster.addTopic('clicks', 2)
    for (const partition of topic.partitions) fill(partition, 40, 200)
    await using log = await open(cluster)
    const reader = log.reader()
    const held = await reader.fetch('clicks', 0, offset(0), 1_000)
    const copy = held.bytes.slice()
    const kept = await log.fetch('clicks', 0, offset(0), 1_000)
    expect(kept.bytes).toEqual(copy)
    await read(reader, 1, 0, 700)
    await read(log, 0, 0, 700)
    expect(held.bytes).toEqual(copy)
    const memory = new Set<ArrayBufferLike>()
    for (let next = held.nextOffset, chunk = held; ; next = chunk.nextOffset) {
      chunk = await reader.fetch('clicks', 0, next, 1_000)
      if (chunk.nextOffset === next) break
      memory.add(chunk.bytes.buffer)
    }
    expect(memory.size).toBeLessThanOrEqual(4)
    expect(kept.bytes).toEqual(copy)
  })

  it('waits as long as a broker that throttles says', async () => {
    await using cluster = await FakeCluster.start()
    fill(cluster.addTopic('clicks', 1).partitions[0] as FakePartition, 3)
    cluster.throttles.push({ ms: 80, empty: true })
    await using log = await open(cluster)
    await log.fetch('clicks', 0, offset(0), 1_000)
    const [first, second] = cluster.fetches
    expect((second?.atMs ?? 0) - (first?.atMs ?? 0)).toBeGreaterThanOrEqual(78)
  })

  it('takes a batch of any size up to its bound, and refuses one beyond it without stopping the others', async () => {
    await using cluster = await FakeCluster.start()
    const topic = cluster.addTopic('clicks', 2)
    const [large, other] = topic.partitions as [FakePartition, FakePartition]
    large.append(['x'.repeat(300_000)])
    fill(other, 30)
    {
      await using log = await open(cluster, { responseBytesMax: 400_000 })
      expect((await read(log, 0, 0, 100))[0]?.value).toHaveLength(300_000)
    }
    await using log = await open(cluster, { responseBytesMax: 200_000 })
    // Then both are in one request.
    await log.describe('clicks')
    const [refused, records] = await Promise.all([failure(read(log, 0, 0, 100)), read(log, 1, 0, 100)])
    expect(refused).toMatch(/^FS_LIMIT_EXCEEDED: clicks\/0 at offset 0: .* at most 200000 are taken/)
    expect(records).toEqual(other.committed)
  })

  it('names the place of a batch that is damaged, and of offsets that are not there', async () => {
    await using cluster = await FakeCluster.start()
    const partition = cluster.addTopic('clicks', 1).partitions[0] as FakePartition
    fill(partition, 4)
    await using log = await open(cluster)
    expect(await failure(log.fetch('clicks', 0, offset(100), 10))).toMatch(
      /^FS_REQUEST_INVALID: offset 100 of clicks\/0 is not within 0 to 9/,
    )
    partition.start = 4
    expect(await failure(log.fetch('clicks', 0, offset(3), 10))).toMatch(
      /^FS_HISTORY_TRIMMED: clicks\/0 begins at offset 4/,
    )
    const damaged = partition.batches[2]?.bytes as Uint8Array
    damaged[16] = 7
    expect(await failure(read(log, 0, 4, 10))).toMatch(/^FS_LOG_CORRUPT: clicks\/0 at offset 4: magic is 7/)
    cluster.fetchCode = () => 2
    expect(await failure(log.fetch('clicks', 0, offset(4), 10))).toMatch(
      /^FS_LOG_CORRUPT: clicks\/0 at offset 4: the broker/,
    )
    cluster.fetchCode = () => 29
    expect(await failure(log.fetch('clicks', 0, offset(4), 10))).toMatch(/^FS_KAFKA_AUTH: .*TOPIC_AUTHORIZATION_FAILED/)
    expect(await failure(log.fetch('clicks', 1, offset(0), 10))).toMatch(/^FS_STREAM_UNKNOWN: /)
  })

  it('goes on behind aborted records without bytes, and stops before what is not stable', async () => {
    await using cluster = await FakeCluster.start()
    const partition = cluster.addTopic('clicks', 1).partitions[0] as FakePartition
    partition.append(['aborted'], 3n)
    partition.finish(3n, false)
    partition.append(['open'], 4n)
    partition.append(['behind'])
    await using log = await open(cluster)
    expect((await log.describe('clicks'))?.[0]).toMatchObject({ start: 0, end: 2 })
    const chunk = await log.fetch('clicks', 0, offset(0), 1_000)
    expect([chunk.bytes.length, chunk.baseOffset, chunk.nextOffset]).toEqual([0, 0, 2])
    expect((await log.fetch('clicks', 0, offset(2), 1_000)).nextOffset).toBe(2)
    partition.finish(4n, true)
    expect((await read(log.reader(), 0, 2, 1_000)).map(({ value }) => value)).toEqual(['open', 'behind'])
  })

  it('follows leaders that move and die, and picks up partitions that are added', async () => {
    await using cluster = await FakeCluster.start(3)
    const topic = cluster.addTopic('clicks', 2)
    for (const partition of topic.partitions) fill(partition, 10)
    await using log = await open(cluster)
    const reader = log.reader()
    expect(await read(reader, 0, 0, 300)).toEqual(topic.partitions[0]?.committed)
    topic.leaders.splice(0, 2, 2, 2)
    cluster.dead.add(0)
    expect(await read(reader, 0, 0, 300)).toEqual(topic.partitions[0]?.committed)
    let refusals = 2
    cluster.fetchCode = () => (refusals-- > 0 ? 74 : 0)
    expect(await read(reader, 1, 0, 300)).toEqual(topic.partitions[1]?.committed)
    const added = cluster.addTopic('more', 1).partitions[0] as FakePartition
    fill(added, 5)
    topic.partitions.push(added)
    topic.leaders.push(1)
    expect(await read(reader, 2, 0, 300)).toEqual(added.committed)
    expect(await reader.describe('clicks')).toHaveLength(3)
  })

  it('tells when the end of a partition moves, and lets who fetches meanwhile not wait', async () => {
    await using cluster = await FakeCluster.start(2)
    const topic = cluster.addTopic('clicks', 3)
    await using log = await open(cluster)
    const reader = log.reader()
    const ends = [offset(0), offset(0), offset(0)]
    let moved = false
    const waiting = reader.awaitMore('clicks', ends, 60_000).then(() => (moved = true))
    const alsoWaiting = reader.awaitMore('clicks', ends, 60_000)
    for (const partition of [0, 1, 2]) expect(await read(reader, partition, 0, 100)).toEqual([])
    expect(moved).toBe(false)
    topic.partitions[1]?.append(['a'])
    await Promise.all([waiting, alsoWaiting])
    expect(await read(reader, 1, 0, 100)).toEqual([{ offset: 0, value: 'a' }])
    // One request a leader is held back, however many wait; it looks at every partition.
    const held = cluster.fetches.filter(({ waitMs }) => waitMs > 0)
    expect(held.map(({ node }) => node).sort()).toEqual([0, 1])
    expect(held.flatMap(({ partitions }) => partitions.map(({ partition }) => partition)).sort()).toEqual([0, 1, 2])
    // From behind the end it is answered at once, by whichever leader.
    await reader.awaitMore('clicks', [offset(0), offset(0), offset(0)], 60_000)
  })

  it('waits for no longer than it was told, and for nothing where brokers fail', async () => {
    await using cluster = await FakeCluster.start(1)
    cluster.addTopic('clicks', 1)
    await using log = await open(cluster)
    await log.awaitMore('clicks', [offset(0)], 20)
    cluster.fetchCode = () => 6
    await log.awaitMore('clicks', [offset(0)], 60_000)
    cluster.dead.add(0)
    await log.awaitMore('clicks', [offset(0)], 60_000)
    expect(cluster.fetches.every(({ waitMs }) => waitMs > 0)).toBe(true)
  })

  it('refuses to read on in a topic that was made again under the same name', async () => {
    await using cluster = await FakeCluster.start()
    const old = cluster.addTopic('clicks', 1, 'first id')
    fill(old.partitions[0] as FakePartition, 10)
    await using log = await open(cluster)
    const reader = log.reader()
    const before = await reader.describe('clicks')
    const chunk = await reader.fetch('clicks', 0, offset(0), 300)
    const made = cluster.addTopic('clicks', 1, 'second id')
    fill(made.partitions[0] as FakePartition, 50)
    const readOn = async () => {
      for (let next = chunk.nextOffset; ; next = (await reader.fetch('clicks', 0, next, 300)).nextOffset);
    }
    expect(await failure(readOn())).toMatch(/^FS_KAFKA_TOPIC_CHANGED: .* was made again/)
    const after = await reader.describe('clicks')
    expect(after?.[0]?.epochs[0]?.epoch).not.toBe(before?.[0]?.epochs[0]?.epoch)
    // Looking at it is no consent.
    expect(await failure(reader.fetch('clicks', 0, offset(0), 300))).toMatch(/^FS_KAFKA_TOPIC_CHANGED/)
    const anew = log.reader()
    expect(await read(anew, 0, 0, 300)).toEqual(made.partitions[0]?.committed)
    cluster.topics.delete('clicks')
    expect(await failure(anew.fetch('clicks', 0, offset(0), 300))).toMatch(/^FS_KAFKA_TOPIC_CHANGED: .* was deleted/)
  })

  it('says that no broker answers when none does within the time', async () => {
    await using cluster = await FakeCluster.start()
    fill(cluster.addTopic('clicks', 1).partitions[0] as FakePartition, 3)
    await using log = await open(cluster, { retryMs: 150 })
    cluster.dead.add(0)
    expect(await failure(log.fetch('clicks', 0, offset(0), 10))).toMatch(/^FS_KAFKA_UNAVAILABLE/)
    expect(await failure(open(cluster, { retryMs: 100 }))).toMatch(/^FS_KAFKA_UNAVAILABLE/)
    cluster.dead.clear()
    cluster.pieces = (response) => [response.slice(0, 7)]
    const late = open(cluster, { retryMs: 50, connectTimeoutMs: 60, requestTimeoutMs: 60 })
    expect(await failure(late)).toMatch(/^FS_KAFKA_UNAVAILABLE: .* does not answer ApiVersions within 60 ms/)
    cluster.pieces = () => [Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n')]
    expect(await failure(open(cluster))).toMatch(/^FS_KAFKA_PROTOCOL: .* answers what is no response of Kafka/)
    cluster.pieces = () => [Uint8Array.of(0x15, 0x03, 0x03, 0, 2, 2, 80)]
    expect(await failure(open(cluster))).toMatch(/^FS_KAFKA_TLS: .* speaks TLS on this port/)
  })
})

describe('appending to brokers that misbehave', () => {
  const record = (value: string) => ({ key: null, value: new TextEncoder().encode(value), timestampMs: 5 })

  it('writes a batch once although its reply was lost', async () => {
    await using cluster = await FakeCluster.start()
    const topic = cluster.addTopic('clicks', 1)
    await using log = await open(cluster)
    const producer = { producerId: 77n, baseSequence: 0 }
    cluster.dropProduceReplies = 2
    expect(await log.append('clicks', 0, [record('a'), record('b')], producer)).toMatchObject({ firstOffset: 0 })
    cluster.dropProduceReplies = 1
    expect(await log.append('clicks', 0, [record('c')])).toMatchObject({ firstOffset: 2, nextOffset: 3 })
    expect((await read(log, 0, 0, 10)).map(({ value }) => value)).toEqual(['a', 'b', 'c'])
    expect(topic.partitions[0]?.batches).toHaveLength(2)
  })

  it('refuses a producer whose sequence another process has used, and asks again after a failure', async () => {
    await using cluster = await FakeCluster.start()
    cluster.addTopic('clicks', 1)
    await using log = await open(cluster, { retryMs: 50 })
    await using other = await open(cluster)
    const as = (baseSequence: number) => ({ producerId: 77n, baseSequence })
    await log.append('clicks', 0, [record('a')], as(0))
    await other.append('clicks', 0, [record('b')], as(1))
    // This process believes that 1 is next; the broker does not.
    expect(await failure(log.append('clicks', 0, [record('x'), record('y')], as(1)))).toMatch(/^FS_POSITION_GAP/)
    expect(await log.nextSequence('clicks', 0, 77n)).toBe(2)
    cluster.produceCode = 19
    expect(await failure(log.append('clicks', 0, [record('c')], as(2)))).toMatch(
      /^FS_KAFKA_UNAVAILABLE: .*NOT_ENOUGH_REPLICAS/,
    )
    cluster.produceCode = 10
    expect(await failure(log.append('clicks', 0, [record('c')], as(2)))).toMatch(/^FS_LIMIT_EXCEEDED/)
    cluster.produceCode = 0
    await log.append('clicks', 0, [record('c')], as(2))
    expect((await read(log, 0, 0, 10)).map(({ value }) => value)).toEqual(['a', 'b', 'c'])
  })

  it("reads a producer's sequence from the batches when the broker has forgotten it", async () => {
    await using cluster = await FakeCluster.start()
    const topic = cluster.addTopic('clicks', 1)
    await using log = await open(cluster)
    const producerId = 2n ** 62n + 5n
    await log.append('clicks', 0, [record('a'), record('b')], { producerId, baseSequence: 0 })
    await log.append('clicks', 0, [record('c')], { producerId, baseSequence: 2 })
    await log.append('clicks', 0, [record('d')])
    topic.partitions[0]?.sequences.clear()
    await using later = await open(cluster)
    expect(await later.nextSequence('clicks', 0, producerId)).toBe(3)
    // Ids that share a half with it.
    for (const other of [producerId + 1n, producerId ^ (1n << 40n)])
      expect(await later.nextSequence('clicks', 0, other)).toBe(0)
  })
})
