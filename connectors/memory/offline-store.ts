/** The offline store in memory: rows as plain values in arrays. The reference that the others are compared with. */
import { unreachable } from '../../core/brand.ts'
import { FeatureStoreError } from '../../core/errors.ts'
import type { EventBatch } from '../../core/event/batch.ts'
import { scalarAt } from '../../core/event/column.ts'
import { nextOffset, offset, offsetZero, type PartitionPosition } from '../../core/event/position.ts'
import { Op } from '../../core/event/operation.ts'
import { shapeOf, type Column, type FieldType, type Scalar } from '../../core/event/types.ts'
import { unscaledOfCanonical } from '../../core/number/decimal.ts'
import type {
  EventHistory,
  EventQuery,
  EventTable,
  InsertOutcome,
  OfflineStore,
} from '../../core/ports/offline-store.ts'

interface Row {
  readonly partition: number
  readonly offset: number
  readonly eventTime: number
  readonly knownAt: number
  readonly op: number
  readonly fields: Readonly<Record<string, Scalar>>
}

interface Table {
  readonly definition: EventTable
  readonly positions: Map<number, PartitionPosition>
  readonly rows: Row[]
}

export function openMemoryOfflineStore(): OfflineStore {
  return new MemoryOfflineStore()
}

class MemoryOfflineStore implements OfflineStore {
  readonly #tables = new Map<string, Table>()

  prepare(tables: readonly EventTable[]): Promise<void> {
    for (const definition of tables) {
      const held = this.#tables.get(definition.stream)
      const nameOf = ({ fields, reading }: EventTable): string => JSON.stringify([fields, reading])
      if (held === undefined || nameOf(held.definition) !== nameOf(definition))
        this.#tables.set(definition.stream, { definition, positions: new Map(), rows: [] })
    }
    return Promise.resolve()
  }

  /** Nothing is ever left open: an insert is done when it returns. */
  pending(): readonly [] {
    return []
  }

  async positions(stream: string, partitions: number): Promise<readonly PartitionPosition[]> {
    const { positions } = await this.#table(stream)
    const length = Math.max(partitions, ...[...positions.keys()].map((partition) => partition + 1))
    return Array.from({ length }, (_, index) => positions.get(index) ?? { epoch: 0, next: offsetZero })
  }

  async insert(batch: EventBatch): Promise<InsertOutcome> {
    const { definition, positions, rows } = await this.#table(batch.stream)
    const held = positions.get(batch.partition) ?? { epoch: 0, next: offsetZero }
    if (batch.nextOffset <= held.next) return { kind: 'already-applied' }
    if (batch.firstOffset !== held.next) return { kind: 'gap', expected: held }
    for (let row = 0; row < batch.count; row++) rows.push(rowOf(batch, row, definition.fields))
    positions.set(batch.partition, { epoch: batch.epoch, next: offset(batch.nextOffset) })
    return { kind: 'applied' }
  }

  async events(query: EventQuery): Promise<EventHistory> {
    const { definition, rows } = await this.#table(query.stream)
    const keys = keysOf(query, definition)
    const own = rows.filter((row) => isReadable(row, query) && isAsked(row, query, keys))
    const found = query.primaryKey === undefined ? own : versionsOf(own, rows, query, query.primaryKey)
    found.sort(
      (a, b) => a.eventTime - b.eventTime || a.knownAt - b.knownAt || a.partition - b.partition || a.offset - b.offset,
    )
    const columns = Object.entries(definition.fields).map(([name, field]) => [
      name,
      columnOf(
        field,
        found.map((row) => row.fields[name] ?? null),
      ),
    ])
    return {
      stream: query.stream,
      count: found.length,
      partitions: Int32Array.from(found, (row) => row.partition),
      offsets: Float64Array.from(found, (row) => row.offset),
      eventTimes: Float64Array.from(found, (row) => row.eventTime),
      knownAts: Float64Array.from(found, (row) => row.knownAt),
      ops: found.some((row) => row.op !== Op.insert) ? Uint8Array.from(found, (row) => row.op) : null,
      columns: Object.fromEntries(columns) as EventHistory['columns'],
    }
  }

