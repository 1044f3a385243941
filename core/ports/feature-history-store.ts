import type { FeatureColumn, ValueType } from '../engine/feature-column.ts'
import type { PartitionPosition } from '../event/position.ts'
import type { Column, ScalarType } from '../event/types.ts'

/** The table of one view's feature history. */
export interface FeatureTable {
  readonly view: string
  readonly key: readonly { readonly name: string; readonly type: ScalarType }[]
  readonly features: readonly { readonly name: string; readonly type: ValueType }[]
  /** What the rows mean, as one text: a table of rows that mean something else is made anew. */
  readonly meaning: string
}

/** Rows of one view (core/engine/feature-history.ts), as columns; each is named by key, `asOfs` and `knownAts`. */
export interface FeatureRows {
  readonly count: number
  /** By key field, without nulls. */
  readonly keys: readonly Column[]
  readonly asOfs: Float64Array
  readonly knownAts: Float64Array
  /** 1: this is no version, though one of that name may have been written before. */
  readonly removed: Uint8Array
  readonly features: readonly FeatureColumn[]
}

/** How far a table covers its stream (index = partition), and the number of the write that said so. */
export interface FeaturePosition {
  readonly revision: number
  readonly partitions: readonly PartitionPosition[]
}

export interface FeatureWrite {
  readonly view: string
  readonly to: FeaturePosition
  readonly rows: readonly FeatureRows[]
}

/**
 * Feature history: table `features_<view>`, one row per entity, boundary and version.
 *
 * Laws:
 * - `prepare` makes the tables that are not there, makes anew those that mean something else, and drops those of views
 *   that are not named.
 * - `write` is all or nothing: rows and position appear together. Its revision is one more than that of the position held
 *   (1 for a new table); otherwise nothing is written and the answer is `gap`. Two writes of one revision: one of them
 *   applies. So a writer that was cut off reads the position and goes on from there.
 * - A row takes the place of the one of its name; a removed one is not read.
 */
export interface FeatureHistoryStore {
  prepare(tables: readonly FeatureTable[]): Promise<void>
  /** Null for a table that nothing was written to, or that is not there. */
  position(view: string): Promise<FeaturePosition | null>
  write(write: FeatureWrite): Promise<'applied' | 'gap'>
  /** Drops a view's table. */
  drop(view: string): Promise<void>
}
