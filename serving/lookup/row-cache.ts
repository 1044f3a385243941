import { PartedRow } from '../../core/engine/parted-row.ts'
import type { ViewPlan } from '../../core/engine/plan.ts'
import { decodeRow } from '../../core/engine/row.ts'
import type { EntityEvents } from '../../core/engine/state/view-state.ts'

type CachedRow =
  | { readonly kind: 'whole'; readonly row: Uint8Array; readonly entity: EntityEvents; readonly bytes: number }
  | { readonly kind: 'parted'; readonly row: PartedRow; readonly bytes: number }

/**
 * Decoded rows of entities asked for lately, with the run summaries that finishing built on them. A cached one is used
 * only for the very bytes it was decoded from, one of parts only for the parts that a head names; so no answer depends on
 * the cache.
 *
 * Capacity: `bytesMax` of rows and parts as stored (decoded ones take about three times as much); when full, the row that
 * was asked for longest ago is dropped with all its parts.
 */
export class RowCache {
  readonly #bytesMax: number
  readonly #rows = new Map<string, CachedRow>()
  #bytes = 0

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  get bytes(): number {
    return this.#bytes
  }

  /** Of a whole row. Errors: FS_STATE_FORMAT, FS_ROW_CORRUPT, as decodeRow. */
  decode(plan: ViewPlan, key: string, row: Uint8Array): EntityEvents {
    const id = idOf(plan, key)
    const cached = this.#rows.get(id)
    if (cached?.kind === 'whole' && Buffer.compare(cached.row, row) === 0) {
      this.#keep(id, cached)
      return cached.entity
    }
    this.#drop(id)
    const entity = decodeRow(plan, row)
    this.#keep(id, { kind: 'whole', row, entity, bytes: row.length })
    return entity
  }

  /** What is held of a row that is a head and parts; after parts were added, `settle` counts them. */
  parted(plan: ViewPlan, key: string): PartedRow {
    const cached = this.#rows.get(idOf(plan, key))
    return cached?.kind === 'parted' ? cached.row : new PartedRow(plan)
  }

  settle(plan: ViewPlan, key: string, row: PartedRow): void {
    this.#keep(idOf(plan, key), { kind: 'parted', row, bytes: row.bytes })
  }

  #drop(id: string): void {
    this.#bytes -= this.#rows.get(id)?.bytes ?? 0
    this.#rows.delete(id)
  }

  #keep(id: string, row: CachedRow): void {
    this.#drop(id)
    this.#rows.set(id, row)
    this.#bytes += row.bytes
    for (const oldest of this.#rows.keys()) {
      if (this.#bytes <= this.#bytesMax) break
      this.#drop(oldest)
    }
  }
}

const idOf = (plan: ViewPlan, key: string): string => `${plan.fingerprint}/${key}`
