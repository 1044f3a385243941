import type { Catalog } from '../core/definition/catalog.ts'
import type { Offset, Position } from '../core/event/position.ts'
import type { Clock, Logger } from '../core/ports/environment.ts'
import type { EventLog } from '../core/ports/event-log.ts'
import type { FeatureHistoryStore } from '../core/ports/feature-history-store.ts'
import type { OfflineStore } from '../core/ports/offline-store.ts'
import type { OnlineStore } from '../core/ports/online-store.ts'
import type { ShardOwnership } from '../core/ports/shard-ownership.ts'
import type { WriterSchemas } from '../schemas/stream-reader.ts'
import type { OnlineSettings } from './online-projection.ts'
import { checkBeforeWork } from './inspect-log.ts'
import { summaryOf, type PartitionLag } from './lag.ts'
import { isUnavailable, Outage } from './outage.ts'
import { runHistory } from './run-history.ts'
import { runOffline } from './run-offline.ts'
import { runOnline } from './run-online.ts'

export interface WorkerSettings extends OnlineSettings {
  /** Longest time that applied events wait for a flush while more arrive, milliseconds. */
  readonly flushMs: number
  /** How often the end of the log is looked at, milliseconds. */
  readonly pollMs: number
  /** How often a worker with nothing to write asks the online store where its shards stand, milliseconds. Default 2,000. */
  readonly checkMs?: number
  /** Bound of what the history of one view holds, bytes. Absent: none. */
  readonly historyBytesMax?: number
}

export interface WorkerOptions {
  readonly catalog: Catalog
  readonly log: EventLog
  readonly schemas: WriterSchemas
  /** Absent: another worker keeps the online rows. */
  readonly online?: OnlineStore
  /** Which shards are this worker's. Default: all, for good. */
  readonly ownership?: ShardOwnership
  /** Absent: another worker fills the offline tables. */
  readonly offline?: OfflineStore
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
  /** Offsets that are applied, and that the log has: records, where offsets are dense from 0. */
  readonly applied: number
  readonly total: number
  /** How far the projection's store is behind the log, by stream and partition; of histories the one that is furthest. */
  readonly lag: readonly PartitionLag[]
}

/** A projection that ran for so long was answered, milliseconds. */
const steadyMs = 10_000

/**
 * Runs the projections of a project, each with its own reader and position, so that one store being down never delays
 * another. Ends when caught up or aborted, with everything applied flushed.
 *
 * Errors: FS_LOG_KNOWN_AT, FS_LOG_COMPACTED: the log does not keep what the definitions say; those of the projections.
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
  const own = { ...options, signal, ...(options.onProgress === undefined ? {} : { onProgress: telling(options) }) }
  const { online, offline, features } = options
  if (online === undefined) served.resolve()
  if (own.log.inspect !== undefined)
    await persistently(own, 'log', () => checkBeforeWork(own.log, own.catalog, own.logger))
  const results = await Promise.allSettled([
    online === undefined ? null : guarded(runOnline({ ...own, online }, served.resolve).finally(served.resolve)),
    offline === undefined ? null : guarded(persistently(own, 'offline', () => runOffline(own, offline))),
    features === undefined
      ? null
      : guarded(persistently(own, 'history', () => runHistory(own, features, served.promise))),
  ])
  const failed = results.find((result) => result.status === 'rejected')
  if (failed !== undefined) throw failed.reason
}

/** Below it nobody is told, and a projection that stays above is told of every so often, milliseconds. */
const lagToldMs = 10_000
const lagEveryMs = 30_000

/** Progress as it is asked for, and a line now and then while a projection is behind. */
function telling({ clock, logger, onProgress }: WorkerOptions): (progress: WorkerProgress) => void {
  const toldMs = new Map<string, number>()
  return (progress) => {
    onProgress?.(progress)
    const { projection, lag } = progress
    const { offsets, lagMs, worst } = summaryOf(lag)
    const nowMs = clock.nowMs()
    if (lagMs === null || lagMs < lagToldMs || nowMs - (toldMs.get(projection) ?? -lagEveryMs) < lagEveryMs) return
    toldMs.set(projection, nowMs)
    logger.info('worker.lag', { projection, offsets, lagMs, ...worst })
  }
}

/** Runs a projection again, from where its tables stand, for as long as the only trouble is that something does not answer. */
async function persistently(options: WorkerOptions, of: string, run: () => Promise<void>): Promise<void> {
  const { clock, logger, signal, sleep } = options
  const outage = new Outage(clock, logger, of)
  while (!signal.aborted) {
    const begunMs = clock.nowMs()
    try {
      return await run()
    } catch (error) {
      if (!isUnavailable(error)) throw error
      // What ran for a while was answered.
      if (clock.nowMs() - begunMs > outage.waitMs + steadyMs) outage.answered()
      outage.failed(error)
      await sleep(outage.waitMs)
    }
  }
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
