import { FeatureStoreError, notYet } from '../errors.ts'
import type { ScalarType } from '../event/types.ts'
import type { BoolExpr, Expr } from './expressions.ts'
import { dayMs } from '../time/time.ts'
import { zoneOf } from '../time/zone.ts'
import { checkOptions } from './options.ts'
import type { AggregationDefinition, WindowDefinition } from './types.ts'

type Number = 'int32' | 'int64' | 'float64' | 'decimal'
type SumOf<T extends Number> = T extends 'float64' | 'decimal' ? T : 'int64'

/** Length of time in milliseconds. */
const duration =
  (unitMs: number) =>
  (count: number): number => {
    const ms = count * unitMs
    if (!Number.isSafeInteger(ms) || ms <= 0) {
      throw new FeatureStoreError(
        'FS_DEFINITION_INVALID',
        `a duration of ${count} x ${unitMs} ms is not a positive number of milliseconds`,
      )
    }
    return ms
  }
export const seconds = duration(1_000)
export const minutes = duration(60_000)
export const hours = duration(3_600_000)
export const days = duration(86_400_000)

export interface WindowOptions {
  /**
   * How far the start may be lowered: to the multiple of it, UTC, at or below. '1s', '5m', '1h', '1d' or milliseconds;
   * longer than the window it cannot be. Default: 'exact'.
   */
  readonly resolution?: 'exact' | `${number}${'ms' | 's' | 'm' | 'h' | 'd'}` | number
  /** Shifts the window into the past by so many milliseconds. Default: it ends at T. */
  readonly endsBefore?: number
}

/** Of more events a window in time says more. */
const rowsMax = 100_000
/** As of `lastN`. */
const seriesPartsMax = 1_000

const invalid = (message: string): FeatureStoreError => new FeatureStoreError('FS_DEFINITION_INVALID', message)

/** Errors: FS_DEFINITION_INVALID unless `ms` is a positive number of whole milliseconds. */
function checkSpan(what: string, ms: unknown): void {
  if (!Number.isSafeInteger(ms) || (ms as number) <= 0)
    throw invalid(`${what} of ${String(ms)} ms: it must be a positive number of milliseconds`)
}

const unitsMs: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: dayMs }

/** Milliseconds of a resolution; null for 'exact'. Errors: FS_DEFINITION_INVALID. */
function resolutionOf(resolution: unknown, spanMs: number): number | null {
  if (resolution === undefined || resolution === 'exact') return null
  const [, count, unit] = (typeof resolution === 'string' ? /^(\d+)(ms|[smhd])$/.exec(resolution) : null) ?? []
  const ms = unit === undefined ? resolution : Number(count) * (unitsMs[unit] as number)
  if (typeof ms !== 'number')
    throw invalid(`a resolution of ${JSON.stringify(resolution)}: 'exact', a length such as '5m', or milliseconds`)
  checkSpan('a resolution', ms)
  if (ms > spanMs) throw invalid(`a resolution of ${ms} ms is longer than its window of ${spanMs} ms`)
  // Times are whole milliseconds.
  return ms === 1 ? null : ms
}

/** Windows that have a function of their own, such as `rows(5)`. */
export type NamedWindow = Exclude<WindowDefinition, { readonly kind: 'sliding' | 'lifetime' }>

export type SeriesWindow = Extract<WindowDefinition, { readonly kind: 'series' }>
type ListOf<T> = T extends ScalarType ? `list<${T}>` : never

/** Errors: FS_DEFINITION_INVALID for what plain JavaScript may pass. */
function checkedWindow<W extends NamedWindow>(window: W): W {
  checkWindow(window)
  return window
}

function checkWindow(window: NamedWindow): void {
  const none = (): never => {
    throw invalid(`${JSON.stringify(window)} is no window: give a length of time, such as hours(1), or rows(5)`)
  }
  if (typeof window !== 'object' || window === null) return none()
  switch (window.kind) {
    case 'rows':
      if (!Number.isInteger(window.count) || window.count < 1 || window.count > rowsMax)
        throw invalid(`rows(${String(window.count)}): n is an integer from 1 to 100,000`)
      return
    case 'session':
      return checkSpan('a session with a gap', window.gapMs)
    case 'tumbling': {
      const { spanMs, take, zone } = window
      checkSpan('a tumbling window', spanMs)
      if (!Number.isSafeInteger(2 * spanMs)) throw invalid(`a tumbling window of ${spanMs} ms is too long`)
      if (take !== 'current' && take !== 'last')
        throw invalid(`a tumbling window takes ${JSON.stringify(take)}: 'current' or 'last'`)
      if (zone !== undefined && spanMs % dayMs !== 0)
        throw invalid(`a tumbling window of ${spanMs} ms in ${zone.name}: in a zone it is whole days`)
      return
    }
    case 'series': {
      const { spanMs, stepMs } = window
      checkSpan('a series', spanMs)
      checkSpan('a series with a step', stepMs)
      if (spanMs % stepMs !== 0)
        throw invalid(`a series of ${spanMs} ms is not a whole number of steps of ${stepMs} ms`)
      if (spanMs / stepMs > seriesPartsMax) throw invalid(`a series of ${spanMs / stepMs} windows: 1,000 at most`)
      return
    }
    default:
      return none()
  }
}

