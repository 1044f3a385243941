import { isChangelog, isCorrectable } from '../../core/definition/corrections.ts'
import type { StreamDefinition, ViewDefinition } from '../../core/definition/types.ts'
import type { NaiveEvent } from '../../core/engine/naive.ts'
import { RecordIdentities } from '../../core/engine/record-untils.ts'
import { FeatureStoreError } from '../../core/errors.ts'
import type { EventBatch } from '../../core/event/batch.ts'
import { concatBatches } from '../../core/event/batch-ops.ts'
import { scalarAt } from '../../core/event/column.ts'
import { encodeKey } from '../../core/event/key.ts'
import type { OpCode } from '../../core/event/operation.ts'
import type { PartitionPosition } from '../../core/event/position.ts'
import type { Column, Scalar, ScalarType, StringTable } from '../../core/event/types.ts'

/**
 * A stream that can be read from its first record up to a position: each partition in offset order, string columns of
 * one table throughout. `schemas/stream-reader.ts` is one.
 */
export interface EventSource {
  readonly stream: StreamDefinition
  scan(to: readonly PartitionPosition[]): AsyncIterable<EventBatch>
}

/** More entities than this are never asked for, so that two codes make one exact number. */
const codesMax = 2 ** 26

/**
 * The entities of one view whose events are wanted. A key is found part by part: each part has a code, and a prefix of
 * parts has one as well, so a row of another entity costs a look or two and makes no key.
 */
export class EntitySelection {
  readonly view: ViewDefinition
  readonly #types: readonly ScalarType[]
  /** By key field: wanted value -> code. */
  readonly #parts: readonly Map<Scalar, number>[]
  /** By key field: prefix code * codesMax + code -> code of the longer prefix. Of the whole key it is the entity's index. */
  readonly #prefixes: readonly Map<number, number>[]
  /** By key field: code of the log's string -> code of the wanted value, -1 where none is. */
  readonly #strings: { table: StringTable | null; codes: Int32Array }[]

  constructor(view: ViewDefinition, types: readonly ScalarType[]) {
    this.view = view
    this.#types = types
    this.#parts = types.map(() => new Map())
    this.#prefixes = types.map(() => new Map())
    this.#strings = types.map(() => ({ table: null, codes: new Int32Array() }))
  }

  get count(): number {
    return this.#prefixes.at(-1)?.size ?? 0
  }

  /** The index of an entity, the same for the same key. Errors: FS_ENTITY_INVALID for a key that no event can have. */
  add(key: readonly Scalar[]): number {
    encodeKey(key, this.#types)
    let prefix = 0
    this.#types.forEach((type, part) => {
      const code = codeIn(this.#parts[part] as Map<Scalar, number>, keyValue(type, key[part] as Scalar))
      prefix = codeIn(this.#prefixes[part] as Map<number, number>, prefix * codesMax + code)
      this.#strings[part] = { table: null, codes: new Int32Array() }
    })
    return prefix
  }

  /** The index of the entity of each row, -1 for one that is not wanted. */
  match(batch: EventBatch): Int32Array {
    const entities = new Int32Array(batch.count)
    this.view.keyFields.forEach((field, part) => {
      const column = columnOf(batch, field)
      const prefixes = this.#prefixes[part] as Map<number, number>
      const codeOf = this.#codesOf(column, part)
      for (let row = 0; row < batch.count; row++) {
        const prefix = entities[row] as number
        const code = prefix < 0 ? -1 : codeOf(row)
        entities[row] = code < 0 ? -1 : (prefixes.get(prefix * codesMax + code) ?? -1)
      }
    })
    return entities
  }

  /** The index of the entity of one event, -1 for one that is not wanted. */
  indexOf({ fields }: Pick<NaiveEvent, 'fields'>): number {
    let prefix = 0
    for (const [part, field] of this.view.keyFields.entries()) {
      const code = this.#parts[part]?.get(fields[field] ?? null)
      const longer = code === undefined ? undefined : this.#prefixes[part]?.get(prefix * codesMax + code)
      if (longer === undefined) return -1
      prefix = longer
    }
    return prefix
  }

  #codesOf(column: Column, part: number): (row: number) => number {
    const parts = this.#parts[part] as Map<Scalar, number>
    const { nulls } = column
    if (column.type !== 'string') {
      return (row) => parts.get(scalarAt(column, row)) ?? -1
    }
    const { values } = column
    const codes = this.#stringCodes(column.table, part)
    return (row) => (nulls !== null && nulls[row] === 1 ? -1 : (codes[values[row] as number] as number))
  }

