import { nodeShift } from './state/event-store.ts'
import { behindStored } from '../number/exact-sum.ts'
import { FloatMoments } from './state/float-moments.ts'
import {
  addIntegers,
  copyValues,
  counting,
  liveRecords,
  liveValues,
  present,
  standingRecords,
  values,
} from './state/live.ts'
import { LongTally } from './state/long-tally.ts'
import { nodesOf } from './state/nodes.ts'
import { ensureSummary } from './state/summarise.ts'
import { newestKnownAt, standingAt, type SummaryLayout } from './state/summary-layout.ts'
import { Extremes, Tally } from './state/tally.ts'
import { tileEvents, type TileLayout } from './state/tile-layout.ts'
import type { Tiles } from './state/tiles.ts'
import type { ViewState } from './state/view-state.ts'

/** What is folded of one input; `input` -1: events alone. */
export interface FoldPlan {
  readonly input: number
  /** int32 and bool: counts, sums and extremes. */
  readonly tally: boolean
  /** int64 and decimal: likewise. */
  readonly long: boolean
  /** float64 and timestamps. */
  readonly extremes: boolean
  readonly sums: boolean
  /** Of float64, and of int64 and decimal. */
  readonly squares: boolean
}

/** Summaries that are taken together. */
const batchMax = 64

/** Of one level, 0: runs. Kept apart, for a node that is of no use is read by what lies below it. */
class Batch {
  readonly offsets = new Int32Array(batchMax)
  /** Ids of runs, indices of nodes. */
  readonly ids = new Int32Array(batchMax)
}
const batches = [new Batch(), new Batch(), new Batch()] as const

/**
 * Counts, sums and extremes of one input over events of an entity that count as of K: nodes and runs that hold no more than
 * K knows by their summaries, the rest event by event. All is exact, so nothing depends on the order of additions.
 */
export class Fold {
  /** Events that count, whether or not their input is null. */
  events = 0
  readonly tally = new Tally()
  readonly extremes = new Extremes()
  readonly moments = new FloatMoments()
  readonly long = new LongTally()

  /** `anchor`: that of the input's lanes (summarise.ts), chosen before anything is added. */
  reset(plan: FoldPlan, anchor: number): void {
    this.events = 0
    if (plan.tally) this.tally.reset()
    if (plan.extremes) this.extremes.reset()
    if (plan.sums) this.moments.reset(plan.squares, anchor)
    if (plan.long) this.long.reset()
  }

  /** Makes this one what another of the same plan is. */
  copy(plan: FoldPlan, other: Fold): void {
    this.events = other.events
    if (plan.tally) this.tally.copy(other.tally)
    if (plan.extremes) this.extremes.copy(other.extremes)
    if (plan.sums) this.moments.copy(other.moments)
    if (plan.long) this.long.copy(other.long)
  }

  /** Takes places [from, to) of a run. */
  addPlaces(plan: FoldPlan, state: ViewState, run: number, from: number, to: number, knownAsOfMs: number): void {
    const store = state.events
    const { input } = plan
    const summary = store.summaryOf(run)
    const at = summary * state.plan.summary.stride
    const length = store.lengthOf(run)
    // Its summary says that all of the run count, so that nobody needs to look.
    const all =
      summary >= 0 &&
      (store.summaries[at + newestKnownAt] as number) <= knownAsOfMs &&
      (store.summaries[at + standingAt] as number) === length
    if (plan.extremes || plan.sums) {
      const left = from === 0 ? length - to : to === length ? from : length
      let { sums, extremes } = plan
      if (all && left < to - from) {
        // Of more than half a run: the run without the others.
        const found = liveValues(store, input, run, from === 0 ? to : 0, from === 0 ? length : from, knownAsOfMs, true)
        const { lanes, extremes: extremesAt } = state.plan.summary
        if (sums) sums = !this.moments.mergeWithout(store.summaries, at + (lanes[input] as number), values, found)
        if (extremes)
          extremes = !this.extremes.mergeWithout(store.summaries, at + (extremesAt[input] as number), values, found)
        if (!sums && !extremes) {
          this.events += to - from
          return
        }
      }
      const found = liveValues(store, input, run, from, to, knownAsOfMs, all)
      this.events += counting
      if (extremes) this.extremes.addAll(values, found)
      if (sums) this.moments.addAll(values, found)
      return
    }
    if (all && input < 0) {
      this.events += to - from
      return
    }
    const events = liveRecords(store, run, from, to, knownAsOfMs)
    this.events += events
    if (input < 0) return
    const found = present(store, input, events)
    if (plan.tally) {
      addIntegers(this.tally, store, input, found)
      this.tally.carry()
    }
    if (plan.long) this.long.addLive(store, input, found, plan.squares)
  }

