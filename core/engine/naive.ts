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
import type {
  AggregationDefinition,
  FeatureDefinition,
  StreamDefinition,
  ViewDefinition,
  WindowDefinition,
} from '../definition/types.ts'
import { FeatureStoreError } from '../errors.ts'
import { encodeKey } from '../event/key.ts'
import { Op, type OpCode } from '../event/operation.ts'
import type { FieldType, Scalar } from '../event/types.ts'
import { interpret } from '../expression/interpret.ts'
import { itemTypeOf, type FieldScope } from '../expression/types.ts'
import { Status, type FeatureValue, type StatusCode } from './feature-column.ts'

/** One event of one entity, as an object: here clarity wins over speed. */
export interface NaiveEvent extends Ordered {
  readonly fields: Readonly<Record<string, Scalar>>
  /** Absent: the stream's default, insert, or upsert of a changelog. */
  readonly op?: OpCode
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

/** Order in which records came to be known. */
const compareKnown = (a: Ordered, b: Ordered): number =>
  a.knownAtMs - b.knownAtMs || a.partition - b.partition || a.offset - b.offset

const textOf = (values: readonly (Scalar | undefined)[]): string =>
  JSON.stringify(values.map((value) => `${typeof value} ${String(value)}`))

/** The entity of a record as one text, null for a key that is null or too long. */
function entityText(view: ViewDefinition, fields: FieldScope, event: NaiveEvent): string | null {
  const key = view.keyFields.map((name) => event.fields[name] ?? null)
  try {
    encodeKey(
      key,
      view.keyFields.map((name) => (fields[name] as FieldType).type),
    )
    return textOf(key)
  } catch (error) {
    if (error instanceof FeatureStoreError && error.code === 'FS_ENTITY_INVALID') return null
    throw error
  }
}

/** Records that do not count at K because of another one, with that one: what it duplicates, or what took it back. */
export type Corrections = ReadonlyMap<NaiveEvent, NaiveEvent>

/**
 * Replays the records that were known by K, in the order in which they came to be known, and says which of them others
 * correct; core/asof/corrections.ts has the rules. `accepted` are records that the view takes (acceptedEvents), of any
 * entity: at least all that share an id, or a primary key, with one that is asked for.
 */
export function correctionsAt(
  stream: StreamDefinition,
  view: ViewDefinition,
  accepted: readonly NaiveEvent[],
  knownAsOfMs: number,
): Corrections {
  const corrected = new Map<NaiveEvent, NaiveEvent>()
  const known = accepted.filter(({ knownAtMs }) => knownBy(knownAtMs, knownAsOfMs)).sort(compareKnown)
  const { id, dedupeSpanMs = 0, primaryKey } = stream
  if (id !== undefined) {
    const groups = new Map<string, { readonly inserts: NaiveEvent[]; readonly retracts: NaiveEvent[] }>()
    for (const event of known) {
      const entity = entityText(view, stream.fields, event)
      if (entity === null) continue
      const name = JSON.stringify([textOf([event.fields[id], event.eventTimeMs]), entity])
      const group = groups.get(name) ?? { inserts: [], retracts: [] }
      groups.set(name, group)
      const firsts = event.op === Op.retract ? group.retracts : group.inserts
      const first = firsts.at(-1)
      if (first !== undefined && event.knownAtMs - first.knownAtMs <= dedupeSpanMs) corrected.set(event, first)
      else firsts.push(event)
    }
    for (const { inserts, retracts } of groups.values())
      inserts.forEach((insert, index) => {
        const retract = retracts[index]
        if (retract !== undefined) corrected.set(insert, retract)
      })
  }
  if (primaryKey !== undefined) {
    const rows = new Map<string, NaiveEvent>()
    for (const event of known) {
      if (event.op !== Op.delete && entityText(view, stream.fields, event) === null) continue
      const name = textOf(primaryKey.map((field) => event.fields[field]))
      const before = rows.get(name)
      if (before !== undefined) corrected.set(before, event)
      if (event.op === Op.delete) rows.delete(name)
      else rows.set(name, event)
    }
  }
  return corrected
}

/** Duplicates that say something else than the first one: dead letters of the view, FS_DEAD_DUPLICATE_DIFFERS. */
export const differingDuplicates = (
  stream: StreamDefinition,
  view: ViewDefinition,
  accepted: readonly NaiveEvent[],
): NaiveEvent[] =>
  [...correctionsAt(stream, view, accepted, Number.POSITIVE_INFINITY)]
    .filter(
      ([event, first]) =>
        stream.id !== undefined &&
        event.op !== Op.retract &&
        first.op !== Op.retract &&
        Object.keys(stream.fields).some(
          (name) => name !== stream.op && !Object.is(event.fields[name] ?? null, first.fields[name] ?? null),
        ),
    )
    .map(([event]) => event)

/**
 * The records that count at K, of whatever entity, in total order: for naiveValue, when those of one entity are chosen.
 * Of a stream without corrections they are all that are known by K.
 */
export function countingEvents(
  stream: StreamDefinition,
  view: ViewDefinition,
  accepted: readonly NaiveEvent[],
  knownAsOfMs: number,
): NaiveEvent[] {
  const corrected = correctionsAt(stream, view, accepted, knownAsOfMs)
  return accepted.filter(
    (event) =>
      knownBy(event.knownAtMs, knownAsOfMs) &&
      event.op !== Op.retract &&
      event.op !== Op.delete &&
      !corrected.has(event) &&
      entityText(view, stream.fields, event) !== null,
  )
}

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
 * F(feature, entity, T, K, P) for the events of one entity: `accepted` as acceptedEvents gives them, or countingEvents
 * where records can take back others.
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
  const { type, scale } = input === null ? { type: null } : itemTypeOf(input, fields)
  const algebra = aggregationOf(aggregation, type, scale)
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
