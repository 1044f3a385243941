import { ttlStart, windowEnd, windowStart, type AsOf } from '../asof/visible.ts'
import type { WindowDefinition } from '../definition/types.ts'
import { ExactSquares, ExactSum, exactMean, exactStddev, exactVariance } from '../number/exact-sum.ts'
import {
  meanOfBigIntegers,
  meanOfIntegers,
  stddevOfBigIntegers,
  stddevOfIntegers,
  varianceOfBigIntegers,
  varianceOfIntegers,
} from '../number/integer-moments.ts'
import { ColumnBuilder } from './column-builder.ts'
import type { EntityColumns, InputColumn } from './entity-columns.ts'
import { scalarOf, Status, valueAt, type FeatureColumn, type ValueType } from './feature-column.ts'
import type { Scalar } from '../event/types.ts'
import type { FeaturePlan, InputPlan, ViewPlan } from './plan.ts'
import {
  countKnown,
  distinctItems,
  firstPresent,
  itemAt,
  lastPresent,
  lastPresentItems,
  newestKnown,
  nthLastKnown,
  presentBigInts,
  sessionStart,
  tallyInput,
} from './scan.ts'
import { Tally } from './summaries.ts'

/** Features that read the same input over the same window, computed together. */
interface Group {
  readonly window: number
  readonly input: number
  /** Position of each feature among those asked for. */
  readonly members: readonly { readonly at: number; readonly plan: FeaturePlan }[]
  readonly needsTally: boolean
  /** Over a series: where each part is finished as if it were a row, by the position of the feature. */
  readonly series: Series | null
}

interface Series {
  readonly spanMs: number
  readonly stepMs: number
  readonly parts: number
  readonly builders: ColumnBuilder[]
  /** Of `builders`, whose arrays they show. */
  readonly columns: FeatureColumn[]
}

/** `count` over an input counts where it is not null. */
const tallied = new Set(['count', 'sum', 'mean', 'variance', 'stddev', 'share', 'min', 'max'])
const int64Max = 2n ** 63n - 1n
/** Up to this many int32 values the lanes of a tally are exact; of bools any number. */
const tallyEventsMax = 1 << 22

/**
 * Finishes features of one view from the columns of an entity, at any (T, K). One instance serves one thread.
 *
 * Runs whose newest knownAt is at or before K are merged whole; others, and the edges of a window, event by event.
 */
export class ViewFinisher {
  readonly plan: ViewPlan
  readonly features: readonly FeaturePlan[]
  readonly #groups: readonly Group[]
  /** Windows that a feature asks for, and the slots [lo, hi) of each for the entity and T at hand. */
  readonly #windows: readonly number[]
  readonly #los: Int32Array
  readonly #his: Int32Array
  readonly #tally = new Tally()
  readonly #sum = new ExactSum()
  readonly #squares = new ExactSquares()

