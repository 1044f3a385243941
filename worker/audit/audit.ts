/**
 * The auditor: F once more, from the log alone and by the plain twin, for answers that were given. Whatever the fast
 * paths share (packed rows, run summaries, columnar kernels, compiled expressions) is not used here; what is used is
 * core/engine/naive.ts, which is the definition.
 */
import { knownBy, windowStart, type AsOf } from '../../core/asof/visible.ts'
import {
  featureOf,
  featureValueType,
  fieldsAggregated,
  keyTypesOf,
  serviceOf,
  streamOf,
  viewOf,
  type Catalog,
} from '../../core/definition/catalog.ts'
import type { FeatureDefinition, StreamDefinition, ViewDefinition } from '../../core/definition/types.ts'
import { Status, type FeatureValue, type StatusCode } from '../../core/engine/feature-column.ts'
import { acceptedEvents, countingEvents, naiveValue, type NaiveEvent } from '../../core/engine/naive.ts'
import { isCorrectable } from '../../core/definition/corrections.ts'
import { FeatureStoreError } from '../../core/errors.ts'
import { nextOffset, type PartitionPosition } from '../../core/event/position.ts'
import type { Scalar } from '../../core/event/types.ts'
import { fieldsOf, type Expression } from '../../core/expression/expression.ts'
import { interpret } from '../../core/expression/interpret.ts'
import { EntitySelection, readHistory, type EventSource } from './entity-history.ts'
import type { AuditKind, AuditSample, SampledValue } from './sample.ts'

/** Values compared, not samples. */
export interface AuditTally {
  checked: number
  mismatched: number
}

export interface Answer {
  readonly status: StatusCode
  readonly value: FeatureValue
}

export interface AuditMismatch {
  readonly sample: AuditSample
  readonly name: string
  readonly expected: Answer
  readonly got: Answer
}

export interface AuditReport extends Readonly<AuditTally> {
  /** By `view:feature` or name of a derived feature. */
  readonly byFeature: ReadonlyMap<string, Readonly<AuditTally>>
  readonly byKind: ReadonlyMap<AuditKind, Readonly<AuditTally>>
  /** The first ones, in the order of the samples. */
  readonly mismatches: readonly AuditMismatch[]
}

export interface AuditOptions {
  readonly catalog: Catalog
  readonly samples: readonly AuditSample[]
  /** A reader of every stream behind the samples; called once per stream. */
  readonly readers: (stream: string) => EventSource
  /** How many mismatches are kept to be shown. Default 20. */
  readonly mismatchesMax?: number
}

/**
 * Computes every sampled value again and compares it bit for bit. Each stream is scanned once, up to the furthest
 * position of the samples; a changelog twice.
 *
 * Memory: O(events of the sampled entities), as columns, and objects for one entity at a time.
 * Errors: FS_VIEW_UNKNOWN, FS_FEATURE_UNKNOWN, FS_SERVICE_UNKNOWN for a sample of other definitions;
 *         FS_REQUEST_INVALID for samples of several logs; FS_HISTORY_TRIMMED.
 */
export async function auditSamples(options: AuditOptions): Promise<AuditReport> {
  const { catalog, samples, readers, mismatchesMax = 20 } = options
  checkOneLog(samples)
  const names = samples.map((sample) => namesNeeded(catalog, sample))
  const views = viewsAsked(catalog, samples, names)
  const answers = samples.map(() => new Map<string, Answer>())
  for (const stream of new Set(views.map((view) => view.stream))) {
    const asked = views.filter((view) => view.stream === stream)
    await answerStream(readers(stream.name), asked, samples, answers)
  }

  const total: AuditTally = { checked: 0, mismatched: 0 }
  const byFeature = new Map<string, AuditTally>()
  const byKind = new Map<AuditKind, AuditTally>()
  const mismatches: AuditMismatch[] = []
  samples.forEach((sample, index) => {
    for (const got of sample.values) {
      const expected = answerOf(catalog, sample, got.name, answers[index] as Map<string, Answer>)
      const same = sameAnswer(expected, got)
      for (const tally of [total, tallyOf(byFeature, got.name), tallyOf(byKind, sample.kind)]) {
        tally.checked++
        if (!same) tally.mismatched++
      }
      if (!same && mismatches.length < mismatchesMax)
        mismatches.push({ sample, name: got.name, expected, got: { status: got.status, value: got.value } })
    }
  })
  return { ...total, byFeature, byKind, mismatches }
}

function tallyOf<K>(tallies: Map<K, AuditTally>, key: K): AuditTally {
  let tally = tallies.get(key)
  if (tally === undefined) tallies.set(key, (tally = { checked: 0, mismatched: 0 }))
  return tally
}

