import { seriesParts, ttlStart, windowEnd, windowStart, type AsOf } from '../asof/visible.ts'
import type { WindowDefinition } from '../definition/types.ts'
import type { Scalar } from '../event/types.ts'
import { ColumnBuilder } from './column-builder.ts'
import { Status } from './feature-column.ts'
import { floatValue, longValue, overflow, putFinished, tallyValue, type Finished } from './finished.ts'
import type { Fold, FoldPlan } from './fold.ts'
import type { FeaturePlan, InputPlan, ViewPlan } from './plan.ts'
import { distinctItems, firstItem, lastItems, newestLiveMs, nthLastLive, sessionStart } from './scan.ts'
import type { TilePlan } from './state/tile-layout.ts'
import type { Tiles } from './state/tiles.ts'
import type { EntityEvents } from './state/view-state.ts'
import { WindowFolds } from './window-folds.ts'

/** Features that read the same input over the same window, computed together. */
interface Group extends FoldPlan {
  readonly window: number
  /** Position of each feature among those asked for. */
  readonly members: readonly { readonly at: number; readonly plan: FeaturePlan }[]
  /** Some member wants what a fold says. */
  readonly folded: boolean
  /** Over a series: where its parts end before T, oldest first, milliseconds; null for one window. */
  readonly partEnds: readonly number[] | null
}

/** `count` over an input counts where it is not null. */
const numeric = new Set(['count', 'sum', 'mean', 'variance', 'stddev', 'share', 'min', 'max'])

/**
 * Finishes features of one view from the events of an entity, at any (T, K). One instance serves one thread.
 *
 * Runs whose newest knownAt is at or before K are merged whole; others, and the edges of a window, event by event.
 */
export class ViewFinisher {
  readonly plan: ViewPlan
  readonly features: readonly FeaturePlan[]
  /** Of windows, with what each has of its own, and those whose folds are shared: of one input and one end. */
  readonly #groups: readonly Group[]
  readonly #chains: readonly Chain[]
  /** Windows that a feature asks for, and the cursors [lo, hi) of each for the entity and T at hand. */
  readonly #windows: readonly number[]
  readonly #los: Float64Array
  readonly #his: Float64Array
  /** Tiles of each window [from, to) as well, where the entity has tiles. */
  #tiles: Tiles | null = null
  readonly #tilesFrom: Int32Array
  readonly #tilesTo: Int32Array
  readonly #folds = new WindowFolds()

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
    this.#groups = joined([...groups.values()].map((members) => groupOf(plan, members)))
    this.#chains = chainsOf(this.#groups, plan)
    this.#windows = [...new Set(this.#groups.map(({ window }) => window))]
    this.#los = new Float64Array(plan.windows.length)
    this.#his = new Float64Array(plan.windows.length)
    this.#tilesFrom = new Int32Array(plan.windows.length)
    this.#tilesTo = new Int32Array(plan.windows.length)
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
   * Returns false, and sets nothing, when pruned events would be needed, or single ones of a tile: the answer is then in
   * the offline store.
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
    const newestLive = newestLiveMs(store, entity, end, knownAsOfMs)
    this.#tiles = state.tilesOf(entity)
    const newestHeld =
      this.#tiles === null ? newestLive : newestWithTiles(this.#tiles, newestLive, asOf, plan.view.ttlMs)
    if (newestHeld === null) return false
    // Where nothing newer counts, pruned events decide: which of them are visible depends on K unless all are, and on what
    // took them back. In memory they may have company: what arrived since and is as old, whose corrections may be pruned.
    const byPruned = wasPruned && newestHeld <= prunedNewest
    if (byPruned && (plan.corrected || store.prunedKnownMs(entity) > knownAsOfMs)) return false
    const newest = byPruned ? prunedNewest : newestHeld
    if (newest === Number.NEGATIVE_INFINITY) return this.#setAll(builders, row, Status.NOT_FOUND)
    if (newest < ttlStart(asOfMs, plan.view.ttlMs)) return this.#setAll(builders, row, Status.EXPIRED)
    if (this.#tiles !== null && !this.#findTiles(this.#tiles, asOf)) return false
    this.#findWindows(events, end, asOf)
    for (const chain of this.#chains) {
      const first = chain.groups[0] as Group
      if (first.partEnds !== null) this.#finishSeries(first, first.partEnds, events, asOf, builders, row)
      else if (chain.plan === null) this.#finishGroup(first, null, events, knownAsOfMs, builders, row)
      else this.#finishChain(chain, chain.plan, events, knownAsOfMs, builders, row)
    }
    return true
  }

