import {
  compareEvents,
  happenedBefore,
  knownBy,
  ttlStart,
  windowEnd,
  windowStart,
  type AsOf,
} from '../../core/asof/visible.ts'
import {
  featureOf,
  fieldsAggregated,
  keyTypesOf,
  streamOf,
  viewOf,
  type Catalog,
} from '../../core/definition/catalog.ts'
import { defaultOp, isCorrectable, takesBack } from '../../core/definition/corrections.ts'
import { featureFingerprint } from '../../core/definition/fingerprint.ts'
import type { FeatureDefinition, ViewDefinition } from '../../core/definition/types.ts'
import type { FeatureValue, StatusCode } from '../../core/engine/feature-column.ts'
import {
  acceptedEvents,
  correctionsAt,
  countingEvents,
  eventsInWindow,
  isKnown,
  naiveValue,
  type Corrections,
  type NaiveEvent,
} from '../../core/engine/naive.ts'
import { FeatureStoreError } from '../../core/errors.ts'
import { Op, opNames, type OpName } from '../../core/event/operation.ts'
import { nextOffset, type Position } from '../../core/event/position.ts'
import type { Scalar } from '../../core/event/types.ts'
import { interpret } from '../../core/expression/interpret.ts'
import { EntitySelection, readHistory, type EventSource } from './entity-history.ts'

/** One event behind a value, and where it lies in the log. */
export interface ExplainedEvent {
  readonly stream: string
  readonly partition: number
  readonly offset: number
  readonly eventTimeMs: number
  readonly knownAtMs: number
  /** The fields that the feature reads, its condition's too; none for `count()`. */
  readonly fields: Readonly<Record<string, Scalar>>
}

/** An event that does not count at K because of another record, and that one. */
export interface CorrectedEvent extends ExplainedEvent {
  /** `insert`: it is a duplicate of that one; `retract`, `upsert`, `delete`: that one took it back, or its place. */
  readonly by: Pick<ExplainedEvent, 'partition' | 'offset' | 'knownAtMs'> & { readonly op: OpName }
}

/**
 * Why an event of the entity below the position does not count. Each event has one reason: the first that holds, in the
 * order of this list.
 */
export const exclusions = [
  'refused',
  'atOrAfterAsOf',
  'notKnown',
  'corrected',
  'beforeWindow',
  'afterWindow',
  'notWhere',
  'nullInput',
] as const
export type Exclusion = (typeof exclusions)[number]

export interface Explanation {
  readonly status: StatusCode
  readonly value: FeatureValue
  readonly fingerprint: string
  /** The events that the value rests on, in total order. */
  readonly events: readonly ExplainedEvent[]
  /** Event times that the window covers: half-open, epoch milliseconds; from -Infinity for a lifetime without a ttl. */
  readonly window: readonly [fromMs: number, toMs: number]
  /**
   * Events left out: `refused` too late or too early for the view, `atOrAfterAsOf` happened at T or later, `notKnown`
   * by K, `corrected` a duplicate, or taken back by K, `beforeWindow` older than the window (and so perhaps than the ttl), `afterWindow` newer than a window that ends
   * before T, `notWhere` not true of the feature's condition, `nullInput` nothing to aggregate.
   */
  readonly excluded: Readonly<Record<Exclusion, number>>
  /** Of those `corrected`, the ones within the window, in total order. */
  readonly corrected: readonly CorrectedEvent[]
}

export interface ExplainOptions {
  readonly catalog: Catalog
  /** `view:feature` */
  readonly reference: string
  /** By key field. */
  readonly entities: Readonly<Record<string, Scalar>>
  readonly asOfMs: number
  /** Infinity: everything below the position. */
  readonly knownAsOfMs: number
  readonly position: Position
  /** A reader of the view's stream. */
  readonly reader: EventSource
}

/**
 * One value and the events it rests on, from the log by the plain twin: the stream is read up to the position.
 *
 * Errors: FS_REQUEST_INVALID, FS_VIEW_UNKNOWN, FS_FEATURE_UNKNOWN, FS_ENTITY_INVALID, FS_HISTORY_TRIMMED.
 */
