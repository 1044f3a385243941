/**
 * What counts at an as-of, decided once: every path (worker, training set, audit, offline store) takes its boundary here.
 *
 *     visible at (T, K, P):  offset < P[partition]  and  knownAt <= K  and  T - ttl <= eventTime < T
 *
 * Strictly before T: a value never rests on what happened at T or later. A window takes its part of the visible events,
 * and nothing but them decides which part.
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

/** Start of the interval that holds T: the multiple of its length at or before it, also before 1970. */
const alignedStart = (asOfMs: number, spanMs: number): number => {
  const into = asOfMs % spanMs
  return asOfMs - (into < 0 ? into + spanMs : into)
}

/**
 * The first event time that a window may take at T: inclusive. What lies in [windowStart, windowEnd) is all of the window,
 * but of `rows` and `session` the last ones only. Never before the ttl, which is at least the window's reach.
 */
export function windowStart(asOfMs: number, window: WindowDefinition, ttlMs: number | null): number {
  switch (window.kind) {
    case 'sliding': {
      const startMs = asOfMs - window.spanMs - (window.endsBeforeMs ?? 0)
      return window.resolutionMs === undefined ? startMs : alignedStart(startMs, window.resolutionMs)
    }
    case 'series':
      return asOfMs - window.spanMs
    case 'tumbling':
      return alignedStart(asOfMs, window.spanMs) - (window.take === 'last' ? window.spanMs : 0)
    case 'lifetime':
    case 'rows':
    case 'session':
      return ttlStart(asOfMs, ttlMs)
  }
}

/** Where a window ends at T: exclusive, never after T. */
export function windowEnd(asOfMs: number, window: WindowDefinition): number {
  switch (window.kind) {
    case 'sliding':
      return asOfMs - (window.endsBeforeMs ?? 0)
    case 'tumbling':
      return window.take === 'last' ? alignedStart(asOfMs, window.spanMs) : asOfMs
    case 'series':
    case 'lifetime':
    case 'rows':
    case 'session':
      return asOfMs
  }
}

/** How far before T a window looks at most, milliseconds; Infinity without a bound. */
export function windowReachMs(window: WindowDefinition, ttlMs: number | null): number {
  switch (window.kind) {
    case 'sliding':
      return window.spanMs + (window.endsBeforeMs ?? 0) + (window.resolutionMs ?? 0)
    case 'series':
      return window.spanMs
    case 'tumbling':
      return window.take === 'last' ? 2 * window.spanMs : window.spanMs
    case 'lifetime':
    case 'rows':
    case 'session':
      return ttlMs ?? Number.POSITIVE_INFINITY
  }
}

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
