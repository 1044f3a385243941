import { FeatureStoreError, notYet } from '../errors.ts'
import type { ScalarType } from '../event/types.ts'
import type { BoolExpr, Expr } from './expressions.ts'
import { checkOptions } from './options.ts'
import type { AggregationDefinition, WindowDefinition } from './types.ts'

type Number = 'int32' | 'int64' | 'float64'

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
  /** Only 'exact', the default, so far. */
  readonly resolution?: 'exact' | string
  /** Shifts the window into the past by so many milliseconds. Default: it ends at T. */
  readonly endsBefore?: number
}

/** Of more events a window in time says more. */
const rowsMax = 100_000

const invalid = (message: string): FeatureStoreError => new FeatureStoreError('FS_DEFINITION_INVALID', message)

/** Errors: FS_DEFINITION_INVALID unless `ms` is a positive number of whole milliseconds. */
function checkSpan(what: string, ms: unknown): void {
  if (!Number.isSafeInteger(ms) || (ms as number) <= 0)
    throw invalid(`${what} of ${String(ms)} ms: it must be a positive number of milliseconds`)
}

/** Windows that have a function of their own, such as `rows(5)`. */
export type NamedWindow = Exclude<WindowDefinition, { readonly kind: 'sliding' | 'lifetime' }>

/** Errors: FS_DEFINITION_INVALID for what plain JavaScript may pass. */
function checkedWindow(window: NamedWindow): NamedWindow {
  const none = (): never => {
    throw invalid(`${JSON.stringify(window)} is no window: give a length of time, such as hours(1), or rows(5)`)
  }
  if (typeof window !== 'object' || window === null) return none()
  switch (window.kind) {
    case 'rows':
      if (!Number.isInteger(window.count) || window.count < 1 || window.count > rowsMax)
        throw invalid(`rows(${String(window.count)}): n is an integer from 1 to 100,000`)
      return window
    case 'session':
      checkSpan('a session with a gap', window.gapMs)
      return window
    case 'tumbling':
      checkSpan('a tumbling window', window.spanMs)
      if (!Number.isSafeInteger(2 * window.spanMs))
        throw invalid(`a tumbling window of ${window.spanMs} ms is too long`)
      if (window.take !== 'current' && window.take !== 'last')
        throw invalid(`a tumbling window takes ${JSON.stringify(window.take)}: 'current' or 'last'`)
      return window
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

  /** The sliding window [T - spanMs, T), exact to the event; with `endsBefore: o` it is [T - spanMs - o, T - o). */
  over(spanMs: number, options?: WindowOptions): FeatureBuilder<T>
  /** A window such as `rows(5)`. */
  over(window: NamedWindow): FeatureBuilder<T>
  over(window: number | NamedWindow, options: WindowOptions = {}): FeatureBuilder<T> {
    if (typeof window === 'number') return this.#sliding(window, options)
    if (typeof (window as unknown) === 'string') throw notYet(`the window ${JSON.stringify(window)}`)
    checkOptions('a window other than a length of time', options, [])
    return new FeatureBuilder<T>(this.aggregation, checkedWindow(window))
  }

  #sliding(spanMs: number, options: WindowOptions): FeatureBuilder<T> {
    checkSpan('a window', spanMs)
    checkOptions('a window', options, ['resolution', 'endsBefore'])
    if (options.resolution !== undefined && options.resolution !== 'exact')
      throw notYet(`resolution ${options.resolution}`)
    const endsBeforeMs = options.endsBefore ?? 0
    if (!Number.isSafeInteger(endsBeforeMs + spanMs) || endsBeforeMs < 0)
      throw invalid(`endsBefore is ${options.endsBefore}: a number of milliseconds from 0`)
    // Absent where it changes nothing: a default said aloud is the same window.
    return new FeatureBuilder<T>(this.aggregation, {
      kind: 'sliding',
      spanMs,
      ...(endsBeforeMs === 0 ? {} : { endsBeforeMs }),
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
/** Exact: of integers an int64 (OVERFLOW outside of it), of float64 the exact sum rounded once. */
export const sum = <T extends Number>(input: Expr<T>): FeatureBuilder<T extends 'float64' ? 'float64' : 'int64'> =>
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
export const rows = (n: number): NamedWindow => checkedWindow({ kind: 'rows', count: n })

export interface TumblingOptions {
  /** `current`: [start of the interval, T). `last`: the whole interval before it. */
  readonly take: 'current' | 'last'
  /** Only 'UTC', the default, so far. */
  readonly zone?: 'UTC' | string
}

/** Intervals of `spanMs`, one after the other from the epoch, UTC: hours begin on the hour, days at midnight. */
export function tumbling(spanMs: number, options: TumblingOptions): NamedWindow {
  checkOptions('a tumbling window', options ?? {}, ['take', 'zone'])
  const { take, zone } = (options ?? {}) as Partial<TumblingOptions>
  if (zone !== undefined && zone !== 'UTC') throw notYet(`a tumbling window in the zone ${JSON.stringify(zone)}`)
  return checkedWindow({ kind: 'tumbling', spanMs, take: take as TumblingOptions['take'] })
}

/**
 * The maximal chain of visible events with gaps below `gapMs` that ends at the newest one; empty once T is `gapMs` or more
 * after that. It reaches no further back than the view's ttl.
 */
export const session = (gapMs: number): NamedWindow => checkedWindow({ kind: 'session', gapMs })

/** Windows and functions that the design has and this version refuses, so that using one says so. */
const later =
  (what: string) =>
  (..._arguments: readonly unknown[]): never => {
    throw notYet(what)
  }
export const series = later('series')
export const topN = later('topN')
export const quantile = later('quantile')
export const approxDistinctCount = later('approxDistinctCount')
