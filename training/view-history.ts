import { refusal } from '../core/asof/visible.ts'
import { defaultOp } from '../core/definition/corrections.ts'
import { compileInput } from '../core/engine/compile-input.ts'
import type { ViewPlan } from '../core/engine/plan.ts'
import { RecordIdentities, untilsOf } from '../core/engine/record-untils.ts'
import { EntityTable } from '../core/engine/state/entity-table.ts'
import { KeyResolver } from '../core/engine/state/key-resolver.ts'
import { orderOf } from '../core/engine/state/record-layout.ts'
import { Staging } from '../core/engine/state/staging.ts'
import { ViewState, type EntityEvents } from '../core/engine/state/view-state.ts'
import type { Column } from '../core/event/types.ts'
import { placesOf, type StreamEvents } from './total-order.ts'

/**
 * The whole history of one view, by entity: the state that a worker has, with nothing pruned, laid out entity after entity
 * so that the events of one lie side by side. Where records can take back others (core/asof/corrections.ts), those that
 * never count are left out.
 */
export class ViewHistory {
  readonly plan: ViewPlan
  readonly #state: ViewState
  readonly #keys: KeyResolver
  /** Entities with events; those that only labels name come behind. */
  readonly #count: number

  constructor(plan: ViewPlan, events: StreamEvents) {
    this.plan = plan
    this.#state = new ViewState(plan, undefined, { events: events.rows })
    this.#keys = new KeyResolver(new EntityTable(this.#state.events, 1), plan.view.keyFields, plan.keyTypes)
    this.#layOut(events)
    this.#count = this.#state.events.entityCount
  }

  /** The entity of each row, -1 for a key that cannot be encoded. */
  resolve(columns: Readonly<Record<string, Column>>, count: number): Int32Array {
    return this.#keys.resolve(columns, count)
  }

  /** Entities named so far: `resolve` answers below it. */
  get entityCount(): number {
    return this.#state.events.entityCount
  }

  /** null for an entity without events. */
  entity(index: number): EntityEvents | null {
    return index < this.#count ? { state: this.#state, entity: index } : null
  }

  #layOut(events: StreamEvents): void {
    const { batches, starts, times, knowns } = events
    const { owners, untils } = this.#owners(events)
    const staging = this.#stage(events)
    if (untils !== null) staging.setUntils(untils)
    const store = this.#state.events
    const ordered = store.layout.order >= 0
    const orderAt = (row: number): number => {
      const index = batchOf(starts, row)
      const batch = batches[index] as (typeof batches)[number]
      return orderOf(batch.partition, batch.offsets[row - (starts[index] as number)] as number)
    }
    for (const row of byEntity(owners, events.order, this.entityCount)) {
      const order = ordered ? orderAt(row) : 0
      const record = store.insert(owners[row] as number, times[row] as number, knowns[row] as number, order)
      staging.copyTo(store.words, record, row)
    }
  }

  #stage({ batches, starts, rows }: StreamEvents): Staging {
    const { plan } = this
    const staging = new Staging(plan.layout)
    staging.begin(rows)
    plan.inputs.forEach((input, index) => {
      const compute = compileInput(input, plan.fields)
      batches.forEach((batch, at) => {
        const column = compute(batch.columns, batch.count)
        staging.setInput(index, input, column, batch.count, this.#state.tables[index] ?? null, starts[at])
      })
    })
    return staging
  }

  /** The entity of each event, -1 where the view does not take it or it never counts; and until when it counts. */
  #owners(events: StreamEvents): { readonly owners: Int32Array; readonly untils: Float64Array | null } {
    const { batches, starts, rows, times, knowns } = events
    const { view, stream, corrected } = this.plan
    const owners = new Int32Array(rows)
    batches.forEach((batch, index) => owners.set(this.#keys.resolve(batch.columns, batch.count), starts[index]))
    if (!corrected) {
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

/** Rows that have an owner, by entity and in total order within one. */
function byEntity(owners: Int32Array, order: Int32Array, entities: number): Int32Array {
  const starts = new Int32Array(entities + 1)
  for (const owner of owners) if (owner >= 0) starts[owner + 1] = (starts[owner + 1] as number) + 1
  for (let entity = 0; entity < entities; entity++)
    starts[entity + 1] = (starts[entity + 1] as number) + (starts[entity] as number)
  const rows = new Int32Array(starts[entities] as number)
  for (const row of order) {
    const owner = owners[row] as number
    if (owner < 0) continue
    rows[starts[owner] as number] = row
    starts[owner] = (starts[owner] as number) + 1
  }
  return rows
}

/** The batch that a row lies in: the last one that starts at or before it. */
function batchOf(starts: readonly number[], row: number): number {
  let low = 0
  let high = starts.length - 1
  while (low < high) {
    const middle = (low + high + 1) >>> 1
    if ((starts[middle] as number) <= row) low = middle
    else high = middle - 1
  }
  return low
}
