import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe } from 'vitest'
import { onlineStoreSuite } from '../../connectors/kit/online-store-suite.ts'
import { openOnlineStore } from '../../connectors/lmdb/online-store.ts'
import { MemoryOnlineStore } from '../../connectors/memory/online-store.ts'
import { openRedisOnlineStore, type RedisTarget } from '../../connectors/redis/online-store.ts'
import { silentLogger } from '../../core/ports/environment.ts'
import { random } from '../integration/support/random.ts'
import { serverOfFile, startRedis, type RedisServer } from '../support/services.ts'

onlineStoreSuite('memory', async () => ({ store: new MemoryOnlineStore(random), close: async () => {} }))

onlineStoreSuite('lmdb', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'tidemark-online-'))
  const store = await openOnlineStore(folder, { mode: 'write', generation: 'g', logger: silentLogger, random })
  return {
    store,
    close: async () => {
      await store[Symbol.asyncDispose]()
      await rm(folder, { recursive: true, force: true })
    },
  }
})

/** One server for all laws, a store of its own for each. */
const overRedis = (name: string, start: () => Promise<RedisServer>, targetOf: (server: RedisServer) => RedisTarget) => {
  describe(name, async () => {
    const server = await serverOfFile('redis', start)
    let stores = 0
    onlineStoreSuite(name, async () => {
      const store = await openRedisOnlineStore({
        target: targetOf(server()),
        mode: 'write',
        generation: 'g',
        shards: 64,
        prefix: `law-${stores++}`,
        logger: silentLogger,
        random,
      })
      return { store, close: () => store[Symbol.asyncDispose]() }
    })
  })
}

overRedis(
  'redis',
  () => startRedis(),
  ({ port }) => ({ kind: 'standalone', address: { host: '127.0.0.1', port } }),
)

overRedis(
  'redis cluster',
  () => startRedis({ cluster: 3 }),
  ({ dataNodes }) => ({ kind: 'cluster', nodes: dataNodes.map(({ port }) => ({ host: '127.0.0.1', port })) }),
)
