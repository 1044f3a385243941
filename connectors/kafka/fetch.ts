import { FeatureStoreError } from '../../core/errors.ts'
import { keepCommitted } from './aborted.ts'
import { type ResponseBuffers } from './buffers.ts'
import { type Connection } from './connection.ts'
import { answerError } from './errors.ts'
import { type Settings } from './options.ts'
import { KafkaCode } from './protocol/codes.ts'
import { fetch, type FetchedPartition, type FetchResponse } from './protocol/fetch.ts'

export interface FetchAsk {
  /** For messages: `topic/partition`. */
  readonly name: string
  readonly topicId: string
  readonly partition: number
  readonly offset: number
  readonly maxBytes: number
}

export type FetchAnswer =
  | {
      readonly kind: 'batches'
      /** Whole batches back to back, in the response's buffer; good until `release`. */
      readonly bytes: Uint8Array
      readonly baseOffset: number
      readonly nextOffset: number
      /** The caller looks at `bytes` no more. Once. */
      release(): void
    }
  | { readonly kind: 'out-of-range' }

interface Pending extends FetchAsk {
  maxBytes: number
  /** In a request of its own. */
  alone: boolean
  /** Answers without a byte although there are some. */
  emptyAnswers: number
  resolve(answer: FetchAnswer): void
  reject(error: unknown): void
}

export interface FetcherOptions {
  readonly connect: () => Promise<Connection>
  readonly buffers: ResponseBuffers
  readonly settings: Settings
}

/** Requests on the way at a time: while the bytes of one are walked, the next is there or comes. */
const depth = 2
/** Most bytes asked for at a time, over all partitions. */
const requestBytesMax = 32 * 1024 * 1024
const emptyAnswersMax = 5
const noBytes = new Uint8Array(0)

/**
 * Fetches from one broker. What is asked for while requests are on the way goes into the next one together: one request
 * for many partitions. Nobody is asked for what nobody asked for, so a reader that stops reading stops its partitions.
 *
 *     ask(p0) ─┐                                ask(p1) ─┐   ask(p2) ─┐
 *              ├─► Fetch {p0} ─► response ─► p0          └────────────┴─► Fetch {p1, p2} ─► …
 *
 * It never waits at the broker: a partition without new data answers empty at once.
 */
export class BrokerFetcher {
  private readonly options: FetcherOptions
  private readonly queue: Pending[] = []
  private readonly requestBytesMax: number
  private onTheWay = 0
  private scheduled = false
  private connected: Connection | null = null
  /** performance.now() before which the broker wants to hear nothing (throttle_time_ms). */
  private quietUntil = 0

  constructor(options: FetcherOptions) {
    this.options = options
    // A response is longer than this only where its first batch alone is: then that batch is what is too long.
    this.requestBytesMax = Math.min(requestBytesMax, Math.floor(options.settings.responseBytesMax / 2))
  }

  /**
   * Errors: a TransientAnswer when the leader is another one by now; FS_KAFKA_UNAVAILABLE, FS_KAFKA_AUTH, FS_KAFKA_TLS,
   * FS_KAFKA_PROTOCOL; FS_LOG_CORRUPT; FS_LIMIT_EXCEEDED when a batch is larger than responseBytesMax.
   */
  ask(ask: FetchAsk): Promise<FetchAnswer> {
    const { promise, resolve, reject } = Promise.withResolvers<FetchAnswer>()
    this.queue.push({ ...ask, alone: false, emptyAnswers: 0, resolve, reject })
    this.schedule()
    return promise
  }

  /** In a microtask, so that what is asked in the same turn goes together. */
  private schedule(): void {
    if (this.scheduled || this.onTheWay >= depth || this.queue.length === 0) return
    this.scheduled = true
    queueMicrotask(() => {
      this.scheduled = false
      if (this.queue.length > 0 && this.onTheWay < depth) void this.send()
    })
  }

  private async send(): Promise<void> {
    this.onTheWay++
    let asked: Pending[] = []
    try {
      const quietMs = this.quietUntil - performance.now()
      if (quietMs > 0) await new Promise((resolve) => setTimeout(resolve, quietMs))
      // Without an await where there is a connection: the request is then out before anybody walks the bytes before it.
      if (this.connected?.open !== true) this.connected = await this.options.connect()
      asked = this.takeQueued()
      if (asked.length > 0) await this.exchange(this.connected, asked)
    } catch (error) {
      this.failed(asked.length > 0 ? asked : this.queue.splice(0), error)
    } finally {
      this.onTheWay--
      this.schedule()
    }
  }

