/** What a worker holds stays within its bound, however much more comes than the store takes. */
import { setImmediate as turn } from 'node:timers/promises'
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { MemoryLog } from '../../connectors/memory/log.ts'
import { MemoryOnlineStore } from '../../connectors/memory/online-store.ts'
import { buildCatalog } from '../../core/definition/catalog.ts'
import { int32, string, timestamp } from '../../core/definition/fields.ts'
import { count, last, sum } from '../../core/definition/functions.ts'
import { entity, stream } from '../../core/definition/stream.ts'
import { view } from '../../core/definition/view.ts'
import { planView } from '../../core/engine/plan.ts'
import { FeatureStoreError } from '../../core/errors.ts'
import type { EventBatch } from '../../core/event/batch.ts'
import { offset, type Offset } from '../../core/event/position.ts'
import type { Column } from '../../core/event/types.ts'
import { silentLogger } from '../../core/ports/environment.ts'
import type { ShardFlush } from '../../core/ports/online-store.ts'
import { compileEncoder, streamSchema } from '../../schemas/avro/index.ts'
import { StreamReader } from '../../schemas/stream-reader.ts'
import { stateDigest } from '../../worker/audit/digest.ts'
import { OnlineProjection } from '../../worker/online-projection.ts'
import { readBytesFor } from '../../worker/read-size.ts'
import { runOnline, type OnlineWorkerOptions } from '../../worker/run-online.ts'

const taps = stream('taps', {
  fields: { at: timestamp(), card: int32(), amount: int32(), shop: string() },
  eventTime: 'at',
  partitions: 2,
})
const card = entity('card', { key: { card: int32() } })
const byCard = view('by_card', {
  from: taps,
  entity: card,
  ttl: 200,
  lateness: 1_000_000,
  features: ({ amount, shop }) => ({ n: count(), spent: sum(amount).over(200), shop: last(shop) }),
})
const catalog = buildCatalog([taps, card, byCard])
const plan = planView(catalog, 'by_card', 0)
const schema = streamSchema('taps', taps.fields)
const encoder = compileEncoder(schema)
const shards = 4
const random = { bytes: (length: number) => new Uint8Array(length).fill(3) }
/** Of a read: no batch of the log is longer. */
const chunkBytes = 4_000
const runs = Math.ceil(Number(process.env['TIDEMARK_PROPERTY_RUNS'] ?? 60) / 4)

interface Input {
  readonly cards: number
  /** Every so many records one does not decode, and one is too late for the view; 0: none. */
  readonly deadEvery: number
  readonly lateEvery: number
  readonly shopLength: number
}

async function logOf({ cards, deadEvery, lateEvery, shopLength }: Input, records: number): Promise<MemoryLog> {
  const log = new MemoryLog('log')
  await log.create('taps', { partitions: taps.partitions })
  for (let from = 0; from < records; from += 50) {
    const batch = Array.from({ length: 50 }, (_, index) => {
      const at = from + index
      const isDead = deadEvery > 0 && at % deadEvery === 0
      const isLate = lateEvery > 0 && at % lateEvery === 0
      const event = {
        at: isLate ? 0 : 2_000_000 + at,
        card: (at * 7) % cards,
        amount: at % 100,
        shop: `${at}`.padStart(shopLength, '-'),
      }
      return {
        key: null,
        value: isDead ? new Uint8Array(40).fill(at & 0xff) : encoder.encode(event).slice(),
        timestampMs: 2_000_000 + at,
      }
    })
    await log.append('taps', (from / 50) % taps.partitions, batch)
  }
  return log
}

const flushBytes = ({ rows, deadLetters }: ShardFlush): number =>
  rows.reduce((sum, { key, row }) => sum + key.length + row.length, 0) +
  deadLetters.reduce((sum, { reason }) => sum + 200 + reason.length, 0)

/** Answers nothing, or takes its time; counts what it was given and did not answer. */
class SlowStore extends MemoryOnlineStore {
  isDown = false
  slowTurns = 0
  heldBytesMost = 0

