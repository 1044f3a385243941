import { entityFieldsOf, type Catalog } from '../core/definition/catalog.ts'
import { referenceText, type ServiceDefinition } from '../core/definition/types.ts'
import { featureColumnName } from '../core/engine/matrix.ts'
import { FeatureStoreError } from '../core/errors.ts'
import { scalarText, shapeOf, type Column, type FieldType, type NullMask } from '../core/event/types.ts'
import { fitsPrecision, formatDecimal, rescaled, unscaledOf } from '../core/number/decimal.ts'
import { earliestMs, latestMs, parseInstant } from '../core/time/time.ts'
import { rowCountOf, stringColumn, type FileColumn, type NamedColumn } from '../schemas/arrow/columns.ts'
import type { CsvTable } from '../schemas/csv/read.ts'

/** Rows that want features: who, as of when, and what is known about them beside. */
export interface LabelSet {
  readonly rows: number
  /** By key field: of every entity that the service describes. Where one is null the row's features are ERROR. */
  readonly entities: Readonly<Record<string, Column>>
  readonly asOfMs: Float64Array
  readonly knownAsOfMs: Float64Array
  /** Whether `knownAsOfMs` was given; it equals `asOfMs` otherwise. */
  readonly knownAsOfGiven: boolean
  /** By request field of the service. */
  readonly request: Readonly<Record<string, Column>>
  /** Columns that are handed on as they are. */
  readonly passthrough: readonly NamedColumn[]
  /** 1 for the positive class; null when the rows carry no label that Tidemark knows. */
  readonly label: Uint8Array | null
}

/** A label file: columns by name, in order. Cells of text are typed by the definitions. */
export interface LabelTable {
  readonly rows: number
  readonly columns: Readonly<Record<string, readonly (string | null)[] | FileColumn>>
}

export const labelTableOfCsv = ({ header, rows }: CsvTable): LabelTable => ({
  rows: rows.length,
  columns: Object.fromEntries(header.map((name, index) => [name, rows.map((row) => row[index] ?? null)])),
})

const asOfName = 'as_of'
const knownAsOfName = 'known_as_of'
/** Name of the label's column in a data set. */
export const labelName = 'label'

const invalid = (message: string, cause?: unknown): FeatureStoreError =>
  new FeatureStoreError('FS_LABELS_INVALID', message, cause === undefined ? {} : { cause })

const invalidCell = (row: number, name: string, what: string): FeatureStoreError =>
  invalid(`row ${row + 1}, column ${name}: ${what}`)

/**
 * The label rows of a file: a column for each key field of each entity, `as_of`, `known_as_of` if there is one, and the
 * service's request fields. Every other column is handed on.
 *
 * Types:  text is read by the definitions; int64 narrows to int32, integers widen to int64, decimal or float64 and
 *         decimals change their digits, checked.
 * Units:  `as_of` and `known_as_of` epoch milliseconds or ISO 8601 with a zone; a `known_as_of` that is null is `as_of`.
 * Errors: FS_LABELS_INVALID, naming column and row; rows are counted from 1, without the header.
 */
export function labelsFromTable(catalog: Catalog, service: ServiceDefinition, table: LabelTable): LabelSet {
  const { rows } = table
  const entityFields = entityFieldsOf(
    catalog,
    service.features.map(({ view }) => view),
  )
  const required: Readonly<Record<string, FieldType>> = { ...entityFields, ...service.request }
  checkNames(service, table, required)
  // A nullable request field that is left out is null in every row.
  const absent = new Array<null>(rows).fill(null)
  const columnOf = (name: string): readonly (string | null)[] | FileColumn => table.columns[name] ?? absent
  const typed = (fields: Readonly<Record<string, FieldType>>): Record<string, Column> =>
    Object.fromEntries(
      Object.entries(fields).map(([name, field]) => [name, typedColumn(name, field, columnOf(name), rows)]),
    )
  const asOfMs = instants(asOfName, columnOf(asOfName), rows, null)
  const knownAsOfGiven = knownAsOfName in table.columns
  const taken = new Set([...Object.keys(required), asOfName, knownAsOfName])
  return {
    rows,
    // A key that no event can have is an error of its row (dataset.ts), as in a lookup.
    entities: typed(
      Object.fromEntries(Object.entries(entityFields).map(([name, field]) => [name, { ...field, nullable: true }])),
    ),
    asOfMs,
    knownAsOfMs: knownAsOfGiven ? instants(knownAsOfName, columnOf(knownAsOfName), rows, asOfMs) : asOfMs,
    knownAsOfGiven,
    request: typed(service.request),
    passthrough: Object.entries(table.columns)
      .filter(([name]) => !taken.has(name))
      .map(([name, column]) => ({ name, column: isCells(column) ? textColumn(column) : column })),
    label: null,
  }
}

const isCells = (column: readonly (string | null)[] | FileColumn): column is readonly (string | null)[] =>
  Array.isArray(column)

