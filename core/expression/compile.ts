import { scalarAt } from '../event/column.ts'
import type { Column, ScalarType } from '../event/types.ts'
import type { Expression } from './expression.ts'
import { interpret } from './interpret.ts'
import { typeOf, type FieldScope } from './types.ts'

type Columns = Readonly<Record<string, Column>>
/** Computes an expression for all rows of a batch. A bare field is the batch's own column, not a copy. */
export type ColumnFunction = (columns: Columns, count: number) => Column

/** One value by row: a float64 (bools as 0 and 1), NaN standing for null. Non-finite results are null, so NaN is free. */
type RowFunction = (row: number) => number

/**
 * Compiles an expression over `scope` to a function of columns. Same values as `interpret`, row by row.
 * Numbers and bools run on float64 closures; expressions over strings fall back to the interpreter.
 */
export function compileExpression(expression: Expression, scope: FieldScope): ColumnFunction {
  const type = typeOf(expression, scope)
  if (expression.kind === 'field') return (columns) => columns[expression.name] as Column
  if (!onNumbers(expression, scope)) return interpreted(expression, type)
  return (columns, count) => {
    const rowFunction = bind(expression, columns)
    const nulls = new Uint8Array(count)
    let anyNull = false
    const values = type === 'bool' ? new Uint8Array(count) : new Float64Array(count)
    for (let row = 0; row < count; row++) {
      const value = rowFunction(row)
      if (Number.isNaN(value)) {
        nulls[row] = 1
        anyNull = true
      } else values[row] = value
    }
    return { type, values, nulls: anyNull ? nulls : null } as Column
  }
}

function onNumbers(expression: Expression, scope: FieldScope): boolean {
  switch (expression.kind) {
    case 'literal':
      return typeof expression.value !== 'string'
    case 'field': {
      const field = scope[expression.name]
      // A NaN that is a value could not be told from a null here.
      return field !== undefined && field.type !== 'string' && field.type !== 'int64' && field.allowNonFinite !== true
    }
    case 'binary':
      return onNumbers(expression.left, scope) && onNumbers(expression.right, scope)
    case 'unary':
      return onNumbers(expression.of, scope)
    case 'variadic':
      return expression.args.every((arg) => onNumbers(arg, scope))
  }
}

const finite = (value: number): number => (Number.isFinite(value) ? value + 0 : NaN)
const truth = (value: boolean): number => (value ? 1 : 0)

function bind(expression: Expression, columns: Columns): RowFunction {
  switch (expression.kind) {
    case 'literal': {
      const value = Number(expression.value)
      return () => value
    }
    case 'field': {
      const column = columns[expression.name] as Exclude<Column, { type: 'int64' }>
      const { values, nulls } = column
      if (nulls === null) return (row) => values[row] as number
      return (row) => (nulls[row] === 1 ? NaN : (values[row] as number))
    }
    case 'binary': {
      const left = bind(expression.left, columns)
      const right = bind(expression.right, columns)
      const compare =
        (test: (l: number, r: number) => boolean): RowFunction =>
        (row) => {
          const l = left(row)
          const r = right(row)
          return Number.isNaN(l) || Number.isNaN(r) ? NaN : truth(test(l, r))
        }
      switch (expression.op) {
        case 'add':
          return (row) => finite(left(row) + right(row))
        case 'sub':
          return (row) => finite(left(row) - right(row))
        case 'mul':
          return (row) => finite(left(row) * right(row))
        case 'div':
          return (row) => finite(left(row) / right(row))
        case 'gt':
          return compare((l, r) => l > r)
        case 'gte':
          return compare((l, r) => l >= r)
        case 'lt':
          return compare((l, r) => l < r)
        case 'lte':
          return compare((l, r) => l <= r)
        case 'eq':
          return compare((l, r) => l === r)
        case 'ne':
          return compare((l, r) => l !== r)
      }
    }
    case 'unary': {
      const of = bind(expression.of, columns)
      switch (expression.op) {
        case 'isNull':
          return (row) => truth(Number.isNaN(of(row)))
        case 'not':
          return (row) => 1 - of(row)
        case 'neg':
          return (row) => finite(-of(row))
        case 'abs':
          return (row) => finite(Math.abs(of(row)))
        case 'ceil':
          return (row) => finite(Math.ceil(of(row)))
        case 'floor':
          return (row) => finite(Math.floor(of(row)))
      }
    }
    case 'variadic': {
      const args = expression.args.map((arg) => bind(arg, columns))
      switch (expression.op) {
        case 'max':
          return (row) => finite(args.reduce((most, arg) => Math.max(most, arg(row)), Number.NEGATIVE_INFINITY))
        case 'min':
          return (row) => finite(args.reduce((least, arg) => Math.min(least, arg(row)), Number.POSITIVE_INFINITY))
        case 'coalesce':
          return (row) => {
            for (const arg of args) {
              const value = arg(row)
              if (!Number.isNaN(value)) return value
            }
            return NaN
          }
        case 'and':
        case 'or': {
          const decides = expression.op === 'and' ? 0 : 1
          return (row) => {
            let result = 1 - decides
            for (const arg of args) {
              const value = arg(row)
              if (value === decides) return decides
              if (Number.isNaN(value)) result = NaN
            }
            return result
          }
        }
      }
    }
  }
}

function interpreted(expression: Expression, type: ScalarType): ColumnFunction {
  return (columns, count) => {
    const values =
      type === 'bool' ? new Uint8Array(count) : type === 'string' ? new Int32Array(count) : new Float64Array(count)
    const nulls = new Uint8Array(count)
    const strings: string[] = []
    const codes = new Map<string, number>()
    let row = 0
    const field = (name: string) => scalarAt(columns[name] as Column, row)
    for (; row < count; row++) {
      const value = interpret(expression, field)
      if (value === null) nulls[row] = 1
      else if (typeof value === 'string') {
        let code = codes.get(value)
        if (code === undefined) codes.set(value, (code = strings.push(value) - 1))
        values[row] = code
      } else values[row] = Number(value)
    }
    const mask = nulls.includes(1) ? nulls : null
    return (
      type === 'string' ? { type, values, table: { strings }, nulls: mask } : { type, values, nulls: mask }
    ) as Column
  }
}
