/**
 * Producers whose clocks jump: what the worker serves, the offline table answers, the feature history holds and a scan gives
 * is what the plain twin makes of the times that the records bear.
 */
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { openMemoryFeatureHistoryStore } from '../../connectors/memory/feature-history-store.ts'
import { openMemoryOfflineStore } from '../../connectors/memory/offline-store.ts'
import { MemoryOnlineStore } from '../../connectors/memory/online-store.ts'
import { knownAtsOf } from '../../core/asof/known-at.ts'
import { buildCatalog } from '../../core/definition/catalog.ts'
import { tableOf } from '../../core/definition/corrections.ts'
import { int32, string, timestamp } from '../../core/definition/fields.ts'
import { count, last, max } from '../../core/definition/functions.ts'
import { every } from '../../core/definition/history.ts'
import { service } from '../../core/definition/service.ts'
import { entity, stream } from '../../core/definition/stream.ts'
import { view } from '../../core/definition/view.ts'
import { statusName, type FeatureValue, type StatusCode } from '../../core/engine/feature-column.ts'
import { acceptedEvents, naiveValue, type NaiveEvent } from '../../core/engine/naive.ts'
import type { DeadRecord } from '../../core/event/batch.ts'
import { offset } from '../../core/event/position.ts'
import { lawfulTraits, type EventLog } from '../../core/ports/event-log.ts'
import { compileEncoder, streamSchema } from '../../schemas/avro/index.ts'
import { encodeBatch } from '../../schemas/recordbatch/index.ts'
import { StreamReader } from '../../schemas/stream-reader.ts'
import { Lookup } from '../../serving/lookup/lookup.ts'
import { samplesFromReply } from '../../worker/audit/sample.ts'
import { FeatureProjection, prepareFeatures } from '../../worker/feature-projection.ts'
import { OfflineProjection } from '../../worker/offline-projection.ts'
import { OnlineProjection } from '../../worker/online-projection.ts'

const partitions = 2
const shards = 3
const maxKnownAtJump = 60
const taps = stream('taps', {
  fields: { at: timestamp(), who: string(), amount: int32() },
  eventTime: 'at',
  partitions,
  knownAt: 'createTime',
  maxKnownAtJump,
})
const person = entity('person', { key: { who: string() } })
const people = view('people', {
  from: taps,
  entity: person,
  lateness: 90,
  maxAhead: 5_000,
  history: every(20),
  features: ({ amount }) => ({ n: count(), n_50: count().over(50), most: max(amount).over(100), last: last(amount) }),
})
const risk = service('risk', { features: [people.all()], clock: 'newestEvent' })
const catalog = buildCatalog([taps, person, people, risk])
const schema = streamSchema('taps', taps.fields)
const encoder = compileEncoder(schema)

interface Written {
  readonly borneMs: number
  readonly atMs: number
  readonly who: string
  readonly amount: number
  readonly isDead: boolean
}

const names = ['a', 'b']
/** Clocks that go on, go back a little, and are wrong by hours at times. */
const written = fc
  .array(
    fc.record({
      step: fc.oneof(
        { weight: 8, arbitrary: fc.integer({ min: -20, max: 30 }) },
        { weight: 1, arbitrary: fc.constantFrom(61, 60, 100, 5_000, -5_000) },
      ),
      strayMs: fc.oneof(
        { weight: 9, arbitrary: fc.constant(0) },
        { weight: 1, arbitrary: fc.constantFrom(200, 4_000) },
      ),
      delayMs: fc.integer({ min: -10, max: 100 }),
      who: fc.constantFrom(...names),
      amount: fc.integer({ min: -5, max: 5 }),
      isDead: fc.boolean(),
      cut: fc.boolean(),
    }),
    { minLength: 1, maxLength: 24 },
  )
  .map((records) => {
    let clockMs = 1_000
    const batches: Written[][] = [[]]
    for (const { step, strayMs, delayMs, isDead, cut, ...rest } of records) {
      clockMs += step
      const borneMs = clockMs + strayMs
      batches.at(-1)?.push({ ...rest, borneMs, atMs: clockMs - delayMs, isDead: isDead && rest.amount === 5 })
      if (cut) batches.push([])
    }
    return batches.filter((batch) => batch.length > 0)
  })

