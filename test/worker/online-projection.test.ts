import { mkdtempSync, rmSync } from 'node:fs'
import { setImmediate as turn } from 'node:timers/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { openOnlineStore } from '../../connectors/lmdb/online-store.ts'
import { MemoryOnlineStore } from '../../connectors/memory/online-store.ts'
import { buildCatalog } from '../../core/definition/catalog.ts'
import { int32, timestamp } from '../../core/definition/fields.ts'
import { count, last, sum } from '../../core/definition/functions.ts'
import { entity, stream } from '../../core/definition/stream.ts'
import { view } from '../../core/definition/view.ts'
import { valueAt } from '../../core/engine/feature-column.ts'
import { ViewFinisher } from '../../core/engine/finish.ts'
import { planView } from '../../core/engine/plan.ts'
import { decodeRow } from '../../core/engine/row.ts'
import { FeatureStoreError } from '../../core/errors.ts'
import type { EventBatch } from '../../core/event/batch.ts'
import { encodeKey, shardOf } from '../../core/event/key.ts'
import { offset } from '../../core/event/position.ts'
import type { FlushOutcome, OnlineStore, RowRead, ShardFlush } from '../../core/ports/online-store.ts'
import { silentLogger } from '../../core/ports/environment.ts'
import { OnlineProjection } from '../../worker/online-projection.ts'

const taps = stream('taps', {
  fields: { at: timestamp(), card: int32(), amount: int32() },
  eventTime: 'at',
  partitions: 2,
})
const card = entity('card', { key: { card: int32() } })
const byCard = view('by_card', {
  from: taps,
  entity: card,
  features: ({ amount }) => ({ n: count(), spent: sum(amount), last: last(amount) }),
})
const catalog = buildCatalog([taps, card, byCard])
const plan = planView(catalog, 'by_card', 0)
const shards = 8
const random = { bytes: (length: number) => new Uint8Array(length).fill(5) }

/** Event `index` of a partition: every card is met again and again, long after it was met before. */
const cardOf = (cards: number, index: number): number => (index * 7_919) % cards
const amountOf = (index: number): number => (index * 31) % 1_000

function batchOf(cards: number, partition: number, from: number, length: number): EventBatch {
  const rows = Array.from({ length }, (_, row) => from + row)
  return {
    stream: 'taps',
    partition,
    epoch: 0,
    firstOffset: offset(from),
    nextOffset: offset(from + length),
    count: length,
    offsets: Float64Array.from(rows),
    eventTimes: Float64Array.from(rows),
    knownAts: Float64Array.from(rows, (row) => row + 5),
    columns: {
      at: { type: 'timestamp', values: Float64Array.from(rows), nulls: null },
      card: { type: 'int32', values: Int32Array.from(rows, (row) => cardOf(cards, row)), nulls: null },
      amount: { type: 'int32', values: Int32Array.from(rows, amountOf), nulls: null },
    },
    ops: null,
    dead: [],
  }
}

const begun = async (store: OnlineStore, memoryBytesMax: number): Promise<OnlineProjection> => {
  const projection = await OnlineProjection.start(catalog, store, 'log', { shards, historyMs: 0, memoryBytesMax })
  for (const partition of [0, 1]) projection.begin('taps', partition, 0)
  return projection
}

/** Values of every card from the store against plain sums over events [0, ends[p]) of each partition. */
async function checkValues(store: OnlineStore, cards: number, ends: readonly number[]): Promise<void> {
  const wanted = Array.from({ length: cards }, () => ({ n: 0, spent: 0, at: -1, last: 0 }))
  ends.forEach((end) => {
    for (let index = 0; index < end; index++) {
      const own = wanted[cardOf(cards, index)] as (typeof wanted)[number]
      own.n++
      own.spent += amountOf(index)
      if (index >= own.at) Object.assign(own, { at: index, last: amountOf(index) })
    }
  })
  const finisher = new ViewFinisher(plan)
  const keys = wanted.map((_, index) => encodeKey([index], ['int32']))
  const { rows } = await store.read(
    'by_card',
    keys.map((key) => shardOf(key, shards)),
    keys,
  )
  const builders = finisher.builders(cards)
  rows.forEach((row, index) =>
    finisher.finish(
      row === null ? null : decodeRow(plan, row),
      { asOfMs: Number.MAX_SAFE_INTEGER, knownAsOfMs: Number.POSITIVE_INFINITY },
      builders,
      index,
    ),
  )
  const [n, spent, newest] = builders.map((builder) => builder.build())
  let wrong = 0
  wanted.forEach((own, index) => {
    const got = [n, spent, newest].map((column) => column && valueAt(column, index))
    const none = own.n === 0
    if (got[0] !== BigInt(own.n) || got[1] !== (none ? null : BigInt(own.spent)) || got[2] !== (none ? null : own.last))
      wrong++
  })
  expect(wrong).toBe(0)
}

