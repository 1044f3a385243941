import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { openMemoryOfflineStore } from '../../../connectors/memory/offline-store.ts'
import { MemoryOnlineStore } from '../../../connectors/memory/online-store.ts'
import { Status, statusName, valueAt, type FeatureColumn } from '../../../core/engine/feature-column.ts'
import { acceptedEvents, naiveValue, type NaiveEvent } from '../../../core/engine/naive.ts'
import type { ErrorCode } from '../../../core/errors.ts'
import { encodeToken, offset, type Position } from '../../../core/event/position.ts'
import type { OnlineStore } from '../../../core/ports/online-store.ts'
import type { RowSplit } from '../../../core/engine/plan.ts'
import type { OfflineStore } from '../../../core/ports/offline-store.ts'
import type { Scalar } from '../../../core/event/types.ts'
import { Lookup } from '../../../serving/lookup/lookup.ts'
import type { LookupRequest } from '../../../serving/lookup/types.ts'
import { OnlineProjection } from '../../../worker/online-projection.ts'
import { batchOf, generatedEvent, logged } from '../../support/history.ts'
import { catalog, events as stream, people, places, smallHistory } from '../../worker/audit/system.ts'

const partitions = [0, 1, 2]
const historyMs = 300
const rowsMax = 20
const features = [places, people].flatMap((view) =>
  view.features.map((feature) => ({ view, feature, name: `${view.name}:${feature.name}` })),
)
const asked: readonly { readonly who: Scalar; readonly region: Scalar }[] = [
  ...['a', 'b', 'ü\0', ''].flatMap((who) => [0, 1].map((region) => ({ who, region }))),
  { who: 'nobody', region: 0 },
  { who: null, region: 0 },
  { who: 'x'.repeat(2_000), region: 1 },
]
const badKeys = 2

/** Both projections over memory stores, fed from a history; the clock moves only while a lookup waits. */
async function openProjections({ shards = 5, split }: { shards?: number; split?: RowSplit | undefined } = {}) {
  let nowMs = 1_000_000
  const nothing = async (): Promise<void> => {}
  const state = { offlineQueries: 0, partReads: 0, whileWaiting: nothing, beforeParts: nothing }
  const store = new MemoryOnlineStore({ bytes: (length) => new Uint8Array(length).fill(7) })
  const online = await OnlineProjection.start(catalog, store, 'log', {
    shards,
    historyMs,
    memoryBytesMax: 3_000,
    ...(split === undefined ? {} : { split }),
  })
  const read: OnlineStore = Object.assign(Object.create(store) as OnlineStore, {
    read: store.read.bind(store),
    positions: store.positions.bind(store),
    readParts: async (...asked: Parameters<OnlineStore['readParts']>) => {
      state.partReads++
      await state.beforeParts()
      return store.readParts(...asked)
    },
  })
  for (const partition of partitions) online.begin('events', partition, 0)
  const memory = openMemoryOfflineStore()
  const offline: OfflineStore = {
    prepare: (tables) => memory.prepare(tables),
    pending: (stream) => memory.pending(stream),
    positions: (stream, count) => memory.positions(stream, count),
    insert: (batch) => memory.insert(batch),
    events: (query) => {
      state.offlineQueries++
      return memory.events(query)
    },
    drop: (stream) => memory.drop(stream),
  }
  await offline.prepare([{ stream: 'events', fields: stream.fields }])
  const lookup = new Lookup({
    catalog,
    online: read,
    offline: async () => {
      return {
        store: offline,
        position: async (): Promise<Position> => ({
          logId: 'log',
          streams: { events: await offline.positions('events', partitions.length) },
        }),
      }
    },
    clock: { nowMs: () => nowMs },
    shards,
    historyMs,
    rowsMax,
    cacheBytesMax: 2_048,
    arenaBytesMax: 16_384,
    sleep: async (ms) => {
      nowMs += ms
      await state.whileWaiting()
    },
  })
  /** Records of each partition in batches of at most `size`, flushed after each. */
  async function feed(
    history: readonly NaiveEvent[],
    size: number,
    to: 'online' | 'offline' | 'both' = 'both',
  ): Promise<void> {
    for (const partition of partitions) {
      const own = history.filter((event) => event.partition === partition)
      for (let from = 0; from < own.length; from += size) {
        const batch = batchOf('events', partition, own.slice(from, from + size))
        if (to !== 'offline') await online.apply(batch)
        if (to !== 'offline') await online.flush()
        if (to !== 'online') await offline.insert(batch)
      }
    }
    if (to !== 'offline' && online.changed) await online.flush()
  }
  return { lookup, feed, state, store, now: () => nowMs, online }
}

