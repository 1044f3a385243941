import type { Column, ScalarType, StringTable } from '../event/types.ts'
import { Interner } from './interner.ts'
import type { InputPlan } from './plan.ts'

/** Events per run: a run of this many whole events has a summary. Measured best on small and large entities alike. */
export const runShift = 6
export const runLength = 1 << runShift

export type InputValues = Float64Array | Int32Array | BigInt64Array | Uint8Array

/** One input of a view for one entity, by event. Strings are codes into `table`. */
export interface InputColumn {
  readonly type: ScalarType
  values: InputValues
  /** 1 where null; null while no value is. */
  nulls: Uint8Array | null
  readonly table: StringTable | null
}

function allocate(type: ScalarType, capacity: number): InputValues {
  switch (type) {
    case 'int32':
    case 'string':
      return new Int32Array(capacity)
    case 'int64':
      return new BigInt64Array(capacity)
    case 'bool':
      return new Uint8Array(capacity)
    default:
      return new Float64Array(capacity)
  }
}

function resized<A extends InputValues>(from: A, start: number, end: number, capacity: number): A {
  const Kind = from.constructor as new (length: number) => A
  const to = new Kind(capacity)
  to.set(from.subarray(start, end) as never)
  return to
}

/**
 * The retained events of one entity in total order, as columns. Slots [start, end) are live; what lies before `start`
 * was pruned.
 *
 *     slot      0 … start … 64 … 128 … end … capacity
 *     run       |   0     |  1  |   2  |                a run is 64 slots; whole live runs have summaries (summaries.ts)
 *
 * Pruned events are remembered by their newest times only, which is enough to know what the rest answers exactly.
 */
export class EntityColumns {
  start = 0
  end = 0
  times: Float64Array
  knowns: Float64Array
  partitions: Int32Array
  offsets: Float64Array
  /**
   * Moments from which each event no longer counts, +Infinity for one that stands; null where none is taken back. Only of
   * histories that take no more events (training/view-history.ts).
   */
  untils: Float64Array | null = null
  readonly inputs: InputColumn[]
  /** Newest event time among pruned events, -Infinity when none was. */
  prunedNewestMs = Number.NEGATIVE_INFINITY
  /** Newest knownAt among pruned events, -Infinity when none was. */
  prunedKnownMs = Number.NEGATIVE_INFINITY
  /** Runs below this one have a valid summary. */
  runsSummarised = 0
  summaries: RunSummaries | null = null

  constructor(inputs: readonly InputPlan[], capacity: number, tables: readonly (StringTable | null)[]) {
    this.times = new Float64Array(capacity)
    this.knowns = new Float64Array(capacity)
    this.partitions = new Int32Array(capacity)
    this.offsets = new Float64Array(capacity)
    this.inputs = inputs.map(({ type }, index) => ({
      type,
      values: allocate(type, capacity),
      nulls: null,
      table: tables[index] ?? null,
    }))
  }

  get count(): number {
    return this.end - this.start
  }

  /** Event time of the newest retained event, -Infinity when empty. */
  get newestMs(): number {
    return this.end > this.start ? (this.times[this.end - 1] as number) : Number.NEGATIVE_INFINITY
  }

