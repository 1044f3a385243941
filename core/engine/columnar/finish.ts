import { ttlStart, windowEnd, windowStart, type AsOf } from '../../asof/visible.ts'
import type { WindowDefinition } from '../../definition/types.ts'
import { ColumnBuilder } from '../column-builder.ts'
import { Status } from '../feature-column.ts'
import { bigValue, floatValue, overflow, putFinished, tallyValue, type BigTally, type Finished } from '../finished.ts'
import type { FeaturePlan, InputPlan, ViewPlan } from '../plan.ts'
import { FloatMoments } from '../state/float-moments.ts'
import { Extremes, Tally } from '../state/tally.ts'
import type { Scalar } from '../../event/types.ts'
import { eventsOf, firstFrom, type EventColumns, type InputColumn, type ViewColumns } from './columns.ts'
import { groupsOf, wantedOf, type Group } from './groups.ts'
import { InputPrefix } from './input-prefix.ts'
import { Settled } from './settled.ts'
import { SlidingDistinct } from './sliding-distinct.ts'
import {
  addEachMoment,
  bigTally,
  distinctItems,
  firstItem,
  lastItems,
  newestVisibleMs,
  nthLastVisible,
  sessionFrom,
} from './walk.ts'

/**
 * Finishes features from a history in columns: entity after entity, each at any moments (T, K), fastest where T ascends.
 * Bit for bit what `ViewFinisher` gives over the same events; that one serves state that changes, this one history that
 * does not. One instance serves one thread.
 *
 * Cost of an entity: its events once, for prefix sums; of a moment: what is not settled at K (settled.ts), and what
 * functions without prefix sums (first, last, lists, int64, decimals) read.
 */
export class ColumnarFinisher {
  readonly plan: ViewPlan
  readonly features: readonly FeaturePlan[]
  readonly #groups: readonly Group[]
  readonly #windows: readonly number[]
  /** By window: the places [lo, hi) at hand, and where they were found at the moment before. */
  readonly #los: Int32Array
  readonly #his: Int32Array
  readonly #firsts: Int32Array
  readonly #lasts: Int32Array
  readonly #loHints: Int32Array
  readonly #hiHints: Int32Array
  #endHint = 0
  readonly #settled = new Settled()
  readonly #prefixes: readonly InputPrefix[]
  readonly #built: boolean[]
  /** By group: of those that count distinct strings. */
  readonly #distincts = new Map<Group, SlidingDistinct>()
  readonly #distinctBuilt = new Set<SlidingDistinct>()
  #events: EventColumns | null = null
  readonly #tally = new Tally()
  /** By input: of the events looked at, those [from, to); to -1: none were added yet. */
  readonly #lives: readonly Tally[]
  readonly #liveFrom: Int32Array
  readonly #liveTo: Int32Array
  readonly #extremes = new Extremes()
  readonly #moments = new FloatMoments()
  #big: BigTally | null = null
  #count = 0

