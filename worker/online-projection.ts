import type { Catalog } from '../core/definition/catalog.ts'
import { planView, type RowSplit, type ViewPlan } from '../core/engine/plan.ts'
import { ViewEngine } from '../core/engine/view-engine.ts'
import { FeatureStoreError } from '../core/errors.ts'
import type { EventBatch } from '../core/event/batch.ts'
import { continues } from '../core/event/continuity.ts'
import { identicalPosition, recordCount, type PartitionPosition, type Position } from '../core/event/position.ts'
import type { PartitionInfo } from '../core/ports/event-log.ts'
import type { FlushOutcome, OnlineStore, RowWrite, ShardFlush, ShardLease } from '../core/ports/online-store.ts'
import { loadMissing, strayedShards } from './load-rows.ts'
import { Shard, type LossReason, type LostShard } from './shard-set.ts'

export interface OnlineSettings {
  readonly shards: number
  readonly historyMs: number
  /** Bound of the rows held in memory, bytes. */
  readonly memoryBytesMax: number
  /** When stored rows are split, if not as measured. */
  readonly split?: RowSplit
}

/** Below our epoch there is no successor: the store has lost the lease, and what else it had. */
function refusal(outcome: FlushOutcome, { epoch }: ShardLease): 'fenced' | 'gap' | null {
  if (outcome.kind === 'fenced') return outcome.byEpoch < epoch ? 'gap' : 'fenced'
  return outcome.kind === 'gap' ? 'gap' : null
}

/** A flush is sent when its estimate is at this share of the bound: a batch more may come before it is looked at again. */
const flushShare = 0.5

/**
 * Events to online rows, for the shards that it was given. `assign` takes shards and learns where they stand; `apply`
 * folds one batch into the memory of those that it follows; `flush` writes what changed with the position, one atomic
 * write per shard; `release` gives shards up. There is no other checkpoint.
 *
 * Each shard has a position of its own: one that comes late is read for from where it stands, and the others skip what
 * they have. A shard whose store is not where memory thought it was is *lost*: its memory is dropped, and it is for the
 * shell to ask for it again.
 *
 * No clock, no timer: when to fetch, when to flush and how long to wait is the shell's business (run-online.ts). A call
 * that fails with kind `unavailable` has changed nothing that matters and may be made again: `apply` folds in a batch
 * whole or not at all, and `flush` sends what is unanswered as it was.
 */
export class OnlineProjection {
  readonly plans: readonly ViewPlan[]
  readonly #store: OnlineStore
  readonly #settings: OnlineSettings
  readonly #logId: string
  readonly #shards = new Map<number, Shard>()
  readonly #engines: readonly ViewEngine[]
  /** Epoch of each partition that was begun with. */
  readonly #epochs: Record<string, number[]> = {}
  readonly #takes: Uint8Array
  readonly #from: Float64Array

  /** Without shards. */
  constructor(catalog: Catalog, store: OnlineStore, logId: string, settings: OnlineSettings) {
    this.#store = store
    this.#settings = settings
    this.#logId = logId
    this.#takes = new Uint8Array(settings.shards)
    this.#from = new Float64Array(settings.shards)
    this.plans = [...catalog.views.keys()].map((view) => planView(catalog, view, settings.historyMs, settings.split))
    this.#engines = this.plans.map((plan) => new ViewEngine(plan, settings.shards, new Set()))
  }

  /** With all shards. */
  static async start(
    catalog: Catalog,
    store: OnlineStore,
    logId: string,
    settings: OnlineSettings,
  ): Promise<OnlineProjection> {
    const projection = new OnlineProjection(catalog, store, logId, settings)
    await projection.assign(Array.from({ length: settings.shards }, (_, shard) => shard))
    return projection
  }

  /** Streams that some view reads. */
  get streams(): string[] {
    return [...new Set(this.plans.map((plan) => plan.stream.name))]
  }

  /** Views whose rows can be kept right only by one owner of all shards, which are written together. */
  get undivided(): readonly string[] {
    return this.#engines.filter(({ crossesShards }) => crossesShards).map(({ plan }) => plan.view.name)
  }

  /** Numbers of the shards that are held. */
  get held(): number[] {
    return this.#held().map(({ number }) => number)
  }

  #held(): Shard[] {
    return [...this.#shards.values()].filter(({ isHeld }) => isHeld)
  }

