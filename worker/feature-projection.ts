import type { Catalog } from '../core/definition/catalog.ts'
import { historyStepOf } from '../core/definition/history.ts'
import { FeatureHistory } from '../core/engine/feature-history.ts'
import { planView, type ViewPlan } from '../core/engine/plan.ts'
import { FeatureStoreError } from '../core/errors.ts'
import type { EventBatch } from '../core/event/batch.ts'
import { endKnownBy, lastKnownAt, takeBelow, takeFrom } from '../core/event/batch-ops.ts'
import { continues } from '../core/event/continuity.ts'
import { offset, offsetZero, type PartitionPosition } from '../core/event/position.ts'
import type { PartitionInfo } from '../core/ports/event-log.ts'
import type { FeatureHistoryStore, FeatureRows, FeatureTable } from '../core/ports/feature-history-store.ts'
import type { StreamReader } from '../schemas/stream-reader.ts'
import { LagMeter } from './lag.ts'
import { readBytesFor } from './read-size.ts'

/** A read of one partition: small, so that few records wait for other partitions. */
const readBytes = 256 * 1024
/** What the reads of all partitions take together. */
const chunkBytesMax = 64 * 2 ** 20
/** Changes behind one write, and rows in it, about: a write is a block in memory, and one late record has many rows. */
const changesMin = 1_000
const changesMax = 250_000
const rowsAimed = 200_000

/** The table of a view's feature history; null where it keeps none. */
export function featureTable(plan: ViewPlan): FeatureTable | null {
  const { view, keyTypes, features, fingerprint } = plan
  const stepMs = historyStepOf(view)
  if (stepMs === null) return null
  return {
    view: view.name,
    key: view.keyFields.map((name, part) => ({ name, type: keyTypes[part] as (typeof keyTypes)[number] })),
    features: features.map(({ definition, valueType }) => ({ name: definition.name, type: valueType })),
    meaning: `${fingerprint} every ${stepMs}`,
  }
}

/**
 * Makes the tables of the views that keep a history, drops those of others, and answers the views.
 *
 * Errors: FS_DEFINITION_INVALID where a stream has the name of such a table.
 */
export async function prepareFeatures(catalog: Catalog, store: FeatureHistoryStore): Promise<readonly ViewPlan[]> {
  const plans = [...catalog.views.keys()].map((view) => planView(catalog, view, 0))
  const tables = plans.flatMap((plan) => featureTable(plan) ?? [])
  for (const { view } of tables)
    for (const taken of [`features_${view}`, `feature_versions_${view}`])
      if (catalog.streams.has(taken))
        throw new FeatureStoreError(
          'FS_DEFINITION_INVALID',
          `stream ${taken} has the name of the history of view ${view}`,
        )
  await store.prepare(tables)
  return plans.filter((plan) => featureTable(plan) !== null)
}

/**
 * Events to the feature history of one view. Its memory is not stored: it is built by reading the log from its beginning
 * up to the position of the table, without computing rows.
 *
 * Partitions are read side by side: a record waits until every other partition was read beyond its knownAt, or to its end.
 * So nearly all records come in order of knownAt, and only add rows (core/engine/feature-history.ts). What rows there are
 * does not depend on it.
 */
export class FeatureProjection {
  readonly plan: ViewPlan
  readonly #store: FeatureHistoryStore
  readonly #reader: StreamReader
  readonly #history: FeatureHistory
  readonly #positions: PartitionPosition[]
  /** Records that were read and wait, by partition. */
  readonly #waiting: (EventBatch | null)[]
  readonly lag = new LagMeter()
  /** What the table covers. */
  stored: readonly PartitionPosition[]
  #revision: number
  #changed = false
  #changesAtOnce = 20_000