  /** First slot whose event time is at or after `timeMs`. */
  lowerBound(timeMs: number): number {
    const { times } = this
    let low = this.start
    let high = this.end
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((times[middle] as number) < timeMs) low = middle + 1
      else high = middle
    }
    return low
  }

  /** Makes room for an event at its place in total order and returns the slot; the caller sets its inputs. */
  insert(timeMs: number, knownMs: number, partition: number, offset: number): number {
    if (this.end === this.times.length) this.#grow()
    const at = this.#place(timeMs, knownMs, partition, offset)
    if (at < this.end) this.#shift(at)
    this.end++
    this.times[at] = timeMs
    this.knowns[at] = knownMs
    this.partitions[at] = partition
    this.offsets[at] = offset
    if (at >> runShift < this.runsSummarised) this.runsSummarised = at >> runShift
    return at
  }

  setNull(input: InputColumn, slot: number): void {
    input.nulls ??= new Uint8Array(this.times.length)
    input.nulls[slot] = 1
  }

  /** Forgets events older than `beforeMs`. */
  prune(beforeMs: number): void {
    const keep = this.lowerBound(beforeMs)
    for (let slot = this.start; slot < keep; slot++) {
      if ((this.knowns[slot] as number) > this.prunedKnownMs) this.prunedKnownMs = this.knowns[slot] as number
    }
    if (keep > this.start) this.prunedNewestMs = Math.max(this.prunedNewestMs, this.times[keep - 1] as number)
    this.start = keep
  }

  #place(timeMs: number, knownMs: number, partition: number, offset: number): number {
    if (this.end === this.start || this.#precedes(this.end - 1, timeMs, knownMs, partition, offset)) return this.end
    let low = this.start
    let high = this.end - 1
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#precedes(middle, timeMs, knownMs, partition, offset)) low = middle + 1
      else high = middle
    }
    return low
  }

  /** Whether the event in `slot` comes before the given one in total order. */
  #precedes(slot: number, timeMs: number, knownMs: number, partition: number, offset: number): boolean {
    const time = this.times[slot] as number
    if (time !== timeMs) return time < timeMs
    const known = this.knowns[slot] as number
    if (known !== knownMs) return known < knownMs
    const other = this.partitions[slot] as number
    return other !== partition ? other < partition : (this.offsets[slot] as number) < offset
  }

  #shift(at: number): void {
    this.times.copyWithin(at + 1, at, this.end)
    this.knowns.copyWithin(at + 1, at, this.end)
    this.partitions.copyWithin(at + 1, at, this.end)
    this.offsets.copyWithin(at + 1, at, this.end)
    for (const input of this.inputs) {
      input.values.copyWithin(at + 1, at, this.end)
      if (input.nulls !== null) {
        input.nulls.copyWithin(at + 1, at, this.end)
        input.nulls[at] = 0
      }
    }
  }

  #grow(): void {
    const { start, end } = this
    // Pruned slots at the front are used again before more memory is asked for.
    const capacity = this.count * 2 > this.times.length ? Math.max(8, this.times.length * 2) : this.times.length
    this.times = resized(this.times, start, end, capacity)
    this.knowns = resized(this.knowns, start, end, capacity)
    this.partitions = resized(this.partitions, start, end, capacity)
    this.offsets = resized(this.offsets, start, end, capacity)
    for (const input of this.inputs) {
      input.values = resized(input.values, start, end, capacity)
      if (input.nulls !== null) input.nulls = resized(input.nulls, start, end, capacity)
    }
    this.end = end - start
    this.start = 0
    this.runsSummarised = 0
    this.summaries = null
  }
}

/** Summaries of whole runs: `known[run]` is the newest knownAt; per input `stride` numbers a run (summaries.ts). */
export interface RunSummaries {
  known: Float64Array
  readonly inputs: (Float64Array | null)[]
}

/** Tables for the inputs that are strings, else null. */
export const newTables = (inputs: readonly InputPlan[]): (Interner | null)[] =>
  inputs.map(({ type }) => (type === 'string' ? new Interner() : null))

/** Sets the input of one slot from a column's row; `translation` maps the column's string codes to the input's. */
export function setInput(
  state: EntityColumns,
  input: InputColumn,
  at: number,
  column: Column,
  translation: Int32Array | null,
  row: number,
): void {
  if (column.nulls !== null && column.nulls[row] === 1) {
    input.values[at] = input.type === 'int64' ? 0n : 0
    state.setNull(input, at)
    return
  }
  if (input.nulls !== null) input.nulls[at] = 0
  input.values[at] =
    translation === null
      ? (column.values[row] as number | bigint)
      : (translation[column.values[row] as number] as number)
}
