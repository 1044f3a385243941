import { LaneTotal, markWide, totalLaneWords } from '../../number/lanes.ts'
import { nodeShift } from './event-store.ts'
import { LongTally } from './long-tally.ts'
import { anchorOf, ensureSummary } from './summarise.ts'
import { newestKnownAt, standingAt, type SummaryLayout } from './summary-layout.ts'
import { Extremes, Tally } from './tally.ts'
import type { ViewState } from './view-state.ts'

/**
 * The upper levels of an entity with many runs, made when somebody reads over them:
 *
 *     level 1   node i is the summary of runs [32 i, 32 i + 32)
 *     level 2   node i is the summary of nodes [32 i, 32 i + 32) of level 1
 *
 * Level 1 is cut back to what lies before a change (`nodesOf` of the event store), and level 2 with it. The last run, which
 * grows, is in none.
 */
export class Nodes {
  level1 = new Float64Array(0)
  level2 = new Float64Array(0)
  /** Nodes of level 2 that are up to date where those of level 1 are: the first so many. */
  count2 = 0
}

const ofNode = 1 << nodeShift
const none = new Nodes()

const tally = new Tally()
const extremes = new Extremes()
const long = new LongTally()
const totals = new Map<number, LaneTotal>()
const offsets = new Int32Array(ofNode)

/** Brings the nodes that lie wholly below run `end` up to date; how many of the entity's there are on level 1. */
export function ensureNodes(state: ViewState, entity: number, end: number): number {
  const store = state.events
  const wanted = Math.min(end, store.runsOf(entity) - 1) >> nodeShift
  let made = store.nodesOf(entity)
  if (made >= wanted) return made
  let nodes = state.nodes.get(entity)
  if (nodes === undefined) state.nodes.set(entity, (nodes = new Nodes()))
  const { stride } = state.plan.node
  // What is remade below comes with new nodes above it.
  nodes.count2 = Math.min(nodes.count2, made >> nodeShift)
  nodes.level1 = withRoom(nodes.level1, wanted * stride)
  for (; made < wanted; made++) if (!makeNode(state, entity, made, nodes.level1)) break
  store.setNodes(entity, made)
  nodes.level2 = withRoom(nodes.level2, (made >> nodeShift) * stride)
  for (; nodes.count2 < made >> nodeShift; nodes.count2++) {
    for (let child = 0; child < ofNode; child++) offsets[child] = ((nodes.count2 << nodeShift) + child) * stride
    merge(state, nodes.level1, state.plan.node, nodes.level2, nodes.count2 * stride)
  }
  return made
}

/** The nodes of an entity: as many of level 1 as the event store says, of level 2 the 32nd part. */
export const nodesOf = (state: ViewState, entity: number): Nodes => state.nodes.get(entity) ?? none

function withRoom(words: Float64Array<ArrayBuffer>, needed: number): Float64Array<ArrayBuffer> {
  if (words.length >= needed) return words
  const larger = new Float64Array(Math.ceil(needed * 1.5))
  larger.set(words)
  return larger
}

/** False where one of the runs is too short to have a summary: no node reaches beyond it. */
function makeNode(state: ViewState, entity: number, node: number, to: Float64Array): boolean {
  const store = state.events
  const { stride } = state.plan.summary
  const first = node << nodeShift
  for (let child = 0; child < ofNode; child++) {
    const summary = ensureSummary(state, store.runAt(entity, first + child))
    if (summary < 0) return false
    offsets[child] = summary * stride
  }
  merge(state, store.summaries, state.plan.summary, to, node * state.plan.node.stride)
  return true
}

/** Merges the summaries at `offsets` into one at `at` of `to`. */
function merge(state: ViewState, from: Float64Array, own: SummaryLayout, to: Float64Array, at: number): void {
  const layout = state.plan.node
  let newestKnown = Number.NEGATIVE_INFINITY
  let standing = 0
  for (let child = 0; child < ofNode; child++) {
    const childAt = offsets[child] as number
    newestKnown = Math.max(newestKnown, from[childAt + newestKnownAt] as number)
    standing += from[childAt + standingAt] as number
  }
  to[at + newestKnownAt] = newestKnown
  to[at + standingAt] = standing
  for (let input = 0; input < own.tallies.length; input++) {
    const [tallyAt = -1, extremesAt = -1, lanesAt = -1] = [own.tallies[input], own.extremes[input], own.lanes[input]]
    const longLayout = own.longLayouts[input] ?? null
    if (tallyAt >= 0) {
      tally.reset()
      for (let child = 0; child < ofNode; child++) {
        tally.merge(from, (offsets[child] as number) + tallyAt)
        tally.carry()
      }
      tally.store(to, at + (layout.tallies[input] as number))
    }
    if (extremesAt >= 0) {
      extremes.reset()
      extremes.mergeAll(from, offsets, extremesAt, ofNode)
      extremes.store(to, at + (layout.extremes[input] as number))
    }
    if (longLayout !== null) {
      long.reset()
      long.mergeAll(from, offsets, own.longs[input] as number, ofNode, longLayout)
      long.store(to, at + (layout.longs[input] as number), longLayout)
    }
    if (lanesAt >= 0)
      mergeLanes(anchorOf(state, input), from, lanesAt, own !== layout, to, at + (layout.lanes[input] as number))
  }
}

function mergeLanes(
  anchor: number,
  from: Float64Array,
  shift: number,
  runs: boolean,
  to: Float64Array,
  at: number,
): void {
  const total = totalOf(anchor)
  let n = 0
  for (let child = 0; child < ofNode; child++) n += from[(offsets[child] as number) + shift] as number
  const reached = runs
    ? total.mergeRuns(from, offsets, shift + 1, 0, ofNode)
    : total.mergeTotals(from, offsets, shift + 1, 0, ofNode)
  to[at] = n
  if (reached < ofNode) markWide(to, at + 1, totalLaneWords)
  else total.store(to, at + 1)
}

function totalOf(anchor: number): LaneTotal {
  let total = totals.get(anchor)
  if (total === undefined) totals.set(anchor, (total = new LaneTotal(anchor)))
  total.reset()
  return total
}
