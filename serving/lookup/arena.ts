import type { ColumnBuilder } from '../../core/engine/column-builder.ts'
import type { FeatureDefinition } from '../../core/definition/types.ts'
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

/** Vectors of a block. */
const blockSlots = 64
/** Bytes beside the values: per vector (key, entry of the index, times), per feature of a block (its arrays). */
const slotBytes = 160
const columnBytes = 320
/** What a string, and what a list takes without its items: estimates. */
const stringBytes = 24
const listBytes = 48
/** Rows up to here are kept beside their vectors, which then outlive a flush that leaves the row alone. */
const keptRowBytesMax = 4_096

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
 * Vectors of one list of features lie in blocks. Capacity: `bytesMax`, estimated; when full, the oldest block is dropped,
 * whatever features it is of. 0 keeps nothing.
 */
export class Arena {
  readonly bytesMax: number
  readonly counts: ArenaCounts = { hits: 0, misses: 0, evictions: 0 }
  readonly #vectors = new WeakMap<ViewFinisher, Vectors>()
  readonly #shards: { position: ShardPosition; token: string; version: number }[] = []
  /** Oldest first. */
  readonly #blocks = new Set<Block>()
  #versions = 0
  #bytes = 0

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax
  }

  get bytes(): number {
    return this.#bytes
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
    if (vectors === undefined) this.#vectors.set(finisher, (vectors = new Vectors(this, finisher)))
    return vectors
  }

  /** Takes in a new block, or more bytes of one that is there; false, and nothing, where older ones do not make room. */
  add(block: Block, bytes: number): boolean {
    if (bytes > this.bytesMax) return false
    for (const oldest of this.#blocks) {
      if (this.#bytes + bytes <= this.bytesMax) break
      if (oldest === block) return false
      this.#blocks.delete(oldest)
      this.#bytes -= oldest.bytes
      this.counts.evictions += oldest.clear()
    }
    this.#blocks.add(block)
    block.bytes += bytes
    this.#bytes += bytes
    return true
  }

  release(block: Block, bytes: number): void {
    block.bytes -= bytes
    this.#bytes -= bytes
  }
}

/** Vectors side by side. Its last user may outlive it in the arena. */
export class Block {
  readonly columns: readonly ColumnBuilder[]
  readonly ids: string[] = []
  readonly rows = new Array<KeptRow>(blockSlots)
  /** By vector: finished at T, holds until, version of its shard. */
  readonly times = new Float64Array(blockSlots * 3)
  readonly #index: Map<string, Place>
  bytes = 0

  constructor(finisher: ViewFinisher, index: Map<string, Place>) {
    this.columns = finisher.builders(blockSlots)
    this.#index = index
  }

  /** Forgets its vectors; their number. */
  clear(): number {
    for (const id of this.ids) this.#index.delete(id)
    this.bytes = 0
    return this.ids.length
  }
}

/** Where a vector lies. */
export interface Place {
  readonly block: Block
  readonly slot: number
}

/** Vectors of one list of features. */
export class Vectors {
  readonly #arena: Arena
  readonly #finisher: ViewFinisher
  readonly #validUntil: ValidUntil
  readonly #blockBytes: number
  readonly #index = new Map<string, Place>()
  /** The one that is being filled. */
  #block: Block | null = null

  constructor(arena: Arena, finisher: ViewFinisher) {
    this.#arena = arena
    this.#finisher = finisher
    this.#validUntil = new ValidUntil(finisher.plan, finisher.features)
    this.#blockBytes = finisher.features.reduce(
      (bytes, { definition, valueType }) =>
        bytes + columnBytes + blockSlots * (1 + bytesOfType(valueType, itemsMax(definition))),
      blockSlots * slotBytes,
    )
  }

  /** An entity's vector that holds at T while its shard stands at `version`. */
  find(id: string, asOfMs: number, version: number): Place | undefined {
    const place = this.#index.get(id)
    return place !== undefined && holds(place, asOfMs) && place.block.times[place.slot * 3 + 2] === version
      ? place
      : undefined
  }

  /** The same where the shard has moved on and left the row as it was. */
  findByRow(id: string, asOfMs: number, version: number, row: Uint8Array | null): Place | undefined {
    const place = this.#index.get(id)
    if (place === undefined || !holds(place, asOfMs) || !isSameRow(place.block.rows[place.slot], row)) return undefined
    place.block.times[place.slot * 3 + 2] = version
    return place
  }

  /** Keeps row `at` of the builders: finished at T from a row (null: there is none) of a shard at `version`. */
  keep(
    id: string,
    asOfMs: number,
    version: number,
    { row, events }: { readonly row: Uint8Array | null; readonly events: EntityEvents | null },
    builders: readonly ColumnBuilder[],
    at: number,
  ): void {
    const place = this.#index.get(id) ?? this.#take(id)
    if (place === null) return
    const { block, slot } = place
    this.#keepRow(place, row !== null && row.length > keptRowBytesMax ? undefined : row)
    block.times[slot * 3] = asOfMs
    block.times[slot * 3 + 1] = events === null ? Number.POSITIVE_INFINITY : this.#validUntil.at(events, asOfMs)
    block.times[slot * 3 + 2] = version
    for (let index = 0; index < builders.length; index++)
      (block.columns[index] as ColumnBuilder).copy(slot, builders[index] as ColumnBuilder, at)
  }

  /** Where there is no room for it, the vector holds as long as the shard stands. */
  #keepRow({ block, slot }: Place, row: KeptRow): void {
    this.#arena.release(block, block.rows[slot]?.length ?? 0)
    block.rows[slot] = this.#arena.add(block, row?.length ?? 0) ? row : undefined
  }

  #take(id: string): Place | null {
    let block = this.#block
    if (block === null || block.ids.length === blockSlots || block.bytes === 0) {
      block = new Block(this.#finisher, this.#index)
      if (!this.#arena.add(block, this.#blockBytes)) return null
      this.#block = block
    }
    const place = { block, slot: block.ids.push(id) - 1 }
    this.#index.set(id, place)
    return place
  }
}

/** Sets row `at` of every builder to a vector. */
export function copyVector({ block, slot }: Place, builders: readonly ColumnBuilder[], at: number): void {
  for (let index = 0; index < builders.length; index++)
    (builders[index] as ColumnBuilder).copy(at, block.columns[index] as ColumnBuilder, slot)
}

const holds = ({ block: { times }, slot }: Place, asOfMs: number): boolean =>
  (times[slot * 3] as number) <= asOfMs && asOfMs < (times[slot * 3 + 1] as number)

function itemsMax({ aggregation, window }: FeatureDefinition): number {
  return window.kind === 'series' ? window.spanMs / window.stepMs : (aggregation.n ?? 1)
}
