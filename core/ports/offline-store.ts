import type { EventBatch } from '../event/batch.ts'
import type { Offset, PartitionPosition, Position } from '../event/position.ts'
import type { FieldType, Scalar } from '../event/types.ts'

export interface EventTable {
  readonly stream: string
  readonly fields: Readonly<Record<string, FieldType>>
  /** How records become rows, beyond the fields: a table of rows that were read another way is made anew. */
  readonly reading?: string
}

/**
 * Events of one entity: those with `field = value` for every key field and eventTime in [fromMs, toMs). Operations do not
 * matter: what takes back an event of a stream with an id has the entity and event time of it, and so is among them.
 */
export interface EventQuery {
  readonly stream: string
  readonly key: Readonly<Record<string, Scalar>>
  readonly fromMs: number
  readonly toMs: number
  readonly knownAtMsMax: number
  /** Only records below it count. */
  readonly position: Position
  /**
   * For a changelog, the fields of its primary key: then the answer is every record of the rows that those events are
   * versions of, whatever its own entity and event time, so that what takes the place of a version is there too. Position
   * and `knownAtMsMax` hold for them as well.
   */
  readonly primaryKey?: readonly string[]
}

export type InsertOutcome =
  | { readonly kind: 'applied' }
  | { readonly kind: 'already-applied' }
  | { readonly kind: 'gap'; readonly expected: PartitionPosition }

/** A range of one partition that was sent and not acknowledged. */
export interface PendingInsert {
  readonly stream: string
  readonly partition: number
  readonly epoch: number
  readonly first: Offset
  readonly next: Offset
}

/**
 * Full history: table `events_<stream>` with exactly one row per log record, dead records included. Of logs whose offsets
 * have gaps, a batch may have fewer records than it covers offsets, or none: the position moves on with it all the same.
 *
 * Laws:
 * - `insert` takes the records that follow what the table holds of that partition; it is all or nothing, and sending
 *   the same batch again changes nothing, also after a crash in the middle.
 * - After a crash, each range in `pending` is given again, exactly as it is, before anything else of its partition.
 * - `positions` is what the table holds: rows and position cannot disagree, because the position is read from the rows. It
 *   names so many partitions at least, and all that there are rows of.
 * - `events` answers in total order (eventTime, knownAt, partition, offset), dead records left out.
 */
export interface OfflineStore {
  prepare(tables: readonly EventTable[]): Promise<void>
  pending(stream: string): readonly PendingInsert[]
  positions(stream: string, partitions: number): Promise<readonly PartitionPosition[]>
  insert(batch: EventBatch): Promise<InsertOutcome>
  events(query: EventQuery): Promise<EventHistory>
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
  /** Op codes; null where all are inserts. */
  readonly ops: Uint8Array | null
  readonly columns: EventBatch['columns']
}
