import fc from 'fast-check'
import { expect, it } from 'vitest'
import { MemoryOnlineStore } from '../../connectors/memory/online-store.ts'
import { buildCatalog, type Catalog } from '../../core/definition/catalog.ts'
import { int32, string } from '../../core/definition/fields.ts'
import { count, lastN, sum } from '../../core/definition/functions.ts'
import { entity, stream } from '../../core/definition/stream.ts'
import { view } from '../../core/definition/view.ts'
import type { NaiveEvent } from '../../core/engine/naive.ts'
import type { DeadLetter, EventBatch } from '../../core/event/batch.ts'
import { Op } from '../../core/event/operation.ts'
import { offset } from '../../core/event/position.ts'
import type { OnlineStore } from '../../core/ports/online-store.ts'
import { OnlineProjection } from '../../worker/online-projection.ts'
import { isUnavailable } from '../../worker/outage.ts'
import { stateDigest } from '../../worker/audit/digest.ts'
import {
  batchOf,
  correctedFields,
  fields as plainFields,
  generatedCorrections,
  generatedEvent,
  logged,
} from '../support/history.ts'
import { FaultyStore } from './faulty-store.ts'
import { declared, declaredCorrected } from '../support/declared.ts'

const shards = 6
const partitions = 3
const workers = 3
const runs = Math.ceil(Number(process.env['TIDEMARK_PROPERTY_RUNS'] ?? 150) / 3)

const shared = { eventTime: 'at', partitions } as const
const plain = stream('events', { fields: declared, ...shared })
const streams = {
  plain,
  id: stream('events', {
    fields: declaredCorrected,
    ...shared,
    id: 'id',
    dedupeSpan: 1_000_000,
  }) as unknown as typeof plain,
  // Its rows stay with their entities.
  changelog: stream('events', {
    fields: declaredCorrected,
    ...shared,
    changelog: true,
    primaryKey: ['id', 'who', 'region'],
  }) as unknown as typeof plain,
}
type Kind = keyof typeof streams
const kinds: readonly Kind[] = ['plain', 'id', 'changelog']

function catalogOf(kind: Kind): Catalog {
  const events = streams[kind]
  const place = entity('place', { key: { who: string(), region: int32() } })
  const person = entity('person', { key: { who: string() } })
  const places = view('places', {
    from: events,
    entity: place,
    lateness: 600,
    maxAhead: 40,
    ttl: 4_000,
    features: ({ i, f, s }) => ({ n: count(), i: sum(i).over(700), f: sum(f).over(2_000), s: lastN(s, 3) }),
  })
  const people = view('people', { from: events, entity: person, features: ({ i }) => ({ n: count(), i: sum(i) }) })
  return buildCatalog([events, place, person, places, people])
}
const catalogs = { plain: catalogOf('plain'), id: catalogOf('id'), changelog: catalogOf('changelog') }

const histories: Readonly<Record<Kind, fc.Arbitrary<NaiveEvent[]>>> = {
  plain: fc.array(generatedEvent(3_000, 900), { minLength: 40, maxLength: 90, size: 'max' }).map(logged),
  id: generatedCorrections({ kind: 'id', records: [40, 90] }),
  changelog: generatedCorrections({ kind: 'changelog', records: [40, 90] }).map((history) =>
    // A delete names the whole primary key.
    history.map((event) => ({
      ...event,
      fields: { ...event.fields, who: event.fields['who'] ?? 'a', region: event.fields['region'] ?? 0 },
    })),
  ),
}

/** A log in memory: some of its records do not decode. */
class Records {
  readonly #history: readonly NaiveEvent[]
  readonly #kind: Kind
  readonly ends: readonly number[]

  constructor(kind: Kind, history: readonly NaiveEvent[]) {
    this.#history = history
    this.#kind = kind
    this.ends = Array.from(
      { length: partitions },
      (_, own) => history.filter(({ partition }) => partition === own).length,
    )
  }

  isDead({ partition, offset }: NaiveEvent): boolean {
    return (offset * 5 + partition) % 13 === 0
  }

  get alive(): readonly NaiveEvent[] {
    return this.#history.filter((event) => !this.isDead(event))
  }

