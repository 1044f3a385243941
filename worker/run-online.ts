import { fieldsApplied, streamOf } from '../core/definition/catalog.ts'
import { FeatureStoreError, notYet } from '../core/errors.ts'
import { lastKnownAt } from '../core/event/batch-ops.ts'
import { offset } from '../core/event/position.ts'
import { lawfulTraits, type PartitionInfo } from '../core/ports/event-log.ts'
import type { OnlineStore } from '../core/ports/online-store.ts'
import type { ShardOwnership } from '../core/ports/shard-ownership.ts'
import { readerOf, StreamReader } from '../schemas/stream-reader.ts'
import { allShards } from './all-shards.ts'
import { LagMeter, leastOf } from './lag.ts'
import { endsOf, totalOf } from './log-ends.ts'
import { OnlineProjection } from './online-projection.ts'
import { isUnavailable, Outage } from './outage.ts'
import { FlushPacer } from './pacing.ts'
import { readBytesFor } from './read-size.ts'
import type { WorkerOptions } from './run.ts'
import { ShardKeeper } from './shard-keeper.ts'

const checkMsDefault = 2_000
/** Small reads, so that partitions advance together; and what all of them take together. */
const readBytes = 256 * 1024
const chunkBytesMax = 64 * 2 ** 20
/**
 * How long it holds what a log said of its partitions, where none begins a new epoch while it lives: partitions that are
 * added are met as late, and progress is told by ends as old. Elsewhere each round asks.
 */
const describedMs = 1_000
/** How long the end is waited at, where the log tells when it moves. */
const awaitMs = 500

/**
 * Runs the online projection for the shards that are ours, as they come and go. `caughtUp` is called when the end of the
 * log is reached for the first time. A store that does not answer is asked again until it does; meanwhile events are read
 * as long as there is memory for what they change.
 *
 * Errors: FS_STATE_FORMAT: the store holds what the log no longer has; FS_FENCED: a successor took an embedded store;
 *         FS_NOT_YET: a view that needs one owner of all shards.
 */
export async function runOnline(options: OnlineWorkerOptions, caughtUp: () => void): Promise<void> {
  const ownership = options.ownership ?? allShards(options.settings.shards)
  const run = new OnlineRun(options, ownership)
  await using _membership = await ownership.join(run.keeper)
  // Before leaving: nobody waits for what is given back then.
  using _keeper = run.keeper
  await run.follow(caughtUp)
}

export type OnlineWorkerOptions = WorkerOptions & { readonly online: OnlineStore }

class OnlineRun {
  readonly keeper: ShardKeeper
  readonly #options: OnlineWorkerOptions
  readonly #projection: OnlineProjection
  readonly #streams: readonly StreamReader[]
  readonly #pacer: FlushPacer
  /** Epochs of the log stay as they are. */
  readonly #epochsStay: boolean
  /** When the partitions of each stream were last asked for. */
  readonly #describedMs = new Map<StreamReader, number>()
  #nap: Promise<void> | null = null
  readonly #stops: number[]
  readonly #flushOutage: Outage
  readonly #applyOutage: Outage
  readonly #logOutage: Outage
  readonly #checkOutage: Outage
  #checkedMs: number
  readonly #lag = new LagMeter()
  #flushing: Promise<void> = Promise.resolve()
  #failure: { readonly error: unknown } | null = null

