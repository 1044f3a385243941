import type { DeadLetter } from '../../core/event/batch.ts'
import type { Random } from '../../core/ports/environment.ts'
import type {
  FlushOutcome,
  OnlineStore,
  RowRead,
  ShardFlush,
  ShardLease,
  ShardPosition,
} from '../../core/ports/online-store.ts'
import { decideFlush, leaseOf, takenBy, unownedShard, type ShardState } from '../kit/shard-state.ts'

interface StoredRow {
  readonly key: Uint8Array
  readonly row: Uint8Array
  readonly parts: Map<number, Uint8Array>
}

/** Rows of one shard, by view, then by the hex of their key: hex sorts as the bytes do. */
type ShardRows = Map<string, Map<string, StoredRow>>

const hex = (bytes: Uint8Array): string => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex')

/** The OnlineStore in plain maps: the reference of the contract, gone with the process. */
export class MemoryOnlineStore implements OnlineStore {
  readonly appliesTogether: boolean = true
  readonly #random: Random
  readonly #states = new Map<number, ShardState>()
  readonly #rows = new Map<number, ShardRows>()
  readonly #deadLetters = new Map<string, DeadLetter>()

  constructor(random: Random) {
    this.#random = random
  }

  async acquire(
    shards: readonly number[],
  ): Promise<readonly { readonly lease: ShardLease; readonly position: ShardPosition | null }[]> {
    return shards.map((shard) => {
      const state = takenBy(this.#state(shard), hex(this.#random.bytes(12)))
      this.#states.set(shard, state)
      return { lease: leaseOf(shard, state), position: state.position }
    })
  }

  async apply(flushes: readonly ShardFlush[]): Promise<readonly FlushOutcome[]> {
    return flushes.map((flush) => {
      const state = this.#state(flush.lease.shard)
      const outcome = decideFlush(state, flush)
      if (outcome.kind === 'applied') this.#write(state, flush)
      return outcome
    })
  }

  async read(view: string, shards: readonly number[], keys: readonly Uint8Array[]): Promise<RowRead> {
    return {
      rows: keys.map((key, index) => {
        const rows = this.#rows.get(shards[index] as number)?.get(view)
        return rows?.get(hex(key))?.row ?? null
      }),
      positions: shards.map((shard) => this.#state(shard).position),
    }
  }

  async readParts(
    view: string,
    shard: number,
    key: Uint8Array,
    names: readonly number[],
  ): Promise<readonly (Uint8Array | null)[]> {
    const parts = this.#rows.get(shard)?.get(view)?.get(hex(key))?.parts
    return names.map((name) => parts?.get(name) ?? null)
  }

  async positions(shards: readonly number[]): Promise<readonly (ShardPosition | null)[]> {
    return shards.map((shard) => this.#state(shard).position)
  }

  async *scan(view: string): AsyncGenerator<{ shard: number; key: Uint8Array; row: Uint8Array }> {
    for (const shard of [...this.#rows.keys()].sort((a, b) => a - b)) {
      const rows = this.#rows.get(shard)?.get(view) ?? new Map<string, StoredRow>()
      for (const name of [...rows.keys()].sort()) {
        const stored = rows.get(name)
        if (stored !== undefined) yield { shard, key: stored.key, row: stored.row }
      }
    }
  }

  async *deadLetters(): AsyncGenerator<DeadLetter> {
    yield* [...this.#deadLetters.values()]
  }

  #state(shard: number): ShardState {
    return this.#states.get(shard) ?? unownedShard
  }

  /** Copies what it keeps: the writer reuses its buffers. */
  #write(state: ShardState, flush: ShardFlush): void {
    const { shard } = flush.lease
    const views: ShardRows = this.#rows.get(shard) ?? new Map()
    this.#rows.set(shard, views)
    for (const { view, key, row, parts: changed } of flush.rows) {
      const rows = views.get(view) ?? new Map<string, StoredRow>()
      views.set(view, rows)
      const parts = rows.get(hex(key))?.parts ?? new Map<number, Uint8Array>()
      for (const { name, bytes } of changed?.put ?? []) parts.set(name, Uint8Array.from(bytes))
      for (const name of changed?.drop ?? []) parts.delete(name)
      rows.set(hex(key), { key: Uint8Array.from(key), row: Uint8Array.from(row), parts })
    }
    for (const letter of flush.deadLetters) {
      const id = JSON.stringify([letter.scope, letter.stream, letter.partition, letter.offset])
      if (!this.#deadLetters.has(id)) this.#deadLetters.set(id, letter)
    }
    this.#states.set(shard, { ...state, position: flush.to })
  }
}
