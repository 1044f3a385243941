/** How a view's feature history lies in ClickHouse: names, types, statements, and rows as blocks. */
import { createHash } from 'node:crypto'
import {
  hasValue,
  itemTypeOf,
  Status,
  statusName,
  valueAt,
  type FeatureColumn,
  type ItemType,
  type ValueType,
} from '../../core/engine/feature-column.ts'
import type { Column, FieldType, Scalar } from '../../core/event/types.ts'
import { unscaledOf, type DecimalShape } from '../../core/number/decimal.ts'
import type { FeaturePosition, FeatureRows, FeatureTable } from '../../core/ports/feature-history-store.ts'
import { encodeNativeBlock, type NativeColumn, type NumberArray } from '../../schemas/sql/native.ts'
import { quoteName } from './client.ts'
import { sqlType } from './event-table.ts'

/** Raised whenever tables made before cannot be read as tables made now. */
const tableFormat = 1

/** What is inserted: every row ever written, and the position. */
export const versionsTable = (view: string): string => `feature_versions_${view}`
/** What people read: the rows that hold. */
export const featuresView = (view: string): string => `features_${view}`

/** A row of the table: of a version, or the one that says how far the table has come. */
const Role = { version: 0, position: 1 } as const

function columnType(type: ValueType): string {
  const item = sqlType({ ...itemTypeOf(type), nullable: true })
  return type.kind === 'list' ? `Array(${item})` : item
}

export function featureColumns({ key, features }: FeatureTable): readonly (readonly [name: string, type: string])[] {
  return [
    ['_role', 'UInt8'],
    ...key.map(({ name, type }) => [name, sqlType({ type })] as const),
    ['_as_of', "DateTime64(3, 'UTC')"],
    ['_known_at', "DateTime64(3, 'UTC')"],
    ['_status', 'LowCardinality(String)'],
    ['_overflow', 'Array(String)'],
    ...features.map(({ name, type }) => [name, columnType(type)] as const),
    ['_position', 'LowCardinality(String)'],
    ['_revision', 'UInt64'],
    ['_removed', 'UInt8'],
  ]
}

/** Says of what a table was made; a table with another comment is made anew. */
export function featureComment(table: FeatureTable, logId: string): string {
  const of = createHash('sha256')
    .update(JSON.stringify([featureColumns(table), table.meaning]))
    .digest('hex')
    .slice(0, 32)
  return `tidemark features format=${tableFormat} log=${logId} of=${of}`
}

/**
 * No PARTITION BY: an insert is one part, so rows and position appear together. A row takes the place of those with its
 * sorting key and a lower revision; all rows of the position have the same one.
 */
export function createFeatureTableSql(table: FeatureTable, comment: string): string {
  const columns = featureColumns(table).map(([name, type]) => `${quoteName(name)} ${type}`)
  const name = ['_role', ...table.key.map((part) => part.name), '_as_of', '_known_at'].map(quoteName)
  return `CREATE TABLE ${quoteName(versionsTable(table.view))} (${columns.join(', ')})
ENGINE = ReplacingMergeTree(_revision, _removed) ORDER BY (${name.join(', ')})
SETTINGS non_replicated_deduplication_window = 10000
COMMENT '${comment.replace(/[\\']/g, '\\$&')}'`
}

export const createFeatureViewSql = (view: string): string =>
  `CREATE OR REPLACE VIEW ${quoteName(featuresView(view))} AS
SELECT * EXCEPT (_role, _revision, _removed) FROM ${quoteName(versionsTable(view))} FINAL WHERE _role = ${Role.version}`

export const positionSql = (view: string): string =>
  `SELECT argMax(_position, _revision) AS position, toInt64(max(_revision)) AS revision
FROM ${quoteName(versionsTable(view))} WHERE _role = ${Role.position} GROUP BY _role`

const positionText = ({ partitions }: FeaturePosition): string =>
  JSON.stringify(partitions.map(({ epoch, next }) => [epoch, next]))

export const readPosition = (text: string, revision: number): FeaturePosition => ({
  revision,
  partitions: (JSON.parse(text) as [number, number][]).map(
    ([epoch, next]) => ({ epoch, next }) as FeaturePosition['partitions'][number],
  ),
})

/** Rows as one Native block. */
export function encodeRows(rows: FeatureRows, table: FeatureTable, to: FeaturePosition): Buffer {
  const { count, keys, asOfs, knownAts, removed, features } = rows
  const overflows = features.flatMap(({ statuses }, index) => (statuses.includes(Status.OVERFLOW, 0) ? [index] : []))
  const first = features[0] as FeatureColumn
  return encodeNativeBlock(
    [
      { name: '_role', type: 'UInt8', data: new Uint8Array(count).fill(Role.version) },
      ...table.key.map(({ name, type }, part): NativeColumn => keyColumn(name, { type }, keys[part] as Column)),
      { name: '_as_of', type: "DateTime64(3, 'UTC')", data: asOfs },
      { name: '_known_at', type: "DateTime64(3, 'UTC')", data: knownAts },
      { name: '_status', type: 'LowCardinality(String)', data: rowStatuses(first, count) },
      {
        name: '_overflow',
        type: 'Array(String)',
        data: lists(count, (row) =>
          overflows
            .filter((index) => features[index]?.statuses[row] === Status.OVERFLOW)
            .map((index) => table.features[index]?.name as string),
        ),
      },
      ...table.features.map((feature, index) => valueColumn(feature, features[index] as FeatureColumn, count)),
      ...trailer(count, to, removed),
    ],
    count,
  )
}

