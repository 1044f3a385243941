import type { Catalog } from '../core/definition/catalog.ts'
import { planView, type RowSplit, type ViewPlan } from '../core/engine/plan.ts'
import { ViewEngine, type MissingRow } from '../core/engine/view-engine.ts'
import { FeatureStoreError } from '../core/errors.ts'
import type { DeadLetter, EventBatch } from '../core/event/batch.ts'
import { continues } from '../core/event/continuity.ts'
import { nextOffset, recordCount, type PartitionPosition, type Position } from '../core/event/position.ts'
import type { PartitionInfo } from '../core/ports/event-log.ts'
import type { OnlineStore, RowWrite, ShardFlush, ShardLease, ShardPosition } from '../core/ports/online-store.ts'

export interface OnlineSettings {
  readonly shards: number
  readonly historyMs: number
  /** Bound of the rows held in memory, bytes. */
  readonly memoryBytesMax: number
  /** When stored rows are split, if not as measured. */
  readonly split?: RowSplit
}

interface OwnedShard {
  readonly lease: ShardLease
  /** What the store holds. */
  stored: ShardPosition | null
  dead: DeadLetter[]
}

/**
 * Events to online rows. `start` takes the shards and learns where they stand; `apply` folds one batch into memory;
 * `flush` writes what changed with the position, one atomic write per shard. There is no other checkpoint.
 *
 * No clock, no timer: when to fetch and when to flush is the shell's business (run.ts).
 */
export class OnlineProjection {
  readonly plans: readonly ViewPlan[]
  readonly #store: OnlineStore
  readonly #settings: OnlineSettings
  readonly #logId: string
  readonly #owned: readonly OwnedShard[]
  readonly #byShard: ReadonlyMap<number, OwnedShard>
  readonly #engines: readonly ViewEngine[]
  /** What has been applied in memory, by stream and partition. */
  readonly #applied: Record<string, PartitionPosition[]> = {}
  readonly #newest: Record<string, number> = {}
  #changed = false
  /** The last flush, until the store has answered it. */
  #flushing: Promise<unknown> | null = null

  private constructor(
    catalog: Catalog,
    store: OnlineStore,
    logId: string,
    settings: OnlineSettings,
    owned: readonly OwnedShard[],
  ) {
    this.#store = store
    this.#settings = settings
    this.#logId = logId
    this.#owned = owned
    this.#byShard = new Map(owned.map((shard) => [shard.lease.shard, shard]))
    const numbers = new Set(this.#byShard.keys())
    this.plans = [...catalog.views.keys()].map((view) => planView(catalog, view, settings.historyMs, settings.split))
    this.#engines = this.plans.map((plan) => new ViewEngine(plan, settings.shards, numbers))
    for (const { stored } of owned) {
      for (const [stream, newest] of Object.entries(stored?.newestEventTimeMs ?? {}))
        this.#newest[stream] = Math.max(this.#newest[stream] ?? newest, newest)
    }
  }

  /** Errors: FS_FENCED is not possible here: taking the shards fences every earlier owner. */
  static async start(
    catalog: Catalog,
    store: OnlineStore,
    logId: string,
    settings: OnlineSettings,
  ): Promise<OnlineProjection> {
    const shards = Array.from({ length: settings.shards }, (_, shard) => shard)
    const acquired = await store.acquire(shards)
    return new OnlineProjection(
      catalog,
      store,
      logId,
      settings,
      acquired.map(({ lease, position }) => ({ lease, stored: position, dead: [] })),
    )
  }

  /** Streams that some view reads. */
  get streams(): string[] {
    return [...new Set(this.plans.map((plan) => plan.stream.name))]
  }

  /** Where reading a partition goes on: what every shard has seen. */
  next(stream: string, partition: number): number {
    const applied = this.#applied[stream]?.[partition]
    if (applied !== undefined) return applied.next
    return Math.min(
      ...this.#owned.map(({ stored }) => (stored === null ? 0 : nextOffset(stored.position, stream, partition))),
    )
  }

  /** False when some shard holds records of the stream that the log no longer has, or belongs to another log. */
  continuesOn(stream: string, partitions: readonly PartitionInfo[]): boolean {
    return this.#owned.every(({ stored }) => {
      if (stored === null) return true
      if (stored.position.logId !== this.#logId) return false
      return (stored.position.streams[stream] ?? []).every(
        (position, index) => partitions[index] !== undefined && continues(position, partitions[index]),
      )
    })
  }

