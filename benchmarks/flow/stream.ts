/** main/stream: both projections to both stores, on a log that is there. */
import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { sampleOnline, seeded, type Pool } from '../../cli/audit.ts'
import { sleeper, systemClock } from '../../cli/environment.ts'
import type { Project } from '../../cli/project.ts'
import { openLookup } from '../../cli/serve-process.ts'
import { openOnline } from '../../cli/stores.ts'
import { openEmbeddedClickHouse } from '../../connectors/chdb/index.ts'
import { openClickHouseClient, openOfflineStore, type ClickHouseClient } from '../../connectors/clickhouse/index.ts'
import { silentLogger } from '../../core/ports/environment.ts'
import type { CodedStrings } from '../../schemas/sql/native.ts'
import type { AuditSample } from '../../worker/audit/sample.ts'
import { runWorker, type WorkerProgress } from '../../worker/run.ts'
import { ensure, interleaved, rate, timed, type BenchOptions, type Cost } from '../harness.ts'
import { airportText, type FlightColumns } from '../limits/flights.ts'
import { ended, ensureAudited, names, type FlightLog, type Workplace } from './context.ts'
import { scanByHand } from './scan-limit.ts'

const bench = 'main/stream'
const rowsPerRound = 40
/** Our child has one user: it need not wait for the next. */
const idleMs = 100

export async function benchStream(
  options: BenchOptions,
  log: FlightLog,
  workplace: Workplace,
  columns: FlightColumns,
): Promise<void> {
  const random = seeded(2)
  const { pool } = log
  const samples: AuditSample[] = []
  const expected = totalsOf(columns)
  let round = 0
  await interleaved(
    options,
    async () => {
      const stores = join(workplace.folder, `stores-${++round}`)
      const { paths } = log.project
      const project: Project = {
        ...log.project,
        paths: { ...paths, online: join(stores, 'online'), offline: join(stores, 'offline') },
      }
      const cost = await streamInto(project, log, workplace, expected)
      samples.push(...(await onlineSamples(project, pool, random)))
      rmSync(stores, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 })
      return [rate(bench, 'events/s', log.events, cost)]
    },
    async () => {
      const scanned = await scanByHand(log)
      return [rate(bench, 'events/s', log.events, scanned)]
    },
    () => ensureAudited(log, samples, bench),
  )
}

async function streamInto(project: Project, log: FlightLog, workplace: Workplace, expected: string): Promise<Cost> {
  mkdirSync(project.paths.offline, { recursive: true })
  const engine = await openEmbeddedClickHouse(project.paths.offline, { idleMs })
  workplace.ends(engine.pid)
  try {
    await using client = openClickHouseClient({ endpoint: () => engine.endpoint() })
    const journalFolder = join(project.paths.offline, 'journal')
    const offline = openOfflineStore(client, { journalFolder, logId: log.open.log.logId })
    await using online = await openOnline(project, 'write')
    const applied: Record<WorkerProgress['projection'], number> = { online: 0, offline: 0, history: 0 }
    const { shards, historyMs } = project.config.online
    const { memoryMb, flushMs, pollMs } = project.config.worker
    const { result: _, ...cost } = await timed(
      () =>
        runWorker({
          catalog: project.catalog,
          log: log.open.log,
          schemas: log.open.writerSchemas,
          online,
          offline,
          settings: { shards, historyMs, memoryBytesMax: memoryMb * 2 ** 20, flushMs, pollMs },
          clock: systemClock,
          logger: silentLogger,
          sleep: sleeper(),
          signal: new AbortController().signal,
          until: 'caught-up',
          onProgress: (progress) => (applied[progress.projection] = progress.applied),
        }),
      [engine.pid],
    )
    ensure(applied.online === log.events, `${applied.online} of ${log.events} events reached the online rows`)
    ensure(applied.offline === log.events, `${applied.offline} of ${log.events} events reached the offline table`)
    const found = await totalsInTable(client)
    ensure(found === expected, `the offline table holds ${found}, the log ${expected}`)
    return cost
  } finally {
    await engine.close()
    await ended(engine.pid)
  }
}

/** Rows as a caller sees them, from the store that this round wrote. */
async function onlineSamples(project: Project, pool: Pool, random: () => number): Promise<AuditSample[]> {
  await using opened = await openLookup(project)
  return await sampleOnline(
    { lookup: opened.lookup, service: names.service, pool, rows: rowsPerRound, random, rowsPerTime: 8 },
    pool.newestMs,
  )
}

/** The columns of the table in a few numbers, said by SQL. */
async function totalsInTable(client: ClickHouseClient): Promise<string> {
  const { columns } = await client.query(
    `SELECT arrayStringConcat(arrayMap(x -> toString(x), [toInt64(count()), toInt64(uniqExact((_partition, _offset))), sum(_event_time), sum(_known_at - _event_time),
       sum(toInt64(delay)), sum(toInt64(distance)), toInt64(sum(CRC32(concat(origin, '>', destination))))]), ' ') AS totals
     FROM events_flights WHERE _dead = ''`,
  )
  const { codes, strings } = columns[0]?.data as CodedStrings
  return strings[codes[0] as number] ?? 'nothing'
}

/** The same numbers from the columns that were decoded by hand. */
function totalsOf({ times, knowns, delays, distances, origins, destinations }: FlightColumns): string {
  const rows = times.length
  let sumTimes = 0n
  let sumWaits = 0
  let sumDelays = 0
  let sumDistances = 0
  const routes = new Map<number, number>()
  for (let row = 0; row < rows; row++) {
    sumTimes += BigInt(times[row] as number)
    sumWaits += (knowns[row] as number) - (times[row] as number)
    sumDelays += delays[row] as number
    sumDistances += distances[row] as number
    const route = (origins[row] as number) * 0x100_0000 + (destinations[row] as number)
    routes.set(route, (routes.get(route) ?? 0) + 1)
  }
  let sumRoutes = 0n
  for (const [route, count] of routes) {
    const text = `${airportText(Math.floor(route / 0x100_0000))}>${airportText(route % 0x100_0000)}`
    sumRoutes += BigInt(crc32(text)) * BigInt(count)
  }
  return [rows, rows, sumTimes, sumWaits, sumDelays, sumDistances, sumRoutes].join(' ')
}
