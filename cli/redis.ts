import type { GenerationStore } from '../connectors/kit/generation-store.ts'
import { openRedisOnlineStore, type RedisTarget } from '../connectors/redis/online-store.ts'
import type { Config } from './config.ts'
import { createLogger, systemRandom } from './environment.ts'
import type { Project } from './project.ts'
import { addressOf, readSecret, readTls } from './server-config.ts'

export type RedisConfig = Extract<Config['online'], { readonly kind: 'redis' }>

/** The online rows in Redis. Errors: those of `openRedisOnlineStore`; FS_CONFIG_INVALID. */
export async function openRedis(
  config: RedisConfig,
  project: Project,
  mode: 'read' | 'write',
): Promise<GenerationStore> {
  const { username, password, prefix, shards, timeoutMs } = config
  const tls = readTls('online.tls', config.tls, project.folder)
  return openRedisOnlineStore({
    mode,
    generation: project.generation,
    target: targetOf(config, project.folder),
    prefix,
    shards,
    timeoutMs,
    logger: createLogger('online'),
    random: systemRandom,
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password: readSecret('online.password', password, project.folder) }),
    ...(tls === null ? {} : { tls }),
  })
}

function targetOf({ address, sentinel, cluster, database }: RedisConfig, folder: string): RedisTarget {
  if (cluster !== undefined) return { kind: 'cluster', nodes: cluster.map(addressOf) }
  const chosen = database === undefined ? {} : { database }
  if (sentinel === undefined) return { kind: 'standalone', address: addressOf(address ?? ''), ...chosen }
  const { name, addresses, username, password } = sentinel
  return {
    kind: 'sentinel',
    name,
    sentinels: addresses.map(addressOf),
    ...chosen,
    ...(username === undefined ? {} : { sentinelUsername: username }),
    ...(password === undefined ? {} : { sentinelPassword: readSecret('online.sentinel.password', password, folder) }),
  }
}
