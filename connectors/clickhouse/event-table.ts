/** How a stream lies in ClickHouse: names, types, the statements that make its table, and one batch as a block. */
import { createHash } from 'node:crypto'
import { unreachable } from '../../core/brand.ts'
import { FeatureStoreError } from '../../core/errors.ts'
import type { EventBatch } from '../../core/event/batch.ts'
import { Op, opNames } from '../../core/event/operation.ts'
import type { Column, FieldType } from '../../core/event/types.ts'
import { decimalDigitsMax } from '../../core/number/decimal.ts'
import type { EventTable } from '../../core/ports/offline-store.ts'
import { encodeNativeBlock, type NativeColumn } from '../../schemas/sql/native.ts'
import { quoteName } from './client.ts'

/** Raised whenever tables made before cannot be read as tables made now. */
const tableFormat = 2

export const tableName = (stream: string): string => `events_${stream}`

/** The columns that every stream has; a field may not have one of these names. */
export const recordColumns = [
  ['_partition', 'Int32'],
  ['_offset', 'Int64'],
  ['_epoch', 'Int32'],
  ['_event_time', 'Int64'],
  ['_known_at', 'Int64'],
  ['_op', 'LowCardinality(String)'],
  ['_dead', 'LowCardinality(String)'],
  ['_reason', 'String'],
  ['_payload', 'String'],
] as const

const recordNames: ReadonlySet<string> = new Set(recordColumns.map(([name]) => name))

export function sqlType({ type, nullable, scale }: FieldType): string {
  const base = {
    // Always of 18 digits: so many are 64 bits, and a field may widen to them.
    decimal: `Decimal(${decimalDigitsMax}, ${scale})`,
    string: 'String',
    bool: 'Bool',
    int32: 'Int32',
    int64: 'Int64',
    float64: 'Float64',
    timestamp: "DateTime64(3, 'UTC')",
  }[type]
  return nullable === true ? `Nullable(${base})` : base
}

/** The field type of a column of ours. */
export function fieldType(type: string): FieldType {
  const inner = /^Nullable\((.*)\)$/.exec(type)?.[1]
  const bases: Readonly<Record<string, FieldType['type']>> = {
    String: 'string',
    Bool: 'bool',
    Int32: 'int32',
    Int64: 'int64',
    Float64: 'float64',
    "DateTime64(3, 'UTC')": 'timestamp',
  }
  const scale = new RegExp(`^Decimal\\(${decimalDigitsMax}, (\\d+)\\)$`).exec(inner ?? type)?.[1]
  if (scale !== undefined) {
    const decimal = { type: 'decimal', precision: decimalDigitsMax, scale: Number(scale) } as const
    return inner === undefined ? decimal : { ...decimal, nullable: true }
  }
  const base = bases[inner ?? type]
  if (base === undefined) throw new FeatureStoreError('FS_STATE_FORMAT', `an event column has the type ${type}`)
  return inner === undefined ? { type: base } : { type: base, nullable: true }
}

/** Errors: FS_DEFINITION_INVALID for a field named as a column of ours. */
export function columnsOf(table: EventTable): readonly (readonly [name: string, type: string])[] {
  const taken = Object.keys(table.fields).find((name) => recordNames.has(name))
  if (taken !== undefined)
    throw new FeatureStoreError('FS_DEFINITION_INVALID', `stream ${table.stream}: the field name ${taken} is reserved`)
  return [...recordColumns, ...Object.entries(table.fields).map(([name, field]) => [name, sqlType(field)] as const)]
}

/** Says of what a table was made; a table with another comment is made anew. */
export function tableComment(table: EventTable, logId: string): string {
  const columns = createHash('sha256')
    .update(JSON.stringify(table.reading === undefined ? columnsOf(table) : [columnsOf(table), table.reading]))
    .digest('hex')
    .slice(0, 32)
  return `tidemark events format=${tableFormat} log=${logId} columns=${columns}`
}

/**
 * No PARTITION BY: an insert over two ClickHouse partitions is not atomic. The window of remembered tokens exceeds
 * what can be under way or sent again.
 */
export function createTableSql(table: EventTable, comment: string): string {
  const columns = columnsOf(table).map(([name, type]) => `${quoteName(name)} ${type}`)
  return `CREATE TABLE ${quoteName(tableName(table.stream))} (${columns.join(', ')})
ENGINE = MergeTree ORDER BY (_event_time, _partition, _offset)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT '${comment.replace(/[\\']/g, '\\$&')}'`
}

/** Good rows only, under the stream's own name, for people who write SQL. */
export const createViewSql = (stream: string): string =>
  `CREATE OR REPLACE VIEW ${quoteName(stream)} AS
SELECT * EXCEPT (_dead, _reason, _payload) FROM ${quoteName(tableName(stream))} WHERE _dead = ''`