  private takeQueued(): Pending[] {
    let bytes = 0
    let count = 0
    for (const { maxBytes, alone } of this.queue) {
      if (count > 0 && (alone || bytes + maxBytes > this.requestBytesMax)) break
      bytes += maxBytes
      count++
      if (alone) break
    }
    return this.queue.splice(0, count)
  }

  private async exchange(connection: Connection, asked: readonly Pending[]): Promise<void> {
    const sum = asked.reduce((bytes, each) => bytes + each.maxBytes, 0)
    const maxBytes = Math.min(Math.max(sum, 1), this.requestBytesMax)
    const partitions = asked.map(({ topicId, partition, offset, maxBytes }) => ({
      topicId,
      partition,
      offset,
      maxBytes,
    }))
    const request = { partitions, maxBytes, maxWaitMs: 0, minBytes: 0 }
    const response = await connection.request(fetch, request, { buffers: this.options.buffers })
    if (response.throttleMs > 0) {
      this.quietUntil = performance.now() + response.throttleMs
      this.options.settings.logger.debug('kafka.throttled', { broker: connection.address, ms: response.throttleMs })
    }
    if (response.code !== 0) throw answerError(response.code, `Fetch from broker ${connection.address}`)
    this.deliver(response, asked)
  }

  private deliver(response: FetchResponse, asked: readonly Pending[]): void {
    const holders = new Holders(response.bytes, this.options.buffers)
    for (const pending of asked) {
      const there = response.partitions.find(
        (each) => each.partition === pending.partition && each.topicId === pending.topicId,
      )
      try {
        // A throttled broker leaves partitions out.
        if (there === undefined) this.again(pending)
        else this.answer(pending, there, response.bytes, holders)
      } catch (error) {
        pending.reject(error)
      }
    }
    holders.release()
  }

  private answer(pending: Pending, there: FetchedPartition, bytes: Uint8Array, holders: Holders): void {
    const { name, offset } = pending
    if (there.code === KafkaCode.offsetOutOfRange) return pending.resolve({ kind: 'out-of-range' })
    if (there.code === KafkaCode.corruptMessage)
      throw new FeatureStoreError('FS_LOG_CORRUPT', `${name} at offset ${offset}: the broker finds the batch corrupt`)
    if (there.code !== 0) throw answerError(there.code, `Fetch of ${name}`)
    const { from, to, aborted, lastStableOffset } = there
    // The bytes were used up by the partitions before it in the request; or the broker is throttled.
    if (from === to && offset < lastStableOffset && ++pending.emptyAnswers < emptyAnswersMax) return this.again(pending)
    const { end, baseOffset, nextOffset, needed } = keepCommitted({ bytes, from, to, asked: offset, aborted, name })
    if (needed > 0) {
      pending.maxBytes = Math.max(needed, pending.maxBytes)
      return this.again(pending)
    }
    if (end === from)
      return pending.resolve({ kind: 'batches', bytes: noBytes, baseOffset: offset, nextOffset, release: () => {} })
    pending.resolve({
      kind: 'batches',
      bytes: bytes.subarray(from, end),
      baseOffset,
      nextOffset,
      release: holders.hold(),
    })
  }

  /** First in the next request, where the broker sends at least one batch however large it is. */
  private again(pending: Pending): void {
    this.queue.unshift(pending)
  }

  private failed(asked: readonly Pending[], error: unknown): void {
    const tooLong = error instanceof FeatureStoreError && error.code === 'FS_LIMIT_EXCEEDED'
    for (const pending of asked) {
      if (!tooLong) pending.reject(error)
      else if (asked.length > 1) this.askAlone(pending)
      else pending.reject(tooLongAt(pending, error))
    }
  }

  /** One of them has a batch that is too long; the others are not to suffer for it. */
  private askAlone(pending: Pending): void {
    pending.alone = true
    this.queue.push(pending)
  }
}

function tooLongAt({ name, offset }: FetchAsk, error: FeatureStoreError): FeatureStoreError {
  const options = { cause: error, remedy: error.remedy }
  return new FeatureStoreError('FS_LIMIT_EXCEEDED', `${name} at offset ${offset}: ${error.message}`, options)
}

/** A response's buffer goes back when the last partition of it is done with. */
class Holders {
  private count = 1
  private readonly bytes: Uint8Array
  private readonly buffers: ResponseBuffers

  constructor(bytes: Uint8Array, buffers: ResponseBuffers) {
    this.bytes = bytes
    this.buffers = buffers
  }

  hold(): () => void {
    this.count++
    let held = true
    return () => {
      if (held) this.release()
      held = false
    }
  }

  release(): void {
    if (--this.count === 0) this.buffers.give(this.bytes)
  }
}
