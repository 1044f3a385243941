import { fieldsReadBy, streamOf, type Catalog } from '../core/definition/catalog.ts'
import type { ViewPlan } from '../core/engine/plan.ts'
import { FeatureStoreError } from '../core/errors.ts'
import type { Offset, Position } from '../core/event/position.ts'
import type { Clock, Logger } from '../core/ports/environment.ts'
import type { EventLog } from '../core/ports/event-log.ts'
import type { FeatureHistoryStore } from '../core/ports/feature-history-store.ts'
import type { OfflineStore } from '../core/ports/offline-store.ts'
import type { OnlineStore } from '../core/ports/online-store.ts'
import type { ShardOwnership } from '../core/ports/shard-ownership.ts'
import { StreamReader, type WriterSchemas } from '../schemas/stream-reader.ts'
import { FeatureProjection, prepareFeatures } from './feature-projection.ts'
import { OfflineProjection } from './offline-projection.ts'
import type { OnlineSettings } from './online-projection.ts'
import { logTotal, runOnline } from './run-online.ts'

export interface WorkerSettings extends OnlineSettings {
  /** Longest time that applied events wait for a flush while more arrive, milliseconds. */
  readonly flushMs: number
  /** How often the end of the log is looked at, milliseconds. */
  readonly pollMs: number
}

export interface WorkerOptions {
  readonly catalog: Catalog
  readonly log: EventLog
  readonly schemas: WriterSchemas
  readonly online: OnlineStore
  /** Which shards are this worker's. Default: all, for good. */
  readonly ownership?: ShardOwnership
  readonly offline: OfflineStore
  /** Absent: no feature history is kept, whatever the views say. */
  readonly features?: FeatureHistoryStore
  readonly settings: WorkerSettings
  readonly clock: Clock
  readonly logger: Logger
  readonly sleep: (ms: number) => Promise<void>
  readonly signal: AbortSignal
  /** End when the log's end is reached, or stay and follow it. */
  readonly until: 'caught-up' | 'aborted'
  /** Called where a projection stands, at most a few times a second. */
  readonly onProgress?: (progress: WorkerProgress) => void
  /** Record counts at which the online projection flushes and waits for `onStop` before it reads on. */
  readonly stops?: readonly number[]
  readonly onStop?: (applied: number) => Promise<void>
}

export interface WorkerProgress {
  readonly projection: 'online' | 'offline' | 'history'
  readonly applied: number
  readonly total: number
}

/** A read is one insert. */
const offlineReadBytes = 4 * 1024 * 1024
/** Records without rows: the position of a feature history follows at most so often, milliseconds. */
const historyPositionMs = 1_000
/** How often a history that finds its table elsewhere begins again before it gives up. */
const restartsMax = 3

/**
 * Runs the projections of a project, each with its own reader and position, so that one store being down never delays
 * another. Ends when caught up or aborted, with everything applied flushed.
 */
export async function runWorker(options: WorkerOptions): Promise<void> {
  const stop = new AbortController()
  const signal = AbortSignal.any([options.signal, stop.signal])
  const guarded = (run: Promise<void>): Promise<void> =>
    run.catch((error: unknown) => {
      stop.abort()
      throw error
    })
  const served = Promise.withResolvers<void>()
  const results = await Promise.allSettled([
    guarded(runOnline({ ...options, signal }, served.resolve).finally(served.resolve)),
    guarded(runOffline({ ...options, signal })),
    ...(options.features === undefined
      ? []
      : [guarded(runHistory({ ...options, signal }, options.features, served.promise))]),
  ])
  const failed = results.find((result) => result.status === 'rejected')
  if (failed !== undefined) throw failed.reason
}

function readers(options: WorkerOptions, streams: readonly string[]): StreamReader[] {
  const { log, schemas, catalog } = options
  return streams.map((stream) => new StreamReader({ log, schemas, stream: streamOf(catalog, stream) }))
}