  private constructor(
    plan: ViewPlan,
    store: FeatureHistoryStore,
    reader: StreamReader,
    partitions: number,
    revision: number,
  ) {
    this.plan = plan
    this.#store = store
    this.#reader = reader
    this.#history = new FeatureHistory(plan, historyStepOf(plan.view) as number)
    this.#positions = Array.from({ length: partitions }, () => ({ epoch: 0, next: offsetZero }))
    this.#waiting = Array.from({ length: partitions }, () => null)
    this.stored = [...this.#positions]
    this.#revision = revision
  }

  /** Learns where the table stands. One that holds records which the log no longer has is dropped and filled again. */
  static async start(
    plan: ViewPlan,
    store: FeatureHistoryStore,
    reader: StreamReader,
    signal: AbortSignal,
  ): Promise<FeatureProjection> {
    const partitions = await reader.refresh()
    let held = await store.position(plan.view.name)
    if (held !== null && !held.partitions.every((position, index) => goesOn(position, partitions[index]))) {
      await store.drop(plan.view.name)
      await store.prepare([featureTable(plan) as FeatureTable])
      held = null
    }
    const projection = new FeatureProjection(plan, store, reader, partitions.length, held?.revision ?? 0)
    if (held !== null) await projection.#replay(held.partitions, signal)
    return projection
  }

  async #replay(to: readonly PartitionPosition[], signal: AbortSignal): Promise<void> {
    for await (const batch of this.#reader.scan(to)) {
      if (signal.aborted) return
      this.#history.apply(batch)
    }
    this.#history.skip()
    to.forEach((position, partition) => (this.#positions[partition] = position))
    this.stored = [...this.#positions]
  }

  get applied(): number {
    return this.#positions.reduce((sum, { next }) => sum + next, 0)
  }

  /** Whether records were applied that the table does not cover. */
  get changed(): boolean {
    return this.#changed
  }

  /** Enough was applied for a write. */
  get isFull(): boolean {
    return this.#history.changeCount >= this.#changesAtOnce
  }

  get memoryBytes(): number {
    return this.#history.memoryBytes
  }

  /** Applies what can be applied next; the number of records, 0 at the end of the log. */
  async step(): Promise<number> {
    const partitions = await this.#reader.refresh()
    // Some may have been added since.
    while (this.#positions.length < partitions.length) {
      this.#positions.push({ epoch: 0, next: offsetZero })
      this.#waiting.push(null)
    }
    const bytes = readBytesFor(partitions.length, readBytes, chunkBytesMax)
    let knownMs = Number.POSITIVE_INFINITY
    for (const [partition, { end }] of partitions.entries()) {
      if (this.#next(partition) < end)
        this.#waiting[partition] ??= await this.#reader.read(partition, this.#next(partition), bytes)
      const batch = this.#waiting[partition] ?? null
      if (batch !== null && batch.nextOffset < end) knownMs = Math.min(knownMs, lastKnownAt(batch))
    }
    let applied = 0
    for (const [partition, batch] of this.#waiting.entries()) {
      if (batch === null) continue
      const end = endKnownBy(batch, knownMs)
      if (end === batch.firstOffset) continue
      const part = takeBelow(batch, end)
      this.#history.apply(part)
      this.#positions[partition] = { epoch: batch.epoch, next: end }
      this.lag.read(batch.stream, partition, end, lastKnownAt(part))
      this.#waiting[partition] = end < batch.nextOffset ? takeFrom(batch, end) : null
      applied += end - batch.firstOffset
    }
    if (applied > 0) this.#changed = true
    return applied
  }

  /**
   * Writes the rows of what was applied, with the position. Returns their number.
   *
   * `pause` lets others have their turn between two parts of the work.
   *
   * Errors: FS_POSITION_GAP where somebody else has written: start another projection, which goes on from the table.
   */
  async flush(pause: () => Promise<void>): Promise<number> {
    const rows: FeatureRows[] = []
    let count = 0
    const changes = this.#history.changeCount
    for (const part of this.#history.take()) {
      rows.push(part)
      count += part.count
      await pause()
    }
    const to = { revision: this.#revision + 1, partitions: [...this.#positions] }
    this.#changed = false
    const outcome = await this.#store.write({ view: this.plan.view.name, to, rows })
    if (outcome === 'gap')
      throw new FeatureStoreError(
        'FS_POSITION_GAP',
        `the history of view ${this.plan.view.name} does not stand where this worker left it`,
      )
    this.#revision = to.revision
    this.stored = to.partitions
    if (changes >= this.#changesAtOnce)
      this.#changesAtOnce = Math.max(
        changesMin,
        Math.min(changesMax, Math.floor((this.#changesAtOnce * rowsAimed) / Math.max(count, rowsAimed / 2))),
      )
    return count
  }

  #next(partition: number) {
    return offset((this.#positions[partition] as PartitionPosition).next)
  }
}

const goesOn = (position: PartitionPosition, partition: PartitionInfo | undefined): boolean =>
  partition !== undefined && continues(position, partition)