/**
 * One Native block: the good records in offset order, then the dead ones. The same records and fields always give the
 * same bytes.
 */
export function encodeBatch(batch: EventBatch, table: EventTable): Buffer {
  const rows = batch.count + batch.dead.length
  const { dead } = batch
  const columns: NativeColumn[] = [
    { name: '_partition', type: 'Int32', data: new Int32Array(rows).fill(batch.partition) },
    {
      name: '_offset',
      type: 'Int64',
      data: joined(
        batch.offsets,
        dead.map((record) => record.offset),
        rows,
      ),
    },
    { name: '_epoch', type: 'Int32', data: new Int32Array(rows).fill(batch.epoch) },
    // A dead record has no event time; its known-at keeps it near its neighbours in the sorting key.
    {
      name: '_event_time',
      type: 'Int64',
      data: joined(
        batch.eventTimes,
        dead.map((record) => record.knownAt),
        rows,
      ),
    },
    {
      name: '_known_at',
      type: 'Int64',
      data: joined(
        batch.knownAts,
        dead.map((record) => record.knownAt),
        rows,
      ),
    },
    { name: '_op', type: 'LowCardinality(String)', data: opCodes(batch, rows) },
    { name: '_dead', type: 'LowCardinality(String)', data: deadCodes(batch, rows) },
    { name: '_reason', type: 'String', data: [...blank(batch.count), ...dead.map((record) => record.reason)] },
    { name: '_payload', type: 'String', data: [...blank(batch.count), ...dead.map((record) => record.payload)] },
    ...Object.entries(table.fields).map(([name, field]) => fieldColumn(name, field, batch, rows)),
  ]
  return encodeNativeBlock(columns, rows)
}

const blank = (count: number): string[] => new Array<string>(count).fill('')

function joined(good: Float64Array, dead: readonly number[], rows: number): Float64Array {
  const values = new Float64Array(rows)
  values.set(good.subarray(0, rows - dead.length))
  values.set(dead, rows - dead.length)
  return values
}

/** What each record does, by name; a dead record does nothing, and has ''. */
function opCodes({ count, ops }: EventBatch, rows: number): { codes: Int32Array; strings: readonly string[] } {
  const codes = new Int32Array(rows).fill(-1)
  if (ops === null) codes.fill(Op.insert, 0, count)
  else codes.set(ops.subarray(0, count))
  return { codes, strings: opNames }
}

function deadCodes({ count, dead }: EventBatch, rows: number): { codes: Int32Array; strings: string[] } {
  const strings: string[] = ['', ...new Set(dead.map((record) => record.code))]
  const codes = new Int32Array(rows)
  dead.forEach((record, index) => (codes[count + index] = strings.indexOf(record.code)))
  return { codes, strings }
}

function fieldColumn(name: string, field: FieldType, batch: EventBatch, rows: number): NativeColumn {
  const column = batch.columns[name]
  if (column === undefined || column.type !== field.type)
    throw new FeatureStoreError('FS_INTERNAL', `stream ${batch.stream}: a batch without column ${name} ${field.type}`)
  const type = sqlType(field)
  const isNullable = field.nullable === true
  const nulls = isNullable ? deadAreNull(column.nulls, batch.count, rows) : null
  return { name, type, nulls, data: padded(column, batch.count, rows) }
}

function deadAreNull(nulls: Uint8Array | null, count: number, rows: number): Uint8Array {
  const mask = new Uint8Array(rows)
  if (nulls !== null) mask.set(nulls.subarray(0, count))
  return mask.fill(1, count)
}

/** The column's values, then a default for each dead record. */
function padded(column: Column, count: number, rows: number): NativeColumn['data'] {
  switch (column.type) {
    case 'string': {
      if (count === rows) return { codes: column.values.subarray(0, rows), strings: column.table.strings }
      const codes = new Int32Array(rows)
      codes.set(column.values.subarray(0, count))
      return { codes: codes.fill(-1, count), strings: column.table.strings }
    }
    case 'bool':
      return fit(column.values, new Uint8Array(rows), count)
    case 'int32':
      return fit(column.values, new Int32Array(rows), count)
    case 'int64':
    case 'decimal':
      return fit(column.values, new BigInt64Array(rows), count)
    case 'float64':
    case 'timestamp':
      return fit(column.values, new Float64Array(rows), count)
    default:
      return unreachable(column)
  }
}

interface Settable<T> {
  readonly length: number
  subarray(from: number, to: number): T
  set(values: T): void
}

function fit<T extends Settable<T>>(values: T, target: T, count: number): T {
  if (values.length === target.length && count === target.length) return values
  target.set(values.subarray(0, count))
  return target
}
