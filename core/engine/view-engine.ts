import { refusal } from '../asof/visible.ts'
import { FeatureStoreError } from '../errors.ts'
import type { DeadLetter, EventBatch } from '../event/batch.ts'
import { offset as offsetOf } from '../event/position.ts'
import type { ColumnFunction } from '../expression/compile.ts'
import { compileInput } from './compile-input.ts'
import type { ViewPlan } from './plan.ts'
import { decodeInto, encodeRow } from './row.ts'
import { runLength } from './state/event-store.ts'
import { EntityTable, Flag } from './state/entity-table.ts'
import { KeyResolver } from './state/key-resolver.ts'
import { orderOf } from './state/record-layout.ts'
import { Staging } from './state/staging.ts'
import { ensureSummary } from './state/summarise.ts'
import { ViewState } from './state/view-state.ts'

/** An entity that is not in memory, and where its row is. */
export interface MissingEntity {
  readonly entity: number
  readonly key: Uint8Array
  readonly shard: number
}

/**
 * The state of one view in memory: a cache of its online rows. Batches of events go in, changed rows come out.
 *
 * Order of calls: `resolve` names the entity of each event, the caller loads what `unloaded` lists, `apply` takes the
 * events, `takeChanged` gives the rows to write. Entities that are not loaded are on the store, or new.
 */
export class ViewEngine {
  readonly plan: ViewPlan
  readonly #shards: number
  readonly #owned: Uint8Array
  readonly #inputs: readonly ColumnFunction[]
  readonly #staging: Staging
  /** First offset that a shard has not seen, for the batch at hand. */
  readonly #from: Float64Array
  #state: ViewState
  #entities: EntityTable
  #keys: KeyResolver
  #unloaded: number[] = []
  #changed: number[] = []

  constructor(plan: ViewPlan, shards: number, owned: ReadonlySet<number>) {
    this.plan = plan
    this.#shards = shards
    this.#owned = Uint8Array.from({ length: shards }, (_, shard) => (owned.has(shard) ? 1 : 0))
    this.#from = new Float64Array(shards)
    this.#inputs = plan.inputs.map((input) => compileInput(input, plan.fields))
    this.#staging = new Staging(plan.layout)
    this.#state = new ViewState(plan)
    this.#entities = new EntityTable(this.#state.events, shards)
    this.#keys = new KeyResolver(this.#entities, plan.view.keyFields, plan.keyTypes)
  }

  /** The events in memory. Another one after `forget`. */
  get state(): ViewState {
    return this.#state
  }

  get entityCount(): number {
    return this.#state.events.entityCount
  }

  /** Bytes in use by events, entities and keys. */
  memoryBytes(): number {
    return this.#state.events.bytes + this.#entities.bytes + this.#keys.bytes
  }