  /** Windows of one input that end at one cursor, the shortest first. */
  #finishChain(
    { groups }: Chain,
    plan: FoldPlan,
    events: EntityEvents,
    knownAsOfMs: number,
    builders: readonly ColumnBuilder[],
    row: number,
  ): void {
    const los = this.#los
    // They mostly are in order: of those that reach back by events, rows and sessions, one cannot know.
    for (let index = 1; index < groups.length; index++)
      for (let at = index; at > 0; at--) {
        const group = groups[at] as Group
        const before = groups[at - 1] as Group
        if ((los[before.window] as number) >= (los[group.window] as number)) break
        groups[at] = before
        groups[at - 1] = group
      }
    const last = groups.length - 1
    const lowest = los[(groups[last] as Group).window] as number
    const { state, entity } = events
    this.#folds.begin(plan, state, entity, lowest, this.#his[(groups[0] as Group).window] as number, knownAsOfMs)
    for (let index = 0; index <= last; index++) {
      const group = groups[index] as Group
      const fold = this.#folds.fold(los[group.window] as number, index === last)
      this.#addTiles(plan, fold, events, group.window)
      this.#finishGroup(group, fold, events, knownAsOfMs, builders, row)
    }
  }

  #finishGroup(
    group: Group,
    fold: Fold | null,
    events: EntityEvents,
    knownAsOfMs: number,
    builders: readonly ColumnBuilder[],
    row: number,
  ): void {
    const lo = this.#los[group.window] as number
    const hi = this.#his[group.window] as number
    for (const { at, plan: feature } of group.members)
      putFinished(builders[at] as ColumnBuilder, row, valueOf(feature, group, fold, events, lo, hi, knownAsOfMs))
  }

  /** A series is its group finished once per part; the parts follow one another from cursor `lo` on. */
  #finishSeries(
    group: Group,
    partEnds: readonly number[],
    events: EntityEvents,
    { asOfMs, knownAsOfMs }: AsOf,
    builders: readonly ColumnBuilder[],
    row: number,
  ): void {
    const lists = group.members.map((): Finished[] => [])
    const { state, entity } = events
    let from = this.#los[group.window] as number
    for (const endsBeforeMs of partEnds) {
      const to = state.events.lowerBound(entity, asOfMs - endsBeforeMs)
      if (group.folded) this.#folds.begin(group, state, entity, from, to, knownAsOfMs)
      const fold = group.folded ? this.#folds.fold(from, true) : null
      group.members.forEach(({ plan: feature }, index) =>
        lists[index]?.push(valueOf(feature, group, fold, events, from, to, knownAsOfMs)),
      )
      from = to
    }
    group.members.forEach(({ at }, index) => {
      const list = lists[index] as Finished[]
      putFinished(builders[at] as ColumnBuilder, row, list.includes(overflow) ? overflow : (list as readonly Scalar[]))
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

  /** Sets the tiles of every window that a feature asks for; false where it needs single events of one. */
  #findTiles(tiles: Tiles, { asOfMs, knownAsOfMs }: AsOf): boolean {
    const { windows, view } = this.plan
    for (const index of this.#windows) {
      const window = windows[index] as WindowDefinition
      const startMs = windowStart(asOfMs, window, view.ttlMs)
      const endMs = windowEnd(asOfMs, window)
      const from = tiles.reachingTo(startMs)
      const to = tiles.startingFrom(endMs)
      this.#tilesFrom[index] = from
      this.#tilesTo[index] = Math.max(from, to)
      if (from >= to) continue
      if (window.kind !== 'sliding' || window.resolutionMs === undefined) return false
      if (tiles.startMs(from) < startMs || tiles.newestMs(to - 1) >= endMs) return false
      for (let tile = from; tile < to; tile++) if (tiles.newestKnownMs(tile) > knownAsOfMs) return false
    }
    return true
  }

  #setAll(
    builders: readonly ColumnBuilder[],
    row: number,
    status: typeof Status.NOT_FOUND | typeof Status.EXPIRED,
  ): true {
    for (const builder of builders) builder.setStatus(row, status)
    return true
  }

  #addTiles(plan: FoldPlan, fold: Fold, { state }: EntityEvents, window: number): void {
    const tiles = this.#tiles
    if (tiles === null) return
    const { layout } = state.plan.tile as TilePlan
    fold.addTiles(plan, layout, tiles, this.#tilesFrom[window] as number, this.#tilesTo[window] as number)
  }
}

