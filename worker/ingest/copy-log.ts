/**
 * A log into another one, record for record: keys, values, knownAt, order, offsets and the producers that make appends
 * repeatable. Goes on where it was cut short: what the target holds must be the beginning of the source.
 */
import { FeatureStoreError } from '../../core/errors.ts'
import { offset, type Offset } from '../../core/event/position.ts'
import type { EventLog, LogRecord, ProducerIdentity } from '../../core/ports/event-log.ts'
import { batchHeader, noProducer, RecordCursor, type BatchHeader } from '../../schemas/recordbatch/index.ts'

const fetchBytes = 1024 * 1024

export interface StreamCopy {
  readonly stream: string
  /** Records of the source, and those of them that were copied now. */
  readonly records: number
  readonly copied: number
}

/**
 * Copies a stream of `from`, which nobody appends to, to `to`, where it is made if it is missing.
 *
 * Errors: FS_COPY_DIFFERS when the target has other records; FS_STREAM_UNKNOWN; those of the logs.
 */
export async function copyStream(
  from: EventLog,
  to: EventLog,
  stream: string,
  onProgress?: (copied: number) => void,
): Promise<StreamCopy> {
  const sources = await from.describe(stream)
  if (sources === null) throw new FeatureStoreError('FS_STREAM_UNKNOWN', `the log has no stream ${stream}`)
  await to.create(stream, { partitions: sources.length })
  let copied = 0
  for (const [partition, { end }] of sources.entries()) {
    const begin = await beginOf(from, to, stream, partition, end)
    for (let next = begin; next < end;) {
      const chunk = await from.fetch(stream, partition, next, fetchBytes)
      const first = next
      for (const batch of batchesOf(chunk.bytes, next)) next = await appendBatch(to, stream, partition, next, batch)
      copied += next - first
      onProgress?.(copied)
    }
  }
  return { stream, records: sources.reduce((sum, { end }) => sum + end, 0), copied }
}

/** Where the copy goes on. */
async function beginOf(from: EventLog, to: EventLog, stream: string, partition: number, end: Offset): Promise<Offset> {
  const target = (await to.describe(stream))?.[partition]
  const begin = target?.end ?? offset(0)
  if (begin === 0) return begin
  const differs = (what: string): FeatureStoreError =>
    new FeatureStoreError('FS_COPY_DIFFERS', `${stream}/${partition}: the target ${what}`)
  if (begin > end) throw differs(`has ${begin} records, the source ${end}`)
  const last = offset(begin - 1)
  if (!sameRecord(await recordAt(from, stream, partition, last), await recordAt(to, stream, partition, last)))
    throw differs(`has another record at offset ${last}`)
  return begin
}

async function appendBatch(
  to: EventLog,
  stream: string,
  partition: number,
  next: Offset,
  { records, producer }: Batch,
): Promise<Offset> {
  if (records.length === 0) return next
  const { firstOffset, nextOffset } = await to.append(stream, partition, records, producer)
  if (firstOffset !== next)
    throw new FeatureStoreError(
      'FS_COPY_DIFFERS',
      `${stream}/${partition}: offset ${next} of the source became ${firstOffset}: somebody else appends to the target`,
    )
  return nextOffset
}

interface Batch {
  readonly records: readonly LogRecord[]
  readonly producer?: ProducerIdentity
}

/** The records from `from` on, by the batches that they were appended in. */
function* batchesOf(bytes: Uint8Array, from: number): Generator<Batch> {
  for (let at = 0; at < bytes.length;) {
    const header = batchHeader(bytes, at)
    const cursor = new RecordCursor()
    cursor.reset(bytes.subarray(at, at + header.byteLength))
    const records: LogRecord[] = []
    while (cursor.next()) if (cursor.offset >= from) records.push(recordOf(cursor))
    yield { records, ...producerOf(header, header.recordCount - records.length) }
    at += header.byteLength
  }
}

const producerOf = (
  { producerId, baseSequence }: BatchHeader,
  skipped: number,
): { readonly producer?: ProducerIdentity } =>
  producerId === noProducer ? {} : { producer: { producerId, baseSequence: baseSequence + skipped } }

/** A copy: the chunk may be used again. */
function recordOf({ bytes, keyStart, keyEnd, valueStart, valueEnd, timestampMs }: RecordCursor): LogRecord {
  return {
    key: keyStart < 0 ? null : bytes.slice(keyStart, keyEnd),
    value: bytes.slice(Math.max(valueStart, 0), Math.max(valueEnd, 0)),
    timestampMs,
  }
}

async function recordAt(log: EventLog, stream: string, partition: number, at: Offset): Promise<LogRecord | null> {
  const { bytes } = await log.fetch(stream, partition, at, 1)
  const cursor = new RecordCursor()
  cursor.reset(bytes)
  while (cursor.next()) if (cursor.offset === at) return recordOf(cursor)
  return null
}

function sameRecord(a: LogRecord | null, b: LogRecord | null): boolean {
  if (a === null || b === null || a.timestampMs !== b.timestampMs || Buffer.compare(a.value, b.value) !== 0)
    return false
  return a.key === null || b.key === null ? a.key === b.key : Buffer.compare(a.key, b.key) === 0
}