  override async apply(flushes: readonly ShardFlush[]) {
    const held = flushes.reduce((sum, flush) => sum + flushBytes(flush), 0)
    this.heldBytesMost = Math.max(this.heldBytesMost, held)
    if (this.isDown) throw new FeatureStoreError('FS_ONLINE_UNAVAILABLE', 'it does not answer')
    for (let turns = 0; turns < (this.slowTurns * held) / 1_000; turns++) await turn()
    return super.apply(flushes)
  }
}

/** Counts the bytes that are fetched. */
function counted(log: MemoryLog) {
  const fetched = { bytes: 0, total: 0 }
  const port = Object.assign(Object.create(log) as MemoryLog, {
    fetch: async (stream: string, partition: number, from: Offset) => {
      const chunk = await log.fetch(stream, partition, offset(from), chunkBytes)
      fetched.bytes += chunk.bytes.length
      return chunk
    },
  })
  return { port, fetched }
}

function optionsOf(
  own: Pick<OnlineWorkerOptions, 'log' | 'online'> & Partial<OnlineWorkerOptions>,
): OnlineWorkerOptions {
  let nowMs = 0
  return {
    catalog,
    schemas: () => schema,
    settings: { shards, historyMs: 0, memoryBytesMax: 1e9, flushMs: 100, pollMs: 1 },
    clock: { nowMs: () => (nowMs += 20) },
    logger: silentLogger,
    sleep: () => turn(),
    signal: new AbortController().signal,
    until: 'caught-up',
    ...own,
  }
}

const memoryBytesMax = 60_000
const settings = { shards, historyMs: 0, memoryBytesMax, flushMs: 100, pollMs: 1 }

it(
  'takes no more into memory than it may while the store takes nothing, and comes to the same',
  { timeout: 120_000 },
  async () => {
    const inputs = fc.record({
      cards: fc.constantFrom(20, 500, 100_000),
      deadEvery: fc.constantFrom(0, 1, 2, 5),
      lateEvery: fc.constantFrom(0, 1, 3),
      shopLength: fc.constantFrom(3, 60),
    })
    await fc.assert(
      fc.asyncProperty(inputs, fc.constantFrom(0, 1, 4), async (input, slowTurns) => {
        const log = await logOf(input, 4_000)
        const { port } = counted(log)
        const store = new SlowStore(random)
        store.slowTurns = slowTurns
        let sleeps = 0
        store.isDown = true
        await runOnline(
          optionsOf({
            log: port,
            online: store,
            settings,
            sleep: async () => {
              if (++sleeps === 60) store.isDown = false
              await turn()
            },
          }),
          () => {},
        )
        // A batch more of each partition may come before it is looked at; rows are stored in fewer bytes than they take.
        expect(store.heldBytesMost).toBeLessThan(memoryBytesMax + 4 * chunkBytes)
        const wanted = new MemoryOnlineStore(random)
        await runOnline(optionsOf({ log, online: wanted }), () => {})
        expect(await stateDigest(store, [plan])).toBe(await stateDigest(wanted, [plan]))
        const letters = async (of: MemoryOnlineStore) => (await Array.fromAsync(of.deadLetters())).length
        expect(await letters(store)).toBe(await letters(wanted))
      }),
      { numRuns: runs },
    )
  },
)

it.each([
  ['new entities', { cards: 100_000, deadEvery: 0, lateEvery: 0, shopLength: 3 }],
  ['records that do not decode', { cards: 10, deadEvery: 1, lateEvery: 0, shopLength: 3 }],
  ['events that are too late', { cards: 10, deadEvery: 0, lateEvery: 1, shopLength: 3 }],
  ['long strings', { cards: 10, deadEvery: 0, lateEvery: 0, shopLength: 200 }],
])('stops reading %s where its memory ends, of ten times as much', async (_name, input) => {
  const log = await logOf(input, 40_000)
  const { port, fetched } = counted(log)
  const store = new SlowStore(random)
  store.isDown = true
  const stop = new AbortController()
  let sleeps = 0
  let total = 0
  for (const [partition, { end }] of ((await log.describe('taps')) ?? []).entries())
    for (let at = 0; at < end;) {
      const chunk = await log.fetch('taps', partition, offset(at), chunkBytes)
      total += chunk.bytes.length
      at = chunk.nextOffset
    }
  await runOnline(
    optionsOf({
      log: port,
      online: store,
      settings,
      until: 'aborted',
      signal: stop.signal,
      sleep: async () => {
        if (++sleeps === 300) stop.abort()
        await turn()
      },
    }),
    () => {},
  )
  // Asked for again, a chunk counts again: so many times it was tried.
  const tries = sleeps * taps.partitions
  expect(total).toBeGreaterThan(10 * memoryBytesMax)
  expect(fetched.bytes - tries * chunkBytes).toBeLessThan(3 * memoryBytesMax)
})

