import { offset, type PartitionPosition } from '../core/event/position.ts'
import type { EventLog } from '../core/ports/event-log.ts'
import { RecordCursor } from '../schemas/recordbatch/index.ts'

/** How far a projection is behind the log in one partition. */
export interface PartitionLag {
  readonly stream: string
  readonly partition: number
  /** Where the log ends. */
  readonly end: number
  /** Everything below it is in the store. */
  readonly applied: number
  /** `end - applied`: records, where offsets are dense; else some of them belong to no record. */
  readonly offsets: number
  /**
   * How long ago the moment was through which everything known is in the store, milliseconds. 0 where nothing waits, so an
   * idle partition is current. Null: not known yet.
   */
  readonly lagMs: number | null
}

/** Lag over partitions in a few words. */
export interface LagSummary {
  readonly offsets: number
  /** Of the partition that is furthest behind in time, or null where that is not known. */
  readonly lagMs: number | null
  /** The partition that is furthest behind; null where none is. */
  readonly worst: { readonly stream: string; readonly partition: number } | null
}

/** Partitions of streams, by index. */
export type ByStream<T> = Readonly<Record<string, readonly T[]>>

export function summaryOf(lags: readonly PartitionLag[]): LagSummary {
  const behind = lags.filter(({ offsets }) => offsets > 0)
  const worst = behind.reduce<PartitionLag | null>((most, own) => (isWorse(own, most) ? own : most), null)
  return {
    offsets: behind.reduce((sum, { offsets }) => sum + offsets, 0),
    lagMs: worst === null ? 0 : worst.lagMs,
    worst: worst === null ? null : { stream: worst.stream, partition: worst.partition },
  }
}

/** By time where it is known, and what is not known is worst; then by offsets. */
function isWorse(own: PartitionLag, most: PartitionLag | null): boolean {
  if (most === null) return true
  const [a, b] = [own.lagMs ?? Number.POSITIVE_INFINITY, most.lagMs ?? Number.POSITIVE_INFINITY]
  return a > b || (a === b && own.offsets > most.offsets)
}

interface Mark {
  readonly next: number
  readonly knownAtMs: number
}

/** Marks of one partition between what is stored and what was read. With fewer, lag is told a little too high. */
const marksMax = 64

interface Metered {
  /** Ascending in `next`: what is read, and when the last record below there was known. */
  marks: Mark[]
  /** Below `storedNext` everything is stored, and was known by `throughMs`; null: not known. */
  storedNext: number
  throughMs: number | null
}

/**
 * Lag of one projection by what it reads and what its store holds, without a read of its own.
 *
 *     stored        read            end of the log
 *       │ k1    k2   │ k3              │
 *     ──┴────────────┴─────────────────┘      through = k1 (the newest knownAt below `stored`), lag = now - through
 *
 * When nothing waits, everything known by now is stored; what comes later was not there before, however long the partition
 * was idle.
 */
export class LagMeter {
  readonly #partitions = new Map<string, Metered>()

  #of(stream: string, partition: number): Metered {
    const name = `${stream}/${partition}`
    const there = this.#partitions.get(name)
    if (there !== undefined) return there
    const fresh: Metered = { marks: [], storedNext: 0, throughMs: null }
    this.#partitions.set(name, fresh)
    return fresh
  }

  /** Records below `next` were read, the newest of them known at `knownAtMs`; -Infinity: there was none. */
  read(stream: string, partition: number, next: number, knownAtMs: number): void {
    if (knownAtMs === Number.NEGATIVE_INFINITY) return
    const metered = this.#of(stream, partition)
    const { marks } = metered
    const at = marks.findLastIndex((mark) => mark.next <= next)
    if (marks[at]?.next === next) marks[at] = { next, knownAtMs }
    else marks.splice(at + 1, 0, { next, knownAtMs })
    // The first and the last stay.
    if (marks.length > marksMax)
      metered.marks = marks.filter((_, index) => index % 2 === 0 || index === marks.length - 1)
  }

  measure(ends: ByStream<PartitionPosition>, stored: ByStream<PartitionPosition>, nowMs: number): PartitionLag[] {
    return Object.entries(ends).flatMap(([stream, partitions]) =>
      partitions.map(({ next: end }, partition) => {
        const applied = Math.min(end, stored[stream]?.[partition]?.next ?? 0)
        const metered = this.#of(stream, partition)
        settle(metered, applied)
        const offsets = end - applied
        if (offsets === 0) metered.throughMs = nowMs
        const { throughMs } = metered
        return { stream, partition, end, applied, offsets, lagMs: lagMsOf(offsets, throughMs, nowMs) }
      }),
    )
  }
}

