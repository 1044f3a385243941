import type { ErrorCode } from '../errors.ts'
import type { Column } from './types.ts'
import type { Offset } from './position.ts'

/**
 * Decoded events of one partition, in offset order, as columns of length `count`. Records that do not decode are not
 * among them: they stand in `dead`, so that `count + dead.length` is the number of records of the batch.
 */
export interface EventBatch {
  readonly stream: string
  readonly partition: number
  /** Log epoch of the partition at these records. */
  readonly epoch: number
  readonly firstOffset: Offset
  /** One past the last record covered. */
  readonly nextOffset: Offset
  readonly count: number
  readonly offsets: Float64Array
  /** Epoch milliseconds, UTC. */
  readonly eventTimes: Float64Array
  /** Epoch milliseconds, UTC, never decreasing. */
  readonly knownAts: Float64Array
  /** Every declared field of the stream (or the projection asked for), by name. */
  readonly columns: Readonly<Record<string, Column>>
  /** Op codes (operation.ts); null where all are inserts, or on a changelog all upserts. */
  readonly ops: Uint8Array | null
  readonly dead: readonly DeadRecord[]
  /** The newest knownAt below `nextOffset`, where the log does not keep it itself (EventLogTraits.timestamps). */
  readonly newestKnownAtMs?: number
}

/** A record that is no event of its stream, decided by the record and the definition alone. */
export interface DeadRecord {
  readonly offset: Offset
  readonly knownAt: number
  readonly code: ErrorCode
  readonly reason: string
  /** The record's value as it lies in the log. */
  readonly payload: Uint8Array
}

/** A dead letter as a store keeps it: keyed by (scope, source position), so it appears once. */
export interface DeadLetter {
  /** `stream:NAME` or `view:NAME`. */
  readonly scope: string
  readonly stream: string
  readonly partition: number
  readonly offset: Offset
  readonly knownAt: number
  readonly code: ErrorCode
  readonly reason: string
}
