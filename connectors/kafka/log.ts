import { FeatureStoreError } from '../../core/errors.ts'
import { offset, type Offset, offsetZero } from '../../core/event/position.ts'
import {
  type AppendResult,
  type EventLog,
  type EventLogTraits,
  type LogChunk,
  type LogRecord,
  type NewStream,
  type PartitionInfo,
  type ProducerIdentity,
  type StreamKeeping,
} from '../../core/ports/event-log.ts'
import { checkPartitions, checkStreamName } from '../log/names.ts'
import { createTopic, keepingOf } from './admin.ts'
import { checkRecords, PartitionAppender } from './append.ts'
import { Cluster, type Topic } from './cluster.ts'
import { epochOf } from './epoch.ts'
import { Offsets } from './offsets.ts'
import { type KafkaOptions } from './options.ts'
import { Reading } from './reading.ts'
import { producerSequence } from './sequence.ts'
import { PinnedTopics } from './topics.ts'
import { Waiting } from './waiting.ts'

/**
 * A log on Kafka (README.md): one stream is one topic, the id of the cluster is the id of the log. Connects to find that
 * id; whoever opens it closes it.
 *
 * Errors: FS_KAFKA_UNAVAILABLE, FS_KAFKA_AUTH, FS_KAFKA_TLS, FS_KAFKA_PROTOCOL, FS_CONFIG_INVALID.
 */
export async function openKafkaLog(options: KafkaOptions): Promise<KafkaEventLog> {
  const cluster = new Cluster(options)
  try {
    const logId = await cluster.retrying('finding the cluster', null, () => cluster.clusterId())
    return new KafkaEventLog(logId, cluster, { readers: 0 })
  } catch (error) {
    cluster[Symbol.dispose]()
    throw error
  }
}

interface Shared {
  /** Readers made so far; each has connections of its own. */
  readers: number
}

export class KafkaEventLog implements EventLog, AsyncDisposable {
  readonly logId: string
  readonly traits: EventLogTraits
  protected readonly cluster: Cluster
  private readonly shared: Shared
  private readonly isReader: boolean
  private readonly topics: PinnedTopics
  private readonly offsets: Offsets
  private readonly reading: Reading
  private readonly waiting: Waiting
  private readonly appenders = new Map<string, PartitionAppender>()
  private closed = false

  constructor(logId: string, cluster: Cluster, shared: Shared, isReader = false) {
    this.logId = logId
    this.cluster = cluster
    this.shared = shared
    this.isReader = isReader
    this.traits = { offsets: 'sparse', timestamps: 'declared', epochs: 'drawn', producers: 'kept', batches: 'kept' }
    this.topics = new PinnedTopics(cluster)
    this.offsets = new Offsets(cluster, this.topics)
    const purpose = isReader ? `fetch-${shared.readers++}` : 'fetch'
    const { topics, offsets } = this
    this.reading = new Reading({ cluster, topics, offsets, purpose, ahead: isReader })
    this.waiting = new Waiting(cluster, topics, purpose)
  }

  /**
   * The same log for one reader that goes through partitions from offset to offset: it asks ahead, on connections of its
   * own, and **the bytes of a chunk are good until the next fetch of the same partition through the same reader**. The
   * bytes of `fetch` of the log itself are the caller's for good. Ends with the log.
   */
  reader(): KafkaEventLog {
    return new KafkaEventLog(this.logId, this.cluster, this.shared, true)
  }