const lagMsOf = (offsets: number, throughMs: number | null, nowMs: number): number | null =>
  offsets === 0 ? 0 : throughMs === null ? null : Math.max(0, nowMs - throughMs)

/** The store stands at `applied` now. */
function settle(metered: Metered, applied: number): void {
  // It has lost something: what was known of it is no longer so.
  if (applied < metered.storedNext) metered.throughMs = null
  metered.storedNext = applied
  const passed = metered.marks.filter(({ next }) => next <= applied)
  metered.marks = metered.marks.slice(passed.length)
  const knownAtMs = passed.at(-1)?.knownAtMs
  if (knownAtMs !== undefined) metered.throughMs = Math.max(knownAtMs, metered.throughMs ?? knownAtMs)
}

/** The least of several positions in every partition that `ends` names; one that is absent has nothing. */
export function leastOf(
  ends: ByStream<PartitionPosition>,
  positions: readonly ByStream<PartitionPosition>[],
): Readonly<Record<string, PartitionPosition[]>> {
  const least = (stream: string, partition: number, epoch: number): PartitionPosition => {
    const nexts = positions.map((position) => position[stream]?.[partition] ?? { epoch, next: offset(0) })
    return nexts.reduce((low, own) => (own.next < low.next ? own : low), nexts[0] ?? { epoch, next: offset(0) })
  }
  return Object.fromEntries(
    Object.entries(ends).map(([stream, partitions]) => [
      stream,
      partitions.map(({ epoch }, partition) => least(stream, partition, epoch)),
    ]),
  )
}

/** Enough for a batch or a few. */
const lookBytes = 64 * 1024

/**
 * When the first record at or behind an offset was known, as its timestamp says; null where none follows. Everything known
 * before that is below the offset. Errors: those of `EventLog.fetch`.
 */
export async function knownAtFrom(
  log: EventLog,
  stream: string,
  partition: number,
  from: number,
): Promise<number | null> {
  const cursor = new RecordCursor()
  for (let at = from; ;) {
    const { bytes, nextOffset } = await log.fetch(stream, partition, offset(at), lookBytes)
    cursor.reset(bytes)
    while (cursor.next()) if (cursor.offset >= from) return cursor.timestampMs
    if (nextOffset <= at) return null
    at = nextOffset
  }
}

/**
 * Lag of a store, from outside of its worker: the log is read where something waits, once for each place.
 *
 * Errors: none: a log that cannot be read there leaves `lagMs` null.
 */
export class LogLag {
  readonly #log: EventLog
  readonly #ends: ByStream<PartitionPosition>
  readonly #nowMs: number
  readonly #waiting = new Map<string, Promise<number | null>>()

  constructor(log: EventLog, ends: ByStream<PartitionPosition>, nowMs: number) {
    this.#log = log
    this.#ends = ends
    this.#nowMs = nowMs
  }

  /** Of what stands at a position, in the streams that are named. */
  async of(position: ByStream<PartitionPosition>, streams: readonly string[]): Promise<PartitionLag[]> {
    const asked = streams.flatMap((stream) =>
      (this.#ends[stream] ?? []).map(async ({ next: end }, partition): Promise<PartitionLag> => {
        const applied = Math.min(end, position[stream]?.[partition]?.next ?? 0)
        const waitingMs = end === applied ? null : await this.#waitingAt(stream, partition, applied)
        return {
          stream,
          partition,
          end,
          applied,
          offsets: end - applied,
          lagMs: lagMsOf(end - applied, waitingMs, this.#nowMs),
        }
      }),
    )
    return Promise.all(asked)
  }

  #waitingAt(stream: string, partition: number, at: number): Promise<number | null> {
    const name = `${stream}/${partition}@${at}`
    const there = this.#waiting.get(name)
    if (there !== undefined) return there
    const asked = knownAtFrom(this.#log, stream, partition, at).catch(() => null)
    this.#waiting.set(name, asked)
    return asked
  }
}
