import { formatDecimal } from '../number/decimal.ts'
import { tableText, type Column, type Scalar } from './types.ts'

/** The value of one row of a column, as people write it. */
export function scalarAt(column: Column, row: number): Scalar {
  if (column.nulls !== null && column.nulls[row] === 1) return null
  switch (column.type) {
    case 'bool':
      return column.values[row] === 1
    case 'string':
      return tableText(column.table, column.values[row] as number)
    case 'decimal':
      return formatDecimal(column.values[row] as bigint, column.scale)
    default:
      return column.values[row] as number | bigint
  }
}
