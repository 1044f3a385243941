import type { Scalar } from '../event/types.ts'
import { compareDecimals } from '../number/decimal.ts'
import type { Expression, UnaryOp, VariadicOp, ArithmeticOp, ComparisonOp } from './expression.ts'

/** The plain meaning of an expression for one event. The compiled form is tested equal to it. */
export function interpret(expression: Expression, field: (name: string) => Scalar): Scalar {
  switch (expression.kind) {
    case 'literal':
      return expression.value
    case 'field':
      return field(expression.name)
    case 'binary':
      return binary(expression.op, interpret(expression.left, field), interpret(expression.right, field))
    case 'unary':
      return unary(expression.op, interpret(expression.of, field))
    case 'variadic':
      return variadic(
        expression.op,
        expression.args.map((arg) => interpret(arg, field)),
      )
  }
}

/** A float64 result: -0 is +0, and what is not finite is null. */
export const finiteOrNull = (value: number): number | null => (Number.isFinite(value) ? value + 0 : null)

/** Text is ordered as decimals alone; equal ones are equal texts. */
const compared = (op: ArithmeticOp | ComparisonOp, order: number): boolean =>
  op === 'gt' ? order > 0 : op === 'gte' ? order >= 0 : op === 'lt' ? order < 0 : order <= 0

function binary(op: ArithmeticOp | ComparisonOp, left: Scalar, right: Scalar): Scalar {
  if (left === null || right === null) return null
  if (typeof left === 'string' && op !== 'eq' && op !== 'ne')
    return compared(op, compareDecimals(left, right as string))
  const l = left as number
  const r = right as number
  switch (op) {
    case 'add':
      return finiteOrNull(l + r)
    case 'sub':
      return finiteOrNull(l - r)
    case 'mul':
      return finiteOrNull(l * r)
    case 'div':
      return finiteOrNull(l / r)
    case 'gt':
      return l > r
    case 'gte':
      return l >= r
    case 'lt':
      return l < r
    case 'lte':
      return l <= r
    case 'eq':
      return left === right
    case 'ne':
      return left !== right
  }
}

function unary(op: UnaryOp, value: Scalar): Scalar {
  if (op === 'isNull') return value === null
  if (value === null) return null
  switch (op) {
    case 'neg':
      return finiteOrNull(-(value as number))
    case 'abs':
      return finiteOrNull(Math.abs(value as number))
    case 'ceil':
      return finiteOrNull(Math.ceil(value as number))
    case 'floor':
      return finiteOrNull(Math.floor(value as number))
    case 'not':
      return !(value as boolean)
  }
}

function variadic(op: VariadicOp, args: readonly Scalar[]): Scalar {
  switch (op) {
    case 'coalesce':
      return args.find((arg) => arg !== null) ?? null
    case 'and':
      return args.includes(false) ? false : args.includes(null) ? null : true
    case 'or':
      return args.includes(true) ? true : args.includes(null) ? null : false
    case 'max':
    case 'min':
      if (args.includes(null)) return null
      return finiteOrNull(op === 'max' ? Math.max(...(args as number[])) : Math.min(...(args as number[])))
  }
}
