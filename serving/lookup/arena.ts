import type { ColumnBuilder } from '../../core/engine/column-builder.ts'
import type { ValueType } from '../../core/engine/feature-column.ts'
import type { ViewFinisher } from '../../core/engine/finish.ts'
import type { EntityEvents } from '../../core/engine/state/view-state.ts'
import { ValidUntil } from '../../core/engine/valid-until.ts'
import { encodeToken } from '../../core/event/position.ts'
import type { ShardPosition } from '../../core/ports/online-store.ts'

/** Plain counters: rows answered, rows that had to be finished, vectors dropped for want of room. */
export interface ArenaCounts {
  hits: number
  misses: number
  evictions: number
}

/** Bytes beside the values: the key, an entry of the index, the times. */
const slotBytes = 160
/** What a string, and what a list takes without its items: estimates. */
const stringBytes = 24
const listBytes = 48
/** Rows up to here are kept beside their vectors, which then outlive a flush that leaves the row alone. */
const keptRowBytesMax = 4_096
const firstSlots = 16

const bytesOfType = (type: ValueType, items: number): number =>
  type.kind === 'list' ? listBytes + items * 8 : type.type === 'string' ? stringBytes : 8

/** The row that a vector was finished from; null: there was none, undefined: not kept. */
type KeptRow = Uint8Array | null | undefined

const isSameRow = (kept: KeptRow, row: Uint8Array | null): boolean =>
  kept === null || row === null || kept === undefined ? kept === row : Buffer.compare(kept, row) === 0

/**
 * Finished features of entities asked for lately, at everything known. One holds from the T at which it was finished until
 * the moment that `ValidUntil` says, while its row is the same: while the shard stands where it stood, or the bytes are
 * equal. So an answer from here is the answer that finishing would give.
 *
 * Capacity: `bytesMax`, estimated; when full, the oldest vector of the same features is dropped, and if they have none,
 * the features that were asked for longest ago. 0 keeps nothing.
 */
export class Arena {
  readonly bytesMax: number
  readonly counts: ArenaCounts = { hits: 0, misses: 0, evictions: 0 }
  readonly #vectors = new Map<ViewFinisher, Vectors>()
  readonly #shards: { position: ShardPosition; token: string; version: number }[] = []
  #versions = 0
  bytes = 0

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax
  }

  /** A number that a shard has at this position and at no other. */
  version(shard: number, position: ShardPosition): number {
    const known = this.#shards[shard]
    if (known?.position === position) return known.version
    const token = encodeToken(position.position)
    if (known?.token === token) {
      known.position = position
      return known.version
    }
    this.#shards[shard] = { position, token, version: ++this.#versions }
    return this.#versions
  }

  /** The vectors of the features of one plan. */
  of(finisher: ViewFinisher): Vectors {
    let vectors = this.#vectors.get(finisher)
    if (vectors === undefined) vectors = new Vectors(this, finisher)
    else this.#vectors.delete(finisher)
    this.#vectors.set(finisher, vectors)
    return vectors
  }

  /** Whether `bytes` more fit; drops the features that were asked for longest ago where that makes them fit. */
  makeRoom(bytes: number, asking: Vectors): boolean {
    for (const [finisher, vectors] of this.#vectors) {
      if (this.bytes + bytes <= this.bytesMax || vectors === asking) break
      this.#vectors.delete(finisher)
      this.bytes -= vectors.bytes
      this.counts.evictions += vectors.count
      vectors.clear()
    }
    return this.bytes + bytes <= this.bytesMax
  }
}

/** Vectors of one list of features: a slot each, used in turn. */
export class Vectors {
  readonly #arena: Arena
  readonly #finisher: ViewFinisher
  readonly #validUntil: ValidUntil
  readonly #slotBytes: number
  readonly #slots = new Map<string, number>()
  /** By slot. */
  #ids: (string | undefined)[] = []
  #rows: KeptRow[] = []
  #times: Float64Array = new Float64Array(0)
  #columns: ColumnBuilder[] = []
  #next = 0
  bytes = 0