export async function explainValue(options: ExplainOptions): Promise<Explanation> {
  const { catalog, reference, entities, asOfMs, knownAsOfMs, position, reader } = options
  const named = parseReference(reference)
  const view = viewOf(catalog, named.view)
  const feature = featureOf(catalog, named)
  const stream = streamOf(catalog, view.from)
  if (reader.stream.name !== stream.name)
    throw new FeatureStoreError('FS_REQUEST_INVALID', `${reference} is over ${stream.name}, not ${reader.stream.name}`)

  const selection = new EntitySelection(view, keyTypesOf(catalog, view))
  const entity = selection.add(view.keyFields.map((field) => entities[field] ?? null))
  const fields = fieldsAggregated(feature.aggregation)
  const history = await readHistory(reader, position.streams[stream.name] ?? [], [selection], fields)
  const below = (partition: number): number => nextOffset(position, stream.name, partition)
  const records = history.eventsOf(selection, entity)
  const isOwn = (event: NaiveEvent): boolean => selection.indexOf(event) === entity && !takesBack(event.op ?? Op.insert)
  const correctable = isCorrectable(stream)
  const own = records.filter((event) => event.offset < below(event.partition) && (!correctable || isOwn(event)))
  const asOf: AsOf = { asOfMs, knownAsOfMs }
  const accepted = acceptedEvents(view, records, below)
  const counting = correctable ? countingEvents(stream, view, accepted, knownAsOfMs).filter(isOwn) : accepted
  const corrections: Corrections = correctable ? correctionsAt(stream, view, accepted, knownAsOfMs) : new Map()
  const { status, value, events } = naiveValue(view, stream.fields, feature, counting, asOf)
  const inWindow = windowEvents(view, feature, counting, asOf)
  const window = spanOf(view, feature, inWindow, asOfMs)
  const explained = ({ fields: all, op: _, ...event }: NaiveEvent): ExplainedEvent => ({
    stream: stream.name,
    ...event,
    fields: Object.fromEntries(fields.map((name) => [name, all[name] ?? null])),
  })
  return {
    status,
    value,
    fingerprint: featureFingerprint(catalog, named),
    events: events.map(explained),
    window,
    excluded: countExcluded(feature, own, { accepted, inWindow, corrections }, asOf),
    corrected: own
      .filter(({ eventTimeMs }) => window[0] <= eventTimeMs && eventTimeMs < window[1])
      .sort(compareEvents)
      .flatMap((event): CorrectedEvent[] => {
        const by = corrections.get(event)
        if (by === undefined) return []
        const { partition, offset, knownAtMs, op = defaultOp(stream) } = by
        return [{ ...explained(event), by: { partition, offset, knownAtMs, op: opNames[op] as OpName } }]
      }),
  }
}

function parseReference(text: string): { readonly view: string; readonly feature: string } {
  const [view = '', feature = '', ...rest] = text.split(':')
  if (view === '' || feature === '' || rest.length > 0)
    throw new FeatureStoreError(
      'FS_REQUEST_INVALID',
      `${JSON.stringify(text)} is no feature reference: write view:feature`,
    )
  return { view, feature }
}

/** Event times of a window; one that is cut by its events begins with the first of them. */
function spanOf(
  view: ViewDefinition,
  { window }: FeatureDefinition,
  inWindow: readonly NaiveEvent[],
  asOfMs: number,
): Explanation['window'] {
  const endMs = windowEnd(asOfMs, window)
  const cutByEvents = window.kind === 'rows' || window.kind === 'session'
  return [cutByEvents ? (inWindow[0]?.eventTimeMs ?? endMs) : windowStart(asOfMs, window, view.ttlMs), endMs]
}

/** What the feature's window takes of the events, whether or not their input is null. */
function windowEvents(
  view: ViewDefinition,
  { window }: FeatureDefinition,
  accepted: readonly NaiveEvent[],
  asOf: AsOf,
): readonly NaiveEvent[] {
  const fromMs = ttlStart(asOf.asOfMs, view.ttlMs)
  const visible = accepted.filter((event) => isKnown(event, asOf) && event.eventTimeMs >= fromMs)
  return eventsInWindow(window, visible, asOf.asOfMs, view.ttlMs)
}

function countExcluded(
  feature: FeatureDefinition,
  events: readonly NaiveEvent[],
  counted: {
    readonly accepted: readonly NaiveEvent[]
    readonly inWindow: readonly NaiveEvent[]
    readonly corrections: Corrections
  },
  asOf: AsOf,
): Record<Exclusion, number> {
  const counts = Object.fromEntries(exclusions.map((exclusion) => [exclusion, 0])) as Record<Exclusion, number>
  const accepted = new Set(counted.accepted)
  const inWindow = new Set(counted.inWindow)
  for (const event of events) {
    const exclusion = accepted.has(event) ? exclusionOf(feature, event, inWindow, counted.corrections, asOf) : 'refused'
    if (exclusion !== null) counts[exclusion]++
  }
  return counts
}

/** Why an event that the view takes does not count. */
function exclusionOf(
  { aggregation: { input, where }, window }: FeatureDefinition,
  event: NaiveEvent,
  inWindow: ReadonlySet<NaiveEvent>,
  corrections: Corrections,
  { asOfMs, knownAsOfMs }: AsOf,
): Exclusion | null {
  if (!happenedBefore(event.eventTimeMs, asOfMs)) return 'atOrAfterAsOf'
  if (!knownBy(event.knownAtMs, knownAsOfMs)) return 'notKnown'
  if (corrections.has(event)) return 'corrected'
  if (!inWindow.has(event)) return event.eventTimeMs < windowEnd(asOfMs, window) ? 'beforeWindow' : 'afterWindow'
  const field = (name: string): Scalar => event.fields[name] ?? null
  if (where !== undefined && interpret(where, field) !== true) return 'notWhere'
  if (input !== null && interpret(input, field) === null) return 'nullInput'
  return null
}
