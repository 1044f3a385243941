/**
 * How cost grows with windows, features and entities: only in a full run. The limit of each line is the first point of its
 * curve, so that `ratio` says how much is left of it.
 */
import { getHeapStatistics } from 'node:v8'
import { seeded } from '../../cli/audit.ts'
import type { Catalog } from '../../core/definition/catalog.ts'
import {
  collect,
  ensure,
  median,
  microseconds,
  rate,
  rounded,
  timed,
  type BenchOptions,
  type Reading,
} from '../harness.ts'
import { held } from './bytes.ts'
import { featuresCatalog, mainCatalog, windowsCatalog } from './cards.ts'
import { endMs, makeDataset, type Dataset } from './dataset.ts'
import { ensureExpected, expectedOf, sampledCards, type Expected } from './expected.ts'
import { ingestAll } from './ingest.ts'
import type { Subject } from './subject.ts'

export const curves = {
  windows: [1, 3, 10, 20],
  features: [1, 5, 20, 50],
  entities: [10_000, 100_000, 1_000_000, 10_000_000],
} as const
export type Curve = keyof typeof curves

const events = 1_000_000
const rounds = 3
/** Entities that are finished, one after the other, in no order that memory has. */
const finished = 2_000
/** Of an engine; its events in the log lie beside it. */
const memoryBytesMax = 4.5 * 2 ** 30

/** One point of a curve, and what its rounds said. */
interface Point {
  readonly bench: string
  readonly dataset: Dataset
  readonly catalog: Catalog
  readonly expected: readonly Expected[]
  readonly ingest: Reading[]
  readonly finish: Reading[]
  bytesPerEntity: number
  heapPerEntity: number
}

export async function benchGrowth(options: BenchOptions, keys: number): Promise<void> {
  const dataset = makeDataset({ name: 'engine/growth', events, entities: keys })
  const shown: string[] = []
  const along = async (curve: Curve, pointOf: (name: string, at: number) => Point): Promise<void> => {
    const points: Point[] = []
    for (const at of curves[curve]) {
      const bench = `engine/growth-${curve}-${at}`
      const before = points.at(-1)
      if (curve === 'entities' && before !== undefined && !fits(options, bench, before, at)) continue
      const point = pointOf(bench, at)
      await weigh(point)
      points.push(point)
    }
    // In turns, so that what the machine does beside hits all of them.
    for (let round = 0; round < rounds; round++) for (const point of points) await measure(point)
    for (const point of points) shown.push(emit(options, points[0] as Point, point))
  }
  await along('windows', (bench, windowCount) => newPoint(bench, dataset, windowsCatalog(windowCount)))
  await along('entities', (bench, entities) =>
    newPoint(bench, makeDataset({ name: bench, events: Math.max(events, 2 * entities), entities }), mainCatalog),
  )
  // Last, since it is the first to have inputs of another type: code that has seen one type only is faster.
  await along('features', (bench, featureCount) => newPoint(bench, dataset, featuresCatalog(featureCount)))
  for (const line of shown) options.note(line)
}

/** Whether memory permits so many entities, if each takes what one of the point before took. */
function fits({ note }: BenchOptions, bench: string, before: Point, entities: number): boolean {
  const needed = before.bytesPerEntity * entities
  if (needed <= memoryBytesMax && before.heapPerEntity * entities <= 0.8 * getHeapStatistics().heap_size_limit)
    return true
  note(`${bench} skipped: it would take about ${(needed / 2 ** 30).toFixed(1)} GiB`)
  return false
}

function newPoint(bench: string, dataset: Dataset, catalog: Catalog): Point {
  const expected = expectedOf(catalog, dataset, sampledCards(dataset, 1), (of) => [
    { asOfMs: endMs, knownAsOfMs: Number.POSITIVE_INFINITY },
    { asOfMs: of[0]?.eventTimeMs ?? endMs, knownAsOfMs: endMs },
  ])
  return { bench, dataset, catalog, expected, ingest: [], finish: [], bytesPerEntity: 0, heapPerEntity: 0 }
}

/** A round that is not timed. */
async function weigh(point: Point): Promise<void> {
  const before = held()
  const subject = ingestAll(point.dataset, point.catalog)
  const after = held()
  point.heapPerEntity = (after.heap - before.heap) / subject.entityCount
  point.bytesPerEntity = (after.total + subject.unseenBytes - before.total) / subject.entityCount
  await finishSome(point.bench, subject)
}

async function measure({ bench, dataset, catalog, expected, ingest, finish }: Point): Promise<void> {
  collect()
  const { result: subject, ...cost } = await timed(() => ingestAll(dataset, catalog))
  ingest.push(rate(bench, 'events/s', dataset.events, cost))
  finish.push(await finishSome(bench, subject))
  check(bench, subject, expected)
}

function check(bench: string, subject: Subject, expected: readonly Expected[]): void {
  ensureExpected(bench, expected, (card, asOf) => subject.finish(subject.entityOf(card), asOf))
}

async function finishSome(bench: string, subject: Subject): Promise<Reading> {
  const random = seeded(13)
  const entities = Int32Array.from({ length: finished }, () => Math.floor(random() * subject.entityCount))
  const asOf = { asOfMs: endMs, knownAsOfMs: Number.POSITIVE_INFINITY }
  subject.finishMany(entities.subarray(0, finished / 10), asOf)
  const { result, ...cost } = await timed(() => subject.finishMany(entities, asOf))
  ensure(result.length > 0 && result[0]?.statuses.length === finished, `${bench}: nothing was finished`)
  return microseconds(`${bench}-finish`, finished, cost)
}

/** Gives out both lines of a point; returns one for people. */
function emit({ emit: give }: BenchOptions, first: Point, point: Point): string {
  const middle = (readings: readonly Reading[], of: (reading: Reading) => number): number => median(readings.map(of))
  const value = (reading: Reading): number => reading.value
  const cpu = (reading: Reading): number => reading.cpuSecondsPerMillion ?? Number.NaN
  for (const kind of ['ingest', 'finish'] as const) {
    const readings = point[kind]
    const { bench, unit } = readings[0] as Reading
    const limit = middle(first[kind], value)
    const got = middle(readings, value)
    const values = readings.map(value)
    give({
      bench,
      value: rounded(got),
      unit,
      limit: rounded(limit),
      ratio: rounded(kind === 'finish' ? limit / got : got / limit),
      cpuSecondsPerMillion: rounded(middle(readings, cpu)),
      spread: [rounded(Math.min(...values)), rounded(Math.max(...values))],
      rounds,
    })
  }
  return (
    `${point.bench}: ${rounded(middle(point.ingest, value))} events/s, ${rounded(middle(point.ingest, cpu))} CPU-s per million, ` +
    `${rounded(middle(point.finish, value))} µs to finish, ${Math.round(point.bytesPerEntity)} bytes an entity`
  )
}
