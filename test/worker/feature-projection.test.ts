/** From a log to rows: the same table however it was followed, cut off and begun again. */
import { describe, expect, it } from 'vitest'
import {
  openMemoryFeatureHistoryStore,
  type MemoryFeatureHistoryStore,
} from '../../connectors/memory/feature-history-store.ts'
import { MemoryLog } from '../../connectors/memory/log.ts'
import { openMemoryOfflineStore } from '../../connectors/memory/offline-store.ts'
import { MemoryOnlineStore } from '../../connectors/memory/online-store.ts'
import { buildCatalog } from '../../core/definition/catalog.ts'
import { int32, string, timestamp } from '../../core/definition/fields.ts'
import { count, last, max } from '../../core/definition/functions.ts'
import { every, everyEvent, none } from '../../core/definition/history.ts'
import { entity, stream } from '../../core/definition/stream.ts'
import { view } from '../../core/definition/view.ts'
import { FeatureStoreError } from '../../core/errors.ts'
import { silentLogger } from '../../core/ports/environment.ts'
import type { FeatureHistoryStore } from '../../core/ports/feature-history-store.ts'
import { compileEncoder, streamSchema } from '../../schemas/avro/index.ts'
import { StreamReader } from '../../schemas/stream-reader.ts'
import { FeatureProjection, prepareFeatures } from '../../worker/feature-projection.ts'
import { runWorker } from '../../worker/run.ts'

const taps = stream('taps', {
  fields: { at: timestamp(), card: string(), amount: int32() },
  eventTime: 'at',
  partitions: 3,
})
const card = entity('card', { key: { card: string() } })
const byCard = (history = every(100), longest = 300) =>
  view('by_card', {
    from: taps,
    entity: card,
    history,
    features: ({ amount }) => ({ n: count().over(longest), most: max(amount).over(200), last: last(amount) }),
  })
const schema = streamSchema('taps', taps.fields)
const encode = compileEncoder(schema)
const start = Date.UTC(2026, 0, 5)
const signal = new AbortController().signal
const pause = async (): Promise<void> => {}

const openLog = async (): Promise<MemoryLog> => {
  const log = new MemoryLog('log')
  await log.create('taps', { partitions: taps.partitions })
  return log
}

/** Appends events that are known up to half a second late, each partition at its own pace. */
function writer(log: MemoryLog, seed: number) {
  let state = seed
  const below = (bound: number): number => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
    return Math.floor((state / 2 ** 32) * bound)
  }
  const known = [0, 0, 0]
  return async (records: number, partition = below(3)): Promise<void> => {
    for (let index = 0; index < records; index++) {
      known[partition] = (known[partition] as number) + below(40)
      const timestampMs = start + (known[partition] as number)
      const at = timestampMs - below(3) * below(250)
      const value = encode.encode({ at, card: 'abc'[below(3)] as string, amount: below(5) })
      await log.append('taps', partition, [{ key: null, value, timestampMs }])
    }
  }
}

async function open(log: MemoryLog, store: FeatureHistoryStore, definition = byCard()): Promise<FeatureProjection> {
  const [plan] = await prepareFeatures(buildCatalog([taps, card, definition]), store)
  if (plan === undefined) throw new Error('no history')
  const reader = new StreamReader({ log, stream: taps, schemas: () => schema })
  return FeatureProjection.start(plan, store, reader, signal)
}

async function follow(projection: FeatureProjection): Promise<void> {
  while ((await projection.step()) > 0);
  if (projection.changed) await projection.flush(pause)
}

async function rebuilt(log: MemoryLog, definition = byCard()): Promise<ReturnType<MemoryFeatureHistoryStore['rows']>> {
  const store = openMemoryFeatureHistoryStore()
  await follow(await open(log, store, definition))
  return store.rows('by_card')
}

