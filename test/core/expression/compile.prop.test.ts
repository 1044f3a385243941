import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { scalarAt } from '../../../core/event/column.ts'
import type { Column, FieldType, Scalar, ScalarType } from '../../../core/event/types.ts'
import { compileExpression } from '../../../core/expression/compile.ts'
import { fieldsOf, type Expression, type UnaryOp } from '../../../core/expression/expression.ts'
import { interpret } from '../../../core/expression/interpret.ts'
import { formatDecimal, literalText, unscaledOfCanonical } from '../../../core/number/decimal.ts'
import { typeOf } from '../../../core/expression/types.ts'

/** One nullable field of every type, and one without nulls. */
const scope = {
  i: { type: 'int32', nullable: true },
  j: { type: 'int32' },
  f: { type: 'float64', nullable: true },
  odd: { type: 'float64', nullable: true, allowNonFinite: true },
  at: { type: 'timestamp', nullable: true },
  big: { type: 'int64', nullable: true },
  d: { type: 'decimal', precision: 5, scale: 2, nullable: true },
  d2: { type: 'decimal', precision: 5, scale: 2 },
  ok: { type: 'bool', nullable: true },
  s: { type: 'string', nullable: true },
} as const satisfies Record<string, FieldType>
type Row = Readonly<Record<keyof typeof scope, Scalar>>

const float = fc.oneof(
  fc.constantFrom(0, -0, 1, -1, 0.5, -0.5, 1e308, -1e308, 5e-324, 2 ** 53),
  fc.double({ noNaN: true, noDefaultInfinity: true }),
)
const int32 = fc.oneof(fc.constantFrom(0, 1, -1, 2 ** 31 - 1, -(2 ** 31)), fc.integer())
const text = fc.constantFrom('', 'a', 'b', 'ü')
const orNull = (of: fc.Arbitrary<Scalar>): fc.Arbitrary<Scalar> => fc.option(of, { freq: 3 })
const decimal = fc
  .oneof(fc.bigInt({ min: -30n, max: 30n }), fc.constantFrom(99_999n, -99_999n))
  .map((unscaled) => formatDecimal(unscaled, 2))
const rows: fc.Arbitrary<Row[]> = fc.array(
  fc.record({
    i: orNull(int32),
    j: int32,
    f: orNull(float),
    odd: orNull(fc.oneof(float, fc.constantFrom(Number.NaN, Infinity, -Infinity))),
    at: orNull(fc.integer({ min: -62_135_596_800_000, max: 253_370_764_799_999 })),
    d: orNull(decimal),
    d2: decimal,
    big: orNull(fc.bigInt({ min: -(1n << 63n), max: (1n << 63n) - 1n })),
    ok: orNull(fc.boolean()),
    s: orNull(text),
  }),
  { minLength: 1, maxLength: 6 },
)

const makers = {
  int32: Int32Array,
  float64: Float64Array,
  timestamp: Float64Array,
  bool: Uint8Array,
  string: Int32Array,
}
const maskOf = (values: readonly Scalar[]): Uint8Array | null =>
  values.includes(null) ? Uint8Array.from(values, (value) => (value === null ? 1 : 0)) : null
function columnOf(type: ScalarType, values: readonly Scalar[]): Column {
  if (type === 'decimal') {
    const unscaled = BigInt64Array.from(values, (value) => (value === null ? 3n : unscaledOfCanonical(value as string)))
    return { type, precision: 5, scale: 2, values: unscaled, nulls: maskOf(values) }
  }
  const nulls = maskOf(values)
  if (type === 'int64') return { type, values: BigInt64Array.from(values, (value) => BigInt(value ?? 7n)), nulls }
  // Whatever lies at a null must not be seen.
  const strings = ['', 'a', 'b', 'ü']
  const numbers = values.map((value) =>
    value === null ? 3 : type === 'string' ? strings.indexOf(value as string) : Number(value),
  )
  return {
    type,
    values: makers[type].from(numbers),
    nulls,
    ...(type === 'string' ? { table: { strings } } : {}),
  } as Column
}

