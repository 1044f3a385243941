import { FeatureStoreError } from '../../core/errors.ts'
import { type LogRecord, type ProducerIdentity } from '../../core/ports/event-log.ts'
import { encodeBatch } from '../../schemas/recordbatch/index.ts'

/** One append is one batch, so it is all or nothing across a crash; what does not fit is refused, and callers size their appends. */
export const appendRecordsMax = 10_000
export const appendBytesMax = 8 * 1024 * 1024

/** Where a partition stands, as far as an append depends on it. */
export interface AppendState {
  readonly epoch: number
  readonly end: number
  /** Running maximum of the timestamps, -Infinity while there is none. */
  readonly newestTimestampMs: number
}

export interface AppendDecision {
  readonly bytes: Uint8Array
  readonly clamped: number
  readonly newestTimestampMs: number
}

/**
 * The batch that an append writes. `nextSequence` is what the producer's next record has to be numbered.
 *
 * Errors: FS_LIMIT_EXCEEDED; FS_POSITION_GAP when the producer's sequence does not go on where it stands;
 * FS_EVENT_INVALID for a timestamp that is none.
 */
export function decideAppend(
  state: AppendState,
  records: readonly LogRecord[],
  producer?: ProducerIdentity,
  nextSequence = 0,
): AppendDecision {
  if (records.length > appendRecordsMax)
    throw new FeatureStoreError(
      'FS_LIMIT_EXCEEDED',
      `an append of ${records.length} records; at most ${appendRecordsMax} go at a time`,
    )
  if (producer !== undefined && producer.baseSequence !== nextSequence)
    throw new FeatureStoreError(
      'FS_POSITION_GAP',
      `producer ${producer.producerId} appends sequence ${producer.baseSequence}; expected ${nextSequence}`,
    )
  const { raised, clamped, newest } = raise(records, state.newestTimestampMs)
  const bytes = encodeBatch(raised, {
    baseOffset: state.end,
    epoch: state.epoch,
    // The wire has 31 bits: a sequence goes on from 0 behind 2^31 - 1, as Kafka's does.
    ...(producer === undefined
      ? {}
      : { producerId: producer.producerId, producerEpoch: 0, baseSequence: producer.baseSequence % 2 ** 31 }),
  })
  if (bytes.length > appendBytesMax)
    throw new FeatureStoreError(
      'FS_LIMIT_EXCEEDED',
      `an append of ${bytes.length} bytes; at most ${appendBytesMax} go at a time`,
    )
  return { bytes, clamped, newestTimestampMs: newest }
}

/** Timestamps never decrease in a partition: what lies below the newest so far is raised to it. */
function raise(
  records: readonly LogRecord[],
  floor: number,
): { readonly raised: readonly LogRecord[]; readonly clamped: number; readonly newest: number } {
  let newest = floor
  let clamped = 0
  let raised: LogRecord[] | null = null
  for (let index = 0; index < records.length; index++) {
    const record = records[index] as LogRecord
    // Before it is raised: a broken timestamp is refused, not mended.
    if (!Number.isInteger(record.timestampMs))
      throw new FeatureStoreError('FS_EVENT_INVALID', 'a record has a timestamp that is no epoch milliseconds')
    if (record.timestampMs >= newest) newest = record.timestampMs
    else {
      clamped++
      raised ??= records.slice()
      raised[index] = { ...record, timestampMs: newest }
    }
  }
  return { raised: raised ?? records, clamped, newest }
}

/** Errors: FS_REQUEST_INVALID when `from` lies beyond the end. */
export function checkFetch(partition: string, from: number, end: number): void {
  if (!Number.isSafeInteger(from) || from < 0 || from > end)
    throw new FeatureStoreError('FS_REQUEST_INVALID', `offset ${from} of ${partition} is not within 0 to ${end}`)
}
