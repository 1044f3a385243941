import { describe, expect, it } from 'vitest'
import { kafkajsOf, openKafkaLog, settingsOf } from '../../connectors/kafka/index.ts'
import { recordsFrom } from '../../connectors/kit/event-log-suite.ts'
import { FeatureStoreError } from '../../core/errors.ts'
import { offset } from '../../core/event/position.ts'
import { continues } from '../../core/event/continuity.ts'
import { type PartitionInfo } from '../../core/ports/event-log.ts'
import { requireService, startKafka } from '../support/services.ts'
import { random } from './support/random.ts'
import { readRecords } from './support/read-records.ts'

const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'none',
    (error: unknown) => (error instanceof FeatureStoreError ? error.code : String(error)),
  )

await requireService('kafka')

describe('a Kafka log', () => {
  it('goes on after kill -9 of the broker, with every acknowledged record once', async () => {
    await using broker = await startKafka()
    const brokers = broker.addresses
    await using log = await openKafkaLog({ brokers, random, retryMs: 60_000 })
    const reader = log.reader()
    await log.create('clicks', { partitions: 1, knownAt: 'createTime' })
    const producerId = 2n ** 61n + 3n
    let written = 0
    const append = async (): Promise<void> => {
      await log.append('clicks', 0, recordsFrom(written, 10), { producerId, baseSequence: written })
      written += 10
    }
    for (let index = 0; index < 20; index++) await append()
    expect(await readRecords(reader, 'clicks', 0, 0, 500)).toHaveLength(200)
    await broker.kill()
    await using hasty = await openKafkaLog({ brokers, random, retryMs: 0 }).catch(() => null)
    expect(hasty).toBeNull()
    // An append and a fetch that begin while the broker is away end when it is back.
    const appended = append()
    const fetched = readRecords(reader, 'clicks', 0, 195, 500)
    await broker.restart()
    await appended
    await fetched
    for (let index = 0; index < 5; index++) await append()
    await broker.stop()
    await broker.restart()
    await append()
    const records = await readRecords(reader, 'clicks', 0, 0, 500)
    expect(records.map(({ offset }) => offset)).toEqual(Array.from({ length: written }, (_, index) => index))
    expect(await log.nextSequence('clicks', 0, producerId)).toBe(written)
    // Another process, which has not seen the first: the broker itself refuses what is there already.
    await using other = await openKafkaLog({ brokers, random })
    expect(await codeOf(other.append('clicks', 0, recordsFrom(0, 10), { producerId, baseSequence: 0 }))).toBe(
      'FS_POSITION_GAP',
    )
  }, 120_000)

  it('notices that records were deleted, partitions added and the topic made again', async () => {
    await using broker = await startKafka()
    const options = { brokers: broker.addresses, random }
    await using log = await openKafkaLog(options)
    const admin = kafkajsOf(settingsOf(options)).admin()
    await admin.connect()
    try {
      await log.create('clicks', { partitions: 1 })
      for (let index = 0; index < 10; index++) await log.append('clicks', 0, recordsFrom(index * 10, 10))
      const reader = log.reader()
      expect(await readRecords(reader, 'clicks', 0, 0, 300)).toHaveLength(100)

      // kafkajs deletes records only of a topic that it has looked at.
      await admin.fetchTopicOffsets('clicks')
      await admin.deleteTopicRecords({ topic: 'clicks', partitions: [{ partition: 0, offset: '35' }] })
      expect((await reader.describe('clicks'))?.[0]).toMatchObject({ start: 35, end: 100 })
      expect(await codeOf(reader.fetch('clicks', 0, offset(34), 300))).toBe('FS_HISTORY_TRIMMED')
      expect(await readRecords(reader, 'clicks', 0, 35, 300)).toHaveLength(65)
      expect(await codeOf(reader.fetch('clicks', 0, offset(101), 300))).toBe('FS_REQUEST_INVALID')

      await admin.createPartitions({ topicPartitions: [{ topic: 'clicks', count: 3 }] })
      while ((await reader.describe('clicks'))?.length !== 3) await new Promise((resolve) => setTimeout(resolve, 20))
      await log.append('clicks', 2, recordsFrom(0, 7))
      expect(await readRecords(reader, 'clicks', 2, 0, 300)).toHaveLength(7)
      await log.create('clicks', { partitions: 1 })
      expect(await codeOf(log.create('clicks', { partitions: 4 }))).toBe('FS_DEFINITION_INVALID')

      const before = (await reader.describe('clicks'))?.[0] as PartitionInfo
      const position = { epoch: before.epochs[0]?.epoch ?? 0, next: offset(50) }
      expect(continues(position, before)).toBe(true)
      await admin.deleteTopics({ topics: ['clicks'] })
      await using maker = await openKafkaLog(options)
      while ((await maker.describe('clicks')) !== null) await new Promise((resolve) => setTimeout(resolve, 20))
      expect(await codeOf(reader.fetch('clicks', 0, offset(40), 300))).toBe('FS_KAFKA_TOPIC_CHANGED')
      await maker.create('clicks', { partitions: 1 })
      for (let index = 0; index < 10; index++) await maker.append('clicks', 0, recordsFrom(index * 10, 10))
      expect(await codeOf(reader.fetch('clicks', 0, offset(40), 300))).toBe('FS_KAFKA_TOPIC_CHANGED')
      const after = (await reader.describe('clicks'))?.[0] as PartitionInfo
      expect(after.end).toBe(100)
      expect(continues(position, after)).toBe(false)
      expect(await readRecords(maker.reader(), 'clicks', 0, 40, 300)).toHaveLength(60)
    } finally {
      await admin.disconnect()
    }
  }, 120_000)
})
