import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { GenerationStore } from '../../connectors/kit/generation-store.ts'
import type { LmdbOnlineStore } from '../../connectors/lmdb/online-store.ts'
import type { RedisOnlineStore } from '../../connectors/redis/online-store.ts'
import type { Redis } from 'ioredis'
import { adminOf, requireService, startRedis, type RedisServer } from '../support/services.ts'
import { FaultProxy } from '../support/fault-proxy.ts'
import {
  at,
  bytes,
  eventually,
  flush,
  kinds,
  letter,
  local,
  openAt,
  row,
  take,
  text,
  valuesOf,
} from './support/online.ts'

/** Both embedded and Redis stores offer this to the composition root; checked by the compiler. */
export const surfaces: readonly ((store: LmdbOnlineStore & RedisOnlineStore) => GenerationStore)[] = [
  (store: LmdbOnlineStore) => store,
  (store: RedisOnlineStore) => store,
]

const rowsKey = (shard: number, generation = 'g'): string => `{tidemark:${generation}:${shard}}:rows`

describe('online store on one Redis server', async () => {
  let server: RedisServer
  let admin: Redis
  let proxy: FaultProxy
  let store: RedisOnlineStore

  if (await requireService('redis')) {
    beforeAll(async () => {
      server = await startRedis()
      admin = adminOf(server.port)
    })
    afterAll(async () => {
      admin.disconnect()
      await server[Symbol.asyncDispose]()
    })
    beforeEach(async () => {
      await admin.flushall()
      proxy = await FaultProxy.start(server.port, 'redis')
      store = await openAt(local(proxy.port), { timeoutMs: 1_000 })
    })
    afterEach(async () => {
      await store[Symbol.asyncDispose]()
      await proxy[Symbol.asyncDispose]()
    })
  }

  const scriptCalls = async (): Promise<number> => {
    const found = /cmdstat_eval(?:sha)?:calls=(\d+)/g
    return [...(await admin.info('commandstats')).matchAll(found)].reduce((sum, [, calls]) => sum + Number(calls), 0)
  }

  test('a flush whose answer was lost goes again by itself and is applied once', async () => {
    const held = await take(store, 1)
    await store.apply([flush(held, null, 1, [row('a', '1')])])
    const before = await scriptCalls()
    void proxy.breakReply({ of: 'EVALSHA' })
    const sent = flush(held, 1, 2, [row('a', '2')], [letter(1)])
    expect(kinds(await store.apply([sent]))).toEqual(['already-applied'])
    expect(await scriptCalls()).toBe(before + 2)
    expect(proxy.connections).toBe(2)
    expect(kinds(await store.apply([sent, flush(held, 2, 3, [row('a', '3')])]))).toEqual(['already-applied', 'applied'])
    expect(await valuesOf(store, 1, ['a'])).toEqual(['3'])
    expect(await Array.fromAsync(store.deadLetters())).toEqual([letter(1)])
  })

  test('taking a shard whose answer was lost gives the lease that the server holds', async () => {
    await take(store, 1)
    await store.positions([1])
    const broken = proxy.breakReply({ of: 'EVALSHA' })
    const held = await take(store, 1)
    expect(await broken).toMatchObject({ of: 'EVALSHA', arrived: 0 })
    expect(kinds(await store.apply([flush(held, null, 1)]))).toEqual(['applied'])
  })

  test('a nonce that comes twice takes the shard once', async () => {
    const fixed = { bytes: (length: number): Uint8Array => new Uint8Array(length) }
    await using same = await openAt(local(server.port), { random: fixed })
    const [first, second] = [await take(same, 3), await take(same, 3)]
    expect(second).toEqual(first)
    expect((await take(store, 3)).epoch).toBe(first.epoch + 1)
  })

  test('a connection that is half open is given up, and the flush can be sent again', async () => {
    const held = await take(store, 1)
    const sent = flush(held, null, 1, [row('a', '1')])
    proxy.inflict({ kind: 'swallow', way: 'to-client' })
    await expect(store.apply([sent])).rejects.toMatchObject({ code: 'FS_ONLINE_UNAVAILABLE', kind: 'unavailable' })
    proxy.heal()
    const outcome = kinds(await eventually(() => store.apply([sent])))
    expect(['applied', 'already-applied']).toContain(outcome[0])
    expect(await valuesOf(store, 1, ['a'])).toEqual(['1'])
    expect(proxy.connections).toBeGreaterThan(1)
  })

  test('while the server is away calls fail at once, and go on when it is back', async () => {
    const held = await take(store, 1)
    await using other = await startRedis()
    await using lone = await openAt(local(other.port))
    await take(lone, 1)
    await other.kill()
    await expect(
      eventually(async () => {
        await lone.positions([1]).catch((error: unknown) => {
          expect(error).toMatchObject({ code: 'FS_ONLINE_UNAVAILABLE' })
          throw error
        })
      }, 300),
    ).rejects.toThrow()
    await expect(openAt(local(other.port))).rejects.toMatchObject({ code: 'FS_ONLINE_UNAVAILABLE' })
    await other.restart()
    // It kept nothing: the owner of before must not go on as if it had.
    const outcome = await eventually(() => lone.apply([flush(held, 1, 2, [row('a', 'lost')])]))
    expect(outcome).toEqual([{ kind: 'fenced', byEpoch: 0 }])
  })

  test('scripts that the server forgot are sent anew', async () => {
    const held = await take(store, 1)
    await store.apply([flush(held, null, 1, [row('a', '1')])])
    await admin.script('FLUSH')
    expect(kinds(await store.apply([flush(held, 1, 2, [row('a', '2')])]))).toEqual(['applied'])
    await admin.script('FLUSH')
    expect((await store.acquire([1, 2, 3])).map(({ position }) => position)).toEqual([at(2), null, null])
    await admin.script('FLUSH')
    expect((await Array.fromAsync(store.scan('v'))).map(({ row }) => text(row))).toEqual(['2'])
  })

  test('after FLUSHALL an owner is fenced, and the next one begins from nothing', async () => {
    const held = await take(store, 1)
    await store.apply([flush(held, null, 1, [row('a', '1')])])
    await admin.flushall()
    for (const from of [null, 0, 1])
      expect(await store.apply([flush(held, from, 2, [row('a', 'lost')])])).toEqual([{ kind: 'fenced', byEpoch: 0 }])
    expect(await store.apply([flush({ ...held, epoch: 0, nonce: '' }, null, 1)])).toEqual([
      { kind: 'fenced', byEpoch: 0 },
    ])
    expect(await store.positions([1])).toEqual([null])
    expect(await valuesOf(store, 1, ['a'])).toEqual([null])
    const [next] = await store.acquire([1])
    expect(next?.position).toBeNull()
    // The epoch began anew, so it is the one of before: the nonce tells them apart.
    expect(next?.lease.epoch).toBe(held.epoch)
    expect(kinds(await store.apply([flush(held, null, 1, [row('a', 'stale')])]))).toEqual(['fenced'])
    expect(await store.generations()).toEqual(['g'])
  })

  test('a server without memory refuses a flush whole, and takes it later', async () => {
    const held = await take(store, 1)
    await store.apply([flush(held, null, 1, [row('a', '1')])])
    await admin.config('SET', 'maxmemory', '1')
    const sent = flush(held, 1, 2, [row('a', '2'), row('b', '2')], [letter(1)])
    await expect(store.apply([sent])).rejects.toMatchObject({ code: 'FS_ONLINE_FULL', kind: 'unavailable' })
    await expect(store.acquire([1])).rejects.toMatchObject({ code: 'FS_ONLINE_FULL' })
    expect(await valuesOf(store, 1, ['a', 'b'])).toEqual(['1', null])
    expect(await store.positions([1])).toEqual([at(1)])
    await admin.config('SET', 'maxmemory', '0')
    expect(kinds(await store.apply([sent]))).toEqual(['applied'])
    expect(await valuesOf(store, 1, ['a', 'b'])).toEqual(['2', '2'])
  })

  test('a server that turned into a replica answers nothing about a flush, whatever it would be', async () => {
    await using master = await startRedis()
    await using demoted = await startRedis()
    await using held = await openAt(local(demoted.port))
    const [stale, owner] = [await take(held, 1), await take(held, 1)]
    await held.apply([flush(owner, null, 1, [row('a', '1')])])
    // Valid, sent again, a gap, fenced: none of them may be decided by a replica. Each over a connection from before.
    const sent = [flush(owner, 1, 2), flush(owner, null, 1), flush(owner, 7, 8), flush(stale, 1, 2)]
    const writers = await Promise.all(sent.map(() => openAt(local(demoted.port))))
    const replica = adminOf(demoted.port)
    await replica.replicaof('127.0.0.1', master.port)
    for (const [one, writer] of sent.map((one, index) => [one, writers[index] as RedisOnlineStore] as const)) {
      await expect(writer.apply([one])).rejects.toMatchObject({
        code: 'FS_ONLINE_UNAVAILABLE',
        message: expect.stringContaining('replica'),
      })
      await writer[Symbol.asyncDispose]()
    }
    await expect(held.acquire([1])).rejects.toMatchObject({ code: expect.stringMatching(/^FS_ONLINE_/) })
    // It reconnected and looked: from then on reads are refused as well.
    await eventually(() =>
      expect(held.read('v', [1], [bytes('a')])).rejects.toMatchObject({
        code: 'FS_ONLINE_SERVER',
        message: expect.stringContaining('replica'),
      }),
    )
    await expect(openAt(local(demoted.port))).rejects.toMatchObject({ code: 'FS_ONLINE_SERVER' })
    replica.disconnect()
  })

  test('a server that evicts is refused, at once and after a reconnect', async () => {
    await admin.config('SET', 'maxmemory-policy', 'allkeys-lru')
    try {
      await expect(openAt(local(server.port))).rejects.toMatchObject({
        code: 'FS_ONLINE_SERVER',
        message: expect.stringContaining('allkeys-lru'),
      })
      proxy.cut()
      await eventually(() => expect(store.positions([1])).rejects.toMatchObject({ code: 'FS_ONLINE_SERVER' }))
    } finally {
      await admin.config('SET', 'maxmemory-policy', 'noeviction')
    }
    proxy.cut()
    expect(await eventually(() => store.positions([1]))).toEqual([null])
  })

  test('where CONFIG is forbidden the policy is read from INFO', async () => {
    await admin.acl('SETUSER', 'app', 'on', '>secret', '~*', '+@all', '-config')
    const login = { username: 'app', password: 'secret' }
    await using opened = await openAt(local(server.port), login)
    expect(await opened.positions([1])).toEqual([null])
    await admin.config('SET', 'maxmemory-policy', 'volatile-ttl')
    await expect(openAt(local(server.port), login)).rejects.toMatchObject({ code: 'FS_ONLINE_SERVER' })
    await admin.config('SET', 'maxmemory-policy', 'noeviction')
  })

  test('a wrong password and a missing right are told apart from a server that is away', async () => {
    await admin.acl('SETUSER', 'reader', 'on', '>secret', '~*', '+@read', '+@connection', '+info', '+eval', '+evalsha')
    await expect(openAt(local(server.port), { username: 'reader', password: 'wrong' })).rejects.toMatchObject({
      code: 'FS_ONLINE_DENIED',
    })
    await using opened = await openAt(local(server.port), { username: 'reader', password: 'secret' })
    await expect(opened.acquire([1])).rejects.toMatchObject({ code: 'FS_ONLINE_DENIED' })
  })

  test('a cluster is asked for as one, and nothing else is', async () => {
    await using cluster = await startRedis({ args: ['--cluster-enabled', 'yes'] })
    await expect(openAt(local(cluster.port))).rejects.toMatchObject({ code: 'FS_ONLINE_SERVER' })
    const single = { host: '127.0.0.1', port: server.port }
    await expect(openAt({ kind: 'cluster', nodes: [single] })).rejects.toMatchObject({ code: 'FS_ONLINE_SERVER' })
  })

  test('a flush above the bound is refused before anything is sent; one large row below it is not split', async () => {
    await using bounded = await openAt(local(server.port), { refusedAboveBytes: 3_000_000 })
    const held = await take(bounded, 1)
    const large = (size: number) => ({ view: 'v', key: bytes('a'), row: Buffer.alloc(size, 7) })
    const fine = flush(held, null, 1, [row('b', '1')])
    await expect(bounded.apply([fine, flush(held, 1, 2, [large(3_000_001)])])).rejects.toMatchObject({
      code: 'FS_FLUSH_TOO_LARGE',
      kind: 'invalid',
    })
    expect(await bounded.positions([1])).toEqual([null])
    expect(kinds(await bounded.apply([fine, flush(held, 1, 2, [large(2_900_000)])]))).toEqual(['applied', 'applied'])
    const read = await bounded.read('v', [1], [bytes('a')])
    expect(read.rows[0]?.length).toBe(2_900_000)
  })

  test('rows that fail their checksum are named by reads, and end a scan', async () => {
    const held = await take(store, 1)
    const parts = { put: [{ name: 1, bytes: bytes('part') }], drop: [] }
    await store.apply([flush(held, null, 1, [row('a', '1'), { ...row('b', '2'), parts }])])
    await admin.hset(rowsKey(1), 'v\0b', 'XXXX2')
    await admin.hset('{tidemark:g:1}:parts', Buffer.from('v\0\0\u0001b\0\0\0\u0001'), 'XX')
    const read = await store.read('v', [1, 1, 1], ['b', 'a', 'none'].map(bytes))
    expect(read.rows.map(text)).toEqual([null, '1', null])
    expect(read.corrupt).toEqual([0])
    expect(await store.readParts('v', 1, bytes('b'), [1])).toEqual([null])
    await expect(Array.fromAsync(store.scan('v'))).rejects.toMatchObject({ code: 'FS_ROW_CORRUPT' })
    await admin.hset(rowsKey(1), 'position', 'XXXX{}')
    await expect(store.positions([1])).rejects.toMatchObject({ code: 'FS_ROW_CORRUPT' })
    await expect(store.read('v', [1], [bytes('a')])).rejects.toMatchObject({ code: 'FS_ROW_CORRUPT' })
  })

  test('names of views that are patterns match themselves alone', async () => {
    const held = await take(store, 1)
    const views = ['v', 'v*', 'v?', 'v[a]', 'va', 'v\\*', 'vv']
    const rows = views.map((view) => ({ view, key: bytes('k'), row: bytes(view) }))
    await store.apply([flush(held, null, 1, rows)])
    for (const view of views)
      expect((await Array.fromAsync(store.scan(view))).map(({ row }) => text(row))).toEqual([view])
  })

  test('rows of another generation are never seen, and go when it is dropped', async () => {
    await using next = await openAt(local(server.port), { generation: 'h' })
    const [old, young] = [await take(store, 1), await take(next, 1)]
    await store.apply([flush(old, null, 1, [row('a', 'old')], [letter(1)])])
    await next.apply([flush(young, null, 5, [row('a', 'young')])])
    expect(await valuesOf(store, 1, ['a'])).toEqual(['old'])
    expect(await valuesOf(next, 1, ['a'])).toEqual(['young'])
    expect(await Array.fromAsync(next.deadLetters())).toEqual([])
    expect(await next.generations()).toEqual(['g', 'h'])
    await expect(next.markCurrent('x')).rejects.toMatchObject({ code: 'FS_INTERNAL' })
    await next.markCurrent('g')
    expect(await next.current()).toBe('g')
    await next.dropGeneration('g')
    expect([await next.generations(), await next.current()]).toEqual([['h'], null])
    expect(kinds(await store.apply([flush(old, 1, 2, [row('a', 'zombie')])]))).toEqual(['fenced'])
    expect(await valuesOf(store, 1, ['a'])).toEqual([null])
    expect(await valuesOf(next, 1, ['a'])).toEqual(['young'])
    expect((await admin.keys('{tidemark:g:*')).length).toBe(0)
    await next.clear()
    expect(await admin.dbsize()).toBe(0)
  })

  test('stores with different prefixes do not see each other', async () => {
    await using other = await openAt(local(server.port), { prefix: 'other' })
    await store.apply([flush(await take(store, 1), null, 1, [row('a', '1')])])
    expect(await valuesOf(other, 1, ['a'])).toEqual([null])
    expect(await other.generations()).toEqual([])
    for (const prefix of ['', 'a{b', 'a}b', 'a\0b'])
      await expect(openAt(local(server.port), { prefix })).rejects.toMatchObject({ code: 'FS_CONFIG_INVALID' })
  })

  test('a reader before the first writer finds the store not ready, and never writes', async () => {
    await expect(openAt(local(server.port), { mode: 'read' })).rejects.toMatchObject({ code: 'FS_NOT_READY' })
    const held = await take(store, 1)
    await using reader = await openAt(local(server.port), { mode: 'read' })
    await store.apply([flush(held, null, 1, [row('a', '1')])])
    expect(await valuesOf(reader, 1, ['a'])).toEqual(['1'])
    for (const refused of [reader.acquire([1]), reader.apply([flush(held, 1, 2)]), reader.clear()])
      await expect(refused).rejects.toMatchObject({ code: 'FS_INTERNAL' })
  })

  test('rows of another format are cleared by a writer; another number of shards is refused', async () => {
    await store.apply([flush(await take(store, 1), null, 1, [row('a', '1')])])
    await expect(openAt(local(server.port), { shards: 32 })).rejects.toMatchObject({ code: 'FS_CONFIG_INVALID' })
    await admin.hset('tidemark:generations', 'g', JSON.stringify({ format: 99, shards: 64 }))
    await expect(openAt(local(server.port), { mode: 'read' })).rejects.toMatchObject({ code: 'FS_NOT_READY' })
    await using opened = await openAt(local(server.port))
    expect([opened.wasReset, store.wasReset]).toEqual([true, false])
    expect(await opened.positions([1])).toEqual([null])
  })

  test('closing waits for a flush under way; calls after it are refused', async () => {
    const held = await take(store, 1)
    const applied = store.apply([flush(held, null, 1, [row('a', '1')])])
    const closed = store[Symbol.asyncDispose]()
    expect(kinds(await applied)).toEqual(['applied'])
    await closed
    await store[Symbol.asyncDispose]()
    await expect(store.positions([1])).rejects.toMatchObject({ code: 'FS_CLOSED' })
  })
})
