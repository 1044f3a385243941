/** What a user gets wrong, by the exact code: refused where it can be, else a dead letter with cause and position. Never a crash. */
import { describe, expect, it } from 'vitest'
import { MemoryLog } from '../../connectors/memory/log.ts'
import { openMemoryOfflineStore } from '../../connectors/memory/offline-store.ts'
import { MemoryOnlineStore } from '../../connectors/memory/online-store.ts'
import { buildCatalog } from '../../core/definition/catalog.ts'
import { int32, string, timestamp } from '../../core/definition/fields.ts'
import {
  count,
  days,
  distinctCount,
  hours,
  last,
  rows,
  session,
  sum,
  tumbling,
} from '../../core/definition/functions.ts'
import { entity, stream } from '../../core/definition/stream.ts'
import { view } from '../../core/definition/view.ts'
import { statusName, valueAt } from '../../core/engine/feature-column.ts'
import type { DeadLetter } from '../../core/event/batch.ts'
import { silentLogger } from '../../core/ports/environment.ts'
import { compileEncoder, fingerprintHex, streamSchema, type AvroSchema } from '../../schemas/avro/index.ts'
import { Lookup } from '../../serving/lookup/lookup.ts'
import { OnlineProjection } from '../../worker/online-projection.ts'
import { runWorker } from '../../worker/run.ts'

const taps = stream('taps', {
  fields: { at: timestamp(), card: string(), amount: int32() },
  eventTime: 'at',
  partitions: 2,
})
const card = entity('card', { key: { card: string() } })
const byCard = view('by_card', {
  from: taps,
  entity: card,
  features: ({ amount }) => ({ n: count(), spent_1d: sum(amount).over(days(1)), last: last(amount) }),
})
const catalog = buildCatalog([taps, card, byCard])
const schema = streamSchema('taps', taps.fields)
const settings = { shards: 4, historyMs: 0, memoryBytesMax: 1 << 20, flushMs: 0, pollMs: 1 }
const knownAt = Date.UTC(2026, 0, 5)
const good = { at: knownAt, card: 'a', amount: 5 }

const randomOf = (byte: number) => ({ bytes: (length: number) => new Uint8Array(length).fill(byte) })

/** A log and both projections in memory. `schemas`: those of writers, tried by the fingerprint of the record. */
async function openSystem(writers: readonly AvroSchema[] = [schema]) {
  const log = new MemoryLog('log')
  await log.create('taps', { partitions: taps.partitions })
  const online = new MemoryOnlineStore(randomOf(7))
  const offline = openMemoryOfflineStore()
  await offline.prepare([{ stream: 'taps', fields: taps.fields }])
  const schemas = (_: string, fingerprint: string) => writers.find((writer) => fingerprintHex(writer) === fingerprint)
  const clock = { nowMs: () => knownAt + 1 }
  return {
    log,
    online,
    append: (value: Uint8Array, partition = 0) =>
      log.append('taps', partition, [{ key: null, value, timestampMs: knownAt }]),
    work: () =>
      runWorker({
        catalog,
        log,
        schemas,
        online,
        offline,
        settings,
        clock,
        logger: silentLogger,
        sleep: async () => {},
        signal: new AbortController().signal,
        until: 'caught-up',
      }),
    deadLetters: (): Promise<DeadLetter[]> => Array.fromAsync(online.deadLetters()),
    async values(key: string, asOfMs: number) {
      const lookup = new Lookup({
        catalog,
        online,
        offline: async () => Promise.reject(new Error('rows answer')),
        clock,
        shards: settings.shards,
        historyMs: 0,
        rowsMax: 10,
        cacheBytesMax: 0,
        arenaBytesMax: 0,
        sleep: async () => {},
      })
      const { columns } = await lookup.getFeatures({
        features: byCard.features.map(({ name }) => `by_card:${name}`),
        entities: { card: [key] },
        request: {},
        asOfMs,
        knownAsOfMs: knownAt + 1,
      })
      return columns.map((column) => [statusName(column.statuses[0] as number), valueAt(column, 0)])
    },
  }
}

const encode = (event: typeof good): Uint8Array => compileEncoder(schema).encode(event)

