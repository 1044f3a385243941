/**
 * The offline store on ClickHouse, embedded or clustered: one table per stream, one row per log record.
 *
 * Exactly once: an insert is one source partition, one block, one part, under a token that determines its bytes. Its
 * range is journalled before it is sent. After a crash that range must come again first (`pending`): with the same
 * token the engine skips what it holds and adds what it lacks. Only then is the position read back from the rows.
 */
import { FeatureStoreError } from '../../core/errors.ts'
import type { EventBatch } from '../../core/event/batch.ts'
import { type Offset, offset, offsetZero, type PartitionPosition } from '../../core/event/position.ts'
import { Op, opNames } from '../../core/event/operation.ts'
import { shapeOf, type Column, type FieldType, type Scalar } from '../../core/event/types.ts'
import type {
  EventHistory,
  EventQuery,
  EventTable,
  InsertOutcome,
  OfflineStore,
  PendingInsert,
} from '../../core/ports/offline-store.ts'
import { type DecodedColumn, int64ToNumbers, type NativeBlock } from '../../schemas/sql/native.ts'
import { type ClickHouseClient, type QueryParams, quoteName } from './client.ts'
import { dense } from './dense.ts'
import {
  columnsOf,
  createTableSql,
  createViewSql,
  encodeBatch,
  fieldType,
  recordColumns,
  tableComment,
  tableName,
} from './event-table.ts'
import { InsertJournal } from './journal.ts'

export interface OfflineStoreOptions {
  /** Where ranges under way are journalled; one writer at a time. null: to read only. */
  readonly journalFolder: string | null
  /** Tables of another log are made anew. */
  readonly logId: string
}

/** What became of the tables: those in `reset` were dropped and are empty, to be filled from the log again. */
export interface PrepareReport {
  readonly created: readonly string[]
  readonly reset: readonly string[]
}

export interface ClickHouseOfflineStore extends OfflineStore {
  /** `prepare`, telling what it did. */
  prepareTables(tables: readonly EventTable[]): Promise<PrepareReport>
}

/** Of one insert: it must stay one block of the engine and one body in memory. */
export const insertRowsMax = 500_000
const insertBytesMax = 256_000_000
/** Changes when the same records would give other bytes: a token promises its bytes. */
const encodingVersion = 2

export function openOfflineStore(client: ClickHouseClient, options: OfflineStoreOptions): ClickHouseOfflineStore {
  return new ClickHouseStore(client, options)
}

class ClickHouseStore implements ClickHouseOfflineStore {
  readonly #client: ClickHouseClient
  readonly #logId: string
  readonly #journal: InsertJournal
  readonly #tables = new Map<string, EventTable>()
  /** What a partition holds, known from the last read or insert; absent when an insert has failed since. */
  readonly #held = new Map<string, PartitionPosition>()
  readonly #turns = new Map<string, Promise<unknown>>()

  constructor(client: ClickHouseClient, { journalFolder, logId }: OfflineStoreOptions) {
    this.#client = client
    this.#logId = logId
    this.#journal = new InsertJournal(journalFolder, logId)
  }

  async prepare(tables: readonly EventTable[]): Promise<void> {
    await this.prepareTables(tables)
  }

