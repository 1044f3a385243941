import type { AsOf } from '../../core/asof/visible.ts'
import { stretchOf, type PartedRow, type Stretch } from '../../core/engine/parted-row.ts'
import type { ViewPlan } from '../../core/engine/plan.ts'
import type { Part } from '../../core/engine/row-parts.ts'
import type { EntityEvents } from '../../core/engine/state/view-state.ts'
import { FeatureStoreError, type ErrorCode } from '../../core/errors.ts'
import type { OnlineStore } from '../../core/ports/online-store.ts'
import type { RowCache } from './row-cache.ts'

/** A row that is stored as a head, of an entity asked for. */
export interface HeadRead {
  readonly plan: ViewPlan
  readonly shard: number
  readonly key: Uint8Array
  /** Of the key, for the cache. */
  readonly id: string
  readonly row: Uint8Array
}

interface ReadHead {
  readonly head: HeadRead
  readonly parted: PartedRow
  readonly stretch: Stretch
}

/** What is known of one head after its parts were read. */
export type PartedEvents =
  | { readonly kind: 'events'; readonly events: EntityEvents }
  /** The head was replaced meanwhile: it must be read again. */
  | { readonly kind: 'gone' }
  | { readonly kind: 'error'; readonly code: ErrorCode }

/**
 * The parts of one request's split rows: those that T needs, read beside the heads, once more from the store only when
 * they are not cached. Heads are read by the caller, and read again as long as `eventsOf` finds one replaced.
 */
export class PartReads {
  readonly #online: Pick<OnlineStore, 'readParts'>
  readonly #cache: RowCache
  /** By view and key. */
  #heads = new Map<string, ReadHead>()
  #errors = new Map<string, ErrorCode>()
  /** Heads of which a part was missing: when the same head is found once more, it is lost. */
  readonly #missed = new Map<string, Uint8Array>()
  /** Rows of which all parts are needed. */
  readonly #wide = new Set<string>()

  constructor(online: Pick<OnlineStore, 'readParts'>, cache: RowCache) {
    this.#online = online
    this.#cache = cache
  }

  /** Reads what these heads need as of T, side by side. */
  async read(heads: readonly HeadRead[], { asOfMs }: AsOf): Promise<void> {
    const before = this.#heads
    this.#heads = new Map()
    this.#errors = new Map()
    await Promise.all(
      heads.map(async (head) => {
        const id = idOf(head)
        if (this.#heads.has(id)) return
        const parted = before.get(id)?.parted ?? this.#cache.parted(head.plan, head.id)
        try {
          const directory = parted.setHead(head.row)
          const needed = stretchOf(directory, asOfMs, head.plan.reachMs)
          const stretch = this.#wide.has(id) ? { ...needed, from: 0 } : needed
          this.#heads.set(id, { head, parted, stretch })
          const names = new Set(parted.missing(directory, stretch))
          if (names.size === 0) return
          const parts = directory.parts.filter(({ name }) => names.has(name))
          const bytes = await this.#online.readParts(
            head.plan.view.name,
            head.shard,
            head.key,
            parts.map(({ name }) => name),
          )
          // Another request may have set another one by now.
          parted.setHead(head.row)
          const isWhole = parts.every((part: Part, index) => {
            const found = bytes[index] ?? null
            return found !== null && parted.add(part, found)
          })
          if (isWhole) return
          const missed = this.#missed.get(id)
          if (missed !== undefined && Buffer.compare(missed, head.row) === 0) this.#errors.set(id, 'FS_ROW_CORRUPT')
          this.#missed.set(id, head.row)
        } catch (error) {
          if (!(error instanceof FeatureStoreError)) throw error
          this.#errors.set(id, error.code)
        }
      }),
    )
  }

  /** The events that T needs, until the next call for the same row. */
  eventsOf(head: Pick<HeadRead, 'plan' | 'id'>): PartedEvents {
    const id = idOf(head)
    const code = this.#errors.get(id)
    if (code !== undefined) return { kind: 'error', code }
    const read = this.#heads.get(id)
    if (read === undefined) return { kind: 'gone' }
    read.parted.setHead(read.head.row)
    const events = read.parted.assemble(read.stretch)
    return events === null ? { kind: 'gone' } : { kind: 'events', events }
  }

  /** Called when the events did not tell. True when older parts may: the next `read` takes all of them. */
  widen(head: Pick<HeadRead, 'plan' | 'id'>, { asOfMs }: AsOf): boolean {
    const read = this.#heads.get(idOf(head))
    if (read === undefined || read.stretch.from === 0) return false
    if (read.parted.prunedNewestMs >= asOfMs - head.plan.reachMs) return false
    this.#wide.add(idOf(head))
    return true
  }

  /** Leaves what was read to the cache. */
  settle(): void {
    for (const { head, parted } of this.#heads.values()) this.#cache.settle(head.plan, head.id, parted)
  }
}

const idOf = ({ plan, id }: Pick<HeadRead, 'plan' | 'id'>): string => `${plan.view.name}/${id}`
