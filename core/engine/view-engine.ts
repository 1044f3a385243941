import { refusal } from '../asof/visible.ts'
import { staysWithEntity } from '../definition/corrections.ts'
import { FeatureStoreError, type ErrorCode } from '../errors.ts'
import type { DeadLetter, EventBatch } from '../event/batch.ts'
import { Op } from '../event/operation.ts'
import { offset as offsetOf } from '../event/position.ts'
import type { Column, FieldType, ScalarType } from '../event/types.ts'
import type { ColumnFunction } from '../expression/compile.ts'
import { compileInput } from './compile-input.ts'
import type { ViewPlan } from './plan.ts'
import {
  decodeParted,
  directoryOf,
  encodeStored,
  isHead,
  pruneParted,
  type Directory,
  type PartWrites,
} from './row-parts.ts'
import { decodeInto } from './row.ts'
import { byShard } from './state/by-shard.ts'
import { appendBlock, readBlock, runLength, tailFlags, tailWords, type AppendRows } from './state/event-store.ts'
import { EntityTable, Flag } from './state/entity-table.ts'
import { contentHashes, idsOf, settle } from './state/identity.ts'
import { KeyResolver } from './state/key-resolver.ts'
import { offsetOfOrder, orderOf, partitionOfOrder } from './state/record-layout.ts'
import { RowVersions, type ChangelogRow, type RowVersion } from './state/row-versions.ts'
import { TieGroups } from './state/tie-groups.ts'
import { Staging } from './state/staging.ts'
import { ensureSummary } from './state/summarise.ts'
import { spanStart } from './state/tile-layout.ts'
import { foldTiles, pruneTiles } from './state/tiles.ts'
import { ViewState } from './state/view-state.ts'

/** What is not in memory, and where it is: a row of the view, or of the changelog behind it. */
export interface MissingRow {
  /** Name under which the online store has it: the view's, or `changelogTable` of it. */
  readonly table: string
  readonly key: Uint8Array
  readonly shard: number
  /** Name of the part that is asked for, null for the row or its head. */
  readonly part: number | null
  readonly of: number | ChangelogRow
}

export interface ChangedRow {
  readonly table: string
  readonly shard: number
  readonly key: Uint8Array
  readonly row: Uint8Array
  readonly parts?: PartWrites
}

/** A head whose parts are not all here yet. */
interface Loading {
  readonly row: Uint8Array
  readonly names: readonly number[]
  readonly parts: Map<number, Uint8Array>
}

/** About what a row takes in a flush beside its events and its key, bytes. */
const rowBytes = 96

/** About what a part's entry takes in memory. */
const entryBytes = 120

/** Where the online store keeps the versions of a changelog's rows for a view. No view is called so. */
export const changelogTable = (view: string): string => `${view}#rows`

/**
 * Values of `entity` may differ from as known at `knownMs` on, at every T after `timeMs`. `isEvent`: since an insert or
 * upsert with that event time came; else one was taken back.
 */
export type ChangeListener = (entity: number, timeMs: number, knownMs: number, isEvent: boolean) => void

/**
 * The state of one view in memory: a cache of its online rows. Batches of events go in, changed rows come out.
 *
 * Order of calls: `resolve` names the entity of each event; the caller loads what `unloaded` lists until it lists nothing;
 * `apply` takes the events; `takeChanged` gives the rows to write. What is not loaded is on the store, or new.
 */
