import { windowReachMs } from '../asof/visible.ts'
import { durationText } from '../definition/format.ts'
import type { FeatureDefinition, WindowDefinition } from '../definition/types.ts'
import type { ViewPlan } from '../engine/plan.ts'
import type { ScalarType } from '../event/types.ts'
import { dayMs, hourMs, minuteMs } from '../time/time.ts'

/**
 * What the rows of a view will hold and what a read of them costs, from a sample of the log.
 *
 *     rate(entity) = its events in the log / event time that the log spans
 *     held(entity) = rate x reach, at most what the log has
 *
 * An estimate: rates are means over the whole log, so a burst inside a window is missed, and an entity that went quiet
 * keeps the events of its own last window. The total is right within that; the hottest entity's share within the error of
 * the sample (1 / sqrt(its sampled events)).
 */

/** What a sample of a stream says about the events that a view takes (`worker/estimate/sample-log.ts`). */
export interface ViewSample {
  /** Records of the stream in the log, and how many of them were looked at. */
  readonly records: number
  readonly sampled: number
  /** Events of the log that the view takes, scaled up from the sample. */
  readonly events: number
  /** Event time from the oldest to the newest of them, milliseconds. */
  readonly spanMs: number
  /** Entities in the sample, and those of them that it has one event of. */
  readonly distinct: number
  readonly once: number
  /** The entity with the most events: in the log, scaled up, and in the sample. */
  readonly hottestEvents: number
  readonly hottestSampled: number
}

export interface Held {
  readonly events: number
  /** Of the worker's columns and of the stored row. */
  readonly memoryBytes: number
  readonly storedBytes: number
}

export type ReadCost = 'small' | 'medium' | 'large'

export interface EstimateWarning {
  /** `hot-window`: grows too large for one entity. `unbounded`: grows for ever. */
  readonly kind: 'hot-window' | 'unbounded'
  readonly text: string
  /** Of the hottest entity in the window, once the log is as long as the window; null without a sample. */
  readonly events: number | null
  /** The resolution that fits, `5m`, and how many summaries the window is then; null where no resolution helps. */
  readonly resolution: string | null
  readonly summaries: number | null
}

export interface ViewEstimate {
  readonly view: string
  /** Null without a sample, as is all that rests on it. */
  readonly entities: number | null
  readonly total: Held | null
  readonly hottest: Held | null
  /** Events and summaries that a read of all features of the hottest entity visits. */
  readonly readSteps: number | null
  readonly readCost: ReadCost | null
  readonly warnings: readonly EstimateWarning[]
}

/** What an exact window may hold of one entity before `plan` warns. */
export interface EstimateLimits {
  readonly entityEventsMax: number
  readonly entityBytesMax: number
}
export const estimateLimits: EstimateLimits = { entityEventsMax: 1_000_000, entityBytesMax: 64 * 2 ** 20 }

// Bytes of the layouts (core/README.md says them in words); within a quarter of what a heap or a store shows.
/** In memory: records as state/record-layout.ts has them; segments of 8 are half empty at the end of a run. */
const segmentSlack = 4
/** Of each run: its header, and its summary. */
const runEvents = 64
const runBytes = 64
/** In memory: header of an entity, its key and its place in indexes, a short run. Stored: key, header, page overhead. */
const memoryEntityBytes = 200
const storedEntityBytes = 100
/** Stored (engine/row.ts), where nothing is narrower: time, knownAt and offset of four bytes each; the partition of several. */
const storedEventBytes = 12
const storedPartitionBytes = 2
const storedInputBytes: Readonly<Record<ScalarType, number>> = {
  string: 2,
  bool: 1,
  int32: 4,
  int64: 8,
  float64: 8,
  timestamp: 8,
  decimal: 8,
}

const readStepsSmall = 1_000
const readStepsMedium = 50_000
/** A rate that rests on fewer sampled events of the entity is not carried beyond the end of the log. */
const extrapolationSampledMin = 100

/** Resolutions that a warning names, the finest that gives so few summaries first. */
const resolutionsMs: readonly number[] = [
  1_000,
  10_000,
  minuteMs,
  5 * minuteMs,
  15 * minuteMs,
  hourMs,
  6 * hourMs,
  dayMs,
]
const summariesMax = 10_000

export function estimateView(
  plan: ViewPlan,
  sample: ViewSample | null,
  limits: EstimateLimits = estimateLimits,
): ViewEstimate {
  const known = sample === null || sample.events === 0 ? null : sample
  const warnings = plan.windows.flatMap((window) => warningOf(plan, window, known, limits))
  const view = plan.view.name
  if (known === null)
    return { view, entities: null, total: null, hottest: null, readSteps: null, readCost: null, warnings }
  const entities = entitiesOf(known)
  const wholeMs = heldMs(plan)
  const tiles = tilesKept(plan, known)
  const hottest = heldOf(plan, inReach(known.hottestEvents, known.spanMs, wholeMs), 1, tiles)
  const total = heldOf(
    plan,
    // The newest event of an entity is never pruned, however old it is.
    Math.max(entities, inReach(known.events, known.spanMs, wholeMs)),
    entities,
    Math.min(known.events, tiles * entities),
  )
  const readSteps = Math.round(readStepsOf(plan, known))
  const readCost = readSteps <= readStepsSmall ? 'small' : readSteps <= readStepsMedium ? 'medium' : 'large'
  return { view, entities, total, hottest, readSteps, readCost, warnings }
}