const field = (name: keyof typeof scope): Expression => ({ kind: 'field', name })
const fieldOf = (...names: (keyof typeof scope)[]): fc.Arbitrary<Expression> => fc.constantFrom(...names.map(field))
const literal = (of: fc.Arbitrary<string | number | boolean>): fc.Arbitrary<Expression> =>
  of.map((value) => ({ kind: 'literal', value }))
/** Of fewer digits behind the point than the fields, of as many and of more. */
const decimalLiteral = literal(
  fc
    .oneof(decimal, fc.constantFrom('0.1', '0.125', '1', '0.005', '-0.005'))
    .map((written) => literalText(written, 2) as string),
)
const unary = (op: UnaryOp, of: Expression): Expression => ({ kind: 'unary', op, of })

/** Well-typed expressions, by type. */
const { number, condition, string } = fc.letrec<{ number: Expression; condition: Expression; string: Expression }>(
  (tie) => {
    const args = (of: fc.Arbitrary<Expression>) => fc.array(of, { minLength: 1, maxLength: 3 })
    const any = fc.oneof(tie('number'), tie('condition'), tie('string'), fieldOf('big', 'd'))
    const binary = (ops: readonly string[], of: fc.Arbitrary<Expression>): fc.Arbitrary<Expression> =>
      fc.record({ kind: fc.constant('binary'), op: fc.constantFrom(...ops), left: of, right: of }) as never
    const variadic = (ops: readonly string[], of: fc.Arbitrary<Expression>): fc.Arbitrary<Expression> =>
      fc.record({ kind: fc.constant('variadic'), op: fc.constantFrom(...ops), args: args(of) }) as never
    return {
      number: fc.oneof(
        { maxDepth: 4, depthIdentifier: 'expression' },
        fieldOf('i', 'j', 'f', 'odd', 'at'),
        literal(float),
        binary(['add', 'sub', 'mul', 'div'], tie('number')),
        fc
          .tuple(fc.constantFrom<UnaryOp>('neg', 'abs', 'ceil', 'floor'), tie('number'))
          .map(([op, of]) => unary(op, of)),
        variadic(['max', 'min', 'coalesce'], tie('number')),
      ),
      condition: fc.oneof(
        { maxDepth: 4, depthIdentifier: 'expression' },
        fieldOf('ok'),
        literal(fc.boolean()),
        binary(['gt', 'gte', 'lt', 'lte', 'eq', 'ne'], tie('number')),
        binary(['gt', 'gte', 'lt', 'lte', 'eq', 'ne'], fc.oneof(fieldOf('d', 'd2'), decimalLiteral)).filter(
          (expression) => fieldsOf(expression).length > 0,
        ),
        binary(['eq', 'ne'], tie('string')),
        binary(['eq', 'ne'], tie('condition')),
        any.map((of) => unary('isNull', of)),
        tie('condition').map((of) => unary('not', of)),
        variadic(['and', 'or', 'coalesce'], tie('condition')),
      ),
      string: fc.oneof(
        { maxDepth: 4, depthIdentifier: 'expression' },
        fieldOf('s'),
        literal(text),
        variadic(['coalesce'], tie('string')),
      ),
    }
  },
)

const columnsOf = (all: readonly Row[]): Record<string, Column> =>
  Object.fromEntries(
    Object.entries(scope).map(([name, { type }]) => [
      name,
      columnOf(
        type,
        all.map((row) => row[name as keyof Row]),
      ),
    ]),
  )