export class ViewEngine {
  readonly plan: ViewPlan
  readonly #shards: number
  readonly #owned: Uint8Array
  readonly #inputs: readonly ColumnFunction[]
  readonly #staging: Staging
  /** First offset that a shard has not seen, for the batch at hand. */
  readonly #from: Float64Array
  /** Of a changelog; else null. */
  readonly #versions: RowVersions | null
  /** Rows of the changelog lie in the shard of their entity. */
  readonly #versionsStay: boolean
  /** By shard: about what its changed rows take in a flush, bytes. */
  readonly #changedBytes: Float64Array
  /** Shards that take something of the batch that was resolved last. */
  #takes: Uint8Array
  #state: ViewState
  #entities: EntityTable
  #keys: KeyResolver
  #versionNumbers = new Float64Array(0)
  #unloaded: number[] = []
  readonly #loading = new Map<number, Loading>()
  /** Of entities whose stored row is a head. */
  readonly #directories = new Map<number, Directory>()
  #entries = 0
  /** Changelog rows of the batch that was resolved last. */
  #rows: readonly (ChangelogRow | null)[] = []
  #changed: number[] = []
  readonly #ties = new TieGroups()
  /** Told of each change as it is applied; null: nobody asks. */
  onChange: ChangeListener | null = null

  constructor(plan: ViewPlan, shards: number, owned: ReadonlySet<number>) {
    this.plan = plan
    this.#shards = shards
    this.#owned = Uint8Array.from({ length: shards }, (_, shard) => (owned.has(shard) ? 1 : 0))
    this.#takes = this.#owned
    this.#from = new Float64Array(shards)
    this.#changedBytes = new Float64Array(shards)
    this.#inputs = plan.inputs.map((input) => compileInput(input, plan.fields))
    this.#staging = new Staging(plan.layout)
    this.#state = new ViewState(plan, undefined, { growing: true })
    this.#entities = new EntityTable(this.#state.events, shards)
    this.#keys = new KeyResolver(this.#entities, plan.view.keyFields, plan.keyTypes)
    const { primaryKey } = plan.stream
    this.#versions = primaryKey === undefined ? null : new RowVersions(primaryKey, typesOf(plan, primaryKey), shards)
    this.#versionsStay = staysWithEntity(plan.stream, plan.view)
  }

  /**
   * A row of the changelog may move from any entity to any other. Then what it went through lies in the shard of its
   * primary key, and taking a version back reaches into another shard: all shards have one owner and one position.
   */
  get crossesShards(): boolean {
    return this.#versions !== null && !this.#versionsStay && this.#shards > 1
  }

  /** Takes a shard. Nothing of it is in memory. */
  own(shard: number): void {
    this.#owned[shard] = 1
  }

  /** Gives shards up and forgets all that is known of their entities, changed or not. Their numbers stay. */
  disown(shards: ReadonlySet<number>): void {
    for (const shard of shards) {
      this.#owned[shard] = 0
      this.#changedBytes[shard] = 0
    }
    const table = this.#entities
    const isLeft = (entity: number): boolean => !shards.has(table.shard(entity))
    for (let entity = 0; entity < this.entityCount; entity++) {
      if (isLeft(entity)) continue
      this.#loading.delete(entity)
      if (!table.has(entity, Flag.loaded | Flag.listed)) continue
      this.#state.clear(entity)
      this.#setDirectory(entity, null)
      table.unset(entity, Flag.loaded | Flag.dirty | Flag.listed)
      this.#newVersion(entity)
    }
    this.#ties.clear()
    this.#changed = this.#changed.filter(isLeft)
    this.#unloaded = this.#unloaded.filter(isLeft)
    this.#versions?.drop(shards)
    this.#rows = this.#rows.map((row) => (row !== null && shards.has(row.shard) ? null : row))
  }

  /** The events in memory. Another one after an eviction. */
  get state(): ViewState {
    return this.#state
  }

  get entityCount(): number {
    return this.#state.events.entityCount
  }

  /** Bytes held for events that the collector does not know of. */
  get unseenBytes(): number {
    return this.#state.events.unseenBytes
  }

