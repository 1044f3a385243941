import type { StreamDefinition } from '../core/definition/types.ts'
import { FeatureStoreError } from '../core/errors.ts'
import type { EventBatch } from '../core/event/batch.ts'
import { concatBatches, takeBelow } from '../core/event/batch-ops.ts'
import { offset, type Offset, type PartitionPosition } from '../core/event/position.ts'
import { lawfulTraits, type EventLog, type LogChunk, type PartitionInfo } from '../core/ports/event-log.ts'
import { RunningKnownAt } from './known-at.ts'
import { createStreamDecoder, type AvroSchema, type StreamDecoder } from './avro/index.ts'

/** Writer schema of a stream by its reference (a fingerprint or a registry's id, avro/framing.ts), or undefined. */
export interface WriterSchemas {
  (stream: string, ref: string): AvroSchema | undefined
  /**
   * Looks for schemas that were not known: awaited before a record is given up for want of one, so that whether it
   * decodes depends on the log alone. Absent: every schema of the log is known at once. Errors: those of where it looks.
   */
  readonly load?: (stream: string, refs: readonly string[]) => Promise<void>
}

export interface StreamReaderOptions {
  readonly log: EventLog
  readonly stream: StreamDefinition
  readonly schemas: WriterSchemas
  /** Fields to make columns of; default all. */
  readonly projection?: readonly string[]
  /**
   * Tables of strings that grow beyond it are begun anew with the next batch, bytes. A batch that is kept keeps its own;
   * codes of two tables do not agree. Default: they grow with the distinct strings.
   */
  readonly tableBytesMax?: number
  /** Batches share their arrays: each is done with before the next is read. */
  readonly reuse?: boolean
}

const scanBytes = 1 << 20

/** A log for one reader, or several that take turns. */
export const readerOf = (log: EventLog): EventLog => log.reader?.() ?? log

/** Reads a stream of the log as batches of columns. One decoder serves all partitions, so string codes agree. */
export class StreamReader {
  readonly stream: StreamDefinition
  readonly #log: EventLog
  readonly #newDecoder: () => StreamDecoder
  readonly #schemas: WriterSchemas
  /** Null: the log raises timestamps itself, and the stream takes any. */
  readonly #knownAt: RunningKnownAt | null
  readonly #tableBytesMax: number
  #decoder: StreamDecoder
  #partitions: readonly PartitionInfo[] = []
  /** What was asked for by `ask` and not read yet, by partition. */
  readonly #asked = new Map<number, { readonly from: Offset; readonly chunk: Promise<LogChunk> }>()

  constructor({ log, stream, schemas, projection, tableBytesMax, reuse }: StreamReaderOptions) {
    this.stream = stream
    this.#log = log
    this.#newDecoder = () =>
      createStreamDecoder({
        stream: stream.name,
        fields: stream.fields,
        eventTime: stream.eventTime,
        corrections: stream,
        schemas: (ref) => schemas(stream.name, ref),
        ...(projection === undefined ? {} : { projection }),
        ...(reuse === undefined ? {} : { reuse }),
      })
    this.#schemas = schemas
    const { timestamps } = log.traits ?? lawfulTraits
    this.#knownAt =
      timestamps === 'raised' && stream.maxKnownAtJumpMs === undefined
        ? null
        : new RunningKnownAt(log, stream.name, stream.maxKnownAtJumpMs)
    this.#tableBytesMax = tableBytesMax ?? Number.POSITIVE_INFINITY
    this.#decoder = this.#newDecoder()
  }

  /** Looks at the log again; the partitions as they stand. Errors: FS_STREAM_UNKNOWN when the log has no such stream. */
  async refresh(): Promise<readonly PartitionInfo[]> {
    const partitions = await this.#log.describe(this.stream.name)
    if (partitions === null)
      throw new FeatureStoreError('FS_STREAM_UNKNOWN', `the log has no stream ${this.stream.name}`, {
        remedy: 'Run `tidemark apply` first.',
      })
    this.#partitions = partitions
    return partitions
  }

  /** Where the log ends now, by partition. */
  async ends(): Promise<PartitionPosition[]> {
    return (await this.refresh()).map(({ epochs, end }) => ({ epoch: epochs.at(-1)?.epoch ?? 0, next: end }))
  }

  /** Says what a stored position knows: the newest knownAt of a partition below `next`, so that it need not be looked for. */
  learnKnownAt(partition: number, next: number, knownAtMs: number): void {
    this.#knownAt?.learn(partition, next, knownAtMs)
  }

  /** Where the log ended when it was last looked at, by partition. */
  get partitions(): readonly PartitionInfo[] {
    return this.#partitions
  }

