/**
 * Appending, by Kafka's idempotent protocol with producer ids of our own.
 *
 * A broker keeps, per partition and producer id, which sequence comes next, whoever gave the id: it takes a batch only
 * where it goes on, answers one that it has already with the offset of the first time, and refuses any other (KIP-98,
 * "Idempotent Producer"). So the producer id and sequence of the port are those of the batch, as in the embedded log:
 * an import that is cut short and run again cannot write a record twice, even while a request of the killed process is
 * still on its way to the broker. kafkajs cannot say which id a batch bears, which is why it does not write them.
 *
 * The leader forgets a producer that has not written for `producer.id.expiration.ms` (a day by default). Its sequence is
 * then read from the batch headers of the partition, and the broker takes whatever sequence comes next.
 */
import { FeatureStoreError } from '../../core/errors.ts'
import { offset } from '../../core/event/position.ts'
import { type AppendResult, type LogRecord, type ProducerIdentity } from '../../core/ports/event-log.ts'
import { encodeBatch } from '../../schemas/recordbatch/index.ts'
import { appendBytesMax, appendRecordsMax } from '../log/append.ts'
import { type Cluster } from './cluster.ts'
import { answerError } from './errors.ts'
import { KafkaCode } from './protocol/codes.ts'
import { produce } from './protocol/produce.ts'
import { type PinnedTopics } from './topics.ts'
import { epochOf } from './epoch.ts'

/** The wire has 31 bits for a sequence; a broker goes on from 0 behind them, but cannot tell which round it is. */
export const sequenceMax = 2 ** 31
/** Appends that wait for one partition; more are refused. */
const waitingMax = 1_000

export type NextSequence = (stream: string, partition: number, producerId: bigint) => Promise<number>

/** Appends to one partition: one after the other, in the order of the calls. */
export class PartitionAppender {
  private readonly cluster: Cluster
  private readonly topics: PinnedTopics
  private readonly stream: string
  private readonly partition: number
  private readonly nextSequence: NextSequence
  private last: Promise<unknown> = Promise.resolve()
  private waiting = 0
  /** Sequences as far as they are certain; one whose append failed is asked for again. */
  private readonly sequences = new Map<bigint, number>()
  /** Who writes what the caller gave no identity for. */
  private anonymous: bigint | null = null

  constructor(cluster: Cluster, topics: PinnedTopics, stream: string, partition: number, nextSequence: NextSequence) {
    this.cluster = cluster
    this.topics = topics
    this.stream = stream
    this.partition = partition
    this.nextSequence = nextSequence
  }

  append(records: readonly LogRecord[], producer: ProducerIdentity | undefined): Promise<AppendResult> {
    if (this.waiting >= waitingMax)
      return Promise.reject(
        new FeatureStoreError('FS_LIMIT_EXCEEDED', `${waitingMax} appends to ${this.name} are waiting already`),
      )
    this.waiting++
    const result = this.last.then(() => this.write(records, producer)).finally(() => this.waiting--)
    this.last = result.catch(() => {})
    return result
  }

  private get name(): string {
    return `${this.stream}/${this.partition}`
  }

  private async write(records: readonly LogRecord[], producer: ProducerIdentity | undefined): Promise<AppendResult> {
    const identity = producer ?? this.ownIdentity()
    const { producerId, baseSequence } = identity
    const known = this.sequences.get(producerId)
    // What is known may be out of date: another process may have appended as the same producer.
    const expected = known === baseSequence ? known : await this.nextSequence(this.stream, this.partition, producerId)
    if (baseSequence !== expected) throw this.gap(producerId, baseSequence, `expected ${expected}`)
    if (baseSequence + records.length > sequenceMax)
      throw new FeatureStoreError(
        'FS_LIMIT_EXCEEDED',
        `producer ${producerId} has written 2^31 records to ${this.name}`,
      )
    const batch = encodeBatch(records, { baseOffset: 0, producerId, producerEpoch: 0, baseSequence })
    if (batch.length > appendBytesMax)
      throw new FeatureStoreError(
        'FS_LIMIT_EXCEEDED',
        `an append of ${batch.length} bytes; at most ${appendBytesMax} go at a time`,
      )
    // Until it is acknowledged, nobody knows whether it is in the log.
    this.sequences.delete(producerId)
    try {
      const { baseOffset, topicId } = await this.send(batch, identity)
      this.sequences.set(producerId, baseSequence + records.length)
      return {
        epoch: epochOf(topicId),
        firstOffset: offset(baseOffset),
        nextOffset: offset(baseOffset + records.length),
        clamped: 0,
      }
    } catch (error) {
      if (producer === undefined) this.anonymous = null
      throw error
    }
  }