  /** What is applied in memory, flushed or not. */
  get position(): Position {
    return {
      logId: this.#logId,
      streams: Object.fromEntries(
        Object.entries(this.#applied).map(([stream, partitions]) => [stream, [...partitions]]),
      ),
    }
  }

  get applied(): number {
    return recordCount(this.position)
  }

  get memoryBytes(): number {
    return this.#engines.reduce((bytes, engine) => bytes + engine.memoryBytes(), 0)
  }

  /** More is held than memory is meant for: what is flushed is let go before the next batch. */
  get isOverBound(): boolean {
    return this.memoryBytes > this.#settings.memoryBytesMax
  }

  /** Begins with a partition where the stores stand, so that a position always names every partition. */
  begin(stream: string, partition: number, epoch: number): void {
    const partitions = (this.#applied[stream] ??= [])
    if (partitions[partition] !== undefined) return
    partitions[partition] = { epoch, next: this.next(stream, partition) as PartitionPosition['next'] }
    // A store that holds nothing yet is told where it stands, so that readers can tell empty from not built.
    if (this.#owned.some(({ stored }) => stored === null)) this.#changed = true
  }

  /** Folds in the records that follow what is applied of the partition. */
  async apply(batch: EventBatch): Promise<void> {
    const expected = this.next(batch.stream, batch.partition)
    if (batch.firstOffset !== expected) {
      throw new FeatureStoreError(
        'FS_INTERNAL',
        `${batch.stream}/${batch.partition}: records from ${batch.firstOffset} follow ${expected}`,
      )
    }
    const from = (shard: number): number => {
      const stored = this.#byShard.get(shard)?.stored ?? null
      return stored === null ? 0 : nextOffset(stored.position, batch.stream, batch.partition)
    }
    // Only here: between two batches no entity of one is under way.
    if (this.isOverBound) await this.#makeRoom()
    for (const engine of this.#engines) {
      if (engine.plan.stream.name !== batch.stream) continue
      const entities = engine.resolve(batch)
      await this.#load(engine)
      const newest = engine.apply(batch, entities, from, (shard, letter) => this.#byShard.get(shard)?.dead.push(letter))
      if (newest > (this.#newest[batch.stream] ?? Number.NEGATIVE_INFINITY)) this.#newest[batch.stream] = newest
    }
    this.#keepDead(batch, from)
    ;(this.#applied[batch.stream] ??= [])[batch.partition] = { epoch: batch.epoch, next: batch.nextOffset }
    this.#changed = true
  }

  /**
   * Drops what the store has: not before it has it, or what is read again would be older than what was dropped. Where
   * that is not enough, what changed since is flushed and all of it dropped.
   */
  async #makeRoom(): Promise<void> {
    await this.#flushing
    for (const engine of this.#engines) engine.evictClean()
    if (!this.isOverBound || !this.#changed) return
    await this.flush()
    for (const engine of this.#engines) engine.evictClean()
  }

  /** Whether memory is ahead of the store. */
  get changed(): boolean {
    return this.#changed
  }

  /**
   * Writes what changed. Returns the number of rows.
   *
   * Errors: FS_FENCED, FS_POSITION_GAP: this projection is over; start another one, which goes on from the store.
   */
  async flush(): Promise<number> {
    const rows = new Map<number, RowWrite[]>()
    let count = 0
    for (const engine of this.#engines) {
      for (const { table, shard, key, row, parts } of engine.takeChanged()) {
        const list = rows.get(shard) ?? []
        rows.set(shard, list)
        list.push(parts === undefined ? { view: table, key, row } : { view: table, key, row, parts })
        count++
      }
    }
    const newestEventTimeMs = { ...this.#newest }
    const flushes = this.#owned.map(({ lease, stored, dead }): ShardFlush => ({
      lease,
      from: stored,
      to: { position: this.#positionOf(stored), newestEventTimeMs },
      rows: rows.get(lease.shard) ?? [],
      deadLetters: dead,
    }))
    for (const shard of this.#owned) shard.dead = []
    this.#changed = false
    this.#flushing = this.#write(flushes)
    try {
      await this.#flushing
    } finally {
      this.#flushing = null
    }
    return count
  }

  async #write(flushes: readonly ShardFlush[]): Promise<void> {
    const outcomes = await this.#store.apply(flushes)
    outcomes.forEach((outcome, index) => {
      const shard = this.#owned[index] as OwnedShard
      if (outcome.kind === 'fenced')
        throw new FeatureStoreError('FS_FENCED', `shard ${shard.lease.shard} was taken by epoch ${outcome.byEpoch}`)
      if (outcome.kind === 'gap')
        throw new FeatureStoreError(
          'FS_POSITION_GAP',
          `shard ${shard.lease.shard} does not stand where this worker left it`,
        )
      shard.stored = (flushes[index] as ShardFlush).to
    })
  }

  /**
   * What a shard's rows cover with all that is applied. A flush that reached only some shards leaves them ahead of where
   * reading goes on: what they have already is not taken again, so their positions never go back.
   */
  #positionOf(stored: ShardPosition | null): Position {
    const { logId, streams } = this.position
    if (stored === null) return { logId, streams }
    return {
      logId,
      streams: Object.fromEntries(
        Object.entries(streams).map(([stream, partitions]) => [
          stream,
          partitions.map((applied, partition) => {
            const held = stored.position.streams[stream]?.[partition]
            return held !== undefined && held.next > applied.next ? held : applied
          }),
        ]),
      ),
    }
  }

  /** Heads have parts, and a changelog's rows name further entities: so more than once. */
  async #load(engine: ViewEngine): Promise<void> {
    for (let missing = engine.unloaded(); missing.length > 0; missing = engine.unloaded()) {
      await this.#loadParts(
        engine,
        missing.filter(({ part }) => part !== null),
      )
      const whole = missing.filter(({ part }) => part === null)
      for (const table of new Set(whole.map((row) => row.table))) {
        const own = whole.filter((row) => row.table === table)
        const { rows, corrupt = [] } = await this.#store.read(
          table,
          own.map(({ shard }) => shard),
          own.map(({ key }) => key),
        )
        if (corrupt.length > 0)
          throw new FeatureStoreError('FS_ROW_CORRUPT', `${corrupt.length} rows of ${table} fail their checksum`)
        engine.load(own, rows)
      }
    }
  }

  /** One read an entity, one entity at a time: the parts of a hot one are many megabytes. */
  async #loadParts(engine: ViewEngine, missing: readonly MissingRow[]): Promise<void> {
    for (let from = 0; from < missing.length;) {
      const { table, shard, key, of } = missing[from] as MissingRow
      let to = from
      while (to < missing.length && missing[to]?.of === of) to++
      const own = missing.slice(from, to)
      const names = own.map(({ part }) => part as number)
      engine.load(own, await this.#store.readParts(table, shard, key, names))
      from = to
    }
  }

  #keepDead(batch: EventBatch, from: (shard: number) => number): void {
    const shard = batch.partition % this.#settings.shards
    for (const { offset, knownAt, code, reason } of batch.dead) {
      if (offset < from(shard)) continue
      this.#byShard.get(shard)?.dead.push({
        scope: `stream:${batch.stream}`,
        stream: batch.stream,
        partition: batch.partition,
        offset,
        knownAt,
        code,
        reason,
      })
    }
  }
}
