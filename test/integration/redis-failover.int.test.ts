import type { Redis } from 'ioredis'
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import type { RedisOnlineStore } from '../../connectors/redis/online-store.ts'
import { adminOf, requireService, startRedis, type RedisServer, type ServerNode } from '../support/services.ts'
import { FaultProxy } from '../support/fault-proxy.ts'
import { at, eventually, flush, kinds, letter, local, openAt, row, take, valuesOf } from './support/online.ts'

async function untilInSync(replica: Redis): Promise<void> {
  await eventually(async () => {
    const info = await replica.info('replication')
    if (!info.includes('master_link_status:up') || info.includes('master_sync_in_progress:1'))
      throw new Error('not in sync')
  })
}

/** A replica that is in sync may still be sent nothing for a second: until it has said so itself. */
async function untilCaughtUp(master: Redis, replica: Redis): Promise<void> {
  const offsetOf = async (admin: Redis, field: string): Promise<string | undefined> =>
    new RegExp(`${field}:(\\d+)`).exec(await admin.info('replication'))?.[1]
  await eventually(async () => {
    const sent = await offsetOf(master, 'master_repl_offset')
    if (sent !== (await offsetOf(replica, 'slave_repl_offset'))) throw new Error('the replica is behind')
  })
}

const there = await requireService('redis')

describe('online store on a pair of which the master is lost', () => {
  let master: RedisServer
  let replica: RedisServer
  let admins: readonly [Redis, Redis]
  let proxy: FaultProxy
  let store: RedisOnlineStore

  const start = async (): Promise<void> => {
    ;[master, replica] = await Promise.all([startRedis(), startRedis()])
    admins = [adminOf(master.port), adminOf(replica.port)]
    await admins[1].replicaof('127.0.0.1', master.port)
    await untilInSync(admins[1])
    proxy = await FaultProxy.start(master.port, 'redis')
    store = await openAt(local(proxy.port))
  }
  const end = async (): Promise<void> => {
    await store[Symbol.asyncDispose]()
    await proxy[Symbol.asyncDispose]()
    for (const admin of admins) admin.disconnect()
    await Promise.all([master[Symbol.asyncDispose](), replica[Symbol.asyncDispose]()])
  }
  if (there) {
    beforeEach(start)
    afterEach(end)
  }

  /** What the master takes from now on is acknowledged, and lost with it. */
  async function cutReplication(): Promise<void> {
    await untilCaughtUp(...admins)
    await admins[1].replicaof('127.0.0.1', 1)
  }

  /** The replica stands in for the master, under the same address. */
  async function failOver(): Promise<void> {
    await admins[1].replicaof('NO', 'ONE')
    proxy.target = replica.port
    await master.kill()
    proxy.cut()
    await eventually(() => store.positions([0]))
  }

  test('a tail that is lost shows as a gap, and the shard goes on from where it stands', async () => {
    const held = await take(store, 1)
    const flushes = [
      flush(held, null, 1, [row('a', '1')]),
      flush(held, 1, 2, [row('a', '2')], [letter(1)]),
      flush(held, 2, 3, [row('a', '3')], [letter(2)]),
      flush(held, 3, 4, [row('b', '4')]),
    ]
    const [first, second, third, fourth] = flushes as [never, never, never, never]
    await store.apply([first, second])
    await cutReplication()
    expect(kinds(await store.apply([third]))).toEqual(['applied'])
    await failOver()
    expect(await store.apply([fourth])).toEqual([{ kind: 'gap', found: at(2) }])
    expect(await store.positions([1])).toEqual([at(2)])
    expect(await valuesOf(store, 1, ['a', 'b'])).toEqual(['2', null])
    expect(kinds(await store.apply([third, fourth]))).toEqual(['applied', 'applied'])
    expect(await valuesOf(store, 1, ['a', 'b'])).toEqual(['3', '4'])
    expect((await Array.fromAsync(store.deadLetters())).map(({ offset }) => offset).sort()).toEqual([1, 2])
  })

  test('an owner whose taking was lost is fenced, also by one that gets the same epoch', async () => {
    const first = await take(store, 1)
    await store.apply([flush(first, null, 1, [row('a', '1')])])
    await cutReplication()
    const lost = await take(store, 1)
    expect(kinds(await store.apply([flush(lost, 1, 2, [row('a', 'lost')])]))).toEqual(['applied'])
    await failOver()
    // Rolled back: the one before owns the shard again, and may go on from where it stands; what was lost may not.
    expect(await store.apply([flush(lost, 2, 3, [row('a', 'gone')])])).toEqual([
      { kind: 'fenced', byEpoch: first.epoch },
    ])
    expect(kinds(await store.apply([flush(first, 1, 2, [row('a', '2')])]))).toEqual(['applied'])
    const next = await take(store, 1)
    expect(next.epoch).toBe(lost.epoch)
    expect(kinds(await store.apply([flush(lost, 2, 3, [row('a', 'gone')])]))).toEqual(['fenced'])
    expect(kinds(await store.apply([flush(next, 2, 3, [row('a', '3')])]))).toEqual(['applied'])
    expect(await valuesOf(store, 1, ['a'])).toEqual(['3'])
  })

  test('a name of a generation that was lost is written again by the next owner', async () => {
    await cutReplication()
    await take(store, 1)
    await failOver()
    expect(await store.generations()).toEqual([])
    await take(store, 1)
    expect(await store.generations()).toEqual(['g'])
  })
})

describe('online store behind Sentinel', () => {
  test('a failover is followed to the new master, and nothing is lost or doubled', async () => {
    await using redis = await startRedis({ replicas: 1, sentinel: true })
    const [master, replica, sentinel] = redis.nodes as [ServerNode, ServerNode, ServerNode]
    const [admin, watcher] = [adminOf(replica.port), adminOf(sentinel.port)]
    onTestFinished(() => {
      admin.disconnect()
      watcher.disconnect()
    })
    await untilInSync(admin)
    const sentinels = redis.sentinels.map(({ port }) => ({ host: '127.0.0.1', port }))
    await using store = await openAt({ kind: 'sentinel', sentinels, name: redis.primaryName })
    const held = await take(store, 1)
    let next = 0
    const step = async (): Promise<void> => {
      const sent = flush(held, next === 0 ? null : next, next + 1, [row('a', String(next + 1))])
      const [outcome] = kinds(await store.apply([sent]))
      if (outcome === 'gap' || outcome === 'fenced') throw new Error(outcome)
      next++
    }
    while (next < 20) await step()
    const origin = adminOf(master.port)
    await untilCaughtUp(origin, admin)
    origin.disconnect()
    // Refused until the Sentinel has heard from the replica.
    await eventually(() => watcher.call('SENTINEL', 'FAILOVER', redis.primaryName))
    // Flushes go on all the time; each is sent until it is through.
    const until = Date.now() + 20_000
    while (!(await admin.info('replication')).includes('role:master') && Date.now() < until)
      await step().catch((error: unknown) => expect(error).toMatchObject({ kind: 'unavailable' }))
    expect(await admin.info('replication')).toContain('role:master')
    await master.kill()
    const before = next
    await eventually(async () => {
      // What the failover itself lost, if anything, shows as a gap: the position says from where to go on.
      const [found] = await store.positions([1])
      next = found?.newestEventTimeMs['clicks'] ?? 0
      await step()
    })
    expect(next).toBeGreaterThan(0)
    expect(next).toBeLessThanOrEqual(before + 1)
    expect(await valuesOf(store, 1, ['a'])).toEqual([String(next)])
    expect(await store.positions([1])).toEqual([at(next)])
  })
})