  /** Tables grow only, so what is known of one stays true. */
  #stringCodes(table: StringTable, part: number): Int32Array {
    const known = this.#strings[part] as { table: StringTable | null; codes: Int32Array }
    const from = known.table === table ? known.codes.length : 0
    const size = table.strings.length
    if (known.table === table && from === size) return known.codes
    const codes = new Int32Array(size)
    if (from > 0) codes.set(known.codes)
    const parts = this.#parts[part] as Map<Scalar, number>
    for (let code = from; code < size; code++) codes[code] = parts.get(table.strings[code] as string) ?? -1
    this.#strings[part] = { table, codes }
    return codes
  }
}

function codeIn<K>(codes: Map<K, number>, value: K): number {
  let code = codes.get(value)
  if (code === undefined) {
    code = codes.size
    if (code >= codesMax) throw new FeatureStoreError('FS_LIMIT_EXCEEDED', `more than ${codesMax} entities at once`)
    codes.set(value, code)
  }
  return code
}

/** A key field as columns have it: transports carry integers as number or bigint. */
function keyValue(type: ScalarType, value: Scalar): Scalar {
  if (type === 'int64') return BigInt(value as number | bigint)
  return type === 'int32' || type === 'timestamp' ? Number(value) : value
}

/** What is kept of one partition: the rows of wanted entities, and for each view which rows are whose. */
interface PartitionHistory {
  readonly partition: number
  readonly batch: EventBatch
  /** By view, as asked. */
  readonly views: readonly RowsByEntity[]
}

/** Rows of entity i: rows[starts[i] .. starts[i + 1]), in offset order. */
interface RowsByEntity {
  readonly starts: Uint32Array
  readonly rows: Uint32Array
}

/**
 * Events of the wanted entities of one stream. Kept as columns (some 30 bytes an event); objects are made for one
 * entity at a time, so that millions of sampled events stay within memory.
 */
export class EntityHistory {
  readonly #selections: readonly EntitySelection[]
  readonly #fields: readonly string[]
  readonly #partitions: readonly PartitionHistory[]

  private constructor(
    selections: readonly EntitySelection[],
    fields: readonly string[],
    partitions: readonly PartitionHistory[],
  ) {
    this.#selections = selections
    this.#fields = fields
    this.#partitions = partitions
  }

  /**
   * Reads the stream once, up to `to`, for the entities of several of its views. Of their events, `fields` are kept.
   *
   * Errors: FS_HISTORY_TRIMMED when the log does not reach back to its first record: no value could be vouched for.
   */
  static async read(
    source: EventSource,
    to: readonly PartitionPosition[],
    selections: readonly EntitySelection[],
    fields: readonly string[],
  ): Promise<EntityHistory> {
    const kept = new Map<number, { batches: EventBatch[]; entities: Int32Array[][] }>()
    for await (const batch of wholeScan(source, to)) {
      const partition = kept.get(batch.partition) ?? { batches: [], entities: selections.map(() => []) }
      kept.set(batch.partition, partition)
      const matches = selections.map((selection) => selection.match(batch))
      const rows = rowsMatched(matches, batch.count)
      if (rows.length === 0) continue
      partition.batches.push(takeRows(batch, rows, fields))
      matches.forEach((entities, view) => partition.entities[view]?.push(rows.map((row) => entities[row] as number)))
    }
    const partitions: PartitionHistory[] = []
    for (const [partition, { batches, entities }] of kept) {
      if (batches.length === 0) continue
      const views = selections.map(({ count }, view) => rowsByEntity(entities[view] ?? [], count))
      partitions.push({ partition, batch: concatBatches(batches), views })
    }
    return new EntityHistory(selections, fields, partitions)
  }