/** A store whose flushes wait until they are let go, as those of a store far away. */
class SlowStore extends MemoryOnlineStore {
  readonly #waiting: (() => void)[] = []
  override async apply(flushes: readonly ShardFlush[]): Promise<readonly FlushOutcome[]> {
    await new Promise<void>((resolve) => this.#waiting.push(resolve))
    return super.apply(flushes)
  }
  release(): void {
    for (const go of this.#waiting.splice(0)) go()
  }
}

describe('memory of a worker stays bounded', () => {
  const cards = 60_000
  const bound = 1.5 * 2 ** 20
  const length = 1_500
  /** A new entity, its key, its run, its events and what finds it. */
  const batchBytes = length * 500

  async function fill(store: OnlineStore, after: (projection: OnlineProjection, batch: number) => Promise<void>) {
    const projection = await begun(store, bound)
    const ends = [0, 0]
    let most = 0
    for (let batch = 0; batch < 90; batch++) {
      const partition = batch % 3 === 0 ? 0 : 1
      await projection.apply(batchOf(cards, partition, ends[partition] as number, length))
      ends[partition] = (ends[partition] as number) + length
      most = Math.max(most, projection.memoryBytes)
      await after(projection, batch)
    }
    await projection.flush()
    await checkValues(store, cards, ends)
    // It did fill up, and never beyond.
    expect(most).toBeGreaterThan(bound)
    expect(most).toBeLessThan(bound + batchBytes)
  }

  it('with a flush after some batches', { timeout: 120_000 }, async () => {
    await fill(new MemoryOnlineStore(random), async (projection, batch) => {
      if (batch % 4 === 3) await projection.flush()
    })
  })

  it('with no flush but those that room is made by', { timeout: 120_000 }, async () => {
    await fill(new MemoryOnlineStore(random), async () => {})
  })

  it('with flushes on their way while the next batches are applied', { timeout: 120_000 }, async () => {
    const store = new SlowStore(random)
    const release = setInterval(() => store.release(), 1)
    let flushing: Promise<unknown> = Promise.resolve()
    await fill(store, async (projection, batch) => {
      if (batch % 2 === 1) {
        await flushing
        flushing = projection.flush()
      }
      if (batch === 89) await flushing
    }).finally(() => clearInterval(release))
  })

  it('on the embedded store, with flushes on their way', { timeout: 120_000 }, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'tidemark-bounded-'))
    try {
      await using store = await openOnlineStore(folder, {
        mode: 'write',
        generation: 'g',
        logger: silentLogger,
        random,
      })
      let flushing: Promise<unknown> = Promise.resolve()
      await fill(store, async (projection, batch) => {
        if (batch % 2 === 1) {
          await flushing
          flushing = projection.flush()
        }
        if (batch === 89) await flushing
      })
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  })
})

it('what is dropped while its flush is on the way is not read back as it was before', async () => {
  const store = new SlowStore(random)
  const empty = (await begun(new MemoryOnlineStore(random), 0)).memoryBytes
  const projection = await begun(store, empty)
  await projection.apply(batchOf(3, 0, 0, 10))
  const first = projection.flush()
  const second = projection.apply(batchOf(3, 0, 10, 10))
  setTimeout(() => store.release(), 5)
  await first
  await second
  const last = projection.flush()
  store.release()
  await last
  await checkValues(store, 3, [20, 0])
})

