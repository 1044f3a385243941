import { defaultOp, identityFields, isCorrectable, opOf } from '../../core/definition/corrections.ts'
import { type StreamDefinition } from '../../core/definition/types.ts'
import { FeatureStoreError } from '../../core/errors.ts'
import { type DeadRecord, type EventBatch } from '../../core/event/batch.ts'
import { opNames } from '../../core/event/operation.ts'
import { offset, type Offset } from '../../core/event/position.ts'
import { type Column, type FieldType, type ScalarType, shapeOf, type StringTable } from '../../core/event/types.ts'
import { type LogChunk } from '../../core/ports/event-log.ts'
import { announcedRecords, RecordCursor } from '../recordbatch/walk.ts'
import { type Framing, framingOf, isFramedAs, schemaRef } from './framing.ts'
import { StringInterner } from './intern.ts'
import {
  compileRun,
  explainProblem,
  type PlannedField,
  type PlannedOps,
  type RowBuffer,
  type Run,
  runEnd,
} from './plan.ts'
import { type AvroSchema } from './schema.ts'

export interface StreamDecoderOptions {
  readonly stream: string
  /** Every declared field of the stream, in declared order. */
  readonly fields: Readonly<Record<string, FieldType>>
  /** The field that holds the event time, a timestamp. */
  readonly eventTime: string
  /** How records take back others; absent where the stream takes inserts alone. */
  readonly corrections?: Pick<StreamDefinition, 'id' | 'primaryKey' | 'op'>
  /** The writer schema of a reference (framing.ts), or undefined when it is unknown. */
  readonly schemas: (ref: string) => AvroSchema | undefined
  /** Fields to make columns of; default all. The others are checked all the same. */
  readonly projection?: readonly string[]
  /** A batch's arrays are those of the next one too: for a reader that is done with one before it asks for the next. */
  readonly reuse?: boolean
}

export interface StreamDecoder {
  /**
   * The records of a chunk from offset `from` on, as columns. A record that does not decode or does not fit the stream
   * is in `dead`. Arrays are the batch's own, unless `reuse` says otherwise; string tables are the decoder's and grow.
   *
   * Errors: FS_LOG_CORRUPT when the chunk is broken.
   */
  decode(chunk: LogChunk, partition: number, epoch: number, from: Offset): EventBatch
  /** Bytes of its string tables. */
  readonly tableBytes: number
  /** References in the last chunk that `schemas` did not know. */
  readonly unknownSchemas: readonly string[]
}

/** Rows to begin with where the chunk does not tell how many records it has. */
const rowsMin = 1024

/**
 * A decoder for one stream, whatever its writers' schemas: one generated loop per writer schema (plan.ts).
 *
 * Errors: FS_DEFINITION_INVALID when the event time or the projection names no fitting field.
 */
export function createStreamDecoder(options: StreamDecoderOptions): StreamDecoder {
  return new Decoder(options)
}

interface Plan {
  readonly framing: Framing
  readonly run: Run | null
  readonly reason: string
}

class Decoder implements StreamDecoder {
  private readonly options: StreamDecoderOptions
  private readonly fields: readonly PlannedField[]
  private readonly ops: PlannedOps
  private readonly cursor = new RecordCursor()
  private readonly plans: Plan[] = []
  /** The buffer of all batches, where they may share one. */
  private used: RowBuffer | null = null
  /** Fingerprints without a schema; asked for again with the next chunk, since a schema may come later. */
  private unknown: Plan[] = []

  constructor(options: StreamDecoderOptions) {
    this.options = options
    const { fields, eventTime, stream } = options
    if (!Object.hasOwn(fields, eventTime) || fields[eventTime]?.type !== 'timestamp')
      throw new FeatureStoreError('FS_DEFINITION_INVALID', `${stream} has no timestamp ${JSON.stringify(eventTime)}`)
    const projection = new Set(options.projection ?? Object.keys(fields))
    for (const name of projection)
      if (!Object.hasOwn(fields, name))
        throw new FeatureStoreError('FS_DEFINITION_INVALID', `${stream} has no field ${JSON.stringify(name)}`)
    const { corrections = {} } = options
    const kept = isCorrectable(corrections)
    const identity = identityFields({ ...corrections, eventTime })
    this.ops = {
      field: corrections.op === undefined ? -1 : Object.keys(fields).indexOf(corrections.op),
      whenNone: defaultOp(corrections),
      byWord: Int8Array.of(-1, ...opNames.map((name) => opOf(corrections, name) ?? -1)),
      kept,
    }
    this.fields = Object.entries(fields).map(([name, type]) => ({
      name,
      type,
      isEventTime: name === eventTime,
      projected: projection.has(name),
      mayBeAbsent: kept && type.nullable !== true && !identity.has(name),
      strings: type.type === 'string' && projection.has(name) ? new StringInterner() : null,
    }))
  }

