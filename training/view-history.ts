import { refusal } from '../core/asof/visible.ts'
import { defaultOp } from '../core/definition/corrections.ts'
import type { ViewColumns } from '../core/engine/columnar/columns.ts'
import type { ViewPlan } from '../core/engine/plan.ts'
import { RecordIdentities, untilsOf } from '../core/engine/record-untils.ts'
import { EntityTable } from '../core/engine/state/entity-table.ts'
import { EventStore } from '../core/engine/state/event-store.ts'
import { KeyResolver } from '../core/engine/state/key-resolver.ts'
import type { Column } from '../core/event/types.ts'
import { scatteredFloats, scatteredInputs } from './scatter.ts'
import { placesOf, type StreamEvents } from './total-order.ts'

/**
 * The whole history of one view, by entity: nothing is pruned, and the events of one lie side by side in total order. Where
 * records can take back others (core/asof/corrections.ts), those that never count are left out.
 */
export class ViewHistory {
  readonly plan: ViewPlan
  readonly columns: ViewColumns
  /** Of entities there are only the keys. */
  readonly #store: EventStore
  readonly #keys: KeyResolver

  constructor(plan: ViewPlan, events: StreamEvents) {
    this.plan = plan
    this.#store = new EventStore(plan.layout, plan.summary.stride, { events: 0 })
    this.#keys = new KeyResolver(new EntityTable(this.#store, 1), plan.view.keyFields, plan.keyTypes)
    const { owners, untils } = this.#owners(events)
    const { starts, places } = placesByEntity(owners, events.order, this.entityCount)
    const count = starts.at(-1) as number
    const { batches, starts: rows } = events
    this.columns = {
      plan,
      starts,
      times: scatteredFloats([events.times], [0], places, count),
      knowns: scatteredFloats([events.knowns], [0], places, count),
      untils: untils === null ? null : scatteredFloats([untils], [0], places, count),
      inputs: scatteredInputs(plan, batches, rows, places, count),
    }
  }

  /** The entity of each row, -1 for a key that cannot be encoded. Those that no event names come behind all others. */
  resolve(columns: Readonly<Record<string, Column>>, count: number): Int32Array {
    return this.#keys.resolve(columns, count)
  }

  /** Entities named so far: `resolve` answers below it. */
  get entityCount(): number {
    return this.#store.entityCount
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

/**
 * Where each row goes, entity after entity and in total order within one; -1 for a row without owner. Columns are then
 * read in the order that they have and written side by side, not gathered from all over memory.
 */
function placesByEntity(
  owners: Int32Array,
  order: Int32Array,
  entities: number,
): { readonly starts: Int32Array; readonly places: Int32Array } {
  const starts = new Int32Array(entities + 1)
  for (const owner of owners) if (owner >= 0) starts[owner + 1] = (starts[owner + 1] as number) + 1
  for (let entity = 0; entity < entities; entity++)
    starts[entity + 1] = (starts[entity + 1] as number) + (starts[entity] as number)
  const next = starts.slice()
  const places = new Int32Array(owners.length)
  for (const row of order) {
    const owner = owners[row] as number
    if (owner < 0) {
      places[row] = -1
      continue
    }
    const place = next[owner] as number
    places[row] = place
    next[owner] = place + 1
  }
  return { starts, places }
}
