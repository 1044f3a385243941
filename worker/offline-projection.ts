import { FeatureStoreError } from '../core/errors.ts'
import type { EventBatch } from '../core/event/batch.ts'
import { lastKnownAt } from '../core/event/batch-ops.ts'
import { continues } from '../core/event/continuity.ts'
import { offsetZero, type PartitionPosition } from '../core/event/position.ts'
import { tableOf } from '../core/definition/corrections.ts'
import type { StreamDefinition } from '../core/definition/types.ts'
import type { PartitionInfo } from '../core/ports/event-log.ts'
import type { OfflineStore } from '../core/ports/offline-store.ts'
import type { StreamReader } from '../schemas/stream-reader.ts'
import { LagMeter } from './lag.ts'
import { readBytesFor } from './read-size.ts'

/**
 * Events to the offline table of one stream: every log record becomes one row, in inserts of one partition each.
 * The position is what the table holds; there is nothing else to keep.
 */
export class OfflineProjection {
  readonly stream: StreamDefinition
  readonly #store: OfflineStore
  readonly #reader: StreamReader
  /** Of one read. */
  readonly #bytes: number
  readonly #positions: PartitionPosition[]
  readonly lag = new LagMeter()

  private constructor(
    store: OfflineStore,
    reader: StreamReader,
    bytes: number,
    positions: readonly PartitionPosition[],
  ) {
    this.stream = reader.stream
    this.#store = store
    this.#reader = reader
    this.#bytes = bytes
    this.#positions = [...positions]
  }

  /**
   * Prepares the table, repeats what a crash left open, and learns where the table stands. A table that holds records
   * which the log no longer has is dropped and filled again. `readBytes`: of one partition; `chunkBytesMax`: of all.
   */
  static async start(
    store: OfflineStore,
    reader: StreamReader,
    readBytes: number,
    chunkBytesMax: number,
  ): Promise<OfflineProjection> {
    const { stream } = reader
    const table = tableOf(stream)
    await store.prepare([table])
    const partitions = await reader.refresh()
    for (const { partition, first, next } of store.pending(stream.name)) {
      // The log may have lost the tail of the range with its machine; then the table is ahead of it and filled again below.
      if (next <= (partitions[partition]?.end ?? 0)) await store.insert(await reader.range(partition, first, next))
    }
    let positions = await store.positions(stream.name, partitions.length)
    // The log as it is now: a predecessor that is still at work may have filled the table beyond what was seen before.
    const now = await reader.refresh()
    const open = store.pending(stream.name).length > 0
    if (open || positions.some((position, partition) => !goesOn(position, now[partition]))) {
      await store.drop(stream.name)
      await store.prepare([table])
      positions = await store.positions(stream.name, partitions.length)
    }
    const bytes = readBytesFor(positions.length, readBytes, chunkBytesMax)
    return new OfflineProjection(store, reader, bytes, positions)
  }

  get positions(): readonly PartitionPosition[] {
    return this.#positions
  }

  get applied(): number {
    return this.#positions.reduce((sum, { next }) => sum + next, 0)
  }

  /** Inserts what follows in a partition, one block of it, lower ones first; the number of records, 0 at the end of the log. */
  async step(partition: number): Promise<number> {
    // One that was added since begins with its first record.
    const from = (this.#positions[partition] ??= { epoch: 0, next: offsetZero })
    const batch = await this.#reader.read(partition, from.next, this.#bytes)
    if (batch === null) return 0
    return this.#insert(batch)
  }

  async #insert(batch: EventBatch): Promise<number> {
    const outcome = await this.#store.insert(batch)
    if (outcome.kind === 'gap') {
      throw new FeatureStoreError(
        'FS_POSITION_GAP',
        `events_${batch.stream}: partition ${batch.partition} stands at ${outcome.expected.next}, not at ${batch.firstOffset}`,
      )
    }
    this.#positions[batch.partition] = { epoch: batch.epoch, next: batch.nextOffset }
    this.lag.read(batch.stream, batch.partition, batch.nextOffset, lastKnownAt(batch))
    return batch.nextOffset - batch.firstOffset
  }
}

/** A table of more partitions than the log has is one of another stream. */
const goesOn = (position: PartitionPosition, partition: PartitionInfo | undefined): boolean =>
  partition !== undefined && continues(position, partition)
