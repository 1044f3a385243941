import { runMask, runShift, nodeShift } from './state/event-store.ts'
import { FloatMoments } from './state/float-moments.ts'
import { addExtremes, addIntegers, live, liveRecords, present } from './state/live.ts'
import { ensureNodes } from './state/nodes.ts'
import { anchorOf, ensureSummary } from './state/summarise.ts'
import { newestKnownAt, standingAt } from './state/summary-layout.ts'
import { Extremes, Tally } from './state/tally.ts'
import type { ViewState } from './state/view-state.ts'

/** What is folded of one input; `input` -1: events alone. */
export interface FoldPlan {
  readonly input: number
  /** int32 and bool: counts, sums and extremes. */
  readonly tally: boolean
  /** float64 and timestamps. */
  readonly extremes: boolean
  readonly sums: boolean
  readonly squares: boolean
}

const runsOfNode = 1 << nodeShift

/**
 * Counts, sums and extremes of one input over the events [lo, hi) of an entity that count as of K, in one pass: nodes and
 * runs that hold no more than K knows by their summaries, the rest event by event. One is reused for all.
 */
export class Fold {
  /** Events that count, whether or not their input is null. */
  events = 0
  readonly tally = new Tally()
  readonly extremes = new Extremes()
  readonly moments = new FloatMoments()

  run(plan: FoldPlan, state: ViewState, entity: number, lo: number, hi: number, knownAsOfMs: number): void {
    this.events = 0
    if (plan.tally) this.tally.reset()
    if (plan.extremes) this.extremes.reset()
    const store = state.events
    const last = hi >> runShift
    const lastPlaces = hi & runMask
    let index = lo >> runShift
    let from = lo & runMask
    // Nodes are worth asking for only where one lies wholly inside.
    const nodes = last - index > runsOfNode ? ensureNodes(state, entity, last) : 0
    if (plan.sums) {
      if (state.anchors[plan.input] === null) chooseAnchor(state, entity, plan.input, lo, hi)
      this.moments.reset(plan.squares, anchorOf(state, plan.input))
    }
    while (index < last || (index === last && from < lastPlaces)) {
      const node = index >> nodeShift
      if (
        from === 0 &&
        node < nodes &&
        (index & (runsOfNode - 1)) === 0 &&
        index + runsOfNode <= last &&
        this.#takeNode(plan, state, entity, node, knownAsOfMs)
      ) {
        index += runsOfNode
        continue
      }
      const run = store.runAt(entity, index)
      const length = store.lengthOf(run)
      const to = index === last ? lastPlaces : length
      if (from > 0 || to < length || !this.#takeRun(plan, state, run, knownAsOfMs))
        this.#takeRecords(plan, state, run, from, to, knownAsOfMs)
      from = 0
      index++
    }
  }

  /** False, and nothing is taken, where the node knows more than K, or sums are asked of values that its lanes do not hold. */
  #takeNode(plan: FoldPlan, state: ViewState, entity: number, node: number, knownAsOfMs: number): boolean {
    const layout = state.plan.node
    const nodes = state.nodes.get(entity) as Float64Array
    const at = node * layout.stride
    if ((nodes[at + newestKnownAt] as number) > knownAsOfMs) return false
    const { input } = plan
    if (plan.sums && !this.moments.mergeNode(nodes, at + (layout.lanes[input] as number))) return false
    this.events += nodes[at + standingAt] as number
    if (plan.tally) {
      this.tally.merge(nodes, at + (layout.tallies[input] as number))
      this.tally.carry()
    }
    if (plan.extremes) this.extremes.merge(nodes, at + (layout.extremes[input] as number))
    return true
  }

  #takeRun(plan: FoldPlan, state: ViewState, run: number, knownAsOfMs: number): boolean {
    const summary = ensureSummary(state, run)
    if (summary < 0) return false
    const store = state.events
    const layout = state.plan.summary
    const { summaries } = store
    const at = summary * layout.stride
    if ((summaries[at + newestKnownAt] as number) > knownAsOfMs) return false
    const { input } = plan
    if (plan.sums && !this.moments.mergeRun(summaries, at + (layout.lanes[input] as number))) return false
    this.events += summaries[at + standingAt] as number
    if (plan.tally) {
      this.tally.merge(summaries, at + (layout.tallies[input] as number))
      this.tally.carry()
    }
    if (plan.extremes) this.extremes.merge(summaries, at + (layout.extremes[input] as number))
    return true
  }

  #takeRecords(plan: FoldPlan, state: ViewState, run: number, from: number, to: number, knownAsOfMs: number): void {
    const store = state.events
    const counting = liveRecords(store, run, from, to, knownAsOfMs)
    this.events += counting
    const { input } = plan
    if (input < 0) return
    const found = present(store, input, counting)
    if (plan.tally) {
      addIntegers(this.tally, store, input, found)
      this.tally.carry()
    }
    if (plan.extremes) addExtremes(this.extremes, store, input, found)
    if (!plan.sums) return
    const { floats, layout } = store
    const at = layout.inputs[input] as number
    const half = layout.stride >> 1
    for (let index = 0; index < found; index++) this.moments.add(floats[(live[index] as number) * half + at] as number)
  }
}

/**
 * The first summary of a state chooses where its lanes lie. It is made before a total is begun, which must lie there too:
 * that of the first run which lies whole in [lo, hi) and has one.
 */
function chooseAnchor(state: ViewState, entity: number, input: number, lo: number, hi: number): void {
  const store = state.events
  const last = hi >> runShift
  for (let index = (lo + runMask) >> runShift; index <= last && state.anchors[input] === null; index++) {
    if (index === last && (hi & runMask) === 0) return
    const run = store.runAt(entity, index)
    if (index < last || (hi & runMask) === store.lengthOf(run)) ensureSummary(state, run)
  }
}
