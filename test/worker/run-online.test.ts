import { setImmediate as turn } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { MemoryLog } from '../../connectors/memory/log.ts'
import { openMemoryOfflineStore } from '../../connectors/memory/offline-store.ts'
import { MemoryOnlineStore } from '../../connectors/memory/online-store.ts'
import { MemoryShardGroup } from '../../connectors/memory/shard-ownership.ts'
import { buildCatalog } from '../../core/definition/catalog.ts'
import { int32, timestamp } from '../../core/definition/fields.ts'
import { count, sum } from '../../core/definition/functions.ts'
import { entity, stream } from '../../core/definition/stream.ts'
import { view } from '../../core/definition/view.ts'
import { planView } from '../../core/engine/plan.ts'
import { FeatureStoreError } from '../../core/errors.ts'
import { offset, type Offset } from '../../core/event/position.ts'
import { silentLogger } from '../../core/ports/environment.ts'
import { lawfulTraits, type EventLog } from '../../core/ports/event-log.ts'
import type { ShardFlush } from '../../core/ports/online-store.ts'
import { compileEncoder, streamSchema } from '../../schemas/avro/index.ts'
import { stateDigest } from '../../worker/audit/digest.ts'
import type { PartitionLag } from '../../worker/lag.ts'
import { runOnline } from '../../worker/run-online.ts'
import { runWorker } from '../../worker/run.ts'
import type { OnlineWorkerOptions } from '../../worker/run-online.ts'
import { FaultyStore, noFaults } from './faulty-store.ts'

const taps = stream('taps', {
  fields: { at: timestamp(), card: int32(), amount: int32() },
  eventTime: 'at',
  partitions: 2,
})
const card = entity('card', { key: { card: int32() } })
const byCard = view('by_card', {
  from: taps,
  entity: card,
  features: ({ amount }) => ({ n: count(), spent: sum(amount).over(5_000) }),
})
const catalog = buildCatalog([taps, card, byCard])
const plan = planView(catalog, 'by_card', 0)
const schema = streamSchema('taps', taps.fields)
const encoder = compileEncoder(schema)
const shards = 8
const all = Array.from({ length: shards }, (_, shard) => shard)
const random = { bytes: (length: number) => new Uint8Array(length).fill(3) }

async function openLog(): Promise<MemoryLog> {
  const log = new MemoryLog('log')
  await log.create('taps', { partitions: taps.partitions })
  return log
}

/** `count` records a partition behind those that are there, in appends of 50. */
async function append(log: MemoryLog, count: number, cards = 40): Promise<void> {
  for (let partition = 0; partition < taps.partitions; partition++) {
    const first = (await log.describe('taps'))?.[partition]?.end ?? 0
    for (let from = first; from < first + count; from += 50) {
      const records = Array.from({ length: Math.min(50, first + count - from) }, (_, index) => {
        const at = from + index
        return {
          key: null,
          value: encoder.encode({ at, card: (at * 7 + partition) % cards, amount: at % 100 }),
          timestampMs: at,
        }
      })
      await log.append('taps', partition, records)
    }
  }
}

type Overrides = Partial<OnlineWorkerOptions> & Pick<OnlineWorkerOptions, 'log' | 'online'>

/** A worker whose clock goes on by itself and that sleeps for a turn. */
function optionsOf({ settings, ...own }: Overrides): OnlineWorkerOptions {
  let nowMs = 0
  return {
    catalog,
    schemas: () => schema,
    offline: openMemoryOfflineStore(),
    settings: settings ?? { shards, historyMs: 0, memoryBytesMax: 1 << 20, flushMs: 100, pollMs: 1 },
    clock: { nowMs: () => (nowMs += 20) },
    logger: silentLogger,
    sleep: () => turn(),
    signal: new AbortController().signal,
    until: 'caught-up',
    ...own,
  }
}

/** What one worker over the whole log comes to. */
async function checkState(store: Parameters<typeof stateDigest>[0], log: MemoryLog): Promise<void> {
  const wanted = new MemoryOnlineStore(random)
  await runOnline(optionsOf({ log, online: wanted }), () => {})
  expect(await stateDigest(store, [plan])).toBe(await stateDigest(wanted, [plan]))
}

/** Waits turn by turn; fails after many. */
async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  for (let turns = 0; turns < 20_000; turns++) {
    if (await condition()) return
    await turn()
  }
  throw new Error('it never came to be')
}

const isRead = (store: FaultyStore, log: MemoryLog) => async (): Promise<boolean> => {
  const ends = (await log.describe('taps')) ?? []
  return (await store.positions(all)).every((position) =>
    ends.every(({ end }, partition) => position?.position.streams['taps']?.[partition]?.next === end),
  )
}

