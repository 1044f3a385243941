import type { DeadLetter } from '../event/batch.ts'
import type { Position } from '../event/position.ts'

/** What a shard's rows cover, written with them. `newestEventTimeMs`: newest accepted event per stream, for `clock: 'newestEvent'`. */
export interface ShardPosition {
  readonly position: Position
  readonly newestEventTimeMs: Readonly<Record<string, number>>
  /** Newest knownAt by stream and partition below the position, of logs that do not raise it themselves. */
  readonly newestKnownAtMs?: Readonly<Record<string, readonly number[]>>
}

/** The right to write a shard: refused once a later one was taken. */
export interface ShardLease {
  readonly shard: number
  readonly epoch: number
  readonly nonce: string
}

export interface RowWrite {
  readonly view: string
  /** Canonical entity key, at most 1,024 bytes. */
  readonly key: Uint8Array
  readonly row: Uint8Array
  /** Values beside the row that hold parts of it; a row that has none needs nothing here. */
  readonly parts?: {
    readonly put: readonly { readonly name: number; readonly bytes: Uint8Array }[]
    /** Names that were put with earlier flushes; none of them is put by this one. */
    readonly drop: readonly number[]
  }
}

export interface ShardFlush {
  readonly lease: ShardLease
  /** Where the store must stand (null: empty). Guards against a lost or doubled flush. */
  readonly from: ShardPosition | null
  readonly to: ShardPosition
  readonly rows: readonly RowWrite[]
  readonly deadLetters: readonly DeadLetter[]
}

/** What the store did with one shard's flush. */
export type FlushOutcome =
  | { readonly kind: 'applied' }
  | { readonly kind: 'already-applied' }
  | { readonly kind: 'gap'; readonly found: ShardPosition | null }
  | { readonly kind: 'fenced'; readonly byEpoch: number }

export interface RowRead {
  /** One per key asked, in order; null where there is no row, or where it is corrupt. */
  readonly rows: readonly (Uint8Array | null)[]
  /** Indices of keys whose row is there but fails its checksum. */
  readonly corrupt?: readonly number[]
  /** One per key asked: the position of the key's shard, read atomically with the row; null before the first flush. */
  readonly positions: readonly (ShardPosition | null)[]
}

/**
 * Latest state by (view, entity key), which is the state of the worker as well.
 *
 * Laws:
 * - A flush is atomic per shard: rows, dead letters and position, or nothing. Validate first, write last.
 * - fenced when the lease is not the newest; gap when `from` is not where the shard stands; already-applied when it
 *   stands at `to`. So a flush that is sent again is harmless.
 * - A read sees each shard's rows at exactly the position that it returns.
 * - Parts of a row are put and dropped in the same atomic flush as the row. A part lives until it is dropped, whatever
 *   becomes of the row; who wrote the row knows its parts (core/engine/row-parts.ts).
 * - A dropped part may stay readable for a while, and rows and parts are read one after the other: a reader that misses
 *   a part reads the row again.
 * - A dead letter is kept once per (scope, stream, partition, offset).
 * A store holds one *generation* (the fingerprint of the projection that built it); rows of another are never seen.
 */
export interface OnlineStore {
  /** The flushes of one `apply` are written together or not at all. Absent: one shard after the other. */
  readonly appliesTogether?: boolean
  /** A shard is flushed before its changed rows take about so much, bytes: what holds the store up. Absent: no bound. */
  readonly flushBytesMax?: number
  /**
   * Takes shards with an epoch above every earlier one, and says where each stands. One whose answer is lost is asked
   * again: the shards are then taken once more.
   */
  acquire(
    shards: readonly number[],
  ): Promise<readonly { readonly lease: ShardLease; readonly position: ShardPosition | null }[]>
  /**
   * One outcome per flush, in order. An error of kind `unavailable` says that it is not known what became of them: they
   * are sent again as they are, until they are answered.
   */
  apply(flushes: readonly ShardFlush[]): Promise<readonly FlushOutcome[]>
  read(view: string, shards: readonly number[], keys: readonly Uint8Array[]): Promise<RowRead>
  /**
   * Parts of one row, by the order asked: u32 names. Null for one that is not there, or that fails its checksum.
   */
  readParts(
    view: string,
    shard: number,
    key: Uint8Array,
    names: readonly number[],
  ): Promise<readonly (Uint8Array | null)[]>
  /** Positions of shards, by the order asked. */
  positions(shards: readonly number[]): Promise<readonly (ShardPosition | null)[]>
  /** Every row of a view without its parts, ordered by key bytes within a shard, shards ascending. */
  scan(view: string): AsyncIterable<{ readonly shard: number; readonly key: Uint8Array; readonly row: Uint8Array }>
  deadLetters(): AsyncIterable<DeadLetter>
}
