/** What the benchmarks of the main job share: a project in a temporary folder, the flights, and the checks. */
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { drawPool, runAudit, seeded, type Pool } from '../../cli/audit.ts'
import { applyProject } from '../../cli/commands/definitions.ts'
import { loadProject, type Project } from '../../cli/project.ts'
import { openLogToRead, type OpenLog } from '../../cli/stores.ts'
import { readParquet } from '../../connectors/parquet/read.ts'
import { modelOf, serviceOf } from '../../core/definition/catalog.ts'
import { recordCount, type Position } from '../../core/event/position.ts'
import type { Column, ColumnOf, ScalarType } from '../../core/event/types.ts'
import type { AuditSample } from '../../worker/audit/sample.ts'
import { logPosition } from '../../worker/run.ts'
import { ensure, timed, type Cost } from '../harness.ts'
import type { FlightTable } from '../limits/flights.ts'

export const names = { stream: 'flights', service: 'delay_risk', model: 'delay_model' } as const

/** Sizes, and how long a round of lookups takes. */
export interface Sizes {
  readonly events: number
  readonly labels: number
  readonly loadSeconds: number
}
export const smallSizes: Sizes = { events: 400_000, labels: 20_000, loadSeconds: 0.8 }
export const fullSizes: Sizes = { events: 3_000_000, labels: 200_000, loadSeconds: 4 }

const parquetFile = resolve(import.meta.dirname, '../../node_modules/vega-datasets/data/flights-3m.parquet')
const definitions = resolve(import.meta.dirname, '../../examples/flights/features.ts')

/** The first rows of the file, and what reading it cost: the whole file's cost, in proportion to the rows taken. */
export async function readFlightsFile(events: number): Promise<{ readonly table: Table; readonly cost: Cost }> {
  const { result, seconds, cpuSeconds } = await timed(() => readParquet(parquetFile))
  ensure(result.rowCount === fullSizes.events, `the Parquet file has ${result.rowCount} rows`)
  const share = events / result.rowCount
  return { table: firstRows(result, events), cost: { seconds: seconds * share, cpuSeconds: cpuSeconds * share } }
}

export const flightsFileBytes = (): Uint8Array => readFileSync(parquetFile)

export interface Table {
  readonly rowCount: number
  readonly columns: Readonly<Record<string, Column>>
}

const firstRows = ({ columns }: Table, rowCount: number): Table => ({
  rowCount,
  columns: Object.fromEntries(
    Object.entries(columns).map(([name, column]) => [
      name,
      { ...column, values: column.values.subarray(0, rowCount), nulls: column.nulls?.subarray(0, rowCount) ?? null },
    ]),
  ) as Record<string, Column>,
})

export function columnOf<T extends ScalarType>(
  columns: Readonly<Record<string, Column>>,
  name: string,
  type: T,
): ColumnOf<T> {
  const column = columns[name]
  ensure(column?.type === type, `column ${name} is ${column?.type ?? 'missing'}, not ${type}`)
  return column as ColumnOf<T>
}

export function flightTable({ rowCount, columns }: Table): FlightTable {
  const airports = (name: string): FlightTable['origin'] => {
    const { values, table } = columnOf(columns, name, 'string')
    return { codes: values, table }
  }
  return {
    rowCount,
    date: columnOf(columns, 'date', 'timestamp').values,
    delay: columnOf(columns, 'delay', 'int64').values,
    distance: columnOf(columns, 'distance', 'int64').values,
    origin: airports('origin'),
    destination: airports('destination'),
  }
}

/** A folder of its own under the system's temporary folder, gone afterwards. */
export class Workplace implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), 'tidemark-bench-'))
  readonly #pids: number[] = []

  /** A project with the definitions of examples/flights, applied. */
  async project(name: string): Promise<Project> {
    const folder = join(this.folder, name)
    mkdirSync(folder)
    copyFileSync(definitions, join(folder, 'features.ts'))
    writeFileSync(join(folder, 'package.json'), '{ "type": "module" }\n')
    writeFileSync(join(folder, 'tidemark.config.js'), "export default { definitions: ['features.ts'] }\n")
    const project = await loadProject(folder)
    await applyProject(project)
    return project
  }

  remove(name: string): void {
    rmSync(join(this.folder, name), { recursive: true, force: true })
  }

  /** A process that uses the folder and ends by itself, soon after its last user. */
  ends(pid: number): void {
    this.#pids.push(pid)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const pid of this.#pids) await ended(pid)
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 })
  }
}

