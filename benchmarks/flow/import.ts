/** main/import: Parquet to Avro to the embedded log. */
import { createHash } from 'node:crypto'
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { openLogToRead, openLogToWrite } from '../../cli/stores.ts'
import { streamReader } from '../../cli/readers.ts'
import type { Project } from '../../cli/project.ts'
import { streamOf } from '../../core/definition/catalog.ts'
import { singleObjectHeader, streamSchema } from '../../schemas/avro/index.ts'
import { importTable } from '../../worker/ingest/import.ts'
import { logPosition } from '../../worker/run.ts'
import { ensure, interleaved, rate, sumOf, timed, type BenchOptions, type Cost } from '../harness.ts'
import { encodeToFile } from '../limits/flights.ts'
import {
  columnOf,
  EventChecksum,
  flightsFileBytes,
  flightTable,
  landedMs,
  names,
  packed,
  readFlightsFile,
  type Sizes,
  type Table,
  type Workplace,
} from './context.ts'

const bench = 'main/import'

/** The types of the file, which are what the log is written with. */
const written = streamSchema(names.stream, {
  date: { type: 'timestamp' },
  delay: { type: 'int64' },
  distance: { type: 'int64' },
  origin: { type: 'string' },
  destination: { type: 'string' },
})

/** Returns the project of the last round, whose log the other benchmarks read. */
export async function benchImport(options: BenchOptions, sizes: Sizes, workplace: Workplace): Promise<Project> {
  let project: Project | null = null
  let file: { readonly table: Table; readonly cost: Cost } | null = null
  let expected: string | null = null
  let round = 0
  await interleaved(
    options,
    async () => {
      if (project !== null) workplace.remove(`round-${round}`)
      project = await workplace.project(`round-${++round}`)
      // Charged to both: contender and limit read the file by the same code. Small runs read it once, not once a round.
      if (file === null || options.full) file = await readFlightsFile(sizes.events)
      const imported = await importInto(project, file.table)
      await ensureLogged(project, (expected ??= checksumOf(file.table)))
      return [rate(bench, 'events/s', sizes.events, sumOf(file.cost, imported))]
    },
    async () => {
      const { table, cost } = file as NonNullable<typeof file>
      const path = join(workplace.folder, 'limit.bin')
      const bytes = logBytes(project as Project)
      const flights = flightTable(table)
      const encoded = await timed(() => encodeToFile(path, flights, singleObjectHeader(written), bytes))
      ensure(statSync(path).size === bytes, 'the limit of the import wrote another number of bytes')
      return [rate(bench, 'events/s', sizes.events, sumOf(cost, encoded))]
    },
  )
  return project as unknown as Project
}

async function importInto(project: Project, table: Table): Promise<Cost> {
  await using open = await openLogToWrite(project, 'benchmark')
  const stream = streamOf(project.catalog, names.stream)
  const { result, ...cost } = await timed(() =>
    importTable({
      log: open.log,
      putSchema: open.putSchema,
      stream,
      table,
      digest: createHash('sha256').update(flightsFileBytes()).digest('hex'),
    }),
  )
  ensure(result.appended === table.rowCount, `${result.appended} of ${table.rowCount} rows were appended`)
  ensure(result.clamped === 0, `${result.clamped} timestamps were raised: the order is wrong`)
  return cost
}

function checksumOf({ rowCount, columns }: Table): string {
  const checksum = new EventChecksum()
  const dates = columnOf(columns, 'date', 'timestamp').values
  const delays = columnOf(columns, 'delay', 'int64').values
  const distances = columnOf(columns, 'distance', 'int64').values
  const origins = columnOf(columns, 'origin', 'string')
  const destinations = columnOf(columns, 'destination', 'string')
  const originCodes = origins.table.strings.map(packed)
  const destinationCodes = destinations.table.strings.map(packed)
  for (let row = 0; row < rowCount; row++) {
    const date = dates[row] as number
    const delay = Number(delays[row])
    const distance = Number(distances[row])
    checksum.add(
      date,
      landedMs(date, distance, delay),
      delay,
      distance,
      originCodes[origins.values[row] as number] as number,
      destinationCodes[destinations.values[row] as number] as number,
    )
  }
  return checksum.text
}

/** The log read back by the product's own decoder: every event, with its knownAt, none twice. */
async function ensureLogged(project: Project, expected: string): Promise<void> {
  await using open = await openLogToRead(project)
  const position = await logPosition(open.log, [names.stream])
  const checksum = new EventChecksum()
  for await (const batch of streamReader(project.catalog, open, names.stream).scan(
    position.streams[names.stream] ?? [],
  )) {
    ensure(batch.dead.length === 0, `${batch.dead.length} records do not decode`)
    const delays = columnOf(batch.columns, 'delay', 'int32').values
    const distances = columnOf(batch.columns, 'distance', 'int32').values
    const origins = columnOf(batch.columns, 'origin', 'string')
    const destinations = columnOf(batch.columns, 'destination', 'string')
    const originCodes = origins.table.strings.map(packed)
    const destinationCodes = destinations.table.strings.map(packed)
    for (let row = 0; row < batch.count; row++)
      checksum.add(
        batch.eventTimes[row] as number,
        batch.knownAts[row] as number,
        delays[row] as number,
        distances[row] as number,
        originCodes[origins.values[row] as number] as number,
        destinationCodes[destinations.values[row] as number] as number,
      )
  }
  ensure(checksum.text === expected, `the log holds ${checksum.text}, the file ${expected}`)
}

/** Bytes of the stream's segments. */
function logBytes(project: Project): number {
  const folder = join(project.paths.log, names.stream)
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.log'))
    .reduce((sum, name) => sum + statSync(join(folder, name)).size, 0)
}