function checkOneLog(samples: readonly AuditSample[]): void {
  const logs = new Set(samples.map(({ position }) => position.logId))
  if (logs.size > 1)
    throw new FeatureStoreError('FS_REQUEST_INVALID', `the samples are of ${logs.size} logs: audit each by its own`)
}

/** The `view:feature`s that a sample's values rest on: those sampled, and those that its derived features read. */
function namesNeeded(catalog: Catalog, sample: AuditSample): string[] {
  const names = sample.values.flatMap(({ name }) =>
    name.includes(':') ? [name] : inputsOf(derivedExpression(catalog, sample.service, name)),
  )
  return [...new Set(names)]
}

/** References that a derived feature reads: `view.feature` in its expression. */
const inputsOf = (expression: Expression): string[] =>
  fieldsOf(expression)
    .filter((field) => !field.startsWith('request.'))
    .map((field) => field.replace('.', ':'))

function derivedExpression(catalog: Catalog, service: string, name: string): Expression {
  const derived = serviceOf(catalog, service).derive.find((candidate) => candidate.name === name)
  if (derived === undefined)
    throw new FeatureStoreError('FS_FEATURE_UNKNOWN', `service ${service} derives no feature ${name}`)
  return derived.expression
}

/** What the samples ask of one view. */
interface ViewAsked {
  readonly view: ViewDefinition
  readonly stream: StreamDefinition
  readonly selection: EntitySelection
  /** By entity of the selection. */
  readonly entities: { readonly sample: number; readonly features: readonly FeatureDefinition[] }[][]
  /** Samples whose key no event can have. */
  readonly invalid: { readonly sample: number; readonly features: readonly FeatureDefinition[] }[]
}

function viewsAsked(
  catalog: Catalog,
  samples: readonly AuditSample[],
  names: readonly (readonly string[])[],
): ViewAsked[] {
  const asked = new Map<string, ViewAsked>()
  names.forEach((references, sample) => {
    const features = new Map<string, FeatureDefinition[]>()
    for (const reference of references) {
      const [view = '', feature = ''] = reference.split(':')
      const list = features.get(view) ?? []
      features.set(view, list)
      list.push(featureOf(catalog, { view, feature }))
    }
    for (const [name, list] of features) {
      const view = viewOf(catalog, name)
      const entry = asked.get(name) ?? {
        view,
        stream: streamOf(catalog, view.from),
        selection: new EntitySelection(view, keyTypesOf(catalog, view)),
        entities: [],
        invalid: [],
      }
      asked.set(name, entry)
      addSample(entry, sample, (samples[sample] as AuditSample).entities, list)
    }
  })
  return [...asked.values()]
}

function addSample(
  { view, selection, entities, invalid }: ViewAsked,
  sample: number,
  key: AuditSample['entities'],
  features: readonly FeatureDefinition[],
): void {
  let entity: number
  try {
    entity = selection.add(view.keyFields.map((field) => key[field] ?? null))
  } catch (error) {
    if (!(error instanceof FeatureStoreError && error.code === 'FS_ENTITY_INVALID')) throw error
    invalid.push({ sample, features })
    return
  }
  ;(entities[entity] ??= []).push({ sample, features })
}

/** Answers all that is asked of the views of one stream. */
async function answerStream(
  source: EventSource,
  views: readonly ViewAsked[],
  samples: readonly AuditSample[],
  answers: readonly Map<string, Answer>[],
): Promise<void> {
  const stream = (views[0] as ViewAsked).stream
  const correctable = isCorrectable(stream)
  const read = views.flatMap(({ view }) => view.features.flatMap(({ aggregation }) => fieldsAggregated(aggregation)))
  const history = await readHistory(
    source,
    furthest(samples, stream.name),
    views.map(({ selection }) => selection),
    [...new Set(read)],
  )
  for (const { view, selection, entities, invalid } of views) {
    const put = (sample: number, feature: FeatureDefinition, answer: Answer): void => {
      answers[sample]?.set(`${view.name}:${feature.name}`, { status: answer.status, value: answer.value })
    }
    for (const { sample, features } of invalid)
      for (const feature of features) put(sample, feature, { status: Status.ERROR, value: null })
    entities.forEach((asked, entity) => {
      const events = acceptedEvents(view, history.eventsOf(selection, entity), () => Number.POSITIVE_INFINITY)
      for (const { sample, features } of asked) {
        const { asOfMs, knownAsOfMs, position } = samples[sample] as AuditSample
        const below = (partition: number): number => nextOffset(position, stream.name, partition)
        const counting = correctable
          ? countingEvents(stream, view, acceptedEvents(view, events, below), knownAsOfMs).filter(
              (event) => selection.indexOf(event) === entity,
            )
          : events
        const relevant = relevantEvents(view, counting, { asOfMs, knownAsOfMs }, below)
        for (const feature of features)
          put(sample, feature, naiveValue(view, stream.fields, feature, relevant(feature), { asOfMs, knownAsOfMs }))
      }
    })
  }
}

