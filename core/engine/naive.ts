/**
 * The plain twin: what every value means, by a full scan. The worker, the training-set builder and the offline path are
 * proved against it, bit for bit.
 */
import { aggregationOf } from '../aggregation/index.ts'
import { overflow } from '../aggregation/aggregation.ts'
import {
  compareEvents,
  happenedBefore,
  knownBy,
  refusal,
  seriesParts,
  ttlStart,
  windowEnd,
  windowStart,
  type AsOf,
  type Ordered,
} from '../asof/visible.ts'
import type { AggregationDefinition, FeatureDefinition, ViewDefinition, WindowDefinition } from '../definition/types.ts'
import type { Scalar } from '../event/types.ts'
import { interpret } from '../expression/interpret.ts'
import { typeOf, type FieldScope } from '../expression/types.ts'
import { Status, type FeatureValue, type StatusCode } from './feature-column.ts'

/** One event of one entity, as an object: here clarity wins over speed. */
export interface NaiveEvent extends Ordered {
  readonly fields: Readonly<Record<string, Scalar>>
}

export interface NaiveValue {
  readonly status: StatusCode
  readonly value: FeatureValue
  /** The events that the value rests on, in total order. */
  readonly events: readonly NaiveEvent[]
}

/** Events of the entity that the view takes and that lie below the position: `below(partition)` is the next offset. */
export const acceptedEvents = (
  view: ViewDefinition,
  events: readonly NaiveEvent[],
  below: (partition: number) => number,
): NaiveEvent[] =>
  events
    .filter(
      (event) => event.offset < below(event.partition) && refusal(event.eventTimeMs, event.knownAtMs, view) === null,
    )
    .sort(compareEvents)

/** Known by K and before T. */
export const isKnown = ({ knownAtMs, eventTimeMs }: Ordered, { asOfMs, knownAsOfMs }: AsOf): boolean =>
  knownBy(knownAtMs, knownAsOfMs) && happenedBefore(eventTimeMs, asOfMs)

/** What a window takes of the visible events, `visible` in total order. */
export function eventsInWindow<E extends Ordered>(
  window: WindowDefinition,
  visible: readonly E[],
  asOfMs: number,
  ttlMs: number | null,
): readonly E[] {
  const fromMs = windowStart(asOfMs, window, ttlMs)
  const toMs = windowEnd(asOfMs, window)
  const spanned = visible.filter(({ eventTimeMs }) => fromMs <= eventTimeMs && eventTimeMs < toMs)
  switch (window.kind) {
    case 'rows':
      return spanned.slice(-window.count)
    case 'session': {
      let start = spanned.length
      let nextMs = asOfMs
      while (start > 0 && nextMs - (spanned[start - 1] as E).eventTimeMs < window.gapMs)
        nextMs = (spanned[--start] as E).eventTimeMs
      return spanned.slice(start)
    }
    default:
      return spanned
  }
}

/**
 * F(feature, entity, T, K, P) for the events of one entity: `accepted` as acceptedEvents gives them.
 *
 * Statuses in precedence: NOT_FOUND, EXPIRED, OVERFLOW, NULL, PRESENT. A series of an entity with visible events is never
 * NULL: its items are what the function gives on each part, OVERFLOW in one part is that of the whole.
 */
export function naiveValue(
  view: ViewDefinition,
  fields: FieldScope,
  feature: FeatureDefinition,
  accepted: readonly NaiveEvent[],
  asOf: AsOf,
): NaiveValue {
  const { aggregation, window } = feature
  const counts = aggregation.function === 'count' || aggregation.function === 'distinctCount'
  const known = accepted.filter((event) => isKnown(event, asOf))
  if (known.length === 0)
    return { status: Status.NOT_FOUND, value: counts && window.kind !== 'series' ? 0n : null, events: [] }
  const visible = known.filter((event) => event.eventTimeMs >= ttlStart(asOf.asOfMs, view.ttlMs))
  if (visible.length === 0) return { status: Status.EXPIRED, value: null, events: [] }

  const over = (part: WindowDefinition): NaiveValue =>
    aggregate(aggregation, fields, eventsInWindow(part, visible, asOf.asOfMs, view.ttlMs))
  if (window.kind !== 'series') return over(window)
  const parts = seriesParts(window).map(over)
  const events = parts.flatMap((part) => part.events)
  return parts.some(({ status }) => status === Status.OVERFLOW)
    ? { status: Status.OVERFLOW, value: null, events }
    : { status: Status.PRESENT, value: parts.map(({ value }) => value as Scalar), events }
}

/** What a function makes of the events of a window, in total order. */
function aggregate(
  aggregation: AggregationDefinition,
  fields: FieldScope,
  inWindow: readonly NaiveEvent[],
): NaiveValue {
  const { input, where } = aggregation
  const algebra = aggregationOf(aggregation, input === null ? null : typeOf(input, fields))
  const events: NaiveEvent[] = []
  let accumulator = algebra.empty()
  for (const event of inWindow) {
    const field = (name: string): Scalar => event.fields[name] ?? null
    if (where !== undefined && interpret(where, field) !== true) continue
    const value = input === null ? null : interpret(input, field)
    if (input !== null && value === null) continue
    accumulator = algebra.add(accumulator, value)
    events.push(event)
  }
  const finished = algebra.finish(accumulator)
  if (finished === overflow) return { status: Status.OVERFLOW, value: null, events }
  return finished === null
    ? { status: Status.NULL, value: null, events }
    : { status: Status.PRESENT, value: finished, events }
}
