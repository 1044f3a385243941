import type { Interner } from '../interner.ts'
import { newTables } from '../interner.ts'
import type { ViewPlan } from '../plan.ts'
import { EventStore, type StoreSize } from './event-store.ts'
import type { Nodes } from './nodes.ts'
import type { Tiles } from './tiles.ts'

/** The events of some entities of a view, and the strings that their inputs are codes of. */
export class ViewState {
  readonly plan: ViewPlan
  readonly events: EventStore
  /** By input: of strings, else null. */
  readonly tables: readonly (Interner | null)[]
  /** By input: where the lanes of its sums lie (number/lanes.ts); null until the first run is summarised. */
  readonly anchors: (number | null)[]

  /** Nodes of entities that have many runs (nodes.ts). */
  readonly nodes = new Map<number, Nodes>()

  /** Of entities that have any (tiles.ts). */
  readonly #tiles = new Map<number, Tiles>()
  #tileBytes = 0

  constructor(plan: ViewPlan, tables: readonly (Interner | null)[] = newTables(plan.inputs), size: StoreSize = {}) {
    this.plan = plan
    this.tables = tables
    this.anchors = plan.inputs.map(() => null)
    this.events = new EventStore(plan.layout, plan.summary.stride, size)
  }

  /** Null where an entity has none. */
  tilesOf(entity: number): Tiles | null {
    return this.#tiles.get(entity) ?? null
  }
  setTiles(entity: number, tiles: Tiles | null): void {
    this.#tileBytes += (tiles?.bytes ?? 0) - (this.#tiles.get(entity)?.bytes ?? 0)
    if (tiles === null) this.#tiles.delete(entity)
    else this.#tiles.set(entity, tiles)
  }

  /** Bytes in use by events and tiles, and by the strings of their inputs, which live as long as the state does. */
  get bytes(): number {
    return this.tables.reduce((bytes, table) => bytes + (table?.memoryBytes ?? 0), this.events.bytes + this.#tileBytes)
  }

  /** Forgets all that is known of an entity; the entity stays. */
  clear(entity: number): void {
    this.events.clear(entity)
    this.nodes.delete(entity)
    this.setTiles(entity, null)
  }
}

/** One entity of a state: what values are finished from. */
export interface EntityEvents {
  readonly state: ViewState
  readonly entity: number
}