  get tableBytes(): number {
    return this.fields.reduce((bytes, { strings }) => bytes + (strings?.memoryBytes ?? 0), 0)
  }

  get unknownSchemas(): string[] {
    return this.unknown.map(({ framing }) => schemaRef(framing))
  }

  decode(chunk: LogChunk, partition: number, epoch: number, from: Offset): EventBatch {
    const { cursor } = this
    const dead: DeadRecord[] = []
    this.unknown = []
    cursor.reset(chunk.bytes)
    let more = cursor.next()
    while (more && cursor.offset < from) more = cursor.next()
    const out = this.newBuffer(more ? announcedRecords(chunk.bytes) : 0)
    while (more) {
      const plan = this.planOf(cursor)
      const end = plan.run === null ? runEnd.dead : plan.run(cursor, out)
      if (end === runEnd.chunk) break
      if (end === runEnd.full) this.grow(out, Math.max(out.capacity * 2, out.row + cursor.left + 1))
      else if (end === runEnd.dead) {
        dead.push(this.deadRecord(plan.run === null ? plan.reason : out.problem))
        more = cursor.next()
      }
    }
    return {
      stream: this.options.stream,
      partition,
      epoch,
      // Not where its first record is: what lies before that, of a log with gaps, is covered as well.
      firstOffset: from,
      nextOffset: chunk.nextOffset,
      count: out.row,
      offsets: out.offsets.subarray(0, out.row),
      eventTimes: out.eventTimes.subarray(0, out.row),
      knownAts: out.knownAts.subarray(0, out.row),
      columns: this.columns(out),
      ops: this.ops.kept ? out.ops.subarray(0, out.row) : null,
      dead,
    }
  }

  private deadRecord(problem: number | string): DeadRecord {
    const { cursor, fields } = this
    return {
      offset: offset(cursor.offset),
      knownAt: cursor.timestampMs,
      ...(typeof problem === 'string'
        ? ({ code: 'FS_DEAD_UNDECODABLE', reason: problem } as const)
        : explainProblem(problem, fields)),
      // A copy: a letter outlives the chunk.
      payload: Uint8Array.from(cursor.bytes.subarray(Math.max(cursor.valueStart, 0), Math.max(cursor.valueEnd, 0))),
    }
  }

  private planOf({ bytes, view, valueStart, valueEnd }: RecordCursor): Plan {
    for (const plan of this.plans) if (isFramedAs(plan.framing, bytes, view, valueStart, valueEnd)) return plan
    for (const plan of this.unknown) if (isFramedAs(plan.framing, bytes, view, valueStart, valueEnd)) return plan
    const framing = framingOf(bytes, view, valueStart, valueEnd)
    return framing === null ? unframed : this.makePlan(framing)
  }

  private makePlan(framing: Framing): Plan {
    const ref = schemaRef(framing)
    const schema = this.options.schemas(ref)
    if (schema === undefined) {
      const what = framing.kind === 'registry' ? `id ${ref.slice(1)}` : `fingerprint ${ref}`
      const plan = { framing, run: null, reason: `no schema has the ${what}` }
      this.unknown.push(plan)
      return plan
    }
    const plan = { framing, run: compileRun(schema, framing, this.fields, this.ops), reason: '' }
    this.plans.push(plan)
    return plan
  }