describe('reading a log that is elsewhere', () => {
  it('asks for all partitions at once, seldom where they stand, and waits for the end to move', async () => {
    const log = await openLog()
    await append(log, 3_000)
    const store = new FaultyStore(shards)
    const stop = new AbortController()
    const seen = { describes: 0, underWay: 0, together: 0, waits: [] as (readonly number[])[] }
    let moved = Promise.withResolvers<void>()
    let nowMs = 0
    const elsewhere: EventLog = {
      logId: log.logId,
      traits: { ...lawfulTraits, epochs: 'drawn' },
      create: (...args) => log.create(...args),
      append: (...args) => log.append(...args),
      nextSequence: (...args) => log.nextSequence(...args),
      describe(stream) {
        seen.describes++
        return log.describe(stream)
      },
      async fetch(...args) {
        seen.together = Math.max(seen.together, ++seen.underWay)
        await turn()
        seen.underWay--
        return log.fetch(...args)
      },
      awaitMore(_stream, from) {
        seen.waits.push([...from])
        moved = Promise.withResolvers()
        return moved.promise
      },
    }
    const progress: { readonly applied: number; readonly total: number }[] = []
    const work = runOnline(
      optionsOf({
        log: elsewhere,
        online: store,
        until: 'aborted',
        signal: stop.signal,
        clock: { nowMs: () => nowMs },
        // Nothing but the log ends a wait.
        sleep: () => new Promise((resolve) => stop.signal.addEventListener('abort', () => resolve())),
        onProgress: (told) => progress.push(told),
      }),
      () => {},
    )
    await until(() => seen.waits.length === 1)
    expect(await isRead(store, log)()).toBe(true)
    expect([seen.waits[0], seen.together]).toEqual([[3_000, 3_000], 2])
    const before = seen.describes
    await append(log, 50)
    moved.resolve()
    await until(() => seen.waits.length === 2)
    expect(await isRead(store, log)()).toBe(true)
    expect(seen.describes).toBe(before)
    expect(progress.at(-1)).toMatchObject({ projection: 'online', applied: 6_100, total: 6_100 })
    nowMs += 2_000
    moved.resolve()
    await until(() => seen.waits.length === 3)
    expect(seen.describes).toBe(before + 1)
    stop.abort()
    await work
    await checkState(store, log)
  })
})

describe('workers that share shards', () => {
  it('hold together what one would, while shards move, one of them sleeps and the store fails', async () => {
    const log = await openLog()
    const store = new FaultyStore(shards)
    const group = new MemoryShardGroup()
    const stop = new AbortController()
    const workers = ['a', 'b', 'c'].map((name) =>
      runOnline(
        optionsOf({ log, online: store, ownership: group.member(name), until: 'aborted', signal: stop.signal }),
        () => {},
      ),
    )
    await until(() => group.members.length === 3)
    const halves = [all.filter((shard) => shard < 4), all.filter((shard) => shard >= 4)]
    const shares: readonly [Record<string, readonly number[]>, readonly string[]][] = [
      [{ a: all }, []],
      [{ a: halves[0] as number[], b: halves[1] as number[] }, []],
      [{ b: [0, 2, 4, 6], c: [1, 3, 5, 7] }, []],
      // It goes on as if nothing had happened, until it is fenced.
      [{ a: all }, ['b']],
      [{ a: [7], b: [0, 1, 2], c: [3, 4, 5, 6] }, []],
    ]
    for (const [given, deaf] of shares) {
      await append(log, 120)
      store.faults = { ...noFaults(), apply: 'after', read: 'unavailable', late: true }
      await group.give(given, deaf)
      await append(log, 120)
      for (let turns = 0; turns < 20; turns++) await turn()
      store.faults = { ...noFaults(), apply: 0b1010, acquire: 'after' }
      await store.cells[2]?.rollBack(1)
    }
    await until(isRead(store, log))
    stop.abort()
    await Promise.all(workers)
    expect(group.members).toEqual([])
    expect(new Set(store.outcomes)).toEqual(new Set(['applied', 'already-applied', 'fenced', 'gap']))
    await checkState(store, log)
  })

  it('a shard that comes late is read for from where it stands, and the others go on meanwhile', async () => {
    const log = await openLog()
    const store = new FaultyStore(shards)
    const group = new MemoryShardGroup()
    const stop = new AbortController()
    await append(log, 3_000)
    const settings = { shards, historyMs: 0, memoryBytesMax: 1 << 20, flushMs: 0, pollMs: 1 }
    const work = runOnline(
      optionsOf({ log, online: store, ownership: group.member('a'), until: 'aborted', signal: stop.signal, settings }),
      () => {},
    )
    await until(() => group.members.length === 1)
    await group.give({ a: [0, 1, 2, 3, 4, 5, 6] })
    const nextOf = async (shard: number) =>
      (await store.positions([shard]))[0]?.position.streams['taps']?.[1]?.next ?? 0
    await until(async () => (await nextOf(0)) === 3_000)
    expect(await nextOf(7)).toBe(0)
    await append(log, 50)
    await group.give({ a: all })
    await until(async () => (await nextOf(0)) === 3_050)
    await until(isRead(store, log))
    stop.abort()
    await work
    await checkState(store, log)
  })

  it('what is revoked while the store does not answer is given back all the same, and lost to nobody', async () => {
    const log = await openLog()
    await append(log, 200)
    const store = new FaultyStore(shards)
    const group = new MemoryShardGroup()
    const stop = new AbortController()
    let isDown = false
    const online = new Proxy(store, {
      get: (of, name) => {
        if (name === 'apply' && isDown) of.faults.apply = 'before'
        const value: unknown = Reflect.get(of, name)
        return typeof value === 'function' ? value.bind(of) : value
      },
    })
    const works = ['a', 'b'].map((name) =>
      runOnline(
        optionsOf({ log, online, ownership: group.member(name), until: 'aborted', signal: stop.signal }),
        () => {},
      ),
    )
    await until(() => group.members.length === 2)
    await group.give({ a: all })
    await until(isRead(store, log))
    isDown = true
    await append(log, 100)
    for (let turns = 0; turns < 50; turns++) await turn()
    await group.give({ b: all })
    expect(await isRead(store, log)()).toBe(false)
    isDown = false
    await until(isRead(store, log))
    stop.abort()
    await Promise.all(works)
    await checkState(store, log)
  })
})

