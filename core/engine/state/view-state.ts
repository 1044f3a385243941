import type { Interner } from '../interner.ts'
import { newTables } from '../interner.ts'
import type { ViewPlan } from '../plan.ts'
import { EventStore, type StoreSize } from './event-store.ts'

/** The events of some entities of a view, and the strings that their inputs are codes of. */
export class ViewState {
  readonly plan: ViewPlan
  readonly events: EventStore
  /** By input: of strings, else null. */
  readonly tables: readonly (Interner | null)[]
  /** By input: where the lanes of its sums lie (number/lanes.ts); null until the first run is summarised. */
  readonly anchors: (number | null)[]

  /** Nodes of entities that have many runs (nodes.ts). */
  readonly nodes = new Map<number, Float64Array>()

  constructor(plan: ViewPlan, tables: readonly (Interner | null)[] = newTables(plan.inputs), size: StoreSize = {}) {
    this.plan = plan
    this.tables = tables
    this.anchors = plan.inputs.map(() => null)
    this.events = new EventStore(plan.layout, plan.summary.stride, size)
  }
}

/** One entity of a state: what values are finished from. */
export interface EntityEvents {
  readonly state: ViewState
  readonly entity: number
}