function checkNames(
  service: ServiceDefinition,
  table: LabelTable,
  required: Readonly<Record<string, FieldType>>,
): void {
  const needed = [...Object.entries(required).map(([name, { type }]) => [name, type] as const)]
  for (const [name, type] of [...needed, [asOfName, 'timestamp'] as const]) {
    if (name in table.columns || required[name]?.nullable === true) continue
    const there = Object.keys(table.columns).join(', ') || 'none'
    throw invalid(`there is no column ${name} (${type}); there are ${there}`)
  }
  const made = [
    ...service.features.map((reference) => featureColumnName(referenceText(reference))),
    ...service.derive.map(({ name }) => name),
  ]
  const clash = made.find((name) => name in table.columns)
  if (clash !== undefined)
    throw invalid(`column ${clash} has the name of a feature of service ${service.name}: leave it out or rename it`)
  for (const [name, column] of Object.entries(table.columns)) {
    const count = isCells(column) ? column.length : rowCountOf(column)
    if (count !== table.rows) throw invalid(`column ${name} has ${count} rows, the table ${table.rows}`)
  }
}

function textColumn(cells: readonly (string | null)[]): Column {
  return stringColumn(cells, maskOf(cells))
}

const maskOf = (cells: readonly (string | null)[]): NullMask =>
  cells.includes(null) ? Uint8Array.from(cells, (cell) => (cell === null ? 1 : 0)) : null

function instants(
  name: string,
  column: readonly (string | null)[] | FileColumn,
  rows: number,
  whenNull: Float64Array | null,
): Float64Array {
  const at = instantReader(name, column)
  const times = new Float64Array(rows)
  for (let row = 0; row < rows; row++) {
    const time = at(row) ?? whenNull?.[row] ?? null
    if (time === null) throw invalidCell(row, name, 'is null')
    if (!(time >= earliestMs && time <= latestMs))
      throw invalidCell(row, name, `${time} is outside the years 1 to 9998`)
    times[row] = time
  }
  return times
}

function instantReader(name: string, column: readonly (string | null)[] | FileColumn): (row: number) => number | null {
  const parsed = (input: unknown, row: number): number => {
    try {
      return parseInstant(input, name)
    } catch (cause) {
      throw invalid(
        `row ${row + 1}, column ${name}: ${JSON.stringify(String(input))} is neither epoch milliseconds nor ISO 8601 with a zone`,
        cause,
      )
    }
  }
  if (isCells(column)) return (row) => (blank(column[row]) ? null : parsed(column[row], row))
  switch (column.type) {
    case 'string': {
      const text = (row: number): string => column.table.strings[column.values[row] as number] as string
      return (row) => (column.nulls?.[row] === 1 || blank(text(row)) ? null : parsed(text(row), row))
    }
    case 'timestamp':
    case 'int32':
    case 'int64':
      return (row) => (column.nulls?.[row] === 1 ? null : parsed(column.values[row], row))
    default:
      throw invalid(`column ${name} is ${column.type}: a timestamp, an integer or text`)
  }
}

const blank = (cell: string | null | undefined): boolean => cell === null || cell === undefined || cell.trim() === ''

function typedColumn(
  name: string,
  field: FieldType,
  column: readonly (string | null)[] | FileColumn,
  rows: number,
): Column {
  const typed = isCells(column) ? parsedColumn(name, field, column) : convertedColumn(name, field, column)
  if (field.nullable !== true && typed.nulls !== null) {
    const row = typed.nulls.subarray(0, rows).indexOf(1)
    if (row >= 0) throw invalidCell(row, name, 'is null')
  }
  if (typed.type === 'float64' && field.allowNonFinite !== true) {
    const row = typed.values.findIndex((value, index) => !Number.isFinite(value) && typed.nulls?.[index] !== 1)
    if (row >= 0) throw invalidCell(row, name, `${typed.values[row]} is not finite`)
  }
  return typed
}

