import type { Column } from '../event/types.ts'
import { compileExpression, type ColumnFunction } from '../expression/compile.ts'
import type { FieldScope } from '../expression/types.ts'
import type { InputPlan } from './plan.ts'

/**
 * The column of one input: its expression, null wherever its condition is not true. So every function skips the events
 * that a `where` leaves out as it skips nulls, and nothing behind this knows of conditions.
 */
export function compileInput({ expression, where }: InputPlan, fields: FieldScope): ColumnFunction {
  const values = compileExpression(expression, fields)
  if (where === null) return values
  const condition = compileExpression(where, fields)
  return (columns, count) => filtered(values(columns, count), condition(columns, count), count)
}

/** A bare field is the batch's own column, so nothing of it is written to. */
function filtered(column: Column, condition: Column, count: number): Column {
  const nulls = column.nulls === null ? new Uint8Array(count) : column.nulls.slice(0, count)
  for (let row = 0; row < count; row++)
    if (condition.values[row] !== 1 || (condition.nulls !== null && condition.nulls[row] === 1)) nulls[row] = 1
  return { ...column, nulls }
}
