/**
 * Feature history: what the values of a view were at every boundary, and how they changed as more became known. Its rows
 * are a pure function of the definitions and of the records below a position P:
 *
 *     boundaries   multiples of the view's step, UTC, from the epoch; (entity, B) has rows when an event of the entity,
 *                  an insert or upsert that the view takes, taken back or not, has its event time in [B - step, B),
 *                  and B lies before the newest knownAt below P
 *     versions     the successive values of F(entity, T = B, K, P) as K rises from B on, whose statuses count with them:
 *                  one at K = B if the entity is found there, and one at each K > B with F(K) other than F(K - 1)
 *
 *        event time  ──o──────o─|B──────o───────
 *        K             B ├ version known at B ┤ c ├ version known at c …       c: a record from before B comes later
 *
 * A row is named by (entity, `_as_of` = B, `_known_at` = K) and holds until the next `_known_at` of its (entity, B). So
 * the value at (B, K) is the newest row at or below K; without one, the entity was not found. A step of one millisecond is
 * a row 1 ms after each event: every event.
 *
 * Rows between P and a later P' differ only where a record between them says so, whatever the batches: F changes at K
 * only where a record is known or ends at K, and only for T after its event time. So nothing but the boundaries that have
 * closed since, and of the others those behind a changed event, is computed. What came in order of knownAt adds versions. A
 * record known before others that are written already (its partition lagged) has the versions from its knownAt on written
 * anew: a row takes the place of the one of its name, and what is no version any more is removed.
 *
 * Memory: every event of the stream that the view takes, as in the worker's rows; nothing is pruned, since a record may
 * come however late. It is built by reading the log from its beginning.
 */
import { FeatureStoreError } from '../errors.ts'
import type { EventBatch } from '../event/batch.ts'
import { lastKnownAt } from '../event/batch-ops.ts'
import { scalarAt } from '../event/column.ts'
import { Op } from '../event/operation.ts'
import type { Column, Scalar } from '../event/types.ts'
import type { FeatureRows } from '../ports/feature-history-store.ts'
import { emptyValues, type ColumnBuilder } from './column-builder.ts'
import { Status } from './feature-column.ts'
import { ViewFinisher } from './finish.ts'
import type { ViewPlan } from './plan.ts'
import { runMask, runShift } from './state/event-store.ts'
import { ViewEngine } from './view-engine.ts'

/** What changed of one entity since the last `take`, as parallel arrays. */
interface Changes {
  readonly times: number[]
  readonly knowns: number[]
  readonly events: boolean[]
}

/** Rows of one chunk that `take` yields. */
const chunkRows = 2_048
/** Of an entity's key as values, and of a change that is not looked at yet, about. */
const keyBytes = 100
const changeBytes = 24
const never = Number.NEGATIVE_INFINITY

export class FeatureHistory {
  readonly plan: ViewPlan
  readonly #stepMs: number
  readonly #engine: ViewEngine
  readonly #finisher: ViewFinisher
  /** Key values by entity. */
  readonly #keys: (readonly Scalar[])[] = []
  #changes = new Map<number, Changes>()
  #changeCount = 0
  /** Entities whose newest boundary has not closed. */
  #open = new Set<number>()
  /** Newest knownAt when rows were last taken: boundaries before it have closed. */
  #takenMs = never
  #newestMs = never
  #chunk: RowBuilder

