import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { basename, extname } from 'node:path'
import { readParquet } from '../connectors/parquet/read.ts'
import { streamOf } from '../core/definition/catalog.ts'
import { makesValuesWrong, needOf, newStream, refuseFindings } from '../core/registry/log-check.ts'
import { FeatureStoreError } from '../core/errors.ts'
import { shapeOf, type Column, type FieldType, type StringTable } from '../core/event/types.ts'
import { decimalDigitsMax, parseDecimal, unscaledOf, type DecimalShape } from '../core/number/decimal.ts'
import type { RegistryEvent } from '../core/registry/events.ts'
import { parseInstant } from '../core/time/time.ts'
import { readArrowFile } from '../schemas/arrow/read.ts'
import { readCsv } from '../schemas/csv/read.ts'
import { appendLines, type AppendReport } from '../worker/ingest/append.ts'
import { importTable, type ImportReport } from '../worker/ingest/import.ts'
import { inspectLog } from '../worker/inspect-log.ts'
import { appendRegistry } from '../worker/registry-log.ts'
import { connectControl } from './control-client.ts'
import { systemClock } from './environment.ts'
import { type Project } from './project.ts'
import { openLogToWrite, type OpenLog } from './stores.ts'

export interface ImportRequest {
  readonly stream: string
  /** Absolute path. */
  readonly file: string
  readonly knownAtColumn?: string
}

/** What writes to the log: this process, or a running `up`. */
export interface Ingest extends AsyncDisposable {
  /** The process that writes: null for this one, else the pid of `up`. */
  readonly through: number | null
  append(stream: string, lines: AsyncIterable<string> | Iterable<string>): Promise<AppendReport>
  import(request: ImportRequest, onProgress?: (done: number, total: number) => void): Promise<ImportReport>
  register(events: readonly RegistryEvent[]): Promise<void>
}

/** Takes the log's lock, or goes through the `up` that holds it. Errors: FS_LOCKED when another process does. */
export async function openIngest(project: Project, holder: string): Promise<Ingest> {
  try {
    return new LocalIngest(project, await openLogToWrite(project, holder))
  } catch (error) {
    if (!(error instanceof FeatureStoreError && error.code === 'FS_LOCKED')) throw error
    const remote = await connectControl(project.paths.control)
    if (remote === null) throw error
    return remote
  }
}

export class LocalIngest implements Ingest {
  readonly through = null
  readonly open: OpenLog
  readonly #project: Project

  constructor(project: Project, open: OpenLog) {
    this.#project = project
    this.open = open
  }

