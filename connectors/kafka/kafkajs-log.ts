/**
 * The plain twin of KafkaEventLog: the same port, with kafkajs's consumer and producer doing the work. Messages are
 * objects there, and become batches again here; record headers are lost on the way. For comparison and for doubt: it is
 * about twenty times slower, and it waits for a group to form.
 *
 * Not for transactions that overlap: kafkajs 2.2.4 takes the aborted transactions in the order in which they ended
 * (consumer/filterAbortedMessages.js), so records of one that began before another and ended after it come through.
 */
import kafkajs, {
  type Consumer,
  type ConsumerEndBatchProcessEvent,
  type EachBatchPayload,
  type Kafka,
  type Producer,
} from 'kafkajs'
import { zstdDecompressSync } from 'node:zlib'
import { FeatureStoreError, notYet } from '../../core/errors.ts'
import { offset, type Offset } from '../../core/event/position.ts'
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
import { lz4Frame } from '../../schemas/compression/lz4.ts'
import { snappy } from '../../schemas/compression/snappy.ts'
import { type BatchRecord, encodeBatch } from '../../schemas/recordbatch/index.ts'
import { decompressedBytesMax } from '../../schemas/recordbatch/walk.ts'
import { appendBytesMax } from '../log/append.ts'
import { kafkajsOf } from './admin.ts'
import { checkRecords } from './append.ts'
import { settingsOf } from './cluster.ts'
import { unavailable } from './errors.ts'
import { type KafkaEventLog, openKafkaLog } from './log.ts'
import { type KafkaOptions, type Settings } from './options.ts'

interface Message extends BatchRecord {
  readonly offset: number
}

/** Where one partition stands in kafkajs's consumer. */
interface Place {
  /** Everything below was delivered or filtered. */
  position: number
  readonly queue: Message[]
}

/** A topic's consumer in a group of its own; partitions are paused but while somebody waits for them. */
interface Running {
  readonly consumer: Consumer
  readonly places: Map<number, Place>
  /** Wakes who waits for a batch. */
  wake: PromiseWithResolvers<void>
}

export async function openKafkajsLog(options: KafkaOptions): Promise<KafkajsLog> {
  return new KafkajsLog(await openKafkaLog(options), settingsOf(options))
}

export class KafkajsLog implements EventLog, AsyncDisposable {
  readonly logId: string
  readonly traits: EventLogTraits
  private readonly base: KafkaEventLog
  private readonly settings: Settings
  private readonly kafka: Kafka
  private producer: Promise<Producer> | null = null
  private readonly consumers = new Map<string, Promise<Running>>()
  private last: Promise<unknown> = Promise.resolve()

  constructor(base: KafkaEventLog, settings: Settings) {
    this.logId = base.logId
    this.traits = { ...base.traits, producers: 'none', batches: 'made' }
    this.base = base
    this.settings = settings
    this.kafka = kafkajsOf(settings)
    registerCodecs()
  }

  create(stream: string, options: NewStream): Promise<void> {
    return this.base.create(stream, options)
  }

  inspect(streams: readonly (NewStream & { readonly stream: string })[]): Promise<readonly StreamKeeping[]> {
    return this.base.inspect(streams)
  }

  describe(stream: string): Promise<readonly PartitionInfo[] | null> {
    return this.base.describe(stream)
  }

  nextSequence(stream: string, partition: number, producerId: bigint): Promise<number> {
    return this.base.nextSequence(stream, partition, producerId)
  }

  append(
    stream: string,
    partition: number,
    records: readonly LogRecord[],
    producer?: ProducerIdentity,
  ): Promise<AppendResult> {
    // Queued within the call: whoever asked first may not be overtaken while the broker is asked about the partition.
    const result = this.last.then(() => this.appendNow(stream, partition, records, producer))
    this.last = result.catch(() => {})
    return result
  }