  /** Takes runs [from, to) whole. */
  addRuns(plan: FoldPlan, state: ViewState, entity: number, from: number, to: number, knownAsOfMs: number): void {
    const store = state.events
    const layout = state.plan.summary
    const { offsets, ids } = batches[0]
    let taken = 0
    for (let index = from; index < to; index++) {
      const run = store.runAt(entity, index)
      const known = store.summaryOf(run)
      const summary = known >= 0 ? known : ensureSummary(state, run)
      const at = summary * layout.stride
      if (summary < 0 || (store.summaries[at + newestKnownAt] as number) > knownAsOfMs) {
        this.addPlaces(plan, state, run, 0, store.lengthOf(run), knownAsOfMs)
        continue
      }
      offsets[taken] = at
      ids[taken] = run
      if (++taken < batchMax) continue
      this.#take(plan, state, entity, layout, 0, taken)
      taken = 0
    }
    if (taken > 0) this.#take(plan, state, entity, layout, 0, taken)
  }

  /** Takes nodes [from, to) of a level whole; they are up to date. */
  addNodes(
    plan: FoldPlan,
    state: ViewState,
    entity: number,
    level: 1 | 2,
    from: number,
    to: number,
    knownAsOfMs: number,
  ): void {
    const layout = state.plan.node
    const nodes = nodesOf(state, entity)
    const words = level === 1 ? nodes.level1 : nodes.level2
    const { offsets, ids } = batches[level]
    let taken = 0
    for (let node = from; node < to; node++) {
      const at = node * layout.stride
      if ((words[at + newestKnownAt] as number) > knownAsOfMs) {
        const first = node << nodeShift
        const end = (node + 1) << nodeShift
        if (level === 1) this.addRuns(plan, state, entity, first, end, knownAsOfMs)
        else this.addNodes(plan, state, entity, 1, first, end, knownAsOfMs)
        continue
      }
      offsets[taken] = at
      ids[taken] = node
      if (++taken < batchMax) continue
      this.#take(plan, state, entity, layout, level, taken)
      taken = 0
    }
    if (taken > 0) this.#take(plan, state, entity, layout, level, taken)
  }

