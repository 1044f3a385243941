/** Feature history in memory: rows as plain values, by name. The reference that the others are compared with. */
import { statusName, valueAt, type FeatureValue } from '../../core/engine/feature-column.ts'
import { FeatureStoreError } from '../../core/errors.ts'
import { scalarAt } from '../../core/event/column.ts'
import type { Scalar } from '../../core/event/types.ts'
import type {
  FeatureHistoryStore,
  FeaturePosition,
  FeatureTable,
  FeatureWrite,
} from '../../core/ports/feature-history-store.ts'

export interface MemoryFeatureRow {
  readonly key: readonly Scalar[]
  readonly asOf: number
  readonly knownAt: number
  readonly values: readonly FeatureValue[]
  readonly statuses: readonly string[]
}

interface Table {
  readonly definition: FeatureTable
  position: FeaturePosition | null
  readonly rows: Map<string, MemoryFeatureRow>
}

export interface MemoryFeatureHistoryStore extends FeatureHistoryStore {
  /** By key, then as-of, then known-at. */
  rows(view: string): readonly MemoryFeatureRow[]
}

export function openMemoryFeatureHistoryStore(): MemoryFeatureHistoryStore {
  return new MemoryFeatureHistory()
}

class MemoryFeatureHistory implements MemoryFeatureHistoryStore {
  readonly #tables = new Map<string, Table>()

  prepare(tables: readonly FeatureTable[]): Promise<void> {
    for (const view of this.#tables.keys()) if (!tables.some((table) => table.view === view)) this.#tables.delete(view)
    for (const definition of tables) {
      const held = this.#tables.get(definition.view)
      if (held === undefined || JSON.stringify(held.definition) !== JSON.stringify(definition))
        this.#tables.set(definition.view, { definition, position: null, rows: new Map() })
    }
    return Promise.resolve()
  }

  position(view: string): Promise<FeaturePosition | null> {
    return Promise.resolve(this.#tables.get(view)?.position ?? null)
  }

  write({ view, to, rows }: FeatureWrite): Promise<'applied' | 'gap'> {
    const table = this.#tables.get(view)
    if (table === undefined) throw new FeatureStoreError('FS_INTERNAL', `the history of view ${view} is not prepared`)
    if (to.revision !== (table.position?.revision ?? 0) + 1) return Promise.resolve('gap')
    for (const { count, keys, asOfs, knownAts, removed, features } of rows)
      for (let row = 0; row < count; row++) {
        const key = keys.map((column) => scalarAt(column, row))
        const [asOf, knownAt] = [asOfs[row] as number, knownAts[row] as number]
        const name = JSON.stringify([key.map(String), asOf, knownAt])
        if (removed[row] === 1) table.rows.delete(name)
        else
          table.rows.set(name, {
            key,
            asOf,
            knownAt,
            values: features.map((column) => valueAt(column, row)),
            statuses: features.map(({ statuses }) => statusName(statuses[row] as number)),
          })
      }
    table.position = to
    return Promise.resolve('applied')
  }

  drop(view: string): Promise<void> {
    this.#tables.delete(view)
    return Promise.resolve()
  }

  rows(view: string): readonly MemoryFeatureRow[] {
    const before = (a: Scalar | undefined, b: Scalar | undefined): number =>
      String(a) < String(b) ? -1 : a === b ? 0 : 1
    return [...(this.#tables.get(view)?.rows.values() ?? [])].sort(
      (a, b) =>
        a.key.reduce((order: number, part, index) => order || before(part, b.key[index]), 0) ||
        a.asOf - b.asOf ||
        a.knownAt - b.knownAt,
    )
  }
}
