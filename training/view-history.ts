import { refusal } from '../core/asof/visible.ts'
import { defaultOp, isCorrectable } from '../core/definition/corrections.ts'
import { EntityColumns, newTables, type InputColumn, type InputValues } from '../core/engine/entity-columns.ts'
import type { Interner } from '../core/engine/interner.ts'
import type { InputPlan, ViewPlan } from '../core/engine/plan.ts'
import { RecordIdentities, untilsOf } from '../core/engine/record-untils.ts'
import { ViewEngine } from '../core/engine/view-engine.ts'
import type { Column } from '../core/event/types.ts'
import { compileInput } from '../core/engine/compile-input.ts'
import { placesOf, type StreamEvents } from './total-order.ts'

/**
 * The whole history of one view, by entity. One array a column holds the events of all entities, those of an entity side
 * by side in total order; an entity's columns are windows onto it.
 *
 * Where records can take back others (core/asof/corrections.ts), those that never count are left out, and each entity has
 * the `untils` of the others; null where all of them stand.
 *
 *     entity     |  0           |  1     |  2                  …
 *     slot       0              n0       n0 + n1
 *     times      t t t t t t t  t t t    t t t t t t t t t     total order inside an entity
 */
export class ViewHistory {
  readonly plan: ViewPlan
  /** Names entities; it holds no events. */
  readonly #engine: ViewEngine
  readonly #entities: readonly EntityColumns[]

  constructor(plan: ViewPlan, events: StreamEvents) {
    this.plan = plan
    this.#engine = new ViewEngine(plan, 1, new Set())
    this.#entities = this.#layOut(events)
  }

  /** The entity of each row, -1 for a key that cannot be encoded. */
  resolve(columns: Readonly<Record<string, Column>>, count: number): Int32Array {
    return this.#engine.resolve({ columns, count })
  }

  /** Entities named so far: `resolve` answers below it. */
  get entityCount(): number {
    return this.#engine.entityCount
  }

  /** null for an entity without events. */
  entity(index: number): EntityColumns | null {
    return this.#entities[index] ?? null
  }

  #layOut(events: StreamEvents): EntityColumns[] {
    const { plan } = this
    const { owners, untils: untilsByRow } = this.#owners(events)
    const starts = startsOf(owners, this.#engine.entityCount)
    const slots = slotsOf(owners, events.order, starts)
    const count = starts[starts.length - 1] as number
    const times = new Float64Array(count)
    const knowns = new Float64Array(count)
    scatterFloats(events.times, 0, slots, times)
    scatterFloats(events.knowns, 0, slots, knowns)
    const untils = untilsByRow === null ? null : new Float64Array(count)
    if (untils !== null) scatterFloats(untilsByRow as Float64Array, 0, slots, untils)
    const tables = newTables(plan.inputs)
    const inputs = plan.inputs.map((input, index) => inputOf(plan, input, events, slots, count, tables[index] ?? null))
    const entities: EntityColumns[] = []
    for (let entity = 0; entity + 1 < starts.length; entity++) {
      const from = starts[entity] as number
      const to = starts[entity + 1] as number
      // Nothing is inserted any more, so the partitions and offsets that keep total order stay empty.
      const columns = new EntityColumns(plan.inputs, 0, tables)
      columns.times = times.subarray(from, to)
      columns.knowns = knowns.subarray(from, to)
      if (untils?.subarray(from, to).some(Number.isFinite) === true) columns.untils = untils.subarray(from, to)
      columns.end = to - from
      inputs.forEach(({ values, nulls }, index) => {
        const input = columns.inputs[index] as InputColumn
        input.values = values.subarray(from, to)
        input.nulls = nulls === null ? null : nulls.subarray(from, to)
      })
      entities.push(columns)
    }
    return entities
  }