  constructor(plan: ViewPlan, names?: readonly string[]) {
    this.plan = plan
    this.features =
      names === undefined
        ? plan.features
        : names.map((name) => plan.features.find((feature) => feature.definition.name === name) as FeaturePlan)
    this.#groups = groupsOf(plan, this.features)
    this.#windows = [...new Set(this.#groups.map(({ window }) => window))]
    this.#los = new Int32Array(plan.windows.length)
    this.#his = new Int32Array(plan.windows.length)
    this.#firsts = new Int32Array(plan.windows.length)
    this.#lasts = new Int32Array(plan.windows.length)
    this.#loHints = new Int32Array(plan.windows.length)
    this.#hiHints = new Int32Array(plan.windows.length)
    this.#prefixes = wantedOf(plan, this.#groups).map((wanted) => new InputPrefix(wanted))
    this.#lives = plan.inputs.map(() => new Tally())
    this.#liveFrom = new Int32Array(plan.inputs.length)
    this.#liveTo = new Int32Array(plan.inputs.length)
    this.#built = plan.inputs.map(() => false)
    for (const group of this.#groups)
      if (
        plan.inputs[group.input]?.type === 'string' &&
        group.members.some(({ plan: feature }) => feature.definition.aggregation.function === 'distinctCount')
      )
        this.#distincts.set(group, new SlidingDistinct())
  }

  /** Builders for `rows` rows of the features, in order. */
  builders(rows: number): ColumnBuilder[] {
    return this.features.map(
      ({ reference, valueType, fingerprint, definition }) =>
        new ColumnBuilder(rows, {
          name: reference,
          type: valueType,
          fingerprint,
          counts: valueType.kind === 'scalar' && ['count', 'distinctCount'].includes(definition.aggregation.function),
        }),
    )
  }

  /** The entity that `finish` is about from now on; one beyond those of the history was never seen. */
  begin(columns: ViewColumns, entity: number): void {
    const { starts } = columns
    const from = starts[entity] ?? 0
    const to = starts[entity + 1] ?? 0
    this.#events = from < to ? eventsOf(columns, from, to) : null
    this.#endHint = 0
    this.#loHints.fill(0)
    this.#hiHints.fill(0)
    this.#built.fill(false)
    for (const sliding of this.#distinctBuilt) sliding.end()
    this.#distinctBuilt.clear()
    if (this.#events !== null) this.#settled.begin(this.#events)
  }

  /** Sets row `row` of every builder to the features of the entity as of (T, K). */
  finish(asOf: AsOf, builders: readonly ColumnBuilder[], row: number): void {
    const events = this.#events
    if (events === null) return setAll(builders, row, Status.NOT_FOUND)
    const { asOfMs, knownAsOfMs } = asOf
    const end = firstFrom(events.times, events.times.length, asOfMs, this.#endHint, false)
    this.#endHint = end
    const first = this.#findWindows(events, end, asOf)
    const settled = this.#settled.at(knownAsOfMs)
    this.#settled.look(first, end, settled, knownAsOfMs)
    this.#liveTo.fill(-1)
    const newest = this.#newestMs(events, first, end, settled, knownAsOfMs)
    if (newest === Number.NEGATIVE_INFINITY) return setAll(builders, row, Status.NOT_FOUND)
    if (newest < ttlStart(asOfMs, this.plan.view.ttlMs)) return setAll(builders, row, Status.EXPIRED)
    this.#findLive(end)
    for (const group of this.#groups) {
      const { window } = group
      const lo = this.#los[window] as number
      const hi = this.#his[window] as number
      if (group.partEnds === null) {
        const [first, last] = [this.#firsts[window] as number, this.#lasts[window] as number]
        this.#gather(group, events, lo, hi, first, last, settled, knownAsOfMs)
        for (const { at, plan: feature } of group.members)
          putFinished(builders[at] as ColumnBuilder, row, this.#valueOf(feature, group, events, lo, hi, settled, asOf))
      } else this.#finishSeries(group, group.partEnds, events, settled, asOf, builders, row)
    }
  }

  /** Event time of the newest event that counts, -Infinity when there is none: those of [first, end) were looked at. */
  #newestMs(events: EventColumns, first: number, end: number, settled: number, knownAsOfMs: number): number {
    const { places, found } = this.#settled
    const place = found > 0 ? (places[found - 1] as number) : -1
    if (place >= settled) return events.times[place] as number
    return newestVisibleMs(events, Math.max(first, Math.min(settled, end)), knownAsOfMs)
  }

  /** A series is its group finished once per part; the parts follow one another from place `lo` on. */
  #finishSeries(
    group: Group,
    partEnds: readonly number[],
    events: EventColumns,
    settled: number,
    asOf: AsOf,
    builders: readonly ColumnBuilder[],
    row: number,
  ): void {
    const lists = group.members.map((): Finished[] => [])
    let from = this.#los[group.window] as number
    for (const endsBeforeMs of partEnds) {
      const to = firstFrom(events.times, events.times.length, asOf.asOfMs - endsBeforeMs, from, false)
      const [first, last] = [this.#settled.from(from), this.#settled.from(to)]
      this.#gather(group, events, from, to, first, last, settled, asOf.knownAsOfMs)
      group.members.forEach(({ plan: feature }, index) =>
        lists[index]?.push(this.#valueOf(feature, group, events, from, to, settled, asOf)),
      )
      from = to
    }
    group.members.forEach(({ at }, index) => {
      const list = lists[index] as Finished[]
      putFinished(builders[at] as ColumnBuilder, row, list.includes(overflow) ? overflow : (list as readonly Scalar[]))
    })
  }

  /** Sets the places [lo, hi) of every window; the first place of them all. `end` is the first event at or after T. */
  #findWindows(events: EventColumns, end: number, { asOfMs, knownAsOfMs }: AsOf): number {
    const { windows, view } = this.plan
    const { times } = events
    let first = end
    for (const index of this.#windows) {
      const window = windows[index] as WindowDefinition
      const endMs = windowEnd(asOfMs, window)
      let lo = firstFrom(
        times,
        times.length,
        windowStart(asOfMs, window, view.ttlMs),
        this.#loHints[index] as number,
        false,
      )
      this.#loHints[index] = lo
      let hi = end
      if (endMs !== asOfMs) {
        hi = firstFrom(times, times.length, endMs, this.#hiHints[index] as number, false)
        this.#hiHints[index] = hi
      }
      if (window.kind === 'rows') lo = nthLastVisible(events, lo, hi, knownAsOfMs, window.count)
      else if (window.kind === 'session') lo = sessionFrom(events, lo, hi, asOfMs, knownAsOfMs, window.gapMs)
      this.#los[index] = lo
      this.#his[index] = Math.max(lo, hi)
      if (lo < first) first = lo
    }
    return first
  }

  /** Of the events looked at, [first, last) of every window. */
  #findLive(end: number): void {
    for (const index of this.#windows) {
      const hi = this.#his[index] as number
      this.#firsts[index] = this.#settled.from(this.#los[index] as number)
      this.#lasts[index] = hi === end ? this.#settled.found : this.#settled.from(hi)
    }
  }

  /** Sums and extremes that members of the group share: settled events by their prefixes, the others one by one. */
  #gather(
    group: Group,
    events: EventColumns,
    lo: number,
    hi: number,
    first: number,
    last: number,
    settled: number,
    knownAsOfMs: number,
  ): void {
    const to = Math.max(lo, Math.min(hi, settled))
    this.#big = null
    if (group.input < 0) this.#count = this.#settled.count(lo, to) + last - first
    if (group.numbers === 'none') return
    const column = events.inputs[group.input] as InputColumn
    if (group.numbers === 'big') {
      this.#big = bigTally(events, column, lo, hi, knownAsOfMs)
      return
    }
    const prefix = this.#prefixOf(group.input, events)
    if (column.type === 'int32' || column.type === 'bool') {
      if (prefix.exact) this.#gatherTally(group, prefix, lo, to, first, last)
      else this.#big = bigTally(events, column, lo, hi, knownAsOfMs)
    } else if (column.type === 'float64' || column.type === 'timestamp') {
      if (group.extremes) this.#gatherExtremes(prefix, lo, to, first, last)
      if (column.type === 'timestamp' || !group.sums) return
      this.#moments.reset(group.squares, prefix.exact ? prefix.anchor : 0)
      if (!prefix.exact) return addEachMoment(this.#moments, events, column, lo, hi, knownAsOfMs)
      prefix.addMoments(this.#moments, lo, to)
      const { places } = this.#settled
      for (let index = first; index < last; index++) {
        const value = prefix.values[places[index] as number] as number
        if (value === value) this.#moments.add(value)
      }
    }
  }

  #gatherTally(group: Group, prefix: InputPrefix, lo: number, to: number, first: number, last: number): void {
    const tally = this.#tally
    tally.reset()
    prefix.addTally(tally, lo, to)
    if (group.extremes) {
      const { min, max } = prefix.extremesOf(lo, to)
      tally.min = min
      tally.max = max
    }
    if (first === last) return
    const live = this.#liveTally(group.input, prefix.values, first, last)
    tally.n += live.n
    tally.sum += live.sum
    tally.sumOver += live.sumOver
    tally.squaresHi += live.squaresHi
    tally.squaresLo += live.squaresLo
    tally.squaresOver += live.squaresOver
    tally.carry()
    if (live.min < tally.min) tally.min = live.min
    if (live.max > tally.max) tally.max = live.max
  }

  /** Events [first, last) of those looked at. Of windows that end together the shorter one is a part of the longer. */
  #liveTally(input: number, values: Float64Array, first: number, last: number): Tally {
    const { places } = this.#settled
    const live = this.#lives[input] as Tally
    let from = this.#liveFrom[input] as number
    if (this.#liveTo[input] !== last || from < first) {
      live.reset()
      this.#liveTo[input] = from = last
    }
    while (from > first) {
      const value = values[places[--from] as number] as number
      if (value !== value) continue
      live.addInteger(value)
      live.carry()
    }
    this.#liveFrom[input] = from
    return live
  }

  #gatherExtremes(prefix: InputPrefix, lo: number, to: number, first: number, last: number): void {
    const extremes = this.#extremes
    const { places } = this.#settled
    extremes.reset()
    const { min, max } = prefix.extremesOf(lo, to)
    if (min <= max) {
      extremes.n = 1
      extremes.min = min
      extremes.max = max
    }
    for (let index = first; index < last; index++) extremes.add(prefix.values[places[index] as number] as number)
  }

  #prefixOf(input: number, events: EventColumns): InputPrefix {
    const prefix = this.#prefixes[input] as InputPrefix
    if (this.#built[input] !== true) {
      prefix.build(events.inputs[input] as InputColumn, events.times.length, this.#settled.left)
      this.#built[input] = true
    }
    return prefix
  }

  #valueOf(
    { definition: { aggregation }, input }: FeaturePlan,
    group: Group,
    events: EventColumns,
    lo: number,
    hi: number,
    settled: number,
    { knownAsOfMs }: AsOf,
  ): Finished {
    const column = events.inputs[input] as InputColumn
    switch (aggregation.function) {
      case 'first':
        return firstItem(events, column, lo, hi, knownAsOfMs)
      case 'last':
        return lastItems(events, column, lo, hi, knownAsOfMs, 1)[0] ?? null
      case 'lastN': {
        const items = lastItems(events, column, lo, hi, knownAsOfMs, aggregation.n ?? 1)
        return items.length === 0 ? null : items
      }
      case 'distinctCount':
        return this.#distinctOf(group, events, column, lo, hi, settled, knownAsOfMs)
      default:
        if (input < 0) return this.#count
        if (this.#big !== null) return bigValue(aggregation, this.#big, this.plan.inputs[input] as InputPlan)
        return group.numbers === 'tally'
          ? tallyValue(aggregation, this.#tally)
          : floatValue(aggregation, this.#moments, this.#extremes)
    }
  }

  #distinctOf(
    group: Group,
    events: EventColumns,
    column: InputColumn,
    lo: number,
    hi: number,
    settled: number,
    knownAsOfMs: number,
  ): number {
    const sliding = this.#distincts.get(group)
    if (sliding === undefined || column.type !== 'string') return distinctItems(events, column, lo, hi, knownAsOfMs)
    if (!this.#distinctBuilt.has(sliding)) {
      sliding.begin(column.values, column.table.strings.length, [this.#settled.left, column.nulls])
      this.#distinctBuilt.add(sliding)
    }
    sliding.move(lo, Math.max(lo, Math.min(hi, settled)))
    return sliding.withEvents(this.#settled.places, this.#settled.from(lo), this.#settled.from(hi), column.nulls)
  }
}

function setAll(
  builders: readonly ColumnBuilder[],
  row: number,
  status: typeof Status.NOT_FOUND | typeof Status.EXPIRED,
): void {
  for (const builder of builders) builder.setStatus(row, status)
}
