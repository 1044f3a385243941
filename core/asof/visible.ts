/**
 * What counts at an as-of, decided once: every path (worker, training set, audit, offline store) takes its boundary here.
 *
 *     visible at (T, K, P):  offset < P[partition]  and  knownAt <= K  and  T - ttl <= eventTime < T
 *
 * Strictly before T: a value never rests on what happened at T or later.
 */
import type { WindowDefinition } from '../definition/types.ts'
import type { ErrorCode } from '../errors.ts'

/** As-of event time T and known-as-of K, epoch milliseconds; K may be +Infinity: everything applied. */
export interface AsOf {
  readonly asOfMs: number
  readonly knownAsOfMs: number
}

export const happenedBefore = (eventTimeMs: number, asOfMs: number): boolean => eventTimeMs < asOfMs
export const knownBy = (knownAtMs: number, knownAsOfMs: number): boolean => knownAtMs <= knownAsOfMs

/** The earliest event time that counts: inclusive; -Infinity without a bound. */
export const ttlStart = (asOfMs: number, ttlMs: number | null): number =>
  ttlMs === null ? Number.NEGATIVE_INFINITY : asOfMs - ttlMs

/** The first event time inside the window that ends at T (exclusive): inclusive. A window is never longer than the ttl. */
export const windowStart = (asOfMs: number, window: WindowDefinition, ttlMs: number | null): number =>
  window.kind === 'sliding' ? asOfMs - window.spanMs : ttlStart(asOfMs, ttlMs)

/** How far before T a window looks, milliseconds. */
export const windowReachMs = (window: WindowDefinition, ttlMs: number | null): number =>
  window.kind === 'sliding' ? window.spanMs : (ttlMs ?? Number.POSITIVE_INFINITY)

export interface Acceptance {
  readonly latenessMs: number | null
  readonly maxAheadMs: number
}

/** Too late and too early are properties of the event alone. Null when the view takes it. */
export function refusal(eventTimeMs: number, knownAtMs: number, view: Acceptance): ErrorCode | null {
  if (view.latenessMs !== null && knownAtMs - eventTimeMs > view.latenessMs) return 'FS_DEAD_TOO_LATE'
  if (eventTimeMs - knownAtMs > view.maxAheadMs) return 'FS_DEAD_TOO_EARLY'
  return null
}

/** The total order of events of one stream: (eventTime, knownAt, partition, offset). Settles every tie. */
export interface Ordered {
  readonly eventTimeMs: number
  readonly knownAtMs: number
  readonly partition: number
  readonly offset: number
}

export const compareEvents = (a: Ordered, b: Ordered): number =>
  a.eventTimeMs - b.eventTimeMs || a.knownAtMs - b.knownAtMs || a.partition - b.partition || a.offset - b.offset