  drop(stream: string): Promise<void> {
    this.#tables.delete(stream)
    return Promise.resolve()
  }

  async #table(stream: string): Promise<Table> {
    const table = this.#tables.get(stream)
    if (table === undefined) throw new FeatureStoreError('FS_STREAM_UNKNOWN', `no table of events of ${stream}`)
    return await Promise.resolve(table)
  }
}

type Keys = readonly (readonly [name: string, value: Scalar])[]

const keysOf = (query: EventQuery, { fields }: EventTable): Keys =>
  Object.entries(query.key).map(([name, value]) => [name, keyValue(name, fields[name], value)])

const isReadable = (row: Row, query: EventQuery): boolean =>
  row.knownAt <= query.knownAtMsMax && row.offset < nextOffset(query.position, query.stream, row.partition)

const isAsked = (row: Row, query: EventQuery, keys: Keys): boolean =>
  row.eventTime >= query.fromMs &&
  row.eventTime < query.toMs &&
  keys.every(([name, value]) => row.fields[name] === value)

/** Every record of the rows that `own` are versions of. */
function versionsOf(
  own: readonly Row[],
  rows: readonly Row[],
  query: EventQuery,
  primaryKey: readonly string[],
): Row[] {
  const nameOf = (row: Row): string => JSON.stringify(primaryKey.map((name) => String(row.fields[name])))
  const asked = new Set(own.map(nameOf))
  return rows.filter((row) => isReadable(row, query) && asked.has(nameOf(row)))
}

/** As the column holds it: int64 is a bigint, the other integers are numbers. */
function keyValue(name: string, field: FieldType | undefined, value: Scalar): Scalar {
  const isInteger = typeof value === 'bigint' || (typeof value === 'number' && Number.isSafeInteger(value))
  if (field?.type === 'int64' && isInteger) return BigInt(value)
  if ((field?.type === 'int32' || field?.type === 'timestamp') && isInteger) return Number(value)
  if (field?.type === 'string' && typeof value === 'string') return value
  if (field?.type === 'bool' && typeof value === 'boolean') return value
  throw new FeatureStoreError('FS_ENTITY_INVALID', `key field ${name} does not take a ${typeof value}`)
}

function rowOf(batch: EventBatch, row: number, fields: EventTable['fields']): Row {
  return {
    partition: batch.partition,
    offset: batch.offsets[row] as number,
    eventTime: batch.eventTimes[row] as number,
    knownAt: batch.knownAts[row] as number,
    op: batch.ops?.[row] ?? Op.insert,
    fields: Object.fromEntries(
      Object.keys(fields).map((name) => [name, scalarAt(batch.columns[name] as Column, row)] as const),
    ),
  }
}

/** A column of values as people write them. */
export function columnOf(field: FieldType, values: readonly Scalar[]): Column {
  const { type } = field
  const nulls = values.includes(null) ? Uint8Array.from(values, (value) => (value === null ? 1 : 0)) : null
  switch (type) {
    case 'string': {
      const strings = [...new Set(values.map((value) => (value ?? '') as string))]
      const codes = new Map(strings.map((value, code) => [value, code]))
      const codeOf = (value: Scalar): number => codes.get((value ?? '') as string) as number
      return { type, values: Int32Array.from(values, codeOf), table: { strings }, nulls }
    }
    case 'bool':
      return { type, values: Uint8Array.from(values, (value) => (value === true ? 1 : 0)), nulls }
    case 'int32':
      return { type, values: Int32Array.from(values, (value) => Number(value ?? 0)), nulls }
    case 'int64':
      return { type, values: BigInt64Array.from(values, (value) => BigInt((value ?? 0) as number | bigint)), nulls }
    case 'decimal':
      return {
        type,
        ...shapeOf(field),
        values: BigInt64Array.from(values, (value) => unscaledOfCanonical((value ?? '0') as string)),
        nulls,
      }
    case 'float64':
    case 'timestamp':
      return { type, values: Float64Array.from(values, (value) => Number(value ?? 0)), nulls }
    default:
      return unreachable(type)
  }
}
