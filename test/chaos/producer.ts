import { setTimeout as sleep } from 'node:timers/promises'
import { fieldsWritten } from '../../core/definition/corrections.ts'
import type { StreamDefinition } from '../../core/definition/types.ts'
import { FeatureStoreError } from '../../core/errors.ts'
import type { EventLog, LogRecord } from '../../core/ports/event-log.ts'
import { compileEncoder, streamSchema, type AvroSchema } from '../../schemas/avro/index.ts'
import { parseEvent } from '../../worker/ingest/append.ts'
import type { Prng } from '../support/prng.ts'
import { Payments } from './payments.ts'

export interface ProducerOptions {
  readonly log: EventLog
  readonly putSchema: (stream: string, schema: AvroSchema) => Promise<unknown>
  readonly stream: StreamDefinition
  readonly random: Prng
  /** Payments a time. Default 10. */
  readonly paymentsPerTick?: number
  /** Pause between two times, milliseconds. Default 50. */
  readonly everyMs?: number
  /** Before an append that was not answered is asked for, milliseconds. Default 200. */
  readonly retryMs?: number
}

/** The only one of its topic, which is new. */
const producerId = 1n << 61n
const appendMsMax = 300_000

/**
 * Appends payments as long as it runs, and knows exactly what the log has: each append bears an identity, and one whose
 * answer is lost is asked for and sent again until it is certain. The only writer of its stream, so that a partition's
 * end is the number of records that it wrote there.
 */
export class Producer {
  readonly payments: Payments
  readonly #options: ProducerOptions
  readonly #encode: (fields: Parameters<ReturnType<typeof compileEncoder>['encode']>[0]) => Uint8Array
  /** By partition: records that are in the log for certain. */
  readonly #written: number[]
  #waiting: PromiseWithResolvers<readonly number[]>[] = []
  #isStopped = false
  #failure: { readonly error: unknown } | null = null
  readonly #running: Promise<void>

  private constructor(options: ProducerOptions) {
    this.#options = options
    this.payments = new Payments(options.random)
    this.#written = new Array<number>(options.stream.partitions).fill(0)
    const encoder = compileEncoder(streamSchema(options.stream.name, fieldsWritten(options.stream)))
    this.#encode = (fields) => encoder.encode(fields)
    this.#running = this.#run().catch((error: unknown) => {
      this.#failure = { error }
      for (const { reject } of this.#waiting.splice(0)) reject(error)
    })
  }

  static async start(options: ProducerOptions): Promise<Producer> {
    const { stream, log, putSchema } = options
    await log.create(stream.name, { partitions: stream.partitions })
    await putSchema(stream.name, streamSchema(stream.name, fieldsWritten(stream)))
    return new Producer(options)
  }

  /** Records that are in the log for certain. */
  get records(): number {
    return this.#written.reduce((sum, count) => sum + count, 0)
  }

  /** Ends of the partitions once the log has something in each way new: appends that begin after this call. */
  appended(): Promise<readonly number[]> {
    if (this.#failure !== null) return Promise.reject(this.#failure.error)
    if (this.#isStopped) return Promise.resolve([...this.#written])
    const waiting = Promise.withResolvers<readonly number[]>()
    this.#waiting.push(waiting)
    return waiting.promise
  }

  /** What was begun is written first. Errors: that for which it ended by itself. Stopping twice is safe. */
  async stop(): Promise<void> {
    this.#isStopped = true
    await this.#running
    if (this.#failure !== null) throw this.#failure.error
  }

  async #run(): Promise<void> {
    const { paymentsPerTick = 10, everyMs = 50, stream } = this.#options
    while (!this.#isStopped) {
      const waiting = this.#waiting.splice(0)
      const batches = new Map<number, LogRecord[]>()
      for (const line of this.payments.next(paymentsPerTick, Date.now())) {
        const { key, fields, knownAtMs, partition } = parseEvent(stream, line, Date.now())
        const records = batches.get(partition) ?? []
        batches.set(partition, records)
        records.push({ key, value: this.#encode(fields), timestampMs: knownAtMs })
      }
      try {
        await Promise.all([...batches].map(([partition, records]) => this.#write(partition, records)))
      } catch (error) {
        for (const { reject } of waiting) reject(error)
        throw error
      }
      for (const { resolve } of waiting) resolve([...this.#written])
      await sleep(everyMs)
    }
    for (const { resolve } of this.#waiting.splice(0)) resolve([...this.#written])
  }

  async #write(partition: number, records: readonly LogRecord[]): Promise<void> {
    const { log, stream, retryMs = 200 } = this.#options
    const baseSequence = this.#written[partition] as number
    const end = baseSequence + records.length
    const until = performance.now() + appendMsMax
    for (;;) {
      try {
        await log.append(stream.name, partition, records, { producerId, baseSequence })
        this.#written[partition] = end
        return
      } catch (error) {
        if (!isUncertain(error) || performance.now() > until) throw error
      }
      await sleep(retryMs)
      if ((await this.#found(partition, baseSequence)) !== end) continue
      this.#written[partition] = end
      return
    }
  }

  /** Where the log stands, or where it stood where it does not answer. */
  async #found(partition: number, baseSequence: number): Promise<number> {
    const { log, stream } = this.#options
    let next: number
    try {
      next = await log.nextSequence(stream.name, partition, producerId)
    } catch (error) {
      if (!isUncertain(error)) throw error
      return baseSequence
    }
    if (next < baseSequence)
      throw new Error(`the log had ${baseSequence} records of partition ${partition} and has ${next}`)
    return next
  }
}

/** It did not answer, or it has the append already. */
const isUncertain = (error: unknown): boolean =>
  error instanceof FeatureStoreError && (error.kind === 'unavailable' || error.code === 'FS_POSITION_GAP')
