/** A store of several owners that fails on command: each shard by itself, as shards of a cluster do. */
import { setImmediate as turn } from 'node:timers/promises'
import { MemoryOnlineStore } from '../../connectors/memory/online-store.ts'
import { FeatureStoreError } from '../../core/errors.ts'
import type { DeadLetter } from '../../core/event/batch.ts'
import type {
  FlushOutcome,
  OnlineStore,
  RowRead,
  ShardFlush,
  ShardLease,
  ShardPosition,
} from '../../core/ports/online-store.ts'

type Command =
  { readonly kind: 'acquire'; readonly nonce: number } | { readonly kind: 'apply'; readonly flush: ShardFlush }

/** One shard and all that was ever done to it, so that it can be as it was. */
class Cell {
  readonly shard: number
  commands: Command[] = []
  store: MemoryOnlineStore
  #nonce = 0

  constructor(shard: number) {
    this.shard = shard
    this.store = this.#empty()
  }

  #empty(): MemoryOnlineStore {
    return new MemoryOnlineStore({
      bytes: () => new Uint8Array(new BigUint64Array([BigInt(this.#nonce)]).buffer.slice(0)),
    })
  }

  async acquire(nonce: number): Promise<{ readonly lease: ShardLease; readonly position: ShardPosition | null }> {
    this.commands.push({ kind: 'acquire', nonce })
    this.#nonce = nonce
    return (await this.store.acquire([this.shard]))[0] as Awaited<ReturnType<Cell['acquire']>>
  }

  async apply(flush: ShardFlush): Promise<FlushOutcome> {
    const outcome = (await this.store.apply([flush]))[0] as FlushOutcome
    if (outcome.kind === 'applied') this.commands.push({ kind: 'apply', flush: structuredClone(flush) })
    return outcome
  }

  /** As it was before its last `lost` commands. */
  async before(lost: number): Promise<MemoryOnlineStore> {
    const store = this.#empty()
    for (const command of this.commands.slice(0, Math.max(0, this.commands.length - lost))) {
      if (command.kind === 'apply') await store.apply([command.flush])
      else {
        this.#nonce = command.nonce
        await store.acquire([this.shard])
      }
    }
    return store
  }

  async rollBack(lost: number): Promise<void> {
    this.store = await this.before(lost)
    this.commands = this.commands.slice(0, Math.max(0, this.commands.length - lost))
  }
}

/** What the next call of a kind meets. */
export interface Faults {
  /** `before`: nothing is written; `after`: all is, and nobody is told; a number: of the shards in this mask. */
  apply: 'none' | 'before' | 'after' | number
  /** The answer waits until the others have had a turn. */
  late: boolean
  acquire: 'none' | 'before' | 'after'
  /** A number: rows as they were so many commands ago, as a replica has them. */
  read: 'none' | 'unavailable' | number
  parts: 'none' | number
}

export const noFaults = (): Faults => ({ apply: 'none', late: false, acquire: 'none', read: 'none', parts: 'none' })

export class FaultyStore implements OnlineStore {
  readonly cells: readonly Cell[]
  faults = noFaults()
  /** Flushes as they were sent, for those that arrive once more, late. */
  readonly sent: ShardFlush[] = []
  /** What was written and what for, in order. */
  readonly outcomes: FlushOutcome['kind'][] = []
  #nonces = 0

  constructor(shards: number) {
    this.cells = Array.from({ length: shards }, (_, shard) => new Cell(shard))
  }

  #cell(shard: number): Cell {
    return this.cells[shard] as Cell
  }

  #fault<K extends keyof Faults>(kind: K): Faults[K] {
    const fault = this.faults[kind]
    this.faults[kind] = noFaults()[kind]
    return fault
  }

  async acquire(shards: readonly number[]) {
    const fault = this.#fault('acquire')
    if (fault === 'before') throw unavailable()
    const taken = await Promise.all(shards.map((shard) => this.#cell(shard).acquire(++this.#nonces)))
    if (fault === 'after') throw unavailable()
    return taken
  }

  async apply(flushes: readonly ShardFlush[]): Promise<readonly FlushOutcome[]> {
    const fault = this.#fault('apply')
    const late = this.#fault('late')
    this.sent.push(...flushes.map((flush) => structuredClone(flush)))
    if (fault === 'before') throw unavailable()
    const mask = typeof fault === 'number' ? fault : -1
    const reached = flushes.filter(({ lease }) => ((mask >> lease.shard) & 1) === 1)
    const outcomes = await Promise.all(reached.map((flush) => this.#cell(flush.lease.shard).apply(flush)))
    this.outcomes.push(...outcomes.map(({ kind }) => kind))
    if (late) for (let turns = 0; turns < 3; turns++) await turn()
    if (fault !== 'none') throw unavailable()
    return outcomes
  }

  async read(view: string, shards: readonly number[], keys: readonly Uint8Array[]): Promise<RowRead> {
    const fault = this.#fault('read')
    if (fault === 'unavailable') throw unavailable()
    const stores = new Map<number, MemoryOnlineStore>()
    for (const shard of new Set(shards))
      stores.set(shard, fault === 'none' ? this.#cell(shard).store : await this.#cell(shard).before(fault))
    const reads = await Promise.all(
      keys.map((key, index) =>
        (stores.get(shards[index] as number) as MemoryOnlineStore).read(view, [shards[index] as number], [key]),
      ),
    )
    return {
      rows: reads.map(({ rows }) => rows[0] ?? null),
      positions: reads.map(({ positions }) => positions[0] ?? null),
    }
  }

  /** What a part that is read from a replica lacks shows in the position that is read next, and in nothing else. */
  async readParts(view: string, shard: number, key: Uint8Array, names: readonly number[]) {
    const fault = this.#fault('parts')
    if (fault !== 'none') await this.#cell(shard).rollBack(fault)
    return this.#cell(shard).store.readParts(view, shard, key, names)
  }

  async positions(shards: readonly number[]): Promise<readonly (ShardPosition | null)[]> {
    return Promise.all(shards.map(async (shard) => (await this.#cell(shard).store.positions([shard]))[0] ?? null))
  }

  async *scan(view: string) {
    for (const { store } of this.cells) yield* store.scan(view)
  }

  /** Of all shards; one that two shards keep comes twice. */
  async *deadLetters(): AsyncGenerator<DeadLetter> {
    for (const { store } of this.cells) yield* store.deadLetters()
  }
}

const unavailable = (): FeatureStoreError => new FeatureStoreError('FS_ONLINE_UNAVAILABLE', 'it does not answer')