  async prepareTables(tables: readonly EventTable[]): Promise<PrepareReport> {
    const names = new Set(tables.flatMap(({ stream }) => [stream, tableName(stream)]))
    if (names.size < 2 * tables.length)
      throw new FeatureStoreError('FS_DEFINITION_INVALID', 'a stream has the name of the event table of another')
    const comments = await this.#comments()
    const created: string[] = []
    const reset: string[] = []
    for (const table of tables) {
      const wanted = tableComment(table, this.#logId)
      const found = comments.get(tableName(table.stream))
      if (found !== wanted) {
        if (found !== undefined) await this.drop(table.stream)
        // What a table lacks that is not there at all, no journal entry can complete.
        this.#journal.forget(table.stream)
        await this.#client.exec(createTableSql(table, wanted))
        ;(found === undefined ? created : reset).push(table.stream)
      }
      await this.#client.exec(createViewSql(table.stream))
      this.#tables.set(table.stream, table)
    }
    return { created, reset }
  }

  pending(stream: string): readonly PendingInsert[] {
    return this.#journal.pending(stream)
  }

  async positions(stream: string, partitions: number): Promise<readonly PartitionPosition[]> {
    await this.#table(stream)
    const pending = this.#journal.pending(stream)
    const bounds = pending.map((entry) => `(_partition = ${entry.partition} AND _offset >= ${entry.first})`)
    const where = bounds.length === 0 ? '' : `WHERE NOT (${bounds.join(' OR ')})`
    const block = await this.#client.query(
      `SELECT _partition, max(_offset) + 1 AS next, toInt64(count()) AS held, argMax(_epoch, _offset) AS epoch
FROM ${quoteName(tableName(stream))} ${where} GROUP BY _partition`,
    )
    const found = new Map<number, PartitionPosition>()
    const [partition, next, held, epoch] = [0, 1, 2, 3].map((index) => numbersOf(block, index))
    for (let row = 0; row < block.rows; row++) {
      if (next?.[row] !== held?.[row])
        throw new FeatureStoreError(
          'FS_INTERNAL',
          `events_${stream} holds ${held?.[row]} rows of partition ${partition?.[row]} up to offset ${next?.[row]}`,
          { remedy: 'Run `tidemark rebuild`: the table is derived from the log. Please report it.' },
        )
      found.set(partition?.[row] as number, { epoch: epoch?.[row] as number, next: offset(next?.[row] as number) })
    }
    const length = Math.max(partitions, ...[...found.keys()].map((index) => index + 1))
    return Array.from({ length }, (_, index) => {
      const position = found.get(index) ?? { epoch: 0, next: offsetZero }
      if (this.#journal.of(stream, index) === null) this.#held.set(slot(stream, index), position)
      return position
    })
  }

  insert(batch: EventBatch): Promise<InsertOutcome> {
    // One at a time per partition: the journal has one place for each.
    const key = slot(batch.stream, batch.partition)
    const before = this.#turns.get(key) ?? Promise.resolve()
    const turn = before.then(() => this.#insert(batch))
    const settled = turn.then(
      () => undefined,
      () => undefined,
    )
    this.#turns.set(key, settled)
    return turn
  }

  async events(query: EventQuery): Promise<EventHistory> {
    const table = await this.#table(query.stream)
    const { where, params } = conditions(query, table)
    const fields = Object.keys(table.fields)
    const block = await this.#client.query(
      `SELECT ${['_partition', '_offset', '_event_time', '_known_at', '_op', ...fields].map(quoteName).join(', ')}
FROM ${quoteName(tableName(query.stream))} WHERE ${where}
ORDER BY _event_time, _known_at, _partition, _offset`,
      { params },
    )
    const columns = fields.map((name, index) => [
      name,
      column(block.columns[index + 5], table.fields[name] as FieldType),
    ])
    return {
      stream: query.stream,
      count: block.rows,
      partitions: (block.columns[0]?.data as Int32Array | undefined) ?? new Int32Array(0),
      offsets: numbersOf(block, 1),
      eventTimes: numbersOf(block, 2),
      knownAts: numbersOf(block, 3),
      ops: opsOf(block, 4),
      columns: Object.fromEntries(columns) as EventHistory['columns'],
    }
  }

  async drop(stream: string): Promise<void> {
    await this.#client.exec(`DROP VIEW IF EXISTS ${quoteName(stream)} SYNC`)
    await this.#client.exec(`DROP TABLE IF EXISTS ${quoteName(tableName(stream))} SYNC`)
    this.#journal.forget(stream)
    this.#tables.delete(stream)
    for (const key of this.#held.keys()) if (key.startsWith(`${stream}\0`)) this.#held.delete(key)
  }

  async #insert(given: EventBatch): Promise<InsertOutcome> {
    const batch = dense(given)
    const { stream, partition, epoch, firstOffset: first, nextOffset: next } = batch
    const table = await this.#table(stream)
    const rows = batch.count + batch.dead.length
    if (rows !== next - first)
      throw new FeatureStoreError('FS_INTERNAL', `a batch of ${rows} records for offsets ${first} to ${next}`)
    const pending = this.#journal.of(stream, partition)
    if (pending !== null) {
      const isSame = pending.first === first && pending.next === next && pending.epoch === epoch
      if (!isSame) return { kind: 'gap', expected: { epoch: pending.epoch, next: pending.first } }
    } else {
      const held = await this.#heldOf(stream, partition)
      if (next <= held.next) return { kind: 'already-applied' }
      if (first !== held.next) return { kind: 'gap', expected: held }
    }
    await this.#send(batch, table, { stream, partition, epoch, first, next })
    return { kind: 'applied' }
  }

  async #send(batch: EventBatch, table: EventTable, range: PendingInsert): Promise<void> {
    const { stream, partition, epoch, first, next } = range
    if (next - first > insertRowsMax)
      throw new FeatureStoreError('FS_LIMIT_EXCEEDED', `an insert has at most ${insertRowsMax} records`)
    const bytes = encodeBatch(batch, table)
    if (bytes.length > insertBytesMax)
      throw new FeatureStoreError('FS_LIMIT_EXCEEDED', `an insert has at most ${insertBytesMax} bytes`)
    this.#journal.begin(range)
    this.#held.delete(slot(stream, partition))
    await this.#client.insert({
      table: tableName(stream),
      columns: columnsOf(table).map(([name]) => name),
      bytes,
      token: `${stream}:${partition}:${epoch}:${first}-${next}:v${encodingVersion}`,
    })
    this.#journal.done(stream, partition)
    this.#held.set(slot(stream, partition), { epoch, next })
  }

  async #heldOf(stream: string, partition: number): Promise<PartitionPosition> {
    const key = slot(stream, partition)
    if (!this.#held.has(key)) await this.positions(stream, partition + 1)
    return this.#held.get(key) as PartitionPosition
  }

  /** A stream as prepared here, or as another process has made it. */
  async #table(stream: string): Promise<EventTable> {
    const known = this.#tables.get(stream)
    if (known !== undefined) return known
    const block = await this.#client.query(
      'SELECT name, type FROM system.columns WHERE database = {database:String} AND table = {table:String} ORDER BY position',
      { params: { database: this.#client.database, table: tableName(stream) } },
    )
    if (block.rows === 0) throw new FeatureStoreError('FS_STREAM_UNKNOWN', `no table of events of ${stream}`)
    const [names, types] = [stringsOf(block, 0), stringsOf(block, 1)]
    const fields: Record<string, FieldType> = {}
    for (let row = recordColumns.length; row < block.rows; row++)
      fields[names[row] as string] = fieldType(types[row] as string)
    const table = { stream, fields }
    this.#tables.set(stream, table)
    return table
  }

  async #comments(): Promise<ReadonlyMap<string, string>> {
    const block = await this.#client.query(
      "SELECT name, comment FROM system.tables WHERE database = {database:String} AND startsWith(name, 'events_')",
      { params: { database: this.#client.database } },
    )
    const [names, comments] = [stringsOf(block, 0), stringsOf(block, 1)]
    return new Map(names.map((name, row) => [name, comments[row] as string]))
  }
}

