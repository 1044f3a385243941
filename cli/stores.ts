import { existsSync, mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { GenerationStore } from '../connectors/kit/generation-store.ts'
import { openEmbeddedClickHouse, type EmbeddedClickHouse } from '../connectors/chdb/index.ts'
import {
  openClickHouseClient,
  openFeatureHistoryStore,
  openOfflineStore,
  type ClickHouseClient,
  type ClickHouseOfflineStore,
} from '../connectors/clickhouse/index.ts'
import { openOnlineStore } from '../connectors/lmdb/online-store.ts'
import { LogSchemas, openLog, type EmbeddedLog } from '../connectors/log/index.ts'
import { FeatureStoreError } from '../core/errors.ts'
import type { PartitionPosition, Position } from '../core/event/position.ts'
import type { EventLog } from '../core/ports/event-log.ts'
import type { FeatureHistoryStore } from '../core/ports/feature-history-store.ts'
import type { AvroSchema } from '../schemas/avro/index.ts'
import type { WriterSchemas } from '../schemas/stream-reader.ts'
import { createLogger, systemRandom } from './environment.ts'
import { openKafka } from './kafka.ts'
import { makeDataFolder, type Project } from './project.ts'
import { openRedis } from './redis.ts'

export interface OpenLog extends AsyncDisposable {
  readonly log: EventLog
  /** Keeps a writer schema of a stream: before the first event that names it. */
  readonly putSchema: (stream: string, schema: AvroSchema) => Promise<unknown>
  readonly writerSchemas: WriterSchemas
}

/** The log for reading. Errors: FS_NOT_APPLIED when there is none yet, FS_LOG_FORMAT, FS_LOG_CORRUPT. */
export async function openLogToRead(project: Project): Promise<OpenLog> {
  if (project.config.log.kind === 'kafka') return openKafka(project.config.log, project)
  if (!existsSync(join(project.paths.log, 'log.json'))) {
    throw new FeatureStoreError('FS_NOT_APPLIED', `nothing has been applied in ${project.folder} yet`, {
      remedy: 'Run `tidemark apply`.',
    })
  }
  return withSchemas(project, await openLog(project.paths.log, { mode: 'read' }))
}

/** The log for writing: takes the lock of an embedded one. Errors: FS_LOCKED, FS_LOG_FORMAT, FS_LOG_CORRUPT. */
export async function openLogToWrite(project: Project, holder: string): Promise<OpenLog> {
  const { log } = project.config
  if (log.kind === 'kafka') return openKafka(log, project)
  makeDataFolder(project)
  mkdirSync(project.paths.log, { recursive: true })
  return withSchemas(
    project,
    await openLog(project.paths.log, { mode: 'write', random: systemRandom, fsync: log.fsync, holder }),
  )
}

function withSchemas(project: Project, log: EmbeddedLog): OpenLog {
  const schemas = new LogSchemas(project.paths.log)
  return {
    log,
    putSchema: async (stream, schema) => schemas.putSchema(stream, schema),
    writerSchemas: (stream, fingerprint) => schemas.schema(stream, fingerprint),
    [Symbol.asyncDispose]: () => log[Symbol.asyncDispose](),
  }
}

/**
 * The online rows of the project's definitions. A writer of the embedded store, who holds the worker's lock, begins anew
 * where it is damaged in what it says about itself: all of it is derived from the log.
 *
 * Errors: FS_NOT_READY for a reader before the first worker, FS_ROW_CORRUPT for a reader of a damaged store.
 */
export async function openOnline(project: Project, mode: 'read' | 'write'): Promise<GenerationStore> {
  if (project.config.online.kind === 'redis') return openRedis(project.config.online, project, mode)
  const logger = createLogger('online')
  const folder = project.paths.online
  const open = (): Promise<GenerationStore> =>
    openOnlineStore(folder, { mode, generation: project.generation, logger, random: systemRandom })
  try {
    return await open()
  } catch (error) {
    if (mode === 'read' || !(error instanceof FeatureStoreError && error.code === 'FS_ROW_CORRUPT')) throw error
    logger.warn('online.reset', { folder, reason: error.message })
    for (const file of ['data.mdb', 'lock.mdb']) rmSync(join(folder, file), { force: true })
    return open()
  }
}

export interface OpenOffline extends AsyncDisposable {
  readonly engine: EmbeddedClickHouse
  readonly client: ClickHouseClient
  readonly store: ClickHouseOfflineStore
  readonly features: FeatureHistoryStore
  /** What the tables hold of these streams. */
  position(streams: readonly string[]): Promise<Position>
}

/** The embedded ClickHouse: started when nobody has it running, shared otherwise. Only a worker writes. */
export async function openOffline(project: Project, logId: string, mode: 'read' | 'write'): Promise<OpenOffline> {
  makeDataFolder(project)
  mkdirSync(project.paths.offline, { recursive: true })
  const engine = await openEmbeddedClickHouse(project.paths.offline, { logger: createLogger('offline') })
  const client = openClickHouseClient({ endpoint: () => engine.endpoint() })
  const store = openOfflineStore(client, {
    journalFolder: mode === 'write' ? join(project.paths.offline, 'journal') : null,
    logId,
  })
  return {
    engine,
    client,
    store,
    features: openFeatureHistoryStore(client, logId),
    async position(streams) {
      const positions: Record<string, readonly PartitionPosition[]> = {}
      for (const stream of streams)
        positions[stream] = await store.positions(stream, project.catalog.streams.get(stream)?.partitions ?? 0)
      return { logId, streams: positions }
    },
    async [Symbol.asyncDispose]() {
      await client.close()
      await engine.close()
    },
  }
}

/** Opens on first use and closes what was opened. */
export function lazily<T extends AsyncDisposable>(
  open: () => Promise<T>,
): { get(): Promise<T>; close(): Promise<void> } {
  let opened: Promise<T> | null = null
  return {
    get() {
      opened ??= open().catch((error: unknown) => {
        opened = null
        throw error
      })
      return opened
    },
    async close() {
      await (await opened?.catch(() => null))?.[Symbol.asyncDispose]()
    },
  }
}