  async fetch(stream: string, partition: number, from: Offset, maxBytes: number): Promise<LogChunk> {
    const { start, end } = await this.partition(stream, partition)
    if (from >= 0 && from < start)
      throw new FeatureStoreError('FS_HISTORY_TRIMMED', `${stream}/${partition} begins at offset ${start} by now`)
    if (!Number.isSafeInteger(from) || from < 0 || from > end)
      throw new FeatureStoreError(
        'FS_REQUEST_INVALID',
        `offset ${from} of ${stream}/${partition} is not within ${start} to ${end}`,
      )
    if (from === end) return { bytes: new Uint8Array(0), baseOffset: from, nextOffset: from }
    const topic = this.settings.topicPrefix + stream
    const running = await this.running(topic)
    const place = await this.filled(running, topic, partition, from, end)
    return takeChunk(place, from, maxBytes)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const opened = [...this.consumers.values()].map((each) => each.then(({ consumer }) => consumer.disconnect()))
    if (this.producer !== null) opened.push(this.producer.then((producer) => producer.disconnect()))
    this.consumers.clear()
    this.producer = null
    await Promise.allSettled(opened)
    await this.base[Symbol.asyncDispose]()
  }

  private async partition(stream: string, partition: number): Promise<PartitionInfo> {
    const there = (await this.base.describe(stream))?.[partition]
    if (there === undefined)
      throw new FeatureStoreError('FS_STREAM_UNKNOWN', `the log has no partition ${stream}/${partition}`)
    return there
  }

  private async appendNow(
    stream: string,
    partition: number,
    records: readonly LogRecord[],
    producer: ProducerIdentity | undefined,
  ): Promise<AppendResult> {
    const { epochs, end } = await this.partition(stream, partition)
    if (producer !== undefined) throw notYet('an append of a named producer by kafkajs')
    checkRecords(records)
    const bytes = records.reduce((sum, { key, value }) => sum + value.length + (key?.length ?? 0), 0)
    if (bytes > appendBytesMax) throw new FeatureStoreError('FS_LIMIT_EXCEEDED', `an append of ${bytes} bytes`)
    const epoch = epochs[0]?.epoch ?? 0
    if (records.length === 0) return { epoch, firstOffset: end, nextOffset: end, clamped: 0 }
    const first = await this.send(stream, partition, records)
    return { epoch, firstOffset: offset(first), nextOffset: offset(first + records.length), clamped: 0 }
  }

  private async send(stream: string, partition: number, records: readonly LogRecord[]): Promise<number> {
    this.producer ??= connectedProducer(this.kafka)
    const messages = records.map(({ key, value, timestampMs }) => ({
      key: key === null ? null : Buffer.from(key),
      value: Buffer.from(value),
      timestamp: String(timestampMs),
      partition,
    }))
    const topic = this.settings.topicPrefix + stream
    const results = await (await this.producer).send({ topic, messages, acks: -1 })
    return Number(results[0]?.baseOffset)
  }

  private running(topic: string): Promise<Running> {
    const there = this.consumers.get(topic)
    if (there !== undefined) return there
    const group = Buffer.from(this.settings.random.bytes(8)).toString('hex')
    const running = startConsumer(this.kafka, topic, `${this.settings.clientId}-twin-${group}`)
    this.consumers.set(topic, running)
    return running
  }

  /** The place of the partition at `from`, with messages in its queue or its position at the end. */
  private async filled(running: Running, topic: string, partition: number, from: number, end: number): Promise<Place> {
    const { consumer, places } = running
    let place = places.get(partition)
    const first = place?.queue[0]?.offset ?? place?.position
    // A queue may begin behind `from`, where what lies between was filtered.
    if (place === undefined || first === undefined || place.position < from || !reaches(place, from)) {
      place = { position: from, queue: [] }
      places.set(partition, place)
      consumer.seek({ topic, partition, offset: String(from) })
    }
    const deadline = performance.now() + this.settings.requestTimeoutMs
    while (place.queue.length === 0 && place.position < end) {
      consumer.resume([{ topic, partitions: [partition] }])
      const late = new Promise((resolve) => setTimeout(resolve, 100))
      await Promise.race([running.wake.promise, late])
      if (performance.now() > deadline)
        throw unavailable(`kafkajs gives nothing of ${topic}/${partition} at ${from} within the time`)
    }
    return place
  }
}