/** An aggregation, over its lifetime (within the view's ttl) until `over` gives it a window. `T` is the type of its value. */
export class FeatureBuilder<T extends ScalarType | `list<${ScalarType}>`> {
  readonly aggregation: AggregationDefinition
  readonly window: WindowDefinition
  /** Only for the type checker: never set. */
  declare readonly valueType: T

  constructor(aggregation: AggregationDefinition, window: WindowDefinition = { kind: 'lifetime' }) {
    this.aggregation = aggregation
    this.window = window
  }

  /**
   * The sliding window [T - spanMs, T), exact to the event unless it has a `resolution`; with `endsBefore: o` it is
   * [T - spanMs - o, T - o).
   */
  over(spanMs: number, options?: WindowOptions): FeatureBuilder<T>
  /** The windows of a `series`, one after the other: their values are one list. */
  over(window: T extends ScalarType ? SeriesWindow : never): FeatureBuilder<ListOf<T>>
  /** A window such as `rows(5)`. */
  over(window: Exclude<NamedWindow, SeriesWindow>): FeatureBuilder<T>
  over(window: number | NamedWindow, options: WindowOptions = {}): FeatureBuilder<T> | FeatureBuilder<ListOf<T>> {
    if (typeof window === 'number') return this.#sliding(window, options)
    if (typeof (window as unknown) === 'string') throw notYet(`the window ${JSON.stringify(window)}`)
    checkOptions('a window other than a length of time', options, [])
    const checked = checkedWindow(window)
    if (checked.kind === 'series' && this.aggregation.function === 'lastN')
      throw invalid('lastN over a series would be a list of lists')
    return new FeatureBuilder<T>(this.aggregation, checked)
  }

  #sliding(spanMs: number, options: WindowOptions): FeatureBuilder<T> {
    checkSpan('a window', spanMs)
    checkOptions('a window', options, ['resolution', 'endsBefore'])
    const resolutionMs = resolutionOf(options.resolution, spanMs)
    const endsBeforeMs = options.endsBefore ?? 0
    if (!Number.isSafeInteger(endsBeforeMs + spanMs) || endsBeforeMs < 0)
      throw invalid(`endsBefore is ${options.endsBefore}: a number of milliseconds from 0`)
    // Absent where it changes nothing: a default said aloud is the same window.
    return new FeatureBuilder<T>(this.aggregation, {
      kind: 'sliding',
      spanMs,
      ...(endsBeforeMs === 0 ? {} : { endsBeforeMs }),
      ...(resolutionMs === null ? {} : { resolutionMs }),
    })
  }

  /**
   * Only events for which the condition is true count; null is not true. The window is found first: what of `rows(5)` is
   * left out is not made up for by older events. Of two conditions both must hold.
   */
  where(condition: BoolExpr): FeatureBuilder<T> {
    const ast = (condition as BoolExpr | null | undefined)?.ast
    if (ast === undefined) throw invalid('where takes a condition, such as delay.gt(15)')
    const { where } = this.aggregation
    return new FeatureBuilder<T>(
      {
        ...this.aggregation,
        where: where === undefined ? ast : { kind: 'variadic', op: 'and', args: [where, ast] },
      },
      this.window,
    )
  }
}

/** Number of events. */
export const count = (): FeatureBuilder<'int64'> => new FeatureBuilder({ function: 'count', input: null })
/**
 * Exact: of integers an int64 (OVERFLOW outside of it), of decimals one of 18 digits and the same scale (OVERFLOW beyond
 * them), of float64 the exact sum rounded once.
 */
export const sum = <T extends Number>(input: Expr<T>): FeatureBuilder<SumOf<T>> =>
  new FeatureBuilder({ function: 'sum', input: input.ast })
/** The exact mean, rounded once. */
export const mean = (input: Expr<Number>): FeatureBuilder<'float64'> =>
  new FeatureBuilder({ function: 'mean', input: input.ast })
export const min = <T extends Number | 'timestamp'>(input: Expr<T>): FeatureBuilder<T> =>
  new FeatureBuilder({ function: 'min', input: input.ast })