it('counts strings, dead letters and flushes that are not answered as memory', async () => {
  const heldBytes = async (input: Input): Promise<readonly number[]> => {
    const log = await logOf(input, 1_000)
    const store = new SlowStore(random)
    const projection = await OnlineProjection.start(catalog, store, 'log', { ...settings, memoryBytesMax: 1e9 })
    const reader = new StreamReader({ log, schemas: () => schema, stream: taps })
    await reader.refresh()
    for (const partition of [0, 1]) {
      projection.begin('taps', partition, 0)
      const batch = await reader.read(partition, offset(0), 1e6)
      if (batch !== null) await projection.apply(batch)
    }
    const applied = projection.memoryBytes
    store.isDown = true
    await expect(projection.flush()).rejects.toMatchObject({ code: 'FS_ONLINE_UNAVAILABLE' })
    const sent = projection.memoryBytes
    store.isDown = false
    await projection.flush()
    return [applied, sent, projection.memoryBytes, store.heldBytesMost]
  }
  const plain: Input = { cards: 1_000, deadEvery: 0, lateEvery: 0, shopLength: 3 }
  const [short = 0, sent = 0, after = 0, flushed = 0] = await heldBytes(plain)
  expect(flushed).toBeGreaterThan(10_000)
  expect(sent).toBe(after + flushed)
  const [long = 0] = await heldBytes({ ...plain, shopLength: 500 })
  expect(long - short).toBeGreaterThan(1_000 * 490)
  const [dead = 0, deadSent = 0, deadAfter = 0] = await heldBytes({ ...plain, deadEvery: 1 })
  expect(dead).toBeGreaterThan(1_000 * 200)
  expect(deadSent).toBe(dead)
  expect(deadAfter).toBeLessThan(dead - 1_000 * 200)
})

it('reads less of each partition at a time where there are many', () => {
  const mib = 2 ** 20
  expect(readBytesFor(1, mib / 4, 64 * mib)).toBe(mib / 4)
  expect(readBytesFor(128, mib / 4, 64 * mib)).toBe(mib / 4)
  expect(readBytesFor(256, mib / 4, 64 * mib)).toBe(mib / 8)
  expect(readBytesFor(100, 4 * mib, 64 * mib) * 2 * 100).toBeLessThanOrEqual(64 * mib)
  // One record at a time would be no way to read.
  expect(readBytesFor(100_000, 4 * mib, 64 * mib)).toBe(16 * 1024)
  expect(readBytesFor(100_000, 100, 64 * mib)).toBe(100)
})

it('strings that are begun anew between two batches do not mix within a range', async () => {
  const log = await logOf({ cards: 10, deadEvery: 0, lateEvery: 0, shopLength: 60 }, 4_000)
  const { port } = counted(log)
  const reader = (tableBytesMax: number) =>
    new StreamReader({ log: port, schemas: () => schema, stream: taps, tableBytesMax })
  const [small, large] = [reader(1), reader(1e9)]
  const shops = ({ columns, count }: EventBatch): (string | undefined)[] => {
    const column = columns['shop'] as Extract<Column, { readonly type: 'string' }>
    return Array.from({ length: count }, (_, row) => column.table.strings[column.values[row] as number])
  }
  await small.refresh()
  await large.refresh()
  const [first, second] = [await small.read(0, offset(0), 1), await small.read(0, offset(50), 1)]
  expect(new Set([tableOf(first), tableOf(second)]).size).toBe(2)
  const range = await small.range(0, offset(0), offset(1_500))
  expect(shops(range)).toEqual(shops(await large.range(0, offset(0), offset(1_500))))
  expect(new Set(shops(range)).size).toBe(1_500)
})

const tableOf = (batch: EventBatch | null): unknown =>
  (batch?.columns['shop'] as Extract<Column, { readonly type: 'string' }> | undefined)?.table