  private newBuffer(rows: number): RowBuffer {
    const used = this.used
    if (used !== null) {
      used.row = 0
      used.problem = 0
      used.nullSeen.fill(0)
      if (rows > used.capacity) this.grow(used, Math.ceil(rows * 1.25))
      return used
    }
    const out: RowBuffer = {
      capacity: 0,
      row: 0,
      problem: 0,
      offsets: noFloats,
      knownAts: noFloats,
      eventTimes: noFloats,
      ops: noBytes,
      values: this.fields.map(() => null),
      nulls: this.fields.map(() => null),
      nullSeen: new Uint8Array(this.fields.length),
      starts: this.fields.map(() => null),
      ends: this.fields.map(() => null),
    }
    if (rows > 0) this.grow(out, Math.max(rows, rowsMin))
    if (this.options.reuse === true) this.used = out
    return out
  }

  private grow(out: RowBuffer, capacity: number): void {
    const floats = (old: Float64Array): Float64Array => {
      const grown = new Float64Array(capacity)
      grown.set(old)
      return grown
    }
    const bytes = (old: Uint8Array): Uint8Array => {
      const grown = new Uint8Array(capacity)
      grown.set(old)
      return grown
    }
    out.capacity = capacity
    out.offsets = floats(out.offsets)
    out.knownAts = floats(out.knownAts)
    out.eventTimes = floats(out.eventTimes)
    if (this.ops.kept) out.ops = bytes(out.ops)
    this.fields.forEach(({ type, projected, isEventTime, mayBeAbsent }, index) => {
      if (!projected) return
      const old = out.values[index] ?? null
      const values = isEventTime ? out.eventTimes : newValues(type.type, capacity)
      if (old !== null && !isEventTime) values.set(old)
      out.values[index] = values
      if (type.type === 'string') {
        // Nothing is in them between two loops.
        out.starts[index] = new Int32Array(capacity)
        out.ends[index] = new Int32Array(capacity)
      }
      if (type.nullable === true || mayBeAbsent) out.nulls[index] = bytes(out.nulls[index] ?? noBytes)
    })
  }

  private columns(out: RowBuffer): Record<string, Column> {
    const columns: Record<string, Column> = {}
    this.fields.forEach(({ name, type, projected, strings }, index) => {
      if (!projected) return
      const nulls = out.nullSeen[index] === 1 ? (out.nulls[index]?.subarray(0, out.row) ?? null) : null
      const mask = nulls !== null && nulls.includes(1) ? nulls : null
      const values = out.values[index] ?? newValues(type.type, 0)
      columns[name] = makeColumn(type, values, out.row, mask, strings)
    })
    return columns
  }
}

const noFloats = new Float64Array(0)
const noBytes = new Uint8Array(0)
const unframed: Plan = {
  framing: { kind: 'single-object', low: 0, high: 0 },
  run: null,
  reason: 'the payload is neither in the Avro single-object encoding nor in that of a schema registry',
}

/** int64 and decimal values are written as halves, two per row. */
function newValues(type: ScalarType, rows: number): Float64Array | Int32Array | Uint8Array {
  switch (type) {
    case 'float64':
    case 'timestamp':
      return new Float64Array(rows)
    case 'int32':
    case 'string':
      return new Int32Array(rows)
    case 'int64':
    case 'decimal':
      return new Int32Array(rows * 2)
    case 'bool':
      return new Uint8Array(rows)
  }
}

function makeColumn(
  field: FieldType,
  all: Float64Array | Int32Array | Uint8Array,
  rows: number,
  nulls: Uint8Array | null,
  table: StringTable | null,
): Column {
  const { type } = field
  const longs = (): BigInt64Array => new BigInt64Array(all.buffer as ArrayBuffer, all.byteOffset, rows)
  switch (type) {
    case 'float64':
    case 'timestamp':
      return { type, values: (all as Float64Array).subarray(0, rows), nulls }
    case 'int32':
      return { type, values: (all as Int32Array).subarray(0, rows), nulls }
    case 'int64':
      return { type, values: longs(), nulls }
    case 'decimal':
      return { type, ...shapeOf(field), values: longs(), nulls }
    case 'bool':
      return { type, values: (all as Uint8Array).subarray(0, rows), nulls }
    case 'string':
      return { type, values: (all as Int32Array).subarray(0, rows), nulls, table: table as StringTable }
  }
}