/**
 * Distinct entities of the whole log: those seen, with each seen once standing for sqrt(log / sample) of them (the
 * guaranteed-error estimator of Charikar, Chaudhuri, Motwani and Narasayya, PODS 2000, section 4). Exact where all was
 * sampled.
 */
function entitiesOf({ distinct, once, records, sampled, events }: ViewSample): number {
  const scale = sampled === 0 ? 1 : Math.sqrt(Math.max(1, records / sampled))
  return Math.round(Math.min(Math.max(distinct, events), distinct - once + once * scale))
}

/** Of `events` spread evenly over `spanMs`, those of a stretch of `reachMs`. */
const inReach = (events: number, spanMs: number, reachMs: number): number =>
  reachMs >= spanMs ? events : events * (reachMs / spanMs)

/** The same for a log that goes on at its rate until it is as long as the stretch. */
const inReachLater = ({ hottestEvents, hottestSampled, spanMs }: ViewSample, reachMs: number): number =>
  spanMs > 0 && hottestSampled >= extrapolationSampledMin
    ? hottestEvents * (reachMs / spanMs)
    : inReach(hottestEvents, spanMs, reachMs)

type Sliding = Extract<WindowDefinition, { readonly kind: 'sliding' }>
type Coarse = Sliding & { readonly resolutionMs: number }

const isCoarse = (window: WindowDefinition): window is Coarse =>
  window.kind === 'sliding' && window.resolutionMs !== undefined

/** How far back events are kept one by one. */
const heldMs = ({ tile, retainMs }: ViewPlan): number => (tile === null ? retainMs : tile.rawMs + tile.spanMs)

/** Tiles of one entity, at most one for each event that they stand for (engine/state/tiles.ts). */
function tilesKept({ tile, retainMs }: ViewPlan, { hottestEvents, spanMs }: ViewSample): number {
  if (tile === null) return 0
  const behindMs = retainMs - tile.rawMs
  return Math.min(inReach(hottestEvents, spanMs, behindMs), Math.ceil(behindMs / tile.spanMs))
}

function heldOf(plan: ViewPlan, events: number, entities: number, tiles = 0): Held {
  const summaryBytes = runBytes + plan.summary.stride * 8
  const recordBytes = plan.layout.stride * 4
  const memory = recordBytes * (1 + segmentSlack / runEvents) + summaryBytes / runEvents
  const stored =
    storedEventBytes +
    (plan.stream.partitions > 1 ? storedPartitionBytes : 0) +
    plan.inputs.reduce((sum, { type }) => sum + storedInputBytes[type], 0)
  return {
    events: Math.round(events),
    memoryBytes: Math.round(events * memory + tiles * summaryBytes + entities * memoryEntityBytes),
    storedBytes: Math.round(events * stored + tiles * summaryBytes + entities * storedEntityBytes),
  }
}

/** Functions that a run's summary answers. */
const merged: ReadonlySet<string> = new Set(['count', 'sum', 'mean', 'variance', 'stddev', 'share', 'min', 'max'])
const nearest: ReadonlySet<string> = new Set(['first', 'last', 'lastN'])

/** A window over n events is n / 64 whole runs and two edges; what has no summary is visited event by event. */
function readStepsOf(plan: ViewPlan, sample: ViewSample): number {
  const steps = new Map<string, number>()
  for (const { definition, input, window } of plan.features) {
    const { aggregation } = definition
    const events = eventsIn(plan.windows[window] as WindowDefinition, plan, sample)
    const runs = Math.min(events, events / runEvents + runEvents)
    const key = `${window}/${input}/${nearest.has(aggregation.function) ? 'nearest' : ''}`
    const own = nearest.has(aggregation.function)
      ? Math.min(events, aggregation.n ?? 1)
      : merged.has(aggregation.function)
        ? runs
        : events
    steps.set(key, Math.max(own, steps.get(key) ?? 0))
  }
  return [...steps.values()].reduce((sum, own) => sum + own, 0)
}

function eventsIn(window: WindowDefinition, { view }: ViewPlan, { hottestEvents, spanMs }: ViewSample): number {
  const events = inReach(hottestEvents, spanMs, windowReachMs(window, view.ttlMs))
  if (window.kind === 'rows') return Math.min(events, window.count)
  return events
}

