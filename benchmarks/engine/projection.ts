/** The log into a store by the worker's projection, as worker/run.ts does it, without a clock. */
import { setImmediate as turn } from 'node:timers/promises'
import { fieldsApplied, streamOf, type Catalog } from '../../core/definition/catalog.ts'
import type { Offset } from '../../core/event/position.ts'
import type { OnlineStore } from '../../core/ports/online-store.ts'
import { StreamReader } from '../../schemas/stream-reader.ts'
import { OnlineProjection } from '../../worker/online-projection.ts'
import { FlushPacer } from '../../worker/pacing.ts'
import { cards } from './cards.ts'
import { readBytes, type CardLog } from './dataset.ts'
import { schemas, settings } from './subject.ts'

export interface Projecting {
  readonly projection: OnlineProjection
  /** Applies the next chunk of the log; false at its end. */
  step(): Promise<boolean>
}

/** Takes the shards and stands before the first record that the store has not seen. */
export async function startProjecting(catalog: Catalog, store: OnlineStore, log: CardLog): Promise<Projecting> {
  const stream = streamOf(catalog, cards.name)
  const projection = await OnlineProjection.start(catalog, store, log.logId, settings)
  const reader = new StreamReader({ log, schemas, stream, projection: fieldsApplied(catalog, stream), reuse: true })
  await reader.refresh()
  projection.begin(cards.name, 0, 0)
  return {
    projection,
    async step() {
      const batch = await reader.read(0, projection.next(cards.name, 0) as Offset, readBytes)
      if (batch === null) return false
      await projection.apply(batch)
      return true
    },
  }
}

/** How old rows may get: the default of a project. */
const flushMs = 1_000

/** Flushes one after the other, paced as the worker paces them. */
export class PacedFlushes {
  readonly #projection: OnlineProjection
  readonly #pacer = new FlushPacer({ nowMs: () => performance.now() }, flushMs)
  #inFlight: Promise<void> | null = null
  #failure: unknown = null
  flushes = 0
  rows = 0
  /** Events that the store has acknowledged. */
  stored = 0

  constructor(projection: OnlineProjection) {
    this.#projection = projection
  }

  /** To be called after each chunk: begins a flush unless one is under way, and lets the store's answers in. */
  async offer(): Promise<void> {
    if (this.#failure !== null) throw this.#failure
    if (this.#inFlight === null && this.#projection.changed && this.#pacer.due)
      this.#inFlight = this.#flush().catch((error: unknown) => void (this.#failure = error))
    await turn()
  }

  /** Everything applied is in the store. */
  async drain(): Promise<void> {
    await this.#inFlight
    if (this.#failure !== null) throw this.#failure
    if (this.#projection.changed) await this.#flush()
  }

  async #flush(): Promise<void> {
    const { applied } = this.#projection
    this.rows += await this.#pacer.run(() => this.#projection.flush())
    this.stored = applied
    this.flushes++
    this.#inFlight = null
  }
}
