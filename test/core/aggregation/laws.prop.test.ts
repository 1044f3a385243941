import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { overflow } from '../../../core/aggregation/aggregation.ts'
import { aggregationOf } from '../../../core/aggregation/index.ts'
import type { AggregationDefinition } from '../../../core/definition/types.ts'
import type { Scalar, ScalarType } from '../../../core/event/types.ts'
import { formatDecimal, unscaledMax } from '../../../core/number/decimal.ts'

/** Of the decimals. */
const scale = 4
const int64Max = (1n << 63n) - 1n
const int64Min = -(1n << 63n)
const values: Readonly<Record<ScalarType, fc.Arbitrary<Scalar>>> = {
  float64: fc.oneof(
    fc.constantFrom(0, 1e308, -1e308, Number.MAX_VALUE, -Number.MAX_VALUE, 5e-324, -5e-324, 2 ** -1022, 0.1, 2 ** 53),
    fc.constantFrom(Number.NaN, Infinity, -Infinity),
    fc.double().map((x) => x + 0),
  ),
  int32: fc.oneof(fc.constantFrom(0, 2 ** 31 - 1, -(2 ** 31)), fc.integer()),
  int64: fc.oneof(fc.constantFrom(0n, int64Max, int64Min), fc.bigInt({ min: int64Min, max: int64Max })),
  timestamp: fc.constantFrom(-62_135_596_800_000, 0, 1, 253_370_764_799_999),
  bool: fc.boolean(),
  string: fc.constantFrom('', 'a', 'b', '\0'),
  decimal: fc
    .oneof(fc.constantFrom(0n, unscaledMax, -unscaledMax), fc.bigInt({ min: -unscaledMax, max: unscaledMax }))
    .map((unscaled) => formatDecimal(unscaled, scale)),
}

const numbers: readonly ScalarType[] = ['int32', 'int64', 'float64', 'decimal']
const everything = Object.keys(values) as ScalarType[]
const algebras: readonly [AggregationDefinition['function'], readonly ScalarType[], object?][] = [
  ['count', everything],
  ['sum', numbers],
  ['mean', numbers],
  ['min', [...numbers, 'timestamp']],
  ['max', [...numbers, 'timestamp']],
  ['variance', numbers, { divisor: 'sample' }],
  ['variance', numbers, { divisor: 'population' }],
  ['stddev', numbers, { divisor: 'sample' }],
  ['stddev', numbers, { divisor: 'population' }],
  ['share', ['bool']],
  ['first', everything],
  ['last', everything],
  ['lastN', everything, { n: 1 }],
  ['lastN', everything, { n: 3 }],
  ['distinctCount', everything],
]
const cases = algebras.flatMap(([name, types, rest]) =>
  types.map((type) => {
    const definition = { function: name, input: { kind: 'field', name: 'x' }, ...rest } as AggregationDefinition
    return [`${name} ${JSON.stringify(rest ?? {})} of ${type}`, definition, type] as const
  }),
)

/** -0 told from 0, and NaN equal to itself. */
const same = (a: unknown, b: unknown): boolean =>
  Array.isArray(a) && Array.isArray(b)
    ? a.length === b.length && a.every((item, index) => Object.is(item, b[index]))
    : Object.is(a, b)

describe.each(cases)('%s', (_, definition, type) => {
  const algebra = aggregationOf(definition, type, scale)
  // Accumulators may be changed in place, so each is made anew.
  const of = (list: readonly Scalar[]): unknown => list.reduce(algebra.add, algebra.empty())
  const lists = fc.array(values[type], { maxLength: 8 })
  const agree = (got: unknown, wanted: unknown): void => {
    expect(got).toEqual(wanted)
    if (!same(algebra.finish(got), algebra.finish(wanted))) expect(algebra.finish(got)).toBe(algebra.finish(wanted))
  }
  const runs = { numRuns: 60 }

  test('merge is associative, and is what adding all at once gives', () => {
    fc.assert(
      fc.property(lists, lists, lists, (a, b, c) => {
        const left = algebra.merge(algebra.merge(of(a), of(b)), of(c))
        agree(left, algebra.merge(of(a), algebra.merge(of(b), of(c))))
        agree(left, of([...a, ...b, ...c]))
      }),
      runs,
    )
  })
  test('empty is its identity', () => {
    fc.assert(
      fc.property(lists, (a) => {
        agree(algebra.merge(algebra.empty(), of(a)), of(a))
        agree(algebra.merge(of(a), algebra.empty()), of(a))
      }),
      runs,
    )
  })
  test('to add is to merge one', () => {
    fc.assert(
      fc.property(lists, values[type], (a, value) => {
        agree(algebra.add(of(a), value), algebra.merge(of(a), algebra.add(algebra.empty(), value)))
      }),
      runs,
    )
  })
})

