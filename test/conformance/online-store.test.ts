import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe } from 'vitest'
import { onlineStoreSuite } from '../../connectors/kit/online-store-suite.ts'
import { openOnlineStore } from '../../connectors/lmdb/online-store.ts'
import { MemoryOnlineStore } from '../../connectors/memory/online-store.ts'
import { openRedisOnlineStore, type RedisTarget } from '../../connectors/redis/online-store.ts'
import { silentLogger } from '../../core/ports/environment.ts'
import { redisMissing, startCluster, startRedis } from '../integration/support/redis.ts'

const random = { bytes: (length: number): Uint8Array => randomBytes(length) }

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
const overRedis = (name: string, start: () => Promise<{ target: RedisTarget; stop(): Promise<void> }>): void => {
  describe.skipIf(redisMissing !== null)(redisMissing ?? 'redis', () => {
    let server: Awaited<ReturnType<typeof start>>
    let stores = 0
    beforeAll(async () => {
      server = await start()
    })
    afterAll(() => server.stop())
    onlineStoreSuite(name, async () => {
      const store = await openRedisOnlineStore({
        target: server.target,
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

overRedis('redis', async () => {
  const { port, stop } = await startRedis()
  return { target: { kind: 'standalone', address: { host: '127.0.0.1', port } }, stop }
})

overRedis('redis cluster', async () => {
  const { ports, stop } = await startCluster(3)
  return { target: { kind: 'cluster', nodes: ports.map((port) => ({ host: '127.0.0.1', port })) }, stop }
})
