/**
 * How cost grows with windows, features and entities: only in a full run. The limit of each line is the first point of its
 * curve, so that `ratio` says how much is left of it.
 */
import { getHeapStatistics } from 'node:v8'
import type { Catalog } from '../../core/definition/catalog.ts'
import { ensure, median, microseconds, rate, rounded, timed, type BenchOptions, type Reading } from '../harness.ts'
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
const memoryBytesMax = 6 * 2 ** 30

export async function benchGrowth(options: BenchOptions, keys: number): Promise<void> {
  const dataset = makeDataset({ name: 'engine/growth', events, entities: keys })
  const shown: string[] = []
  const table = (line: string): void => void shown.push(line)
  const along = async (curve: Curve, catalogOf: (point: number) => Catalog): Promise<void> => {
    let first: Point | null = null
    for (const point of curves[curve]) {
      const measured = await measure(`engine/growth-${curve}-${point}`, dataset, catalogOf(point))
      emit(options, (first ??= measured), measured, table)
    }
  }
  await along('windows', windowsCatalog)
  const points: Point[] = []
  for (const entities of curves.entities) {
    const name = `engine/growth-entities-${entities}`
    // What the point before took, for it says most about this one.
    const { bytesPerEntity = 0, heapPerEntity = 0 } = points.at(-1) ?? {}
    const needed = bytesPerEntity * entities
    if (needed > memoryBytesMax || heapPerEntity * entities > 0.8 * getHeapStatistics().heap_size_limit) {
      options.note(`${name} skipped: it would take about ${(needed / 2 ** 30).toFixed(1)} GiB`)
      continue
    }
    const of = makeDataset({ name, events: Math.max(events, 2 * entities), entities })
    points.push(await measure(name, of, mainCatalog))
    emit(options, points[0] as Point, points.at(-1) as Point, table)
  }
  // Last, since it is the first to have inputs of another type: code that has seen one type only is faster.
  await along('features', featuresCatalog)
  for (const line of shown) options.note(line)
}

interface Point {
  readonly bench: string
  readonly ingest: readonly Reading[]
  readonly finish: readonly Reading[]
  readonly bytesPerEntity: number
  readonly heapPerEntity: number
}

async function measure(bench: string, dataset: Dataset, catalog: Catalog): Promise<Point> {
  const expected = expectedOf(catalog, dataset, sampledCards(dataset, 1), (of) => [
    { asOfMs: endMs, knownAsOfMs: Number.POSITIVE_INFINITY },
    { asOfMs: of[0]?.eventTimeMs ?? endMs, knownAsOfMs: endMs },
  ])
  const ingest: Reading[] = []
  const finish: Reading[] = []
  let bytesPerEntity = 0
  let heapPerEntity = 0
  for (let round = 0; round < rounds; round++) {
    const before = held()
    const { result: subject, ...cost } = await timed(() => ingestAll(dataset, catalog))
    ingest.push(rate(bench, 'events/s', dataset.events, cost))
    if (round === 0) {
      const after = held()
      heapPerEntity = (after.heap - before.heap) / subject.entityCount
      bytesPerEntity = (after.total - before.total) / subject.entityCount
    }
    finish.push(await finishSome(bench, subject))
    check(bench, subject, expected)
  }
  return { bench, ingest, finish, bytesPerEntity, heapPerEntity }
}

function check(bench: string, subject: Subject, expected: readonly Expected[]): void {
  ensureExpected(bench, expected, (card, asOf) => subject.finish(subject.entityOf(card), asOf))
}

async function finishSome(bench: string, subject: Subject): Promise<Reading> {
  const stride = Math.max(1, Math.floor(subject.entityCount * 0.618))
  const entities = Int32Array.from({ length: finished }, (_, index) => (index * stride) % subject.entityCount)
  const asOf = { asOfMs: endMs, knownAsOfMs: Number.POSITIVE_INFINITY }
  subject.finishMany(entities.subarray(0, finished / 10), asOf)
  const { result, ...cost } = await timed(() => subject.finishMany(entities, asOf))
  ensure(result.length > 0 && result[0]?.statuses.length === finished, `${bench}: nothing was finished`)
  return microseconds(`${bench}-finish`, finished, cost)
}

function emit({ emit: give }: BenchOptions, first: Point, point: Point, table: (line: string) => void): void {
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
  table(
    `${point.bench}: ${rounded(middle(point.ingest, value))} events/s, ${rounded(middle(point.ingest, cpu))} CPU-s per million, ` +
      `${rounded(middle(point.finish, value))} µs to finish, ${Math.round(point.bytesPerEntity)} bytes an entity`,
  )
}
