/** Columns of batches into columns of a history: every row to its place. */
import type { InputColumn } from '../core/engine/columnar/columns.ts'
import { compileInput } from '../core/engine/compile-input.ts'
import { newTables, type Interner } from '../core/engine/interner.ts'
import type { InputPlan, ViewPlan } from '../core/engine/plan.ts'
import type { EventBatch } from '../core/event/batch.ts'
import type { Column } from '../core/event/types.ts'
import { shapeOf } from '../core/event/types.ts'

/**
 * Part `i` holds rows from `starts[i]` on; row r goes to `places[r]`, nowhere at -1. `count` places.
 */
export function scatteredFloats(
  parts: readonly Float64Array[],
  starts: readonly number[],
  places: Int32Array,
  count: number,
): Float64Array {
  const to = new Float64Array(count)
  parts.forEach((part, index) => scatterFloats(part, to, places, starts[index] as number, part.length))
  return to
}

/** The inputs of a view. */
export function scatteredInputs(
  plan: ViewPlan,
  batches: readonly EventBatch[],
  starts: readonly number[],
  places: Int32Array,
  count: number,
): InputColumn[] {
  const tables = newTables(plan.inputs)
  return plan.inputs.map((input, index) => {
    const compute = compileInput(input, plan.fields)
    const to = emptyColumn(input, tables[index] ?? null, count)
    let nulls: Uint8Array | null = null
    batches.forEach((batch, at) => {
      const start = starts[at] as number
      const column = compute(batch.columns, batch.count)
      scatterColumn(column, to, places, start, batch.count)
      if (column.nulls === null) return
      nulls ??= new Uint8Array(count)
      scatterBytes(column.nulls, nulls, places, start, batch.count)
    })
    return nulls === null ? to : { ...to, nulls }
  })
}

function emptyColumn(input: InputPlan, table: Interner | null, count: number): InputColumn {
  switch (input.type) {
    case 'int32':
      return { type: 'int32', values: new Int32Array(count), nulls: null }
    case 'bool':
      return { type: 'bool', values: new Uint8Array(count), nulls: null }
    case 'string':
      return { type: 'string', values: new Int32Array(count), table: table as Interner, nulls: null }
    case 'int64':
      return { type: 'int64', values: new BigInt64Array(count), nulls: null }
    case 'decimal':
      return { type: 'decimal', ...shapeOf(input), values: new BigInt64Array(count), nulls: null }
    default:
      return { type: input.type, values: new Float64Array(count), nulls: null }
  }
}

function scatterColumn(from: Column, to: InputColumn, places: Int32Array, start: number, rows: number): void {
  switch (from.type) {
    case 'float64':
    case 'timestamp':
      scatterFloats(from.values, to.values as Float64Array, places, start, rows)
      break
    case 'int64':
    case 'decimal':
      scatterLongs(from.values, to.values as BigInt64Array, places, start, rows)
      break
    case 'int32':
      scatterInts(from.values, to.values as Int32Array, places, start, rows)
      break
    case 'bool':
      scatterBytes(from.values, to.values as Uint8Array, places, start, rows)
      break
    case 'string': {
      const { table } = to as Extract<InputColumn, { readonly type: 'string' }>
      scatterCodes(from.values, table.translation(from.table), to.values as Int32Array, places, start, rows)
    }
  }
}

// One loop for each kind of array.

function scatterFloats(from: Float64Array, to: Float64Array, places: Int32Array, start: number, rows: number): void {
  for (let row = 0; row < rows; row++) {
    const place = places[start + row] as number
    // -0 counts as +0.
    if (place >= 0) to[place] = (from[row] as number) + 0
  }
}
function scatterLongs(from: BigInt64Array, to: BigInt64Array, places: Int32Array, start: number, rows: number): void {
  for (let row = 0; row < rows; row++) {
    const place = places[start + row] as number
    if (place >= 0) to[place] = from[row] as bigint
  }
}
function scatterInts(from: Int32Array, to: Int32Array, places: Int32Array, start: number, rows: number): void {
  for (let row = 0; row < rows; row++) {
    const place = places[start + row] as number
    if (place >= 0) to[place] = from[row] as number
  }
}
function scatterBytes(from: Uint8Array, to: Uint8Array, places: Int32Array, start: number, rows: number): void {
  for (let row = 0; row < rows; row++) {
    const place = places[start + row] as number
    if (place >= 0) to[place] = from[row] as number
  }
}
function scatterCodes(
  from: Int32Array,
  codes: Int32Array,
  to: Int32Array,
  places: Int32Array,
  start: number,
  rows: number,
): void {
  for (let row = 0; row < rows; row++) {
    const place = places[start + row] as number
    // At a null any code may stand, none of the table's too.
    if (place >= 0) to[place] = codes[from[row] as number] ?? 0
  }
}
