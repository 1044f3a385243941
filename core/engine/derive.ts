import type { DerivedDefinition } from '../definition/types.ts'
import type { ErrorCode } from '../errors.ts'
import type { Scalar } from '../event/types.ts'
import { interpret } from '../expression/interpret.ts'
import { fieldsOf } from '../expression/expression.ts'
import { ColumnBuilder } from './column-builder.ts'
import { Status, valueAt, type FeatureColumn } from './feature-column.ts'

/** What an expression of a service reads from a feature's value: counts, integer sums and decimals as float64. */
function featureInput(column: FeatureColumn, row: number): Scalar {
  const value = valueAt(column, row)
  return column.values.type === 'decimal' && value !== null ? Number(value) : derivedInput(value)
}

const derivedInput = (value: ReturnType<typeof valueAt>): Scalar =>
  typeof value === 'bigint' ? Number(value) : Array.isArray(value) ? null : (value as Scalar)

/**
 * A derived feature from the columns of the features it reads (`view:feature`) and the request's fields.
 * ERROR and OVERFLOW of an input carry over; otherwise a value that is null is NULL.
 */
export function deriveColumn(
  derived: { readonly definition: DerivedDefinition; readonly type: 'float64' | 'bool'; readonly fingerprint: string },
  rows: number,
  columns: ReadonlyMap<string, FeatureColumn>,
  request: (field: string, row: number) => Scalar,
): FeatureColumn {
  const { definition } = derived
  const builder = new ColumnBuilder(rows, {
    name: definition.name,
    type: { kind: 'scalar', type: derived.type },
    fingerprint: derived.fingerprint,
  })
  const inputs = fieldsOf(definition.expression)
    .filter((field) => !field.startsWith('request.'))
    .map((field) => columns.get(field.replace('.', ':')) as FeatureColumn)
  const codes = new Map<FeatureColumn, ReadonlyMap<number, ErrorCode>>()
  const codeOf = (column: FeatureColumn, row: number): ErrorCode => {
    let byRow = codes.get(column)
    if (byRow === undefined) {
      byRow = new Map(column.errors.map((error) => [error.row, error.code]))
      codes.set(column, byRow)
    }
    return byRow.get(row) ?? 'FS_INTERNAL'
  }
  for (let row = 0; row < rows; row++) {
    const failed = inputs.find((column) => column.statuses[row] === Status.ERROR)
    if (failed !== undefined) {
      builder.setError(row, codeOf(failed, row))
      continue
    }
    if (inputs.some((column) => column.statuses[row] === Status.OVERFLOW)) {
      builder.setStatus(row, Status.OVERFLOW)
      continue
    }
    const value = interpret(definition.expression, (field) => {
      if (field.startsWith('request.')) return derivedInput(request(field.slice('request.'.length), row))
      const column = columns.get(field.replace('.', ':')) as FeatureColumn
      return featureInput(column, row)
    })
    if (value === null) builder.setStatus(row, Status.NULL)
    else builder.setValue(row, value)
  }
  return builder.build()
}
