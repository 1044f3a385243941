/** A whole small system in memory: log, online projection, offline table, lookup. */
import { MemoryLog } from '../../../connectors/memory/log.ts'
import { openMemoryOfflineStore } from '../../../connectors/memory/offline-store.ts'
import { MemoryOnlineStore } from '../../../connectors/memory/online-store.ts'
import { buildCatalog } from '../../../core/definition/catalog.ts'
import { decimal, int32, nullable, string } from '../../../core/definition/fields.ts'
import {
  count,
  days,
  distinctCount,
  first,
  last,
  lastN,
  max,
  mean,
  rows,
  series,
  share,
  session,
  stddev,
  sum,
  tumbling,
} from '../../../core/definition/functions.ts'
import { service } from '../../../core/definition/service.ts'
import { entity, stream } from '../../../core/definition/stream.ts'
import { view } from '../../../core/definition/view.ts'
import type { NaiveEvent } from '../../../core/engine/naive.ts'
import type { EventBatch } from '../../../core/event/batch.ts'
import { offset } from '../../../core/event/position.ts'
import type { Column, Scalar } from '../../../core/event/types.ts'
import type { OnlineStore } from '../../../core/ports/online-store.ts'
import { compileEncoder, streamSchema } from '../../../schemas/avro/index.ts'
import { StreamReader } from '../../../schemas/stream-reader.ts'
import { Lookup } from '../../../serving/lookup/lookup.ts'
import { samplesFromReply, type AuditSample } from '../../../worker/audit/sample.ts'
import { OnlineProjection } from '../../../worker/online-projection.ts'
import { declared } from '../../support/declared.ts'

export const events = stream('events', {
  fields: declared,
  eventTime: 'at',
  key: ['who'],
  partitions: 3,
})
const place = entity('place', { key: { who: string(), region: int32() } })
const person = entity('person', { key: { who: string() } })

export const places = view('places', {
  from: events,
  entity: place,
  ttl: 4_000,
  lateness: 1_500,
  maxAhead: 40,
  features: ({ i, b, f, s, ok, d }) => ({
    d_sum: sum(d).over(2_000),
    d_max: max(d),
    d_last2: lastN(d, 2),
    n: count(),
    n_700: count().over(700),
    i_mean: mean(i).over(4_000),
    i_std: stddev(i),
    b_sum: sum(b),
    f_sum: sum(f).over(2_000),
    s_last3: lastN(s, 3),
    s_distinct: distinctCount(s).over(700),
    n_shifted: count().over(700, { endsBefore: 3_300 }),
    i_std_rows: stddev(i).over(rows(4)),
    i_mean_last: mean(i).over(tumbling(1_500, { take: 'last' })),
    n_session: count().over(session(400)),
    i_mean_ok: mean(i).where(ok).over(2_000),
    n_series: count().over(series(4_000, 1_000)),
    b_sum_series: sum(b).over(series(2_000, 500)),
    f_sum_coarse: sum(f).over(1_500, { resolution: 1_000 }),
  }),
})
export const people = view('people', {
  from: events,
  entity: person,
  features: ({ i, f, s, ok, at }) => ({
    n: count(),
    f_max: max(f).over(1_000),
    ok_share: share(ok),
    i_last: last(i),
    at_first: first(at).over(3_000),
    i_last_shifted: last(i).over(500, { endsBefore: 100 }),
    s_distinct_rows: distinctCount(s).over(rows(3)),
    n_current: count().over(tumbling(1_000, { take: 'current' })),
    i_last_session: last(i).over(session(150)),
    n_ok: count().where(ok).over(1_000),
    i_last_series: last(i).over(series(900, 300)),
    f_max_coarse: max(f).over(500, { endsBefore: 200, resolution: 400 }),
    n_zoned: count().over(tumbling(days(1), { take: 'current', zone: 'Europe/Zurich' })),
  }),
})
const risk = service('risk', {
  features: [places.all(), people.all()],
  request: { limit: int32(), cap: nullable(decimal(4, 2)) },
  derive: ({ places: place, people: person, request }) => ({
    part: place.n.div(person.n),
    above: place.i_mean.gt(request.limit),
    twice: place.b_sum.mul(2),
    d_tenth: place.d_max.div(10),
    d_room: request.cap.gt('0.30'),
  }),
  clock: 'newestEvent',
})

export const catalog = buildCatalog([events, place, person, places, people, risk])
/** Values of one sample: features and derived ones. */
export const valuesPerSample = risk.features.length + risk.derive.length

const historyMs = 300
const schema = streamSchema('events', events.fields)

export interface SystemOptions {
  readonly shards?: number
  /** The projection never sees this event. */
  readonly drop?: Pick<NaiveEvent, 'partition' | 'offset'>
}

export interface Question {
  readonly asOfMs?: number
  readonly knownAsOfMs?: number
}

/** Rows asked: every entity of generated histories, one that is not there, one key as another transport has it, one that is none. */
const asked: readonly { readonly who: Scalar; readonly region: Scalar }[] = [
  ...['a', 'b', 'ü\0', ''].flatMap((who) => [0, 1].map((region) => ({ who, region }))),
  { who: 'nobody', region: 0 },
  { who: 'a', region: 0n },
  { who: null, region: 0 },
]