describe('a store that does not answer', () => {
  it('is waited for in bounded memory, whichever call it fails at', { timeout: 60_000 }, async () => {
    const log = await openLog()
    await append(log, 8_000, 3_000)
    let fetched = 0
    const counted = new Proxy(log, {
      get: (of, name) => {
        const value: unknown = Reflect.get(of, name)
        if (name !== 'fetch') return typeof value === 'function' ? value.bind(of) : value
        fetched++
        return (stream: string, partition: number, from: Offset) => log.fetch(stream, partition, from, 4_000)
      },
    })
    const store = new FaultyStore(shards)
    let failures = 0
    const online = new Proxy(store, {
      get: (of, name) => {
        if (failures > 0) {
          failures--
          store.faults = {
            ...noFaults(),
            apply: failures % 2 === 0 ? 'after' : 'before',
            read: 'unavailable',
            acquire: 'after',
          }
        } else store.faults = noFaults()
        const value: unknown = Reflect.get(of, name)
        return typeof value === 'function' ? value.bind(of) : value
      },
    })
    failures = 200
    const progress: number[] = []
    let most = 0
    const settings = { shards, historyMs: 0, memoryBytesMax: 60_000, flushMs: 50, pollMs: 1 }
    await runOnline(
      optionsOf({
        log: counted,
        online,
        settings,
        onProgress: ({ applied }) => {
          progress.push(applied)
          if (failures > 0) most = Math.max(most, applied)
        },
      }),
      () => {},
    )
    expect(failures).toBe(0)
    expect(fetched).toBeGreaterThan(10)
    expect(most).toBeLessThan(2_000)
    expect(progress.at(-1)).toBe(16_000)
    await checkState(store, log)
  })

  it('is behind in every partition where it was not written to, until it answers', async () => {
    const log = await openLog()
    await append(log, 300)
    const store = new FaultyStore(shards)
    let refusals = 8
    const online = new Proxy(store, {
      get: (of, name) => {
        if (name === 'apply') of.faults.apply = refusals-- > 0 ? 'before' : 'none'
        const value: unknown = Reflect.get(of, name)
        return typeof value === 'function' ? value.bind(of) : value
      },
    })
    const seen: PartitionLag[][] = []
    const told: string[] = []
    let nowMs = 20_000
    await runWorker(
      optionsOf({
        log,
        online,
        clock: { nowMs: () => (nowMs += 20) },
        logger: { ...silentLogger, info: (event) => told.push(event) },
        onProgress: ({ projection, lag }) => {
          if (projection === 'online') seen.push([...lag])
        },
      }),
    )
    const places = seen.map((lags) => lags.map(({ end, applied, offsets }) => [end, applied, offsets]))
    expect(places[0]).toEqual([
      [300, 0, 300],
      [300, 0, 300],
    ])
    expect(places.at(-1)).toEqual([
      [300, 300, 0],
      [300, 300, 0],
    ])
    expect(seen.at(-1)?.map(({ lagMs }) => lagMs)).toEqual([0, 0])
    expect(seen[0]?.map(({ lagMs }) => lagMs)).toEqual([null, null])
    // All is stored; then more comes while the store is away for long.
    const stop = new AbortController()
    let isDown = false
    const failing = new Proxy(store, {
      get: (of, name) => {
        if (name === 'apply' && isDown) of.faults.apply = 'before'
        const value: unknown = Reflect.get(of, name)
        return typeof value === 'function' ? value.bind(of) : value
      },
    })
    let behind: PartitionLag[] = []
    let rounds = 0
    await runWorker(
      optionsOf({
        log,
        online: failing,
        until: 'aborted',
        signal: stop.signal,
        clock: { nowMs: () => (nowMs += 20) },
        logger: { ...silentLogger, info: (event) => told.push(event) },
        onProgress: ({ projection, lag }) => {
          if (projection !== 'online') return
          behind = [...lag]
          if (behind.some(({ lagMs, offsets }) => offsets > 0 && (lagMs ?? 0) > 12_000)) stop.abort()
        },
        sleep: async () => {
          isDown = true
          if (rounds++ === 0) await append(log, 10)
          await turn()
        },
      }),
    )
    expect(behind.map(({ end, offsets }) => [end, offsets])).toEqual([
      [310, 10],
      [310, 10],
    ])
    expect(told).toContain('worker.lag')
  })

  it('holds a worker up at a stop until the store has all that was applied', async () => {
    const log = await openLog()
    await append(log, 300)
    const store = new FaultyStore(shards)
    store.faults.apply = 'after'
    const stopped: number[] = []
    await runOnline(
      optionsOf({
        log,
        online: store,
        stops: [100],
        onStop: async (applied) => {
          const held = (await store.positions(all)).map((position) => position?.position.streams['taps'] ?? [])
          expect(held.every((taps) => taps[0]?.next === 300 && taps[1]?.next === 300)).toBe(true)
          stopped.push(applied)
        },
      }),
      () => {},
    )
    expect(stopped).toEqual([600])
  })
})