  async append(stream: string, lines: AsyncIterable<string> | Iterable<string>): Promise<AppendReport> {
    const definition = streamOf(this.#project.catalog, stream)
    await this.#create(stream)
    const { log, putSchema } = this.open
    return appendLines({
      log,
      putSchema,
      stream: definition,
      clock: systemClock,
      lines,
    })
  }

  async import(request: ImportRequest, onProgress?: (done: number, total: number) => void): Promise<ImportReport> {
    const definition = streamOf(this.#project.catalog, request.stream)
    await this.#create(request.stream)
    const { log, putSchema } = this.open
    const { knownAtColumn } = request
    const known =
      knownAtColumn === undefined || knownAtColumn in definition.fields
        ? {}
        : { [knownAtColumn]: { type: 'timestamp' as const } }
    return importTable({
      log,
      putSchema,
      stream: definition,
      table: await readTable(request.file, { ...definition.fields, ...known }),
      digest: createHash('sha256').update(readFileSync(request.file)).digest('hex'),
      ...(knownAtColumn === undefined ? {} : { knownAtColumn }),
      ...(onProgress === undefined ? {} : { onProgress }),
    })
  }

  async register(events: readonly RegistryEvent[]): Promise<void> {
    await appendRegistry(this.open.log, events, systemClock.nowMs())
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.open[Symbol.asyncDispose]()
  }

  async #create(stream: string): Promise<void> {
    const { log } = this.open
    const definition = streamOf(this.#project.catalog, stream)
    await log.create(stream, newStream(definition))
    // Times that come with the events would be lost where the log sets its own.
    if (definition.knownAt === 'createTime') {
      const { findings } = await inspectLog(log, [needOf(this.#project.catalog, definition)])
      refuseFindings(findings.filter(makesValuesWrong))
    }
  }
}

export interface Table {
  readonly rowCount: number
  readonly columns: Readonly<Record<string, Column>>
}

/**
 * A table file by its extension: .parquet, .arrow or .csv. CSV cells are read as the types of `fields`, empty as null.
 *
 * Errors: FS_FILE_INVALID.
 */
export async function readTable(
  file: string,
  fields: Readonly<Record<string, { readonly type: Column['type'] }>>,
): Promise<Table> {
  let bytes: Uint8Array
  try {
    if (extname(file) === '.parquet') return await readParquet(file)
    bytes = readFileSync(file)
  } catch (cause) {
    if (cause instanceof FeatureStoreError) throw cause
    throw new FeatureStoreError('FS_FILE_INVALID', `${file} cannot be read`, { cause })
  }
  switch (extname(file)) {
    case '.arrow': {
      const { rowCount, columns } = readArrowFile(bytes)
      return {
        rowCount,
        columns: Object.fromEntries(
          Object.entries(columns).filter((entry): entry is [string, Column] => entry[1].type !== 'list'),
        ),
      }
    }
    case '.csv':
      return csvTable(bytes, fields)
    default:
      throw new FeatureStoreError('FS_FILE_INVALID', `${basename(file)}: a table file ends in .parquet, .arrow or .csv`)
  }
}

function instantOf(cell: string): number | null {
  try {
    return parseInstant(cell, 'cell')
  } catch {
    return null
  }
}

/**
 * The digits of the field where all cells fit them; else as many behind the point as some cell has, and what does not fit
 * the field becomes a dead letter, as from any file.
 */
function csvShape(field: DecimalShape, cells: readonly string[]): DecimalShape {
  if (cells.every((cell) => unscaledOf(cell, field) !== null)) return field
  const scale = cells.reduce((most, cell) => Math.max(most, parseDecimal(cell)?.scale ?? 0), field.scale)
  return { precision: decimalDigitsMax, scale: Math.min(decimalDigitsMax, scale) }
}

function csvTable(bytes: Uint8Array, fields: Readonly<Record<string, FieldType>>): Table {
  const { header, rows } = readCsv(bytes)
  const columns = header.map((name, at): [string, Column] => {
    const type = fields[name]?.type ?? 'string'
    const nulls = Uint8Array.from(rows, (row) => (row[at] === null || row[at] === undefined ? 1 : 0))
    const mask = nulls.includes(1) ? nulls : null
    const parse = <T>(read: (cell: string) => T | null, empty: T): T[] =>
      rows.map((row, index) => {
        const cell = row[at] ?? null
        if (cell === null) return empty
        const value = read(cell)
        if (value === null)
          throw new FeatureStoreError(
            'FS_FILE_INVALID',
            `row ${index + 1}, column ${name}: ${JSON.stringify(cell)} is no ${type}`,
          )
        return value
      })
    switch (type) {
      case 'string': {
        const table: { strings: string[] } & StringTable = { strings: [] }
        const codes = new Map<string, number>()
        const values = Int32Array.from(
          parse(
            (cell) => codes.get(cell) ?? (codes.set(cell, table.strings.push(cell) - 1), table.strings.length - 1),
            0,
          ),
        )
        return [name, { type, values, table, nulls: mask }]
      }
      case 'bool':
        return [
          name,
          {
            type,
            values: Uint8Array.from(
              parse((cell) => (/^(true|1)$/i.test(cell) ? 1 : /^(false|0)$/i.test(cell) ? 0 : null), 0),
            ),
            nulls: mask,
          },
        ]
      case 'int32':
      case 'int64': {
        // As wide as CSV can say it: what does not fit the field becomes a dead letter, as from any file.
        const integer = (cell: string): bigint | null =>
          /^[+-]?\d{1,19}$/.test(cell) && BigInt.asIntN(64, BigInt(cell)) === BigInt(cell) ? BigInt(cell) : null
        return [name, { type: 'int64', values: BigInt64Array.from(parse(integer, 0n)), nulls: mask }]
      }
      case 'decimal': {
        const shape = csvShape(
          shapeOf(fields[name] as FieldType),
          rows.flatMap((row) => row[at] ?? []),
        )
        const unscaled = parse((cell) => unscaledOf(cell, shape), 0n)
        return [name, { type, ...shape, values: BigInt64Array.from(unscaled), nulls: mask }]
      }
      case 'float64':
        return [
          name,
          {
            type,
            values: Float64Array.from(
              parse(
                (cell) => (cell.trim() !== '' && (!Number.isNaN(Number(cell)) || cell === 'NaN') ? Number(cell) : null),
                0,
              ),
            ),
            nulls: mask,
          },
        ]
      case 'timestamp':
        return [name, { type, values: Float64Array.from(parse(instantOf, 0)), nulls: mask }]
    }
  })
  return { rowCount: rows.length, columns: Object.fromEntries(columns) }
}

export { type ImportReport, type AppendReport }
