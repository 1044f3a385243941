/** Each projection has its own reader and position: a store that does not answer holds up nobody but its own. */
import { setImmediate as turn } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { openMemoryFeatureHistoryStore } from '../../connectors/memory/feature-history-store.ts'
import { MemoryLog } from '../../connectors/memory/log.ts'
import { openMemoryOfflineStore } from '../../connectors/memory/offline-store.ts'
import { MemoryOnlineStore } from '../../connectors/memory/online-store.ts'
import { buildCatalog } from '../../core/definition/catalog.ts'
import { int32, timestamp } from '../../core/definition/fields.ts'
import { count } from '../../core/definition/functions.ts'
import { entity, stream } from '../../core/definition/stream.ts'
import { view } from '../../core/definition/view.ts'
import { FeatureStoreError } from '../../core/errors.ts'
import { silentLogger } from '../../core/ports/environment.ts'
import { compileEncoder, streamSchema } from '../../schemas/avro/index.ts'
import { runWorker, type WorkerOptions } from '../../worker/run.ts'

const taps = stream('taps', { fields: { at: timestamp(), card: int32() }, eventTime: 'at', partitions: 2 })
const card = entity('card', { key: { card: int32() } })
const catalog = buildCatalog([
  taps,
  card,
  view('by_card', { from: taps, entity: card, features: () => ({ n: count().over(60_000) }) }),
])
const schema = streamSchema('taps', taps.fields)
const encoder = compileEncoder(schema)
const shards = 4
const all = Array.from({ length: shards }, (_, shard) => shard)
const random = { bytes: (length: number) => new Uint8Array(length).fill(3) }

async function append(log: MemoryLog, records: number): Promise<void> {
  for (const partition of [0, 1]) {
    const first = (await log.describe('taps'))?.[partition]?.end ?? 0
    const batch = Array.from({ length: records }, (_, index) => {
      const at = (first + index) * 1_000
      return { key: null, value: encoder.encode({ at, card: index % 9 }).slice(), timestampMs: at }
    })
    await log.append('taps', partition, batch)
  }
}

type Ports = 'online' | 'offline' | 'features'

/** A store that refuses every call while it is down. */
function refusing<T extends object>(store: T, isDown: () => boolean): T {
  return new Proxy(store, {
    get: (of, name) => {
      const value: unknown = Reflect.get(of, name)
      if (typeof value !== 'function') return value
      return (...given: readonly unknown[]): unknown => {
        if (isDown() && name !== 'pending')
          return Promise.reject(new FeatureStoreError('FS_ONLINE_UNAVAILABLE', 'it does not answer'))
        return Reflect.apply(value, of, given)
      }
    },
  })
}

/** A worker, with how far each of its stores is, in records. */
function start(log: MemoryLog, isDown: (of: Ports) => boolean) {
  const online = new MemoryOnlineStore(random)
  const offline = openMemoryOfflineStore()
  const features = openMemoryFeatureHistoryStore()
  const stop = new AbortController()
  let nowMs = 0
  const options: WorkerOptions = {
    catalog,
    log,
    schemas: () => schema,
    online: refusing(online, () => isDown('online')),
    offline: refusing(offline, () => isDown('offline')),
    features: refusing(features, () => isDown('features')),
    settings: { shards, historyMs: 0, memoryBytesMax: 1 << 20, flushMs: 100, pollMs: 1 },
    clock: { nowMs: () => (nowMs += 20) },
    logger: silentLogger,
    sleep: () => turn(),
    signal: stop.signal,
    until: 'aborted',
  }
  const work = runWorker(options)
  const sum = (partitions: readonly { readonly next: number }[]): number =>
    partitions.reduce((total, { next }) => total + next, 0)
  return {
    stored: async () => ({
      online: Math.min(
        ...(await online.positions(all)).map((position) => sum(position?.position.streams['taps'] ?? [])),
      ),
      offline: sum(await offline.positions('taps', 2).catch(() => [])),
      features: sum((await features.position('by_card').catch(() => null))?.partitions ?? []),
    }),
    async end() {
      stop.abort()
      await work
    },
  }
}

async function until(condition: () => Promise<boolean>): Promise<void> {
  for (let turns = 0; turns < 50_000; turns++) {
    if (await condition()) return
    await turn()
  }
  throw new Error('it never came to be')
}

it.each<readonly [down: Ports, others: readonly Ports[]]>([
  ['offline', ['online', 'features']],
  ['features', ['online', 'offline']],
  // The feature history begins once the online rows have caught up; then it goes on without them.
  ['online', ['offline', 'features']],
])('while %s answers nothing, %s go on, and it catches up when it is back', async (down, others) => {
  const log = new MemoryLog('log')
  await log.create('taps', { partitions: 2 })
  let isDown = down !== 'online'
  const worker = start(log, (of) => isDown && of === down)
  await append(log, 100)
  if (!isDown) await until(async () => (await worker.stored())[down] === 200)
  isDown = true
  await until(async () => {
    const stored = await worker.stored()
    return others.every((other) => stored[other] === 200)
  })
  const before = (await worker.stored())[down]
  await append(log, 500)
  await until(async () => {
    const stored = await worker.stored()
    return others.every((other) => stored[other] === 1_200)
  })
  expect((await worker.stored())[down]).toBe(before)
  isDown = false
  await until(async () => (await worker.stored())[down] === 1_200)
  await worker.end()
})

it('the offline tables fill while the online rows were never reached', async () => {
  const log = new MemoryLog('log')
  await log.create('taps', { partitions: 2 })
  await append(log, 300)
  let isDown = true
  const worker = start(log, (of) => isDown && of === 'online')
  await until(async () => (await worker.stored()).offline === 600)
  expect((await worker.stored()).online).toBe(0)
  isDown = false
  await until(async () => Object.values(await worker.stored()).every((records) => records === 600))
  await worker.end()
})