describe('definitions', () => {
  const refused = (make: () => unknown): void =>
    expect(make).toThrow(expect.objectContaining({ code: 'FS_DEFINITION_INVALID', kind: 'invalid' }))

  it.each([0, -1, -days(7), 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53])(
    'a window of %d ms is refused',
    (ms) => {
      refused(() => count().over(ms))
      refused(() => count().over(tumbling(ms, { take: 'last' })))
      refused(() => count().over(session(ms)))
      refused(() => count().over(rows(ms)))
      if (ms !== 0) refused(() => count().over(hours(1), { endsBefore: ms }))
    },
  )

  it('a ttl shorter than a window is refused, and one as long is not', () => {
    const over = (ttl: number) => () =>
      buildCatalog([
        taps,
        card,
        view('by_card', { from: taps, entity: card, ttl, features: () => ({ n: count().over(days(7)) }) }),
      ])
    refused(over(days(7) - 1))
    expect(over(days(7))).not.toThrow()
    refused(() => view('by_card', { from: taps, entity: card, ttl: 0, features: () => ({ n: count() }) }))
  })

  it('an exact distinct count without a bound is refused', () => {
    const without = (ttl?: number) => () =>
      buildCatalog([
        taps,
        card,
        view('by_card', {
          from: taps,
          entity: card,
          ...(ttl === undefined ? {} : { ttl }),
          features: ({ amount }) => ({ n: distinctCount(amount) }),
        }),
      ])
    refused(without())
    expect(without(days(30))).not.toThrow()
  })
})

describe('event times', () => {
  const writer = (at: unknown): AvroSchema =>
    ({
      type: 'record',
      name: 'taps',
      fields: [
        ...(at === null ? [] : [{ name: 'at', type: at }]),
        { name: 'card', type: 'string' },
        { name: 'amount', type: 'int' },
      ],
    }) as unknown as AvroSchema
  const written = (schemaOf: AvroSchema, at: unknown): Uint8Array =>
    compileEncoder(schemaOf).encode({
      card: good.card,
      amount: good.amount,
      ...(at === undefined ? {} : { at }),
    } as never)

  it('missing, null or no integer is a dead letter of the stream with its position, and the events around it count', async () => {
    const cases = [
      [writer(null), undefined, 'FS_DEAD_EVENT_TIME'],
      [writer(['null', 'long']), null, 'FS_DEAD_EVENT_TIME'],
      // A writer's type that no timestamp is read from: of this field as of any other.
      [writer('double'), 1.5, 'FS_DEAD_RANGE'],
      [writer('string'), '2026-01-05', 'FS_DEAD_RANGE'],
    ] as const
    const system = await openSystem([schema, ...cases.map(([own]) => own)])
    await system.append(encode(good))
    for (const [own, at] of cases) await system.append(written(own, at))
    await system.append(encode(good))
    await system.work()
    expect(await system.deadLetters()).toMatchObject(
      cases.map(([, , code], index) => ({
        scope: 'stream:taps',
        stream: 'taps',
        partition: 0,
        offset: index + 1,
        knownAt,
        code,
      })),
    )
    expect((await system.values('a', knownAt + 1))[0]).toEqual(['PRESENT', 2n])
  })

  it('of the far future are too early for the view; beyond the calendar they are no event times', async () => {
    const system = await openSystem()
    await system.append(encode({ ...good, at: Date.UTC(9998, 11, 31) }))
    await system.append(encode({ ...good, at: Date.UTC(9999, 0, 1) }), 1)
    await system.append(encode({ ...good, at: knownAt + days(1) }))
    await system.append(encode({ ...good, at: knownAt + days(1) + 1 }))
    await system.work()
    expect(
      (await system.deadLetters()).map(({ scope, partition, offset, code }) => [scope, partition, offset, code]),
    ).toEqual(
      expect.arrayContaining([
        ['view:by_card', 0, 0, 'FS_DEAD_TOO_EARLY'],
        ['view:by_card', 0, 2, 'FS_DEAD_TOO_EARLY'],
        ['stream:taps', 1, 0, 'FS_DEAD_EVENT_TIME'],
      ]),
    )
    expect(await system.deadLetters()).toHaveLength(3)
    expect((await system.values('a', knownAt + days(2)))[0]).toEqual(['PRESENT', 1n])
  })

  it('of zero and before 1970 are times like any other: their values appear', async () => {
    const system = await openSystem()
    for (const [at, amount] of [
      [-1, 3],
      [0, 4],
      [Date.UTC(1900, 0, 1), 7],
    ] as const)
      await system.append(encode({ ...good, at, amount }))
    await system.work()
    expect(await system.deadLetters()).toEqual([])
    expect(await system.values('a', 1)).toEqual([
      ['PRESENT', 3n],
      ['PRESENT', 7n],
      ['PRESENT', 4],
    ])
    expect(await system.values('a', 0)).toEqual([
      ['PRESENT', 2n],
      ['PRESENT', 3n],
      ['PRESENT', 3],
    ])
    expect((await system.values('a', Date.UTC(1900, 0, 1) + 1))[0]).toEqual(['PRESENT', 1n])
  })
})

