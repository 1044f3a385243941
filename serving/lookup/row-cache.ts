import type { ViewPlan } from '../../core/engine/plan.ts'
import { decodeRow } from '../../core/engine/row.ts'
import type { EntityEvents } from '../../core/engine/state/view-state.ts'

interface CachedRow {
  readonly row: Uint8Array
  readonly entity: EntityEvents
}

/**
 * Decoded rows of entities asked for lately, with the run summaries that finishing built on them. A cached one is used
 * only for the very bytes it was decoded from, so no answer depends on the cache.
 *
 * Capacity: `bytesMax` of rows as stored (decoded ones take about three times as much); when full, the row that was
 * asked for longest ago is dropped.
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

  /** Errors: FS_STATE_FORMAT, FS_ROW_CORRUPT, as decodeRow. */
  decode(plan: ViewPlan, key: string, row: Uint8Array): EntityEvents {
    const id = `${plan.fingerprint}/${key}`
    const cached = this.#rows.get(id)
    if (cached !== undefined) {
      this.#rows.delete(id)
      if (Buffer.compare(cached.row, row) === 0) {
        this.#rows.set(id, cached)
        return cached.entity
      }
      this.#bytes -= cached.row.length
    }
    const entity = decodeRow(plan, row)
    this.#rows.set(id, { row, entity })
    this.#bytes += row.length
    for (const [oldest, { row: dropped }] of this.#rows) {
      if (this.#bytes <= this.#bytesMax) break
      this.#rows.delete(oldest)
      this.#bytes -= dropped.length
    }
    return entity
  }
}
