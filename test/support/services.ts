/**
 * Real servers for tests: what `npm run services -- install` put into the cache folder, started for one test file (or
 * one test) on free ports of 127.0.0.1, with data of its own.
 *
 *     const kafka = serverOfFile('kafka', () => startKafka())          // for all tests of the file
 *     await using redis = await startRedis({ replicas: 1 })            // for one test, after requireService('redis')
 *
 * Where a server is not installed, tests are skipped with the reason; with CI set they fail.
 */
import { afterAll, beforeAll, beforeEach } from 'vitest'
import { services } from '../../scripts/services/operate.ts'
import { Problem, textOf } from '../../scripts/services/problem.ts'
import { settingsOf, type ServiceName } from '../../scripts/services/settings.ts'

export { startKafka, selfSigned, type KafkaOptions, type KafkaServer } from './services/kafka.ts'
export type { ServerNode } from './services/node.ts'
export { adminOf } from './services/redis-admin.ts'
export { startRedis, type RedisOptions, type RedisServer } from './services/redis.ts'
export { startRegistry } from './services/registry.ts'
export type { RestartOptions, Server } from './services/server.ts'

export type Found =
  { readonly found: true; readonly version: string } | { readonly found: false; readonly reason: string }

/** Which servers can be started here. */
export async function findServers(folder = settingsOf().folder): Promise<Readonly<Record<ServiceName, Found>>> {
  const find = async (name: ServiceName): Promise<Found> => {
    const version = await services[name].find(folder)
    return version instanceof Problem ? { found: false, reason: textOf(version) } : { found: true, version }
  }
  const [kafka, redis, registry] = await Promise.all([find('kafka'), find('redis'), find('registry')])
  return { kafka, redis, registry }
}

/** As run-tests.js prints it, after the title: one line. */
export const reasonToSkip = (reason: string): string => reason.replace(/\s*\n\s*/g, '; ')

/**
 * Called at the top of a file or of a `describe`: its tests need these servers. False where one is missing: then hooks
 * that would start it must not. With CI set, a missing one is an error of the file.
 */
export async function requireService(...names: readonly ServiceName[]): Promise<boolean> {
  const missing = await missingOf(names)
  if (missing === null) return true
  if (process.env['CI']) throw new Error(missing)
  beforeEach((context) => context.skip(missing))
  return false
}

async function missingOf(names: readonly ServiceName[]): Promise<string | null> {
  const found = await findServers()
  const reasons = names.map((name) => found[name]).filter((one) => !one.found)
  return reasons.length === 0 ? null : reasons.map(({ reason }) => reasonToSkip(reason)).join('; ')
}

const startMs = 120_000

/** A server for all tests of a file, or of a `describe`: started before the first one, gone after the last one. */
export async function serverOfFile<S extends AsyncDisposable>(
  name: ServiceName,
  start: () => Promise<S>,
): Promise<() => S> {
  const there = await requireService(name)
  let server: S | null = null
  if (there) {
    beforeAll(async () => {
      server = await start()
    }, startMs)
    afterAll(async () => {
      await server?.[Symbol.asyncDispose]()
    }, startMs)
  }
  return () => {
    if (server === null) throw new Error(`${name} has not been started yet`)
    return server
  }
}
