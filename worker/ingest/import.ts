/**
 * History from a table into the log: rows in (knownAt, row) order, with knownAt as the record timestamp. The order and
 * the partitions depend on the table alone, and each record has a sequence of its producer (the table's digest), so an
 * import that was cut short goes on where it stopped, and one that is complete is not done again.
 */
import { createHash } from 'node:crypto'
import { defaultOp, identityFields, opField, opOf, takesBack } from '../../core/definition/corrections.ts'
import type { StreamDefinition } from '../../core/definition/types.ts'
import { FeatureStoreError } from '../../core/errors.ts'
import { scalarAt } from '../../core/event/column.ts'
import { opNames } from '../../core/event/operation.ts'
import { itemOf } from '../../core/engine/feature-column.ts'
import type { Column, FieldType, ScalarType } from '../../core/event/types.ts'
import { compileExpression } from '../../core/expression/compile.ts'
import type { EventLog, LogRecord } from '../../core/ports/event-log.ts'
import { compileEncoder, lowHalf, streamSchema, type AvroSchema } from '../../schemas/avro/index.ts'
import { checkKeepsKnownAt, JumpGuard } from './known-at.ts'
import { recordKeyOrNull, recordPartition } from './stream-writer.ts'

export interface ImportOptions {
  readonly log: EventLog
  readonly putSchema: (stream: string, schema: AvroSchema) => unknown
  readonly stream: StreamDefinition
  readonly table: { readonly rowCount: number; readonly columns: Readonly<Record<string, Column>> }
  /** Hex SHA-256 of the file: who the producer is. */
  readonly digest: string
  /** Column with the time at which a row became known; default: the stream's importKnownAt, else its event time. */
  readonly knownAtColumn?: string
  readonly onProgress?: (done: number, total: number) => void
}

export interface ImportReport {
  readonly rows: number
  /** Records appended now; the others were there already. */
  readonly appended: number
  readonly alreadyThere: number
  readonly clamped: number
  /** Columns of the file that the stream has no field for. */
  readonly ignoredColumns: readonly string[]
}

const recordsPerAppend = 5_000
const bytesPerAppend = 4 * 1024 * 1024

/** Types of a file's column that a field takes; a value that does not fit becomes a dead letter, kept in the log. */
const accepted: Readonly<Record<ScalarType, readonly ScalarType[]>> = {
  string: ['string'],
  bool: ['bool'],
  int32: ['int32', 'int64'],
  int64: ['int64', 'int32'],
  float64: ['float64', 'int32', 'int64'],
  timestamp: ['timestamp', 'int64'],
  decimal: ['decimal', 'int32', 'int64'],
}

/**
 * Errors: FS_FILE_INVALID when a column is missing or of a type that no value of which could fit; FS_KNOWN_AT_REFUSED where
 * the log has times of its own; FS_DEAD_KNOWN_AT where rows lie further apart than `maxKnownAtJump`, in a log that raises.
 */
export async function importTable(options: ImportOptions): Promise<ImportReport> {
  const { log, stream, table } = options
  checkKeepsKnownAt(log, stream, 'rows of a file are known at times of their own')
  const columns = fileColumns(stream, table)
  const fields = Object.fromEntries(
    Object.entries(columns).map(([name, column]): [string, FieldType] => [name, writtenType(stream, name, column)]),
  )
  const schema = streamSchema(stream.name, fields, otherDecimals(stream, columns))
  await options.putSchema(stream.name, schema)
  const knownAts = knownAtOf(options, columns)
  const order = sortByTime(knownAts)
  const encoder = compileEncoder(schema)
  const keyOf = keyFunction(stream, columns)
  const producerId = producerIdOf(options)
  const guard = new JumpGuard(log, stream)

  const partitions = Array.from({ length: stream.partitions }, () => ({
    skip: 0,
    sequence: 0,
    bytes: 0,
    records: [] as LogRecord[],
  }))
  for (let index = 0; index < partitions.length; index++) {
    const partition = partitions[index] as (typeof partitions)[number]
    partition.skip = partition.sequence = await log.nextSequence(stream.name, index, producerId)
  }
  const alreadyThere = partitions.reduce((sum, { skip }) => sum + skip, 0)
  let appended = 0
  let clamped = 0
  const append = async (index: number): Promise<void> => {
    const partition = partitions[index] as (typeof partitions)[number]
    if (partition.records.length === 0) return
    const result = await log.append(stream.name, index, partition.records, {
      producerId,
      baseSequence: partition.sequence,
    })
    partition.sequence += partition.records.length
    appended += partition.records.length
    clamped += result.clamped
    partition.records = []
    partition.bytes = 0
    options.onProgress?.(alreadyThere + appended, table.rowCount)
  }
  options.onProgress?.(alreadyThere, table.rowCount)
  if (alreadyThere < table.rowCount) {
    for (const row of order) {
      const { key, partition: index } = keyOf(row)
      const partition = partitions[index] as (typeof partitions)[number]
      if (partition.skip > 0) {
        partition.skip--
        continue
      }
      if (!guard.isOpen) await guard.check(index, knownAts[row] as number)
      const value = encoder.encodeRow(columns, row)
      partition.records.push({ key, value, timestampMs: knownAts[row] as number })
      partition.bytes += value.length + 32
      if (partition.records.length >= recordsPerAppend || partition.bytes >= bytesPerAppend) await append(index)
    }
    for (let index = 0; index < partitions.length; index++) await append(index)
  }
  const written = new Set([...Object.values(columns), ...Object.keys(stream.fields).map((name) => table.columns[name])])
  return {
    rows: table.rowCount,
    appended,
    alreadyThere,
    clamped,
    ignoredColumns: Object.keys(table.columns).filter(
      (name) => !written.has(table.columns[name] as Column) && name !== options.knownAtColumn,
    ),
  }
}

