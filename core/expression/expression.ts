/**
 * The typed expression language of definitions: plain JSON-able data, so one expression compiles to the hot path, the
 * naive twin and SQL. No user function runs in the pipeline.
 *
 * Meaning (interpret.ts is its text): arithmetic is float64; a result that is not finite is null (so x / 0 is null); a
 * null operand gives null, except where `and`, `or`, `isNull` and `coalesce` say otherwise (three-valued logic).
 */
export type ArithmeticOp = 'add' | 'sub' | 'mul' | 'div'
export type ComparisonOp = 'gt' | 'gte' | 'lt' | 'lte' | 'eq' | 'ne'
export type UnaryOp = 'neg' | 'abs' | 'ceil' | 'floor' | 'not' | 'isNull'
export type VariadicOp = 'max' | 'min' | 'and' | 'or' | 'coalesce'

export type Expression =
  | { readonly kind: 'literal'; readonly value: number | string | boolean }
  | { readonly kind: 'field'; readonly name: string }
  | {
      readonly kind: 'binary'
      readonly op: ArithmeticOp | ComparisonOp
      readonly left: Expression
      readonly right: Expression
    }
  | { readonly kind: 'unary'; readonly op: UnaryOp; readonly of: Expression }
  | { readonly kind: 'variadic'; readonly op: VariadicOp; readonly args: readonly Expression[] }

/** One text per expression, for fingerprints and for finding equal inputs. */
export const canonicalText = (expression: Expression): string => {
  switch (expression.kind) {
    case 'literal':
      return JSON.stringify(expression.value)
    case 'field':
      return `$${JSON.stringify(expression.name)}`
    case 'binary':
      return `(${expression.op} ${canonicalText(expression.left)} ${canonicalText(expression.right)})`
    case 'unary':
      return `(${expression.op} ${canonicalText(expression.of)})`
    case 'variadic':
      return `(${expression.op} ${expression.args.map(canonicalText).join(' ')})`
  }
}

/** Names of the fields that an expression reads, each once, in order of appearance. */
export function fieldsOf(expression: Expression): string[] {
  switch (expression.kind) {
    case 'literal':
      return []
    case 'field':
      return [expression.name]
    case 'binary':
      return unique([...fieldsOf(expression.left), ...fieldsOf(expression.right)])
    case 'unary':
      return fieldsOf(expression.of)
    case 'variadic':
      return unique(expression.args.flatMap(fieldsOf))
  }
}

const unique = (names: readonly string[]): string[] => [...new Set(names)]