describe('known values', () => {
  const finish = (name: string, type: ScalarType, list: readonly Scalar[], rest: object = {}): unknown => {
    const algebra = aggregationOf({ function: name, input: null, ...rest } as AggregationDefinition, type)
    return algebra.finish(list.reduce(algebra.add, algebra.empty()))
  }
  const population = { divisor: 'population' }
  const eight = [2, 4, 4, 4, 5, 5, 7, 9]
  test.each<[string, ScalarType, readonly Scalar[], unknown, object?]>([
    ['stddev', 'int32', eight, 2, population],
    ['variance', 'int32', eight, 4, population],
    ['variance', 'int32', eight, 32 / 7],
    ['stddev', 'float64', eight, Math.sqrt(32 / 7)],
    ['variance', 'int32', [5], null],
    ['variance', 'int32', [5], 0, population],
    ['stddev', 'float64', [1e308, 1e308], 0],
    ['variance', 'float64', [1, Infinity], Number.NaN],
    ['sum', 'float64', [0.1, 0.2], 0.30000000000000004],
    ['sum', 'float64', [1e308, 1e308, -1e308], 1e308],
    ['sum', 'float64', [1e16, 1, -1e16], 1],
    ['sum', 'float64', [Infinity, 1], Infinity],
    ['sum', 'float64', [Infinity, -Infinity], Number.NaN],
    ['sum', 'float64', [Number.MAX_VALUE, Number.MAX_VALUE], Infinity],
    ['sum', 'float64', [1, -1], 0],
    ['sum', 'int64', [int64Max, 1n], overflow],
    ['sum', 'int64', [int64Min, -1n], overflow],
    ['sum', 'int64', [int64Max, 1n, -1n], int64Max],
    ['sum', 'int64', [int64Min], int64Min],
    ['sum', 'int32', [2 ** 31 - 1, 2 ** 31 - 1], 2n ** 32n - 2n],
    ['mean', 'int64', [int64Max, int64Max], 2 ** 63],
    ['mean', 'int32', [1, 2], 1.5],
    ['mean', 'float64', [0.1, 0.2, 0.3], 0.2],
    ['min', 'float64', [Number.NaN, 2, 1], 1],
    ['max', 'float64', [Number.NaN], null],
    ['max', 'int64', [int64Min, int64Max], int64Max],
    ['share', 'bool', [true, false, false], 1 / 3],
    ['first', 'string', ['', 'a'], ''],
    ['first', 'bool', [false, true], false],
    ['last', 'string', ['a', ''], ''],
    ['lastN', 'int32', [1, 2, 3], [2, 3], { n: 2 }],
    ['distinctCount', 'float64', [0, -0, Number.NaN, Number.NaN, 1], 3n],
    ['distinctCount', 'string', [], 0n],
    ['count', 'string', [], 0n],
    ['sum', 'int32', [], null],
    ['sum', 'float64', [], null],
    ['mean', 'float64', [], null],
    ['min', 'int32', [], null],
    ['share', 'bool', [], null],
    ['first', 'int32', [], null],
    ['lastN', 'int32', [], null, { n: 2 }],
    ['stddev', 'float64', [], null, population],
  ])('%s of %s, case %#', (name, type, list, wanted, rest) => {
    expect(finish(name, type, list, rest)).toEqual(wanted)
  })
})