  /** Takes the summaries of a batch. */
  #take(
    plan: FoldPlan,
    state: ViewState,
    entity: number,
    layout: SummaryLayout,
    level: 0 | 1 | 2,
    count: number,
  ): void {
    const words = wordsOf(state, entity, level)
    const { offsets } = batches[level]
    const { input } = plan
    let { events } = this
    for (let index = 0; index < count; index++) events += words[(offsets[index] as number) + standingAt] as number
    this.events = events
    if (input < 0) return
    if (plan.tally) {
      const shift = layout.tallies[input] as number
      for (let index = 0; index < count; index++) this.tally.merge(words, (offsets[index] as number) + shift)
      this.tally.carry()
    }
    if (plan.extremes) this.extremes.mergeAll(words, offsets, layout.extremes[input] as number, count)
    const long = layout.longLayouts[input] ?? null
    if (plan.long && long !== null) this.long.mergeAll(words, offsets, layout.longs[input] as number, count, long)
    if (plan.sums) this.#takeSums(plan, state, entity, layout, level, count)
  }

  /** Sums of a batch: of what lanes do not hold by what lies below. */
  #takeSums(
    plan: FoldPlan,
    state: ViewState,
    entity: number,
    layout: SummaryLayout,
    level: 0 | 1 | 2,
    count: number,
  ): void {
    const words = wordsOf(state, entity, level)
    const { offsets, ids } = batches[level]
    const shift = layout.lanes[plan.input] as number
    for (let index = 0; ; index++) {
      index = this.moments.mergeAll(words, offsets, shift, index, count, level > 0)
      if (index === count) return
      const id = ids[index] as number
      if (level === 0) this.#takeValues(plan, state, id)
      else this.#takeSumsBelow(plan, state, entity, level === 1 ? 0 : 1, id)
    }
  }

  /** Sums of what a node is made of, level by level. */
  #takeSumsBelow(plan: FoldPlan, state: ViewState, entity: number, level: 0 | 1, node: number): void {
    const store = state.events
    const layout = level === 0 ? state.plan.summary : state.plan.node
    const { offsets, ids } = batches[level]
    const children = 1 << nodeShift
    for (let child = 0; child < children; child++) {
      const index = (node << nodeShift) + child
      const id = level === 0 ? store.runAt(entity, index) : index
      ids[child] = id
      offsets[child] = (level === 0 ? store.summaryOf(id) : id) * layout.stride
    }
    this.#takeSums(plan, state, entity, layout, level, children)
  }

  /** Sums of a run, all of whose knowledge counts. */
  #takeValues({ input }: FoldPlan, state: ViewState, run: number): void {
    const found = standingRecords(state.events, run, input)
    copyValues(state.events, input, found)
    this.moments.addAll(values, found)
  }

  /** Takes tiles [from, to) of the entity as well. */
  addTiles(plan: FoldPlan, layout: TileLayout, tiles: Tiles, from: number, to: number): void {
    const { words, offsets } = tiles
    for (let tile = from; tile < to; tile++) {
      const at = offsets[tile] as number
      this.events += words[at + tileEvents] as number
      if (plan.input >= 0) this.#takeTile(plan, layout, words, at)
    }
  }

  #takeTile(plan: FoldPlan, layout: TileLayout, words: Float64Array, at: number): void {
    let sumsAt = at + layout.fixed
    for (const { input, integers, n, extremes, sum, squares } of layout.inputs) {
      if (input !== plan.input) {
        if (integers) continue
        // Sums of others lie before: each says how long it is.
        if (sum >= 0) sumsAt = behindStored(words, sumsAt)
        if (squares >= 0) sumsAt = behindStored(words, sumsAt)
        continue
      }
      if (plan.tally) {
        const { tally } = this
        tally.n += words[at + n] as number
        if (sum >= 0) tally.addSum(words[at + sum] as number, words[at + sum + 1] as number)
        if (squares >= 0)
          tally.addSquares(
            words[at + squares] as number,
            words[at + squares + 1] as number,
            words[at + squares + 2] as number,
          )
        if (extremes >= 0) {
          tally.min = Math.min(tally.min, words[at + extremes] as number)
          tally.max = Math.max(tally.max, words[at + extremes + 1] as number)
        }
      }
      if (plan.extremes) this.extremes.merge(words, at + extremes)
      if (plan.sums)
        this.moments.addStored(words[at + n] as number, words, sumsAt, plan.squares ? behindStored(words, sumsAt) : -1)
      return
    }
  }
}

function wordsOf(state: ViewState, entity: number, level: 0 | 1 | 2): Float64Array {
  if (level === 0) return state.events.summaries
  const nodes = nodesOf(state, entity)
  return level === 1 ? nodes.level1 : nodes.level2
}