it('rows that are read while a flush is on its way count before it and behind it', async () => {
  for (const isWritten of [false, true]) {
    class Late extends MemoryOnlineStore {
      override async apply(flushes: readonly ShardFlush[]): Promise<readonly FlushOutcome[]> {
        const written = isWritten ? super.apply(flushes) : null
        for (let turns = 0; turns < 5; turns++) await turn()
        return written ?? super.apply(flushes)
      }
    }
    const projection = await begun(new Late(random), 1 << 20)
    await projection.apply(batchOf(3, 0, 0, 3))
    const flushed = projection.flush()
    await projection.apply(batchOf(60, 0, 3, 60))
    await flushed
    await projection.apply(batchOf(900, 0, 63, 900))
    expect(projection.lost).toEqual([])
  }
})

it('shards that are released are flushed first, and the others keep what they have', async () => {
  const store = new MemoryOnlineStore(random)
  const projection = await begun(store, 1 << 20)
  await projection.apply(batchOf(30, 0, 0, 40))
  await projection.release([1, 2, 5])
  const stands = async (): Promise<number[]> =>
    (await store.positions([0, 1, 2, 3, 4, 5, 6, 7])).flatMap((held, shard) => (held === null ? [] : [shard]))
  expect(await stands()).toEqual([1, 2, 5])
  expect(projection.held).toEqual([0, 3, 4, 6, 7])
  await projection.apply(batchOf(30, 0, 40, 10))
  await projection.assign([1, 2, 5])
  expect(projection.reads('taps', 0)).toEqual([40, 50])
  await projection.apply(batchOf(30, 0, 40, 10))
  await projection.flush()
  await checkValues(store, 30, [50, 0])
})

it('a batch is folded in whole or not at all', async () => {
  let isDown = false
  class Down extends MemoryOnlineStore {
    override async read(...args: Parameters<MemoryOnlineStore['read']>): Promise<RowRead> {
      if (isDown && args[0] === 'second') throw new FeatureStoreError('FS_ONLINE_UNAVAILABLE', 'down')
      return super.read(...args)
    }
  }
  const store = new Down(random)
  const second = view('second', { from: taps, entity: card, features: () => ({ n: count() }) })
  const two = buildCatalog([taps, card, byCard, second])
  const projection = await OnlineProjection.start(two, store, 'log', { shards, historyMs: 0, memoryBytesMax: 1 << 20 })
  for (const partition of [0, 1]) projection.begin('taps', partition, 0)
  isDown = true
  for (const length of [10, 7])
    await expect(projection.apply(batchOf(30, 0, 0, length))).rejects.toMatchObject({ code: 'FS_ONLINE_UNAVAILABLE' })
  expect(projection.next('taps', 0)).toBe(0)
  isDown = false
  await projection.apply(batchOf(30, 0, 0, 20))
  await projection.flush()
  await checkValues(store, 30, [20, 0])
})

/** A store that writes the shards of a mask and then loses its worker: a flush is atomic by shard, not over all. */
class TornStore extends MemoryOnlineStore {
  mask = -1
  override async apply(flushes: readonly ShardFlush[]): Promise<readonly FlushOutcome[]> {
    if (this.mask === -1) return super.apply(flushes)
    await super.apply(flushes.filter(({ lease }) => ((this.mask >> lease.shard) & 1) === 1))
    throw new Error('the worker died')
  }
}

it('shards that a flush reached before the worker died are not applied to twice, however often it dies', async () => {
  const store = new TornStore(random)
  const cards = 50
  const ends = [0, 0]
  for (let round = 0; round < 24; round++) {
    const projection = await begun(store, 1 << 20)
    // Partitions advance by turns, so that shards are ahead in one and behind in the other.
    for (const partition of round % 2 === 0 ? [0, 1] : [1]) {
      const from = projection.next('taps', partition)
      const to = Math.max(ends[partition] as number, from) + (round % 3 === partition ? 0 : 37)
      if (to > from) await projection.apply(batchOf(cards, partition, from, to - from))
      ends[partition] = to
    }
    store.mask = round % 5 === 4 ? -1 : (round * 37 + 11) & 255
    await projection.flush().catch(() => {})
  }
  store.mask = -1
  const projection = await begun(store, 1 << 20)
  for (const partition of [0, 1]) {
    const from = projection.next('taps', partition)
    const end = ends[partition] as number
    if (end > from) await projection.apply(batchOf(cards, partition, from, end - from))
  }
  await projection.flush()
  await checkValues(store, cards, ends)
})
