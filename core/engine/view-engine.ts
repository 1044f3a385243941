import { refusal } from '../asof/visible.ts'
import { FeatureStoreError } from '../errors.ts'
import type { DeadLetter, EventBatch } from '../event/batch.ts'
import { scalarAt } from '../event/column.ts'
import { encodeKey, shardOf } from '../event/key.ts'
import { offset as offsetOf } from '../event/position.ts'
import type { Column, Scalar } from '../event/types.ts'
import type { ColumnFunction } from '../expression/compile.ts'
import { compileInput } from './compile-input.ts'
import { EntityColumns, newTables, setInput, type InputColumn } from './entity-columns.ts'
import { Interner } from './interner.ts'
import type { ViewPlan } from './plan.ts'
import { decodeRow, encodeRow } from './row.ts'

/** One entity that this engine knows: its key, where it belongs, and its columns while they are in memory. */
export interface EntitySlot {
  readonly key: Uint8Array
  readonly shard: number
  columns: EntityColumns | null
  dirty: boolean
}

const inputsStart = 8
/** Codes of key parts are below it, so two of them make one exact number. */
const codesMax = 2 ** 26

/**
 * The state of one view in memory: a cache of its online rows. Batches of events go in, changed rows come out.
 *
 * Order of calls: `resolve` names the entity of each event, the caller loads what `unloaded` lists, `apply` takes the
 * events, `takeChanged` gives the rows to write. Entities without columns are on the store, or new.
 */
export class ViewEngine {
  readonly plan: ViewPlan
  readonly #shards: number
  readonly #owned: ReadonlySet<number>
  readonly #entities: EntitySlot[] = []
  readonly #unloaded = new Set<EntitySlot>()
  readonly #changed = new Set<EntitySlot>()
  readonly #tables: (Interner | null)[]
  readonly #inputs: readonly ColumnFunction[]
  readonly #keyStrings = new Interner()
  readonly #keyNumbers = new Map<number | bigint, number>()
  /** Codes of the key parts so far and the next one -> code of the longer prefix. */
  readonly #keyPairs: Map<number, number>[] = []
  /** Code of a whole key -> index of its entity, -1 for a key that is too long. */
  readonly #byCode = new Map<number, number>()

  constructor(plan: ViewPlan, shards: number, owned: ReadonlySet<number>) {
    this.plan = plan
    this.#shards = shards
    this.#owned = owned
    this.#tables = newTables(plan.inputs)
    this.#inputs = plan.inputs.map((input) => compileInput(input, plan.fields))
  }

  get entityCount(): number {
    return this.#entities.length
  }