export async function openSystem({ shards = 4, drop }: SystemOptions = {}) {
  const log = new MemoryLog('log')
  await log.create('events', { partitions: events.partitions })
  const encoder = compileEncoder(schema)
  const newReader = (): StreamReader => new StreamReader({ log, stream: events, schemas: () => schema })
  const reader = newReader()
  await reader.refresh()
  const store = new MemoryOnlineStore({ bytes: (length) => new Uint8Array(length).fill(7) })
  const projection = await OnlineProjection.start(catalog, store, log.logId, {
    shards,
    historyMs,
    memoryBytesMax: 4_000,
  })
  for (let partition = 0; partition < events.partitions; partition++) projection.begin('events', partition, 0)
  const offline = openMemoryOfflineStore()
  await offline.prepare([{ stream: 'events', fields: events.fields }])

  const lookupOver = (online: OnlineStore): Lookup =>
    new Lookup({
      catalog,
      online,
      offline: async () => ({
        store: offline,
        position: async () => ({
          logId: log.logId,
          streams: { events: await offline.positions('events', events.partitions) },
        }),
      }),
      clock: { nowMs: () => 1_005_000 },
      shards,
      historyMs,
      rowsMax: 100,
      cacheBytesMax: 4_096,
      arenaBytesMax: 16_384,
      sleep: () => Promise.resolve(),
    })

  return {
    log,
    store,
    newReader,
    readers: newReader,

    /** Writes to the log, in order of arrival, one append per event run of `size`. */
    async append(history: readonly NaiveEvent[], size: number): Promise<void> {
      for (let partition = 0; partition < events.partitions; partition++) {
        const own = history.filter((event) => event.partition === partition)
        for (let from = 0; from < own.length; from += size) {
          const records = own
            .slice(from, from + size)
            .map(({ fields, knownAtMs }) => ({ key: null, value: encoder.encode(fields), timestampMs: knownAtMs }))
          await log.append('events', partition, records)
        }
      }
    },

    /** Everything in the log goes to the stores, in fetches of about `bytes`. */
    async project(bytes: number): Promise<void> {
      for (let partition = 0; partition < events.partitions; partition++) {
        for (;;) {
          const batch = await reader.read(partition, offset(projection.next('events', partition)), bytes)
          if (batch === null) break
          await projection.apply(drop?.partition === partition ? without(batch, drop.offset) : batch)
          await offline.insert(batch)
        }
      }
      await projection.flush()
    },

    /** Samples of all entities as of one moment. */
    async ask({ asOfMs, knownAsOfMs }: Question, online: OnlineStore = store): Promise<AuditSample[]> {
      const entities = { who: asked.map(({ who }) => who), region: asked.map(({ region }) => region) }
      const request = { limit: asked.map((_, row) => row), cap: asked.map((_, row) => (row === 0 ? null : row / 10)) }
      const reply = await lookupOver(online).getFeatures({
        service: 'risk',
        entities,
        request,
        ...(asOfMs === undefined ? {} : { asOfMs }),
        ...(knownAsOfMs === undefined ? {} : { knownAsOfMs }),
      })
      return samplesFromReply(asOfMs === undefined ? 'online' : 'as-of', 'risk', entities, request, reply)
    },
  }
}

/** The batch as a reader that lost one record would give it: the position moves on all the same. */
function without(batch: EventBatch, dropped: number): EventBatch {
  const keep = [...batch.offsets.keys()].filter((row) => batch.offsets[row] !== dropped)
  const pick = <A extends Column['values']>(values: A): A =>
    (values as Float64Array).filter((_, row) => keep.includes(row)) as unknown as A
  return {
    ...batch,
    count: keep.length,
    offsets: pick(batch.offsets),
    eventTimes: pick(batch.eventTimes),
    knownAts: pick(batch.knownAts),
    columns: Object.fromEntries(
      Object.entries(batch.columns).map(([name, column]) => [
        name,
        {
          ...column,
          values: pick(column.values),
          nulls: column.nulls === null ? null : pick(column.nulls),
        } as Column,
      ]),
    ),
  }
}

/** The store with the rows of one entity as `change` has them. */
export const tampered = (
  store: OnlineStore,
  view: string,
  key: Uint8Array,
  change: (row: Uint8Array) => Uint8Array,
): OnlineStore => {
  const seen = (rowView: string, rowKey: Uint8Array, row: Uint8Array): Uint8Array =>
    rowView === view && Buffer.compare(rowKey, key) === 0 ? change(row) : row
  return {
    acquire: (shards) => store.acquire(shards),
    apply: (flushes) => store.apply(flushes),
    positions: (shards) => store.positions(shards),
    readParts: (name, shard, rowKey, names) => store.readParts(name, shard, rowKey, names),
    deadLetters: () => store.deadLetters(),
    async read(name, shards, keys) {
      const read = await store.read(name, shards, keys)
      return {
        ...read,
        rows: read.rows.map((row, index) => (row === null ? null : seen(name, keys[index] as Uint8Array, row))),
      }
    },
    async *scan(name) {
      for await (const { shard, key: rowKey, row } of store.scan(name))
        yield { shard, key: rowKey, row: seen(name, rowKey, row) }
    },
  }
}

export function flipped(row: Uint8Array, bit: number): Uint8Array {
  const changed = Uint8Array.from(row)
  changed[bit >> 3] = (changed[bit >> 3] as number) ^ (1 << (bit & 7))
  return changed
}

/** A history written by hand: ten events of ('a', 0), and a few of others. */
export const smallHistory: readonly NaiveEvent[] = Array.from({ length: 14 }, (_, index) => {
  const own = index < 10
  return {
    partition: index % 3,
    offset: Math.floor(index / 3),
    eventTimeMs: 1_000_000 + index * 100,
    knownAtMs: 1_000_010 + index * 100,
    fields: {
      at: 1_000_000 + index * 100,
      who: own ? 'a' : 'b',
      region: own ? 0 : index % 2,
      i: index === 4 ? null : index * 3 - 7,
      b: BigInt(index) * 1_000_000_007n,
      f: index / 3,
      s: ['x', 'y', 'zürich'][index % 3] as string,
      ok: index % 2 === 0,
    },
  }
})