/** The position that covers every sample. */
function furthest(samples: readonly AuditSample[], stream: string): PartitionPosition[] {
  const to: PartitionPosition[] = []
  for (const { position } of samples) {
    position.streams[stream]?.forEach((partition, index) => {
      const known = to[index]
      if (known === undefined || known.next < partition.next) to[index] = partition
    })
  }
  return to
}

/**
 * The few of an entity's events that a feature's value can depend on, `events` being all that the view takes (and nothing
 * takes back at K, below P), in total order:
 *
 *     … o o o o O | x x x x x x | …            O   the newest event before the window that is known by K and below P
 *                 windowStart   T              x   the events in the window, below P
 *
 * The same F as over all events, because naiveValue reads events outside the window for two questions only. Is any
 * event known before T (else NOT_FOUND)? Is any of those within the ttl (else EXPIRED)? A window is never longer than
 * the ttl, so a known event inside answers both; if there is none, the newest known one before the window does: without
 * it no older one is known either, and if it is beyond the ttl so is every older one.
 */
function relevantEvents(
  view: ViewDefinition,
  events: readonly NaiveEvent[],
  asOf: AsOf,
  below: (partition: number) => number,
): (feature: FeatureDefinition) => readonly NaiveEvent[] {
  const end = firstAtOrAfter(events, asOf.asOfMs)
  const byStart = new Map<number, readonly NaiveEvent[]>()
  return ({ window }) => {
    const from = windowStart(asOf.asOfMs, window, view.ttlMs)
    let relevant = byStart.get(from)
    if (relevant === undefined) {
      const start = Math.min(firstAtOrAfter(events, from), end)
      let older = start - 1
      const counts = ({ knownAtMs, partition, offset }: NaiveEvent): boolean =>
        knownBy(knownAtMs, asOf.knownAsOfMs) && offset < below(partition)
      while (older >= 0 && !counts(events[older] as NaiveEvent)) older--
      const inside = events.slice(start, end)
      relevant = acceptedEvents(view, older < 0 ? inside : [events[older] as NaiveEvent, ...inside], below)
      byStart.set(from, relevant)
    }
    return relevant
  }
}

/** Index of the first event at or after a time. */
function firstAtOrAfter(events: readonly NaiveEvent[], timeMs: number): number {
  let low = 0
  let high = events.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((events[middle] as NaiveEvent).eventTimeMs < timeMs) low = middle + 1
    else high = middle
  }
  return low
}

/** What a sampled name should have answered. */
function answerOf(catalog: Catalog, sample: AuditSample, name: string, answers: ReadonlyMap<string, Answer>): Answer {
  if (name.includes(':')) return answers.get(name) as Answer
  const expression = derivedExpression(catalog, sample.service, name)
  const inputs = inputsOf(expression).map((input) => (answers.get(input) as Answer).status)
  if (inputs.includes(Status.ERROR)) return { status: Status.ERROR, value: null }
  if (inputs.includes(Status.OVERFLOW)) return { status: Status.OVERFLOW, value: null }
  const value = interpret(expression, (field) =>
    field.startsWith('request.')
      ? asOperand(sample.request[field.slice('request.'.length)] ?? null)
      : featureOperand(catalog, field, (answers.get(field.replace('.', ':')) as Answer).value),
  )
  return value === null ? { status: Status.NULL, value } : { status: Status.PRESENT, value }
}

/** A decimal feature reads as float64, a decimal of the request as it is. */
function featureOperand(catalog: Catalog, field: string, value: FeatureValue): Scalar {
  const [view = '', feature = ''] = field.split('.')
  const type = featureValueType(catalog, { view, feature })
  return type.kind === 'scalar' && type.type === 'decimal' && value !== null ? Number(value) : asOperand(value)
}

/** Expressions of a service are over float64: counts and integer sums read as such. */
const asOperand = (value: FeatureValue): Scalar => (typeof value === 'bigint' ? Number(value) : (value as Scalar))

/** A STALE value is the present one, only the pipeline was behind the caller's wish: F knows no such thing. */
const sameAnswer = (expected: Answer, got: SampledValue): boolean =>
  expected.status === (got.status === Status.STALE ? Status.PRESENT : got.status) && sameBits(expected.value, got.value)

/** Equal to the bit: NaN is NaN, 0 is not -0, and an int64 is no float64. */
export function sameBits(a: FeatureValue, b: FeatureValue): boolean {
  if (Array.isArray(a) && Array.isArray(b))
    return a.length === b.length && a.every((item, index) => Object.is(item, b[index]))
  return Object.is(a, b)
}