  /** Approximate bytes of event columns held. */
  memoryBytes(): number {
    let bytes = 0
    for (const { columns } of this.#entities)
      if (columns !== null) bytes += columns.times.length * (28 + 8 * this.plan.inputs.length)
    return bytes
  }

  /**
   * The entity of each row: an index, or -1 where the key is null or too long. Only the key columns are read. New
   * entities are listed by `unloaded` unless their shard is not owned.
   */
  resolve(batch: Pick<EventBatch, 'columns' | 'count'>): Int32Array {
    const codes = this.#keyCodes(batch)
    const entities = new Int32Array(batch.count)
    for (let row = 0; row < batch.count; row++) {
      const code = codes[row] as number
      if (code < 0) {
        entities[row] = -1
        continue
      }
      const known = this.#byCode.get(code)
      const entity = known ?? this.#newEntity(code, batch, row)
      entities[row] = entity
      if (entity >= 0) {
        const slot = this.#entities[entity] as EntitySlot
        if (slot.columns === null && this.#owned.has(slot.shard)) this.#unloaded.add(slot)
      }
    }
    return entities
  }

  /** Entities that must be loaded before `apply`. */
  unloaded(): readonly EntitySlot[] {
    return [...this.#unloaded]
  }

  entity(index: number): EntitySlot | null {
    return this.#entities[index] ?? null
  }

  /** Every entity known, in order of appearance. */
  slots(): readonly EntitySlot[] {
    return this.#entities
  }

  /** The entity of an encoded key: a scan, for tests and tools. */
  find(key: Uint8Array): EntitySlot | null {
    return this.#entities.find((slot) => Buffer.compare(slot.key, key) === 0) ?? null
  }

  /** Gives an entity its columns: from its row, or empty when the store has none. */
  load(slot: EntitySlot, row: Uint8Array | null): void {
    slot.columns =
      row === null
        ? new EntityColumns(this.plan.inputs, inputsStart, this.#tables)
        : decodeRow(this.plan, row, this.#tables)
    this.#unloaded.delete(slot)
  }

  /**
   * Applies a batch. `from[shard]` is the first offset that the shard has not seen; events below it are skipped.
   * Returns the newest event time that the view accepted (-Infinity for none) and its dead letters by shard.
   */
  apply(
    batch: EventBatch,
    entities: Int32Array,
    from: (shard: number) => number,
    dead: (shard: number, letter: DeadLetter) => void,
  ): number {
    const { view } = this.plan
    const columns = this.#inputs.map((input) => input(batch.columns, batch.count))
    const translations = columns.map((column, index) =>
      column.type === 'string' ? (this.#tables[index] as Interner).translation(column.table) : null,
    )
    const plain = view.latenessMs === null
    let newest = Number.NEGATIVE_INFINITY
    for (let row = 0; row < batch.count; row++) {
      const time = batch.eventTimes[row] as number
      const known = batch.knownAts[row] as number
      const offset = batch.offsets[row] as number
      const slot = this.#entities[entities[row] as number]
      if (!plain || time - known > view.maxAheadMs || slot === undefined) {
        const code = slot === undefined ? 'FS_DEAD_KEY' : refusal(time, known, view)
        if (code !== null) {
          // A key that cannot be encoded has no shard of its own.
          const shard = slot?.shard ?? batch.partition % this.#shards
          if (this.#owned.has(shard) && offset >= from(shard)) {
            dead(shard, {
              scope: `view:${view.name}`,
              stream: batch.stream,
              partition: batch.partition,
              offset: offsetOf(offset),
              knownAt: known,
              code,
              reason: reasons[code] ?? code,
            })
          }
          continue
        }
      }
      if (time > newest) newest = time
      const { shard, columns: state } = slot as EntitySlot
      if (!this.#owned.has(shard) || offset < from(shard)) continue
      if (state === null)
        throw new FeatureStoreError('FS_INTERNAL', `view ${view.name}: an entity is applied before it is loaded`)
      const at = state.insert(time, known, batch.partition, offset)
      for (let input = 0; input < columns.length; input++)
        setInput(
          state,
          state.inputs[input] as InputColumn,
          at,
          columns[input] as Column,
          translations[input] ?? null,
          row,
        )
      if (!(slot as EntitySlot).dirty) {
        ;(slot as EntitySlot).dirty = true
        this.#changed.add(slot as EntitySlot)
      }
    }
    return newest
  }

  /** Rows changed since the last call, pruned and encoded. */
  *takeChanged(): Generator<{ readonly shard: number; readonly key: Uint8Array; readonly row: Uint8Array }> {
    for (const slot of this.#changed) {
      const columns = slot.columns as EntityColumns
      if (Number.isFinite(this.plan.retainMs)) columns.prune(columns.newestMs - this.plan.retainMs)
      slot.dirty = false
      yield { shard: slot.shard, key: slot.key, row: encodeRow(this.plan, columns) }
    }
    this.#changed.clear()
  }

  /** Drops the columns of entities that are as the store has them; they are loaded again when next touched. */
  evictClean(): void {
    for (const slot of this.#entities) if (!slot.dirty) slot.columns = null
  }

  #newEntity(code: number, batch: Pick<EventBatch, 'columns'>, row: number): number {
    const key = this.plan.view.keyFields.map((field): Scalar => scalarAt(batch.columns[field] as Column, row))
    let entity = -1
    try {
      const bytes = encodeKey(key, this.plan.keyTypes)
      entity = this.#entities.push({ key: bytes, shard: shardOf(bytes, this.#shards), columns: null, dirty: false }) - 1
    } catch (error) {
      if (!(error instanceof FeatureStoreError && error.code === 'FS_ENTITY_INVALID')) throw error
    }
    this.#byCode.set(code, entity)
    return entity
  }

  /** One number per event that is equal exactly when the keys are; -1 for a null. */
  #keyCodes(batch: Pick<EventBatch, 'columns' | 'count'>): Float64Array {
    const codes = new Float64Array(batch.count)
    this.plan.view.keyFields.forEach((field, part) => {
      const column = batch.columns[field] as Column
      const translation = column.type === 'string' ? this.#keyStrings.translation(column.table) : null
      const pairs = (this.#keyPairs[part] ??= new Map())
      for (let row = 0; row < batch.count; row++) {
        if (codes[row] === -1) continue
        if (column.nulls !== null && column.nulls[row] === 1) {
          codes[row] = -1
          continue
        }
        const value = column.values[row] as number | bigint
        const code = translation === null ? this.#numberCode(value) : (translation[value as number] as number)
        codes[row] = part === 0 ? code : pairCode(pairs, codes[row] as number, code)
      }
    })
    return codes
  }

  #numberCode(value: number | bigint): number {
    let code = this.#keyNumbers.get(value)
    if (code === undefined) this.#keyNumbers.set(value, (code = this.#keyNumbers.size))
    return code
  }
}

function pairCode(pairs: Map<number, number>, prefix: number, part: number): number {
  if (prefix >= codesMax || part >= codesMax)
    throw new FeatureStoreError('FS_LIMIT_EXCEEDED', `more than ${codesMax} distinct key parts in one worker`)
  const pair = prefix * codesMax + part
  let code = pairs.get(pair)
  if (code === undefined) pairs.set(pair, (code = pairs.size))
  return code
}

const reasons: Readonly<Record<string, string>> = {
  FS_DEAD_KEY: 'the entity key is null or too long',
  FS_DEAD_TOO_LATE: 'knownAt - eventTime exceeds the lateness of the view',
  FS_DEAD_TOO_EARLY: 'eventTime - knownAt exceeds maxAhead of the view',
}