const ask = (rows: readonly { readonly who: Scalar; readonly region: Scalar }[]): LookupRequest => ({
  features: features.map(({ name }) => name),
  entities: { who: rows.map(({ who }) => who), region: rows.map(({ region }) => region) },
  request: {},
})

function expected(
  history: readonly NaiveEvent[],
  row: (typeof asked)[number],
  asOf: { readonly asOfMs: number; readonly knownAsOfMs: number },
) {
  return features.map(({ view, feature, name }) => {
    const own = history.filter((event) =>
      view.keyFields.every((field) => event.fields[field] === row[field as 'who' | 'region']),
    )
    const { status, value } = naiveValue(
      view,
      stream.fields,
      feature,
      acceptedEvents(view, own, () => Number.POSITIVE_INFINITY),
      asOf,
    )
    return { name, status: statusName(status), value }
  })
}

const answered = (columns: readonly FeatureColumn[], row: number) =>
  columns.map((column) => ({
    name: column.name,
    status: statusName(column.statuses[row] as number),
    value: valueAt(column, row),
  }))

describe('a lookup over both projections', () => {
  const instant = fc.integer({ min: 999_000, max: 1_012_000 })
  const questions = fc.array(fc.record({ asOfMs: instant, knownAsOfMs: fc.option(instant, { nil: undefined }) }), {
    minLength: 1,
    maxLength: 6,
  })
  const splits = fc.constantFrom(undefined, { splitEvents: 4, partEvents: 2 }, { splitEvents: 12, partEvents: 5 })
  it('answers the plain value at any (T, K), rows and history alike, and one bad key never fails a batch', async () => {
    let offlineQueries = 0
    let partReads = 0
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(
          fc.array(generatedEvent(6_000, 2_000), { maxLength: 60 }),
          fc.array(generatedEvent(6_000, 2_000, true), { maxLength: 60, size: 'max' }),
        ),
        fc.integer({ min: 1, max: 20 }),
        questions,
        splits,
        async (events, size, moments, split) => {
          const history = logged(events)
          const { lookup, feed, state } = await openProjections({ split })
          await feed(history, size)
          for (const { asOfMs, knownAsOfMs } of moments) {
            const reply = await lookup.getFeatures({
              ...ask(asked),
              asOfMs,
              ...(knownAsOfMs === undefined ? {} : { knownAsOfMs }),
            })
            const asOf = { asOfMs, knownAsOfMs: knownAsOfMs ?? asOfMs }
            expect(reply).toMatchObject({ ...asOf, rows: asked.length })
            expect(reply.position.streams['events']?.reduce((sum, { next }) => sum + next, 0)).toBe(history.length)
            for (let row = 0; row < asked.length - badKeys; row++) {
              expect(answered(reply.columns, row)).toEqual(
                expected(history, asked[row] as (typeof asked)[number], asOf),
              )
            }
            for (const column of reply.columns) {
              const errors = column.errors.map(({ row, code }) => `${row} ${code}`).toSorted()
              expect(errors).toEqual(
                [`${asked.length - 1} FS_ENTITY_INVALID`, `${asked.length - 2} FS_ENTITY_INVALID`].toSorted(),
              )
              expect(column.statuses[asked.length - 1]).toBe(Status.ERROR)
            }
          }
          offlineQueries += state.offlineQueries
          partReads += state.partReads
        },
      ),
      { numRuns: 160 },
    )
    expect(offlineQueries).toBeGreaterThan(20)
    expect(partReads).toBeGreaterThan(20)
  }, 50_000)

  it('reads rows again whose parts are replaced meanwhile, and answers at the position that it names', async () => {
    let again = 0
    await fc.assert(
      fc.asyncProperty(
        fc.array(generatedEvent(3_000, 1_500, true), { minLength: 40, maxLength: 120 }),
        fc.integer({ min: 1, max: 6 }),
        fc.integer({ min: 1, max: 4 }),
        fc.integer({ min: 999_500, max: 1_005_000 }),
        async (events, size, flushes, asOfMs) => {
          const history = logged(events)
          const { lookup, feed, state, online } = await openProjections({ split: { splitEvents: 4, partEvents: 2 } })
          const half = new Set(history.slice(0, history.length / 2))
          await feed([...half], 20)
          const rest = history.filter((event) => !half.has(event))
          let interruptions = 0
          // One after the other, and not for ever: a row that changes at every read is an error.
          let turn = Promise.resolve()
          state.beforeParts = () =>
            (turn = turn.then(async () => {
              if (interruptions === 5) return
              interruptions++
              for (let flush = 0; flush < flushes; flush++) await feed(rest.splice(0, size), size)
            }))
          for (let time = 0; time < 2; time++) {
            const reply = await lookup.getFeatures({ ...ask(asked.slice(0, -badKeys)), asOfMs })
            const nexts = (reply.position.streams['events'] ?? []).map(({ next }) => next)
            const seen = history.filter(({ partition, offset: own }) => own < (nexts[partition] ?? 0))
            for (let row = 0; row < asked.length - badKeys; row++)
              expect(answered(reply.columns, row)).toEqual(
                expected(seen, asked[row] as (typeof asked)[number], { asOfMs, knownAsOfMs: asOfMs }),
              )
          }
          if (interruptions > 2) again++
          expect(online.changed).toBe(false)
        },
      ),
      { numRuns: 60 },
    )
    expect(again).toBeGreaterThan(10)
  }, 50_000)

  it('of a row one of whose parts is lost is an error of that row, and of one that is replaced at every read', async () => {
    const { lookup, feed, state, store } = await openProjections({ split: { splitEvents: 4, partEvents: 2 } })
    await feed(smallHistory, 50)
    const { readParts } = store
    store.readParts = async () => [null]
    const question = { ...ask([{ who: 'a', region: 0 }]), asOfMs: 1_002_000 }
    const codesOf = (reply: { readonly columns: readonly FeatureColumn[] }): string[] => [
      ...new Set(reply.columns.flatMap(({ errors }) => errors.map(({ code }) => code))),
    ]
    expect(codesOf(await lookup.getFeatures(question))).toEqual(['FS_ROW_CORRUPT'])
    expect(state.partReads).toBeGreaterThan(1)
    store.readParts = readParts
    expect(codesOf(await lookup.getFeatures(question))).toEqual([])
  })

  it('takes now from the newest event where the service says so, and knows everything then', async () => {
    const { lookup, feed } = await openProjections()
    await feed(smallHistory, 3)
    const newest = Math.max(...smallHistory.map(({ eventTimeMs }) => eventTimeMs))
    const reply = await lookup.getFeatures({
      service: 'risk',
      entities: { who: ['a'], region: [0] },
      request: { limit: [1] },
    })
    expect(reply).toMatchObject({ asOfMs: newest + 1, knownAsOfMs: null, rows: 1 })
    expect(answered(reply.columns, 0).slice(0, features.length)).toEqual(
      expected(smallHistory, { who: 'a', region: 0 }, { asOfMs: newest + 1, knownAsOfMs: Number.POSITIVE_INFINITY }),
    )
  })
})

