/** engine/ingest and its kin: the same events in other orders and other spreads over keys, to a store, and replayed. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemRandom } from '../../cli/environment.ts'
import { openOnlineStore } from '../../connectors/lmdb/online-store.ts'
import { MemoryOnlineStore } from '../../connectors/memory/online-store.ts'
import type { FeatureColumn } from '../../core/engine/feature-column.ts'
import { silentLogger } from '../../core/ports/environment.ts'
import type { OnlineStore } from '../../core/ports/online-store.ts'
import { collect, ensure, interleaved, rate, timed, type BenchOptions, type Cost, type Reading } from '../harness.ts'
import { BareIngest } from '../limits/engine.ts'
import { cardText, mainCatalog, spanMs, viewName } from './cards.ts'
import { endMs, firstOf, makeDataset, type Dataset, type DatasetOptions } from './dataset.ts'
import { ensureExpected, expectedOf, sampledCards, type Expected } from './expected.ts'
import { PacedFlushes, startProjecting } from './projection.ts'
import { finishRow, rowKeyOf, Subject, wholeRow } from './subject.ts'

const bench = 'engine/ingest'
const replayBench = 'engine/replay'

export interface IngestSizes {
  readonly events: number
  readonly keys: number
  readonly manyKeys: number
  /** engine/ingest-store takes the first so many events. */
  readonly storeEvents: number
}

/** A data set and what some of its values have to be. */
interface Prepared {
  readonly bench: string
  readonly dataset: Dataset
  readonly expected: readonly Expected[]
}

function prepare(name: string, options: Omit<DatasetOptions, 'name'>): Prepared {
  const dataset = makeDataset({ name, ...options })
  return { bench: name, dataset, expected: expectedOf(mainCatalog, dataset, sampledCards(dataset)) }
}

export async function benchIngest(options: BenchOptions, sizes: IngestSizes): Promise<void> {
  const { events, keys } = sizes
  const calm = prepare(bench, { events, entities: keys })
  const { body, payload, inBatch } = calm.dataset.bytes
  options.note(
    `engine: ${events} events of ${body} bytes, ${payload} with the single-object header, ${inBatch.toFixed(1)} in their batch; ` +
      `${calm.dataset.entities} of ${keys} keys`,
  )
  const kinds: Readonly<Record<string, Omit<DatasetOptions, 'name'>>> = {
    '1m-keys': { events, entities: sizes.manyKeys },
    zipf: { events, entities: keys, draw: { zipf: 1.1 } },
    disorder5: { events, entities: keys, setBack: 0.05 },
    disorder30: { events, entities: keys, setBack: 0.3 },
  }
  const others = Object.entries(kinds).flatMap(([kind, of]) =>
    options.wants(`${bench}-${kind}`) ? [prepare(`${bench}-${kind}`, of)] : [],
  )
  const withStore = options.wants(`${bench}-store`)
  const withReplay = options.wants(replayBench)
  const first = firstOf(calm.dataset, sizes.storeEvents)
  const head: Prepared = {
    bench: `${bench}-store`,
    dataset: first,
    expected: expectedOf(mainCatalog, first, sampledCards(first)),
  }
  const bare = new BareIngest(keys, 8 + (1.6 * events) / keys + 8 * Math.sqrt(events / keys))
  warmUp(calm.dataset, bare)

  let calmReading: Reading | null = null
  let calmSubject: Subject | null = null
  let round = 0
  const names = [
    ...others.map((other) => other.bench),
    ...(withStore ? [head.bench] : []),
    ...(withReplay ? [replayBench] : []),
  ]
  await interleaved(
    options,
    async () => {
      const last = ++round === options.rounds
      const readings: Reading[] = []
      for (const other of others) {
        readings.push((await ingestRound(other)).reading)
        collect()
      }
      if (withStore) readings.push(await storeRound(options, head, last))
      collect()
      if (withReplay) readings.push(await replayRound(calm, last))
      collect()
      // Last: its engine is held for the limit, and no other should pay for that.
      const { reading, subject } = await ingestRound(calm)
      calmReading = reading
      calmSubject = subject
      return [reading, ...readings]
    },
    async () => {
      const { dataset } = calm
      bare.reset()
      const { result, ...cost } = await timed(() => bare.run(dataset.log.bytes))
      ensure(result === dataset.events, `the limit read ${result} of ${dataset.events} events`)
      if (calmSubject !== null) ensureSame(calmSubject, bare, dataset)
      calmSubject = null
      const value = (calmReading as Reading | null)?.value ?? Number.NaN
      const readings = names.map((name): Reading => ({ ...rate(name, 'events/s', dataset.events, cost), value }))
      return [rate(bench, 'events/s', dataset.events, cost), ...readings]
    },
  )
}

/** Events a second at a small size: what sizes the caller can afford. */
export function probe(entities: number): number {
  const dataset = makeDataset({ name: 'probe', events: 100_000, entities })
  const seconds = [0, 1, 2].map(() => {
    const started = performance.now()
    ingestAll(dataset)
    return (performance.now() - started) / 1000
  })
  return dataset.events / Math.min(...seconds)
}

/** Compiled by then, both of them, so that the first round is like the others. */
function warmUp(dataset: Dataset, bare: BareIngest): void {
  const log = dataset.log.head(Math.min(dataset.events, 200_000))
  const subject = new Subject(mainCatalog)
  for (const chunk of log.chunks()) subject.feed(chunk)
  for (let times = 0; times < 3; times++) {
    bare.reset()
    bare.run(log.bytes)
  }
}