describe('the compiled form equals the interpreter, bit for bit', () => {
  const kinds = { number, condition, string, 'a bare field': fieldOf('i', 'odd', 'big', 'ok', 's', 'at') }
  test.each(Object.entries(kinds))('%s', (_, expressions) => {
    fc.assert(
      fc.property(expressions, rows, (expression, all) => {
        const column = compileExpression(expression, scope)(columnsOf(all), all.length)
        expect(column.type).toBe(typeOf(expression, scope))
        all.forEach((row, index) => {
          const wanted = interpret(expression, (name) => row[name as keyof Row])
          const got = scalarAt(column, index)
          if (!Object.is(got, wanted)) expect([expression, got]).toEqual([expression, wanted])
        })
      }),
      { numRuns: 1_000 },
    )
  })
})

test('arithmetic is finite or null, and never -0', () => {
  fc.assert(
    fc.property(number, rows, (expression, all) => {
      if (expression.kind === 'field' || expression.kind === 'literal') return
      // coalesce passes on what a field or a literal holds.
      if (expression.kind === 'variadic' && expression.op === 'coalesce') return
      for (const row of all) {
        const value = interpret(expression, (name) => row[name as keyof Row])
        if (value !== null && (!Number.isFinite(value) || Object.is(value, -0))) expect([expression, value]).toBeNull()
      }
    }),
    { numRuns: 1_000 },
  )
})

describe('known values', () => {
  const value = (expression: Expression, row: Partial<Row> = {}): Scalar => {
    const whole = {
      i: null,
      j: 0,
      f: null,
      odd: null,
      at: null,
      big: null,
      d: null,
      d2: '0.00',
      ok: null,
      s: null,
      ...row,
    }
    const compiled = scalarAt(compileExpression(expression, scope)(columnsOf([whole]), 1), 0)
    expect(compiled).toBe(interpret(expression, (name) => whole[name as keyof Row]))
    return compiled
  }
  const binary = (op: string, left: Expression, right: Expression) =>
    ({ kind: 'binary', op, left, right }) as Expression
  const variadic = (op: string, ...args: Expression[]) => ({ kind: 'variadic', op, args }) as Expression
  const of = (literal: number | string | boolean): Expression => ({ kind: 'literal', value: literal })

  test('a division by zero is null, of zero too', () => {
    for (const [j, by] of [
      [1, 0],
      [0, 0],
      [-1, 0],
    ] as const)
      expect(value(binary('div', field('j'), of(by)), { j })).toBeNull()
    expect(value(binary('div', field('j'), field('f')), { j: 1, f: -0 })).toBeNull()
  })
  test('what leaves the doubles is null', () => {
    expect(value(binary('mul', field('f'), of(10)), { f: 1e308 })).toBeNull()
    expect(value(binary('add', field('f'), field('f')), { f: -1e308 })).toBeNull()
  })
  test('no result is -0', () => {
    expect(value(unary('neg', field('j')), { j: 0 })).toBe(0)
    expect(value(unary('ceil', field('f')), { f: -0.5 })).toBe(0)
    expect(value(binary('mul', field('f'), of(-1)), { f: 0 })).toBe(0)
    expect(value(variadic('max', field('f'), of(-5)), { f: -0 })).toBe(0)
  })
  test('three-valued logic', () => {
    const [yes, no, unknown] = [of(true), of(false), field('ok')]
    expect(value(variadic('and', unknown, no))).toBe(false)
    expect(value(variadic('and', unknown, yes))).toBeNull()
    expect(value(variadic('or', unknown, yes))).toBe(true)
    expect(value(variadic('or', unknown, no))).toBeNull()
    expect(value(unary('not', unknown))).toBeNull()
    expect(value(unary('isNull', unknown))).toBe(true)
    expect(value(unary('isNull', field('big')), { big: 1n })).toBe(false)
  })
  test('a null operand makes null, also of max, and coalesce ends it', () => {
    expect(value(variadic('max', field('j'), field('i')))).toBeNull()
    expect(value(binary('gt', field('i'), of(1)))).toBeNull()
    expect(value(variadic('coalesce', field('i'), of(7)))).toBe(7)
    expect(value(variadic('coalesce', field('s'), of('none')))).toBe('none')
  })
})