describe('the one worker of an embedded store', () => {
  it('ends when a successor has taken its shards', async () => {
    const log = await openLog()
    const store = new MemoryOnlineStore(random)
    let isTaken = false
    const work = runOnline(
      optionsOf({
        log,
        online: store,
        until: 'aborted',
        sleep: async () => {
          if (!isTaken) await store.acquire([5])
          if (!isTaken) await append(log, 10)
          isTaken = true
          await turn()
        },
      }),
      () => {},
    )
    await expect(work).rejects.toMatchObject({ code: 'FS_FENCED' })
  })

  it('goes on from what the store holds when that has lost its tail, or everything', async () => {
    const log = await openLog()
    const store = new FaultyStore(shards)
    await append(log, 100)
    let rounds = 0
    const stop = new AbortController()
    await runOnline(
      optionsOf({
        log,
        online: store,
        until: 'aborted',
        signal: stop.signal,
        sleep: async () => {
          await turn()
          if (!(await isRead(store, log)())) return
          if (++rounds === 4) return stop.abort()
          // At last with all that it had, leases too.
          for (const cell of store.cells) await cell.rollBack(rounds === 3 ? 1_000 : 1)
          await append(log, 20)
        },
      }),
      () => {},
    )
    expect(store.outcomes).toContain('gap')
    await checkState(store, log)
  })

  it('sees that the store has lost something though nothing is written any more, and asks again where it is not told', async () => {
    const log = await openLog()
    const store = new FaultyStore(shards)
    await append(log, 100)
    const stop = new AbortController()
    const told: string[] = []
    let checks = 0
    let isDown = false
    const online = new Proxy(store, {
      get: (of, name) => {
        const value: unknown = Reflect.get(of, name)
        if (name !== 'positions') return typeof value === 'function' ? value.bind(of) : value
        return async (asked: readonly number[]) => {
          checks++
          expect(asked).toEqual(all)
          if (isDown) throw new FeatureStoreError('FS_ONLINE_UNAVAILABLE', 'it does not answer')
          return store.positions(asked)
        }
      },
    })
    const work = runOnline(
      optionsOf({
        log,
        online,
        until: 'aborted',
        signal: stop.signal,
        settings: { shards, historyMs: 0, memoryBytesMax: 1 << 20, flushMs: 100, pollMs: 1, checkMs: 500 },
        logger: { ...silentLogger, warn: (event, fields) => told.push(`${event} of ${String(fields?.['of'])}`) },
      }),
      () => {},
    )
    await until(() => checks > 0)
    expect(await isRead(store, log)()).toBe(true)
    expect(told).toEqual([])
    isDown = true
    for (const cell of store.cells.slice(0, 3)) await cell.rollBack(1)
    const before = checks
    await until(() => checks > before + 2)
    isDown = false
    await until(isRead(store, log))
    stop.abort()
    await work
    expect(told.filter((line) => line.startsWith('shards.lost'))).toHaveLength(3)
    expect(told).toContain('online.unavailable of check')
    await checkState(store, log)
  })

  it('does not go on from records that the log never had', async () => {
    const log = await openLog()
    const store = new MemoryOnlineStore(random)
    const [taken] = await store.acquire([0])
    const to = {
      position: { logId: 'log', streams: { taps: [0, 1].map(() => ({ epoch: 0, next: offset(7) })) } },
      newestEventTimeMs: {},
    }
    const lease = taken?.lease as NonNullable<typeof taken>['lease']
    await store.apply([{ lease, from: null, to, rows: [], deadLetters: [] }])
    await expect(runOnline(optionsOf({ log, online: store }), () => {})).rejects.toMatchObject({
      code: 'FS_STATE_FORMAT',
    })
  })
})

