/**
 * Workers over one log and one store, in miniature: each owns shards, reads every partition in batches, flushes, forgets,
 * dies, and hands shards over. A drive is a list of such steps that fits every history.
 */
import { ViewEngine } from '../../../core/engine/view-engine.ts'
import { Op } from '../../../core/event/operation.ts'
import { offset } from '../../../core/event/position.ts'
import { shapeOf, type Column, type FieldType, type Scalar, type StringTable } from '../../../core/event/types.ts'
import { unscaledOfCanonical } from '../../../core/number/decimal.ts'
import type { EventBatch } from '../../../core/event/batch.ts'
import type { NaiveEvent } from '../../../core/engine/naive.ts'
import { correctedFields, fields } from '../../support/history.ts'
import { loadFrom, storedAfter, type StoredRow } from './harness.ts'
import type { Subject } from './history-plans.ts'

export const shards = 4
export const partitions = 3

export type Step =
  /** A worker applies the next records of a partition, so many at most. */
  | readonly ['apply', worker: number, partition: number, records: number]
  | readonly ['flush', worker: number]
  /** A flush that only reaches the shards of a mask before the worker dies: each shard is written at once, not all. */
  | readonly ['torn', worker: number, mask: number]
  | readonly ['evict', worker: number]
  | readonly ['summarise', worker: number]
  /** What is not flushed is lost. */
  | readonly ['crash', worker: number]
  /** Shards change hands; by shard, the worker that has it from now on. What is not flushed is lost. */
  | readonly ['owners', readonly number[]]
  /** Values are compared, from the memory of the workers. */
  | readonly ['ask']

export interface Drive {
  /** Strings have one table for all batches, or one a partition. */
  readonly oneTable: boolean
  /** Offsets of a partition are that far apart. */
  readonly offsetStep: number
  readonly steps: readonly Step[]
}

/** Records of one partition as columns, cut into batches without copying. */
interface PartitionColumns {
  readonly records: readonly NaiveEvent[]
  readonly offsets: Float64Array
  readonly eventTimes: Float64Array
  readonly knownAts: Float64Array
  readonly ops: Uint8Array | null
  readonly columns: Readonly<Record<string, Column>>
  /** By string field: all strings, of which `table` shows those of codes read so far. */
  readonly growing: Readonly<Record<string, Growing>>
}

interface Growing {
  readonly table: { readonly strings: string[] }
  readonly all: string[]
  readonly codes: Map<string, number>
}

const newGrowing = (): Growing => ({ table: { strings: [] }, all: [], codes: new Map() })

/** What stands at a null, another each time: nothing may depend on it. Often what another record has. */
let junk = 0
const anything = (): number => (junk = (junk + 1) % 3)

function columnOf(field: FieldType, values: readonly Scalar[], growing: Growing): Column {
  const { type } = field
  const nulls = values.includes(null) ? Uint8Array.from(values, (value) => (value === null ? 1 : 0)) : null
  switch (type) {
    case 'string': {
      const codes = values.map((value) => {
        if (value === null) return anything()
        let code = growing.codes.get(value as string)
        if (code === undefined) growing.codes.set(value as string, (code = growing.all.push(value as string) - 1))
        return code
      })
      return { type, values: Int32Array.from(codes), table: growing.table as StringTable, nulls }
    }
    case 'int64':
      return {
        type,
        values: BigInt64Array.from(values, (value) => (value as bigint | null) ?? BigInt(anything())),
        nulls,
      }
    case 'decimal':
      return {
        type,
        ...shapeOf(field),
        values: BigInt64Array.from(values, (value) => unscaledOfCanonical((value ?? `0.0${anything()}`) as string)),
        nulls,
      }
    case 'int32':
      return { type, values: Int32Array.from(values, (value) => (value as number | null) ?? anything()), nulls }
    case 'bool':
      return {
        type,
        values: Uint8Array.from(values, (value) => (value === null ? anything() & 1 : Number(value))),
        nulls,
      }
    default:
      return { type, values: Float64Array.from(values, (value) => (value as number | null) ?? anything()), nulls }
  }
}

export function columnsOf(
  kind: Subject['spec']['kind'],
  history: readonly NaiveEvent[],
  oneTable: boolean,
): PartitionColumns[] {
  const declared = kind === 'plain' ? fields : correctedFields
  const shared: Record<string, Growing> = {}
  return Array.from({ length: partitions }, (_, partition) => {
    const records = history.filter((event) => event.partition === partition)
    const growing: Record<string, Growing> = {}
    const columns: Record<string, Column> = {}
    for (const [name, field] of Object.entries(declared)) {
      const own = (growing[name] = oneTable ? (shared[name] ??= newGrowing()) : newGrowing())
      columns[name] = columnOf(
        field,
        records.map((event) => event.fields[name] ?? null),
        own,
      )
      if (field.type !== 'string') delete growing[name]
    }
    return {
      records,
      offsets: Float64Array.from(records, (event) => event.offset),
      eventTimes: Float64Array.from(records, (event) => event.eventTimeMs),
      knownAts: Float64Array.from(records, (event) => event.knownAtMs),
      ops: records.some(({ op }) => op !== undefined) ? Uint8Array.from(records, ({ op }) => op ?? Op.insert) : null,
      columns,
      growing,
    }
  })
}

