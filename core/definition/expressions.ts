import type { ScalarType } from '../event/types.ts'
import type { Expression, VariadicOp } from '../expression/expression.ts'

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
export function fieldExpression<T extends ScalarType>(name: string, type: T): ExprOf<T> {
  const ast: Expression = { kind: 'field', name }
  switch (type) {
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
