import type { Redis } from 'ioredis'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { RedisOnlineStore, RedisTarget } from '../../connectors/redis/online-store.ts'
import { adminOf, requireService, startRedis, type RedisServer } from '../support/services.ts'
import { at, bytes, eventually, flush, kinds, openAt, row, text, valuesOf } from './support/online.ts'

const shards = Array.from({ length: 64 }, (_, shard) => shard)
const rowsKey = (shard: number): string => `{tidemark:g:${shard}}:rows`

describe('online store on a cluster of three masters', async () => {
  let cluster: RedisServer
  let ports: readonly number[]
  let target: RedisTarget
  let admins: readonly Redis[]
  let ids: readonly string[]
  let store: RedisOnlineStore

  const start = async (): Promise<void> => {
    cluster = await startRedis({ cluster: 3 })
    ports = cluster.dataNodes.map(({ port }) => port)
    target = { kind: 'cluster', nodes: ports.map((port) => ({ host: '127.0.0.1', port })) }
    admins = ports.map(adminOf)
    ids = await Promise.all(admins.map(async (admin) => String(await admin.call('CLUSTER', 'MYID'))))
  }
  if (await requireService('redis')) {
    beforeAll(start)
    afterAll(async () => {
      for (const admin of admins) admin.disconnect()
      await cluster[Symbol.asyncDispose]()
    })
    beforeEach(async () => {
      for (const admin of admins) await admin.flushall()
      store = await openAt(target)
    })
    afterEach(() => store[Symbol.asyncDispose]())
  }

  /** The node that has the slot of a shard. */
  async function nodeOf(shard: number): Promise<{ readonly slot: number; readonly node: number }> {
    const slot = Number(await admins[0]?.call('CLUSTER', 'KEYSLOT', rowsKey(shard)))
    const ranges = (await admins[0]?.call('CLUSTER', 'SLOTS')) as readonly [number, number, [string, number, string]][]
    const range = ranges.find(([from, to]) => from <= slot && slot <= to)
    return { slot, node: ids.indexOf(range?.[2][2] ?? '') }
  }

  /** Over all nodes; one read takes what lies on the socket, so a pipeline is one or a few. */
  const counted = async (section: string, field: string): Promise<number> => {
    const infos = await Promise.all(admins.map((admin) => admin.info(section)))
    return infos.reduce((sum, info) => sum + Number(new RegExp(`${field}(\\d+)`).exec(info)?.[1] ?? 0), 0)
  }
  const commands = (): Promise<number> => counted('commandstats', 'cmdstat_hmget:calls=')
  const reads = (): Promise<number> => counted('stats', 'total_reads_processed:')

  test('shards spread over the nodes; a lookup is one command a shard, one pipeline a node', async () => {
    const taken = await store.acquire(shards)
    await store.apply(taken.map(({ lease }) => flush(lease, null, 1, [row('a', `of ${lease.shard}`)])))
    for (const admin of admins) expect((await admin.keys('{tidemark:g:*}:rows')).length).toBeGreaterThan(5)
    const asked = [...shards, ...shards]
    const before = { commands: await commands(), reads: await reads() }
    const read = await store.read(
      'v',
      asked,
      asked.map(() => bytes('a')),
    )
    // Three pipelines, and two times three questions of this test.
    expect((await reads()) - before.reads).toBeLessThanOrEqual(3 + 6)
    expect((await commands()) - before.commands).toBe(64)
    expect(read.rows.map(text)).toEqual(asked.map((shard) => `of ${shard}`))
    expect(read.positions).toEqual(asked.map(() => at(1)))
  })

  test('a slot that moves: commands follow it, and nothing is doubled', async () => {
    const taken = await store.acquire(shards)
    const lease = (shard: number) => (taken[shard] as (typeof taken)[number]).lease
    await store.apply(shards.map((shard) => flush(lease(shard), null, 1, [row('a', '1')])))
    const moved = 5
    const { slot, node } = await nodeOf(moved)
    const [from, to] = [admins[node] as Redis, admins[(node + 1) % 3] as Redis]
    const [fromId, toId] = [ids[node] as string, ids[(node + 1) % 3] as string]
    await to.call('CLUSTER', 'SETSLOT', String(slot), 'IMPORTING', fromId)
    await from.call('CLUSTER', 'SETSLOT', String(slot), 'MIGRATING', toId)
    for (const key of (await from.call('CLUSTER', 'GETKEYSINSLOT', String(slot), '100')) as string[])
      await from.call('MIGRATE', '127.0.0.1', String(ports[(node + 1) % 3]), key, '0', '5000')
    // Between the two nodes: the old one says ASK.
    expect(await valuesOf(store, moved, ['a'])).toEqual(['1'])
    const all = await store.read(
      'v',
      shards,
      shards.map(() => bytes('a')),
    )
    expect(all.rows.map(text)).toEqual(shards.map(() => '1'))
    // A script names keys that are not there, so it waits for the move to end; and is applied once.
    const waiting = store.apply([flush(lease(moved), 1, 2, [row('a', '2')])])
    await new Promise((resolve) => setTimeout(resolve, 300))
    for (const admin of [to, from, ...admins]) await admin.call('CLUSTER', 'SETSLOT', String(slot), 'NODE', toId)
    const [outcome] = kinds(await waiting.catch(() => store.apply([flush(lease(moved), 1, 2, [row('a', '2')])])))
    expect(['applied', 'already-applied']).toContain(outcome)
    // All together, in pipelines whose nodes were learnt before the move.
    const later = shards.map((shard) => flush(lease(shard), shard === moved ? 2 : 1, 3, [row('a', '3')]))
    expect(kinds(await store.apply(later))).toEqual(shards.map(() => 'applied'))
    expect((await nodeOf(moved)).node).toBe((node + 1) % 3)
    expect(await valuesOf(store, moved, ['a'])).toEqual(['3'])
    expect((await Array.fromAsync(store.scan('v'))).length).toBe(64)
  })

  test('a client that knows the slots of before is led to where they are', async () => {
    const stale = await openAt(target)
    const taken = await stale.acquire(shards)
    const { slot, node } = await nodeOf(9)
    const [fromId, to] = [ids[node] as string, (node + 2) % 3]
    await admins[to]?.call('CLUSTER', 'SETSLOT', String(slot), 'IMPORTING', fromId)
    await admins[node]?.call('CLUSTER', 'SETSLOT', String(slot), 'MIGRATING', ids[to] as string)
    for (const key of (await admins[node]?.call('CLUSTER', 'GETKEYSINSLOT', String(slot), '100')) as string[])
      await admins[node]?.call('MIGRATE', '127.0.0.1', String(ports[to]), key, '0', '5000')
    for (const index of [to, node, 0, 1, 2])
      await admins[index]?.call('CLUSTER', 'SETSLOT', String(slot), 'NODE', ids[to] as string)
    const sent = taken.map(({ lease }) => flush(lease, null, 1, [row('a', 'x')]))
    expect(kinds(await stale.apply(sent))).toEqual(shards.map(() => 'applied'))
    expect(kinds(await stale.apply(sent))).toEqual(shards.map(() => 'already-applied'))
    await stale[Symbol.asyncDispose]()
  })

  test('a node that is lost: its shards are unavailable, the others answer; empty again, its owners are fenced', async () => {
    const taken = await store.acquire(shards)
    const sent = taken.map(({ lease }) => flush(lease, null, 1, [row('a', '1')]))
    await store.apply(sent)
    const { node } = await nodeOf(3)
    const places = await Promise.all(shards.map(nodeOf))
    const there = shards.filter((shard) => places[shard]?.node !== node)
    await admins[node]?.config('SET', 'cluster-require-full-coverage', 'no')
    for (const admin of admins) await admin.config('SET', 'cluster-require-full-coverage', 'no')
    await cluster.dataNodes[node]?.kill()
    await expect(store.read('v', [3], [bytes('a')])).rejects.toMatchObject({ code: 'FS_ONLINE_UNAVAILABLE' })
    await expect(store.apply([flush(taken[3]?.lease as never, 1, 2)])).rejects.toMatchObject({ kind: 'unavailable' })
    const read = await eventually(() =>
      store.read(
        'v',
        there,
        there.map(() => bytes('a')),
      ),
    )
    expect(read.rows.map(text)).toEqual(there.map(() => '1'))
    await cluster.dataNodes[node]?.start()
    const again = taken.map(({ lease }) => flush(lease, 1, 2, [row('a', '2')]))
    const outcomes = await eventually(() => store.apply(again))
    outcomes.forEach((outcome, shard) => {
      if (there.includes(shard)) expect(['applied', 'already-applied']).toContain(outcome.kind)
      else expect(outcome).toEqual({ kind: 'fenced', byEpoch: 0 })
    })
  })
})
