/**
 * What counts at an as-of, decided once: every path (worker, training set, audit, offline store) takes its boundary here.
 *
 *     visible at (T, K, P):  offset < P[partition]  and  knownAt <= K  and  T - ttl <= eventTime < T
 *
 * Strictly before T: a value never rests on what happened at T or later. A window takes its part of the visible events,
 * and nothing but them decides which part.
 */
import type { WindowDefinition } from '../definition/types.ts'
import { FeatureStoreError, type ErrorCode } from '../errors.ts'
import { dayMs } from '../time/time.ts'
import { intervalStart, zoneOf, type Zone } from '../time/zone.ts'

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

type Sliding = Extract<WindowDefinition, { readonly kind: 'sliding' }>
type Tumbling = Extract<WindowDefinition, { readonly kind: 'tumbling' }>
export type Series = Extract<WindowDefinition, { readonly kind: 'series' }>

/**
 * The table that a definition was made with.
 *
 * Errors: FS_NOT_APPLIED where this runtime has other time zone data: its values would have another fingerprint.
 */
function tableOf({ name, digest }: NonNullable<Tumbling['zone']>): Zone {
  const zone = zoneOf(name)
  if (zone.digest === digest) return zone
  throw new FeatureStoreError(
    'FS_NOT_APPLIED',
    `the time zone data of ${name} here is ${zone.digest}, the definitions applied were made with ${digest}`,
  )
}

/** Start of the interval of a tumbling window that holds T, of the one before it, or of the one behind it. */
function tumblingStart(asOfMs: number, { spanMs, zone }: Tumbling, back: 0 | 1 | -1): number {
  if (zone === undefined) return alignedStart(asOfMs, spanMs) - back * spanMs
  return intervalStart(tableOf(zone), asOfMs, spanMs / dayMs, back)
}

/**
 * The first event time that a window may take at T: inclusive. What lies in [windowStart, windowEnd) is all of the window,
 * but of `rows` and `session` the last ones only. Never before the ttl, which cuts what a resolution or a day of 25 hours
 * adds to a window.
 */
export function windowStart(asOfMs: number, window: WindowDefinition, ttlMs: number | null): number {
  const earliestMs = ttlStart(asOfMs, ttlMs)
  switch (window.kind) {
    case 'sliding': {
      const startMs = asOfMs - window.spanMs - (window.endsBeforeMs ?? 0)
      return Math.max(
        earliestMs,
        window.resolutionMs === undefined ? startMs : alignedStart(startMs, window.resolutionMs),
      )
    }
    case 'series':
      return asOfMs - window.spanMs
    case 'tumbling':
      return Math.max(earliestMs, tumblingStart(asOfMs, window, window.take === 'last' ? 1 : 0))
    case 'lifetime':
    case 'rows':
    case 'session':
      return earliestMs
  }
}

/** Where a window ends at T: exclusive, never after T. */
export function windowEnd(asOfMs: number, window: WindowDefinition): number {
  switch (window.kind) {
    case 'sliding':
      return asOfMs - (window.endsBeforeMs ?? 0)
    case 'tumbling':
      return window.take === 'last' ? tumblingStart(asOfMs, window, 0) : asOfMs
    case 'series':
    case 'lifetime':
    case 'rows':
    case 'session':
      return asOfMs
  }
}

/** The first moment behind T at which a tumbling window is about another interval. */
export const intervalEnd = (asOfMs: number, window: Tumbling): number => tumblingStart(asOfMs, window, -1)

/** The first T at which a sliding window has left an event behind, the ttl aside. */
export const leftBehindAt = (timeMs: number, { spanMs, endsBeforeMs = 0, resolutionMs }: Sliding): number =>
  (resolutionMs === undefined ? timeMs + 1 : alignedStart(timeMs, resolutionMs) + resolutionMs) + spanMs + endsBeforeMs

/**
 * The windows of a series, oldest first, each of which gives one item: [T - span, T - span + step) and so on to
 * [T - step, T).
 */
export const seriesParts = ({ spanMs, stepMs }: Series): WindowDefinition[] =>
  Array.from({ length: spanMs / stepMs }, (_, part): WindowDefinition => {
    const endsBeforeMs = spanMs - (part + 1) * stepMs
    return { kind: 'sliding', spanMs: stepMs, ...(endsBeforeMs === 0 ? {} : { endsBeforeMs }) }
  })

/** The shortest ttl that a view with this window may have, milliseconds: 0 where the ttl is what bounds the window. */
export function ttlMinMs(window: WindowDefinition): number {
  switch (window.kind) {
    case 'sliding':
      return window.spanMs + (window.endsBeforeMs ?? 0)
    case 'series':
      return window.spanMs
    case 'tumbling':
      return window.take === 'last' ? 2 * window.spanMs : window.spanMs
    case 'lifetime':
    case 'rows':
    case 'session':
      return 0
  }
}

/** Local days are longer than 24 hours where clocks are put back: two intervals by a day at most, when a date comes twice. */
const zoneSlackMs = 2 * dayMs

/** How far before T a window looks at most, milliseconds, and so what rows must keep; Infinity without a bound. */
export function windowReachMs(window: WindowDefinition, ttlMs: number | null): number {
  const longestMs = ttlMs ?? Number.POSITIVE_INFINITY
  switch (window.kind) {
    case 'sliding':
      return Math.min(longestMs, ttlMinMs(window) + (window.resolutionMs ?? 0))
    case 'series':
      return window.spanMs
    case 'tumbling':
      return Math.min(longestMs, ttlMinMs(window) + (window.zone === undefined ? 0 : zoneSlackMs))
    case 'lifetime':
    case 'rows':
    case 'session':
      return longestMs
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
