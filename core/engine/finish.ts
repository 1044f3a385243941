import { seriesParts, ttlStart, windowEnd, windowStart, type AsOf } from '../asof/visible.ts'
import type { AggregationDefinition, WindowDefinition } from '../definition/types.ts'
import {
  meanOfBigIntegers,
  meanOfIntegers,
  stddevOfBigIntegers,
  stddevOfIntegers,
  varianceOfBigIntegers,
  varianceOfIntegers,
} from '../number/integer-moments.ts'
import { meanOfDecimals, stddevOfDecimals, unscaledMax, varianceOfDecimals } from '../number/decimal.ts'
import type { Scalar } from '../event/types.ts'
import { ColumnBuilder } from './column-builder.ts'
import { Status } from './feature-column.ts'
import { Fold, type FoldPlan } from './fold.ts'
import type { FeaturePlan, InputPlan, ViewPlan } from './plan.ts'
import {
  distinctItems,
  firstItem,
  lastItems,
  newestLiveMs,
  nthLastLive,
  sessionStart,
  tallyBigIntegers,
  type BigTally,
} from './scan.ts'
import type { FloatMoments } from './state/float-moments.ts'
import { tallyEventsMax, type Extremes, type Tally } from './state/tally.ts'
import type { EntityEvents } from './state/view-state.ts'

/** Features that read the same input over the same window, computed together. */
interface Group extends FoldPlan {
  readonly window: number
  /** Position of each feature among those asked for. */
  readonly members: readonly { readonly at: number; readonly plan: FeaturePlan }[]
  /** How sums and extremes are come by; null: no member wants any. */
  readonly numbers: 'fold' | 'big' | null
  /** Over a series: where its parts end before T, oldest first, milliseconds; null for one window. */
  readonly partEnds: readonly number[] | null
}

/** A value, a decimal unscaled, null for SQL's null, or OVERFLOW. */
type Finished = Scalar | readonly Scalar[] | typeof overflow
const overflow = Symbol('OVERFLOW')

/** `count` over an input counts where it is not null. */
const numeric = new Set(['count', 'sum', 'mean', 'variance', 'stddev', 'share', 'min', 'max'])
const int64Max = 2n ** 63n - 1n

/**
 * Finishes features of one view from the events of an entity, at any (T, K). One instance serves one thread.
 *
 * Runs whose newest knownAt is at or before K are merged whole; others, and the edges of a window, event by event.
 */
export class ViewFinisher {
  readonly plan: ViewPlan
  readonly features: readonly FeaturePlan[]
  readonly #groups: readonly Group[]
  /** Windows that a feature asks for, and the cursors [lo, hi) of each for the entity and T at hand. */
  readonly #windows: readonly number[]
  readonly #los: Float64Array
  readonly #his: Float64Array
  readonly #fold = new Fold()
  #big: BigTally | null = null

