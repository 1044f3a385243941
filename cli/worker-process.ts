import { FeatureStoreError } from '../core/errors.ts'
import type { Logger } from '../core/ports/environment.ts'
import type { ShardOwnership } from '../core/ports/shard-ownership.ts'
import type { GenerationStore } from '../connectors/kit/generation-store.ts'
import { FileLock } from '../connectors/kit/file-lock.ts'
import { runWorker, type WorkerOptions } from '../worker/run.ts'
import { sleeper, systemClock } from './environment.ts'
import { shardGroup } from './kafka.ts'
import { makeDataFolder, type Project } from './project.ts'
import { openLogToRead, openOffline, openOnline, type OpenLog } from './stores.ts'

export type ProjectWorkerOptions = Pick<WorkerOptions, 'signal' | 'until'> & {
  readonly [K in 'onProgress' | 'stops' | 'onStop']?: WorkerOptions[K] | undefined
} & { readonly logger: Logger }

/** State that cannot be gone on from: it is derived, so it is thrown away and built again. */
const rebuildable: readonly string[] = ['FS_STATE_FORMAT', 'FS_ROW_CORRUPT']
/** How often the lock of the offline tables is asked for again, milliseconds. */
const lockMs = 2_000

/**
 * Runs the projections of a project, until caught up or aborted.
 *
 * Where log and online store are servers, any number of workers share the shards, and of those in one data folder one
 * fills the offline tables, by a lock; when it ends the next one does. Otherwise one worker has all, by that lock.
 */
export async function runProjectWorker(project: Project, options: ProjectWorkerOptions): Promise<void> {
  makeDataFolder(project)
  await using open = await openLogToRead(project)
  await checkStreams(project, open.log.describe.bind(open.log))
  const ownership = await sharedOwnership(project, open)
  if (ownership === null) {
    await using _lock = FileLock.acquire(project.paths.workerLock, 'tidemark worker')
    return await runAll(project, open, options)
  }
  const stop = new AbortController()
  const signal = AbortSignal.any([options.signal, stop.signal])
  const own = { ...options, signal }
  const results = await Promise.allSettled(
    [runShared(project, open, own, ownership), runOfflineInTurn(project, own)].map((run) =>
      run.catch((error: unknown) => {
        stop.abort()
        throw error
      }),
    ),
  )
  const failed = results.find((result) => result.status === 'rejected')
  if (failed !== undefined) throw failed.reason
}

/** Null where one worker has all shards. */
async function sharedOwnership({ config, generation, folder }: Project, open: OpenLog): Promise<ShardOwnership | null> {
  if (config.log.kind !== 'kafka' || config.online.kind !== 'redis') return null
  return shardGroup(config.log, open, { generation, shards: config.online.shards }, folder)
}

/** Rows of another format, of a log that was cut, or that fail their checksum are rebuilt from the log. */
async function runAll(project: Project, open: OpenLog, options: ProjectWorkerOptions): Promise<void> {
  await using online = await openOnline(project, 'write')
  await using offline = await openOffline(project, open.log.logId, 'write')
  const run = (): Promise<void> =>
    runWorker({ ...workerOptions(project, open, options), online, offline: offline.store, features: offline.features })
  try {
    await run()
  } catch (error) {
    if (!(error instanceof FeatureStoreError && rebuildable.includes(error.code))) throw error
    refuseOnServers(project, error)
    options.logger.warn('online.rebuilt', { code: error.code, reason: error.message })
    await online.dropGeneration(project.generation)
    await run()
  }
  await dropOthers(project, online)
}

/** The shards that are ours of an online store which several workers write. */
async function runShared(
  project: Project,
  open: OpenLog,
  options: ProjectWorkerOptions,
  ownership: ShardOwnership,
): Promise<void> {
  await using online = await openOnline(project, 'write')
  try {
    await runWorker({ ...workerOptions(project, open, options), online, ownership })
  } catch (error) {
    if (error instanceof FeatureStoreError && rebuildable.includes(error.code)) refuseOnServers(project, error)
    throw error
  }
}

/** Fills the offline tables of this data folder as soon as no other worker does. */
async function runOfflineInTurn(project: Project, options: ProjectWorkerOptions): Promise<void> {
  const sleep = sleeper(options.signal)
  while (!options.signal.aborted) {
    const lock = lockOrNull(project)
    if (lock !== null) {
      await using _lock = lock
      await using open = await openLogToRead(project)
      await using offline = await openOffline(project, open.log.logId, 'write')
      const { onStop: _onStop, stops: _stops, ...own } = options
      return await runWorker({
        ...workerOptions(project, open, own),
        offline: offline.store,
        features: offline.features,
      })
    }
    if (options.until === 'caught-up') return
    await sleep(lockMs)
  }
}

function lockOrNull(project: Project): FileLock | null {
  try {
    return FileLock.acquire(project.paths.workerLock, 'tidemark worker')
  } catch (error) {
    if (error instanceof FeatureStoreError && error.code === 'FS_LOCKED') return null
    throw error
  }
}

/** What a topic that was cut or made anew takes away is for the operator to decide: others may be reading these rows. */
function refuseOnServers({ config }: Project, error: FeatureStoreError): void {
  if (config.log.kind === 'embedded' || error.code !== 'FS_STATE_FORMAT') return
  throw new FeatureStoreError(error.code, error.message, {
    cause: error,
    remedy: 'If the topics are right as they are, build the rows again with `tidemark rebuild`.',
  })
}

/** Rows of earlier definitions are of no use once these are caught up. */
async function dropOthers(project: Project, online: GenerationStore): Promise<void> {
  for (const generation of await online.generations())
    if (generation !== project.generation) await online.dropGeneration(generation)
}

function workerOptions(project: Project, open: OpenLog, options: ProjectWorkerOptions): WorkerOptions {
  const { worker, online } = project.config
  const { onProgress, stops, onStop } = options
  return {
    catalog: project.catalog,
    log: open.log,
    schemas: open.writerSchemas,
    settings: {
      shards: online.shards,
      historyMs: online.historyMs,
      memoryBytesMax: worker.memoryMb * 2 ** 20,
      historyBytesMax: worker.historyMemoryMb * 2 ** 20,
      flushMs: worker.flushMs,
      pollMs: worker.pollMs,
      checkMs: worker.checkMs,
    },
    clock: systemClock,
    logger: options.logger,
    sleep: sleeper(options.signal),
    signal: options.signal,
    until: options.until,
    ...(onProgress === undefined ? {} : { onProgress }),
    ...(stops === undefined ? {} : { stops }),
    ...(onStop === undefined ? {} : { onStop }),
  }
}

/** A stream that was applied is in the log; one that is not was never applied. */
async function checkStreams(project: Project, describe: (stream: string) => Promise<unknown>): Promise<void> {
  for (const stream of project.catalog.streams.keys()) {
    if ((await describe(stream)) === null)
      throw new FeatureStoreError('FS_NOT_APPLIED', `stream ${stream} has not been applied`)
  }
}