  /** Says that `read` of the same place comes soon, so that the log is asked for several partitions at once. */
  ask(partition: number, from: Offset, bytes: number): void {
    const fetch = (): Promise<LogChunk> => this.#log.fetch(this.stream.name, partition, from, bytes)
    const before = this.#asked.get(partition)
    if (before?.from === from) return
    const chunk = before === undefined ? fetch() : before.chunk.then(fetch, fetch)
    // Whoever reads meets the failure.
    chunk.catch(() => {})
    this.#asked.set(partition, { from, chunk })
  }

  /** As `awaitMore` of the log; null where it cannot wait. */
  awaitMore(from: readonly Offset[], ms: number): Promise<void> | null {
    return this.#log.awaitMore?.(this.stream.name, from, ms) ?? null
  }

  async #fetch(partition: number, from: Offset, bytes: number): Promise<LogChunk> {
    const asked = this.#asked.get(partition)
    if (asked?.from !== from) await this.#forgo(partition)
    this.#asked.delete(partition)
    return asked?.from === from ? asked.chunk : this.#log.fetch(this.stream.name, partition, from, bytes)
  }

  /** One fetch at a time of a partition: what was asked for is good until the next one. */
  async #forgo(partition: number): Promise<void> {
    await this.#asked.get(partition)?.chunk.catch(() => {})
    this.#asked.delete(partition)
  }

  async #newestKnownBelow(partition: number, from: Offset): Promise<number | undefined> {
    const start = this.#partitions[partition]?.start ?? offset(0)
    if (this.#knownAt?.knows(partition, from, start) === false) await this.#forgo(partition)
    return this.#knownAt?.below(partition, from, start)
  }

  /** The records from `from` on, about `bytes` of them; null at the end of the log. */
  async read(partition: number, from: Offset, bytes: number): Promise<EventBatch | null> {
    if (this.#decoder.tableBytes > this.#tableBytesMax) this.#decoder = this.#newDecoder()
    return this.#read(partition, from, bytes)
  }

  async #read(partition: number, from: Offset, bytes: number): Promise<EventBatch | null> {
    const newestMs = await this.#newestKnownBelow(partition, from)
    const chunk = await this.#fetch(partition, from, bytes)
    if (chunk.nextOffset === from) return null
    const epoch = this.#epochOf(partition, chunk.nextOffset)
    try {
      let batch = this.#decoder.decode(chunk, partition, epoch, from)
      if (this.#schemas.load !== undefined && this.#decoder.unknownSchemas.length > 0) {
        await this.#schemas.load(this.stream.name, this.#decoder.unknownSchemas)
        batch = this.#decoder.decode(chunk, partition, epoch, from)
      }
      return newestMs === undefined ? batch : (this.#knownAt?.raise(batch, newestMs, chunk.bytes) ?? batch)
    } catch (error) {
      if (!(error instanceof FeatureStoreError)) throw error
      // A batch knows its bytes only; people look for it by where it stands in the log.
      const where = `${this.stream.name}/${partition} from offset ${chunk.baseOffset}`
      throw new FeatureStoreError(error.code, `${where}: ${error.message}`, { cause: error, remedy: error.remedy })
    }
  }

  /** Exactly the records [first, next) of a partition, as one batch, whose codes are of one table. */
  async range(partition: number, first: Offset, next: Offset): Promise<EventBatch> {
    const batches: EventBatch[] = []
    for (let at = first; at < next;) {
      const batch = await this.#read(partition, at, scanBytes)
      if (batch === null)
        throw new FeatureStoreError('FS_LOG_CORRUPT', `${this.stream.name}/${partition} ends at ${at}, before ${next}`)
      batches.push(takeBelow(batch, next))
      at = batch.nextOffset
    }
    return concatBatches(batches)
  }

  /** Every record below `to` (index = partition), partition after partition. */
  async *scan(to: readonly PartitionPosition[]): AsyncGenerator<EventBatch> {
    await this.refresh()
    for (let partition = 0; partition < to.length; partition++) {
      const end = (to[partition] as PartitionPosition).next
      for (let at = this.#partitions[partition]?.start ?? offset(0); at < end;) {
        const batch = await this.read(partition, at, scanBytes)
        if (batch === null)
          throw new FeatureStoreError('FS_LOG_CORRUPT', `${this.stream.name}/${partition} ends at ${at}, before ${end}`)
        yield takeBelow(batch, end)
        at = batch.nextOffset
      }
    }
  }

  #epochOf(partition: number, next: number): number {
    const epochs = this.#partitions[partition]?.epochs ?? []
    return epochs.findLast(({ firstOffset }) => firstOffset < next)?.epoch ?? 0
  }
}