  constructor(plan: ViewPlan, names?: readonly string[]) {
    this.plan = plan
    this.features =
      names === undefined
        ? plan.features
        : names.map((name) => plan.features.find((feature) => feature.definition.name === name) as FeaturePlan)
    const groups = new Map<string, { at: number; plan: FeaturePlan }[]>()
    this.features.forEach((feature, at) => {
      const key = `${feature.window}/${feature.input}`
      const members = groups.get(key) ?? []
      groups.set(key, members)
      members.push({ at, plan: feature })
    })
    this.#groups = joined(
      [...groups.values()].map((members) => groupOf(plan, members)),
      plan,
    )
    this.#windows = [...new Set(this.#groups.map(({ window }) => window))]
    this.#los = new Float64Array(plan.windows.length)
    this.#his = new Float64Array(plan.windows.length)
  }

  /** Builders for `rows` rows of the features, in order. */
  builders(rows: number): ColumnBuilder[] {
    return this.features.map(
      (feature) =>
        new ColumnBuilder(rows, {
          name: feature.reference,
          type: feature.valueType,
          fingerprint: feature.fingerprint,
          counts: feature.valueType.kind === 'scalar' && isCount(feature),
        }),
    )
  }

  /**
   * Sets row `row` of every builder to the features of an entity (null: it was never seen) as of (T, K).
   *
   * Returns false, and sets nothing, when pruned events would be needed: the answer is then in the offline store.
   */
  finish(events: EntityEvents | null, asOf: AsOf, builders: readonly ColumnBuilder[], row: number): boolean {
    if (events === null) return this.#setAll(builders, row, Status.NOT_FOUND)
    const { asOfMs, knownAsOfMs } = asOf
    const { plan } = this
    const { state, entity } = events
    const store = state.events
    const prunedNewest = store.prunedNewestMs(entity)
    const wasPruned = prunedNewest > Number.NEGATIVE_INFINITY
    // Without a bound on the reach both sides are -Infinity where nothing was pruned.
    if (wasPruned && prunedNewest >= asOfMs - plan.reachMs) return false

    const end = store.lowerBound(entity, asOfMs)
    const newestHeld = newestLiveMs(store, entity, end, knownAsOfMs)
    // Where nothing newer counts, pruned events decide: which of them are visible depends on K unless all are, and on what
    // took them back. In memory they may have company: what arrived since and is as old, whose corrections may be pruned.
    const byPruned = wasPruned && newestHeld <= prunedNewest
    if (byPruned && (plan.corrected || store.prunedKnownMs(entity) > knownAsOfMs)) return false
    const newest = byPruned ? prunedNewest : newestHeld
    if (newest === Number.NEGATIVE_INFINITY) return this.#setAll(builders, row, Status.NOT_FOUND)
    if (newest < ttlStart(asOfMs, plan.view.ttlMs)) return this.#setAll(builders, row, Status.EXPIRED)
    this.#findWindows(events, end, asOf)
    for (const group of this.#groups) {
      const lo = this.#los[group.window] as number
      const hi = this.#his[group.window] as number
      if (group.partEnds === null) {
        this.#gather(group, events, lo, hi, knownAsOfMs)
        for (const { at, plan: feature } of group.members)
          put(builders[at] as ColumnBuilder, row, this.#valueOf(feature, group, events, lo, hi, knownAsOfMs))
      } else this.#finishSeries(group, group.partEnds, events, lo, asOf, builders, row)
    }
    return true
  }

  /** A series is its group finished once per part; the parts follow one another from cursor `lo` on. */
  #finishSeries(
    group: Group,
    partEnds: readonly number[],
    events: EntityEvents,
    lo: number,
    { asOfMs, knownAsOfMs }: AsOf,
    builders: readonly ColumnBuilder[],
    row: number,
  ): void {
    const lists = group.members.map((): Finished[] => [])
    let from = lo
    for (const endsBeforeMs of partEnds) {
      const to = events.state.events.lowerBound(events.entity, asOfMs - endsBeforeMs)
      this.#gather(group, events, from, to, knownAsOfMs)
      group.members.forEach(({ plan: feature }, index) =>
        lists[index]?.push(this.#valueOf(feature, group, events, from, to, knownAsOfMs)),
      )
      from = to
    }
    group.members.forEach(({ at }, index) => {
      const list = lists[index] as Finished[]
      put(builders[at] as ColumnBuilder, row, list.includes(overflow) ? overflow : (list as readonly Scalar[]))
    })
  }

  /** Sets the cursors [lo, hi) of every window that a feature asks for; `end` is the first event at or after T. */
  #findWindows({ state, entity }: EntityEvents, end: number, asOf: AsOf): void {
    const { asOfMs, knownAsOfMs } = asOf
    const { windows, view } = this.plan
    const store = state.events
    for (const index of this.#windows) {
      const window = windows[index] as WindowDefinition
      const endMs = windowEnd(asOfMs, window)
      const lo = store.lowerBound(entity, windowStart(asOfMs, window, view.ttlMs))
      const hi = endMs === asOfMs ? end : store.lowerBound(entity, endMs)
      this.#los[index] =
        window.kind === 'rows'
          ? nthLastLive(store, entity, lo, hi, knownAsOfMs, window.count)
          : window.kind === 'session'
            ? sessionStart(store, entity, lo, hi, asOf, window.gapMs)
            : lo
      this.#his[index] = hi
    }
  }

  #setAll(
    builders: readonly ColumnBuilder[],
    row: number,
    status: typeof Status.NOT_FOUND | typeof Status.EXPIRED,
  ): true {
    for (const builder of builders) builder.setStatus(row, status)
    return true
  }

  /** Sums and extremes that members of the group share. */
  #gather(group: Group, { state, entity }: EntityEvents, lo: number, hi: number, knownAsOfMs: number): void {
    const { numbers, input } = group
    this.#big = null
    if (numbers === null) return
    // Cursors count places, taken or not: at least as many as there are events.
    const many = group.tally && hi - lo > tallyEventsMax && (state.plan.inputs[input] as InputPlan).type === 'int32'
    if (numbers === 'big' || many) this.#big = tallyBigIntegers(state, entity, input, lo, hi, knownAsOfMs)
    else this.#fold.run(group, state, entity, lo, hi, knownAsOfMs)
  }

  #valueOf(
    { definition: { aggregation }, input }: FeaturePlan,
    { tally }: Group,
    { state, entity }: EntityEvents,
    lo: number,
    hi: number,
    knownAsOfMs: number,
  ): Finished {
    switch (aggregation.function) {
      case 'first':
        return firstItem(state, entity, input, lo, hi, knownAsOfMs)
      case 'last':
        return lastItems(state, entity, input, lo, hi, knownAsOfMs, 1)[0] ?? null
      case 'lastN': {
        const items = lastItems(state, entity, input, lo, hi, knownAsOfMs, aggregation.n ?? 1)
        return items.length === 0 ? null : items
      }
      case 'distinctCount':
        return distinctItems(state, entity, input, lo, hi, knownAsOfMs)
      case 'count':
        if (input < 0) return this.#fold.events
        return this.#big?.n ?? this.#fold.tally.n
      case 'share':
        return this.#fold.tally.n === 0 ? null : this.#fold.tally.sum / this.#fold.tally.n
      case 'min':
      case 'max':
      case 'sum':
      case 'mean':
      case 'variance':
      case 'stddev':
        if (this.#big !== null) return bigValue(aggregation, this.#big, state.plan.inputs[input] as InputPlan)
        return tally
          ? tallyValue(aggregation, this.#fold.tally)
          : floatValue(aggregation, this.#fold.moments, this.#fold.extremes)
    }
  }
}

function groupOf(plan: ViewPlan, members: readonly { readonly at: number; readonly plan: FeaturePlan }[]): Group {
  const { window, input } = (members[0] as { readonly plan: FeaturePlan }).plan
  const wants = (...functions: readonly string[]): boolean =>
    members.some(({ plan: feature }) => functions.includes(feature.definition.aggregation.function))
  const type = plan.inputs[input]?.type
  const tally = type === 'int32' || type === 'bool'
  const extremes = !tally && wants('min', 'max')
  const squares = wants('variance', 'stddev')
  const sums = type === 'float64' && (squares || wants('sum', 'mean'))
  const needed = members.some(({ plan: feature }) => numeric.has(feature.definition.aggregation.function))
  const numbers = !needed ? null : type === 'int64' || type === 'decimal' ? 'big' : 'fold'
  const asked = plan.windows[window] as WindowDefinition
  const partEnds = asked.kind === 'series' ? seriesParts(asked).map((part) => -windowEnd(0, part)) : null
  return { window, input, members, numbers, tally, extremes, sums, squares, partEnds }
}

/** A count of all events joins a fold over its window that is made anyway. */
function joined(groups: readonly Group[], plan: ViewPlan): Group[] {
  const hosts = groups.filter(({ input, numbers, partEnds }) => {
    // Not int32: of very many, no fold is made.
    return numbers === 'fold' && partEnds === null && input >= 0 && plan.inputs[input]?.type !== 'int32'
  })
  const guests = new Map<Group, Group>()
  for (const group of groups) {
    const host = group.input < 0 ? hosts.find(({ window }) => window === group.window) : undefined
    if (host !== undefined) guests.set(group, host)
  }
  return groups
    .filter((group) => !guests.has(group))
    .map((group) => {
      const joining = [...guests].flatMap(([guest, host]) => (host === group ? guest.members : []))
      return joining.length === 0 ? group : { ...group, members: [...group.members, ...joining] }
    })
}

function put(builder: ColumnBuilder, row: number, value: Finished): void {
  if (value === null) builder.setStatus(row, Status.NULL)
  else if (value === overflow) builder.setStatus(row, Status.OVERFLOW)
  else if (typeof value === 'object') builder.setList(row, value)
  else builder.setValue(row, value)
}

function tallyValue({ function: name, divisor = 'sample' }: AggregationDefinition, tally: Tally): Finished {
  const { n, sum, squaresHi, squaresLo } = tally
  switch (name) {
    case 'min':
      return n === 0 ? null : tally.min
    case 'max':
      return n === 0 ? null : tally.max
    case 'sum':
      return n === 0 ? null : sum
    case 'mean':
      return meanOfIntegers(n, sum)
    default:
      return (name === 'variance' ? varianceOfIntegers : stddevOfIntegers)(n, sum, squaresHi, squaresLo, divisor)
  }
}

function floatValue(
  { function: name, divisor = 'sample' }: AggregationDefinition,
  moments: FloatMoments,
  extremes: Extremes,
): Finished {
  switch (name) {
    case 'min':
      return extremes.n === 0 ? null : extremes.min
    case 'max':
      return extremes.n === 0 ? null : extremes.max
    case 'sum':
      return moments.sum()
    case 'mean':
      return moments.mean()
    case 'variance':
      return moments.variance(divisor)
    default:
      return moments.stddev(divisor)
  }
}

function bigValue(
  { function: name, divisor = 'sample' }: AggregationDefinition,
  { n, sum, squares, min, max }: BigTally,
  { type, scale = 0 }: InputPlan,
): Finished {
  const decimal = type === 'decimal'
  const own = (value: bigint): Scalar => (type === 'int64' || decimal ? value : Number(value))
  switch (name) {
    case 'min':
      return n === 0 ? null : own(min)
    case 'max':
      return n === 0 ? null : own(max)
    case 'sum':
      if (n === 0) return null
      if (decimal) return sum > unscaledMax || sum < -unscaledMax ? overflow : sum
      return sum > int64Max || sum < -int64Max - 1n ? overflow : sum
    case 'mean':
      return decimal ? meanOfDecimals(n, sum, scale) : meanOfBigIntegers(n, sum)
    default:
      if (decimal) return (name === 'variance' ? varianceOfDecimals : stddevOfDecimals)(n, sum, squares, scale, divisor)
      return (name === 'variance' ? varianceOfBigIntegers : stddevOfBigIntegers)(n, sum, squares, divisor)
  }
}

const isCount = (feature: FeaturePlan): boolean =>
  ['count', 'distinctCount'].includes(feature.definition.aggregation.function)