/** Whether every row of the file names an operation that adds nothing: its rows need only say which record they take back. */
function onlyTakesBack(stream: StreamDefinition, { columns, rowCount }: ImportOptions['table']): boolean {
  const ops = columns[stream.op ?? opField] ?? columns[opField]
  if (ops?.type !== 'string' || rowCount === 0) return false
  for (let row = 0; row < rowCount; row++) {
    const op = opOf(stream, String(scalarAt(ops, row)))
    if (op === null || !takesBack(op)) return false
  }
  return true
}

/** A column without a value says nothing of its type. */
const isAllNull = ({ nulls }: Column, rowCount: number): boolean =>
  rowCount > 0 && nulls !== null && !nulls.subarray(0, rowCount).includes(0)

/** What is written: the stream's fields, and `_op` of the file unless a field holds the operation. */
function fileColumns(stream: StreamDefinition, { columns, rowCount }: ImportOptions['table']): Record<string, Column> {
  const chosen: Record<string, Column> = {}
  const op = stream.op === undefined ? columns[opField] : undefined
  if (op !== undefined) {
    if (op.type !== 'string')
      throw new FeatureStoreError('FS_FILE_INVALID', `column ${opField} is ${op.type}, not string`)
    // A stream of inserts alone gets it too: what is none becomes a dead letter.
    chosen[opField] = op
  }
  const identity = onlyTakesBack(stream, { columns, rowCount }) ? identityFields(stream) : null
  for (const [name, field] of Object.entries(stream.fields)) {
    const isNeeded = field.nullable !== true && (identity?.has(name) ?? true)
    const given = columns[name]
    const column = given === undefined || !isAllNull(given, rowCount) || isNeeded ? given : undefined
    if (column === undefined) {
      if (name === stream.op) {
        chosen[name] = columns[opField] ?? constantText(opNames[defaultOp(stream)] as string, rowCount)
        continue
      }
      if (!isNeeded) continue
      throw new FeatureStoreError(
        'FS_FILE_INVALID',
        `the file has no column ${name} for stream ${stream.name}; it has ${Object.keys(columns).join(', ')}`,
      )
    }
    if (!accepted[field.type].includes(column.type)) {
      throw new FeatureStoreError(
        'FS_FILE_INVALID',
        `column ${name} is ${column.type}; field ${name} of stream ${stream.name} is ${field.type}`,
      )
    }
    chosen[name] = column
  }
  return chosen
}

const constantText = (text: string, rows: number): Column => ({
  type: 'string',
  values: new Int32Array(rows),
  table: { strings: [text] },
  nulls: null,
})

/** What is written: the file's own type where it is wider, so that nothing is lost; the reader narrows. */
function writtenType(stream: StreamDefinition, name: string, column: Column): FieldType {
  const field = stream.fields[name] ?? { type: column.type }
  const type = field.type === 'timestamp' || field.type === 'float64' ? field.type : column.type
  const written = field.type === 'float64' && column.type !== 'float64' ? column.type : type
  const sameScale =
    column.type === 'decimal' && column.scale === field.scale && column.precision <= (field.precision ?? 0)
  return {
    ...itemOf(column.type === 'decimal' ? (sameScale ? field : column) : { type: written }),
    ...(column.nulls === null && field.nullable !== true ? {} : { nullable: true }),
  }
}

/** Decimals of the file whose digits are not those of the field: what does not fit the field becomes a dead letter. */
const otherDecimals = (stream: StreamDefinition, columns: Readonly<Record<string, Column>>): Set<string> =>
  new Set(
    Object.entries(columns).flatMap(([name, column]) => {
      const { scale, precision = 0 } = stream.fields[name] ?? {}
      return column.type === 'decimal' && (column.scale !== scale || column.precision > precision) ? [name] : []
    }),
  )

/** int64 as float64, from its two halves: no BigInt per value. */
function numbersOf(values: BigInt64Array): Float64Array {
  const halves = new Int32Array(values.buffer, values.byteOffset, values.length * 2)
  const numbers = new Float64Array(values.length)
  for (let row = 0; row < numbers.length; row++)
    numbers[row] = (halves[row * 2 + 1 - lowHalf] as number) * 2 ** 32 + ((halves[row * 2 + lowHalf] as number) >>> 0)
  return numbers
}