const slot = (stream: string, partition: number): string => `${stream}\0${partition}`

/** Everything that decides which rows count; values travel as parameters, never in the text. */
function conditions(query: EventQuery, table: EventTable): { readonly where: string; readonly params: QueryParams } {
  const nexts = (query.position.streams[query.stream] ?? []).map(({ next }: { next: Offset }) => next as number)
  const params: Record<string, QueryParams[string]> = { nexts }
  // Beyond the end of an array ClickHouse answers 0, as the position does for a partition that it does not name.
  const readable = ["_dead = ''", '_offset < {nexts:Array(Int64)}[_partition + 1]']
  const bound = (term: string, name: string, value: number): string => {
    params[name] = value
    return `${term} {${name}:Int64}`
  }
  if (query.knownAtMsMax !== Infinity)
    readable.push(bound('_known_at <=', 'known', clampInteger(Math.floor(query.knownAtMsMax))))
  const terms = [...readable]
  if (query.toMs !== Infinity) terms.push(bound('_event_time <', 'to', clampInteger(Math.ceil(query.toMs))))
  if (query.fromMs !== -Infinity) terms.push(bound('_event_time >=', 'from', clampInteger(Math.ceil(query.fromMs))))
  Object.entries(query.key).forEach(([name, value], index) => {
    const { term, param } = keyTerm(name, table.fields[name], value, `key${index}`)
    terms.push(term)
    params[`key${index}`] = param
  })
  const where = terms.join(' AND ')
  if (query.primaryKey === undefined) return { where, params }
  const row = `(${query.primaryKey.map(quoteName).join(', ')})`
  const versions = `SELECT ${row} FROM ${quoteName(tableName(query.stream))} WHERE ${where}`
  return { where: [...readable, `${row} IN (${versions})`].join(' AND '), params }
}

