import type { EventBatch } from '../event/batch.ts'
import type { PartitionPosition, Position } from '../event/position.ts'
import type { FieldType, Scalar } from '../event/types.ts'

export interface EventTable {
  readonly stream: string
  readonly fields: Readonly<Record<string, FieldType>>
}

/** Events of one entity: those with `field = value` for every key field and eventTime in [fromMs, toMs). */
export interface EventQuery {
  readonly stream: string
  readonly key: Readonly<Record<string, Scalar>>
  readonly fromMs: number
  readonly toMs: number
  readonly knownAtMsMax: number
  /** Only records below it count. */
  readonly position: Position
}

export type InsertOutcome =
  | { readonly kind: 'applied' }
  | { readonly kind: 'already-applied' }
  | { readonly kind: 'gap'; readonly expected: PartitionPosition }

/**
 * Full history: table `events_<stream>` with exactly one row per log record, dead records included.
 *
 * Laws:
 * - `insert` takes the records that follow what the table holds of that partition; it is all or nothing, and sending
 *   the same batch again changes nothing, also after a crash in the middle.
 * - `positions` is what the table holds: rows and position cannot disagree, because the position is read from the rows.
 * - `events` answers in total order (eventTime, knownAt, partition, offset), dead records left out, one batch per
 *   source partition is not kept: `partition` of each row is in column `partitions`.
 */
export interface OfflineStore {
  prepare(tables: readonly EventTable[]): Promise<void>
  positions(stream: string, partitions: number): Promise<readonly PartitionPosition[]>
  insert(batch: EventBatch): Promise<InsertOutcome>
  events(query: EventQuery): Promise<EventHistory>
  /** Whether any event of the entity is visible before `fromMs` (for EXPIRED against NOT_FOUND). */
  anyEventBefore(query: EventQuery): Promise<boolean>
  /** Drops a stream's table. */
  drop(stream: string): Promise<void>
}

/** Events of several partitions of one stream, in total order, as columns. */
export interface EventHistory {
  readonly stream: string
  readonly count: number
  readonly partitions: Int32Array
  readonly offsets: Float64Array
  readonly eventTimes: Float64Array
  readonly knownAts: Float64Array
  readonly columns: EventBatch['columns']
}