export const max = <T extends Number | 'timestamp'>(input: Expr<T>): FeatureBuilder<T> =>
  new FeatureBuilder({ function: 'max', input: input.ast })

export interface MomentOptions {
  readonly divisor?: 'sample' | 'population'
}
/** Of a sample by default (n - 1): null below two values. */
export const variance = (input: Expr<Number>, { divisor = 'sample' }: MomentOptions = {}): FeatureBuilder<'float64'> =>
  new FeatureBuilder({ function: 'variance', input: input.ast, divisor })
/** Root of the exact variance, rounded once; of a sample by default. */
export const stddev = (input: Expr<Number>, { divisor = 'sample' }: MomentOptions = {}): FeatureBuilder<'float64'> =>
  new FeatureBuilder({ function: 'stddev', input: input.ast, divisor })
/** Share of events where the condition holds, among those where it is not null. */
export const share = (condition: Expr<'bool'>): FeatureBuilder<'float64'> =>
  new FeatureBuilder({ function: 'share', input: condition.ast })
/** Value of the first event in total order. */
export const first = <T extends ScalarType>(input: Expr<T>): FeatureBuilder<T> =>
  new FeatureBuilder({ function: 'first', input: input.ast })
/** Value of the last event in total order. */
export const last = <T extends ScalarType>(input: Expr<T>): FeatureBuilder<T> =>
  new FeatureBuilder({ function: 'last', input: input.ast })
/** Values of the last n events, oldest first. */
export function lastN<T extends ScalarType>(input: Expr<T>, n: number): FeatureBuilder<`list<${T}>`> {
  if (!Number.isInteger(n) || n < 1 || n > 1000) {
    throw new FeatureStoreError('FS_DEFINITION_INVALID', `lastN of ${n}: n is an integer from 1 to 1,000`)
  }
  return new FeatureBuilder({ function: 'lastN', input: input.ast, n })
}
/** Exact number of distinct values. Needs a bounded window or a ttl. */
export const distinctCount = (input: Expr<ScalarType>): FeatureBuilder<'int64'> =>
  new FeatureBuilder({ function: 'distinctCount', input: input.ast })

/** The last n visible events in total order, within the view's ttl; what the function skips of them is not made up for. */
export const rows = (n: number): Extract<WindowDefinition, { readonly kind: 'rows' }> =>
  checkedWindow({ kind: 'rows', count: n })

export interface TumblingOptions {
  /** `current`: [start of the interval, T). `last`: the whole interval before it. */
  readonly take: 'current' | 'last'
  /** An IANA zone, such as 'Europe/Zurich', for windows of whole days: they begin at its midnights. Default: 'UTC'. */
  readonly zone?: string
}

/**
 * Intervals of `spanMs`, one after the other from the epoch, UTC: hours begin on the hour, days at midnight.
 *
 * In a zone: intervals of so many local dates, counted from 1970-01-01, that begin at local midnight (the first one if the
 * clocks show two, the first instant of the date if they show none), however long those days are.
 */
export function tumbling(
  spanMs: number,
  options: TumblingOptions,
): Extract<WindowDefinition, { readonly kind: 'tumbling' }> {
  checkOptions('a tumbling window', options ?? {}, ['take', 'zone'])
  const { take, zone } = (options ?? {}) as Partial<TumblingOptions>
  const window = { kind: 'tumbling', spanMs, take: take as TumblingOptions['take'] } as const
  if (zone === undefined || zone === 'UTC') return checkedWindow(window)
  const { name, digest } = zoneOf(zone)
  return checkedWindow({ ...window, zone: { name, digest } })
}

/**
 * The windows [T - (i + 1) stepMs, T - i stepMs) within the last `spanMs`, at most 1,000: a feature over them is the list
 * of its values on each, oldest first, null where it has none.
 */
export const series = (spanMs: number, stepMs: number): SeriesWindow =>
  checkedWindow({ kind: 'series', spanMs, stepMs })

/**
 * The maximal chain of visible events with gaps below `gapMs` that ends at the newest one; empty once T is `gapMs` or more
 * after that. It reaches no further back than the view's ttl.
 */
export const session = (gapMs: number): Extract<WindowDefinition, { readonly kind: 'session' }> =>
  checkedWindow({ kind: 'session', gapMs })

/** Windows and functions that the design has and this version refuses, so that using one says so. */
const later =
  (what: string) =>
  (..._arguments: readonly unknown[]): never => {
    throw notYet(what)
  }
export const topN = later('topN')
export const quantile = later('quantile')
export const approxDistinctCount = later('approxDistinctCount')
