import { FeatureStoreError } from '../errors.ts'
import { shapeOf, type FieldType, type ScalarType } from '../event/types.ts'
import { literalText, textOfNumber } from '../number/decimal.ts'
import type { ComparisonOp, Expression, VariadicOp } from '../expression/expression.ts'

type NumberType = 'int32' | 'float64' | 'timestamp'

/** An expression with its type, as the callbacks of definitions see it. */
export class Expr<T extends ScalarType> {
  readonly ast: Expression
  /** Only for the type checker: never set. */
  declare readonly type: T

  constructor(ast: Expression) {
    this.ast = ast
  }

  isNull(): BoolExpr {
    return new BoolExpr({ kind: 'unary', op: 'isNull', of: this.ast })
  }
}

export class BoolExpr extends Expr<'bool'> {
  and(...others: readonly BoolExpr[]): BoolExpr {
    return new BoolExpr(variadic('and', [this, ...others]))
  }
  or(...others: readonly BoolExpr[]): BoolExpr {
    return new BoolExpr(variadic('or', [this, ...others]))
  }
  not(): BoolExpr {
    return new BoolExpr({ kind: 'unary', op: 'not', of: this.ast })
  }
}

export class StringExpr extends Expr<'string'> {
  eq(other: string | StringExpr): BoolExpr {
    return new BoolExpr({ kind: 'binary', op: 'eq', left: this.ast, right: astOf(other) })
  }
  ne(other: string | StringExpr): BoolExpr {
    return new BoolExpr({ kind: 'binary', op: 'ne', left: this.ast, right: astOf(other) })
  }
}

/** Decimal text, or a number by its shortest one. */
type DecimalOperand = string | number | bigint | DecimalExpr

/**
 * A decimal compares, exactly, with decimals of as many digits behind the point and with literals: 0.1 and '0.1' are one
 * tenth. For arithmetic aggregate the field itself.
 */
export class DecimalExpr extends Expr<'decimal'> {
  readonly #scale: number

  constructor(ast: Expression, scale: number) {
    super(ast)
    this.#scale = scale
  }

  gt(other: DecimalOperand): BoolExpr {
    return this.#compare('gt', other)
  }
  gte(other: DecimalOperand): BoolExpr {
    return this.#compare('gte', other)
  }
  lt(other: DecimalOperand): BoolExpr {
    return this.#compare('lt', other)
  }
  lte(other: DecimalOperand): BoolExpr {
    return this.#compare('lte', other)
  }
  eq(other: DecimalOperand): BoolExpr {
    return this.#compare('eq', other)
  }
  ne(other: DecimalOperand): BoolExpr {
    return this.#compare('ne', other)
  }

  #compare(op: ComparisonOp, other: DecimalOperand): BoolExpr {
    return new BoolExpr({ kind: 'binary', op, left: this.ast, right: this.#operand(other) })
  }

  #operand(other: DecimalOperand): Expression {
    if (other instanceof Expr) return other.ast
    const text = typeof other === 'number' && Number.isFinite(other) ? textOfNumber(other) : String(other)
    const value = literalText(text, this.#scale)
    if (value === null)
      throw new FeatureStoreError('FS_DEFINITION_INVALID', `${JSON.stringify(String(other))} is no decimal`)
    return { kind: 'literal', value }
  }
}

type Operand = number | NumericExpr<NumberType>

/** Arithmetic is float64; a result that is not finite is null. */
export class NumericExpr<T extends NumberType> extends Expr<T> {
  add(other: Operand): NumericExpr<'float64'> {
    return this.#binary('add', other)
  }
  sub(other: Operand): NumericExpr<'float64'> {
    return this.#binary('sub', other)
  }
  mul(other: Operand): NumericExpr<'float64'> {
    return this.#binary('mul', other)
  }
  div(other: Operand): NumericExpr<'float64'> {
    return this.#binary('div', other)
  }
  /** The larger of this and the others. */
  max(...others: readonly Operand[]): NumericExpr<'float64'> {
    return new NumericExpr(variadic('max', [this, ...others]))
  }
  min(...others: readonly Operand[]): NumericExpr<'float64'> {
    return new NumericExpr(variadic('min', [this, ...others]))
  }
  coalesce(...others: readonly Operand[]): NumericExpr<'float64'> {
    return new NumericExpr(variadic('coalesce', [this, ...others]))
  }
  neg(): NumericExpr<'float64'> {
    return new NumericExpr({ kind: 'unary', op: 'neg', of: this.ast })
  }
  abs(): NumericExpr<'float64'> {
    return new NumericExpr({ kind: 'unary', op: 'abs', of: this.ast })
  }
  ceil(): NumericExpr<'float64'> {
    return new NumericExpr({ kind: 'unary', op: 'ceil', of: this.ast })
  }
  floor(): NumericExpr<'float64'> {
    return new NumericExpr({ kind: 'unary', op: 'floor', of: this.ast })
  }
  gt(other: Operand): BoolExpr {
    return this.#compare('gt', other)
  }
  gte(other: Operand): BoolExpr {
    return this.#compare('gte', other)
  }
  lt(other: Operand): BoolExpr {
    return this.#compare('lt', other)
  }
  lte(other: Operand): BoolExpr {
    return this.#compare('lte', other)
  }
  eq(other: Operand): BoolExpr {
    return this.#compare('eq', other)
  }
  ne(other: Operand): BoolExpr {
    return this.#compare('ne', other)
  }

  #binary(op: 'add' | 'sub' | 'mul' | 'div', other: Operand): NumericExpr<'float64'> {
    return new NumericExpr({ kind: 'binary', op, left: this.ast, right: astOf(other) })
  }
  #compare(op: 'gt' | 'gte' | 'lt' | 'lte' | 'eq' | 'ne', other: Operand): BoolExpr {
    return new BoolExpr({ kind: 'binary', op, left: this.ast, right: astOf(other) })
  }
}

export type ExprOf<T extends ScalarType> = T extends NumberType
  ? NumericExpr<T>
  : T extends 'bool'
    ? BoolExpr
    : T extends 'string'
      ? StringExpr
      : T extends 'decimal'
        ? DecimalExpr
        : Expr<T>

const astOf = (operand: number | string | Expr<ScalarType>): Expression =>
  operand instanceof Expr
    ? operand.ast
    : // -0 is read as +0, here as in events.
      { kind: 'literal', value: typeof operand === 'number' ? operand + 0 : operand }

const variadic = (op: VariadicOp, operands: readonly (number | Expr<ScalarType>)[]): Expression => ({
  kind: 'variadic',
  op,
  args: operands.map(astOf),
})

/** The expression of one named field. */
export function fieldExpression<T extends ScalarType>(
  name: string,
  field: FieldType & { readonly type: T },
): ExprOf<T> {
  const ast: Expression = { kind: 'field', name }
  switch (field.type) {
    case 'decimal':
      return new DecimalExpr(ast, shapeOf(field).scale) as ExprOf<T>
    case 'bool':
      return new BoolExpr(ast) as ExprOf<T>
    case 'string':
      return new StringExpr(ast) as ExprOf<T>
    case 'int64':
      return new Expr<'int64'>(ast) as ExprOf<T>
    default:
      return new NumericExpr(ast) as ExprOf<T>
  }
}