function warningOf(
  plan: ViewPlan,
  window: WindowDefinition,
  sample: ViewSample | null,
  limits: EstimateLimits,
): EstimateWarning[] {
  const { view } = plan
  const reachMs = windowReachMs(window, view.ttlMs)
  if (!Number.isFinite(reachMs)) return [unbounded(plan, window, sample)]
  if (sample === null || isCoarse(window)) return []
  const now = inReach(sample.hottestEvents, sample.spanMs, reachMs)
  const events = inReachLater(sample, reachMs)
  const bytes = heldOf(plan, events, 0).memoryBytes
  if (events <= limits.entityEventsMax && bytes <= limits.entityBytesMax) return []
  const holds =
    events > now * 1.01
      ? `will hold about ${countText(events)} events (${bytesText(bytes)}) of its hottest entity at the rate of the log, ${countText(now)} now`
      : `holds about ${countText(events)} events (${bytesText(bytes)}) of its hottest entity`
  const fitting = window.kind === 'sliding' || window.kind === 'tumbling' ? resolutionFor(window.spanMs) : null
  const summaries = fitting === null ? null : Math.ceil(reachMs / fitting)
  const resolution = fitting === null ? null : durationText(fitting)
  const fit = `resolution '${resolution}' would keep about ${countText(summaries ?? 0)} summaries`
  const way =
    fitting === null
      ? `a shorter ${window.kind === 'series' ? 'series' : 'ttl'} would hold fewer`
      : window.kind === 'sliding'
        ? fit
        : `a sliding window with ${fit}`
  return [
    {
      kind: 'hot-window',
      text: `view ${view.name}: ${windowName(window, view.ttlMs)} ${holds}; ${way}`,
      events: Math.round(events),
      resolution,
      summaries,
    },
  ]
}

function unbounded({ view }: ViewPlan, window: WindowDefinition, sample: ViewSample | null): EstimateWarning {
  const daily = sample === null || sample.spanMs === 0 ? null : (sample.events / sample.spanMs) * dayMs
  const growth = daily === null ? '' : `, about ${countText(daily)} a day`
  return {
    kind: 'unbounded',
    text: `view ${view.name}: ${windowName(window, null)} keeps every event for ever${growth}; a ttl of the view would bound it`,
    events: null,
    resolution: null,
    summaries: null,
  }
}

/** The finest that leaves at most 10,000 summaries and divides the window; where none divides, the finest alone. */
export function resolutionFor(spanMs: number): number {
  const few = resolutionsMs.filter((resolutionMs) => spanMs / resolutionMs <= summariesMax)
  return few.find((resolutionMs) => spanMs % resolutionMs === 0) ?? few[0] ?? dayMs
}

function windowName(window: FeatureDefinition['window'], ttlMs: number | null): string {
  const behind = ttlMs === null ? 'without a ttl' : `with a ttl of ${durationText(ttlMs)}`
  switch (window.kind) {
    case 'sliding':
      return `exact window of ${durationText(window.spanMs)}`
    case 'series':
      return `series over ${durationText(window.spanMs)}`
    case 'tumbling':
      return `tumbling window of ${durationText(window.spanMs)}`
    case 'lifetime':
      return `lifetime ${behind}`
    case 'rows':
      return `window of ${window.count} rows ${behind}`
    case 'session':
      return `session ${behind}`
  }
}

/** `950`, `12,300`, `5.2 M`: an estimate has two or three digits that mean something. */
export function countText(count: number): string {
  if (count >= 999_500) return `${(count / 1e6).toFixed(count < 9.95e6 ? 1 : 0)} M`
  const rounded = count < 1_000 ? Math.round(count) : Number(count.toPrecision(3))
  return String(rounded).replace(/\B(?=(\d{3})+$)/g, ',')
}

/** `950 B`, `12 KiB`, `83 MiB`. */
export function bytesText(bytes: number): string {
  for (const [unit, size] of [
    ['GiB', 2 ** 30],
    ['MiB', 2 ** 20],
    ['KiB', 2 ** 10],
  ] as const)
    if (bytes >= size) return `${(bytes / size).toFixed(bytes < 9.95 * size ? 1 : 0)} ${unit}`
  return `${Math.round(bytes)} B`
}

/** An estimate in lines: what is held and read, then the warnings. */
export function estimateText({
  view,
  entities,
  total,
  hottest,
  readSteps,
  readCost,
  warnings,
}: ViewEstimate): string[] {
  const lines: string[] = []
  if (entities !== null && total !== null && hottest !== null && readSteps !== null) {
    const held = ({ events, memoryBytes, storedBytes }: Held): string =>
      `${countText(events)} event${events === 1 ? '' : 's'}, ${bytesText(memoryBytes)} in memory, ${bytesText(storedBytes)} stored`
    lines.push(
      `view ${view}: about ${countText(entities)} entit${entities === 1 ? 'y' : 'ies'}: ${held(total)}`,
      `    hottest entity: ${held(hottest)}; a read visits about ${countText(readSteps)} events and summaries (${readCost})`,
    )
  }
  return [...lines, ...warnings.map(({ text }) => `warning: ${text}`)]
}