function logOf(all: readonly (readonly (readonly Written[])[])[]): EventLog {
  const stored = all.map((batches) => {
    let next = 0
    return batches.map((records) => {
      const values = records.map(({ atMs, who, amount, isDead, borneMs }) => ({
        key: null,
        value: isDead ? Uint8Array.of(9) : encoder.encode({ at: atMs, who, amount }),
        timestampMs: borneMs,
      }))
      const from = next
      next += records.length
      return { from, next, bytes: encodeBatch(values, { baseOffset: from }) }
    })
  })
  const never = () => Promise.reject(new Error('not here'))
  return {
    logId: 'log',
    traits: { ...lawfulTraits, timestamps: 'given' },
    create: never,
    append: never,
    nextSequence: never,
    describe: async () =>
      stored.map((batches) => ({
        epochs: [{ epoch: 0, firstOffset: offset(0) }],
        start: offset(0),
        end: offset(batches.at(-1)?.next ?? 0),
      })),
    fetch: async (_stream, partition, from) => {
      const found = stored[partition]?.find((batch) => from < batch.next)
      return found === undefined
        ? { bytes: new Uint8Array(0), baseOffset: from, nextOffset: from }
        : { bytes: found.bytes.slice(), baseOffset: offset(found.from), nextOffset: offset(found.next) }
    },
  }
}

/** What the definition says, by hand. */
function plainOf(all: readonly (readonly (readonly Written[])[])[]) {
  const events: NaiveEvent[] = []
  const dead: [number, number, string, number][] = []
  all.forEach((batches, partition) => {
    const records = batches.flat()
    const known = knownAtsOf(
      records.map(({ borneMs }) => borneMs),
      maxKnownAtJump,
    )
    records.forEach(({ atMs, who, amount, isDead }, at) => {
      const { knownAtMs, isRefused } = known[at] as (typeof known)[number]
      if (isDead) dead.push([partition, at, 'FS_DEAD_UNDECODABLE', knownAtMs])
      else if (isRefused) dead.push([partition, at, 'FS_DEAD_KNOWN_AT', knownAtMs])
      else events.push({ partition, offset: at, eventTimeMs: atMs, knownAtMs, fields: { at: atMs, who, amount } })
    })
  })
  return { events, dead }
}

function expected(
  events: readonly NaiveEvent[],
  who: string,
  asOfMs: number,
  knownAsOfMs: number,
): (readonly [string, StatusCode, FeatureValue])[] {
  const own = acceptedEvents(
    people,
    events.filter(({ fields }) => fields['who'] === who),
    () => Number.POSITIVE_INFINITY,
  )
  return people.features.map((feature) => {
    const { status, value } = naiveValue(people, taps.fields, feature, own, { asOfMs, knownAsOfMs })
    return [`people:${feature.name}`, status, value] as const
  })
}

/** Applies, flushes and is killed: each life goes on from what the store holds, with a reader of its own. */
async function project(log: EventLog, store: MemoryOnlineStore, lives: number): Promise<void> {
  for (let life = 0; life <= lives; life++) {
    const reader = new StreamReader({ log, stream: taps, schemas: () => schema, reuse: true })
    const settings = { shards, historyMs: 30, memoryBytesMax: 1 << 20 }
    const projection = await OnlineProjection.start(catalog, store, log.logId, settings)
    await reader.refresh()
    if (life % 2 === 1)
      for (const { partition, next, knownAtMs } of projection.knownMarks('taps'))
        reader.learnKnownAt(partition, next, knownAtMs)
    let batches = 0
    for (let partition = 0; partition < partitions; partition++) {
      projection.begin('taps', partition, 0)
      while (life === lives || batches++ < 3) {
        const batch = await reader.read(partition, offset(projection.next('taps', partition)), 1)
        if (batch === null) break
        await projection.apply(batch)
      }
    }
    await projection.flush()
  }
}

const runs = Number(process.env['TIDEMARK_PROPERTY_RUNS'] ?? 150)

