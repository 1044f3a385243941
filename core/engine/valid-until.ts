import { intervalEnd, leftBehindAt, seriesParts, ttlStart, windowEnd, windowStart } from '../asof/visible.ts'
import type { WindowDefinition } from '../definition/types.ts'
import type { FeaturePlan, ViewPlan } from './plan.ts'
import { newestLiveMs } from './scan.ts'
import type { EventStore } from './state/event-store.ts'
import type { EntityEvents } from './state/view-state.ts'

type Of<Kind extends WindowDefinition['kind']> = Extract<WindowDefinition, { readonly kind: Kind }>

/**
 * How long what was finished at T, with everything known, stays as it is.
 *
 *     ── event ────[ window ──────────── T        An edge that lies c before T passes an event at t when T = t + c + 1:
 *                                        └ c = 0      it then enters, leaves, or is the other part's of a series.
 *
 * Which events an edge will pass next is read from the store; events that never count are taken for ones that do, which
 * is early at worst.
 */
export class ValidUntil {
  readonly #ttlMs: number | null
  /** Distances c of edges that move with T. */
  readonly #edges: Float64Array
  readonly #coarse: readonly Of<'sliding'>[]
  readonly #tumbling: readonly Of<'tumbling'>[]
  /** Of sessions. */
  readonly #gapsMs: readonly number[]

  constructor(plan: ViewPlan, features: readonly FeaturePlan[]) {
    const windows = [...new Set(features.map(({ window }) => window))].map(
      (index) => plan.windows[index] as WindowDefinition,
    )
    this.#ttlMs = plan.view.ttlMs
    const edges = new Set([0])
    const coarse: Of<'sliding'>[] = []
    const tumbling: Of<'tumbling'>[] = []
    const gapsMs: number[] = []
    for (const window of windows) {
      // A ttl is at least as far back as what an exact window reaches: it cuts the others only.
      if (isCutByTtl(window) && plan.view.ttlMs !== null) edges.add(plan.view.ttlMs)
      if (window.kind === 'tumbling') tumbling.push(window)
      if (window.kind === 'session') gapsMs.push(window.gapMs)
      if (window.kind === 'sliding') {
        edges.add(-windowEnd(0, window))
        if (window.resolutionMs === undefined) edges.add(-windowStart(0, window, null))
        else coarse.push(window)
      }
      if (window.kind === 'series') for (const part of seriesParts(window)) edges.add(-windowStart(0, part, null))
    }
    this.#edges = Float64Array.from(edges)
    this.#coarse = coarse
    this.#tumbling = tumbling
    this.#gapsMs = gapsMs
  }

  /**
   * The first T after `asOfMs` at which a feature of the entity could be another one while its events stay the same;
   * Infinity for never. Epoch milliseconds. Only where the finisher answered at `asOfMs`.
   */
  at({ state, entity }: EntityEvents, asOfMs: number): number {
    const store = state.events
    let untilMs = Number.POSITIVE_INFINITY
    for (let index = 0; index < this.#edges.length; index++) {
      const edge = this.#edges[index] as number
      untilMs = Math.min(untilMs, firstTimeFrom(store, entity, asOfMs - edge) + edge + 1)
    }
    for (const window of this.#coarse) {
      const timeMs = firstTimeFrom(store, entity, windowStart(asOfMs, window, null))
      if (timeMs < Number.POSITIVE_INFINITY) untilMs = Math.min(untilMs, leftBehindAt(timeMs, window))
    }
    for (const window of this.#tumbling) untilMs = Math.min(untilMs, intervalEnd(asOfMs, window))
    return this.#ttlMs === null && this.#gapsMs.length === 0
      ? untilMs
      : Math.min(untilMs, this.#outlivedAt(store, entity, asOfMs))
  }

  /** When the newest event ends a session, or is older than the ttl, by which the entity expires. */
  #outlivedAt(store: EventStore, entity: number, asOfMs: number): number {
    let newestMs = newestLiveMs(store, entity, store.lowerBound(entity, asOfMs), Number.POSITIVE_INFINITY)
    let untilMs = Number.POSITIVE_INFINITY
    for (const gapMs of this.#gapsMs) if (newestMs + gapMs > asOfMs) untilMs = Math.min(untilMs, newestMs + gapMs)
    if (newestMs === Number.NEGATIVE_INFINITY) newestMs = store.prunedNewestMs(entity)
    if (this.#ttlMs === null || newestMs < ttlStart(asOfMs, this.#ttlMs)) return untilMs
    return Math.min(untilMs, newestMs + this.#ttlMs + 1)
  }
}

function isCutByTtl(window: WindowDefinition): boolean {
  switch (window.kind) {
    case 'sliding':
      return window.resolutionMs !== undefined
    case 'tumbling':
      return window.zone !== undefined
    case 'series':
      return false
    case 'lifetime':
    case 'rows':
    case 'session':
      return true
  }
}

/** Event time of the first event at or after `timeMs`, Infinity where there is none. */
function firstTimeFrom(store: EventStore, entity: number, timeMs: number): number {
  const cursor = store.lowerBound(entity, timeMs)
  return cursor === store.end(entity) ? Number.POSITIVE_INFINITY : store.timeAt(entity, cursor)
}