describe('the history of a view', () => {
  it.each([1, 2, 3, 4])('followed and begun again equals the one that is built at once (%i)', async (seed) => {
    const log = await openLog()
    const write = writer(log, seed)
    const store = openMemoryFeatureHistoryStore()
    let projection = await open(log, store)
    for (let turn = 0; turn < 30; turn++) {
      await write(1 + ((turn * seed) % 17))
      if (turn % 2 === 0) await follow(projection)
      if (turn % 7 === 6) projection = await open(log, store)
      if (turn % 10 === 0) expect(store.rows('by_card')).toEqual(await rebuilt(log))
    }
    await follow(projection)
    expect(store.rows('by_card').length).toBeGreaterThan(60)
    expect(store.rows('by_card')).toEqual(await rebuilt(log))
    expect((await store.position('by_card'))?.partitions.reduce((sum, { next }) => sum + next, 0)).toBe(
      projection.applied,
    )
  })

  it('partitions that are added, also out of turn, are read like the others', async () => {
    const log = await openLog()
    const write = writer(log, 13)
    let partitions = 1
    const growing: MemoryLog = Object.assign(Object.create(log) as MemoryLog, {
      describe: async (name: string) => (await log.describe(name))?.slice(0, partitions) ?? null,
    })
    const store = openMemoryFeatureHistoryStore()
    const projection = await open(growing, store)
    await write(40, 0)
    await follow(projection)
    expect((await store.position('by_card'))?.partitions).toHaveLength(1)
    partitions = 3
    await write(40, 2)
    await follow(projection)
    expect((await store.position('by_card'))?.partitions.map(({ next }) => next)).toEqual([40, 0, 40])
    await write(40, 1)
    await follow(await open(growing, store))
    expect(store.rows('by_card')).toEqual(await rebuilt(log))
  })

  it('a partition without records, or without new ones, holds up nobody', async () => {
    const log = await openLog()
    const write = writer(log, 9)
    const store = openMemoryFeatureHistoryStore()
    await write(3, 1)
    await write(60, 0)
    await follow(await open(log, store))
    expect(store.rows('by_card').length).toBeGreaterThan(5)
    expect(store.rows('by_card')).toEqual(await rebuilt(log))
  })

  it('a write that fails leaves the table as it was; the next projection goes on from it', async () => {
    const log = await openLog()
    const write = writer(log, 5)
    const store = openMemoryFeatureHistoryStore()
    await write(50, 0)
    await follow(await open(log, store))
    const before = store.rows('by_card')
    const down: FeatureHistoryStore = {
      prepare: (tables) => store.prepare(tables),
      position: (name) => store.position(name),
      drop: (name) => store.drop(name),
      write: () => Promise.reject(new FeatureStoreError('FS_OFFLINE_UNAVAILABLE', 'down')),
    }
    await write(50, 2)
    await expect(follow(await open(log, down))).rejects.toMatchObject({ code: 'FS_OFFLINE_UNAVAILABLE' })
    expect(store.rows('by_card')).toEqual(before)
    await follow(await open(log, store))
    expect(store.rows('by_card')).toEqual(await rebuilt(log))
  })

  it('of two projections of one table the second to write is told', async () => {
    const log = await openLog()
    const store = openMemoryFeatureHistoryStore()
    await writer(log, 6)(40, 0)
    const [first, second] = [await open(log, store), await open(log, store)]
    await follow(first)
    await expect(follow(second)).rejects.toMatchObject({ code: 'FS_POSITION_GAP' })
  })

  it('a write of a killed worker that arrives late: its successor begins again from it', async () => {
    const log = await openLog()
    const write = writer(log, 11)
    const store = openMemoryFeatureHistoryStore()
    await write(40, 0)
    const killed = await open(log, store)
    await write(40, 1)
    let late: Promise<void> | null = null
    const contested: FeatureHistoryStore = {
      prepare: (tables) => store.prepare(tables),
      position: (name) => store.position(name),
      drop: (name) => store.drop(name),
      write: async (own) => {
        await (late ??= follow(killed))
        return store.write(own)
      },
    }
    const offline = openMemoryOfflineStore()
    await runWorker({
      catalog: buildCatalog([taps, card, byCard()]),
      log,
      schemas: () => schema,
      online: new MemoryOnlineStore({ bytes: (length) => new Uint8Array(length) }),
      offline,
      features: contested,
      settings: { shards: 4, historyMs: 0, memoryBytesMax: 1 << 20, flushMs: 0, pollMs: 1 },
      clock: { nowMs: () => start },
      logger: silentLogger,
      sleep: async () => {},
      signal,
      until: 'caught-up',
    })
    expect((await store.position('by_card'))?.revision).toBeGreaterThanOrEqual(1)
    expect(store.rows('by_card')).toEqual(await rebuilt(log))
  })

  it('is made anew when its steps or its features change, and dropped when there is none', async () => {
    const log = await openLog()
    await writer(log, 7)(80, 1)
    const store = openMemoryFeatureHistoryStore()
    await follow(await open(log, store))
    for (const definition of [byCard(every(50)), byCard(everyEvent), byCard(every(50), 200)]) {
      const projection = await open(log, store, definition)
      expect(projection.applied).toBe(0)
      await follow(projection)
      expect(store.rows('by_card')).toEqual(await rebuilt(log, definition))
    }
    expect(await prepareFeatures(buildCatalog([taps, card, byCard(none)]), store)).toEqual([])
    expect(await store.position('by_card')).toBeNull()
  })

  it('a table of records that the log no longer has is filled again', async () => {
    const [longer, log] = [await openLog(), await openLog()]
    const store = openMemoryFeatureHistoryStore()
    await writer(longer, 8)(60, 0)
    await follow(await open(longer, store))
    await writer(log, 8)(20, 0)
    await follow(await open(log, store))
    expect(store.rows('by_card')).toEqual(await rebuilt(log))
  })

  it('a stream may not have the name of its table', async () => {
    const taken = stream('features_by_card', { fields: taps.fields, eventTime: 'at' })
    await expect(
      prepareFeatures(buildCatalog([taps, taken, card, byCard()]), openMemoryFeatureHistoryStore()),
    ).rejects.toMatchObject({ code: 'FS_DEFINITION_INVALID' })
  })
})
