import { FeatureStoreError } from '../errors.ts'
import { ViewFinisher } from './finish.ts'
import { featureMatrix, type MatrixSpec } from './matrix.ts'
import { ValidUntil } from './valid-until.ts'
import type { ViewEngine } from './view-engine.ts'
import type { ViewState } from './state/view-state.ts'

const everything = Number.POSITIVE_INFINITY
const firstSlots = 1_024
/** Words of a slot's times: finished at T, holds until, version of the entity, the entity. */
const timeWords = 4

/**
 * Matrix rows of entities of an engine in this process, for a model beside it: T is any, K is everything applied.
 *
 * Rows are kept finished and copied until an event enters or leaves a window (`ValidUntil`) or the entity changes; so what
 * is gathered is what finishing gives. Capacity: `rowsMax` rows kept, each of 4 bytes an input and 36 more; the oldest one
 * gives way.
 */
export class Gather {
  /** Rows that were copied, and rows that had to be finished. */
  readonly counts = { hits: 0, misses: 0 }
  readonly #engine: ViewEngine
  readonly #spec: MatrixSpec
  readonly #width: number
  readonly #rowsMax: number
  readonly #finisher: ViewFinisher
  readonly #validUntil: ValidUntil
  /** Of an entity never seen. */
  readonly #absent: Float32Array
  /** The state that entities are indexes of. */
  #state: ViewState | null = null
  /** By entity: its slot + 1; 0 for none. */
  #slots = new Int32Array(0)
  #times = new Float64Array(0)
  #table = new Float32Array(0)
  #used = 0
  #next = 0
  #misses = new Int32Array(firstSlots)

  /** Errors: FS_INTERNAL for an input that is no feature of the engine's view. */
  constructor(engine: ViewEngine, spec: MatrixSpec, rowsMax = 65_536) {
    this.#engine = engine
    this.#spec = spec
    this.#width = spec.inputs.length
    this.#rowsMax = rowsMax
    const asked = new Set(spec.inputs.map((input) => (input.kind === 'feature' ? input.feature : null)))
    const known = engine.plan.features.filter(({ reference }) => asked.has(reference))
    if (known.length < asked.size)
      throw new FeatureStoreError('FS_INTERNAL', `view ${engine.plan.view.name} lacks an input of ${spec.service}`)
    this.#finisher = new ViewFinisher(
      engine.plan,
      known.map(({ definition }) => definition.name),
    )
    this.#validUntil = new ValidUntil(engine.plan, known)
    const builders = this.#finisher.builders(1)
    this.#absent = featureMatrix(
      spec,
      builders.map((builder) => builder.build()),
      {},
      1,
    )
  }

  /**
   * Fills `out`, rows x inputs, row-major, as `featureMatrix` has them; entity -1 is one that was never seen.
   *
   * Returns the rows that need pruned events, NaN throughout: the offline store has them.
   * Errors: FS_INTERNAL for an entity whose events are not in memory.
   */
  rows(entities: Int32Array, asOfMs: number, out: Float32Array): readonly number[] {
    const engine = this.#engine
    const width = this.#width
    if (engine.state !== this.#state || this.#slots.length < engine.entityCount) this.#follow()
    const slots = this.#slots
    const { versions } = engine
    const times = this.#times
    const table = this.#table
    if (this.#misses.length < entities.length) this.#misses = new Int32Array(entities.length)
    const misses = this.#misses
    let missed = 0
    let to = 0
    for (let row = 0; row < entities.length; row++) {
      const entity = entities[row] as number
      const slot = entity < 0 ? -1 : (slots[entity] as number) - 1
      const at = slot * timeWords
      if (
        slot >= 0 &&
        asOfMs >= (times[at] as number) &&
        asOfMs < (times[at + 1] as number) &&
        versions[entity] === times[at + 2]
      ) {
        for (let from = slot * width, end = from + width; from < end;) out[to++] = table[from++] as number
      } else {
        misses[missed++] = row
        to += width
      }
    }
    this.counts.hits += entities.length - missed
    this.counts.misses += missed
    return missed === 0 ? none : this.#finish(entities, asOfMs, out, misses.subarray(0, missed))
  }

  #finish(entities: Int32Array, asOfMs: number, out: Float32Array, rows: Int32Array): readonly number[] {
    const { state } = this.#engine
    const asOf = { asOfMs, knownAsOfMs: everything }
    const builders = this.#finisher.builders(rows.length)
    const pruned: number[] = []
    rows.forEach((row, index) => {
      const entity = entities[row] as number
      if (entity < 0) return
      if (!this.#engine.isLoaded(entity))
        throw new FeatureStoreError('FS_INTERNAL', `view ${state.plan.view.name}: an entity is not in memory`)
      if (!this.#finisher.finish({ state, entity }, asOf, builders, index)) pruned.push(row)
    })
    const columns = builders.map((builder) => builder.build())
    const matrix = featureMatrix(this.#spec, columns, {}, rows.length)
    const width = this.#width
    let left = 0
    rows.forEach((row, index) => {
      const entity = entities[row] as number
      if (entity < 0) return out.set(this.#absent, row * width)
      if (pruned[left] === row) {
        left++
        return out.fill(Number.NaN, row * width, (row + 1) * width)
      }
      const values = matrix.subarray(index * width, (index + 1) * width)
      out.set(values, row * width)
      this.#keep(entity, values, asOfMs, this.#validUntil.at({ state, entity }, asOfMs))
    })
    return pruned
  }

  #keep(entity: number, values: Float32Array, fromMs: number, untilMs: number): void {
    if (this.#rowsMax === 0) return
    let slot = (this.#slots[entity] as number) - 1
    if (slot < 0) {
      slot = this.#take()
      this.#slots[entity] = slot + 1
    }
    this.#times[slot * timeWords] = fromMs
    this.#times[slot * timeWords + 1] = untilMs
    this.#times[slot * timeWords + 2] = this.#engine.keep(entity)
    this.#times[slot * timeWords + 3] = entity
    this.#table.set(values, slot * this.#width)
  }

  /** A slot that is free, or that of the oldest. */
  #take(): number {
    if (this.#used < this.#rowsMax) {
      if (this.#used * timeWords === this.#times.length) this.#grow()
      return this.#used++
    }
    const slot = this.#next
    this.#next = (slot + 1) % this.#rowsMax
    this.#slots[this.#times[slot * timeWords + 3] as number] = 0
    return slot
  }

  #grow(): void {
    const capacity = Math.min(this.#rowsMax, Math.max(firstSlots, this.#used * 2))
    const times = new Float64Array(capacity * timeWords)
    times.set(this.#times)
    this.#times = times
    const table = new Float32Array(capacity * this.#width)
    table.set(this.#table)
    this.#table = table
  }

  /** Another state has other entities by the same indexes; the same one may have more. */
  #follow(): void {
    const { state, entityCount } = this.#engine
    const slots = new Int32Array(Math.ceil(entityCount * 1.25))
    if (state === this.#state) slots.set(this.#slots)
    else {
      this.#state = state
      this.#used = 0
      this.#next = 0
    }
    this.#slots = slots
  }
}

const none: readonly number[] = []
