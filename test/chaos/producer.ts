import { setTimeout as sleep } from 'node:timers/promises'
import { fieldsWritten } from '../../core/definition/corrections.ts'
import type { StreamDefinition } from '../../core/definition/types.ts'
import { FeatureStoreError } from '../../core/errors.ts'
import type { EventLog, LogRecord } from '../../core/ports/event-log.ts'
import { compileEncoder, streamSchema, type AvroSchema, type RowEncoder } from '../../schemas/avro/index.ts'
import { parseEvent } from '../../worker/ingest/append.ts'
import type { Prng } from '../support/prng.ts'
import { Payments, type Lines } from './payments.ts'

export interface ProducerOptions {
  readonly log: EventLog
  readonly putSchema: (stream: string, schema: AvroSchema) => Promise<unknown>
  /** Of payments and of visits. */
  readonly streams: Readonly<Record<keyof Lines, StreamDefinition>>
  readonly random: Prng
  /** Payments a time. Default 10. */
  readonly paymentsPerTick?: number
  /** Pause between two times, milliseconds. Default 50. */
  readonly everyMs?: number
  /** Before an append that was not answered is asked for, milliseconds. Default 200. */
  readonly retryMs?: number
}

/** Where partitions end, by stream and partition: offsets. */
export type Ends = Readonly<Record<string, readonly number[]>>

interface Writing {
  readonly stream: StreamDefinition
  readonly encoder: RowEncoder
  /** By partition: records that are in the log for certain. */
  readonly written: number[]
}

/** The only one of its topics, which are new. */
const producerId = 1n << 61n
const appendMsMax = 300_000

/**
 * Appends payments and visits as long as it runs, and knows exactly what the log has: each append bears an identity, and
 * one whose answer is lost is asked for and sent again until it is certain. The only writer of its streams, so that a
 * partition's end is the number of records that it wrote there.
 */
export class Producer {
  readonly payments: Payments
  readonly #options: ProducerOptions
  readonly #writings: Readonly<Record<keyof Lines, Writing>>
  #waiting: PromiseWithResolvers<Ends>[] = []
  #isStopped = false
  #failure: { readonly error: unknown } | null = null
  readonly #running: Promise<void>

  private constructor(options: ProducerOptions) {
    this.#options = options
    this.payments = new Payments(options.random)
    const { payments, visits } = options.streams
    this.#writings = { payments: writingOf(payments), visits: writingOf(visits) }
    this.#running = this.#run().catch((error: unknown) => {
      this.#failure = { error }
      for (const { reject } of this.#waiting.splice(0)) reject(error)
    })
  }

  static async start(options: ProducerOptions): Promise<Producer> {
    const { streams, log, putSchema } = options
    for (const stream of Object.values(streams)) {
      await log.create(stream.name, { partitions: stream.partitions })
      await putSchema(stream.name, schemaOf(stream))
    }
    return new Producer(options)
  }

  /** Records that are in the log for certain. */
  get records(): number {
    return this.recordsOf('payments') + this.recordsOf('visits')
  }

  recordsOf(stream: keyof Lines): number {
    return this.#writings[stream].written.reduce((sum, count) => sum + count, 0)
  }

  /** Where the log ends once it has something new: appends that begin after this call. */
  appended(): Promise<Ends> {
    if (this.#failure !== null) return Promise.reject(this.#failure.error)
    if (this.#isStopped) return this.#running.then(() => this.#ends())
    const waiting = Promise.withResolvers<Ends>()
    this.#waiting.push(waiting)
    return waiting.promise
  }

  /** What was begun is written first. Errors: that for which it ended by itself. Stopping twice is safe. */
  async stop(): Promise<void> {
    this.#isStopped = true
    await this.#running
    if (this.#failure !== null) throw this.#failure.error
  }

  #ends(): Ends {
    return Object.fromEntries(Object.entries(this.#writings).map(([name, { written }]) => [name, [...written]]))
  }

  async #run(): Promise<void> {
    const { paymentsPerTick = 10, everyMs = 50 } = this.#options
    const { payments, visits } = this.#writings
    while (!this.#isStopped) {
      const waiting = this.#waiting.splice(0)
      const lines = this.payments.next(paymentsPerTick, Date.now())
      try {
        await Promise.all([this.#append(payments, lines.payments), this.#append(visits, lines.visits)])
      } catch (error) {
        for (const { reject } of waiting) reject(error)
        throw error
      }
      for (const { resolve } of waiting) resolve(this.#ends())
      await sleep(everyMs)
    }
    for (const { resolve } of this.#waiting.splice(0)) resolve(this.#ends())
  }

  async #append(writing: Writing, lines: readonly string[]): Promise<void> {
    const batches = new Map<number, LogRecord[]>()
    for (const line of lines) {
      const { key, fields, knownAtMs, partition } = parseEvent(writing.stream, line, Date.now())
      const records = batches.get(partition) ?? []
      batches.set(partition, records)
      records.push({ key, value: writing.encoder.encode(fields), timestampMs: knownAtMs })
    }
    await Promise.all([...batches].map(([partition, records]) => this.#write(writing, partition, records)))
  }

  async #write({ stream, written }: Writing, partition: number, records: readonly LogRecord[]): Promise<void> {
    const { log, retryMs = 200 } = this.#options
    const baseSequence = written[partition] as number
    const end = baseSequence + records.length
    const until = performance.now() + appendMsMax
    for (;;) {
      try {
        await log.append(stream.name, partition, records, { producerId, baseSequence })
        written[partition] = end
        return
      } catch (error) {
        if (!isUncertain(error) || performance.now() > until) throw error
      }
      await sleep(retryMs)
      if ((await this.#found(stream.name, partition, baseSequence)) !== end) continue
      written[partition] = end
      return
    }
  }

  /** Where the log stands, or where it stood where it does not answer. */
  async #found(stream: string, partition: number, baseSequence: number): Promise<number> {
    let next: number
    try {
      next = await this.#options.log.nextSequence(stream, partition, producerId)
    } catch (error) {
      if (!isUncertain(error)) throw error
      return baseSequence
    }
    if (next < baseSequence)
      throw new Error(`the log had ${baseSequence} records of ${stream}/${partition} and has ${next}`)
    return next
  }
}

const schemaOf = (stream: StreamDefinition): AvroSchema => streamSchema(stream.name, fieldsWritten(stream))

const writingOf = (stream: StreamDefinition): Writing => ({
  stream,
  encoder: compileEncoder(schemaOf(stream)),
  written: new Array<number>(stream.partitions).fill(0),
})

/** It did not answer, or it has the append already. */
const isUncertain = (error: unknown): boolean =>
  error instanceof FeatureStoreError && (error.kind === 'unavailable' || error.code === 'FS_POSITION_GAP')
