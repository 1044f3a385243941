/**
 * One server of the online store: the shards of a node, each command atomic, the rules of connectors/kit/shard-state.ts.
 * It remembers what it was before each write, so that it can fail over to a replica that lacks the last ones, and answer
 * readers as a replica that lags.
 */
import { decideFlush, leaseOf, takenBy, unownedShard, type ShardState } from '../../../connectors/kit/shard-state.ts'
import type { DeadLetter } from '../../../core/event/batch.ts'
import type { FlushOutcome, ShardFlush, ShardLease, ShardPosition } from '../../../core/ports/online-store.ts'
import type { ViewPlan } from '../../../core/engine/plan.ts'
import { directoryOf, isHead } from '../../../core/engine/row-parts.ts'
import { Finding } from '../finding.ts'
import type { Scheduler } from '../scheduler.ts'
import { Route } from './network.ts'
import { VersionedMap } from './versioned.ts'

export const hexOf = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex')

export interface StoredRow {
  readonly shard: number
  readonly view: string
  readonly key: Uint8Array
  readonly row: Uint8Array
}

export class SimStoreNode {
  readonly name: string
  readonly route = new Route()
  /** Readers see the state of so many writes ago, until then. */
  staleUntilMs = 0
  staleWrites = 0
  readonly #scheduler: Scheduler
  #write = 0
  readonly #states = new VersionedMap<ShardState>()
  readonly #rows = new VersionedMap<StoredRow>()
  /** By the name of the row, then the name of the part. */
  readonly #parts = new Map<string, VersionedMap<Uint8Array>>()
  readonly #letters = new VersionedMap<DeadLetter>()
  /** Who took a shard last, as the node itself knows it: leases are told apart by what they are, not by what they say. */
  readonly #holders = new VersionedMap<ShardLease>()
  readonly #plans: ReadonlyMap<string, ViewPlan>

  constructor(scheduler: Scheduler, name: string, plans: readonly ViewPlan[]) {
    this.#scheduler = scheduler
    this.name = name
    this.#plans = new Map(plans.map((plan) => [plan.view.name, plan]))
  }