  batch(partition: number, from: number, to: number): EventBatch {
    const own = this.#history.filter(
      (event) => event.partition === partition && event.offset >= from && event.offset < to,
    )
    const events = own.filter((event) => !this.isDead(event))
    return {
      ...batchOf('events', partition, events, this.#kind === 'plain' ? plainFields : correctedFields),
      firstOffset: offset(from),
      nextOffset: offset(to),
      ops: this.#kind === 'plain' ? null : Uint8Array.from(events, ({ op }) => op ?? Op.insert),
      dead: own
        .filter((event) => this.isDead(event))
        .map((event) => ({
          offset: offset(event.offset),
          knownAt: event.knownAtMs,
          code: 'FS_DEAD_UNDECODABLE' as const,
          reason: 'generated',
          payload: new Uint8Array(),
        })),
    }
  }
}

const settings = { shards, historyMs: 300, split: { splitEvents: 8, partEvents: 4 } }

/** One worker that reads everything once: what all others must come to. */
async function reference(catalog: Catalog, records: Records, ends: readonly number[]): Promise<MemoryOnlineStore> {
  const store = new MemoryOnlineStore({ bytes: (length) => new Uint8Array(length).fill(9) })
  const projection = await OnlineProjection.start(catalog, store, 'log', { ...settings, memoryBytesMax: 1 << 24 })
  for (let partition = 0; partition < partitions; partition++) projection.begin('events', partition, 0)
  for (let partition = partitions - 1; partition >= 0; partition--)
    if ((ends[partition] as number) > 0) await projection.apply(records.batch(partition, 0, ends[partition] as number))
  await projection.flush()
  return store
}

const lettersOf = async (store: Pick<OnlineStore, 'deadLetters'>): Promise<string[]> =>
  (await Array.fromAsync(store.deadLetters()))
    .map((letter: DeadLetter) => JSON.stringify([letter.scope, letter.partition, letter.offset, letter.code]))
    .sort()

const steps = [
  'read',
  'read',
  'read',
  'flush',
  'flush',
  'flushSome',
  'move',
  'move',
  'moveUntold',
  'leave',
  'retake',
  'rollBack',
  'again',
  'failApply',
  'tearApply',
  'lateApply',
  'failRead',
  'staleRead',
  'staleParts',
  'failAcquire',
  'evict',
  'restart',
  'check',
] as const
type Step = (typeof steps)[number]
interface Command {
  readonly step: Step
  readonly worker: number
  readonly a: number
  readonly b: number
}
const commands: fc.Arbitrary<Command[]> = fc.array(
  fc.record({
    step: fc.constantFrom(...steps),
    worker: fc.nat({ max: workers - 1 }),
    a: fc.nat({ max: 255 }),
    b: fc.nat({ max: 255 }),
  }),
  { minLength: 40, maxLength: 120, size: 'max' },
)

/** Workers that share the shards of one store, as told by commands. */
class Owners {
  readonly store = new FaultyStore(shards)
  readonly #catalog: Catalog
  readonly #records: Records
  readonly #memoryBytesMax: number
  readonly #workers: OnlineProjection[]
  /** What each believes to be its own. */
  readonly #ours: Set<number>[]
  readonly #flushing: Promise<unknown>[]
  readonly seen = new Set<string>()