  constructor(arena: Arena, finisher: ViewFinisher) {
    this.#arena = arena
    this.#finisher = finisher
    this.#validUntil = new ValidUntil(finisher.plan, finisher.features)
    this.#slotBytes = finisher.features.reduce(
      (bytes, { definition, valueType }) => bytes + 1 + bytesOfType(valueType, itemsMax(definition)),
      slotBytes,
    )
  }

  get count(): number {
    return this.#slots.size
  }

  /** The slot of an entity's vector that holds at T while its shard stands at `version`; -1 for none. */
  find(id: string, asOfMs: number, version: number): number {
    const slot = this.#slots.get(id)
    return slot !== undefined && this.#holds(slot, asOfMs) && this.#times[slot * 3 + 2] === version ? slot : -1
  }

  /** The same where the shard has moved on and left the row as it was. */
  findByRow(id: string, asOfMs: number, version: number, row: Uint8Array | null): number {
    const slot = this.#slots.get(id)
    if (slot === undefined || !this.#holds(slot, asOfMs) || !isSameRow(this.#rows[slot], row)) return -1
    this.#times[slot * 3 + 2] = version
    return slot
  }

  #holds(slot: number, asOfMs: number): boolean {
    return (this.#times[slot * 3] as number) <= asOfMs && asOfMs < (this.#times[slot * 3 + 1] as number)
  }

  /** Sets row `at` of every builder to the vector. */
  copyTo(builders: readonly ColumnBuilder[], at: number, slot: number): void {
    for (let index = 0; index < builders.length; index++)
      (builders[index] as ColumnBuilder).copy(at, this.#columns[index] as ColumnBuilder, slot)
  }

  /** Keeps what was finished at T from a row (null: there is none) of a shard at `version`. */
  keep(
    id: string,
    asOfMs: number,
    version: number,
    { row, events }: { readonly row: Uint8Array | null; readonly events: EntityEvents | null },
    builders: readonly ColumnBuilder[],
    at: number,
  ): void {
    const slot = this.#slots.get(id) ?? this.#take(id)
    if (slot < 0) return
    this.#keepRow(slot, row !== null && row.length > keptRowBytesMax ? undefined : row)
    this.#times[slot * 3] = asOfMs
    this.#times[slot * 3 + 1] = events === null ? Number.POSITIVE_INFINITY : this.#validUntil.at(events, asOfMs)
    this.#times[slot * 3 + 2] = version
    for (let index = 0; index < builders.length; index++)
      (this.#columns[index] as ColumnBuilder).copy(slot, builders[index] as ColumnBuilder, at)
  }

  /** Where there is no room for it, the vector holds as long as the shard stands. */
  #keepRow(slot: number, row: KeptRow): void {
    this.#add(-(this.#rows[slot]?.length ?? 0))
    this.#rows[slot] = undefined
    const length = row?.length ?? 0
    if (!this.#arena.makeRoom(length, this)) return
    this.#rows[slot] = row
    this.#add(length)
  }

  #take(id: string): number {
    if (this.#next === this.#ids.length && !this.#grow()) this.#next = 0
    if (this.#ids.length === 0) return -1
    const slot = this.#next++
    const old = this.#ids[slot]
    if (old !== undefined) {
      this.#slots.delete(old)
      this.#arena.counts.evictions++
    }
    this.#ids[slot] = id
    this.#slots.set(id, slot)
    return slot
  }

  #grow(): boolean {
    const had = this.#ids.length
    const more = Math.max(firstSlots, had >> 1)
    if (!this.#arena.makeRoom(more * this.#slotBytes, this)) return false
    const times = new Float64Array((had + more) * 3)
    times.set(this.#times)
    this.#times = times
    const columns = this.#finisher.builders(had + more)
    columns.forEach((column, index) => {
      for (let slot = 0; slot < had; slot++) column.copy(slot, this.#columns[index] as ColumnBuilder, slot)
    })
    this.#columns = columns
    this.#ids.length = had + more
    this.#add(more * this.#slotBytes)
    return true
  }

  #add(bytes: number): void {
    this.bytes += bytes
    this.#arena.bytes += bytes
  }

  clear(): void {
    this.#slots.clear()
    this.#ids = []
    this.#rows = []
    this.#times = new Float64Array(0)
    this.#columns = []
    this.#next = 0
    this.bytes = 0
  }
}

function itemsMax({ aggregation, window }: ViewFinisher['features'][number]['definition']): number {
  return window.kind === 'series' ? window.spanMs / window.stepMs : (aggregation.n ?? 1)
}