/** Whether a chunk of the place may begin at `from`: it is where the last one ended. */
const reaches = (place: Place, from: number): boolean =>
  place.queue.length === 0 ? place.position === from : nextOf.get(place) === from

/** Where the last chunk of a place ended. */
const nextOf = new WeakMap<Place, number>()

function takeChunk(place: Place, from: Offset, maxBytes: number): LogChunk {
  const { queue } = place
  let bytes = 0
  let count = 0
  for (; count < queue.length; count++) {
    const { key, value } = queue[count] as Message
    bytes += (key?.length ?? 0) + (value?.length ?? 0)
    if (count > 0 && bytes > maxBytes) break
  }
  const taken = queue.splice(0, count)
  const next = queue[0] === undefined ? place.position : (taken.at(-1)?.offset ?? from) + 1
  nextOf.set(place, next)
  return { bytes: encoded(taken), baseOffset: offset(taken[0]?.offset ?? from), nextOffset: offset(next) }
}

/** A batch for each stretch of offsets without a gap. */
function encoded(messages: readonly Message[]): Uint8Array {
  const batches: Uint8Array[] = []
  for (let from = 0; from < messages.length;) {
    const base = (messages[from] as Message).offset
    let to = from + 1
    while (messages[to]?.offset === base + to - from) to++
    batches.push(encodeBatch(messages.slice(from, to), { baseOffset: base }))
    from = to
  }
  return Uint8Array.from(Buffer.concat(batches))
}

async function connectedProducer(kafka: Kafka): Promise<Producer> {
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1, allowAutoTopicCreation: false })
  await producer.connect()
  return producer
}

async function startConsumer(kafka: Kafka, topic: string, groupId: string): Promise<Running> {
  const consumer = kafka.consumer({ groupId, allowAutoTopicCreation: false, maxWaitTimeInMs: 20 })
  const running: Running = { consumer, places: new Map(), wake: Promise.withResolvers() }
  const joined = Promise.withResolvers<void>()
  consumer.on(consumer.events.GROUP_JOIN, () => joined.resolve())
  consumer.on(consumer.events.END_BATCH_PROCESS, (event) => onEnd(running, event))
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  await consumer.run({ autoCommit: false, eachBatch: (payload) => onBatch(running, payload) })
  await joined.promise
  return running
}

/** Takes a batch that goes on where the partition stands; any other is from before a seek. */
async function onBatch({ places }: Running, { batch, pause, resolveOffset }: EachBatchPayload): Promise<void> {
  const place = places.get(batch.partition)
  pause()
  if (place === undefined || batch.firstOffset() !== String(place.position)) return
  for (const { key, value, timestamp, offset } of batch.messages)
    place.queue.push({ key, value, timestampMs: Number(timestamp), offset: Number(offset) })
  resolveOffset(batch.lastOffset())
}

/** Also of batches in which everything was filtered, which `onBatch` never sees. */
function onEnd(running: Running, { payload }: ConsumerEndBatchProcessEvent): void {
  const place = running.places.get(payload.partition)
  if (place === undefined || payload.firstOffset !== String(place.position)) return
  place.position = Number(payload.lastOffset) + 1
  running.wake.resolve()
  running.wake = Promise.withResolvers()
}

/** kafkajs has gzip; the others are the decoders of schemas/compression. Only for reading. */
function registerCodecs(): void {
  const { CompressionCodecs, CompressionTypes } = kafkajs
  const codec = (decompress: (bytes: Buffer) => Uint8Array) => () => ({
    compress: () => Promise.reject(notYet('compressing by kafkajs')),
    decompress: async (bytes: Buffer) => Buffer.from(decompress(bytes)),
  })
  CompressionCodecs[CompressionTypes.Snappy] = codec((bytes) => snappy(bytes, decompressedBytesMax))
  CompressionCodecs[CompressionTypes.LZ4] = codec((bytes) => lz4Frame(bytes, decompressedBytesMax))
  CompressionCodecs[CompressionTypes.ZSTD] = codec((bytes) =>
    zstdDecompressSync(bytes, { maxOutputLength: decompressedBytesMax }),
  )
}
