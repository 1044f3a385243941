import type { DeadRecord, EventBatch } from './batch.ts'
import { offset as offsetOf } from './position.ts'
import type { Column } from './types.ts'

/** The part of a batch below `end`. Columns are views of the same memory. */
export function takeBelow(batch: EventBatch, end: number): EventBatch {
  if (batch.nextOffset <= end) return batch
  let count = 0
  while (count < batch.count && (batch.offsets[count] as number) < end) count++
  return {
    ...batch,
    nextOffset: offsetOf(end),
    count,
    offsets: batch.offsets.subarray(0, count),
    eventTimes: batch.eventTimes.subarray(0, count),
    knownAts: batch.knownAts.subarray(0, count),
    columns: Object.fromEntries(
      Object.entries(batch.columns).map(([name, column]) => [name, firstRows(column, count)]),
    ),
    ops: batch.ops === null ? null : batch.ops.subarray(0, count),
    dead: batch.dead.filter((record) => record.offset < end),
  }
}

/** The part of a batch from `start` on. Columns are views of the same memory. */
export function takeFrom(batch: EventBatch, start: number): EventBatch {
  if (batch.firstOffset >= start) return batch
  let first = 0
  while (first < batch.count && (batch.offsets[first] as number) < start) first++
  return {
    ...batch,
    firstOffset: offsetOf(start),
    count: batch.count - first,
    offsets: batch.offsets.subarray(first),
    eventTimes: batch.eventTimes.subarray(first),
    knownAts: batch.knownAts.subarray(first),
    columns: Object.fromEntries(
      Object.entries(batch.columns).map(([name, column]) => [name, rowsOf(column, first, batch.count)]),
    ),
    ops: batch.ops === null ? null : batch.ops.subarray(first),
    dead: batch.dead.filter((record) => record.offset >= start),
  }
}

/** When the last record of a batch was known, -Infinity of an empty one. */
export const lastKnownAt = ({ knownAts, count, dead }: EventBatch): number =>
  Math.max(
    count === 0 ? Number.NEGATIVE_INFINITY : (knownAts[count - 1] as number),
    dead.at(-1)?.knownAt ?? Number.NEGATIVE_INFINITY,
  )

/** One past the last record of a batch that was known by `knownMs`. */
export function endKnownBy({ firstOffset, nextOffset, offsets, knownAts, count, dead }: EventBatch, knownMs: number) {
  let end: number = nextOffset
  for (let row = count - 1; row >= 0 && (knownAts[row] as number) > knownMs; row--) end = offsets[row] as number
  for (const { offset, knownAt } of dead) if (knownAt > knownMs && offset < end) end = offset
  return offsetOf(Math.max(firstOffset, end))
}

/** The batch without some of its rows, which are given as dead records instead. Its columns are new ones. */
export function withDead(batch: EventBatch, rows: readonly number[], dead: readonly DeadRecord[]): EventBatch {
  const out = new Set(rows)
  const kept = Array.from({ length: batch.count }, (_, row) => row).filter((row) => !out.has(row))
  const picked = <T extends Column['values']>(values: T): T => {
    const Kind = values.constructor as new (length: number) => T
    const some = new Kind(kept.length)
    kept.forEach((row, at) => (some[at] = values[row] as never))
    return some
  }
  return {
    ...batch,
    count: kept.length,
    offsets: picked(batch.offsets),
    eventTimes: picked(batch.eventTimes),
    knownAts: picked(batch.knownAts),
    columns: Object.fromEntries(
      Object.entries(batch.columns).map(([name, column]) => [
        name,
        {
          ...column,
          values: picked(column.values),
          nulls: column.nulls === null ? null : picked(column.nulls),
        } as Column,
      ]),
    ),
    ops: batch.ops === null ? null : picked(batch.ops),
    dead: [...batch.dead, ...dead].sort((a, b) => a.offset - b.offset),
  }
}

const firstRows = (column: Column, count: number): Column => rowsOf(column, 0, count)

const rowsOf = (column: Column, from: number, to: number): Column =>
  ({
    ...column,
    values: column.values.subarray(from, to),
    nulls: column.nulls === null ? null : column.nulls.subarray(from, to),
  }) as Column

/** Consecutive batches of one partition as one. Their string columns share a table (one decoder made them). */
export function concatBatches(batches: readonly EventBatch[]): EventBatch {
  const first = batches[0]
  if (first === undefined) throw new Error('no batches to join')
  if (batches.length === 1) return first
  const last = batches.at(-1) as EventBatch
  const floats = (pick: (batch: EventBatch) => Float64Array): Float64Array => {
    const joined = new Float64Array(count)
    let at = 0
    for (const batch of batches) {
      joined.set(pick(batch), at)
      at += batch.count
    }
    return joined
  }
  const count = batches.reduce((sum, batch) => sum + batch.count, 0)
  return {
    ...first,
    epoch: last.epoch,
    nextOffset: last.nextOffset,
    count,
    offsets: floats((batch) => batch.offsets),
    eventTimes: floats((batch) => batch.eventTimes),
    knownAts: floats((batch) => batch.knownAts),
    columns: Object.fromEntries(
      Object.keys(first.columns).map((name) => [
        name,
        concatColumns(
          batches.map((batch) => batch.columns[name] as Column),
          count,
        ),
      ]),
    ),
    // One decoder made them: it gives operations always, or never.
    ops: first.ops === null ? null : concatBytes(batches.map((batch) => batch.ops as Uint8Array)),
    dead: batches.flatMap((batch) => batch.dead),
  }
}

function concatBytes(parts: readonly Uint8Array[]): Uint8Array {
  const joined = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    joined.set(part, at)
    at += part.length
  }
  return joined
}

function concatColumns(columns: readonly Column[], count: number): Column {
  const first = columns[0] as Column
  const Kind = first.values.constructor as new (length: number) => Column['values']
  const values = new Kind(count)
  const nulls = columns.some((column) => column.nulls !== null) ? new Uint8Array(count) : null
  let at = 0
  for (const column of columns) {
    values.set(column.values as never, at)
    if (column.nulls !== null) nulls?.set(column.nulls, at)
    at += column.values.length
  }
  return { ...first, values, nulls } as Column
}
