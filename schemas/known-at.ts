import { FeatureStoreError } from '../core/errors.ts'
import type { DeadRecord, EventBatch } from '../core/event/batch.ts'
import { offset, type Offset } from '../core/event/position.ts'
import type { EventLog } from '../core/ports/event-log.ts'
import { batchHeader, RecordCursor } from './recordbatch/index.ts'

/** How far a partition was read, and the newest knownAt below there. */
interface Mark {
  readonly next: number
  readonly knownAtMs: number
}

const scanBytes = 1 << 20
const never = Number.NEGATIVE_INFINITY

/**
 * The running maximum of knownAt by partition, for logs that do not raise timestamps as they append (a broker's clock goes
 * back, producers have clocks of their own): a record below it is read as known when the maximum was. So "known by K" is a
 * prefix of each partition for every reader, wherever it began: the maximum below the place is found in the log, unless it
 * is known from a position that was stored.
 */
export class RunningKnownAt {
  readonly #log: EventLog
  readonly #stream: string
  /** By partition; of readers that take turns, the last places of each. */
  readonly #marks = new Map<number, readonly Mark[]>()
  /** Records that were raised. */
  clamped = 0

  constructor(log: EventLog, stream: string) {
    this.#log = log
    this.#stream = stream
  }

  /** Says what is the maximum below a place. */
  learn(partition: number, next: number, knownAtMs: number): void {
    const others = (this.#marks.get(partition) ?? []).filter((mark) => mark.next !== next)
    this.#marks.set(partition, [{ next, knownAtMs }, ...others].slice(0, marksMax))
  }

  /** A batch with the maximum applied: its arrays are written to. Errors: those of the log. */
  async raise(batch: EventBatch, start: Offset): Promise<EventBatch> {
    const { partition, firstOffset, nextOffset } = batch
    const floor = await this.#below(partition, firstOffset, start)
    const { newestMs, dead } = this.#apply(batch, floor)
    this.learn(partition, nextOffset, newestMs)
    return { ...batch, dead, newestKnownAtMs: newestMs }
  }

  #apply({ offsets, knownAts, count, dead }: EventBatch, floor: number) {
    let newestMs = floor
    let row = 0
    const rowsBelow = (end: number): void => {
      for (; row < count && (offsets[row] as number) < end; row++) {
        if ((knownAts[row] as number) >= newestMs) newestMs = knownAts[row] as number
        else {
          knownAts[row] = newestMs
          this.clamped++
        }
      }
    }
    const raised = dead.map((record): DeadRecord => {
      rowsBelow(record.offset)
      if (record.knownAt < newestMs) this.clamped++
      newestMs = Math.max(newestMs, record.knownAt)
      return record.knownAt === newestMs ? record : { ...record, knownAt: newestMs }
    })
    rowsBelow(Number.POSITIVE_INFINITY)
    return { newestMs, dead: raised }
  }

  async #below(partition: number, from: number, start: number): Promise<number> {
    if (from <= start) return never
    const marks = this.#marks.get(partition) ?? []
    const nearest = marks.reduce<Mark>((best, mark) => (mark.next <= from && mark.next > best.next ? mark : best), {
      next: start,
      knownAtMs: never,
    })
    let { knownAtMs } = nearest
    for (let next = nearest.next; next < from;) {
      const chunk = await this.#log.fetch(this.#stream, partition, offset(next), scanBytes)
      if (chunk.nextOffset <= next)
        throw new FeatureStoreError('FS_LOG_CORRUPT', `${this.#stream}/${partition} ends at ${next}, before ${from}`)
      knownAtMs = Math.max(knownAtMs, newestTimestamp(chunk.bytes, next, from))
      next = chunk.nextOffset
    }
    return knownAtMs
  }
}

/** Places that are remembered of a partition: shards that were taken stand in many. */
const marksMax = 64

/** The newest timestamp of records [from, to) in whole batches: of batches that lie within, as their headers say. */
function newestTimestamp(bytes: Uint8Array, from: number, to: number): number {
  let newest = never
  for (let at = 0; at < bytes.length;) {
    const { baseOffset, lastOffsetDelta, byteLength, maxTimestamp } = batchHeader(bytes, at)
    if (baseOffset >= from && baseOffset + lastOffsetDelta < to) newest = Math.max(newest, maxTimestamp)
    else {
      const cursor = new RecordCursor()
      cursor.reset(bytes.subarray(at, at + byteLength))
      while (cursor.next())
        if (cursor.offset >= from && cursor.offset < to) newest = Math.max(newest, cursor.timestampMs)
    }
    at += byteLength
  }
  return newest
}
