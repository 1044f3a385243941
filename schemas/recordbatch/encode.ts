import { FeatureStoreError } from '../../core/errors.ts'
import { type LogRecord } from '../../core/ports/event-log.ts'
import { crc32c } from './crc32c.ts'
import { batchHeaderBytes, checksumFrom, lengthPrefixBytes, noProducer } from './layout.ts'

/** A record as a batch takes it: Kafka's values may be null (a tombstone), which the log's own never are. */
export type BatchRecord = Omit<LogRecord, 'value'> & { readonly value: Uint8Array | null }

export interface BatchOptions {
  readonly baseOffset: number
  /** Partition leader epoch; the embedded log writes its own epoch. */
  readonly epoch?: number
  readonly producerId?: bigint
  readonly producerEpoch?: number
  readonly baseSequence?: number
}

/** Timestamps are within this, so that every delta, zigzagged, is an exact number (years -69,000 to 73,000). */
export const timestampMagnitudeMax = 2 ** 51

/** Most bytes that a record takes beside its key and value. */
const recordOverheadMax = 5 + 1 + 10 + 5 + 5 + 5 + 1

/**
 * One whole batch (layout.ts): uncompressed, CreateTime, no headers.
 *
 * Errors: FS_REQUEST_INVALID for no records; FS_EVENT_INVALID for a timestamp that is no integer or too far.
 */
export function encodeBatch(records: readonly BatchRecord[], options: BatchOptions): Uint8Array {
  const first = records[0]
  if (first === undefined) throw new FeatureStoreError('FS_REQUEST_INVALID', 'a batch has at least one record')
  let bytesMax = batchHeaderBytes
  let maxTimestamp = -Infinity
  for (const { key, value, timestampMs } of records) {
    if (!Number.isInteger(timestampMs) || Math.abs(timestampMs) > timestampMagnitudeMax)
      throw new FeatureStoreError('FS_EVENT_INVALID', 'a record has a timestamp that is no epoch milliseconds')
    bytesMax += recordOverheadMax + (value === null ? 0 : value.length) + (key === null ? 0 : key.length)
    if (timestampMs > maxTimestamp) maxTimestamp = timestampMs
  }
  const out = new Uint8Array(bytesMax)
  let at = batchHeaderBytes
  for (let index = 0; index < records.length; index++)
    at = writeRecord(out, at, records[index] as BatchRecord, index, first.timestampMs)
  writeHeader(out, at, records.length, first.timestampMs, maxTimestamp, options)
  return out.subarray(0, at)
}

function writeHeader(
  out: Uint8Array,
  end: number,
  recordCount: number,
  baseTimestamp: number,
  maxTimestamp: number,
  options: BatchOptions,
): void {
  const view = new DataView(out.buffer)
  writeInt64(view, 0, options.baseOffset)
  view.setInt32(8, end - lengthPrefixBytes)
  view.setInt32(12, options.epoch ?? -1)
  view.setInt8(16, 2)
  view.setInt16(21, 0)
  view.setInt32(23, recordCount - 1)
  writeInt64(view, 27, baseTimestamp)
  writeInt64(view, 35, maxTimestamp)
  view.setBigInt64(43, options.producerId ?? noProducer)
  view.setInt16(51, options.producerEpoch ?? -1)
  view.setInt32(53, options.baseSequence ?? -1)
  view.setInt32(57, recordCount)
  view.setUint32(17, crc32c(out, checksumFrom, end))
}

function writeRecord(out: Uint8Array, from: number, record: BatchRecord, index: number, baseTimestamp: number): number {
  const { key, value } = record
  const timeDelta = zigzag(record.timestampMs - baseTimestamp)
  const offsetDelta = index * 2
  const keyLength = key === null ? 1 : key.length * 2
  const valueLength = value === null ? 1 : value.length * 2
  const bodyBytes =
    2 +
    varintBytes(timeDelta) +
    varintBytes(offsetDelta) +
    varintBytes(keyLength) +
    (key === null ? 0 : key.length) +
    varintBytes(valueLength) +
    (value === null ? 0 : value.length)
  let at = writeVarint(out, from, bodyBytes * 2)
  out[at++] = 0 // attributes
  at = writeVarint(out, at, timeDelta)
  at = writeVarint(out, at, offsetDelta)
  at = writeVarint(out, at, keyLength)
  if (key !== null) at = copy(out, at, key)
  at = writeVarint(out, at, valueLength)
  if (value !== null) at = copy(out, at, value)
  out[at++] = 0 // headers
  return at
}

/** By hand for short pieces, where the call of `set` costs more than the bytes. */
function copy(out: Uint8Array, at: number, piece: Uint8Array): number {
  if (piece.length > 48) out.set(piece, at)
  else for (let index = 0; index < piece.length; index++) out[at + index] = piece[index] as number
  return at + piece.length
}

const zigzag = (value: number): number => (value >= 0 ? value * 2 : -2 * value - 1)

function varintBytes(zigzagged: number): number {
  let bytes = 1
  for (let rest = zigzagged; rest > 0x7f; rest = Math.floor(rest / 128)) bytes++
  return bytes
}

function writeVarint(out: Uint8Array, from: number, zigzagged: number): number {
  let at = from
  let rest = zigzagged
  for (; rest > 0x7fff_ffff; rest = Math.floor(rest / 128)) out[at++] = (rest % 128) | 0x80
  for (; rest > 0x7f; rest >>>= 7) out[at++] = (rest & 0x7f) | 0x80
  out[at++] = rest
  return at
}

function writeInt64(view: DataView, at: number, value: number): void {
  view.setInt32(at, Math.floor(value / 0x1_0000_0000))
  view.setUint32(at + 4, value >>> 0)
}
