import type { Offset } from '../event/position.ts'

/** A partition of a stream: `epochs[i]` began at `firstOffset`; the last one is current. */
export interface PartitionInfo {
  readonly epochs: readonly { readonly epoch: number; readonly firstOffset: Offset }[]
  readonly start: Offset
  /** One past the newest readable record. */
  readonly end: Offset
}

/** Whole RecordBatch v2 (magic 2) batches of one partition, back to back, as the log holds them. */
export interface LogChunk {
  readonly bytes: Uint8Array
  /** Offset of the first record in `bytes` (it may lie below the asked one: batches are not cut). */
  readonly baseOffset: Offset
  /** Where the next fetch goes on; equal to the asked offset when nothing was there. */
  readonly nextOffset: Offset
}

export interface LogRecord {
  readonly key: Uint8Array | null
  readonly value: Uint8Array
  /** knownAt, epoch milliseconds; raised to the partition's running maximum where it is below. */
  readonly timestampMs: number
}

export interface AppendResult {
  readonly epoch: number
  readonly firstOffset: Offset
  readonly nextOffset: Offset
  /** Records whose timestamp was raised to the partition's running maximum. */
  readonly clamped: number
}

/** Whose time the records of a stream bear: the log's own as it appends them, or that of whoever appends. */
export type KnownAtSource = 'logAppendTime' | 'createTime'

export interface NewStream {
  readonly partitions: number
  /** Asked only of logs whose timestamps are `declared`. Default: `logAppendTime`. */
  readonly knownAt?: KnownAtSource
}

/** A stream as the people who run its system know it: what settings are called there. */
export interface ForeignStream {
  /** `topic orders`. */
  readonly place: string
  /** Bytes of the largest batch that an append makes. */
  readonly appendBytes: number
  readonly names: {
    /** Name and value of the setting, as are all but the limits. */
    readonly knownAt: Readonly<Record<KnownAtSource, string>>
    readonly uncompacted: string
    readonly keepForever: string
    readonly keepAllBytes: string
    readonly retentionMs: string
    readonly retentionBytes: string
    readonly batchBytes: string
  }
}

/** How a log keeps a stream, as plain facts: core/registry/log-check.ts judges them. */
export interface StreamKeeping {
  /** False: there is no such stream yet, and this is how `create` would make it. */
  readonly isThere: boolean
  /** Null where nobody but Tidemark has to do with it. */
  readonly system: ForeignStream | null
  readonly partitions: number
  /** Whose time records bear from now on; null: as they are given, which fits any declaration. */
  readonly knownAt: KnownAtSource | null
  /** Records go when they are older, milliseconds; null: they stay. */
  readonly retentionMs: number | null
  /** The oldest records go when a partition is larger, bytes; null: they stay. */
  readonly retentionBytes: number | null
  /** Of the records of one key only the newest is sure to stay. */
  readonly isCompacted: boolean
  /** Largest batch that is taken, bytes; null: without bound. */
  readonly batchBytesMax: number | null
}

/** Makes an append repeatable: the n-th record that `producerId` ever appends to the partition has sequence n. */
export interface ProducerIdentity {
  readonly producerId: bigint
  readonly baseSequence: number
}

/** Where a system decides otherwise than the laws of `EventLog`, said per log so that readers and the suite can tell. */
export interface EventLogTraits {
  /**
   * `dense`: 0, 1, 2, … without a gap. `sparse`: they ascend, but some belong to no record that is read (marks of
   * transactions, records of aborted ones, what was compacted), and the first may be above 0 (`start`). A fetch may then
   * answer no bytes and go on all the same: only `nextOffset` equal to the asked offset says that nothing was there.
   */
  readonly offsets: 'dense' | 'sparse'
  /**
   * `raised`: as given, raised to the partition's running maximum. `given`: as given, in any order. `declared`: as each
   * stream was made (`NewStream.knownAt`), as given or the system's own time of the append, in whose order they are as far
   * as its clocks are. Where they are not `raised`, whoever needs a running maximum takes it while reading.
   */
  readonly timestamps: 'raised' | 'given' | 'declared'
  /** `counted`: from 0 on, later ones are higher. `drawn`: one number per life of the stream, in no order. */
  readonly epochs: 'counted' | 'drawn'
  /** `kept`: `append` takes a ProducerIdentity. `none`: it is refused with FS_NOT_YET. */
  readonly producers: 'kept' | 'none'
  /** `kept`: a fetch gives the batches of the appends, whole. `made`: it makes others of their records. */
  readonly batches: 'kept' | 'made'
}

/** How a lawful log keeps a stream: everything, for ever. */
export const keptForEver = (isThere: boolean, partitions: number): StreamKeeping => ({
  isThere,
  system: null,
  partitions,
  knownAt: null,
  retentionMs: null,
  retentionBytes: null,
  isCompacted: false,
  batchBytesMax: null,
})

export const lawfulTraits: EventLogTraits = {
  offsets: 'dense',
  timestamps: 'raised',
  epochs: 'counted',
  producers: 'kept',
  batches: 'kept',
}

/**
 * The only truth: partitioned, append-only, offsets dense from 0 (`traits` says where they are not).
 *
 * Laws:
 * - What `append` returned is read by every later `fetch`, in order, byte for byte; a crash cuts only what was not
 *   acknowledged, and a cut begins a new epoch.
 * - One append is all or nothing, and is one or more whole batches.
 * - Timestamps never decrease within a partition, where `traits` do not say otherwise.
 * - `fetch` at the end answers an empty chunk and does not wait; beyond the end it is FS_REQUEST_INVALID, below the start
 *   FS_HISTORY_TRIMMED.
 * Errors: FS_STREAM_UNKNOWN, FS_LOG_CORRUPT, FS_LOCKED (append without the writer's lock), FS_CLOSED.
 */
export interface EventLog {
  /** Drawn once when the log is made. */
  readonly logId: string
  /** Absent: `lawfulTraits`. */
  readonly traits?: EventLogTraits
  /**
   * Makes a stream; does nothing when it is there with as many partitions (or more, where others can add some), else
   * FS_DEFINITION_INVALID. How one that is there is kept otherwise is for `inspect` to say.
   */
  create(stream: string, options: NewStream): Promise<void>
  /** How streams are kept, or would be, by the order asked. Absent: as lawful logs do, everything for ever. */
  inspect?(streams: readonly (NewStream & { readonly stream: string })[]): Promise<readonly StreamKeeping[]>
  /** Partitions of a stream by index, or null when there is no such stream. Reflects appends of other processes. */
  describe(stream: string): Promise<readonly PartitionInfo[] | null>
  append(
    stream: string,
    partition: number,
    records: readonly LogRecord[],
    producer?: ProducerIdentity,
  ): Promise<AppendResult>
  fetch(stream: string, partition: number, from: Offset, maxBytes: number): Promise<LogChunk>
  /**
   * The same log for one reader that goes through partitions from offset to offset, for which it may look ahead: the bytes
   * of a chunk are then good until the next fetch of the same partition. Ends with the log. Absent: the log itself.
   */
  reader?(): EventLog
  /**
   * Resolves when some partition has records from its offset on (index = partition; those beyond the list are not looked
   * at), after about `ms` at the latest, and maybe for no reason: what there is, `fetch` says. It does not fail. Absent:
   * whoever waits for the end to move asks again and again.
   */
  awaitMore?(stream: string, from: readonly Offset[], ms: number): Promise<void>
  /** The sequence after the last one appended by `producerId`, 0 when there is none. */
  nextSequence(stream: string, partition: number, producerId: bigint): Promise<number>
}
