import { scalarAt } from '../event/column.ts'
import type { Column, ScalarType } from '../event/types.ts'
import { FeatureStoreError } from '../errors.ts'
import { parseDecimal, powerOfTen } from '../number/decimal.ts'
import type { ArithmeticOp, ComparisonOp, Expression } from './expression.ts'
import { interpret } from './interpret.ts'
import { typeOf, type FieldScope } from './types.ts'

type Columns = Readonly<Record<string, Column>>
/** Computes an expression for all rows of a batch. A bare field is the batch's own column, not a copy. */
export type ColumnFunction = (columns: Columns, count: number) => Column

/** One value by row: a float64 (bools as 0 and 1), NaN standing for null. Non-finite results are null, so NaN is free. */
type RowFunction = (row: number) => number

/**
 * Compiles an expression over `scope` to a function of columns. Same values as `interpret`, row by row.
 * Numbers and bools run on float64 closures, comparisons of decimals on their unscaled values; expressions over strings fall back to the interpreter.
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

const numbers: ReadonlySet<ScalarType> = new Set(['bool', 'int32', 'float64', 'timestamp'])

function onNumbers(expression: Expression, scope: FieldScope): boolean {
  switch (expression.kind) {
    case 'literal':
      return typeof expression.value !== 'string'
    case 'field': {
      const field = scope[expression.name]
      // A NaN that is a value could not be told from a null here.
      return field !== undefined && numbers.has(field.type) && field.allowNonFinite !== true
    }
    case 'binary':
      if (typeOf(expression.left, scope) === 'decimal' || typeOf(expression.right, scope) === 'decimal') return true
      return onNumbers(expression.left, scope) && onNumbers(expression.right, scope)
    case 'unary':
      return onNumbers(expression.of, scope)
    case 'variadic':
      return expression.args.every((arg) => onNumbers(arg, scope))
  }
}

const finite = (value: number): number => (Number.isFinite(value) ? value + 0 : NaN)
const truth = (value: boolean): number => (value ? 1 : 0)

const columnOf = (side: Expression, columns: Columns): DecimalColumn | null => {
  const column = side.kind === 'field' ? columns[side.name] : undefined
  return column?.type === 'decimal' ? column : null
}

/** The sign of left - right by row, NaN where one is null; null where neither side is a decimal. */
function decimalOrder(left: Expression, right: Expression, columns: Columns): RowFunction | null {
  const sides = [left, right].map((side) => ({
    column: columnOf(side, columns),
    literal: side.kind === 'literal' ? parseDecimal(String(side.value)) : null,
  })) as [DecimalSide, DecimalSide]
  if (sides[0].column === null && sides[1].column === null) return null
  const scale = Math.max(...sides.map(({ column, literal }) => column?.scale ?? literal?.scale ?? 0))
  const [l, r] = sides.map((side) => unscaledAt(side, scale)) as [UnscaledFunction, UnscaledFunction]
  return (row) => {
    const a = l(row)
    const b = r(row)
    return a === null || b === null ? NaN : a < b ? -1 : a > b ? 1 : 0
  }
}

type DecimalColumn = Extract<Column, { type: 'decimal' }>
interface DecimalSide {
  readonly column: DecimalColumn | null
  readonly literal: ReturnType<typeof parseDecimal>
}
type UnscaledFunction = (row: number) => bigint | null

function unscaledAt({ column, literal }: DecimalSide, scale: number): UnscaledFunction {
  if (column === null) {
    const value = literal === null ? null : literal.unscaled * powerOfTen(scale - literal.scale)
    return () => value
  }
  const { values, nulls } = column
  const factor = powerOfTen(scale - column.scale)
  const value =
    factor === 1n ? (row: number) => values[row] as bigint : (row: number) => (values[row] as bigint) * factor
  return nulls === null ? value : (row) => (nulls[row] === 1 ? null : value(row))
}

function comparison(op: ArithmeticOp | ComparisonOp, order: RowFunction): RowFunction {
  const test = (holds: (sign: number) => boolean): RowFunction => {
    return (row) => {
      const sign = order(row)
      return Number.isNaN(sign) ? NaN : truth(holds(sign))
    }
  }
  switch (op) {
    case 'gt':
      return test((sign) => sign > 0)
    case 'gte':
      return test((sign) => sign >= 0)
    case 'lt':
      return test((sign) => sign < 0)
    case 'lte':
      return test((sign) => sign <= 0)
    case 'eq':
      return test((sign) => sign === 0)
    case 'ne':
      return test((sign) => sign !== 0)
    default:
      throw new FeatureStoreError('FS_INTERNAL', `${op} over decimals`)
  }
}

function bind(expression: Expression, columns: Columns): RowFunction {
  switch (expression.kind) {
    case 'literal': {
      const value = Number(expression.value)
      return () => value
    }
    case 'field': {
      const column = columns[expression.name] as Exclude<Column, { type: 'int64' | 'decimal' }>
      const { values, nulls } = column
      if (nulls === null) return (row) => values[row] as number
      return (row) => (nulls[row] === 1 ? NaN : (values[row] as number))
    }
    case 'binary': {
      const decimals = decimalOrder(expression.left, expression.right, columns)
      if (decimals !== null) return comparison(expression.op, decimals)
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