  constructor(plan: ViewPlan, names?: readonly string[]) {
    this.plan = plan
    this.features =
      names === undefined
        ? plan.features
        : names.map((name) => plan.features.find((feature) => feature.definition.name === name) as FeaturePlan)
    const groups = new Map<string, { window: number; input: number; members: { at: number; plan: FeaturePlan }[] }>()
    this.features.forEach((feature, at) => {
      const key = `${feature.window}/${feature.input}`
      const group = groups.get(key) ?? { window: feature.window, input: feature.input, members: [] }
      groups.set(key, group)
      group.members.push({ at, plan: feature })
    })
    this.#groups = [...groups.values()].map((group) => ({
      ...group,
      needsTally: group.members.some(({ plan: feature }) => tallied.has(feature.definition.aggregation.function)),
      series: seriesOf(plan.windows[group.window] as WindowDefinition, group.members),
    }))
    this.#windows = [...new Set(this.#groups.map(({ window }) => window))]
    this.#los = new Int32Array(plan.windows.length)
    this.#his = new Int32Array(plan.windows.length)
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
   * Sets row `row` of every builder to the features of `entity` (null: it was never seen) as of (T, K).
   *
   * Returns false, and sets nothing, when pruned events would be needed: the answer is then in the offline store.
   */
  finish(entity: EntityColumns | null, asOf: AsOf, builders: readonly ColumnBuilder[], row: number): boolean {
    if (entity === null) return this.#setAll(builders, row, Status.NOT_FOUND)
    const { asOfMs, knownAsOfMs } = asOf
    const { plan } = this
    // Without a bound on the reach both sides are -Infinity where nothing was pruned.
    if (entity.prunedNewestMs > Number.NEGATIVE_INFINITY && entity.prunedNewestMs >= asOfMs - plan.reachMs) return false

    const hi = entity.lowerBound(asOfMs)
    const newest = newestKnown(entity, hi, knownAsOfMs)
    const from = ttlStart(asOfMs, plan.view.ttlMs)
    if (newest < entity.start || (entity.times[newest] as number) < from) {
      if (entity.prunedNewestMs > Number.NEGATIVE_INFINITY && newest < entity.start) {
        // Only pruned events may be visible: which of them depends on K unless all are.
        if (entity.prunedKnownMs > knownAsOfMs) return false
        if (entity.prunedNewestMs < from) return this.#setAll(builders, row, Status.EXPIRED)
      } else return this.#setAll(builders, row, newest < entity.start ? Status.NOT_FOUND : Status.EXPIRED)
    }
    this.#findWindows(entity, hi, asOf)
    for (const group of this.#groups) {
      const lo = this.#los[group.window] as number
      const hi = this.#his[group.window] as number
      if (group.series !== null) this.#finishSeries(group, group.series, entity, lo, hi, asOf, builders, row)
      else this.#finishGroup(group, entity, lo, hi, knownAsOfMs, builders, row)
    }
    return true
  }

  /** A series is its group finished once per part; the parts lie in slots [lo, end), one after the other. */
  #finishSeries(
    group: Group,
    series: Series,
    entity: EntityColumns,
    lo: number,
    end: number,
    { asOfMs, knownAsOfMs }: AsOf,
    builders: readonly ColumnBuilder[],
    row: number,
  ): void {
    for (let part = 0; part < series.parts; part++) {
      const hi =
        part + 1 === series.parts ? end : entity.lowerBound(asOfMs - series.spanMs + (part + 1) * series.stepMs)
      this.#finishGroup(group, entity, lo, hi, knownAsOfMs, series.builders, part)
      lo = hi
    }
    for (const { at } of group.members) {
      const column = series.columns[at] as FeatureColumn
      const builder = builders[at] as ColumnBuilder
      if (column.statuses.includes(Status.OVERFLOW)) builder.setStatus(row, Status.OVERFLOW)
      else
        builder.setList(
          row,
          Array.from({ length: series.parts }, (_, part) => valueAt(column, part) as Scalar),
        )
    }
  }

  /** Sets the slots [lo, hi) of every window that a feature asks for; `end` is the first slot at or after T. */
  #findWindows(entity: EntityColumns, end: number, asOf: AsOf): void {
    const { asOfMs, knownAsOfMs } = asOf
    const { windows, view } = this.plan
    for (const index of this.#windows) {
      const window = windows[index] as WindowDefinition
      const endMs = windowEnd(asOfMs, window)
      const lo = entity.lowerBound(windowStart(asOfMs, window, view.ttlMs))
      const hi = endMs === asOfMs ? end : entity.lowerBound(endMs)
      this.#los[index] =
        window.kind === 'rows'
          ? nthLastKnown(entity, lo, hi, knownAsOfMs, window.count)
          : window.kind === 'session'
            ? sessionStart(entity, lo, hi, asOf, window.gapMs)
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

  #finishGroup(
    group: Group,
    entity: EntityColumns,
    lo: number,
    hi: number,
    knownAsOfMs: number,
    builders: readonly ColumnBuilder[],
    row: number,
  ): void {
    if (group.input < 0) {
      const events = countKnown(entity, this.plan.inputs, lo, hi, knownAsOfMs)
      for (const { at } of group.members) (builders[at] as ColumnBuilder).setValue(row, events)
      return
    }
    const input = entity.inputs[group.input] as InputColumn
    const exactTally =
      group.needsTally && (input.type === 'bool' || (input.type === 'int32' && hi - lo <= tallyEventsMax))
    if (
      exactTally ||
      (group.needsTally && (this.plan.inputs[group.input] as InputPlan).extremes && input.type !== 'int64')
    ) {
      tallyInput(this.#tally, entity, this.plan.inputs, group.input, lo, hi, knownAsOfMs)
    }
    if (group.needsTally && input.type === 'float64' && (this.plan.inputs[group.input] as InputPlan).moments) {
      this.#sumFloats(entity, input, lo, hi, knownAsOfMs, group)
    }
    for (const { at, plan } of group.members)
      this.#setFeature(builders[at] as ColumnBuilder, row, plan, entity, input, lo, hi, knownAsOfMs, exactTally)
  }

  #floats = 0

  #sumFloats(
    entity: EntityColumns,
    input: InputColumn,
    lo: number,
    hi: number,
    knownAsOfMs: number,
    group: Group,
  ): void {
    const values = input.values as Float64Array
    const squares = group.members.some(
      ({ plan }) =>
        plan.definition.aggregation.function === 'variance' || plan.definition.aggregation.function === 'stddev',
    )
    this.#sum.reset()
    if (squares) this.#squares.reset()
    this.#floats = 0
    for (let slot = lo; slot < hi; slot++) {
      if ((entity.knowns[slot] as number) > knownAsOfMs || input.nulls?.[slot] === 1) continue
      this.#floats++
      this.#sum.add(values[slot] as number)
      if (squares) this.#squares.add(values[slot] as number)
    }
  }

  #setFeature(
    builder: ColumnBuilder,
    row: number,
    plan: FeaturePlan,
    entity: EntityColumns,
    input: InputColumn,
    lo: number,
    hi: number,
    knownAsOfMs: number,
    exactTally: boolean,
  ): void {
    const { aggregation } = plan.definition
    const tally = this.#tally
    const set = (value: number | null): void =>
      value === null ? builder.setStatus(row, Status.NULL) : builder.setValue(row, value)
    switch (aggregation.function) {
      case 'first':
      case 'last': {
        const slot =
          aggregation.function === 'first'
            ? firstPresent(entity, input, lo, hi, knownAsOfMs)
            : lastPresent(entity, input, lo, hi, knownAsOfMs)
        if (slot < 0) builder.setStatus(row, Status.NULL)
        else builder.setValue(row, itemAt(input, slot))
        return
      }
      case 'lastN': {
        const items = lastPresentItems(entity, input, lo, hi, knownAsOfMs, aggregation.n ?? 1)
        if (items.length === 0) builder.setStatus(row, Status.NULL)
        else builder.setList(row, items)
        return
      }
      case 'distinctCount':
        builder.setValue(row, distinctItems(entity, input, lo, hi, knownAsOfMs))
        return
      case 'min':
      case 'max':
        if (input.type === 'int64') {
          const items = presentBigInts(entity, input, lo, hi, knownAsOfMs)
          if (items.length === 0) builder.setStatus(row, Status.NULL)
          else
            builder.setValue(
              row,
              items.reduce((best, item) =>
                (aggregation.function === 'min' ? item < best : item > best) ? item : best,
              ),
            )
          return
        }
        return set(tally.n === 0 ? null : aggregation.function === 'min' ? tally.min : tally.max)
      case 'sum':
      case 'mean':
      case 'variance':
      case 'stddev': {
        const divisor = aggregation.divisor ?? 'sample'
        if (input.type === 'float64') {
          const n = this.#floats
          if (aggregation.function === 'sum') return set(n === 0 ? null : this.#sum.round())
          if (aggregation.function === 'mean') return set(exactMean(this.#sum, n))
          return set(
            aggregation.function === 'variance'
              ? exactVariance(this.#sum, this.#squares, n, divisor)
              : exactStddev(this.#sum, this.#squares, n, divisor),
          )
        }
        if (exactTally) {
          const { n, sum } = tally
          if (aggregation.function === 'sum') return set(n === 0 ? null : sum)
          if (aggregation.function === 'mean') return set(meanOfIntegers(n, sum))
          const moment = aggregation.function === 'variance' ? varianceOfIntegers : stddevOfIntegers
          return set(moment(n, sum, tally.squaresHi, tally.squaresLo, divisor))
        }
        const items = presentBigInts(entity, input, lo, hi, knownAsOfMs)
        const sum = items.reduce((total, item) => total + item, 0n)
        if (aggregation.function === 'sum') {
          if (items.length === 0) builder.setStatus(row, Status.NULL)
          else if (sum > int64Max || sum < -int64Max - 1n) builder.setStatus(row, Status.OVERFLOW)
          else builder.setValue(row, sum)
          return
        }
        if (aggregation.function === 'mean') return set(meanOfBigIntegers(items.length, sum))
        const squares = items.reduce((total, item) => total + item * item, 0n)
        return set(
          (aggregation.function === 'variance' ? varianceOfBigIntegers : stddevOfBigIntegers)(
            items.length,
            sum,
            squares,
            divisor,
          ),
        )
      }
      case 'share':
        return set(tally.n === 0 ? null : tally.sum / tally.n)
      case 'count':
        return set(tally.n)
    }
  }
}

function seriesOf(window: WindowDefinition, members: Group['members']): Series | null {
  if (window.kind !== 'series') return null
  const { spanMs, stepMs } = window
  const series: Series = { spanMs, stepMs, parts: spanMs / stepMs, builders: [], columns: [] }
  for (const { at, plan } of members) {
    const { reference: name, fingerprint, valueType } = plan
    const type = scalarOf((valueType as Extract<ValueType, { kind: 'list' }>).of)
    const builder = (series.builders[at] = new ColumnBuilder(series.parts, { name, type, fingerprint }))
    series.columns[at] = builder.build()
  }
  return series
}

const isCount = (feature: FeaturePlan): boolean =>
  ['count', 'distinctCount'].includes(feature.definition.aggregation.function)
