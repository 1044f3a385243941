import { jumps } from '../core/asof/known-at.ts'
import { FeatureStoreError } from '../core/errors.ts'
import type { DeadRecord, EventBatch } from '../core/event/batch.ts'
import { withDead } from '../core/event/batch-ops.ts'
import { offset, type Offset } from '../core/event/position.ts'
import type { EventLog } from '../core/ports/event-log.ts'
import { durationText } from '../core/definition/format.ts'
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
 * is known from a position that was stored. Records that jump are given as dead ones and leave the maximum where it is.
 *
 * core/asof/known-at.ts says the same for a list.
 */
export class RunningKnownAt {
  readonly #log: EventLog
  readonly #stream: string
  readonly #maxJumpMs: number
  /** By partition; of readers that take turns, the last places of each. */
  readonly #marks = new Map<number, readonly Mark[]>()
  /** Records that were raised. */
  clamped = 0

  /** `maxJumpMs`: Infinity without a bound. */
  constructor(log: EventLog, stream: string, maxJumpMs = Number.POSITIVE_INFINITY) {
    this.#log = log
    this.#stream = stream
    this.#maxJumpMs = maxJumpMs
  }

  /** Says what is the maximum below a place. */
  learn(partition: number, next: number, knownAtMs: number): void {
    const others = (this.#marks.get(partition) ?? []).filter((mark) => mark.next !== next)
    this.#marks.set(partition, [{ next, knownAtMs }, ...others].slice(0, marksMax))
  }

  /**
   * A batch with the maximum applied, from that below it on: its arrays are written to. `bytes`: the chunk that it was
   * decoded from.
   */
  raise(batch: EventBatch, floor: number, bytes: Uint8Array): EventBatch {
    const { newestMs, dead, jumped } = this.#apply(batch, floor)
    this.learn(batch.partition, batch.nextOffset, newestMs)
    const raised = { ...batch, dead, newestKnownAtMs: newestMs }
    return jumped.length === 0 ? raised : this.#withoutJumped(raised, jumped, bytes)
  }

  #apply({ offsets, knownAts, count, dead }: EventBatch, floor: number) {
    const jumped: Jumped[] = []
    let newestMs = floor
    let row = 0
    const rowsBelow = (end: number): void => {
      for (; row < count && (offsets[row] as number) < end; row++) {
        const timeMs = knownAts[row] as number
        if (timeMs < newestMs) {
          knownAts[row] = newestMs
          this.clamped++
        } else if (jumps(timeMs, newestMs, this.#maxJumpMs)) jumped.push({ row, timeMs, newestMs })
        else newestMs = timeMs
      }
    }
    const raised = dead.map((record): DeadRecord => {
      rowsBelow(record.offset)
      if (record.knownAt < newestMs) this.clamped++
      if (!jumps(record.knownAt, newestMs, this.#maxJumpMs)) newestMs = Math.max(newestMs, record.knownAt)
      return record.knownAt === newestMs ? record : { ...record, knownAt: newestMs }
    })
    rowsBelow(Number.POSITIVE_INFINITY)
    return { newestMs, dead: raised, jumped }
  }

  #withoutJumped(batch: EventBatch, jumped: readonly Jumped[], bytes: Uint8Array): EventBatch {
    const places = jumped.map(({ row }) => batch.offsets[row] as number)
    const payloads = valuesAt(bytes, new Set(places))
    const dead = jumped.map(({ timeMs, newestMs }, index): DeadRecord => ({
      offset: offset(places[index] as number),
      knownAt: newestMs,
      code: 'FS_DEAD_KNOWN_AT',
      reason: `known at ${timeMs}, ${timeMs - newestMs} ms beyond all before it: more than maxKnownAtJump of ${durationText(this.#maxJumpMs)}`,
      payload: payloads.get(places[index] as number) ?? new Uint8Array(0),
    }))
    return withDead(
      batch,
      jumped.map(({ row }) => row),
      dead,
    )
  }

  /** Whether `below` need not ask the log. */
  knows(partition: number, from: Offset, start: Offset): boolean {
    return from <= start || this.#marks.get(partition)?.some(({ next }) => next === from) === true
  }

  /**
   * The maximum below a place, -Infinity at the start of the partition. Fetches from the log where it is not known: before
   * the chunk at the place is, since that one may be gone then. Errors: those of the log.
   */
  async below(partition: number, from: Offset, start: Offset): Promise<number> {
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
      knownAtMs = newestTimestamp(chunk.bytes, {
        from: next,
        to: from,
        newestMs: knownAtMs,
        maxJumpMs: this.#maxJumpMs,
      })
      next = chunk.nextOffset
    }
    this.learn(partition, from, knownAtMs)
    return knownAtMs
  }
}

/** Places that are remembered of a partition: shards that were taken stand in many. */
const marksMax = 64

interface Jumped {
  readonly row: number
  readonly timeMs: number
  /** The maximum that it jumped from. */
  readonly newestMs: number
}

interface Stretch {
  readonly from: number
  readonly to: number
  /** The maximum below `from`. */
  readonly newestMs: number
  readonly maxJumpMs: number
}

/** The maximum below `to`: of batches that lie within and in which nothing can jump, as their headers say. */
function newestTimestamp(bytes: Uint8Array, { from, to, newestMs, maxJumpMs }: Stretch): number {
  let newest = newestMs
  for (let at = 0; at < bytes.length;) {
    const { baseOffset, lastOffsetDelta, byteLength, maxTimestamp } = batchHeader(bytes, at)
    const isWithin = baseOffset >= from && baseOffset + lastOffsetDelta < to
    if (isWithin && maxTimestamp - newest <= maxJumpMs) newest = Math.max(newest, maxTimestamp)
    else {
      const cursor = new RecordCursor()
      cursor.reset(bytes.subarray(at, at + byteLength))
      while (cursor.next())
        if (cursor.offset >= from && cursor.offset < to && !jumps(cursor.timestampMs, newest, maxJumpMs))
          newest = Math.max(newest, cursor.timestampMs)
    }
    at += byteLength
  }
  return newest
}

/** Copies of the values at these offsets. */
function valuesAt(bytes: Uint8Array, offsets: ReadonlySet<number>): Map<number, Uint8Array> {
  const found = new Map<number, Uint8Array>()
  const cursor = new RecordCursor()
  cursor.reset(bytes)
  while (cursor.next() && found.size < offsets.size)
    if (offsets.has(cursor.offset))
      found.set(cursor.offset, cursor.bytes.slice(Math.max(cursor.valueStart, 0), Math.max(cursor.valueEnd, 0)))
  return found
}
