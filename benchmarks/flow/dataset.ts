/** main/dataset: label rows times all features of the service, each as of its own moment. */
import { sampleTraining, seeded } from '../../cli/audit.ts'
import { serviceScan, streamReader } from '../../cli/readers.ts'
import { hasValue, type FeatureColumn } from '../../core/engine/feature-column.ts'
import type { Column } from '../../core/event/types.ts'
import { DatasetBuilder } from '../../training/dataset.ts'
import { labelFields, labelsFromStream } from '../../training/label-sample.ts'
import type { LabelSet } from '../../training/labels.ts'
import type { AuditSample } from '../../worker/audit/sample.ts'
import { sortByTime } from '../../worker/ingest/import.ts'
import { ensure, interleaved, rate, sumOf, timed, type BenchOptions, type Cost, type Reading } from '../harness.ts'
import type { FlightColumns } from '../limits/flights.ts'
import { countsAndMeans, type SortedEvents, type SortedLabels, type WindowColumns } from '../limits/windows.ts'
import {
  columnOf,
  ensureAudited,
  modelDefinition,
  names,
  packed,
  serviceDefinition,
  type FlightLog,
  type Sizes,
} from './context.ts'
import { scanByHand } from './scan-limit.ts'

const bench = 'main/dataset'
const hourMs = 3_600_000
const rowsPerRound = 60

/** The counts and means of the service, which the limit computes as well. */
const views: readonly {
  readonly name: string
  readonly keys: readonly ('origin' | 'destination')[]
  readonly windows: readonly { readonly ms: number; readonly count: string; readonly mean: string | null }[]
}[] = [
  {
    name: 'origin_delays',
    keys: ['origin'],
    windows: [
      { ms: hourMs, count: 'flights_1h', mean: 'mean_delay_1h' },
      { ms: 6 * hourMs, count: 'flights_6h', mean: 'mean_delay_6h' },
      { ms: 24 * hourMs, count: 'flights_1d', mean: 'mean_delay_1d' },
      { ms: 168 * hourMs, count: 'flights_7d', mean: 'mean_delay_7d' },
    ],
  },
  {
    name: 'destination_delays',
    keys: ['destination'],
    windows: [{ ms: 3 * hourMs, count: 'flights_3h', mean: 'mean_delay_3h' }],
  },
  {
    name: 'route_delays',
    keys: ['origin', 'destination'],
    windows: [{ ms: 168 * hourMs, count: 'flights_7d', mean: null }],
  },
]

export async function benchDataset(
  options: BenchOptions,
  log: FlightLog,
  sizes: Sizes,
  columns: FlightColumns,
): Promise<void> {
  const { catalog } = log.project
  const service = serviceDefinition(log.project)
  const model = { ...modelDefinition(log.project) }
  const sampled = { ...model, labels: { ...model.labels, sampleRows: sizes.labels } }
  const reader = streamReader(catalog, log.open, names.stream, labelFields(catalog, sampled))
  const labels = await labelsFromStream(catalog, sampled, reader.scan(log.position.streams[names.stream] ?? []))
  ensure(labels.rows === sizes.labels, `${labels.rows} label rows were drawn, not ${sizes.labels}`)
  const sorted = views.map(({ keys }) => sortedBy(keys, columns, labels))
  const random = seeded(3)
  const samples: AuditSample[] = []
  let built: readonly FeatureColumn[] = []
  await interleaved(
    options,
    async () => {
      const { result: builder, ...scan } = await timed(() =>
        DatasetBuilder.scan({
          catalog,
          service,
          position: log.position,
          scan: serviceScan(catalog, log.open, service, log.position),
        }),
      )
      const { result, ...finish } = await timed(() => builder.finish(labels))
      ensure(result.rows === labels.rows, `${result.rows} rows came back for ${labels.rows} labels`)
      built = result.columns
      samples.push(...sampleTraining(service.name, labels, built, log.position, rowsPerRound, random))
      return readings(scan, finish, log.events, labels.rows)
    },
    async () => {
      const scan = await scanByHand(log)
      const { result, ...finish } = await timed(() =>
        sorted.map(({ events, asked }, view) =>
          countsAndMeans(
            events,
            asked,
            (views[view] as (typeof views)[number]).windows.map(({ ms }) => ms),
            labels.rows,
          ),
        ),
      )
      ensureSame(built, result, labels.rows)
      return readings(scan, finish, log.events, labels.rows)
    },
    () => ensureAudited(log, samples, bench),
  )
}