/** Records [from, to) of a partition. */
function batchOf(of: PartitionColumns, partition: number, from: number, to: number): EventBatch {
  const columns: Record<string, Column> = {}
  for (const [name, column] of Object.entries(of.columns)) {
    const values = column.values.subarray(from, to)
    columns[name] = { ...column, values, nulls: column.nulls?.subarray(from, to) ?? null } as Column
    const growing = of.growing[name]
    if (growing === undefined) continue
    const { strings } = growing.table
    for (const code of values as Int32Array)
      while (strings.length <= code && strings.length < growing.all.length)
        strings.push(growing.all[strings.length] as string)
  }
  return {
    stream: 'events',
    partition,
    epoch: 0,
    firstOffset: offset(of.offsets[from] as number),
    nextOffset: offset((of.offsets[to - 1] as number) + 1),
    count: to - from,
    offsets: of.offsets.subarray(from, to),
    eventTimes: of.eventTimes.subarray(from, to),
    knownAts: of.knownAts.subarray(from, to),
    columns,
    ops: of.ops?.subarray(from, to) ?? null,
    dead: [],
  }
}

interface Worker {
  engine: ViewEngine
  readonly owned: ReadonlySet<number>
  /** Records applied, by partition. */
  applied: number[]
}

export class System {
  readonly subject: Subject
  readonly columns: readonly PartitionColumns[]
  readonly rows = new Map<string, StoredRow>()
  readonly offsetStep: number
  /** Records that the rows of a shard cover, by partition. */
  readonly positions = Array.from({ length: shards }, () => new Array<number>(partitions).fill(0))
  workers: Worker[]

  constructor(subject: Subject, history: readonly NaiveEvent[], { oneTable, offsetStep }: Drive) {
    this.subject = subject
    this.columns = columnsOf(subject.spec.kind, history, oneTable)
    this.offsetStep = offsetStep
    this.workers = this.#owners([0, 0, 0, 0])
  }

  #owners(byShard: readonly number[]): Worker[] {
    return [...new Set(byShard)].map((worker) =>
      this.#start(
        new Set(Array.from({ length: shards }, (_, shard) => shard).filter((shard) => byShard[shard] === worker)),
      ),
    )
  }

  #start(owned: ReadonlySet<number>): Worker {
    const applied = Array.from({ length: partitions }, (_, partition) =>
      Math.min(...[...owned].map((shard) => this.positions[shard]?.[partition] as number)),
    )
    return { engine: new ViewEngine(this.subject.plan, shards, owned), owned, applied }
  }

  /** Everything but `ask`. */
  step(step: Exclude<Step, readonly ['ask']>): void {
    if (step[0] === 'owners') {
      // A changelog has one owner: its rows may move between any shards.
      this.workers = this.#owners(this.subject.spec.kind === 'changelog' ? [0, 0, 0, 0] : step[1])
      return
    }
    const at = step[1] % this.workers.length
    const worker = this.workers[at] as Worker
    switch (step[0]) {
      case 'apply':
        this.#apply(worker, step[2], step[3])
        return
      case 'flush':
        this.#flush(worker, -1)
        return
      case 'torn':
        this.#flush(worker, step[2])
        this.workers[at] = this.#start(worker.owned)
        return
      case 'evict':
        worker.engine.evictClean()
        return
      case 'summarise':
        worker.engine.summarise()
        return
      case 'crash':
        this.workers[at] = this.#start(worker.owned)
    }
  }

  /** Every worker at the end of the log. */
  drain(): void {
    for (const worker of this.workers)
      for (let partition = partitions - 1; partition >= 0; partition--)
        this.#apply(worker, partition, Number.POSITIVE_INFINITY)
  }

  flushAll(): void {
    for (const worker of this.workers) this.#flush(worker, -1)
  }

  #apply(worker: Worker, partition: number, records: number): void {
    const own = this.columns[partition] as PartitionColumns
    const from = worker.applied[partition] as number
    const to = Math.min(from + records, own.records.length)
    if (from >= to) return
    const batch = batchOf(own, partition, from, to)
    const { engine } = worker
    const entities = engine.resolve(batch)
    loadFrom(engine, this.rows)
    engine.apply(
      batch,
      entities,
      (shard) => (this.positions[shard]?.[partition] as number) * this.offsetStep,
      () => {},
    )
    worker.applied[partition] = to
  }

  #flush({ engine, owned, applied }: Worker, mask: number): void {
    const reached = (shard: number): boolean => ((mask >> shard) & 1) === 1
    for (const changed of engine.takeChanged()) {
      const name = rowName(changed.table, changed.key)
      if (reached(changed.shard)) this.rows.set(name, storedAfter(this.rows.get(name), changed))
    }
    for (const shard of owned) {
      if (!reached(shard)) continue
      const position = this.positions[shard] as number[]
      applied.forEach((records, partition) => (position[partition] = Math.max(records, position[partition] as number)))
    }
  }

  /** Of the worker that owns a shard: its engine, and how many records of each partition its memory of the shard covers. */
  ownerOf(shard: number): { readonly engine: ViewEngine; readonly covered: readonly number[] } {
    const { engine, applied } = this.workers.find(({ owned }) => owned.has(shard)) as Worker
    const stored = this.positions[shard] as readonly number[]
    return { engine, covered: applied.map((records, partition) => Math.max(records, stored[partition] as number)) }
  }
}

/** As `loadFrom` asks for it. */
const rowName = (table: string, key: Uint8Array): string => `${table}/${Buffer.from(key).toString('hex')}`