  constructor(options: OnlineWorkerOptions, { shared }: ShardOwnership) {
    const { catalog, online, schemas, settings, clock, logger } = options
    const log = readerOf(options.log)
    this.#options = options
    this.#projection = new OnlineProjection(catalog, online, log.logId, settings)
    checkDivisible(this.#projection, shared, online.appliesTogether === true)
    this.#streams = this.#projection.streams.map((name) => {
      const stream = streamOf(catalog, name)
      const projection = fieldsApplied(catalog, stream)
      // An engine remembers keys and strings on its own: tables may begin anew.
      const tableBytesMax = settings.memoryBytesMax / 4
      return new StreamReader({ log, schemas, stream, projection, tableBytesMax, reuse: true })
    })
    this.#pacer = new FlushPacer(clock, settings.flushMs)
    this.#epochsStay = (log.traits ?? lawfulTraits).epochs === 'drawn'
    this.#stops = [...(options.stops ?? [])]
    this.#flushOutage = new Outage(clock, logger, 'flush')
    this.#applyOutage = new Outage(clock, logger, 'rows')
    this.#logOutage = new Outage(clock, logger, 'log')
    this.#checkOutage = new Outage(clock, logger, 'check')
    this.#checkedMs = clock.nowMs()
    const sleep = (ms: number): Promise<void> => options.sleep(ms)
    this.keeper = new ShardKeeper({ projection: this.#projection, shared, clock, logger, sleep })
  }

  async follow(caughtUp: () => void): Promise<void> {
    const { signal, until } = this.#options
    while (!signal.aborted) {
      try {
        const isDone = await this.#round(caughtUp)
        this.#logOutage.answered()
        if (isDone && until === 'caught-up') break
      } catch (error) {
        // Stores are asked again where they are asked: this is the log, or what it needs to be read.
        if (!isUnavailable(error)) throw error
        this.#logOutage.failed(error)
        await this.#pause(this.#logOutage.waitMs)
      }
    }
    await this.#end()
  }

  /** Reads once through all partitions. True when nothing is left to do. */
  async #round(caughtUp: () => void): Promise<boolean> {
    const { pollMs } = this.#options.settings
    await this.#settleShards()
    const read = this.#isStopped ? 0 : await this.#read()
    const isIdle = read === 0
    await this.#flushIfDue(isIdle)
    await this.#report()
    if (!isIdle) return false
    const isDone = await this.#isDone()
    if (isDone) {
      caughtUp()
      await this.#checkStore()
    }
    if (!isDone) await this.#pause(Math.max(pollMs, this.#waitMs))
    else if (this.#options.until === 'aborted') await this.#awaitMore()
    return isDone
  }

  /** Until the end of the log moves, as far as the log can tell; else a while. */
  async #awaitMore(): Promise<void> {
    const waits = this.#streams.map((reader) => {
      const { name } = reader.stream
      const next = reader.partitions.map((_, partition) => offset(this.#projection.next(name, partition)))
      return reader.awaitMore(next, awaitMs)
    })
    const told = waits.filter((wait) => wait !== null)
    if (told.length < waits.length) return this.#pause(this.#options.settings.pollMs)
    // One timer, not one for each event that ends the wait.
    this.#nap ??= this.#options.sleep(awaitMs).finally(() => (this.#nap = null))
    await Promise.race([this.#nap, this.keeper.told, ...told])
  }

  /** As they stand; where epochs stay, as they stood a moment ago. */
  async #partitionsOf(reader: StreamReader): Promise<readonly PartitionInfo[]> {
    if (!this.#epochsStay) return reader.refresh()
    const nowMs = this.#options.clock.nowMs()
    const sinceMs = this.#describedMs.get(reader)
    if (sinceMs !== undefined && nowMs - sinceMs < describedMs) return reader.partitions
    const partitions = await reader.refresh()
    this.#describedMs.set(reader, nowMs)
    return partitions
  }

  /** The ownership's word, and what became of the last flush. New shards go on only where the log goes on. */
  async #settleShards(): Promise<void> {
    if (!(await this.keeper.step())) return
    for (const reader of this.#streams) {
      for (const { partition, next, knownAtMs } of this.#projection.knownMarks(reader.stream.name))
        reader.learnKnownAt(partition, next, knownAtMs)
      const partitions = await reader.refresh()
      if (!this.#projection.continuesOn(reader.stream.name, partitions)) {
        // Rows that hold records which the log no longer has cannot be corrected, only rebuilt.
        throw new FeatureStoreError(
          'FS_STATE_FORMAT',
          `the online rows hold records of ${reader.stream.name} that the log no longer has`,
        )
      }
    }
  }

  /** One batch of each partition; two where some shards lag behind. Returns the number of records read. */
  async #read(): Promise<number> {
    let read = 0
    for (const reader of this.#streams) {
      const { name } = reader.stream
      const partitions = await this.#partitionsOf(reader)
      const bytes = readBytesFor(partitions.length, readBytes, chunkBytesMax)
      partitions.forEach(({ epochs }, partition) => {
        this.#projection.begin(name, partition, epochs.at(-1)?.epoch ?? 0)
        const [from] = this.#projection.reads(name, partition)
        // All of them together: to a log elsewhere that is one request instead of one after the other.
        if (from !== undefined) reader.ask(partition, offset(from), bytes)
      })
      for (let partition = 0; partition < partitions.length; partition++) {
        for (const from of this.#projection.reads(name, partition)) {
          const batch = await reader.read(partition, offset(from), bytes)
          // While the log answered, the shards that were to go on here may have been lost: its records follow nothing then.
          if (batch === null || !this.#projection.reads(name, partition).some((next) => next >= from)) continue
          try {
            await this.#projection.apply(batch)
          } catch (error) {
            if (!isUnavailable(error)) throw error
            this.#applyOutage.failed(error)
            await this.#pause(this.#applyOutage.waitMs)
            return read
          }
          this.#applyOutage.answered()
          this.#lag.read(name, partition, batch.nextOffset, lastKnownAt(batch))
          read += batch.nextOffset - batch.firstOffset
        }
      }
    }
    return read
  }

  async #flushIfDue(isIdle: boolean): Promise<void> {
    const projection = this.#projection
    const isAwaited = isIdle || this.#isStopped
    const { full } = projection
    const isDue = isAwaited || (this.#pacer.due && this.#flushOutage.isDue) || projection.isOverBound
    if (isDue && projection.changed) {
      await this.#flushed()
      this.#flush()
      if (isAwaited) await this.#flushed()
    } else if (full.length > 0) {
      await this.#flushed()
      this.#flush(new Set(full))
    }
  }

  /** Begins a flush; awaited before the next one, and what fails in between is told then. */
  #flush(only?: ReadonlySet<number>): void {
    this.#flushing = this.#pacer
      .run(() => this.#projection.flush(only))
      .then(
        () => this.#flushOutage.answered(),
        (error: unknown) => {
          if (isUnavailable(error)) this.#flushOutage.failed(error)
          else this.#failure = { error }
        },
      )
  }

  async #flushed(): Promise<void> {
    await this.#flushing
    if (this.#failure !== null) throw this.#failure.error
  }

  async #report(): Promise<void> {
    const { applied } = this.#projection
    if (this.#options.onProgress !== undefined) {
      const ends = await endsOf(this.#streams, (reader) => this.#partitionsOf(reader))
      const lag = this.#lag.measure(ends, leastOf(ends, this.#projection.stored), this.#options.clock.nowMs())
      this.#options.onProgress({ projection: 'online', applied, total: Math.max(applied, totalOf(ends)), lag })
    }
    if (!this.#isStopped || this.#projection.changed) return
    this.#stops.shift()
    await this.#options.onStop?.(applied)
  }

  /** Nothing is read on until all that was applied is in the store. */
  get #isStopped(): boolean {
    return this.#stops[0] !== undefined && this.#projection.applied >= this.#stops[0]
  }

  /** Everything that the log had is in the store, for every shard that is ours. */
  async #isDone(): Promise<boolean> {
    await this.#flushed()
    return this.keeper.isSettled && !this.#projection.changed && !this.#flushOutage.isOn && !this.#applyOutage.isOn
  }

  /** What is lost is taken again, and read for, in the next round. */
  async #checkStore(): Promise<void> {
    const { clock, settings } = this.#options
    const isDue = clock.nowMs() - this.#checkedMs >= (settings.checkMs ?? checkMsDefault)
    if (!isDue || !this.#checkOutage.isDue) return
    this.#checkedMs = clock.nowMs()
    try {
      await this.#projection.check()
    } catch (error) {
      if (!isUnavailable(error)) throw error
      return this.#checkOutage.failed(error)
    }
    this.#checkOutage.answered()
  }

  get #waitMs(): number {
    return Math.max(this.keeper.waitMs, this.#flushOutage.waitMs)
  }

  /** Sleeps, unless shards come or go. */
  async #pause(ms: number): Promise<void> {
    await Promise.race([this.#options.sleep(ms), this.keeper.told])
  }

  /** What was applied is written, if the store answers: else it is applied again by whoever goes on. */
  async #end(): Promise<void> {
    await this.#flushed()
    try {
      if (this.#projection.changed) await this.#projection.flush()
    } catch (error) {
      if (!isUnavailable(error)) throw error
      this.#options.logger.warn('online.unflushed', { code: error.code, reason: error.message })
    }
  }
}

/** Some rows can be kept right only by one owner of all shards, which are written together. */
function checkDivisible({ undivided }: OnlineProjection, shared: boolean, appliesTogether: boolean): void {
  if (undivided.length === 0 || (appliesTogether && !shared)) return
  const where = shared ? 'shards that several workers share' : 'a store that writes shards one by one'
  throw notYet(`views ${undivided.join(', ')}, of changelogs whose primary key does not name the entity, on ${where}`)
}
