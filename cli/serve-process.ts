import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { FeatureStoreError } from '../core/errors.ts'
import type { Logger } from '../core/ports/environment.ts'
import type { RegistryState } from '../core/registry/state.ts'
import { startFeatureServer, type FeatureServer } from '../serving/grpc/server.ts'
import { createInferenceRuntime } from '../serving/inference/runtime.ts'
import { Lookup } from '../serving/lookup/lookup.ts'
import { ModelPredictor } from '../serving/predict/predictor.ts'
import { loadRegistry, registryStream } from '../worker/registry-log.ts'
import { sleeper, systemClock } from './environment.ts'
import type { Project } from './project.ts'
import { lazily, openLogToRead, openOffline, openOnline, type OpenLog } from './stores.ts'

/** Everything that answers for a project: lookups in process, without a server around them. */
export interface OpenLookup extends AsyncDisposable {
  readonly open: OpenLog
  readonly lookup: Lookup
}

/** Errors: FS_NOT_APPLIED, FS_NOT_READY before the first worker run. */
export async function openLookup(project: Project): Promise<OpenLookup> {
  const open = await openLogToRead(project)
  try {
    const online = await openOnline(project, 'read')
    const offline = lazily(() => openOffline(project, open.log.logId, 'read'))
    return {
      open,
      lookup: new Lookup({
        catalog: project.catalog,
        online,
        offline: () => offline.get(),
        clock: systemClock,
        shards: project.config.online.shards,
        historyMs: project.config.online.historyMs,
        rowsMax: project.config.serving.rowsMax,
        cacheBytesMax: project.config.serving.cacheMb * 2 ** 20,
        arenaBytesMax: project.config.serving.arenaMb * 2 ** 20,
        sleep: sleeper(),
      }),
      async [Symbol.asyncDispose]() {
        await offline.close()
        await online[Symbol.asyncDispose]()
        await open[Symbol.asyncDispose]()
      },
    }
  } catch (error) {
    await open[Symbol.asyncDispose]()
    throw error
  }
}

/** The registry, read again only when its stream has grown. */
export function cachedRegistry({ log }: OpenLog): () => Promise<RegistryState> {
  let end = -1
  let state: Promise<RegistryState> | null = null
  return async () => {
    const [info] = (await log.describe(registryStream)) ?? []
    if (state === null || info?.end !== end) {
      end = info?.end ?? -1
      state = loadRegistry(log)
    }
    return state
  }
}

export interface ServeOptions {
  readonly signal: AbortSignal
  readonly logger: Logger
  readonly port?: number | undefined
  readonly onReady: (server: FeatureServer) => void
}

const graceMs = 5_000

/** Serves a project over gRPC until aborted, then drains. */
export async function serveProject(project: Project, options: ServeOptions): Promise<void> {
  await using opened = await openLookup(project)
  await using runtime = createInferenceRuntime()
  const predictor = new ModelPredictor({
    catalog: project.catalog,
    lookup: opened.lookup,
    runtime,
    registry: cachedRegistry(opened.open),
    readModel: async (path) => {
      try {
        return await readFile(join(project.paths.data, path))
      } catch (cause) {
        throw new FeatureStoreError('FS_MODEL_INVALID', `the model file ${path} cannot be read`, { cause })
      }
    },
  })
  const { host, port, rowsMax } = project.config.serving
  await using server = await startFeatureServer({
    lookup: opened.lookup,
    predictor,
    host,
    port: options.port ?? port,
    limits: { rowsMax },
    log: options.logger,
  })
  await predictor.warm()
  server.setServing(true)
  options.onReady(server)
  await new Promise<void>((resolve) => {
    if (options.signal.aborted) resolve()
    options.signal.addEventListener('abort', () => resolve(), { once: true })
  })
  server.setServing(false)
  await server.shutdown(graceMs)
  options.logger.info('serve.arena', { ...opened.lookup.arena })
}
