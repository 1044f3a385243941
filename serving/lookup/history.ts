import { ttlStart, type AsOf } from '../../core/asof/visible.ts'
import { eventsFromHistory } from '../../core/engine/from-history.ts'
import type { ViewPlan } from '../../core/engine/plan.ts'
import type { EntityEvents } from '../../core/engine/state/view-state.ts'
import { covers, type Position } from '../../core/event/position.ts'
import type { EventQuery, OfflineStore } from '../../core/ports/offline-store.ts'
import { earliestMs } from '../../core/time/time.ts'

/** The offline store as a lookup needs it. */
export interface OfflineHistory {
  readonly store: OfflineStore
  /** What the tables of these streams hold. */
  readonly position: (streams: readonly string[]) => Promise<Position>
}

/** Remembers how far the tables were found to reach: they only grow, so a position once covered stays covered. */
export class History {
  readonly #open: () => Promise<OfflineHistory>
  #held: Position | null = null

  constructor(open: () => Promise<OfflineHistory>) {
    this.#open = open
  }

  /** The store once its tables cover `position`; null while they do not. Errors: FS_OFFLINE_UNAVAILABLE. */
  async covering(position: Position): Promise<OfflineStore | null> {
    const offline = await this.#open()
    if (this.#held === null || this.#held.logId !== position.logId || !covers(this.#held, position)) {
      this.#held = await offline.position(Object.keys(position.streams))
    }
    return covers(this.#held, position) ? offline.store : null
  }
}

/**
 * An entity's events as of (T, K, P) from the full history: what the longest window reaches. Only when nothing there is
 * visible is anything older read, which tells a value of an empty window from EXPIRED and NOT_FOUND.
 */
export async function fromHistory(
  store: OfflineStore,
  plan: ViewPlan,
  key: EventQuery['key'],
  { asOfMs, knownAsOfMs }: AsOf,
  position: Position,
): Promise<EntityEvents> {
  const starts = [asOfMs - plan.reachMs, ttlStart(asOfMs, plan.view.ttlMs), earliestMs].map((start) =>
    Math.max(start, earliestMs),
  )
  const bounds = [...new Set([asOfMs, ...starts])].sort((a, b) => b - a)
  for (let index = 1; ; index++) {
    const toMs = bounds[index - 1] as number
    const fromMs = bounds[index] ?? toMs
    const { name: stream, primaryKey } = plan.stream
    const history = await store.events({
      stream,
      key,
      fromMs,
      toMs,
      knownAtMsMax: knownAsOfMs,
      position,
      ...(primaryKey === undefined ? {} : { primaryKey }),
    })
    const events = eventsFromHistory(plan, history, { key, fromMs, toMs })
    if (events.state.events.runsOf(events.entity) > 0 || index >= bounds.length - 1) return events
  }
}