  async create(stream: string, options: NewStream): Promise<void> {
    this.checkOpen()
    checkStreamName(stream)
    const { partitions } = options
    checkPartitions(stream, partitions, undefined)
    const topic = this.topics.nameOf(stream)
    const find = () => this.cluster.retrying(`metadata of ${topic}`, topic, () => this.cluster.freshTopic(topic))
    const there = await find()
    checkEnough(stream, partitions, there)
    if (there !== null) return
    await createTopic(this.cluster.settings, topic, options)
    // Brokers hear of it one after the other; and somebody else may have made it meanwhile, another way.
    const deadline = performance.now() + this.cluster.settings.retryMs
    for (;;) {
      const made = await find()
      checkEnough(stream, partitions, made)
      if (made?.leaders.every((leader) => leader >= 0) === true) return
      if (performance.now() > deadline)
        throw new FeatureStoreError('FS_KAFKA_UNAVAILABLE', `topic ${topic} was made, but gets no leaders`)
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }

  async inspect(streams: readonly (NewStream & { readonly stream: string })[]): Promise<readonly StreamKeeping[]> {
    this.checkOpen()
    const topics = streams.map(({ stream, ...options }) => ({ ...options, topic: this.topics.nameOf(stream) }))
    const found = await Promise.all(
      topics.map(({ topic }) =>
        this.cluster.retrying(`metadata of ${topic}`, topic, () => this.cluster.freshTopic(topic)),
      ),
    )
    return keepingOf(
      this.cluster.settings,
      topics.map((topic, index) => ({ ...topic, there: found[index]?.leaders.length ?? null })),
    )
  }

  async describe(stream: string): Promise<readonly PartitionInfo[] | null> {
    this.checkOpen()
    const described = await this.offsets.describe(stream)
    if (described === null) return null
    const epochs = [{ epoch: epochOf(described.topic.topicId), firstOffset: offsetZero }]
    return described.ranges.map(({ start, end }) => ({ epochs, start: offset(start), end: offset(end) }))
  }

  async append(
    stream: string,
    partition: number,
    records: readonly LogRecord[],
    producer?: ProducerIdentity,
  ): Promise<AppendResult> {
    this.checkOpen()
    checkRecords(records)
    // Queued before anything is awaited: whoever asked first may not be overtaken while a broker is asked for the leader.
    if (records.length > 0) return this.appender(stream, partition).append(records, producer)
    const { topicId } = await this.leader(stream, partition)
    const { end } = await this.offsets.range(stream, partition)
    return { epoch: epochOf(topicId), firstOffset: offset(end), nextOffset: offset(end), clamped: 0 }
  }

  async fetch(stream: string, partition: number, from: Offset, maxBytes: number): Promise<LogChunk> {
    this.checkOpen()
    if (!Number.isSafeInteger(from) || from < 0)
      throw new FeatureStoreError('FS_REQUEST_INVALID', `${from} is no offset of ${stream}/${partition}`)
    return this.reading.fetch(stream, partition, from, Math.min(Math.max(maxBytes, 0), 2 ** 31 - 1))
  }

  async awaitMore(stream: string, from: readonly Offset[], ms: number): Promise<void> {
    this.checkOpen()
    await this.waiting.more(stream, from, ms)
  }

  async nextSequence(stream: string, partition: number, producerId: bigint): Promise<number> {
    this.checkOpen()
    await this.leader(stream, partition)
    const { cluster, topics, offsets } = this
    return producerSequence({ cluster, topics, offsets, stream, partition, producerId })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.closed = true
    if (!this.isReader) this.cluster[Symbol.dispose]()
  }

  private leader(stream: string, partition: number) {
    const topic = this.topics.nameOf(stream)
    return this.cluster.retrying(`metadata of ${topic}`, topic, () => this.topics.leaderOf(stream, partition))
  }

  private appender(stream: string, partition: number): PartitionAppender {
    const name = `${stream}/${partition}`
    const there = this.appenders.get(name)
    if (there !== undefined) return there
    const next = (...args: [string, number, bigint]) => this.nextSequence(...args)
    const appender = new PartitionAppender(this.cluster, this.topics, stream, partition, next)
    this.appenders.set(name, appender)
    return appender
  }

  private checkOpen(): void {
    if (this.closed) throw new FeatureStoreError('FS_CLOSED', 'the log is closed')
    this.cluster.checkOpen()
  }
}

/** Partitions that somebody added are read like the others. */
function checkEnough(stream: string, wanted: number, there: Topic | null): void {
  if (there !== null && there.leaders.length < wanted) checkPartitions(stream, wanted, there.leaders.length)
}