async function runOffline(options: WorkerOptions): Promise<void> {
  const { catalog, offline, signal } = options
  const streams = readers(options, [...catalog.streams.keys()])
  const projections = await Promise.all(
    streams.map((reader) => OfflineProjection.start(offline, reader, offlineReadBytes)),
  )
  while (!signal.aborted) {
    let read = 0
    for (const [index, projection] of projections.entries()) {
      await (streams[index] as StreamReader).refresh()
      for (let partition = 0; partition < projection.positions.length && !signal.aborted; partition++) {
        read += await projection.step(partition)
        options.onProgress?.({
          projection: 'offline',
          applied: projections.reduce((sum, { applied }) => sum + applied, 0),
          total: await logTotal(streams),
        })
      }
    }
    if (read > 0) continue
    if (options.until === 'caught-up') break
    await options.sleep(options.settings.pollMs)
  }
}

/**
 * Begins when the online rows have caught up with the log (`served`) for the first time: a history that is built computes
 * far more values than they hold, in the same thread, and nobody waits for it.
 */
async function runHistory(options: WorkerOptions, store: FeatureHistoryStore, served: Promise<void>): Promise<void> {
  const { catalog, log, schemas, clock, logger, signal } = options
  const plans = await prepareFeatures(catalog, store)
  const readers = plans.map(
    ({ view, stream }) => new StreamReader({ log, schemas, stream, projection: fieldsReadBy(view, stream) }),
  )
  await served
  const start = (index: number): Promise<FeatureProjection> =>
    FeatureProjection.start(plans[index] as ViewPlan, store, readers[index] as StreamReader, signal)
  const projections: FeatureProjection[] = []
  for (const index of plans.keys()) projections.push(await start(index))
  const pause = (): Promise<void> => options.sleep(0)
  let restarts = 0
  const flush = async (index: number): Promise<void> => {
    try {
      await projections[index]?.flush(pause)
    } catch (error) {
      if (!(error instanceof FeatureStoreError && error.code === 'FS_POSITION_GAP') || restarts++ >= restartsMax)
        throw error
      // A worker that was killed had sent a write, which has arrived since.
      logger.warn('history.restarted', { view: plans[index]?.view.name ?? '', reason: error.message })
      projections[index] = await start(index)
    }
  }
  let positionMs = clock.nowMs()
  while (!signal.aborted) {
    let read = 0
    for (const index of projections.keys()) {
      read += (await projections[index]?.step()) ?? 0
      if (projections[index]?.isFull === true) await flush(index)
      options.onProgress?.({
        projection: 'history',
        applied: projections.reduce((sum, { applied }) => sum + applied, 0),
        total: await logTotal(readers),
      })
      if (signal.aborted) break
    }
    if (read > 0) continue
    const isDue = options.until === 'caught-up' || clock.nowMs() - positionMs >= historyPositionMs
    if (isDue) {
      positionMs = clock.nowMs()
      for (const index of projections.keys()) if (projections[index]?.changed === true) await flush(index)
    }
    // One that began again has something to read.
    if (options.until === 'caught-up' && (await isRead(projections, readers))) break
    await options.sleep(options.settings.pollMs)
  }
  for (const index of projections.keys()) if (projections[index]?.changed === true) await flush(index)
}

async function isRead(projections: readonly FeatureProjection[], readers: readonly StreamReader[]): Promise<boolean> {
  return projections.reduce((sum, { applied }) => sum + applied, 0) >= (await logTotal(readers))
}

/** Where the log ends now, for the streams of a catalog that it has. */
export async function logPosition(log: EventLog, streams: Iterable<string>): Promise<Position> {
  const position: Record<string, { epoch: number; next: Offset }[]> = {}
  for (const stream of streams) {
    const partitions = await log.describe(stream)
    if (partitions !== null)
      position[stream] = partitions.map(({ epochs, end }) => ({ epoch: epochs.at(-1)?.epoch ?? 0, next: end }))
  }
  return { logId: log.logId, streams: position }
}