  /** The entity of each event, -1 where the view does not take it or it never counts; and until when it counts. */
  #owners(events: StreamEvents): { readonly owners: Int32Array; readonly untils: Float64Array | null } {
    const { batches, starts, rows, times, knowns } = events
    const { view, stream } = this.plan
    const owners = new Int32Array(rows)
    batches.forEach((batch, index) => owners.set(this.#engine.resolve(batch), starts[index]))
    if (!isCorrectable(stream)) {
      for (let row = 0; row < rows; row++)
        if (refusal(times[row] as number, knowns[row] as number, view) !== null) owners[row] = -1
      return { owners, untils: null }
    }
    const identities = new Int32Array(rows)
    const codes = new RecordIdentities(stream)
    batches.forEach((batch, index) => identities.set(codes.codes(batch), starts[index]))
    const records = { eventTimes: times, knownAts: knowns, ...placesOf(events, defaultOp(stream)) }
    const untils = untilsOf(stream, view, records, identities, owners)
    for (let row = 0; row < rows; row++) if (untils[row] === Number.NEGATIVE_INFINITY) owners[row] = -1
    return { owners, untils }
  }
}

/** First slot of each entity, and the number of slots last. */
function startsOf(owners: Int32Array, entities: number): Int32Array {
  const starts = new Int32Array(entities + 1)
  for (const owner of owners) if (owner >= 0) starts[owner + 1] = (starts[owner + 1] as number) + 1
  for (let entity = 0; entity < entities; entity++)
    starts[entity + 1] = (starts[entity + 1] as number) + (starts[entity] as number)
  return starts
}

/** The slot of each row, -1 for none. */
function slotsOf(owners: Int32Array, order: Int32Array, starts: Int32Array): Int32Array {
  const next = starts.slice()
  const slots = new Int32Array(owners.length).fill(-1)
  for (const row of order) {
    const owner = owners[row] as number
    if (owner < 0) continue
    const slot = next[owner] as number
    slots[row] = slot
    next[owner] = slot + 1
  }
  return slots
}

interface ScatteredInput {
  readonly values: InputValues
  readonly nulls: Uint8Array | null
}

function inputOf(
  plan: ViewPlan,
  input: InputPlan,
  events: StreamEvents,
  slots: Int32Array,
  count: number,
  table: Interner | null,
): ScatteredInput {
  const compute = compileInput(input, plan.fields)
  let values: InputValues | null = null
  let nulls: Uint8Array | null = null
  events.batches.forEach((batch, index) => {
    const column = compute(batch.columns, batch.count)
    const start = events.starts[index] as number
    if (column.nulls !== null) {
      nulls ??= new Uint8Array(count)
      scatterBytes(column.nulls.subarray(0, batch.count), start, slots, nulls)
    }
    switch (column.type) {
      case 'string': {
        const codes = (table as Interner).translation(column.table)
        scatterCodes(column.values.subarray(0, batch.count), codes, start, slots, (values ??= new Int32Array(count)))
        break
      }
      case 'int32':
        scatterInts(column.values.subarray(0, batch.count), start, slots, (values ??= new Int32Array(count)))
        break
      case 'int64':
        scatterLongs(column.values.subarray(0, batch.count), start, slots, (values ??= new BigInt64Array(count)))
        break
      case 'bool':
        scatterBytes(column.values.subarray(0, batch.count), start, slots, (values ??= new Uint8Array(count)))
        break
      default:
        scatterFloats(column.values.subarray(0, batch.count), start, slots, (values ??= new Float64Array(count)))
    }
  })
  return { values: values ?? new Float64Array(0), nulls }
}

// One function per array kind: a function that sees several kinds of typed arrays is many times slower.
function scatterFloats(from: Float64Array, start: number, slots: Int32Array, to: InputValues): void {
  const into = to as Float64Array
  for (let row = 0; row < from.length; row++) {
    const slot = slots[start + row] as number
    if (slot >= 0) into[slot] = from[row] as number
  }
}
function scatterInts(from: Int32Array, start: number, slots: Int32Array, to: InputValues): void {
  const into = to as Int32Array
  for (let row = 0; row < from.length; row++) {
    const slot = slots[start + row] as number
    if (slot >= 0) into[slot] = from[row] as number
  }
}
function scatterCodes(from: Int32Array, codes: Int32Array, start: number, slots: Int32Array, to: InputValues): void {
  const into = to as Int32Array
  for (let row = 0; row < from.length; row++) {
    const slot = slots[start + row] as number
    // At a null any code may stand, none of the table's too.
    if (slot >= 0) into[slot] = codes[from[row] as number] ?? 0
  }
}
function scatterLongs(from: BigInt64Array, start: number, slots: Int32Array, to: InputValues): void {
  const into = to as BigInt64Array
  for (let row = 0; row < from.length; row++) {
    const slot = slots[start + row] as number
    if (slot >= 0) into[slot] = from[row] as bigint
  }
}
function scatterBytes(from: Uint8Array, start: number, slots: Int32Array, to: InputValues): void {
  const into = to as Uint8Array
  for (let row = 0; row < from.length; row++) {
    const slot = slots[start + row] as number
    if (slot >= 0) into[slot] = from[row] as number
  }
}