  /** Shards that were lost and neither taken again nor released since. */
  get lost(): LostShard[] {
    return [...this.#shards.values()].flatMap(({ loss }) => loss ?? [])
  }

  /**
   * Takes shards, and goes on from where each stands. Those that are held are kept.
   *
   * Errors: kind unavailable: call it again. FS_STATE_FORMAT: shards that must stand together do not.
   */
  async assign(shards: readonly number[]): Promise<void> {
    const taken = shards.filter((shard) => this.#shards.get(shard)?.isHeld !== true).map((shard) => new Shard(shard))
    if (taken.length === 0) return
    for (const shard of taken) this.#shards.set(shard.number, shard)
    const acquired = await this.#store.acquire(taken.map(({ number }) => number))
    acquired.forEach(({ lease, position }, index) => {
      const shard = taken[index] as Shard
      if (!shard.acquired(lease, position)) return
      for (const engine of this.#engines) engine.own(shard.number)
      for (const [stream, epochs] of Object.entries(this.#epochs))
        epochs.forEach((epoch, partition) => shard.begin(stream, partition, epoch))
    })
    if (this.undivided.length > 0) this.#checkTogether()
  }

  /** A write that reached only some shards cannot be made whole where taking a version back reaches into another one. */
  #checkTogether(): void {
    const [first, ...others] = this.#held().map(({ stored }) => stored)
    const areTogether = others.every((stored) =>
      stored === null || first === null || first === undefined
        ? stored === first
        : identicalPosition(stored.position, first.position),
    )
    if (!areTogether)
      throw new FeatureStoreError('FS_STATE_FORMAT', `shards of ${this.undivided.join(', ')} do not stand together`)
  }

  /**
   * Flushes shards and forgets them. Errors as `flush`; then none is forgotten.
   */
  async release(shards: readonly number[]): Promise<void> {
    const only = new Set(shards)
    await this.#arrived()
    while (this.#held().some((shard) => only.has(shard.number) && (shard.changed || shard.flight !== null)))
      await this.flush(only)
    this.drop(shards)
  }

  /** Forgets shards, flushed or not: whoever takes them goes on from what the store holds. */
  drop(shards: readonly number[]): void {
    for (const number of shards) {
      this.#shards.get(number)?.lose(null)
      this.#shards.delete(number)
    }
    for (const engine of this.#engines) engine.disown(new Set(shards))
  }

  #lose(shards: readonly Shard[], reason: LossReason): void {
    if (shards.length === 0) return
    for (const shard of shards) shard.lose(reason)
    for (const engine of this.#engines) engine.disown(new Set(shards.map(({ number }) => number)))
    if (this.undivided.length === 0) return
    // Its rows reach into other shards, which are where they are.
    const names = shards.map(({ number }) => number).join(', ')
    throw reason === 'fenced'
      ? new FeatureStoreError('FS_FENCED', `another owner took shards ${names}`)
      : new FeatureStoreError('FS_STATE_FORMAT', `shards ${names} do not stand where this worker left them`)
  }

  /** Where reading a partition goes on: what every held shard has seen. */
  next(stream: string, partition: number): number {
    return this.reads(stream, partition)[0] ?? 0
  }

  /**
   * Where to read a partition next: for the shards that are furthest behind, then for those that are furthest ahead. By
   * turns, so that one that catches up does not keep the others waiting. Empty: no shard is held.
   */
  reads(stream: string, partition: number): number[] {
    let low = Number.POSITIVE_INFINITY
    let high = Number.NEGATIVE_INFINITY
    for (const shard of this.#shards.values()) {
      if (!shard.isHeld) continue
      const next = shard.next(stream, partition)
      low = Math.min(low, next)
      high = Math.max(high, next)
    }
    return low > high ? [] : low === high ? [low] : [low, high]
  }

  /** False when some shard holds records of the stream that the log no longer has, or belongs to another log. */
  continuesOn(stream: string, partitions: readonly PartitionInfo[]): boolean {
    return this.#held().every(({ stored }) => {
      if (stored === null) return true
      if (stored.position.logId !== this.#logId) return false
      return (stored.position.streams[stream] ?? []).every(
        (position, index) => partitions[index] !== undefined && continues(position, partitions[index]),
      )
    })
  }

  /** What stored positions say of the newest knownAt below them. */
  *knownMarks(
    stream: string,
  ): Generator<{ readonly partition: number; readonly next: number; readonly knownAtMs: number }> {
    for (const { stored } of this.#held())
      for (const [partition, { next }] of (stored?.position.streams[stream] ?? []).entries()) {
        const knownAtMs = stored?.newestKnownAtMs?.[stream]?.[partition]
        if (typeof knownAtMs === 'number') yield { partition, next, knownAtMs }
      }
  }

  /** What every held shard has applied in memory, flushed or not. */
  get position(): Position {
    const held = this.#held()
    const lowest = (stream: string, partition: number, epoch: number): PartitionPosition => {
      const [first, ...others] = held.map((shard) => shard.covered(stream, partition) ?? { epoch, next: 0 as never })
      return others.reduce((low, own) => (own.next < low.next ? own : low), first as PartitionPosition)
    }
    const streams = held.length === 0 ? [] : Object.entries(this.#epochs)
    return {
      logId: this.#logId,
      streams: Object.fromEntries(
        streams.map(([stream, epochs]) => [stream, epochs.map((epoch, partition) => lowest(stream, partition, epoch))]),
      ),
    }
  }

  get applied(): number {
    return recordCount(this.position)
  }

  /** What the store holds of each held shard, as far as this worker knows. */
  get stored(): readonly Position['streams'][] {
    return this.#held().map(({ stored }) => stored?.position.streams ?? {})
  }

  /** Of rows, of dead letters, and of flushes that are not answered. */
  get memoryBytes(): number {
    let bytes = 0
    for (const { deadBytes, flightBytes } of this.#shards.values()) bytes += deadBytes + flightBytes
    return this.#engines.reduce((sum, engine) => sum + engine.memoryBytes(), bytes)
  }

  /** More is held than memory is meant for: what is flushed is let go before the next batch. */
  get isOverBound(): boolean {
    return this.memoryBytes > this.#settings.memoryBytesMax
  }

  /** Begins with a partition where the stores stand, so that a position always names every partition. */
  begin(stream: string, partition: number, epoch: number): void {
    const epochs = (this.#epochs[stream] ??= [])
    if (epochs[partition] !== undefined) return
    epochs[partition] = epoch
    for (const shard of this.#held()) shard.begin(stream, partition, epoch)
  }

  /**
   * Folds in a batch, for the shards that stand in it or where it begins; no other shard is touched.
   *
   * Errors: kind unavailable: nothing of it was folded in; call it again, or read on. FS_ROW_CORRUPT, FS_STATE_FORMAT.
   */
  async apply(batch: EventBatch): Promise<void> {
    const { stream, partition, firstOffset } = batch
    const front = this.reads(stream, partition).at(-1)
    if (front !== undefined && firstOffset > front)
      throw new FeatureStoreError('FS_INTERNAL', `${stream}/${partition}: records from ${firstOffset} follow ${front}`)
    // Only here: between two batches no entity of one is under way.
    if (this.isOverBound) await this.#makeRoom()
    const taking = this.#held().filter((shard) => shard.takes(batch))
    if (taking.length === 0) return
    this.#takes.fill(0)
    for (const { number } of taking) this.#takes[number] = 1
    const engines = this.#engines.filter(({ plan }) => plan.stream.name === stream)
    const resolved = engines.map((engine) => engine.resolve(batch, this.#takes))
    for (const engine of engines)
      await loadMissing(engine, this.#store, this.#shards, (stale) => this.#lose(stale, 'stale'))
    // From here on nothing waits. Some that would take it may have been lost meanwhile.
    this.#fold(batch, engines, resolved, taking)
  }

  #fold(
    batch: EventBatch,
    engines: readonly ViewEngine[],
    resolved: readonly Int32Array[],
    taking: readonly Shard[],
  ): void {
    const current = taking.filter(({ isHeld }) => isHeld)
    const firsts = this.#from.fill(Number.POSITIVE_INFINITY)
    for (const shard of current) firsts[shard.number] = shard.next(batch.stream, batch.partition)
    const from = (shard: number): number => firsts[shard] as number
    let newest = Number.NEGATIVE_INFINITY
    engines.forEach((engine, index) => {
      const own = engine.apply(batch, resolved[index] as Int32Array, from, (shard, letter) =>
        this.#shards.get(shard)?.keepDead(letter),
      )
      newest = Math.max(newest, own)
    })
    this.#keepDead(batch, from)
    for (const shard of current) shard.advance(batch, newest)
  }

  #keepDead(batch: EventBatch, from: (shard: number) => number): void {
    const shard = batch.partition % this.#settings.shards
    for (const { offset, knownAt, code, reason } of batch.dead) {
      if (offset < from(shard)) continue
      this.#shards.get(shard)?.keepDead({
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

  /**
   * Drops what the store has: not before it has it, or what is read again would be older than what was dropped. Where
   * that is not enough, what changed since is flushed and all of it dropped.
   */
  async #makeRoom(): Promise<void> {
    await this.#arrived()
    if (this.#held().some(({ isUnanswered }) => isUnanswered)) await this.flush()
    for (const engine of this.#engines) engine.evictClean()
    if (!this.isOverBound || !this.changed) return
    await this.flush()
    for (const engine of this.#engines) engine.evictClean()
  }

  /** No answer of the store is waited for any more. */
  async #arrived(): Promise<void> {
    await Promise.allSettled([...this.#shards.values()].flatMap(({ sending }) => sending ?? []))
  }

  /** Whether memory is ahead of what the store is known to hold, and `flush` has something to send. */
  get changed(): boolean {
    return this.#held().some((shard) => shard.changed || shard.isUnanswered)
  }

  /** Shards that are about as much ahead of the store as one flush may hold. */
  get full(): number[] {
    const { flushBytesMax } = this.#store
    if (flushBytesMax === undefined) return []
    return this.held.filter((shard) => this.changedBytes(shard) >= flushBytesMax * flushShare)
  }

  /** About what a flush of the shard would take, bytes. */
  changedBytes(shard: number): number {
    const { deadBytes } = this.#shards.get(shard) ?? { deadBytes: 0 }
    return this.#engines.reduce((bytes, engine) => bytes + engine.changedBytes(shard), deadBytes)
  }

  /**
   * Writes what changed, of all shards or of some; one whose last flush is not answered waits for that. Returns the number
   * of rows. Shards that the store refuses are lost.
   *
   * Errors: kind unavailable: it is not known what the store has; call it again, which sends the same again.
   */
  async flush(only?: ReadonlySet<number>): Promise<number> {
    const asked = this.#held().filter(({ number }) => only === undefined || only.has(number))
    const again = asked.filter(({ isUnanswered }) => isUnanswered)
    const fresh = asked.filter(({ flight, changed }) => flight === null && changed)
    const count = this.#take(fresh)
    const sent = [...again, ...fresh]
    if (sent.length > 0) await this.#send(sent)
    return count
  }

  /**
   * Asks the store where the held shards stand, and loses those that stand elsewhere: nobody else would notice, as long as
   * nothing is written to them, that a failover lost their last flush.
   *
   * Errors: kind unavailable: nothing was learned.
   */
  async check(): Promise<void> {
    this.#lose(await strayedShards(this.#store, this.#shards), 'stale')
  }

  #take(shards: readonly Shard[]): number {
    const rows = new Map<number, RowWrite[]>(shards.map(({ number }) => [number, []]))
    const only = new Set(rows.keys())
    let count = 0
    for (const engine of this.#engines) {
      for (const { table, shard, key, row, parts } of engine.takeChanged(only)) {
        rows.get(shard)?.push(parts === undefined ? { view: table, key, row } : { view: table, key, row, parts })
        count++
      }
    }
    for (const shard of shards) shard.take(this.#logId, rows.get(shard.number) ?? [])
    return count
  }

  async #send(shards: readonly Shard[]): Promise<void> {
    for (const shard of shards) shard.meets('sent')
    const flushes = shards.map(({ flight }) => flight as ShardFlush)
    const sending = this.#store.apply(flushes)
    for (const shard of shards) shard.sending = sending
    let outcomes: readonly FlushOutcome[]
    try {
      outcomes = await sending
    } finally {
      for (const shard of shards) shard.sending = null
    }
    const refused = { fenced: [] as Shard[], gap: [] as Shard[] }
    outcomes.forEach((outcome, index) => {
      const shard = shards[index] as Shard
      const reason = refusal(outcome, (flushes[index] as ShardFlush).lease)
      if (reason !== null) refused[reason].push(shard)
      else shard.answered((flushes[index] as ShardFlush).to)
    })
    this.#lose(refused.fenced, 'fenced')
    this.#lose(refused.gap, 'gap')
  }
}