const endedMsMax = 5_000

/** Resolves once a process is gone, so that it takes no time from what is measured next. */
export async function ended(pid: number): Promise<void> {
  const until = performance.now() + endedMsMax
  while (isAlive(pid) && performance.now() < until) await sleep(20)
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

/** The log of a project once the import is done, and what is asked of it. */
export interface FlightLog extends AsyncDisposable {
  readonly project: Project
  readonly open: OpenLog
  readonly position: Position
  readonly events: number
  /** Rows that lookups ask for, the same ones in every run. */
  readonly pool: Pool
}

export async function openFlightLog(project: Project): Promise<FlightLog> {
  const open = await openLogToRead(project)
  const position = await logPosition(open.log, project.catalog.streams.keys())
  const pool = await drawPool(project.catalog, open, serviceDefinition(project), position, seeded(1))
  return {
    project,
    open,
    pool,
    position,
    events: recordCount(position, names.stream),
    [Symbol.asyncDispose]: () => open[Symbol.asyncDispose](),
  }
}

export const serviceDefinition = (project: Project) => serviceOf(project.catalog, names.service)
export const modelDefinition = (project: Project) => modelOf(project.catalog, names.model)

/** Every sampled value again by core/engine/naive.ts, from the log alone, compared bit for bit. */
export async function ensureAudited(log: FlightLog, samples: readonly AuditSample[], what: string): Promise<void> {
  const report = await runAudit(log.project.catalog, log.open, samples)
  const [first] = report.mismatches
  const shown =
    first === undefined
      ? ''
      : `: ${first.name} at ${first.sample.asOfMs} is ${String(first.got.value)}, not ${String(first.expected.value)}`
  ensure(report.checked > 0, `${what}: no value was checked`)
  ensure(
    report.mismatched === 0,
    `${what}: ${report.mismatched} of ${report.checked} values differ from the naive twin${shown}`,
  )
}

/**
 * A checksum of events that does not depend on their order, so that a table, a log and decoded columns can be compared:
 * two 32-bit sums of a hash of each event.
 */
export class EventChecksum {
  #count = 0
  #sum = 0
  #other = 0

  add(timeMs: number, knownAtMs: number, delay: number, distance: number, origin: number, destination: number): void {
    let hash = fold(0x9e37_79b9, timeMs | 0)
    hash = fold(hash, Math.floor(timeMs / 0x1_0000_0000))
    hash = fold(hash, (knownAtMs - timeMs) | 0)
    hash = fold(hash, delay)
    hash = fold(hash, distance)
    hash = fold(hash, origin)
    hash = fold(hash, destination)
    this.#count++
    this.#sum = (this.#sum + hash) | 0
    this.#other = (this.#other + fold(hash, 0x2545_f491)) | 0
  }

  get text(): string {
    const hex = (half: number): string => (half >>> 0).toString(16).padStart(8, '0')
    return `${this.#count} events ${hex(this.#sum)}${hex(this.#other)}`
  }
}

function fold(hash: number, value: number): number {
  let h = Math.imul(hash ^ value, 0x85eb_ca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2_ae35)
  return h ^ (h >>> 16)
}

/** Three letters as one number, as limits/flights.ts packs them. */
export const packed = (text: string): number =>
  (text.charCodeAt(0) << 16) | (text.charCodeAt(1) << 8) | text.charCodeAt(2)

const minuteMs = 60_000
/** When a flight has landed, said here once more, not taken from the definition. */
export const landedMs = (date: number, distance: number, delay: number): number =>
  date + (Math.ceil(distance / 8) + Math.max(delay, 0)) * minuteMs