  constructor(plan: ViewPlan, stepMs: number) {
    this.plan = plan
    this.#stepMs = stepMs
    this.#engine = new ViewEngine(plan, 1, new Set([0]))
    this.#finisher = new ViewFinisher(plan)
    this.#chunk = new RowBuilder(this.#finisher)
    this.#engine.onChange = (entity, timeMs, knownMs, isEvent) => {
      let changes = this.#changes.get(entity)
      if (changes === undefined) this.#changes.set(entity, (changes = { times: [], knowns: [], events: [] }))
      changes.times.push(timeMs)
      changes.knowns.push(knownMs)
      changes.events.push(isEvent)
      this.#changeCount++
    }
  }

  /** Changes that `take` will look at: what it costs, roughly. */
  get changeCount(): number {
    return this.#changeCount
  }

  get memoryBytes(): number {
    return this.#engine.memoryBytes() + this.#keys.length * keyBytes + this.#changeCount * changeBytes
  }

  /** Folds in records, in any interleaving of partitions. */
  apply(batch: EventBatch): void {
    const engine = this.#engine
    const entities = engine.resolve(batch)
    for (let missing = engine.unloaded(); missing.length > 0; missing = engine.unloaded())
      engine.load(
        missing,
        missing.map(() => null),
      )
    entities.forEach((entity, row) => {
      if (entity >= 0)
        this.#keys[entity] ??= this.plan.view.keyFields.map((name) => scalarAt(batch.columns[name] as Column, row))
    })
    engine.apply(
      batch,
      entities,
      () => 0,
      () => {},
    )
    this.#newestMs = Math.max(this.#newestMs, lastKnownAt(batch))
  }

  /** All that was applied so far has its rows: `take` goes on from here. */
  skip(): void {
    this.#takenMs = this.#newestMs
    this.#changes = new Map()
    this.#changeCount = 0
    this.#open.clear()
    for (let entity = 0; entity < this.#engine.entityCount; entity++) this.#keepOpen(entity)
  }

  /** The rows that differ from those at the last `take` or `skip`. Must be read to the end. */
  *take(): Generator<FeatureRows> {
    const changes = this.#changes
    this.#changes = new Map()
    this.#changeCount = 0
    const entities = new Set([...changes.keys(), ...this.#open])
    for (const entity of entities) yield* this.#rowsOf(entity, changes.get(entity) ?? noChanges)
    this.#takenMs = this.#newestMs
    for (const entity of entities) this.#keepOpen(entity)
    if (this.#chunk.count > 0) yield this.#finishChunk()
  }

  #boundaryOf(timeMs: number): number {
    return (Math.floor(timeMs / this.#stepMs) + 1) * this.#stepMs
  }

  #keepOpen(entity: number): void {
    if (this.#boundaryOf(this.#engine.state.events.newestMs(entity)) >= this.#takenMs) this.#open.add(entity)
    else this.#open.delete(entity)
  }

  #finishChunk(): FeatureRows {
    const rows = this.#chunk.build((entity) => this.#keys[entity] as readonly Scalar[], this.plan)
    this.#chunk = new RowBuilder(this.#finisher)
    return rows
  }

  /** Visits the boundaries of an entity in order, from the first that a change, or having closed, may give other rows. */
  *#rowsOf(entity: number, { times, knowns, events }: Changes): Generator<FeatureRows> {
    const store = this.#engine.state.events
    const order = times.map((_, index) => index).sort((a, b) => (times[a] as number) - (times[b] as number))
    const oldest = order.length === 0 ? Number.POSITIVE_INFINITY : (times[order[0] as number] as number)
    // A boundary at the taken moment, or later, has not closed before.
    const fromMs = Math.min(oldest, this.#open.has(entity) ? this.#takenMs - 1 : oldest)
    let cursor = store.lowerBound(entity, fromMs === never ? never : this.#boundaryOf(fromMs) - this.#stepMs)
    let next = 0
    /** Changes before the boundary that are known after it, and after all that was taken. */
    let later: number[] = []
    /** The first knownAt of those before the boundary that are known no later than what was taken. */
    let earliest = Number.POSITIVE_INFINITY
    let earliestTime = never
    while (cursor < store.end(entity)) {
      const asOf = this.#boundaryOf(store.timeAt(entity, cursor))
      if (asOf >= this.#newestMs) return
      const end = store.lowerBound(entity, asOf)
      let added = 0
      for (; next < order.length && (times[order[next] as number] as number) < asOf; next++) {
        const change = order[next] as number
        const [time, known] = [times[change] as number, knowns[change] as number]
        if (events[change] === true && time >= asOf - this.#stepMs) added++
        if (known > this.#takenMs) later.push(change)
        else {
          earliest = Math.min(earliest, known)
          earliestTime = Math.max(earliestTime, time)
        }
      }
      later = later.filter((change) => (knowns[change] as number) > asOf)
      const held = this.#eventsBetween(entity, cursor, end)
      cursor = end
      // Only what takes back lies there.
      if (held === 0) continue
      if (asOf >= this.#takenMs) {
        yield* this.#write(entity, asOf, [asOf, ...later.map((change) => knowns[change] as number)], never)
        continue
      }
      const reachesTo = asOf - this.plan.reachMs
      if (held === added) {
        yield* this.#write(entity, asOf, [asOf, ...this.#knownsAfter(entity, end, asOf)], never)
        continue
      }
      const rewritten =
        earliest < Number.POSITIVE_INFINITY && !(earliestTime < reachesTo && this.#isSteady(entity, asOf, earliest - 1))
      if (!rewritten) {
        const near = later.filter(
          (change) =>
            (times[change] as number) >= reachesTo || !this.#isSteady(entity, asOf, (knowns[change] as number) - 1),
        )
        if (near.length > 0)
          yield* this.#write(
            entity,
            asOf,
            near.map((change) => knowns[change] as number),
            never,
          )
        continue
      }
      const asked = [
        ...later.map((change) => knowns[change] as number),
        ...this.#knownsAfter(entity, end, Math.max(asOf, earliest - 1)),
      ]
      for (let index = 0; index < next; index++) {
        const known = knowns[order[index] as number] as number
        if (known > asOf) asked.push(known)
      }
      if (earliest <= asOf) asked.push(asOf)
      yield* this.#write(entity, asOf, asked, this.#takenMs)
    }
  }

  /**
   * Writes the versions at the given K of one boundary; no K between them has another value than the one before it. Up to
   * `rewrittenToMs` what is no version is written as removed.
   */
  *#write(entity: number, asOfMs: number, asked: readonly number[], rewrittenToMs: number): Generator<FeatureRows> {
    const ordered = Float64Array.from(new Set(asked)).sort()
    let previous = -1
    for (const knownAsOfMs of ordered) {
      // Two rows more: the value before the first one, and this one.
      if (this.#chunk.count + 2 > chunkRows) {
        yield this.#finishChunk()
        previous = -1
      }
      const chunk = this.#chunk
      const isFirst = knownAsOfMs === asOfMs
      if (previous < 0 && !isFirst) {
        chunk.finish(this.#engine, entity, asOfMs, knownAsOfMs - 1, chunkRows)
        previous = chunkRows
      }
      const row = chunk.count
      chunk.finish(this.#engine, entity, asOfMs, knownAsOfMs, row)
      const isVersion = isFirst ? chunk.isFound(row) : !chunk.isSame(previous, row)
      // The row may be used again for the next one, so what it says is kept aside.
      chunk.keep(row, chunkRows)
      previous = chunkRows
      if (isVersion) chunk.commit(entity, asOfMs, knownAsOfMs, false)
      else if (knownAsOfMs <= rewrittenToMs) chunk.commit(entity, asOfMs, knownAsOfMs, true)
    }
  }

  /** How many inserts or upserts lie in [from, to). */
  #eventsBetween(entity: number, from: number, to: number): number {
    const store = this.#engine.state.events
    const { hash, stride } = store.layout
    let found = 0
    for (let cursor = from; cursor < to; cursor = store.next(entity, cursor))
      if (hash < 0 || store.words[store.recordAt(entity, cursor) * stride + hash + 1] !== Op.retract) found++
    return found
  }

  /** Whether an event right before the boundary counts from K on, so that the entity is found whatever older ones do. */
  #isSteady(entity: number, asOfMs: number, knownMs: number): boolean {
    const store = this.#engine.state.events
    const { until, stride } = store.layout
    const fromMs = asOfMs - Math.min(this.#stepMs, this.plan.view.ttlMs ?? this.#stepMs)
    const end = store.lowerBound(entity, asOfMs)
    for (let cursor = store.lowerBound(entity, fromMs); cursor < end; cursor = store.next(entity, cursor)) {
      const stands =
        until < 0 || store.floats[store.recordAt(entity, cursor) * (stride >> 1) + until] === Number.POSITIVE_INFINITY
      if (stands && store.knownAt(entity, cursor) <= knownMs) return true
    }
    return false
  }

  /** When the events before cursor `to` were known, and ended, after K. */
  #knownsAfter(entity: number, to: number, knownMs: number): number[] {
    const store = this.#engine.state.events
    const { until, stride } = store.layout
    const found: number[] = []
    for (let cursor = 0; cursor < to; cursor = store.next(entity, cursor)) {
      const run = store.runAt(entity, cursor >> runShift)
      const record = store.record(run, cursor & runMask)
      const known = store.knownBaseOf(run) + (store.words[record * stride + 1] as number)
      if (known > knownMs) found.push(known)
      if (until < 0) continue
      const ended = store.floats[record * (stride >> 1) + until] as number
      if (ended > knownMs && ended !== Number.POSITIVE_INFINITY) found.push(ended)
    }
    return found
  }
}

const noChanges: Changes = { times: [], knowns: [], events: [] }

/** A chunk of rows; row `chunkRows` is scratch. */
class RowBuilder {
  readonly #finisher: ViewFinisher
  readonly #builders: readonly ColumnBuilder[]
  readonly #entities = new Int32Array(chunkRows)
  readonly #asOfs = new Float64Array(chunkRows)
  readonly #knownAts = new Float64Array(chunkRows)
  readonly #removed = new Uint8Array(chunkRows)
  count = 0

  constructor(finisher: ViewFinisher) {
    this.#finisher = finisher
    this.#builders = finisher.builders(chunkRows + 1)
  }

  finish({ state }: ViewEngine, entity: number, asOfMs: number, knownAsOfMs: number, row: number): void {
    if (!this.#finisher.finish({ state, entity }, { asOfMs, knownAsOfMs }, this.#builders, row))
      throw new FeatureStoreError('FS_INTERNAL', `view ${state.plan.view.name}: its history lacks events`)
  }

  isFound = (row: number): boolean => this.#builders[0]?.statusAt(row) !== Status.NOT_FOUND
  isSame = (a: number, b: number): boolean => this.#builders.every((builder) => builder.isSame(a, b))

  keep(from: number, to: number): void {
    for (const builder of this.#builders) builder.copy(to, builder, from)
  }

  /** The row behind the last one is one of the chunk. */
  commit(entity: number, asOfMs: number, knownAtMs: number, removed: boolean): void {
    const row = this.count++
    this.#entities[row] = entity
    this.#asOfs[row] = asOfMs
    this.#knownAts[row] = knownAtMs
    this.#removed[row] = removed ? 1 : 0
    if (removed) for (const builder of this.#builders) builder.setStatus(row, Status.NOT_FOUND)
  }

  build(keyOf: (entity: number) => readonly Scalar[], { keyTypes }: ViewPlan): FeatureRows {
    const { count } = this
    const keys = keyTypes.map((type, part): Column => {
      const values = Array.from(this.#entities.subarray(0, count), (entity) => keyOf(entity)[part] as Scalar)
      if (type === 'string') {
        const codes = new Map<Scalar, number>()
        const coded = Int32Array.from(values, (value) => {
          if (!codes.has(value)) codes.set(value, codes.size)
          return codes.get(value) as number
        })
        return { type, values: coded, table: { strings: [...codes.keys()] as string[] }, nulls: null }
      }
      const column = emptyValues({ type }, count)
      values.forEach((value, row) => (column.values[row] = (type === 'bool' ? Number(value) : value) as never))
      return { ...column, nulls: null } as Column
    })
    return {
      count,
      keys,
      asOfs: this.#asOfs.slice(0, count),
      knownAts: this.#knownAts.slice(0, count),
      removed: this.#removed.slice(0, count),
      features: this.#builders.map((builder) => builder.build()),
    }
  }
}
