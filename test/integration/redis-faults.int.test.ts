/** The Redis store over a wire that breaks: what was flushed is there once, by whoever owns the shard. */
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { RedisOnlineStore } from '../../connectors/redis/online-store.ts'
import { FeatureStoreError } from '../../core/errors.ts'
import { drawFault, FaultProxy } from '../support/fault-proxy.ts'
import { Prng } from '../support/prng.ts'
import { serverOfFile, startRedis } from '../support/services.ts'
import { at, eventually, flush, kinds, letter, local, openAt, row, take, valuesOf } from './support/online.ts'

const redis = await serverOfFile('redis', () => startRedis())
const faults = Math.ceil(Number(process.env['TIDEMARK_PROPERTY_RUNS'] ?? 300) / 5)

describe('online store over a wire that breaks', () => {
  let proxy: FaultProxy
  let store: RedisOnlineStore
  let direct: RedisOnlineStore
  let generation = 0

  beforeEach(async () => {
    const own = { generation: `g${generation++}` }
    proxy = await FaultProxy.start(redis().port, 'redis')
    direct = await openAt(local(redis().port), own)
    store = await openAt(local(proxy.port), { ...own, timeoutMs: 400 })
  })
  afterEach(async () => {
    await proxy[Symbol.asyncDispose]()
    await store[Symbol.asyncDispose]()
    await direct[Symbol.asyncDispose]()
  })

  test('a flush that is cut inside its reply goes again by itself, and is applied once', async () => {
    const held = await take(store, 1)
    await store.apply([flush(held, null, 1, [row('a', '1')])])
    for (const [index, keep] of [0.2, 0.5, 0.9].entries()) {
      const broken = proxy.breakReply({ of: 'EVALSHA', keep })
      const from = 1 + index
      expect(kinds(await store.apply([flush(held, from, from + 1, [row('a', `${from + 1}`)])]))).toEqual([
        'already-applied',
      ])
      expect(await broken).toMatchObject({ of: 'EVALSHA' })
    }
    expect(await valuesOf(direct, 1, ['a'])).toEqual(['4'])
    expect(await direct.positions([1])).toEqual([at(4)])
  })

  test('of several flushes in one pipeline of which a reply is lost, all can be sent again', async () => {
    const shards = [1, 2, 3, 4]
    const leases = await Promise.all(shards.map((shard) => take(store, shard)))
    await store.apply(leases.map((lease) => flush(lease, null, 1, [row('a', '1')])))
    const broken = proxy.breakReply({ of: 'EVALSHA', nth: 2 })
    const sent = leases.map((lease) => flush(lease, 1, 2, [row('a', '2')]))
    // ioredis sends a pipeline again only where nothing of it was answered.
    await expect(store.apply(sent)).rejects.toMatchObject({ code: 'FS_ONLINE_UNAVAILABLE', kind: 'unavailable' })
    expect(await broken).toMatchObject({ arrived: 0 })
    const outcomes = kinds(await eventually(() => store.apply(sent)))
    expect(outcomes.slice(0, 2)).toEqual(['already-applied', 'already-applied'])
    for (const outcome of outcomes.slice(2)) expect(['applied', 'already-applied']).toContain(outcome)
    expect(await direct.positions(shards)).toEqual(shards.map(() => at(2)))
  })

  test('a flush that comes late, when another has taken the shard and gone on, is fenced', async () => {
    const held = await take(store, 1)
    await store.apply([flush(held, null, 1, [row('a', '1')])])
    const sent = proxy.requests('EVALSHA')
    proxy.inflict({ kind: 'hold', way: 'to-server' })
    const late = store.apply([flush(held, 1, 2, [row('a', 'late')], [letter(1)])])
    await expect(late).rejects.toMatchObject({ code: 'FS_ONLINE_UNAVAILABLE' })
    expect(proxy.requests('EVALSHA')).toBeGreaterThan(sent)
    const next = await take(direct, 1)
    expect(kinds(await direct.apply([flush(next, 1, 3, [row('a', '3')])]))).toEqual(['applied'])
    proxy.heal()
    // Over the wire on which the late one was: when this is answered, that was, too.
    expect(kinds(await eventually(() => store.apply([flush(held, 1, 2, [row('a', 'late')])])))).toEqual(['fenced'])
    expect(await valuesOf(direct, 1, ['a'])).toEqual(['3'])
    expect(await direct.positions([1])).toEqual([at(3)])
    expect(await Array.fromAsync(direct.deadLetters())).toEqual([])
  })

  test('a flush that comes late, when its own owner has sent it again and gone on, changes nothing', async () => {
    const held = await take(store, 1)
    await store.apply([flush(held, null, 1, [row('a', '1')])])
    proxy.inflict({ kind: 'hold', way: 'to-server' })
    const late = [flush(held, 1, 2, [row('a', '2')])]
    await expect(store.apply(late)).rejects.toMatchObject({ code: 'FS_ONLINE_UNAVAILABLE' })
    // As the same process does over a connection that is better.
    expect(kinds(await direct.apply(late))).toEqual(['applied'])
    expect(kinds(await direct.apply([flush(held, 2, 3, [row('a', '3')])]))).toEqual(['applied'])
    proxy.heal()
    expect(await eventually(() => store.apply(late))).toEqual([{ kind: 'gap', found: at(3) }])
    expect(await valuesOf(direct, 1, ['a'])).toEqual(['3'])
  })

  test(`flushes and reads go on through ${faults} faults of every kind, and each flush is applied once`, async () => {
    const draws = new Prng(17)
    const shards = [1, 2, 3]
    const leases = await Promise.all(shards.map((shard) => take(store, shard)))
    let [next, isOver] = [0, false]
    /** Whoever is not answered asks again; the store says what became of it. */
    const persistently = async <T>(work: () => Promise<T>): Promise<T> => {
      for (;;) {
        try {
          return await work()
        } catch (error) {
          if (!(error instanceof FeatureStoreError && error.kind === 'unavailable')) throw error
          await sleep(5)
        }
      }
    }
    const flushing = (async () => {
      while (!isOver) {
        const [from, to] = [next === 0 ? null : next, next + 1]
        const sent = leases.map((lease) => flush(lease, from, to, [row('a', String(to))], [letter(to)]))
        for (const outcome of kinds(await persistently(() => store.apply(sent))))
          expect(['applied', 'already-applied']).toContain(outcome)
        next = to
        const read = await persistently(() =>
          store.read(
            'v',
            shards,
            shards.map(() => Buffer.from('a')),
          ),
        )
        expect(read.rows.map((bytes) => Buffer.from(bytes ?? []).toString())).toEqual(shards.map(() => String(to)))
      }
    })()
    const options = { delayMsMax: 40, requests: ['EVALSHA', 'EVALSHA', 'HMGET'], nthMax: 6 }
    const drawn = ['delay', 'hold', 'swallow', 'cut', 'down', 'reply', 'reply', 'reply'] as const
    for (let index = 0; index < faults; index++) {
      proxy.inflict(drawFault(draws, { ...options, kinds: drawn }))
      await sleep(draws.integer(5, 60))
      if (index % 3 === 2) proxy.heal()
      // A few get long enough for calls to be given up.
      if (index % 20 === 10) await sleep(500)
    }
    proxy.heal()
    proxy.cut()
    isOver = true
    await flushing
    expect(next).toBeGreaterThan(10)
    expect(await direct.positions(shards)).toEqual(shards.map(() => at(next)))
    expect((await Array.fromAsync(direct.deadLetters())).length).toBe(next)
  }, 120_000)
})
