import { LaneTotal, markWide, totalLaneWords } from '../../number/lanes.ts'
import { nodeShift } from './event-store.ts'
import { anchorOf, ensureSummary } from './summarise.ts'
import { newestKnownAt, standingAt, type SummaryLayout } from './summary-layout.ts'
import { Extremes, Tally } from './tally.ts'
import type { ViewState } from './view-state.ts'

/**
 * The second level of an entity with many runs: node i is the summary of runs [32 i, 32 i + 32), made when somebody reads
 * over it and cut back to what lies before a change (`nodesOf` of the event store). The last run, which grows, is in none.
 */
const runsOfNode = 1 << nodeShift

const tally = new Tally()
const extremes = new Extremes()
const totals = new Map<number, LaneTotal>()

/** Brings the nodes that lie wholly below run `end` up to date; how many of the entity's there are. */
export function ensureNodes(state: ViewState, entity: number, end: number): number {
  const store = state.events
  const wanted = Math.min(end, store.runsOf(entity) - 1) >> nodeShift
  let made = store.nodesOf(entity)
  if (made >= wanted) return made
  const layout = state.plan.node
  let nodes = state.nodes.get(entity) ?? new Float64Array(0)
  if (nodes.length < wanted * layout.stride) {
    const larger = new Float64Array(Math.ceil(wanted * 1.5) * layout.stride)
    larger.set(nodes)
    state.nodes.set(entity, (nodes = larger))
  }
  for (; made < wanted; made++) if (!makeNode(state, entity, made, nodes, layout)) break
  store.setNodes(entity, made)
  return made
}

/** False where one of the runs is too short to have a summary: no node reaches beyond it. */
function makeNode(state: ViewState, entity: number, node: number, nodes: Float64Array, layout: SummaryLayout): boolean {
  const store = state.events
  const own = state.plan.summary
  const at = node * layout.stride
  const first = node << nodeShift
  for (let index = first; index < first + runsOfNode; index++)
    if (ensureSummary(state, store.runAt(entity, index)) < 0) return false
  const summaryAt = (index: number): number => store.summaryOf(store.runAt(entity, index)) * own.stride
  nodes[at + newestKnownAt] = Number.NEGATIVE_INFINITY
  nodes[at + standingAt] = 0
  for (let index = first; index < first + runsOfNode; index++) {
    const from = summaryAt(index)
    nodes[at + newestKnownAt] = Math.max(
      nodes[at + newestKnownAt] as number,
      store.summaries[from + newestKnownAt] as number,
    )
    nodes[at + standingAt] = (nodes[at + standingAt] as number) + (store.summaries[from + standingAt] as number)
  }
  for (let input = 0; input < own.tallies.length; input++) {
    const [tallyAt = -1, extremesAt = -1, lanesAt = -1] = [own.tallies[input], own.extremes[input], own.lanes[input]]
    if (tallyAt >= 0) {
      tally.reset()
      for (let index = first; index < first + runsOfNode; index++) {
        tally.merge(store.summaries, summaryAt(index) + tallyAt)
        tally.carry()
      }
      tally.store(nodes, at + (layout.tallies[input] as number))
    }
    if (extremesAt >= 0) {
      extremes.reset()
      for (let index = first; index < first + runsOfNode; index++)
        extremes.merge(store.summaries, summaryAt(index) + extremesAt)
      extremes.store(nodes, at + (layout.extremes[input] as number))
    }
    if (lanesAt >= 0) {
      const into = at + (layout.lanes[input] as number)
      const total = totalOf(anchorOf(state, input))
      let n = 0
      let wide = false
      for (let index = first; index < first + runsOfNode; index++) {
        const from = summaryAt(index) + lanesAt
        n += store.summaries[from] as number
        wide ||= !total.mergeRun(store.summaries, from + 1)
      }
      nodes[into] = n
      if (wide) markWide(nodes, into + 1, totalLaneWords)
      else total.store(nodes, into + 1)
    }
  }
  return true
}

function totalOf(anchor: number): LaneTotal {
  let total = totals.get(anchor)
  if (total === undefined) totals.set(anchor, (total = new LaneTotal(anchor)))
  total.reset()
  return total
}
