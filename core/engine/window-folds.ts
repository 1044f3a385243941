import { Fold, type FoldPlan } from './fold.ts'
import { nodeShift, runMask, runShift } from './state/event-store.ts'
import { ensureNodes } from './state/nodes.ts'
import { chooseAnchor } from './state/summarise.ts'
import type { ViewState } from './state/view-state.ts'

const ofNode = 1 << nodeShift
const above = (index: number): number => (index + ofNode - 1) >> nodeShift

/**
 * Folds of windows of one entity that end at one cursor, the shortest first. They share what lies between the end of what
 * is folded so far and a boundary behind the start of the next one: it is folded once, and no node is cut by it.
 *
 *     runs      ·│····│····│····│····│····│····│····│··T
 *     nodes      │              │              │
 *     1 h        ·              ·              ·  ─┄┄┄┄┄   ┄ shared, ─ of this window alone: events up to the next run,
 *     24 h       ·  ─────┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄   runs up to the next node, nodes up to the next of level 2
 *
 * One instance serves one thread, and one set of windows at a time.
 */
export class WindowFolds {
  readonly #shared = new Fold()
  readonly #own = new Fold()
  #plan: FoldPlan | null = null
  #state: ViewState | null = null
  #entity = 0
  #knownAsOfMs = 0
  #anchor = 0
  /** The run that the windows end in, and how many of its places they take. */
  #last = 0
  #lastPlaces = 0
  /** Shared is what lies in runs [#from, #last] before the end; nodes of level 1 and 2 that may be used. */
  #from = 0
  #nodes1 = 0
  #nodes2 = 0

  /** For windows of which none begins before cursor `lowest` and all end at `hi`. */
  begin(plan: FoldPlan, state: ViewState, entity: number, lowest: number, hi: number, knownAsOfMs: number): void {
    this.#plan = plan
    this.#state = state
    this.#entity = entity
    this.#knownAsOfMs = knownAsOfMs
    const anchor = plan.sums ? chooseAnchor(state, entity, plan.input, lowest, hi) : 0
    this.#anchor = anchor
    this.#shared.reset(plan, anchor)
    this.#last = hi >> runShift
    this.#lastPlaces = hi & runMask
    this.#from = this.#last + 1
    // Nodes are worth asking for only where one lies wholly inside.
    const some = this.#last - (lowest >> runShift) > ofNode
    this.#nodes1 = some ? Math.min(ensureNodes(state, entity, this.#last), this.#last >> nodeShift) : 0
    this.#nodes2 = this.#nodes1 >> nodeShift
  }

  /**
   * The fold of [lo, hi), until the next call: `lo` is never above that of the call before. `final`: nothing is asked for
   * after it.
   */
  fold(lo: number, final: boolean): Fold {
    const plan = this.#plan as FoldPlan
    const state = this.#state as ViewState
    const store = state.events
    const entity = this.#entity
    const known = this.#knownAsOfMs
    const index = lo >> runShift
    const place = lo & runMask
    // The first run that lies in the window whole.
    const run = place === 0 ? index : index + 1
    if (run > this.#last) {
      const own = this.#own
      own.reset(plan, this.#anchor)
      if (index === this.#last && place < this.#lastPlaces)
        own.addPlaces(plan, state, store.runAt(entity, index), place, this.#lastPlaces, known)
      return own
    }
    const node1 = above(run)
    const node2 = above(node1)
    const below1 = node1 <= this.#nodes1
    const below2 = below1 && node2 <= this.#nodes2
    this.#share(below2 ? node2 << (2 * nodeShift) : below1 ? node1 << nodeShift : run)
    const fold = final ? this.#shared : this.#own
    if (!final) fold.copy(plan, this.#shared)
    if (below2) fold.addNodes(plan, state, entity, 1, node1, node2 << nodeShift, known)
    if (below1) fold.addRuns(plan, state, entity, run, node1 << nodeShift, known)
    if (place > 0) {
      const edge = store.runAt(entity, index)
      fold.addPlaces(plan, state, edge, place, store.lengthOf(edge), known)
    }
    return fold
  }

  /** Brings what is shared down to run `from`. */
  #share(from: number): void {
    const plan = this.#plan as FoldPlan
    const state = this.#state as ViewState
    const entity = this.#entity
    const known = this.#knownAsOfMs
    const shared = this.#shared
    if (this.#from > this.#last) {
      if (this.#lastPlaces > 0)
        shared.addPlaces(plan, state, state.events.runAt(entity, this.#last), 0, this.#lastPlaces, known)
      this.#from = this.#last
    }
    // Down through runs that no node holds, nodes that none of level 2 holds, and those of level 2.
    let to = this.#from
    const runs = Math.max(from, this.#nodes1 << nodeShift)
    if (to > runs) {
      shared.addRuns(plan, state, entity, runs, to, known)
      to = runs
    }
    const nodes = Math.max(from >> nodeShift, this.#nodes2 << nodeShift)
    if (to >> nodeShift > nodes && to > from) {
      shared.addNodes(plan, state, entity, 1, nodes, to >> nodeShift, known)
      to = nodes << nodeShift
    }
    if (to > from) {
      shared.addNodes(plan, state, entity, 2, from >> (2 * nodeShift), to >> (2 * nodeShift), known)
      to = from
    }
    this.#from = to
  }
}