  /** Bytes in use by events, entities and keys. */
  memoryBytes(): number {
    return (
      this.#state.bytes +
      this.#entities.bytes +
      this.#keys.bytes +
      this.#ties.bytes +
      this.#entries * entryBytes +
      (this.#versions?.bytes ?? 0)
    )
  }

  /**
   * The entity of each row: an index, or -1 where the key is null or too long. Only the columns of keys are read. What is
   * not in memory is listed by `unloaded` if its shard takes something of the batch (`takes`: 1 by shard; default: the
   * owned ones).
   */
  resolve(batch: Pick<EventBatch, 'columns' | 'count'>, takes: Uint8Array = this.#owned): Int32Array {
    this.#takes = takes
    const entities = this.#keys.resolve(batch.columns, batch.count)
    const store = this.#state.events
    const { tails } = store
    for (let row = 0; row < batch.count; row++) {
      if (row % appendBlock === 0) store.bringTailsNear(entities, row, Math.min(batch.count, row + appendBlock))
      const entity = entities[row] as number
      // Mostly it is here: asked for in place.
      if (entity >= 0 && ((tails[entity * tailWords + tailFlags] as number) & (Flag.loaded | Flag.listed)) === 0)
        this.#want(entity)
    }
    if (this.#versions !== null) {
      const shardOfRow = (row: number): number | null =>
        this.#versionsStay && (entities[row] as number) >= 0 ? this.#entities.shard(entities[row] as number) : null
      this.#rows = this.#versions.resolve(batch.columns, batch.count, shardOfRow)
      for (const row of this.#rows) if (row !== null && row.loaded && !row.held) this.#hold(row)
    }
    return entities
  }

  /** What a new version of the row takes back may lie with the entity of any version. */
  #hold(row: ChangelogRow): void {
    row.held = true
    for (const { entity } of row.versions) if (entity !== null) this.#want(this.#entities.add(entity))
  }

  #want(entity: number): void {
    const table = this.#entities
    if (table.has(entity, Flag.loaded | Flag.listed) || !this.#isTaking(table.shard(entity))) return
    table.set(entity, Flag.listed)
    this.#unloaded.push(entity)
  }

  /** A shard may be given up while what it takes is being loaded. */
  #isTaking(shard: number): boolean {
    return this.#takes[shard] === 1 && this.#owned[shard] === 1
  }