it('a shard is flushed before its rows are more than the store takes at once', async () => {
  const log = await openLog()
  await append(log, 40_000, 5_000)
  const flushBytesMax = 300_000
  const bytes: number[] = []
  class SmallFlushes extends MemoryOnlineStore {
    readonly flushBytesMax = flushBytesMax
    override async apply(flushes: readonly ShardFlush[]) {
      for (const { rows } of flushes) bytes.push(rows.reduce((sum, { key, row }) => sum + key.length + row.length, 0))
      return super.apply(flushes)
    }
  }
  const settings = { shards, historyMs: 0, memoryBytesMax: 1 << 26, flushMs: 1e9, pollMs: 1 }
  const clock = { nowMs: () => 0 }
  const store = new SmallFlushes(random)
  await runOnline(optionsOf({ log, online: store, settings, clock }), () => {})
  // Beyond half of the bound it is flushed, so no flush was far below it but the last.
  expect(bytes.length).toBeGreaterThan(shards * 2)
  expect(Math.max(...bytes)).toBeLessThan(flushBytesMax)
  await checkState(store, log)
})

describe('a changelog whose rows may move between entities', () => {
  const fields = { id: int32(), at: timestamp(), card: int32(), amount: int32() }
  const moving = stream('taps', { fields, eventTime: 'at', changelog: true, primaryKey: ['id'] })
  const staying = stream('taps', { fields, eventTime: 'at', changelog: true, primaryKey: ['id', 'card'] })
  const catalogOf = (from: typeof moving | typeof staying) =>
    buildCatalog([from, card, view('by_card', { from, entity: card, features: () => ({ n: count() }) })])
  class OneByOne extends MemoryOnlineStore {
    override readonly appliesTogether = false
  }
  const runs = async (own: Partial<OnlineWorkerOptions>): Promise<void> => {
    const log = new MemoryLog('log')
    await log.create('taps', { partitions: 1 })
    await runOnline(optionsOf({ log, online: new MemoryOnlineStore(random), ...own }), () => {})
  }

  it('needs one owner, and a store that writes all shards together', async () => {
    const group = new MemoryShardGroup()
    const notYet = { code: 'FS_NOT_YET' }
    await runs({ catalog: catalogOf(moving) })
    await runs({ catalog: catalogOf(staying), ownership: group.member('a'), online: new OneByOne(random) })
    await expect(runs({ catalog: catalogOf(moving), ownership: group.member('a') })).rejects.toMatchObject(notYet)
    await expect(runs({ catalog: catalogOf(moving), online: new OneByOne(random) })).rejects.toMatchObject(notYet)
  })

  it('is built again where a write has reached only some shards', async () => {
    const store = new MemoryOnlineStore(random)
    const [taken] = await store.acquire([3])
    const to = { position: { logId: 'log', streams: { taps: [{ epoch: 0, next: offset(0) }] } }, newestEventTimeMs: {} }
    const lease = taken?.lease as NonNullable<typeof taken>['lease']
    await store.apply([{ lease, from: null, to, rows: [], deadLetters: [] }])
    await expect(runs({ catalog: catalogOf(moving), online: store })).rejects.toMatchObject({ code: 'FS_STATE_FORMAT' })
    await runs({ catalog: catalogOf(staying), online: store })
  })
})