const clampInteger = (value: number): number =>
  Math.max(Number.MIN_SAFE_INTEGER, Math.min(Number.MAX_SAFE_INTEGER, value))

/** Errors: FS_ENTITY_INVALID for a field that the stream does not have, or a value of another type. */
function keyTerm(
  name: string,
  field: FieldType | undefined,
  value: Scalar,
  param: string,
): { readonly term: string; readonly param: QueryParams[string] } {
  const wrong = (): FeatureStoreError =>
    new FeatureStoreError(
      'FS_ENTITY_INVALID',
      `key field ${name}: ${value === null ? 'null' : typeof value} for ${field?.type ?? 'no field'}`,
    )
  const isInteger = typeof value === 'bigint' || (typeof value === 'number' && Number.isSafeInteger(value))
  switch (field?.type) {
    case 'string':
      if (typeof value !== 'string') throw wrong()
      return { term: `${quoteName(name)} = {${param}:String}`, param: value }
    case 'bool':
      if (typeof value !== 'boolean') throw wrong()
      return { term: `${quoteName(name)} = {${param}:Bool}`, param: value }
    case 'int32':
    case 'int64':
      if (!isInteger) throw wrong()
      return { term: `${quoteName(name)} = {${param}:Int64}`, param: value }
    case 'timestamp':
      if (!isInteger) throw wrong()
      return { term: `toUnixTimestamp64Milli(${quoteName(name)}) = {${param}:Int64}`, param: value }
    case 'float64':
    case 'decimal':
    case undefined:
    default:
      throw wrong()
  }
}

function numbersOf(block: NativeBlock, index: number): Float64Array {
  const data = block.columns[index]?.data
  if (data === undefined) return new Float64Array(0)
  if (data instanceof BigInt64Array) return int64ToNumbers(data)
  return Float64Array.from(data as Int32Array)
}

/** Errors: FS_STATE_FORMAT for a word that names no operation. */
function opsOf(block: NativeBlock, index: number): Uint8Array | null {
  const data = block.columns[index]?.data
  if (data === undefined || !('codes' in data)) return null
  const known = data.strings.map((name) => (opNames as readonly string[]).indexOf(name))
  const ops = new Uint8Array(data.codes.length)
  let some = false
  for (let row = 0; row < ops.length; row++) {
    const op = known[data.codes[row] as number] ?? -1
    if (op < 0) throw new FeatureStoreError('FS_STATE_FORMAT', 'an event row has an unknown operation')
    ops[row] = op
    if (op !== Op.insert) some = true
  }
  return some ? ops : null
}

function stringsOf(block: NativeBlock, index: number): string[] {
  const data = block.columns[index]?.data
  return data !== undefined && 'codes' in data ? Array.from(data.codes, (code) => data.strings[code] as string) : []
}

/** A decoded column as the engine takes it; without rows there is none. */
function column(decoded: DecodedColumn | undefined, field: FieldType): Column {
  const { type } = field
  const nulls = decoded?.nulls ?? null
  const data = decoded?.data
  switch (type) {
    case 'string': {
      if (data === undefined || !('codes' in data))
        return { type, values: new Int32Array(0), table: { strings: [] }, nulls }
      return { type, values: data.codes, table: { strings: data.strings }, nulls }
    }
    case 'bool':
      return { type, values: (data as Uint8Array | undefined) ?? new Uint8Array(0), nulls }
    case 'int32':
      return { type, values: (data as Int32Array | undefined) ?? new Int32Array(0), nulls }
    case 'int64':
      return { type, values: (data as BigInt64Array | undefined) ?? new BigInt64Array(0), nulls }
    case 'decimal':
      return { type, ...shapeOf(field), values: (data as BigInt64Array | undefined) ?? new BigInt64Array(0), nulls }
    case 'float64':
      return { type, values: (data as Float64Array | undefined) ?? new Float64Array(0), nulls }
    case 'timestamp':
      return { type, values: data === undefined ? new Float64Array(0) : int64ToNumbers(data as BigInt64Array), nulls }
  }
}