function valueOf(
  { definition: { aggregation }, input }: FeaturePlan,
  { tally, long }: Group,
  fold: Fold | null,
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
    default: {
      const { events, tally: integers, long: longs, moments, extremes } = fold as Fold
      // A count under a condition is one of bools.
      if (aggregation.function === 'count') return input < 0 ? events : integers.n
      if (tally) return tallyValue(aggregation, integers)
      if (long) return longValue(aggregation, longs, state.plan.inputs[input] as InputPlan)
      return floatValue(aggregation, moments, extremes)
    }
  }
}

/**
 * The newest visible event time, of single events and of tiles: `newestLive` alone where it does not matter whether there
 * is a newer one. Null where it cannot be told.
 */
function newestWithTiles(
  tiles: Tiles,
  newestLive: number,
  { asOfMs, knownAsOfMs }: AsOf,
  ttlMs: number | null,
): number | null {
  if (newestLive > Number.NEGATIVE_INFINITY && newestLive >= ttlStart(asOfMs, ttlMs)) return newestLive
  const tile = tiles.startingFrom(asOfMs) - 1
  if (tile < 0) return newestLive
  if (tiles.newestMs(tile) >= asOfMs || tiles.newestKnownMs(tile) > knownAsOfMs) return null
  return Math.max(newestLive, tiles.newestMs(tile))
}

function groupOf(plan: ViewPlan, members: readonly { readonly at: number; readonly plan: FeaturePlan }[]): Group {
  const { window, input } = (members[0] as { readonly plan: FeaturePlan }).plan
  const wants = (...functions: readonly string[]): boolean =>
    members.some(({ plan: feature }) => functions.includes(feature.definition.aggregation.function))
  const type = plan.inputs[input]?.type
  const tally = type === 'int32' || type === 'bool'
  const long = type === 'int64' || type === 'decimal'
  const extremes = !tally && !long && wants('min', 'max')
  const squares = wants('variance', 'stddev')
  const sums = type === 'float64' && (squares || wants('sum', 'mean'))
  const folded = members.some(({ plan: feature }) => numeric.has(feature.definition.aggregation.function))
  const asked = plan.windows[window] as WindowDefinition
  const partEnds = asked.kind === 'series' ? seriesParts(asked).map((part) => -windowEnd(0, part)) : null
  return { window, input, members, folded, tally, long, extremes, sums, squares, partEnds }
}

/** Windows over one input that end at one moment, whatever T; or a group that shares nothing. */
interface Chain {
  /** What the folds of all of them are asked for; null where none is. */
  readonly plan: FoldPlan | null
  /** By their begin, the latest first, as of the T at hand. */
  readonly groups: Group[]
}

function chainsOf(groups: readonly Group[], { windows }: ViewPlan): Chain[] {
  const chains = new Map<string, Group[]>()
  for (const group of groups) {
    const window = windows[group.window] as WindowDefinition
    const alone = !group.folded || group.partEnds !== null || (window.kind === 'tumbling' && window.take === 'last')
    const endsBeforeMs = window.kind === 'sliding' ? (window.endsBeforeMs ?? 0) : 0
    const key = alone ? `${group.window}/${group.input}` : `-${endsBeforeMs}/${group.input}`
    const chain = chains.get(key) ?? []
    chains.set(key, chain)
    chain.push(group)
  }
  return [...chains.values()].map((members): Chain => {
    const first = members[0] as Group
    const { input, tally, long } = first
    const wants = (what: 'extremes' | 'sums' | 'squares'): boolean => members.some((group) => group[what])
    const plan = { input, tally, long, extremes: wants('extremes'), sums: wants('sums'), squares: wants('squares') }
    return { plan: first.folded ? plan : null, groups: members }
  })
}

/** A count of all events joins a fold over its window that is made anyway. */
function joined(groups: readonly Group[]): Group[] {
  const hosts = groups.filter(({ input, folded, partEnds }) => folded && partEnds === null && input >= 0)
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

const isCount = (feature: FeaturePlan): boolean =>
  ['count', 'distinctCount'].includes(feature.definition.aggregation.function)