/** The row of the position: defaults in all other columns. */
export function encodePosition(table: FeatureTable, to: FeaturePosition): Buffer {
  const own = new Map<string, NativeColumn>(
    [{ name: '_role', type: 'UInt8', data: Uint8Array.of(Role.position) }, ...trailer(1, to, new Uint8Array(1))].map(
      (column) => [column.name, column],
    ),
  )
  return encodeNativeBlock(
    featureColumns(table).map(([name, type]) => own.get(name) ?? blank(name, type)),
    1,
  )
}

const trailer = (count: number, to: FeaturePosition, removed: Uint8Array): NativeColumn[] => [
  {
    name: '_position',
    type: 'LowCardinality(String)',
    data: { codes: new Int32Array(count), strings: [positionText(to)] },
  },
  { name: '_revision', type: 'UInt64', data: new BigUint64Array(count).fill(BigInt(to.revision)) },
  { name: '_removed', type: 'UInt8', data: removed },
]

function blank(name: string, type: string): NativeColumn {
  if (type.startsWith('Array(')) return { name, type, data: { ends: new Int32Array(1), items: [] } }
  if (type.startsWith('LowCardinality(')) return { name, type, data: { codes: new Int32Array(1), strings: [''] } }
  const nullable = /^Nullable\((.*)\)$/.exec(type)?.[1]
  const nulls = nullable === undefined ? {} : { nulls: Uint8Array.of(1) }
  const base = nullable ?? type
  if (base === 'String') return { name, type, data: [''], ...nulls }
  const data =
    base === 'Bool'
      ? new Uint8Array(1)
      : base === 'Int32'
        ? new Int32Array(1)
        : base === 'Float64'
          ? new Float64Array(1)
          : new BigInt64Array(1)
  return { name, type, data, ...nulls }
}

function keyColumn(name: string, type: FieldType, column: Column): NativeColumn {
  const data =
    column.type === 'string' ? { codes: column.values, strings: column.table.strings } : (column.values as NumberArray)
  return { name, type: sqlType(type), data }
}

/** NOT_FOUND and EXPIRED are those of the entity, so of every feature; the others have one of their own. */
function rowStatuses({ statuses }: FeatureColumn, count: number): { codes: Int32Array; strings: string[] } {
  const strings = [Status.PRESENT, Status.NOT_FOUND, Status.EXPIRED].map(statusName)
  const codes = Int32Array.from(statuses.subarray(0, count), (status) =>
    status === Status.NOT_FOUND ? 1 : status === Status.EXPIRED ? 2 : 0,
  )
  return { codes, strings }
}

function lists<T>(count: number, itemsOf: (row: number) => readonly T[]): { ends: Int32Array; items: T[] } {
  const ends = new Int32Array(count)
  const items: T[] = []
  for (let row = 0; row < count; row++) {
    items.push(...itemsOf(row))
    ends[row] = items.length
  }
  return { ends, items }
}

function valueColumn(
  { name, type }: FeatureTable['features'][number],
  column: FeatureColumn,
  count: number,
): NativeColumn {
  const { values } = column
  if (type.kind === 'list' || values.type === 'list') {
    const { ends, items } = lists(count, (row) => (valueAt(column, row) ?? []) as readonly Scalar[])
    const itemNulls = Uint8Array.from(items, (item) => (item === null ? 1 : 0))
    return {
      name,
      type: columnType(type),
      data: { ends, items: packed(itemTypeOf(type), items), itemNulls },
    }
  }
  const nulls = new Uint8Array(count)
  for (let row = 0; row < count; row++) {
    const status = column.statuses[row] as number
    if (!hasValue(status) && !(column.counts === true && status === Status.NOT_FOUND)) nulls[row] = 1
  }
  return { name, type: columnType(type), data: values.values.slice(0, count), nulls }
}

/** Items of a list as the type's array, '' or 0 at nulls. */
function packed(item: ItemType, items: readonly Scalar[]): NumberArray | string[] {
  switch (item.type) {
    case 'decimal':
      return BigInt64Array.from(items, (text) =>
        text === null ? 0n : (unscaledOf(text as string, item as DecimalShape) ?? 0n),
      )
    case 'string':
      return items.map((item) => (item ?? '') as string)
    case 'bool':
      return Uint8Array.from(items, (item) => (item === true ? 1 : 0))
    case 'int32':
      return Int32Array.from(items, (item) => Number(item ?? 0))
    case 'int64':
    case 'timestamp':
      return BigInt64Array.from(items, (item) => BigInt((item ?? 0) as number | bigint))
    case 'float64':
      return Float64Array.from(items, (item) => Number(item ?? 0))
  }
}