  /**
   * The entity of each row: an index, or -1 where the key is null or too long. Only the key columns are read. Entities
   * that are not in memory are listed by `unloaded` unless their shard is not owned.
   */
  resolve(batch: Pick<EventBatch, 'columns' | 'count'>): Int32Array {
    const entities = this.#keys.resolve(batch.columns, batch.count)
    const table = this.#entities
    for (let row = 0; row < batch.count; row++) {
      const entity = entities[row] as number
      if (entity < 0 || table.has(entity, Flag.loaded | Flag.listed)) continue
      if (this.#owned[table.shard(entity)] === 0) continue
      table.set(entity, Flag.listed)
      this.#unloaded.push(entity)
    }
    return entities
  }

  /** Entities that must be loaded before `apply`. */
  unloaded(): readonly MissingEntity[] {
    return this.#unloaded.map((entity) => ({
      entity,
      key: this.#entities.key(entity),
      shard: this.#entities.shard(entity),
    }))
  }

  keyOf(entity: number): Uint8Array {
    return this.#entities.key(entity)
  }

  /** The entity of an encoded key, null when it was never named. */
  find(key: Uint8Array): number | null {
    const entity = this.#entities.find(key)
    return entity < 0 ? null : entity
  }

  isLoaded(entity: number): boolean {
    return this.#entities.has(entity, Flag.loaded)
  }

  /** Brings the events of each of the entities into memory; null: the store has no row of it. In the order of `unloaded`. */
  load(missing: readonly MissingEntity[], rows: readonly (Uint8Array | null)[]): void {
    missing.forEach(({ entity }, index) => {
      const row = rows[index] ?? null
      if (row !== null) decodeInto(this.#state, entity, row)
      this.#entities.set(entity, Flag.loaded)
      this.#entities.unset(entity, Flag.listed)
    })
    this.#unloaded = this.#unloaded.filter((entity) => this.#entities.has(entity, Flag.listed))
  }

  /**
   * Applies a batch. `from(shard)` is the first offset that the shard has not seen; events below it are skipped.
   * Returns the newest event time that the view accepted (-Infinity for none) and its dead letters by shard.
   */
  apply(
    batch: EventBatch,
    entities: Int32Array,
    from: (shard: number) => number,
    dead: (shard: number, letter: DeadLetter) => void,
  ): number {
    const { view } = this.plan
    const { count, eventTimes, knownAts, offsets, partition } = batch
    this.#stage(batch)
    for (let shard = 0; shard < this.#shards; shard++)
      this.#from[shard] = this.#owned[shard] === 1 ? from(shard) : Number.POSITIVE_INFINITY
    const firsts = this.#from
    const table = this.#entities
    const store = this.#state.events
    const staging = this.#staging
    const plain = view.latenessMs === null
    const { maxAheadMs } = view
    let newest = Number.NEGATIVE_INFINITY
    for (let row = 0; row < count; row++) {
      const time = eventTimes[row] as number
      const known = knownAts[row] as number
      const offset = offsets[row] as number
      const entity = entities[row] as number
      if (!plain || time - known > maxAheadMs || entity < 0) {
        const code = entity < 0 ? 'FS_DEAD_KEY' : refusal(time, known, view)
        if (code !== null) {
          // A key that cannot be encoded has no shard of its own.
          const shard = entity < 0 ? partition % this.#shards : table.shard(entity)
          if (offset >= (firsts[shard] as number)) {
            dead(shard, {
              scope: `view:${view.name}`,
              stream: batch.stream,
              partition,
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
      if (offset < (firsts[table.shard(entity)] as number)) continue
      if (!table.has(entity, Flag.loaded))
        throw new FeatureStoreError('FS_INTERNAL', `view ${view.name}: an entity is applied before it is loaded`)
      const record = store.insert(entity, time, known, orderOf(partition, offset))
      staging.copyTo(store.words, record, row)
      if (!table.has(entity, Flag.dirty)) {
        table.set(entity, Flag.dirty)
        this.#changed.push(entity)
      }
    }
    return newest
  }

  /** Inputs of every event as records. */
  #stage({ columns, count }: EventBatch): void {
    const { inputs } = this.plan
    this.#staging.begin(count)
    this.#inputs.forEach((input, index) => {
      const plan = inputs[index] as (typeof inputs)[number]
      this.#staging.setInput(index, plan, input(columns, count), count, this.#state.tables[index] ?? null)
    })
  }

  /** Makes the summaries of full runs that changed, which reading would make otherwise. */
  summarise(): void {
    const store = this.#state.events
    for (const entity of this.#changed)
      for (let index = store.runsOf(entity) - 1; index >= 0; index--) {
        const run = store.runAt(entity, index)
        if (store.summaryOf(run) >= 0) break
        if (store.lengthOf(run) === runLength) ensureSummary(this.#state, run)
      }
  }

  /** Rows changed since the last call, pruned and encoded. */
  *takeChanged(): Generator<{ readonly shard: number; readonly key: Uint8Array; readonly row: Uint8Array }> {
    const state = this.#state
    const store = state.events
    const changed = this.#changed
    this.#changed = []
    for (const entity of changed) {
      if (Number.isFinite(this.plan.retainMs)) store.prune(entity, store.newestMs(entity) - this.plan.retainMs)
      this.#entities.unset(entity, Flag.dirty)
      yield {
        shard: this.#entities.shard(entity),
        key: this.#entities.key(entity),
        row: encodeRow({ state, entity }),
      }
    }
  }

  /**
   * Drops what the store has as well; it is loaded again when next touched. When nothing else is left, the names of
   * entities and the strings of their inputs go too.
   */
  evictClean(): void {
    const store = this.#state.events
    const table = this.#entities
    if (this.#changed.length === 0 && this.#unloaded.length === 0) {
      this.#state = new ViewState(this.plan)
      this.#entities = new EntityTable(this.#state.events, this.#shards)
      this.#keys = new KeyResolver(this.#entities, this.plan.view.keyFields, this.plan.keyTypes)
      return
    }
    for (let entity = 0; entity < store.entityCount; entity++) {
      if (table.has(entity, Flag.dirty) || !table.has(entity, Flag.loaded)) continue
      store.clear(entity)
      table.unset(entity, Flag.loaded)
    }
  }
}

const reasons: Readonly<Record<string, string>> = {
  FS_DEAD_KEY: 'the entity key is null or too long',
  FS_DEAD_TOO_LATE: 'knownAt - eventTime exceeds the lateness of the view',
  FS_DEAD_TOO_EARLY: 'eventTime - knownAt exceeds maxAhead of the view',
}