it('a jump is a dead letter, and everything that reads the log takes the rest as the plain twin does', async () => {
  let refused = 0
  await fc.assert(
    fc.asyncProperty(
      fc.array(written, { minLength: partitions, maxLength: partitions }),
      fc.nat(3),
      fc.array(fc.record({ t: fc.nat(), k: fc.integer({ min: -80, max: 400 }) }), { minLength: 4, maxLength: 4 }),
      async (all, lives, moments) => {
        const log = logOf(all)
        const { events, dead } = plainOf(all)
        refused += dead.filter(([, , code]) => code === 'FS_DEAD_KNOWN_AT').length
        const newReader = (): StreamReader => new StreamReader({ log, stream: taps, schemas: () => schema })

        // What audit, training sets and labels are made of.
        const scanned: [number, number, number][] = []
        const scannedDead: (readonly [number, DeadRecord])[] = []
        const ends = await newReader().ends()
        for await (const batch of newReader().scan(ends)) {
          for (let row = 0; row < batch.count; row++)
            scanned.push([batch.partition, batch.offsets[row] as number, batch.knownAts[row] as number])
          scannedDead.push(...batch.dead.map((record) => [batch.partition, record] as const))
        }
        expect(scanned).toEqual(events.map((event) => [event.partition, event.offset, event.knownAtMs]))
        expect(scannedDead.map(([at, record]) => [at, record.offset, record.code, record.knownAt])).toEqual(dead)

        const online = new MemoryOnlineStore({ bytes: (length) => new Uint8Array(length).fill(3) })
        await project(log, online, lives)
        const letters: unknown[] = []
        for await (const letter of online.deadLetters())
          if (letter.scope === 'stream:taps')
            letters.push([letter.partition, letter.offset, letter.code, letter.knownAt])
        expect(letters.sort()).toEqual([...dead].sort())

        const offline = openMemoryOfflineStore()
        const table = await OfflineProjection.start(offline, newReader(), 1, 1 << 26)
        for (let partition = 0; partition < partitions; partition++) while ((await table.step(partition)) > 0);
        expect(tableOf(taps).reading).toBe(JSON.stringify({ maxKnownAtJumpMs: maxKnownAtJump }))

        const lookup = new Lookup({
          catalog,
          online,
          offline: async () => ({
            store: offline,
            position: async () => ({ logId: 'log', streams: { taps: await offline.positions('taps', partitions) } }),
          }),
          clock: { nowMs: () => 1_000_000 },
          shards,
          historyMs: 30,
          rowsMax: 10,
          cacheBytesMax: 4_096,
          arenaBytesMax: 16_384,
          sleep: () => Promise.resolve(),
        })
        const times = events.map(({ eventTimeMs }) => eventTimeMs)
        for (const { t, k } of times.length === 0 ? [] : moments) {
          const asOfMs = (times[t % times.length] as number) + 1
          const question = { asOfMs, knownAsOfMs: asOfMs + k }
          const entities = { who: names }
          const reply = await lookup.getFeatures({ service: 'risk', entities, request: {}, ...question })
          const samples = samplesFromReply('as-of', 'risk', entities, {}, reply)
          samples.forEach(({ values }, index) =>
            expect(values.map(({ name, status, value }) => [name, status, value])).toEqual(
              expected(events, names[index] as string, asOfMs, asOfMs + k),
            ),
          )
        }

        const history = openMemoryFeatureHistoryStore()
        const [plan] = await prepareFeatures(catalog, history)
        if (plan === undefined) throw new Error('no history')
        const feature = await FeatureProjection.start(plan, history, newReader(), new AbortController().signal)
        while ((await feature.step()) > 0);
        if (feature.changed) await feature.flush(async () => {})
        for (const { key, asOf, knownAt, values, statuses } of history.rows('people'))
          expect(values.map((value, index) => [statuses[index], value])).toEqual(
            expected(events, String(key[0]), asOf, knownAt).map(([, status, value]) => [statusName(status), value]),
          )
      },
    ),
    { numRuns: runs, endOnFailure: true },
  )
  expect(refused).toBeGreaterThan(runs / 3)
}, 120_000)