  /** What must be loaded before `apply`; ask again after `load`: heads have parts, and a changelog's rows name entities. */
  unloaded(): readonly MissingRow[] {
    const missing: MissingRow[] = []
    const table = this.plan.view.name
    for (const entity of this.#unloaded) {
      const key = this.#entities.key(entity)
      const shard = this.#entities.shard(entity)
      const names = this.#loading.get(entity)?.names
      if (names === undefined) missing.push({ table, key, shard, part: null, of: entity })
      else for (const part of names) missing.push({ table, key, shard, part, of: entity })
    }
    for (const row of new Set(this.#rows))
      if (row !== null && !row.loaded && this.#isTaking(row.shard))
        missing.push({
          table: changelogTable(this.plan.view.name),
          key: row.key,
          shard: row.shard,
          part: null,
          of: row,
        })
    return missing
  }

  /**
   * Brings what was missing into memory; null: the store has no such row.
   *
   * Errors: FS_STATE_FORMAT; FS_ROW_CORRUPT, for a part that is not there too.
   */
  load(missing: readonly MissingRow[], rows: readonly (Uint8Array | null)[]): void {
    const parted = new Set<number>()
    for (let index = 0; index < missing.length; index++) {
      const { part, of } = missing[index] as MissingRow
      const row = rows[index] ?? null
      if (typeof of !== 'number') {
        this.#versions?.load(of, row)
        this.#hold(of)
      } else if (part === null) this.#loadRow(of, row)
      else {
        if (row !== null) this.#loading.get(of)?.parts.set(part, row)
        parted.add(of)
      }
    }
    for (const entity of parted) this.#loadParts(entity)
    this.#unloaded = this.#unloaded.filter((entity) => this.#entities.has(entity, Flag.listed))
  }

  #loadRow(entity: number, row: Uint8Array | null): void {
    if (row !== null && isHead(row)) {
      const names = directoryOf(this.plan, row).parts.map(({ name }) => name)
      this.#loading.set(entity, { row, names, parts: new Map() })
      if (names.length === 0) this.#loadParts(entity)
      return
    }
    if (row !== null) decodeInto(this.#state, entity, row)
    this.#setLoaded(entity)
  }

  #loadParts(entity: number): void {
    const loading = this.#loading.get(entity)
    if (loading === undefined) return
    this.#loading.delete(entity)
    // Nobody else writes this shard, so the parts are those of the head.
    const directory = decodeParted(this.#state, entity, loading.row, (name) => loading.parts.get(name) ?? null)
    if (directory === null)
      throw new FeatureStoreError('FS_ROW_CORRUPT', `a part of a row of view ${this.plan.view.name} is lost or damaged`)
    this.#setDirectory(entity, directory)
    this.#setLoaded(entity)
  }

  #setLoaded(entity: number): void {
    this.#entities.set(entity, Flag.loaded)
    this.#entities.unset(entity, Flag.listed)
    this.#newVersion(entity)
  }

  #setDirectory(entity: number, directory: Directory | null): void {
    this.#entries += (directory?.parts.length ?? 0) - (this.#directories.get(entity)?.parts.length ?? 0)
    if (directory === null) this.#directories.delete(entity)
    else this.#directories.set(entity, directory)
  }

  /** The entity of an encoded key, null when it was never named. */
  find(key: Uint8Array): number | null {
    const entity = this.#entities.find(key)
    return entity < 0 ? null : entity
  }

  /**
   * A number for what an entity of this `state` is now: as long as `versions` has it there, its events are the same.
   * For what is finished from them and kept.
   */
  keep(entity: number): number {
    if (this.#versionNumbers.length < this.entityCount) {
      const larger = new Float64Array(Math.ceil(this.entityCount * 1.25))
      larger.set(this.#versionNumbers)
      this.#versionNumbers = larger
    }
    this.#entities.set(entity, Flag.kept)
    return this.#versionNumbers[entity] as number
  }

  /** By entity; those that nobody keeps anything of may lie beyond the end. Another array after any call. */
  get versions(): Float64Array {
    return this.#versionNumbers
  }

  /** Only where somebody keeps something of it. */
  #newVersion(entity: number): void {
    if (!this.#entities.has(entity, Flag.kept)) return
    this.#entities.unset(entity, Flag.kept)
    this.#versionNumbers[entity] = (this.#versionNumbers[entity] as number) + 1
  }

  isLoaded(entity: number): boolean {
    return this.#entities.has(entity, Flag.loaded)
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
    const { view, layout } = this.plan
    const { count, eventTimes, knownAts, offsets, partition, ops } = batch
    const ids = this.#stage(batch)
    for (let shard = 0; shard < this.#shards; shard++)
      this.#from[shard] = this.#owned[shard] === 1 ? from(shard) : Number.POSITIVE_INFINITY
    const firsts = this.#from
    const table = this.#entities
    const store = this.#state.events
    const staging = this.#staging
    const versions = this.#versions
    const changedBytes = this.#changedBytes
    const eventBytes = layout.stride * 4
    const plain = view.latenessMs === null
    const { maxAheadMs } = view
    const letter = (shard: number, offset: number, partitionOf: number, knownAt: number, code: ErrorCode): void =>
      dead(shard, {
        scope: `view:${view.name}`,
        stream: batch.stream,
        partition: partitionOf,
        offset: offsetOf(offset),
        knownAt,
        code,
        reason: reasons[code] ?? code,
      })
    let newest = Number.NEGATIVE_INFINITY
    const appended = this.#appendable(batch, entities)
    for (let row = 0; row < count; row++) {
      if (row % appendBlock === 0) store.bringNear(entities, row, Math.min(count, row + appendBlock))
      if (appended !== null) {
        const end = Math.min(count, row - (row % appendBlock) + appendBlock)
        const stop = store.appendRows(appended, row, end)
        for (; row < stop; row++) if ((eventTimes[row] as number) > newest) newest = eventTimes[row] as number
        if (row === end) {
          row--
          continue
        }
      }
      const time = eventTimes[row] as number
      const known = knownAts[row] as number
      const offset = offsets[row] as number
      const entity = entities[row] as number
      if (!plain || time - known > maxAheadMs || entity < 0) {
        // A delete names a row, not an entity.
        const needsEntity = versions === null || ops?.[row] !== Op.delete
        const code = entity < 0 && needsEntity ? 'FS_DEAD_KEY' : refusal(time, known, view)
        if (code !== null) {
          // A key that cannot be encoded has no shard of its own.
          const shard = entity < 0 ? partition % this.#shards : table.shard(entity)
          if (offset >= (firsts[shard] as number)) letter(shard, offset, partition, known, code)
          continue
        }
      }
      if (time > newest) newest = time
      const order = orderOf(partition, offset)
      if (versions !== null) {
        this.#applyVersion(row, entity, ops?.[row] === Op.delete, time, known, order)
        continue
      }
      const flags = table.flags(entity)
      const shard = table.shard(entity)
      if (offset < (firsts[shard] as number)) continue
      if ((flags & Flag.loaded) === 0) this.#mustBeLoaded(entity)
      const record = store.insert(entity, time, known, order)
      staging.copyTo(store.words, record, row)
      changedBytes[shard] = (changedBytes[shard] as number) + eventBytes
      if ((flags & (Flag.dirty | Flag.kept)) !== Flag.dirty) this.#dirty(entity)
      this.onChange?.(entity, time, known, ops?.[row] !== Op.retract)
      if (ids === null) continue
      store.floats[record * (layout.stride >> 1) + layout.until] = Number.NaN
      const arrival = { entity, timeMs: time, knownMs: known, order, id: ids[row] as number }
      settle(store, this.#ties, arrival, this.plan.stream.dedupeSpanMs as number, (at, of) =>
        letter(shard, offsetOfOrder(of), partitionOfOrder(of), at, 'FS_DEAD_DUPLICATE_DIFFERS'),
      )
    }
    return newest
  }

  /**
   * The rows of a batch of which nothing has to be asked but what `appendRows` asks: nobody listens, none can be a duplicate,
   * too late, or of a shard of ours that has seen it. Null where that is not so. What comes of it is the same.
   */
  #appendable(
    { eventTimes, knownAts, offsets, count, partition }: EventBatch,
    entities: Int32Array,
  ): AppendRows | null {
    const { view, stream } = this.plan
    if (this.#versions !== null || stream.id !== undefined || this.onChange !== null || view.latenessMs !== null)
      return null
    const first = offsets[0] ?? 0
    // Nothing is loaded of a shard that is not ours, and what is not loaded is not appended to.
    if (count === 0 || this.#from.some((from, shard) => this.#owned[shard] === 1 && !(from <= first))) return null
    return {
      entities,
      times: eventTimes,
      knowns: knownAts,
      words: this.#staging.words,
      firstOrder: orderOf(partition, 0),
      offsets,
      maxAheadMs: view.maxAheadMs,
      flagsMask: Flag.loaded | Flag.dirty | Flag.kept,
      flags: Flag.loaded | Flag.dirty,
    }
  }

  /** A version of a changelog's row comes: it takes back the one before it, and the one behind it takes it back. */
  #applyVersion(row: number, entity: number, isDelete: boolean, time: number, known: number, order: number): void {
    const changelogRow = this.#rows[row]
    const versions = this.#versions
    // A primary key that is too long is one that the view cannot take: the decoder has refused nulls.
    if (versions === null || changelogRow === null || changelogRow === undefined) return
    // What lies in one shard is written with one position: all of it has seen the record, or none.
    if (this.#versionsStay && offsetOfOrder(order) < (this.#from[changelogRow.shard] as number)) return
    const key = isDelete ? null : this.#entities.key(entity).slice()
    const at = versions.add(changelogRow, { knownMs: known, order, timeMs: time, entity: key })
    const all = changelogRow.versions
    const offset = offsetOfOrder(order)
    const before = all[at - 1]
    if (before !== undefined && before.entity !== null) this.#endVersion(before, known, offset)
    if (isDelete || offset < (this.#from[this.#entities.shard(entity)] as number)) return
    this.#mustBeLoaded(entity)
    const store = this.#state.events
    const { layout } = store
    const record = store.insert(entity, time, known, order)
    this.#staging.copyTo(store.words, record, row)
    const untilMs = untilOf(known, all[at + 1])
    store.floats[record * (layout.stride >> 1) + layout.until] = untilMs
    this.#dirty(entity)
    this.onChange?.(entity, time, known, true)
    if (Number.isFinite(untilMs)) this.onChange?.(entity, time, untilMs, false)
  }

  /** The version counts until `untilMs`, when a record at `offset` of its partition took its place. */
  #endVersion({ entity: key, timeMs, knownMs, order }: RowVersion, untilMs: number, offset: number): void {
    const entity = this.#entities.find(key as Uint8Array)
    if (offset < (this.#from[this.#entities.shard(entity)] as number)) return
    this.#mustBeLoaded(entity)
    const store = this.#state.events
    const cursor = store.find(entity, timeMs, knownMs, order)
    // Pruned, or not there yet where its row stands behind the changelog's: then it comes with its end.
    if (cursor < 0) return
    const at = store.recordAt(entity, cursor) * (store.layout.stride >> 1) + store.layout.until
    const before = store.floats[at] as number
    store.floats[at] = untilMs > knownMs ? untilMs : Number.NEGATIVE_INFINITY
    store.touch(entity, cursor)
    this.#dirty(entity)
    this.onChange?.(entity, timeMs, untilMs, false)
    if (Number.isFinite(before)) this.onChange?.(entity, timeMs, before, false)
  }

  #mustBeLoaded(entity: number): void {
    if (!this.#entities.has(entity, Flag.loaded))
      throw new FeatureStoreError(
        'FS_INTERNAL',
        `view ${this.plan.view.name}: an entity is applied before it is loaded`,
      )
  }

  #dirty(entity: number): void {
    this.#newVersion(entity)
    if (this.#entities.has(entity, Flag.dirty)) return
    this.#entities.set(entity, Flag.dirty)
    this.#changed.push(entity)
    const events = Math.min(this.#state.events.count(entity), this.plan.split.splitEvents)
    const shard = this.#entities.shard(entity)
    this.#changedBytes[shard] =
      (this.#changedBytes[shard] as number) +
      events * this.plan.layout.stride * 4 +
      this.#entities.keyBytes(entity) +
      (this.#state.tilesOf(entity)?.bytes ?? 0) +
      rowBytes
  }

  /** About what the changed rows of a shard take in a flush, bytes; strings and rows of a changelog are not counted. */
  changedBytes(shard: number): number {
    return this.#changedBytes[shard] as number
  }

  /** Inputs of every event as records, and their identities. Returns the ids, null where there are none. */
  #stage(batch: EventBatch): Float64Array | null {
    const { columns, count, ops } = batch
    const { inputs, stream } = this.plan
    this.#staging.begin(count)
    this.#inputs.forEach((input, index) => {
      const plan = inputs[index] as (typeof inputs)[number]
      this.#staging.setInput(index, plan, input(columns, count), count, this.#state.tables[index] ?? null)
    })
    if (stream.id === undefined) return null
    const ids = idsOf(columns[stream.id] as Column, count)
    const except = new Set(stream.op === undefined ? [] : [stream.op])
    this.#staging.setIdentities(ids, contentHashes(columns, except, count), ops)
    return ids
  }

  /** Entities that `takeChanged` would write. */
  get changedCount(): number {
    return this.#changed.length
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

  /**
   * Rows changed since the last call, folded, pruned and encoded, shard by shard; of split ones what must be written and
   * dropped. `only`: those of these shards, the others stay changed.
   */
  *takeChanged(only?: ReadonlySet<number>): Generator<ChangedRow> {
    const state = this.#state
    const store = state.events
    const table = this.plan.view.name
    const shardOf = (entity: number): number => this.#entities.shard(entity)
    const { taken: changed, left } = byShard(this.#changed, shardOf, this.#shards, only)
    this.#changed = left
    for (let shard = 0; shard < this.#shards; shard++) if (only?.has(shard) !== false) this.#changedBytes[shard] = 0
    for (let from = 0; from < changed.length; from += readBlock) {
      const to = Math.min(changed.length, from + readBlock)
      store.bringEventsNear(changed, from, to)
      for (let at = from; at < to; at++) {
        const entity = changed[at] as number
        foldTiles(state, entity)
        this.#prune(entity)
        this.#entities.unset(entity, Flag.dirty)
        const { row, parts, directory } = encodeStored(
          { state, entity },
          this.#directories.get(entity) ?? null,
          this.plan.split,
        )
        this.#setDirectory(entity, directory)
        const own = { table, shard: shardOf(entity), key: this.#entities.key(entity), row }
        yield parts === undefined ? own : { ...own, parts }
      }
    }
    if (this.#versions === null) return
    for (const changedRow of this.#versions.takeChanged(only)) yield { table: changelogTable(table), ...changedRow }
  }

  #prune(entity: number): void {
    const { retainMs, tile } = this.plan
    if (!Number.isFinite(retainMs)) return
    const state = this.#state
    const beforeMs = state.events.newestMs(entity) - retainMs
    if (tile === null) return pruneParted({ state, entity }, beforeMs)
    // With tiles span by span: whether one lies in a tile depends on all of its events.
    state.events.prune(entity, spanStart(beforeMs, tile.spanMs))
    pruneTiles(state, entity, spanStart(beforeMs, tile.spanMs))
  }

  /**
   * Drops what the store has as well; it is loaded again when next touched. When nothing else is left, the names of
   * entities and the strings of their inputs go too. Only between batches: entities that were resolved lose their names.
   */
  evictClean(): void {
    const store = this.#state.events
    const table = this.#entities
    this.#rows = []
    this.#ties.clear()
    this.#loading.clear()
    this.#versions?.evictClean()
    if (this.#changed.length === 0) {
      this.#unloaded = []
      this.#versionNumbers = new Float64Array(0)
      this.#directories.clear()
      this.#entries = 0
      this.#state = new ViewState(this.plan, undefined, { from: this.#state.events })
      this.#entities = new EntityTable(this.#state.events, this.#shards)
      this.#keys = new KeyResolver(this.#entities, this.plan.view.keyFields, this.plan.keyTypes)
      return
    }
    for (let entity = 0; entity < store.entityCount; entity++) {
      if (table.has(entity, Flag.dirty) || !table.has(entity, Flag.loaded)) continue
      this.#state.clear(entity)
      this.#setDirectory(entity, null)
      table.unset(entity, Flag.loaded)
    }
  }
}

const untilOf = (knownMs: number, next: RowVersion | undefined): number => {
  if (next === undefined) return Number.POSITIVE_INFINITY
  return next.knownMs > knownMs ? next.knownMs : Number.NEGATIVE_INFINITY
}

const typesOf = ({ fields }: ViewPlan, names: readonly string[]): ScalarType[] =>
  names.map((name) => (fields[name] as FieldType).type)

const reasons: Readonly<Record<string, string>> = {
  FS_DEAD_KEY: 'the entity key is null or too long',
  FS_DEAD_TOO_LATE: 'knownAt - eventTime exceeds the lateness of the view',
  FS_DEAD_TOO_EARLY: 'eventTime - knownAt exceeds maxAhead of the view',
  FS_DEAD_DUPLICATE_DIFFERS: 'it has the id, key and event time of an earlier event, and other content',
}