describe('minPosition', () => {
  const position = (nexts: readonly number[], logId = 'log', name = 'events'): string =>
    encodeToken({ logId, streams: { [name]: nexts.map((next) => ({ epoch: 0, next: offset(next) })) } })
  const all = position(
    partitions.map((partition) => smallHistory.filter((event) => event.partition === partition).length),
  )
  const one: LookupRequest = { ...ask([{ who: 'a', region: 0 }]), asOfMs: 1_002_000 }

  it('waits until as much is applied', async () => {
    const { lookup, feed, state } = await openProjections()
    await feed([], 1)
    let waits = 0
    state.whileWaiting = async () => {
      if (++waits === 3) await feed(smallHistory, 50)
    }
    const reply = await lookup.getFeatures({ ...one, minPosition: all })
    expect(waits).toBe(3)
    expect(reply.token).toBe(all)
    expect(answered(reply.columns, 0)).toEqual(
      expected(smallHistory, { who: 'a', region: 0 }, { asOfMs: 1_002_000, knownAsOfMs: 1_002_000 }),
    )
  })

  it('is that of the rows for what the history answers as well: it is waited for, or the row is an error', async () => {
    // Ten times as long, so that rows have let go of its beginning.
    const long = smallHistory.map((event, index) => {
      const at = 1_000_000 + index * 1_000
      return { ...event, eventTimeMs: at, knownAtMs: at + 10, fields: { ...event.fields, at } }
    })
    const { lookup, feed, state } = await openProjections()
    await feed(long, 50, 'online')
    const past = { asOfMs: 1_002_500, knownAsOfMs: 1_090_000 }
    const behind = await lookup.getFeatures({ ...one, ...past, deadlineMs: 30 })
    expect(behind.token).toBe(all)
    const codes = new Set(behind.columns.flatMap(({ errors }) => errors.map(({ code }) => code)))
    expect([...codes]).toEqual(['FS_POSITION_NOT_REACHED'])
    let waits = 0
    state.whileWaiting = async () => {
      if (++waits === 2) await feed(long, 50, 'offline')
    }
    const reply = await lookup.getFeatures({ ...one, ...past })
    expect(waits).toBe(2)
    expect(reply.token).toBe(all)
    expect(answered(reply.columns, 0)).toEqual(expected(long, { who: 'a', region: 0 }, past))
  })

  it('is refused at the deadline, and a reply without it says how far it is', async () => {
    const { lookup, feed, now } = await openProjections()
    await feed(smallHistory.slice(0, 6), 50)
    const before = now()
    await expect(lookup.getFeatures({ ...one, minPosition: all, deadlineMs: 40 })).rejects.toMatchObject({
      code: 'FS_POSITION_NOT_REACHED',
    })
    expect(now() - before).toBeGreaterThanOrEqual(40)
    expect((await lookup.getFeatures(one)).token).toBe(position([2, 2, 2]))
    expect((await lookup.getFeatures({ ...one, minPosition: position([2, 1]) })).token).toBe(position([2, 2, 2]))
    expect((await lookup.getFeatures({ ...one, minPosition: position([9], 'log', 'others') })).rows).toBe(1)
  })

  it('of another log, or no token at all, is refused at once', async () => {
    const { lookup, feed } = await openProjections()
    await feed(smallHistory, 50)
    const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url')
    const bad = [
      '',
      'x',
      position([1], 'other'),
      encode(5),
      encode({ logId: 'log', streams: { events: 5 } }),
      encode({ logId: 'log', streams: { events: [{ next: 'far' }] } }),
    ]
    for (const minPosition of bad)
      await expect(lookup.getFeatures({ ...one, minPosition })).rejects.toMatchObject({ code: 'FS_REQUEST_INVALID' })
  })
})

