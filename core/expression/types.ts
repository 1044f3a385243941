import { FeatureStoreError } from '../errors.ts'
import { shapeOf, type FieldType, type ScalarType } from '../event/types.ts'
import { literalText } from '../number/decimal.ts'
import type { Expression } from './expression.ts'

export type FieldScope = Readonly<Record<string, FieldType>>

const invalid = (message: string): FeatureStoreError => new FeatureStoreError('FS_DEFINITION_INVALID', message)
type BinaryExpression = Extract<Expression, { readonly kind: 'binary' }>
const comparisons: ReadonlySet<string> = new Set(['gt', 'gte', 'lt', 'lte', 'eq', 'ne'])
const isNumber = (type: ScalarType): boolean => type === 'int32' || type === 'float64' || type === 'timestamp'

/** The type of an expression, with the digits of a decimal: only bare fields are decimals. Errors: as of typeOf. */
export function itemTypeOf(expression: Expression, scope: FieldScope): Pick<FieldType, 'type' | 'precision' | 'scale'> {
  const type = typeOf(expression, scope)
  return type === 'decimal' && expression.kind === 'field'
    ? { type, ...shapeOf(scope[expression.name] as FieldType) }
    : { type }
}

/**
 * Compares exactly: decimals of one scale, or a decimal and a literal, which stands in the expression as text
 * (`literalText`): 0.1 is one tenth beside a decimal, not the double nearest to it.
 */
function checkDecimals({ op, left, right }: BinaryExpression, scope: FieldScope): void {
  const [l, r] = [itemTypeOf(left, scope), itemTypeOf(right, scope)]
  if (!comparisons.has(op))
    throw invalid(`${op} over decimals is not built: aggregate the field itself, or declare a float64`)
  const { scale = 0 } = l.type === 'decimal' ? l : r
  for (const [side, { type, scale: own }] of [
    [left, l],
    [right, r],
  ] as const) {
    if (type === 'decimal' && own === scale) continue
    if (side.kind === 'literal' && type === 'string' && literalText(side.value as string, scale) === side.value)
      continue
    throw invalid(
      type === 'decimal'
        ? `${op} compares decimals of ${scale} and ${own} digits behind the point: they must be as many`
        : `${op} compares a decimal with a ${type}: it takes a decimal of its scale, or a literal`,
    )
  }
}

/**
 * The type of an expression over `scope`.
 *
 * Errors: FS_DEFINITION_INVALID for an unknown field, a wrong type or a literal that is not finite. Arithmetic over int64 and
 * decimals is refused: a float64 result would round it; aggregate the field itself.
 */
export function typeOf(expression: Expression, scope: FieldScope): ScalarType {
  switch (expression.kind) {
    case 'literal':
      // JSON has no NaN and no infinities: three definitions would become one.
      if (typeof expression.value === 'number' && !Number.isFinite(expression.value))
        throw invalid(`${expression.value} is no literal: numbers in expressions are finite`)
      return typeof expression.value === 'string'
        ? 'string'
        : typeof expression.value === 'boolean'
          ? 'bool'
          : 'float64'
    case 'field': {
      const field = Object.hasOwn(scope, expression.name) ? scope[expression.name] : undefined
      if (field === undefined)
        throw invalid(`there is no field ${expression.name}; there are ${Object.keys(scope).join(', ')}`)
      return field.type
    }
    case 'binary': {
      const left = typeOf(expression.left, scope)
      const right = typeOf(expression.right, scope)
      const { op } = expression
      if (left === 'decimal' || right === 'decimal') {
        checkDecimals(expression, scope)
        return 'bool'
      }
      if (op === 'eq' || op === 'ne') {
        if (left !== right && !(isNumber(left) && isNumber(right)))
          throw invalid(`${op} compares a ${left} with a ${right}`)
        if (left === 'int64') throw invalid(`${op} over int64 is not built: compare an int32 or a string`)
        return 'bool'
      }
      for (const type of [left, right])
        if (!isNumber(type)) throw invalid(`${op} takes int32, float64 or timestamp, not ${type}`)
      return op === 'gt' || op === 'gte' || op === 'lt' || op === 'lte' ? 'bool' : 'float64'
    }
    case 'unary': {
      const type = typeOf(expression.of, scope)
      if (expression.op === 'isNull') return 'bool'
      if (expression.op === 'not') {
        if (type !== 'bool') throw invalid(`not takes a bool, not ${type}`)
        return 'bool'
      }
      if (!isNumber(type)) throw invalid(`${expression.op} takes int32, float64 or timestamp, not ${type}`)
      return 'float64'
    }
    case 'variadic': {
      const types = expression.args.map((arg) => typeOf(arg, scope))
      const first = types[0]
      if (first === undefined) throw invalid(`${expression.op} takes at least one argument`)
      if (expression.op === 'and' || expression.op === 'or') {
        if (types.some((type) => type !== 'bool'))
          throw invalid(`${expression.op} takes bools, not ${types.join(', ')}`)
        return 'bool'
      }
      if (types.every(isNumber)) return 'float64'
      if (
        expression.op === 'coalesce' &&
        first !== 'int64' &&
        first !== 'decimal' &&
        types.every((type) => type === first)
      )
        return first
      throw invalid(`${expression.op} over ${types.join(', ')} is not built`)
    }
  }
}
