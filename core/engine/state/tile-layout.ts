import { windowReachMs } from '../../asof/visible.ts'
import type { ViewDefinition, WindowDefinition } from '../../definition/types.ts'
import type { FeaturePlan, InputPlan } from '../plan.ts'

/**
 * What a tile tells of the events of its span: float64 numbers.
 *
 *     | start | newest | newest known | events | numbers of each input | … | sums | …
 *
 *     int32, bool            | n | Σx | Σx² | min max |    Σx in words of 2^32, 1, Σx² of 2^64, 2^32, 1: below 2^32 but
 *                                                          the first
 *     float64, timestamp     | n | n min max |             the second n without NaN
 *       sums, by input       Σx, Σx² as ExactSum and ExactSquares store them: of varying length, so behind all others
 *
 * Only what a feature over a window with a resolution asks for is there. n counts values that are not null.
 */
export interface TileLayout {
  /** Numbers before the sums of floats. */
  readonly fixed: number
  /** Of inputs that such a feature reads. */
  readonly inputs: readonly TileInput[]
}

export interface TileInput {
  readonly input: number
  /** int32 and bool. */
  readonly integers: boolean
  /** Position from the start of a tile; those of the others are -1 where they are not there. */
  readonly n: number
  readonly extremes: number
  /** Of floats the positions vary: at least 0 says that they are there. */
  readonly sum: number
  readonly squares: number
}

export const tileStart = 0
export const tileNewest = 1
export const tileNewestKnown = 2
export const tileEvents = 3
const headLength = 4

/** How a view's events become tiles; tiles.ts has the rule. */
export interface TilePlan {
  /** The least resolution of the view, of which the others are multiples. */
  readonly spanMs: number
  /** Events younger than this, reckoned from the newest, are kept one by one. */
  readonly rawMs: number
  /** Spans with fewer events keep them. */
  readonly eventsMin: number
  readonly layout: TileLayout
}

/** With fewer events a tile would be larger than they are. */
export const tileEventsMin = 16

export const spanStart = (timeMs: number, spanMs: number): number => Math.floor(timeMs / spanMs) * spanMs

type Coarse = Extract<WindowDefinition, { readonly kind: 'sliding' }> & { readonly resolutionMs: number }
const isCoarse = (window: WindowDefinition): window is Coarse =>
  window.kind === 'sliding' && window.resolutionMs !== undefined

/**
 * Null where tiles would not save anything, or could not tell a value: functions that need more than sums and extremes,
 * int64, resolutions that do not lie on one grid, a ttl that cuts what a resolution adds to a window.
 */
export function planTiles(
  { ttlMs }: ViewDefinition,
  inputs: readonly InputPlan[],
  features: readonly FeaturePlan[],
  windows: readonly WindowDefinition[],
  historyMs: number,
  eventsMin: number,
): TilePlan | null {
  const coarse = windows.filter(isCoarse)
  if (coarse.length === 0) return null
  const spanMs = Math.min(...coarse.map(({ resolutionMs }) => resolutionMs))
  if (coarse.some(({ resolutionMs }) => resolutionMs % spanMs !== 0)) return null
  if (ttlMs !== null && coarse.some((window) => windowReachMs(window, null) > ttlMs)) return null
  const reader = features.filter(({ window }) => isCoarse(windows[window] as WindowDefinition))
  if (!reader.every((feature) => isFoldable(feature, inputs))) return null
  const exactMs = Math.max(
    0,
    ...windows.filter((window) => !isCoarse(window)).map((window) => windowReachMs(window, ttlMs)),
  )
  const rawMs = Math.max(exactMs, ...coarse.map(({ endsBeforeMs = 0 }) => endsBeforeMs)) + historyMs
  if (rawMs >= Math.max(...coarse.map((window) => windowReachMs(window, ttlMs)))) return null
  return { spanMs, rawMs, eventsMin, layout: layoutOf(inputs, reader) }
}

function isFoldable({ definition: { aggregation }, input }: FeaturePlan, inputs: readonly InputPlan[]): boolean {
  const type = inputs[input]?.type
  switch (aggregation.function) {
    case 'count':
      return aggregation.input === null
    case 'share':
      return type === 'bool'
    case 'sum':
    case 'mean':
    case 'variance':
    case 'stddev':
      return type === 'int32' || type === 'bool' || type === 'float64'
    case 'min':
    case 'max':
      return type === 'int32' || type === 'bool' || type === 'float64' || type === 'timestamp'
    case 'first':
    case 'last':
    case 'lastN':
    case 'distinctCount':
      return false
  }
}

function layoutOf(inputs: readonly InputPlan[], readers: readonly FeaturePlan[]): TileLayout {
  let fixed = headLength
  const take = (length: number, wanted: boolean): number => {
    if (!wanted) return -1
    fixed += length
    return fixed - length
  }
  const planned: TileInput[] = []
  inputs.forEach(({ type }, input) => {
    const functions = readers.filter((reader) => reader.input === input).map((of) => of.definition.aggregation.function)
    if (functions.length === 0) return
    const wants = (...some: readonly string[]): boolean => functions.some((name) => some.includes(name))
    const integers = type === 'int32' || type === 'bool'
    const squares = wants('variance', 'stddev')
    const sum = squares || wants('sum', 'mean', 'share')
    planned.push({
      input,
      integers,
      n: take(1, true),
      extremes: take(integers ? 2 : 3, wants('min', 'max')),
      sum: take(integers ? 2 : 0, sum),
      squares: take(integers ? 3 : 0, squares),
    })
  })
  return { fixed, inputs: planned }
}