/** Bytes to a state that a flush could begin with: one fresh engine and decoder. */
export function ingestAll(dataset: Dataset, catalog = mainCatalog): Subject {
  const subject = new Subject(catalog)
  for (const chunk of dataset.log.chunks()) subject.feed(chunk)
  const dirty = subject.ready()
  ensure(dirty === dataset.entities, `${dataset.name}: ${dirty} of ${dataset.entities} entities are to be flushed`)
  return subject
}

async function ingestRound(prepared: Prepared): Promise<{ readonly reading: Reading; readonly subject: Subject }> {
  const { dataset, expected } = prepared
  const { result: subject, ...cost } = await timed(() => ingestAll(dataset))
  ensure(subject.entityCount === dataset.entities, `${dataset.name}: ${subject.entityCount} entities`)
  ensureExpected(prepared.bench, expected, (card, asOf) => subject.finish(subject.entityOf(card), asOf))
  return { reading: rate(prepared.bench, 'events/s', dataset.events, cost), subject }
}

/** Counts, sums and maxima of every entity, by two loops that share nothing. Cents make sums comparable: each is far less than half a cent off. */
function ensureSame(subject: Subject, bare: BareIngest, dataset: Dataset): void {
  ensure(bare.entities === subject.entityCount, `the limit has ${bare.entities} entities, not ${subject.entityCount}`)
  const present = [...dataset.perEntity.keys()].filter((card) => (dataset.perEntity[card] as number) > 0)
  const entities = Int32Array.from(present, (card) => subject.entityOf(card))
  const asOf = { asOfMs: endMs, knownAsOfMs: Number.POSITIVE_INFINITY }
  const [counts, sums, maxima] = subject.finishMany(entities, asOf, ['count_7d', 'sum_7d', 'max_7d']) as [
    FeatureColumn,
    FeatureColumn,
    FeatureColumn,
  ]
  const number = ({ values }: FeatureColumn, row: number): number =>
    values.type === 'list' || values.type === 'string' ? Number.NaN : Number(values.values[row])
  let events = 0
  present.forEach((card, row) => {
    const { count, cents, max } = bare.totals(bare.entityOf(cardText(card)), endMs - spanMs, endMs)
    const same =
      number(counts, row) === count &&
      Math.round(number(sums, row) * 100) === cents &&
      number(maxima, row) === max &&
      count === dataset.perEntity[card]
    ensure(
      same,
      `${bench}: ${cardText(card)} has count ${number(counts, row)}, sum ${number(sums, row)}, max ${number(maxima, row)}; ` +
        `by the limit ${count}, ${cents / 100}, ${max}; ${dataset.perEntity[card]} events were made`,
    )
    events += count
  })
  ensure(events === dataset.events, `${bench}: ${events} of ${dataset.events} events are counted`)
}

/** Bytes to an empty LMDB store that has acknowledged all of them, by the worker's projection with its pacing. */
export async function storeAll(dataset: Dataset, verify: (store: OnlineStore) => Promise<void>): Promise<Stored> {
  const folder = mkdtempSync(join(tmpdir(), 'tidemark-bench-'))
  try {
    await using store = await openOnlineStore(folder, {
      mode: 'write',
      generation: 'bench',
      logger: silentLogger,
      random: systemRandom,
    })
    const { result: flushes, ...cost } = await timed(async () => {
      const projecting = await startProjecting(mainCatalog, store, dataset.log)
      const paced = new PacedFlushes(projecting.projection)
      while (await projecting.step()) await paced.offer()
      await paced.drain()
      return paced
    })
    await verify(store)
    return { flushes, cost }
  } finally {
    rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 })
  }
}

interface Stored {
  readonly flushes: PacedFlushes
  readonly cost: Cost
}

async function storeRound(options: BenchOptions, prepared: Prepared, tell: boolean): Promise<Reading> {
  const { dataset } = prepared
  const { flushes, cost } = await storeAll(dataset, (store) => ensureStored(prepared, store))
  if (tell)
    options.note(
      `${prepared.bench}: ${flushes.flushes} flushes, ${(flushes.rows / dataset.events).toFixed(2)} rows written an event`,
    )
  return rate(prepared.bench, 'events/s', dataset.events, cost)
}

async function replayRound({ dataset, expected }: Prepared, check: boolean): Promise<Reading> {
  const store = new MemoryOnlineStore(systemRandom)
  const name = replayBench
  const { result: projection, ...cost } = await timed(async () => {
    const projecting = await startProjecting(mainCatalog, store, dataset.log)
    while (await projecting.step());
    return projecting.projection
  })
  ensure(projection.applied === dataset.events, `${name}: ${projection.applied} of ${dataset.events} events applied`)
  if (check) {
    const rows = await projection.flush()
    ensure(rows === dataset.entities, `${name}: ${rows} rows of ${dataset.entities} entities`)
    await ensureStored({ bench: name, expected }, store)
  }
  return rate(name, 'events/s', dataset.events, cost)
}

/** What a reader of the store would answer. `catalog`: of whoever wrote the rows. */
export async function ensureStored(
  { bench: name, expected }: Pick<Prepared, 'bench' | 'expected'>,
  store: OnlineStore,
  catalog = mainCatalog,
): Promise<void> {
  const of = [...new Set(expected.map(({ card }) => card))]
  const places = of.map((card) => rowKeyOf(catalog, card))
  const { rows } = await store.read(
    viewName,
    places.map(({ shard }) => shard),
    places.map(({ key }) => key),
  )
  const byCard = new Map<number, Uint8Array | null>()
  for (const [index, card] of of.entries()) {
    const { key, shard } = places[index] as (typeof places)[number]
    const row = rows[index] ?? null
    byCard.set(card, row === null ? null : await wholeRow(store, catalog, shard, key, row))
  }
  ensureExpected(name, expected, (card, asOf) => finishRow(catalog, byCard.get(card) ?? null, asOf))
}