  constructor(kind: Kind, records: Records, memoryBytesMax: number) {
    this.#catalog = catalogs[kind]
    this.#records = records
    // Beyond what it takes with nothing in it.
    this.#memoryBytesMax =
      memoryBytesMax +
      new OnlineProjection(this.#catalog, this.store, 'log', { ...settings, memoryBytesMax }).memoryBytes
    this.#workers = Array.from({ length: workers }, () => this.#fresh())
    this.#ours = Array.from({ length: workers }, () => new Set<number>())
    this.#flushing = Array.from({ length: workers }, () => Promise.resolve())
  }

  #fresh(): OnlineProjection {
    const { store } = this
    const projection = new OnlineProjection(this.#catalog, store, 'log', {
      ...settings,
      memoryBytesMax: this.#memoryBytesMax,
    })
    for (let partition = 0; partition < partitions; partition++) projection.begin('events', partition, 0)
    return projection
  }

  /** False: the store did not answer. */
  async #try(call: () => Promise<unknown>): Promise<boolean> {
    try {
      await call()
      return true
    } catch (error) {
      if (!isUnavailable(error)) throw error
      this.seen.add('unavailable')
      return false
    }
  }

  /** Each has its share. */
  async begin(): Promise<void> {
    for (let shard = 0; shard < shards; shard++) await this.#move(shard, shard % workers, true)
  }

  async run(command: Command): Promise<void> {
    await this.#run(command)
    for (const { lost } of this.#workers) for (const { reason } of lost) this.seen.add(reason)
  }

  async #run({ step, worker, a, b }: Command): Promise<void> {
    const projection = this.#workers[worker] as OnlineProjection
    const { store } = this
    switch (step) {
      case 'read':
        return void (await this.#read(projection, a % partitions, a, 1 + (b % 20)))
      case 'flush':
        // Awaited by the next one, as the worker does: events are applied while it is on its way.
        await this.#flushing[worker]
        this.#flushing[worker] = this.#try(() => projection.flush())
        return
      case 'flushSome':
        await this.#flushing[worker]
        return void (await this.#try(() =>
          projection.flush(new Set(projection.held.filter((shard) => (a >> (shard % 8)) & 1))),
        ))
      case 'move':
        return this.#move(a % shards, worker, true)
      case 'moveUntold':
        return this.#move(a % shards, worker, false)
      case 'leave':
        await this.#flushing[worker]
        await this.#giveUp(
          worker,
          projection.held.filter((shard) => (a >> shard) & 1),
        )
        return
      case 'retake':
        return void (await this.#retake(worker))
      case 'rollBack':
        return store.cells[a % shards]?.rollBack(b % 4 === 0 ? 1 + (b % 3) : 1)
      case 'again': {
        const flush = store.sent[b % Math.max(1, store.sent.length)]
        if (flush !== undefined) await store.cells[flush.lease.shard]?.apply(flush)
        return
      }
      case 'failApply':
        store.faults.apply = a % 2 === 0 ? 'before' : 'after'
        return
      case 'tearApply':
        store.faults.apply = a
        return
      case 'lateApply':
        store.faults.late = true
        return
      case 'failRead':
        store.faults.read = 'unavailable'
        return
      case 'staleRead':
        store.faults.read = 1 + (a % 4)
        return
      case 'staleParts':
        store.faults.parts = 1 + (a % 4)
        return
      case 'failAcquire':
        store.faults.acquire = a % 2 === 0 ? 'before' : 'after'
        return
      case 'evict':
        // More than memory is meant for: what is clean goes before the next batch.
        return void (await this.#read(projection, a % partitions, 1, 1))
      case 'restart':
        await this.#flushing[worker]
        this.#workers[worker] = this.#fresh()
        return void (await this.#retake(worker))
      case 'check':
        return this.checkShard(a % shards)
    }
  }

  /** True: something was read. */
  async #read(projection: OnlineProjection, partition: number, which: number, length: number): Promise<boolean> {
    const reads = projection.reads('events', partition)
    if (reads.length > 1) this.seen.add('behind')
    const from = reads[which % Math.max(1, reads.length)]
    const end = this.#records.ends[partition] as number
    if (from === undefined || from >= end) return false
    const batch = this.#records.batch(partition, from, Math.min(end, from + length))
    await this.#try(() => projection.apply(batch))
    return true
  }

  async #giveUp(worker: number, given: readonly number[]): Promise<void> {
    const projection = this.#workers[worker] as OnlineProjection
    for (const shard of given) this.#ours[worker]?.delete(shard)
    if (!(await this.#try(() => projection.release(given)))) projection.drop(given)
  }

  async #move(shard: number, to: number, told: boolean): Promise<void> {
    for (let worker = 0; worker < workers; worker++) {
      if (worker === to || this.#ours[worker]?.has(shard) !== true) continue
      if (!told) continue
      await this.#flushing[worker]
      await this.#giveUp(worker, [shard])
    }
    this.#ours[to]?.add(shard)
    await this.#try(() => (this.#workers[to] as OnlineProjection).assign([shard]))
  }

  async #retake(worker: number): Promise<void> {
    const projection = this.#workers[worker] as OnlineProjection
    await this.#try(() => projection.assign([...(this.#ours[worker] as Set<number>)]))
  }

  /** A shard's rows are those of its position, whatever it went through. */
  async checkShard(shard: number): Promise<void> {
    const position = (await this.store.positions([shard]))[0] ?? null
    const ends = Array.from({ length: partitions }, (_, at) => position?.position.streams['events']?.[at]?.next ?? 0)
    const wanted = await reference(this.#catalog, this.#records, ends)
    const { plans } = new OnlineProjection(this.#catalog, wanted, 'log', { ...settings, memoryBytesMax: 1 })
    const only = (store: OnlineStore): Pick<OnlineStore, 'scan' | 'read' | 'readParts'> => ({
      async *scan(name) {
        for await (const row of store.scan(name)) if (row.shard === shard) yield row
      },
      read: (...args) => store.read(...args),
      readParts: (...args) => store.readParts(...args),
    })
    const { faults } = this.store
    this.store.faults = { ...faults, read: 'none', parts: 'none' }
    const digest = await stateDigest(only(this.store), plans)
    this.store.faults = faults
    expect(digest).toBe(await stateDigest(only(wanted), plans))
    if (position === null) return
    expect(position.newestEventTimeMs).toEqual((await wanted.positions([shard]))[0]?.newestEventTimeMs)
  }

  /** All is well again, everybody is told what is whose, and what is left is read. */
  async finish(): Promise<void> {
    await Promise.all(this.#flushing)
    this.store.faults = { apply: 'none', late: false, acquire: 'none', read: 'none', parts: 'none' }
    for (const [worker, ours] of this.#ours.entries()) {
      await this.#giveUp(
        worker,
        [...ours].filter((shard) => shard % workers !== worker),
      )
      for (let shard = worker; shard < shards; shard += workers) ours.add(shard)
    }
    let isDone = false
    for (let round = 0; round < 200 && !isDone; round++) {
      isDone = true
      for (const [worker, projection] of this.#workers.entries()) {
        await this.#retake(worker)
        for (let partition = 0; partition < partitions; partition++)
          for (const which of [0, 1]) if (await this.#read(projection, partition, which, 7)) isDone = false
        if (projection.changed) isDone = false
        await projection.flush()
        if (projection.held.length < shards / workers) isDone = false
      }
    }
    expect(isDone).toBe(true)
  }

  async checkAll(): Promise<void> {
    const wanted = await reference(this.#catalog, this.#records, this.#records.ends)
    const all = Array.from({ length: shards }, (_, shard) => shard)
    expect(await this.store.positions(all)).toEqual(await wanted.positions(all))
    const { plans } = this.#workers[0] as OnlineProjection
    expect(await stateDigest(this.store, plans)).toBe(await stateDigest(wanted, plans))
    expect(await lettersOf(this.store)).toEqual(await lettersOf(wanted))
    // Nor is one sent again by whoever goes on behind it.
    for (const { from, deadLetters } of this.store.sent)
      for (const { scope, partition, offset } of deadLetters)
        if (scope === 'stream:events')
          expect(offset).toBeGreaterThanOrEqual(from?.position.streams['events']?.[partition]?.next ?? 0)
  }
}

it.each(kinds)(
  'shards that come and go hold what one owner would have written: %s',
  { timeout: 300_000 },
  async (kind) => {
    const seen = new Set<string>()
    const outcomes = new Set<string>()
    await fc.assert(
      fc.asyncProperty(
        histories[kind],
        commands,
        fc.constantFrom(0, 700, 3_000, 1 << 20),
        async (history, script, memory) => {
          const owners = new Owners(kind, new Records(kind, history), memory)
          await owners.begin()
          for (const command of script) await owners.run(command)
          await owners.finish()
          await owners.checkAll()
          for (const what of owners.seen) seen.add(what)
          for (const what of owners.store.outcomes) outcomes.add(what)
        },
      ),
      { numRuns: runs, endOnFailure: true },
    )
    // The scripts meet what they are about.
    if (runs < 40) return
    expect([...seen].sort()).toEqual(['behind', 'fenced', 'gap', 'stale', 'unavailable'])
    expect([...outcomes].sort()).toEqual(['already-applied', 'applied', 'fenced', 'gap'])
  },
)
