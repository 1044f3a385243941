import { FeatureStoreError } from '../core/errors.ts'
import type { Logger } from '../core/ports/environment.ts'
import { FileLock } from '../connectors/kit/file-lock.ts'
import { runWorker, type WorkerOptions } from '../worker/run.ts'
import { sleeper, systemClock } from './environment.ts'
import { makeDataFolder, type Project } from './project.ts'
import { openLogToRead, openOffline, openOnline } from './stores.ts'

export type ProjectWorkerOptions = Pick<WorkerOptions, 'signal' | 'until'> & {
  readonly [K in 'onProgress' | 'stops' | 'onStop']?: WorkerOptions[K] | undefined
} & { readonly logger: Logger }

/** State that cannot be gone on from: it is derived, so it is thrown away and built again. */
const rebuildable: readonly string[] = ['FS_STATE_FORMAT', 'FS_ROW_CORRUPT']

/**
 * Runs the projections of a project under its lock, until caught up or aborted. Rows of another format, of a log that
 * was cut, or that fail their checksum are rebuilt from the log.
 */
export async function runProjectWorker(project: Project, options: ProjectWorkerOptions): Promise<void> {
  makeDataFolder(project)
  await using _lock = FileLock.acquire(project.paths.workerLock, 'tidemark worker')
  await using open = await openLogToRead(project)
  await checkStreams(project, open.log.describe.bind(open.log))
  await using online = await openOnline(project, 'write')
  await using offline = await openOffline(project, open.log.logId, 'write')
  const { worker } = project.config
  const { onProgress, stops, onStop } = options
  const run = (): Promise<void> =>
    runWorker({
      catalog: project.catalog,
      log: open.log,
      schemas: open.writerSchemas,
      online,
      offline: offline.store,
      features: offline.features,
      settings: {
        shards: project.config.online.shards,
        historyMs: project.config.online.historyMs,
        memoryBytesMax: worker.memoryMb * 2 ** 20,
        flushMs: worker.flushMs,
        pollMs: worker.pollMs,
      },
      clock: systemClock,
      logger: options.logger,
      sleep: sleeper(options.signal),
      signal: options.signal,
      until: options.until,
      ...(onProgress === undefined ? {} : { onProgress }),
      ...(stops === undefined ? {} : { stops }),
      ...(onStop === undefined ? {} : { onStop }),
    })
  try {
    await run()
  } catch (error) {
    if (!(error instanceof FeatureStoreError && rebuildable.includes(error.code))) throw error
    options.logger.warn('online.rebuilt', { code: error.code, reason: error.message })
    await online.dropGeneration(project.generation)
    await run()
  }
  // Rows of earlier definitions are of no use once these are caught up.
  for (const generation of await online.generations())
    if (generation !== project.generation) await online.dropGeneration(generation)
}

/** A stream that was applied is in the log; one that is not was never applied. */
async function checkStreams(project: Project, describe: (stream: string) => Promise<unknown>): Promise<void> {
  for (const stream of project.catalog.streams.keys()) {
    if ((await describe(stream)) === null)
      throw new FeatureStoreError('FS_NOT_APPLIED', `stream ${stream} has not been applied`)
  }
}