  /** The events of one entity, by partition and offset. */
  eventsOf(selection: EntitySelection, entity: number): NaiveEvent[] {
    const view = this.#selections.indexOf(selection)
    const events: NaiveEvent[] = []
    for (const { partition, batch, views } of this.#partitions) {
      const { starts, rows } = views[view] as RowsByEntity
      const columns = this.#fields.map((name) => columnOf(batch, name))
      for (let at = starts[entity] as number; at < (starts[entity + 1] as number); at++)
        events.push(eventAt(batch, partition, columns, this.#fields, rows[at] as number))
    }
    return events
  }
}

/** The stream up to `to`. Errors: FS_HISTORY_TRIMMED when it does not reach back to its first record. */
export async function* wholeScan(source: EventSource, to: readonly PartitionPosition[]): AsyncGenerator<EventBatch> {
  const nexts = new Map<number, number>()
  for await (const batch of source.scan(to)) {
    const next = nexts.get(batch.partition) ?? 0
    if (batch.firstOffset !== next) {
      throw new FeatureStoreError(
        'FS_HISTORY_TRIMMED',
        `${batch.stream}/${batch.partition} has no records from ${next} to ${batch.firstOffset}`,
      )
    }
    nexts.set(batch.partition, batch.nextOffset)
    yield batch
  }
}

/** One row as an object, with `names` of its fields, whose columns are given in that order. */
function eventAt(
  batch: EventBatch,
  partition: number,
  columns: readonly Column[],
  names: readonly string[],
  row: number,
): NaiveEvent {
  const fields: Record<string, Scalar> = {}
  for (let index = 0; index < columns.length; index++)
    fields[names[index] as string] = scalarAt(columns[index] as Column, row)
  return {
    eventTimeMs: batch.eventTimes[row] as number,
    knownAtMs: batch.knownAts[row] as number,
    partition,
    offset: batch.offsets[row] as number,
    fields,
    ...(batch.ops === null ? {} : { op: batch.ops[row] as OpCode }),
  }
}

/**
 * Every record of the rows of a changelog of which a wanted entity has had a version, whatever entity they belong to: what
 * takes the place of a version may. Two scans: the first finds the primary keys, the second their records.
 */
export class RowHistory {
  readonly #selections: readonly EntitySelection[]
  /** By view and entity: its primary keys. */
  readonly #rows: readonly ReadonlyMap<number, ReadonlySet<number>>[]
  readonly #records: ReadonlyMap<number, readonly NaiveEvent[]>

  private constructor(
    selections: readonly EntitySelection[],
    rows: readonly ReadonlyMap<number, ReadonlySet<number>>[],
    records: ReadonlyMap<number, readonly NaiveEvent[]>,
  ) {
    this.#selections = selections
    this.#rows = rows
    this.#records = records
  }

  static async read(
    source: EventSource,
    to: readonly PartitionPosition[],
    selections: readonly EntitySelection[],
    fields: readonly string[],
  ): Promise<RowHistory> {
    const identities = new RecordIdentities(source.stream)
    const rows = selections.map(() => new Map<number, Set<number>>())
    const wanted = new Set<number>()
    for await (const batch of wholeScan(source, to)) {
      const codes = identities.codes(batch)
      selections.forEach((selection, view) => {
        selection.match(batch).forEach((entity, row) => {
          if (entity < 0) return
          const known = rows[view]?.get(entity) ?? new Set()
          rows[view]?.set(entity, known.add(codes[row] as number))
          wanted.add(codes[row] as number)
        })
      })
    }
    const records = new Map<number, NaiveEvent[]>()
    for await (const batch of wholeScan(source, to)) {
      const columns = fields.map((name) => columnOf(batch, name))
      identities.codes(batch).forEach((code, row) => {
        if (!wanted.has(code)) return
        const known = records.get(code) ?? []
        known.push(eventAt(batch, batch.partition, columns, fields, row))
        records.set(code, known)
      })
    }
    return new RowHistory(selections, rows, records)
  }

  /** The records of all rows that one entity has had a version of. */
  eventsOf(selection: EntitySelection, entity: number): NaiveEvent[] {
    const codes = this.#rows[this.#selections.indexOf(selection)]?.get(entity) ?? new Set()
    return [...codes].flatMap((code) => this.#records.get(code) ?? [])
  }
}

/**
 * What the values of wanted entities can rest on: their events, and of a stream with corrections also what can take those
 * back, with the fields that say which record each is.
 */
export function readHistory(
  source: EventSource,
  to: readonly PartitionPosition[],
  selections: readonly EntitySelection[],
  fields: readonly string[],
): Promise<EntityHistory | RowHistory> {
  const { stream } = source
  if (!isCorrectable(stream)) return EntityHistory.read(source, to, selections, fields)
  const keys = selections.flatMap(({ view }) => view.keyFields)
  const needed = [
    ...new Set([...fields, ...keys, ...(stream.id === undefined ? [] : [stream.id]), ...(stream.primaryKey ?? [])]),
  ]
  return isChangelog(stream)
    ? RowHistory.read(source, to, selections, needed)
    : EntityHistory.read(source, to, selections, needed)
}

function columnOf(batch: EventBatch, field: string): Column {
  const column = batch.columns[field]
  if (column === undefined)
    throw new FeatureStoreError('FS_INTERNAL', `${batch.stream} was read without its field ${field}`)
  return column
}

function rowsMatched(matches: readonly Int32Array[], count: number): Int32Array {
  const rows = new Int32Array(count)
  let length = 0
  for (let row = 0; row < count; row++) {
    for (const entities of matches) {
      if ((entities[row] as number) < 0) continue
      rows[length++] = row
      break
    }
  }
  return rows.subarray(0, length)
}

function takeRows(batch: EventBatch, rows: Int32Array, fields: readonly string[]): EventBatch {
  const take = <A extends Column['values']>(values: A): A => {
    const taken = new (values.constructor as new (length: number) => A)(rows.length)
    for (let at = 0; at < rows.length; at++) taken[at] = values[rows[at] as number] as number & bigint
    return taken
  }
  return {
    ...batch,
    count: rows.length,
    offsets: take(batch.offsets),
    eventTimes: take(batch.eventTimes),
    knownAts: take(batch.knownAts),
    columns: Object.fromEntries(
      fields.map((name) => {
        const column = columnOf(batch, name)
        const nulls = column.nulls === null ? null : take(column.nulls)
        return [name, { ...column, values: take(column.values), nulls } as Column]
      }),
    ),
    ops: batch.ops === null ? null : take(batch.ops),
    dead: [],
  }
}

/** A counting sort, so that order within an entity stays. */
function rowsByEntity(parts: readonly Int32Array[], entityCount: number): RowsByEntity {
  const starts = new Uint32Array(entityCount + 1)
  for (const entities of parts)
    for (const entity of entities) if (entity >= 0) starts[entity + 1] = (starts[entity + 1] as number) + 1
  for (let entity = 0; entity < entityCount; entity++)
    starts[entity + 1] = (starts[entity + 1] as number) + (starts[entity] as number)
  const next = starts.slice()
  const rows = new Uint32Array(starts[entityCount] as number)
  let row = 0
  for (const entities of parts) {
    for (const entity of entities) {
      if (entity >= 0) {
        rows[next[entity] as number] = row
        next[entity] = (next[entity] as number) + 1
      }
      row++
    }
  }
  return { starts, rows }
}
