import { FeatureStoreError } from '../../core/errors.ts'
import { offset, type Offset, offsetZero } from '../../core/event/position.ts'
import {
  type AppendResult,
  type EventLog,
  keptForEver,
  type LogChunk,
  type LogRecord,
  type PartitionInfo,
  type ProducerIdentity,
  type StreamKeeping,
} from '../../core/ports/event-log.ts'
import { checkFetch, decideAppend } from '../log/append.ts'
import { checkPartitions, checkStreamName } from '../log/names.ts'

interface Batch {
  readonly bytes: Uint8Array
  readonly from: number
  readonly next: number
}

interface Partition {
  readonly batches: Batch[]
  end: number
  newestTimestampMs: number
  readonly sequences: Map<bigint, number>
}

/** An EventLog in memory: the reference for the laws, and the log of tests. One epoch, nothing survives. */
export class MemoryLog implements EventLog, AsyncDisposable {
  readonly logId: string
  private readonly streams = new Map<string, readonly Partition[]>()
  private closed = false

  constructor(logId = 'memory') {
    this.logId = logId
  }

  async create(stream: string, { partitions }: { readonly partitions: number }): Promise<void> {
    this.checkOpen()
    checkStreamName(stream)
    const there = this.streams.get(stream)
    checkPartitions(stream, partitions, there?.length)
    if (there !== undefined) return
    const fresh = (): Partition => ({ batches: [], end: 0, newestTimestampMs: -Infinity, sequences: new Map() })
    this.streams.set(stream, Array.from({ length: partitions }, fresh))
  }

  async inspect(
    streams: readonly { readonly stream: string; readonly partitions: number }[],
  ): Promise<readonly StreamKeeping[]> {
    this.checkOpen()
    return streams.map(({ stream, partitions }) => {
      const there = this.streams.get(stream)
      return keptForEver(there !== undefined, there?.length ?? partitions)
    })
  }

  async describe(stream: string): Promise<readonly PartitionInfo[] | null> {
    this.checkOpen()
    const partitions = this.streams.get(stream)
    if (partitions === undefined) return null
    return partitions.map(({ end }) => ({
      epochs: [{ epoch: 0, firstOffset: offsetZero }],
      start: offsetZero,
      end: offset(end),
    }))
  }

  async append(
    stream: string,
    partition: number,
    records: readonly LogRecord[],
    producer?: ProducerIdentity,
  ): Promise<AppendResult> {
    const there = this.partition(stream, partition)
    const first = there.end
    const result = { epoch: 0, firstOffset: offset(first) }
    if (records.length === 0) return { ...result, nextOffset: offset(first), clamped: 0 }
    const sequence = producer === undefined ? 0 : (there.sequences.get(producer.producerId) ?? 0)
    const { end, newestTimestampMs } = there
    const decision = decideAppend({ epoch: 0, end, newestTimestampMs }, records, producer, sequence)
    there.end += records.length
    there.newestTimestampMs = decision.newestTimestampMs
    there.batches.push({ bytes: decision.bytes.slice(), from: first, next: there.end })
    if (producer !== undefined) there.sequences.set(producer.producerId, sequence + records.length)
    return { ...result, nextOffset: offset(there.end), clamped: decision.clamped }
  }

  async fetch(stream: string, partition: number, from: Offset, maxBytes: number): Promise<LogChunk> {
    const { batches, end } = this.partition(stream, partition)
    checkFetch(`${stream}/${partition}`, from, end)
    const taken: Uint8Array[] = []
    let bytes = 0
    let next: number = from
    let base: number = from
    for (let index = firstBehind(batches, from); index < batches.length; index++) {
      const batch = batches[index] as Batch
      if (taken.length > 0 && bytes + batch.bytes.length > maxBytes) break
      if (taken.length === 0) base = batch.from
      taken.push(batch.bytes)
      bytes += batch.bytes.length
      next = batch.next
    }
    return { bytes: concat(taken, bytes), baseOffset: offset(base), nextOffset: offset(next) }
  }

  async nextSequence(stream: string, partition: number, producerId: bigint): Promise<number> {
    return this.partition(stream, partition).sequences.get(producerId) ?? 0
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.closed = true
    return Promise.resolve()
  }

  private partition(stream: string, index: number): Partition {
    this.checkOpen()
    const partition = this.streams.get(stream)?.[index]
    if (partition === undefined)
      throw new FeatureStoreError('FS_STREAM_UNKNOWN', `the log has no partition ${stream}/${index}`)
    return partition
  }

  private checkOpen(): void {
    if (this.closed) throw new FeatureStoreError('FS_CLOSED', 'the log is closed')
  }
}

/** Index of the first batch that reaches beyond `from`. */
function firstBehind(batches: readonly Batch[], from: number): number {
  let low = 0
  let high = batches.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((batches[middle] as Batch).next <= from) low = middle + 1
    else high = middle
  }
  return low
}

function concat(parts: readonly Uint8Array[], length: number): Uint8Array {
  const out = new Uint8Array(length)
  let at = 0
  for (const part of parts) {
    out.set(part, at)
    at += part.length
  }
  return out
}