/** Columns as the expressions see them: a file's int64 as a number. */
const asNumbers = (columns: Readonly<Record<string, Column>>): Record<string, Column> =>
  Object.fromEntries(
    Object.entries(columns).map(([name, column]) => [
      name,
      column.type === 'int64'
        ? { type: 'float64' as const, values: numbersOf(column.values), nulls: column.nulls }
        : column,
    ]),
  )

function knownAtOf(
  { stream, table, knownAtColumn }: ImportOptions,
  columns: Readonly<Record<string, Column>>,
): Float64Array {
  let source: Column
  if (knownAtColumn !== undefined) {
    const column = table.columns[knownAtColumn]
    if (column === undefined || (column.type !== 'timestamp' && column.type !== 'int64')) {
      throw new FeatureStoreError(
        'FS_FILE_INVALID',
        `--known-at ${knownAtColumn}: the file has no such column of timestamps or int64 milliseconds`,
      )
    }
    source = asNumbers({ column })['column'] as Column
  } else if (stream.importKnownAt === null) source = asNumbers(columns)[stream.eventTime] as Column
  else {
    const missing = Object.entries(stream.fields).filter(([name]) => !Object.hasOwn(columns, name))
    const nulls = new Uint8Array(table.rowCount).fill(1)
    const absent = missing.map(([name]): [string, Column] => [
      name,
      { type: 'float64', values: new Float64Array(table.rowCount), nulls },
    ])
    source = compileExpression(stream.importKnownAt, stream.fields)(
      { ...asNumbers(columns), ...Object.fromEntries(absent) },
      table.rowCount,
    )
  }
  const values = source.values as Float64Array
  for (let row = 0; row < table.rowCount; row++) {
    if (source.nulls?.[row] === 1 || !Number.isSafeInteger(values[row])) {
      throw new FeatureStoreError(
        'FS_FILE_INVALID',
        `row ${row + 1}: when it became known is not a whole millisecond (null or out of range)`,
        {
          remedy: 'Give every row a time with --known-at COLUMN, or correct importKnownAt of the stream.',
        },
      )
    }
  }
  return values
}

/** Row numbers in (time, row) order: a radix sort, 16 bits a pass, over as many passes as the span of times needs. */
export function sortByTime(timesMs: Float64Array): Uint32Array {
  const count = timesMs.length
  let least = Number.POSITIVE_INFINITY
  let most = Number.NEGATIVE_INFINITY
  for (let row = 0; row < count; row++) {
    least = Math.min(least, timesMs[row] as number)
    most = Math.max(most, timesMs[row] as number)
  }
  let from = new Uint32Array(count)
  let to = new Uint32Array(count)
  for (let row = 0; row < count; row++) from[row] = row
  const digits = new Uint16Array(count)
  for (let divisor = 1; count > 0 && divisor <= most - least; divisor *= 65_536) {
    const starts = new Uint32Array(65_537)
    for (let row = 0; row < count; row++) {
      const whole = Math.floor(((timesMs[row] as number) - least) / divisor)
      const digit = whole - Math.floor(whole / 65_536) * 65_536
      digits[row] = digit
      starts[digit + 1] = (starts[digit + 1] as number) + 1
    }
    for (let digit = 0; digit < 65_536; digit++)
      starts[digit + 1] = (starts[digit + 1] as number) + (starts[digit] as number)
    for (let index = 0; index < count; index++) {
      const row = from[index] as number
      const digit = digits[row] as number
      const at = starts[digit] as number
      to[at] = row
      starts[digit] = at + 1
    }
    ;[from, to] = [to, from]
  }
  return from
}

interface RowKey {
  readonly key: Uint8Array | null
  readonly partition: number
}

function keyFunction(stream: StreamDefinition, columns: Readonly<Record<string, Column>>): (row: number) => RowKey {
  const compute = (row: number): RowKey => {
    const key = recordKeyOrNull(stream, (name) => {
      const column = columns[name]
      return column === undefined ? null : scalarAt(column, row)
    })
    return { key, partition: recordPartition(stream, key) }
  }
  const only = stream.key.length === 1 ? columns[stream.key[0] as string] : undefined
  if (only?.type !== 'string' || only.nulls !== null) return compute
  // One string: its key is computed once per distinct value.
  const known: RowKey[] = []
  return (row) => (known[only.values[row] as number] ??= compute(row))
}

/** 62 bits of a digest over what determines the records, so that another file or another mapping is another producer. */
function producerIdOf({ digest, stream, knownAtColumn }: ImportOptions): bigint {
  const identity = createHash('sha256')
    .update(JSON.stringify([digest, stream.name, stream.key, stream.partitions, knownAtColumn ?? stream.importKnownAt]))
    .digest()
  return identity.readBigUInt64BE(0) >> 2n
}