describe('a request', () => {
  it('without rows has the same clock as one with rows: the newest event', async () => {
    const { lookup, feed } = await openProjections()
    await feed(smallHistory, 50)
    const one = await lookup.getFeatures({ ...good, entities: { who: ['a'], region: [0] } })
    const none = await lookup.getFeatures({ ...good, entities: { who: [], region: [] }, request: { limit: [] } })
    expect(none.rows).toBe(0)
    expect(none.asOfMs).toBe(one.asOfMs)
    expect(none.asOfMs).toBe(Math.max(...smallHistory.map(({ eventTimeMs }) => eventTimeMs)) + 1)
  })

  const good: LookupRequest = { service: 'risk', entities: { who: ['a'], region: [0] }, request: { limit: [1] } }
  const { service: _, ...unnamed } = good
  const cases: readonly { readonly request: LookupRequest; readonly code: ErrorCode; readonly says: string }[] = [
    { request: unnamed, code: 'FS_REQUEST_INVALID', says: 'either' },
    { request: { ...good, features: ['people:n'] }, code: 'FS_REQUEST_INVALID', says: 'either' },
    { request: { ...good, service: 'risky' }, code: 'FS_SERVICE_UNKNOWN', says: 'risk' },
    { request: { ...unnamed, features: ['people'] }, code: 'FS_REQUEST_INVALID', says: 'view:feature' },
    { request: { ...unnamed, features: ['nobody:n'] }, code: 'FS_VIEW_UNKNOWN', says: 'nobody' },
    { request: { ...unnamed, features: ['people:m'] }, code: 'FS_FEATURE_UNKNOWN', says: 'f_max' },
    { request: { ...unnamed, features: ['people@2:n'] }, code: 'FS_NOT_YET', says: 'version' },
    { request: { ...good, entities: { who: ['a'] } }, code: 'FS_REQUEST_INVALID', says: 'region' },
    {
      request: { ...good, entities: { who: ['a'], region: [0], town: ['x'] } },
      code: 'FS_REQUEST_INVALID',
      says: 'town',
    },
    {
      request: { ...good, entities: { who: ['a', 'b'], region: [0] } },
      code: 'FS_REQUEST_INVALID',
      says: 'differ in length',
    },
    { request: { ...good, request: {} }, code: 'FS_REQUEST_INVALID', says: 'limit' },
    { request: { ...good, request: { limit: [1], more: [1] } }, code: 'FS_REQUEST_INVALID', says: 'more' },
    { request: { ...good, request: { limit: [null] } }, code: 'FS_REQUEST_INVALID', says: 'null' },
    { request: { ...good, request: { limit: ['1'] } }, code: 'FS_REQUEST_INVALID', says: 'int32' },
    { request: { ...good, request: { limit: [2 ** 31] } }, code: 'FS_REQUEST_INVALID', says: 'int32' },
    { request: { ...good, request: { limit: [2n ** 40n] } }, code: 'FS_REQUEST_INVALID', says: 'int32' },
    { request: { ...good, asOfMs: 1.5 }, code: 'FS_TIME_INVALID', says: 'asOfMs' },
    { request: { ...good, asOfMs: Number.NaN }, code: 'FS_TIME_INVALID', says: 'asOfMs' },
    { request: { ...good, asOfMs: 0, knownAsOfMs: 1e17 }, code: 'FS_TIME_INVALID', says: 'knownAsOfMs' },
    {
      request: {
        service: 'risk',
        entities: { who: Array<string>(rowsMax + 1).fill('a'), region: Array<number>(rowsMax + 1).fill(0) },
        request: { limit: Array<number>(rowsMax + 1).fill(0) },
      },
      code: 'FS_LIMIT_EXCEEDED',
      says: String(rowsMax),
    },
  ]
  it.each(cases)('is refused with $code: $says', async ({ request, code, says }) => {
    const { lookup, feed } = await openProjections()
    await feed(smallHistory, 50)
    await expect(lookup.getFeatures(request)).rejects.toMatchObject({
      code,
      message: expect.stringContaining(says) as unknown,
    })
  })

  it('before any flush is FS_NOT_READY, and of no rows is answered', async () => {
    const { lookup, feed } = await openProjections()
    await expect(lookup.getFeatures(good)).rejects.toMatchObject({ code: 'FS_NOT_READY' })
    await feed(smallHistory, 50)
    expect(
      await lookup.getFeatures({ service: 'risk', entities: { who: [], region: [] }, request: { limit: [] } }),
    ).toMatchObject({ rows: 0 })
  })
})