it('a key over 1,024 bytes is a dead letter of the view with its position; one of 1,024 is a key', async () => {
  const system = await openSystem()
  await system.append(encode({ ...good, card: 'x'.repeat(1_024) }))
  await system.append(encode({ ...good, card: 'x'.repeat(1_025) }))
  // 1,026 bytes in 513 characters.
  await system.append(encode({ ...good, card: 'ü'.repeat(513) }), 1)
  await system.work()
  const letters = await system.deadLetters()
  expect(letters.map(({ partition }) => partition).toSorted()).toEqual([0, 1])
  expect(letters).toEqual(
    expect.arrayContaining([
      expect.objectContaining({ scope: 'view:by_card', partition: 0, offset: 1, knownAt, code: 'FS_DEAD_KEY' }),
      expect.objectContaining({ scope: 'view:by_card', partition: 1, offset: 0, knownAt, code: 'FS_DEAD_KEY' }),
    ]),
  )
  expect((await system.values('x'.repeat(1_024), knownAt + 1))[0]).toEqual(['PRESENT', 1n])
  expect((await system.values('x'.repeat(1_025), knownAt + 1))[0]).toEqual(['ERROR', null])
})

it('a record batch cut or with a bit flipped stops the worker with FS_LOG_CORRUPT, and what is before it stays', async () => {
  for (const damage of [
    (bytes: Uint8Array) => bytes.subarray(0, bytes.length - 1),
    (bytes: Uint8Array) => bytes.subarray(0, 30),
    (bytes: Uint8Array) => Uint8Array.from(bytes, (byte, at) => (at === bytes.length - 3 ? byte ^ 4 : byte)),
    (bytes: Uint8Array) => Uint8Array.from(bytes, (byte, at) => (at === 20 ? byte ^ 128 : byte)),
  ]) {
    const system = await openSystem()
    await system.append(encode(good))
    await system.work()
    await system.append(encode(good))
    const fetch = system.log.fetch.bind(system.log)
    system.log.fetch = async (name, partition, from, bytes) => {
      const chunk = await fetch(name, partition, from, bytes)
      return chunk.bytes.length === 0 ? chunk : { ...chunk, bytes: damage(chunk.bytes) }
    }
    await expect(system.work()).rejects.toMatchObject({
      code: 'FS_LOG_CORRUPT',
      message: expect.stringMatching(/^taps\/0 from offset 1: .*byte \d+/) as unknown,
    })
    expect((await system.values('a', knownAt + 1))[0]).toEqual(['PRESENT', 1n])
    system.log.fetch = fetch
    await system.work()
    expect((await system.values('a', knownAt + 1))[0]).toEqual(['PRESENT', 2n])
  }
})

it('a payload cut or changed inside a good batch is a dead letter with its position', async () => {
  const system = await openSystem()
  const payload = encode(good)
  await system.append(payload.subarray(0, payload.length - 1))
  await system.append(Uint8Array.from(payload, (byte, at) => (at === 4 ? byte ^ 1 : byte)))
  await system.append(payload)
  await system.work()
  expect(await system.deadLetters()).toMatchObject([
    { scope: 'stream:taps', partition: 0, offset: 0, code: 'FS_DEAD_UNDECODABLE' },
    { scope: 'stream:taps', partition: 0, offset: 1, code: 'FS_DEAD_UNDECODABLE' },
  ])
  expect((await system.values('a', knownAt + 1))[0]).toEqual(['PRESENT', 1n])
})

it('of two workers on one shard the earlier is fenced and writes nothing', async () => {
  const system = await openSystem()
  const begun = async (): Promise<OnlineProjection> => {
    const projection = await OnlineProjection.start(catalog, system.online, system.log.logId, settings)
    for (const partition of [0, 1]) projection.begin('taps', partition, 0)
    return projection
  }
  const stale = await begun()
  await system.append(encode(good))
  await system.work()
  const before = await system.online.positions([0, 1, 2, 3])
  await stale.flush()
  expect(stale.lost).toEqual([0, 1, 2, 3].map((shard) => ({ shard, reason: 'fenced' })))
  expect(await system.online.positions([0, 1, 2, 3])).toEqual(before)
  expect((await system.values('a', knownAt + 1))[0]).toEqual(['PRESENT', 1n])
})