  /** Those of one command: one write. */
  acquire(shards: readonly number[]): { readonly lease: ShardLease; readonly position: ShardPosition | null }[] {
    const write = this.#write + 1
    const taken = shards.map((shard) => {
      const nonce = [1, 2, 3].map(() => this.#scheduler.random.word().toString(16)).join('-')
      const state = takenBy(this.#state(shard), nonce)
      this.#states.set(String(shard), state, write)
      this.#scheduler.note(this.name, `shard ${shard} is taken with epoch ${state.epoch}`)
      const lease = leaseOf(shard, state)
      this.#holders.set(String(shard), lease, write)
      return { lease, position: state.position }
    })
    this.#write = write
    return taken
  }

  /** Those of one command, all at one moment: one write. */
  apply(flushes: readonly ShardFlush[]): FlushOutcome[] {
    const write = this.#write + 1
    return flushes.map((flush) => this.#decide(flush, write))
  }

  #decide(flush: ShardFlush, write: number): FlushOutcome {
    const state = this.#state(flush.lease.shard)
    const outcome = decideFlush(state, flush)
    const lawful = this.#lawful(state, flush)
    if (outcome.kind !== lawful)
      throw new Finding(`a flush of shard ${flush.lease.shard} is ${outcome.kind}; by the law it is ${lawful}`)
    this.#scheduler.note(this.name, `shard ${flush.lease.shard}: ${outcome.kind}, ${placeOf(flush.to)}`)
    if (outcome.kind === 'applied') this.#apply(state, flush, write)
    return outcome
  }

  #apply(state: ShardState, flush: ShardFlush, write: number): void {
    const { lease, to, rows, deadLetters } = flush
    checkForward(lease.shard, state.position, to)
    this.#write = write
    for (const { view, key, row, parts: changed } of rows) {
      const name = nameOf(lease.shard, view, key)
      const before = this.#rows.get(name, write)?.row ?? null
      this.#rows.set(name, { shard: lease.shard, view, key, row }, write)
      if (changed === undefined) continue
      const parts = this.#parts.get(name) ?? new VersionedMap()
      this.#parts.set(name, parts)
      const named = this.#namesOf(view, before)
      if (isHead(row))
        for (const part of changed.drop)
          if (named.has(part)) throw new Finding(`part ${part} of a row of ${view} is dropped together with its head`)
      for (const { name: part, bytes } of changed.put) {
        if (parts.get(String(part), write) !== null)
          throw new Finding(`part ${part} of a row of ${view} in shard ${lease.shard} is put twice`)
        parts.set(String(part), bytes, write)
      }
      for (const part of changed.drop) parts.set(String(part), null, write)
    }
    for (const letter of deadLetters) this.#letters.set(letterName(lease.shard, letter), letter, write)
    this.#states.set(String(lease.shard), { ...state, position: to }, write)
  }

  /** A row with the position of its shard, at one moment. */
  read(
    shard: number,
    view: string,
    key: Uint8Array,
    at = this.#write,
  ): { readonly row: Uint8Array | null; readonly position: ShardPosition | null } {
    return {
      row: this.#rows.get(nameOf(shard, view, key), at)?.row ?? null,
      position: this.#states.get(String(shard), at)?.position ?? null,
    }
  }

  readPart(shard: number, view: string, key: Uint8Array, part: number, at = this.#write): Uint8Array | null {
    return this.#parts.get(nameOf(shard, view, key))?.get(String(part), at) ?? null
  }

  position(shard: number, at = this.#write): ShardPosition | null {
    return this.#states.get(String(shard), at)?.position ?? null
  }

  /** The write up to which a reader sees, now. */
  get visible(): number {
    const isStale = this.#scheduler.nowMs < this.staleUntilMs
    return isStale ? Math.max(0, this.#write - this.staleWrites) : this.#write
  }

  *rows(): Generator<StoredRow> {
    for (const [, row] of this.#rows.entries(this.#write)) yield row
  }

  /** Names of the parts that are stored beside a row. */
  partNames(shard: number, view: string, key: Uint8Array): number[] {
    const parts = this.#parts.get(nameOf(shard, view, key))
    return parts === undefined ? [] : [...parts.entries(this.#write)].map(([name]) => Number(name))
  }

  *letters(): Generator<DeadLetter> {
    for (const [, letter] of this.#letters.entries(this.#write)) yield letter
  }

  /** A replica takes over that never saw the last writes, whether they were acknowledged or not. */
  failOver(lost: number): void {
    this.#write = Math.max(0, this.#write - lost)
    for (const map of [this.#states, this.#holders, this.#rows, this.#letters, ...this.#parts.values()])
      map.truncate(this.#write)
  }

  /** FLUSHALL. */
  clear(): void {
    const write = ++this.#write
    for (const map of [this.#states, this.#holders, this.#rows, this.#letters, ...this.#parts.values()])
      map.clear(write)
  }

  /** The contract once more, in plain words. */
  #lawful(state: ShardState, { lease, from, to }: ShardFlush): FlushOutcome['kind'] {
    if (this.#holders.get(String(lease.shard), this.#write) !== lease) return 'fenced'
    if (placeOf(state.position) === placeOf(to)) return 'already-applied'
    return placeOf(state.position) === placeOf(from) ? 'applied' : 'gap'
  }

  /** Parts that a stored row names, of those that it holds. */
  #namesOf(view: string, row: Uint8Array | null): ReadonlySet<number> {
    const plan = this.#plans.get(view)
    if (plan === undefined || row === null || !isHead(row)) return new Set()
    return new Set(directoryOf(plan, row).parts.map(({ name }) => name))
  }

  #state(shard: number): ShardState {
    return this.#states.get(String(shard), this.#write) ?? unownedShard
  }
}

const nameOf = (shard: number, view: string, key: Uint8Array): string => `${shard}/${view}/${hexOf(key)}`

const letterName = (shard: number, { scope, stream, partition, offset }: DeadLetter): string =>
  JSON.stringify([shard, scope, stream, partition, offset])

/** A position in short. */
export function placeOf(position: ShardPosition | null): string {
  if (position === null) return 'empty'
  return Object.entries(position.position.streams)
    .map(([stream, partitions]) => `${stream} ${partitions.map(({ next }) => next).join(' ')}`)
    .join(', ')
}

/** Only a loss takes a shard back, and a loss is no flush. */
function checkForward(shard: number, from: ShardPosition | null, to: ShardPosition): void {
  for (const [stream, partitions] of Object.entries(from?.position.streams ?? {}))
    partitions.forEach(({ next }, partition) => {
      if ((to.position.streams[stream]?.[partition]?.next ?? 0) < next)
        throw new Finding(`a flush takes shard ${shard} back from ${placeOf(from)} to ${placeOf(to)}`)
    })
}