const readings = (scan: Cost, finish: Cost, events: number, rows: number): Reading[] => [
  rate(bench, 'rows/s', rows, sumOf(scan, finish)),
  rate(`${bench}-scan`, 'events/s', events, scan),
  rate(`${bench}-finish`, 'rows/s', rows, finish),
]

/** Every count and mean of every label row, bit for bit, by two loops that share nothing. */
function ensureSame(built: readonly FeatureColumn[], limits: readonly WindowColumns[], rows: number): void {
  const byName = new Map(built.map((column) => [column.name, column]))
  views.forEach(({ name, windows }, view) =>
    windows.forEach(({ count, mean }, window) => {
      const { counts, means } = limits[view] as WindowColumns
      const compare = (feature: string, expected: Float64Array): void => {
        const column = byName.get(`${name}:${feature}`)
        ensure(column !== undefined && column.values.type !== 'list', `there is no column ${name}:${feature}`)
        const { values } = column.values
        for (let row = 0; row < rows; row++) {
          const events = (counts[window] as Float64Array)[row] as number
          const same = hasValue(column.statuses[row] as number)
            ? Object.is(Number(values[row]), expected[row])
            : events === 0
          ensure(same, `${name}:${feature} at label row ${row} is ${String(values[row])}, by hand ${expected[row]}`)
        }
      }
      compare(count, counts[window] as Float64Array)
      if (mean !== null) compare(mean, means[window] as Float64Array)
    }),
  )
}

/** Events and labels sorted for the limit: that is done before the clock starts. */
function sortedBy(
  keys: readonly ('origin' | 'destination')[],
  columns: FlightColumns,
  labels: LabelSet,
): { readonly events: SortedEvents; readonly asked: SortedLabels } {
  const numbers = new Map<number, number>()
  const entityOf = (airports: readonly number[]): number => {
    const key = airports.reduce((sum, airport) => sum * 0x100_0000 + airport, 0)
    const known = numbers.get(key)
    if (known !== undefined) return known
    numbers.set(key, numbers.size)
    return numbers.size - 1
  }
  const sources = keys.map((key) => (key === 'origin' ? columns.origins : columns.destinations))
  const owners = Int32Array.from(columns.times, (_, row) => entityOf(sources.map((source) => source[row] as number)))
  const labelColumns = keys.map((key) => columnOf(labels.entities as Record<string, Column>, key, 'string'))
  const codes = labelColumns.map(({ table }) => table.strings.map(packed))
  const labelOwners = Int32Array.from({ length: labels.rows }, (_, row) =>
    entityOf(labelColumns.map(({ values }, key) => (codes[key] as number[])[values[row] as number] as number)),
  )
  const order = bucketed(sortByTime(columns.times), owners, numbers.size)
  const picked = (values: Float64Array): Float64Array => Float64Array.from(order.rows, (row) => values[row] as number)
  const asked = bucketed(sortByTime(labels.asOfMs), labelOwners, numbers.size).rows
  return {
    events: {
      starts: order.starts,
      times: picked(columns.times),
      knowns: picked(columns.knowns),
      values: Int32Array.from(order.rows, (row) => columns.delays[row] as number),
    },
    asked: {
      rows: asked,
      entities: asked.map((row) => labelOwners[row] as number),
      asOfMs: Float64Array.from(asked, (row) => labels.asOfMs[row] as number),
    },
  }
}

/** Rows in the order given, those of an owner side by side. */
function bucketed(
  order: Uint32Array,
  owners: Int32Array,
  count: number,
): { readonly starts: Int32Array; readonly rows: Int32Array } {
  const starts = new Int32Array(count + 1)
  for (const owner of owners) starts[owner + 1] = (starts[owner + 1] as number) + 1
  for (let owner = 0; owner < count; owner++)
    starts[owner + 1] = (starts[owner + 1] as number) + (starts[owner] as number)
  const next = starts.slice()
  const rows = new Int32Array(owners.length)
  for (const row of order) {
    const owner = owners[row] as number
    rows[next[owner] as number] = row
    next[owner] = (next[owner] as number) + 1
  }
  return { starts, rows }
}