  private async send(
    batch: Uint8Array,
    { producerId, baseSequence }: ProducerIdentity,
  ): Promise<{ readonly baseOffset: number; readonly topicId: string }> {
    const { cluster, topics, stream, partition } = this
    const topic = topics.nameOf(stream)
    const timeoutMs = cluster.settings.requestTimeoutMs
    return cluster.retrying(`append to ${this.name}`, topic, async () => {
      const { topicId, leader } = await topics.leaderOf(stream, partition)
      const connection = await cluster.connection(leader, 'produce')
      const request = { topic, partition, batch, timeoutMs: Math.ceil(timeoutMs * 0.9) }
      const { code, baseOffset, message, throttleMs } = await connection.request(produce, request)
      if (throttleMs > 0) await new Promise((resolve) => setTimeout(resolve, throttleMs))
      if (code === KafkaCode.outOfOrderSequence || code === KafkaCode.duplicateSequence)
        throw this.gap(producerId, baseSequence, 'another process has appended as the same producer')
      if (code === KafkaCode.messageTooLarge || code === KafkaCode.recordListTooLarge)
        throw new FeatureStoreError('FS_LIMIT_EXCEEDED', `topic ${topic} takes no batch of ${batch.length} bytes`, {
          remedy: 'Raise max.message.bytes of the topic, or append less at a time.',
        })
      if (code === KafkaCode.invalidTimestamp)
        throw new FeatureStoreError('FS_EVENT_INVALID', `topic ${topic} does not take the timestamps: ${message ?? ''}`)
      if (code !== 0) throw answerError(code, `Produce to ${this.name}`, message)
      return { baseOffset, topicId }
    })
  }

  private ownIdentity(): ProducerIdentity {
    if (
      this.anonymous === null ||
      (this.sequences.get(this.anonymous) ?? sequenceMax) + appendRecordsMax > sequenceMax
    ) {
      const bytes = Buffer.from(this.cluster.settings.random.bytes(8))
      // Above 2^62: a broker gives ids from 0 on.
      this.anonymous = (bytes.readBigUInt64BE(0) >> 2n) | (1n << 62n)
      this.sequences.set(this.anonymous, 0)
    }
    return { producerId: this.anonymous, baseSequence: this.sequences.get(this.anonymous) ?? 0 }
  }

  private gap(producerId: bigint, baseSequence: number, why: string): FeatureStoreError {
    return new FeatureStoreError(
      'FS_POSITION_GAP',
      `producer ${producerId} appends sequence ${baseSequence} to ${this.name}: ${why}`,
    )
  }
}

/** Errors: FS_LIMIT_EXCEEDED, FS_EVENT_INVALID. Before anything is sent. */
export function checkRecords(records: readonly LogRecord[]): void {
  if (records.length > appendRecordsMax)
    throw new FeatureStoreError(
      'FS_LIMIT_EXCEEDED',
      `an append of ${records.length} records; at most ${appendRecordsMax} go at a time`,
    )
  for (const { timestampMs } of records)
    if (!Number.isInteger(timestampMs))
      throw new FeatureStoreError('FS_EVENT_INVALID', 'a record has a timestamp that is no epoch milliseconds')
}