function parsedColumn(name: string, field: FieldType, cells: readonly (string | null)[]): Column {
  const { type } = field
  if (type === 'string') return textColumn(cells)
  // An empty cell, quoted or not, is a null of every type but string.
  const nulls = maskOf(cells.map((cell) => (blank(cell) ? null : cell)))
  const each = (parse: (text: string) => number | null) => (_: unknown, row: number) => {
    if (nulls?.[row] === 1) return 0
    const text = (cells[row] as string).trim()
    const value = parse(text)
    if (value === null) throw invalidCell(row, name, `${JSON.stringify(text)} is no ${type}`)
    return value
  }
  switch (type) {
    case 'int32':
      return { type, values: Int32Array.from(cells, each(parseInt32)), nulls }
    case 'bool':
      return { type, values: Uint8Array.from(cells, each(parseBool)), nulls }
    case 'float64':
      return { type, values: Float64Array.from(cells, each(parseFloat64)), nulls }
    case 'int64': {
      const values = new BigInt64Array(cells.length)
      cells.forEach((cell, row) => {
        if (nulls?.[row] === 1) return
        const text = (cell as string).trim()
        const value = /^[+-]?\d{1,20}$/.test(text) ? BigInt(text.replace('+', '')) : null
        if (value === null || BigInt.asIntN(64, value) !== value)
          throw invalidCell(row, name, `${JSON.stringify(text)} is no int64`)
        values[row] = value
      })
      return { type, values, nulls }
    }
    case 'decimal': {
      const shape = shapeOf(field)
      const values = new BigInt64Array(cells.length)
      cells.forEach((cell, row) => {
        if (nulls?.[row] === 1) return
        const text = (cell as string).trim()
        const value = unscaledOf(text, shape)
        if (value === null) throw invalidCell(row, name, `${JSON.stringify(text)} is no ${scalarText(field)}`)
        values[row] = value
      })
      return { type, ...shape, values, nulls }
    }
    case 'timestamp': {
      const at = instantReader(name, cells)
      return { type, values: Float64Array.from(cells, (_, row) => at(row) ?? 0), nulls }
    }
  }
}

const parseInt32 = (text: string): number | null =>
  /^[+-]?\d{1,10}$/.test(text) && Number(text) === (Number(text) | 0) ? Number(text) | 0 : null

const bools: Readonly<Record<string, number>> = { true: 1, false: 0, '1': 1, '0': 0 }
const parseBool = (text: string): number | null => bools[text.toLowerCase()] ?? null

const nonFinite: Readonly<Record<string, number>> = {
  nan: Number.NaN,
  inf: Number.POSITIVE_INFINITY,
  '-inf': Number.NEGATIVE_INFINITY,
  infinity: Number.POSITIVE_INFINITY,
  '-infinity': Number.NEGATIVE_INFINITY,
}
/** -0 is read as +0. */
const parseFloat64 = (text: string): number | null =>
  /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) ? Number(text) + 0 : (nonFinite[text.toLowerCase()] ?? null)

/** Decimals of other digits, and integers, where every value fits. */
function decimalColumn(name: string, field: FieldType, column: FileColumn): Column | null {
  if (column.type !== 'decimal' && column.type !== 'int32' && column.type !== 'int64') return null
  const shape = shapeOf(field)
  const from = column.type === 'decimal' ? column.scale : 0
  const values = new BigInt64Array(column.values.length)
  for (let row = 0; row < values.length; row++) {
    if (column.nulls?.[row] === 1) continue
    const given = BigInt(column.values[row] as number | bigint)
    const unscaled = rescaled(given, from, shape.scale)
    if (unscaled === null || !fitsPrecision(unscaled, shape.precision))
      throw invalidCell(row, name, `${formatDecimal(given, from)} is no ${scalarText(field)}`)
    values[row] = unscaled
  }
  return { type: 'decimal', ...shape, values, nulls: column.nulls }
}

function convertedColumn(name: string, field: FieldType, column: FileColumn): Column {
  const { type } = field
  const decimal = type === 'decimal' ? decimalColumn(name, field, column) : null
  if (decimal !== null) return decimal
  if (column.type === type) return type === 'float64' ? plainZeros(column as Column & { type: 'float64' }) : column
  const isNull = (row: number): boolean => 'nulls' in column && column.nulls?.[row] === 1
  if (type === 'int32' && column.type === 'int64') {
    const values = new Int32Array(column.values.length)
    column.values.forEach((value, row) => {
      if (isNull(row)) return
      if (BigInt.asIntN(32, value) !== value) throw invalidCell(row, name, `${value} leaves int32`)
      values[row] = Number(value)
    })
    return { type, values, nulls: column.nulls }
  }
  if (type === 'int64' && column.type === 'int32') {
    const values = new BigInt64Array(column.values.length)
    column.values.forEach((value, row) => (values[row] = BigInt(value)))
    return { type, values, nulls: column.nulls }
  }
  if (type === 'float64' && column.type === 'int32')
    return { type, values: Float64Array.from(column.values), nulls: column.nulls }
  if (type === 'float64' && column.type === 'int64') {
    const values = new Float64Array(column.values.length)
    column.values.forEach((value, row) => {
      if (isNull(row)) return
      if (!Number.isSafeInteger(Number(value))) throw invalidCell(row, name, `${value} leaves the integers of float64`)
      values[row] = Number(value)
    })
    return { type, values, nulls: column.nulls }
  }
  if (type === 'timestamp' && column.type !== 'list' && column.type !== 'string' && column.type !== 'decimal') {
    const at = instantReader(name, column)
    const values = new Float64Array(column.values.length)
    for (let row = 0; row < values.length; row++) values[row] = at(row) ?? 0
    return { type, values, nulls: column.nulls }
  }
  throw invalid(`column ${name} is ${column.type}, not ${type}`)
}

const plainZeros = (column: Column & { type: 'float64' }): Column => ({
  ...column,
  values: column.values.map((value) => value + 0),
})
