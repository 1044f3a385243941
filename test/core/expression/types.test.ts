import { expect, test } from 'vitest'
import type { Expression } from '../../../core/expression/expression.ts'
import { canonicalText, fieldsOf } from '../../../core/expression/expression.ts'
import { itemTypeOf, typeOf } from '../../../core/expression/types.ts'

const scope = {
  n: { type: 'int32' },
  big: { type: 'int64' },
  s: { type: 'string' },
  ok: { type: 'bool' },
  d: { type: 'decimal', precision: 9, scale: 2 },
  e: { type: 'decimal', precision: 18, scale: 2 },
  g: { type: 'decimal', precision: 9, scale: 3 },
} as const
const f = (name: string): Expression => ({ kind: 'field', name })
const lit = (value: number | string | boolean): Expression => ({ kind: 'literal', value })
const bin = (op: 'add' | 'gt' | 'eq', left: Expression, right: Expression): Expression => ({
  kind: 'binary',
  op,
  left,
  right,
})
const all = (op: 'and' | 'max' | 'coalesce', ...args: Expression[]): Expression => ({ kind: 'variadic', op, args })

test.each<[string, Expression, RegExp]>([
  ['an unknown field', f('m'), /there is no field m; there are n, big, s, ok, d, e, g/],
  ['a field that every object has', f('constructor'), /there is no field constructor/],
  ['NaN', bin('gt', f('n'), lit(Number.NaN)), /NaN is no literal/],
  ['an infinity', lit(-Infinity), /-Infinity is no literal/],
  ['strings added', bin('add', f('s'), lit(1)), /add takes int32, float64 or timestamp, not string/],
  ['int64 added', bin('add', f('big'), lit(1)), /not int64/],
  ['int64 compared', bin('eq', f('big'), f('big')), /eq over int64 is not built/],
  ['a string and a number compared', bin('eq', f('s'), f('n')), /eq compares a string with a int32/],
  ['decimals added', bin('add', f('d'), f('d')), /add over decimals is not built: aggregate the field itself/],
  ['decimals of two scales compared', bin('gt', f('d'), f('g')), /gt compares decimals of 2 and 3 digits/],
  ['a decimal and an integer compared', bin('gt', f('d'), f('n')), /gt compares a decimal with a int32/],
  ['a decimal and a number', bin('gt', lit(0.1), f('d')), /gt compares a decimal with a float64/],
  ['a decimal and a text that is none', bin('eq', f('d'), lit('x')), /eq compares a decimal with a string/],
  ['a decimal and a text of fewer digits', bin('eq', f('d'), lit('0.1')), /eq compares a decimal with a string/],
  ['a decimal and a string', bin('eq', f('d'), f('s')), /eq compares a decimal with a string/],
  ['coalesce of decimals', all('coalesce', f('d'), f('d')), /coalesce over decimal, decimal is not built/],
  ['the negation of a number', { kind: 'unary', op: 'not', of: f('n') }, /not takes a bool, not int32/],
  ['the absolute of a string', { kind: 'unary', op: 'abs', of: f('s') }, /abs takes int32/],
  ['and of a number', all('and', f('ok'), f('n')), /and takes bools, not bool, int32/],
  ['max of nothing', all('max'), /max takes at least one argument/],
  ['max of strings', all('max', f('s')), /max over string is not built/],
  ['coalesce of two types', all('coalesce', f('s'), f('n')), /coalesce over string, int32/],
])('%s is refused', (_, expression, message) => {
  expect(() => typeOf(expression, scope)).toThrow(
    expect.objectContaining({ code: 'FS_DEFINITION_INVALID', message: expect.stringMatching(message) }),
  )
})

test('decimals compare with decimals of their scale and with literals of their form', () => {
  const right = [f('e'), lit('0.10'), lit('-7.00'), lit('0.125')]
  for (const other of right) expect(typeOf(bin('gt', f('d'), other), scope)).toBe('bool')
  expect(typeOf(bin('eq', lit('0.10'), f('d')), scope)).toBe('bool')
  expect(typeOf({ kind: 'unary', op: 'isNull', of: f('d') }, scope)).toBe('bool')
  expect(itemTypeOf(f('d'), scope)).toEqual({ type: 'decimal', precision: 9, scale: 2 })
})

test('one text per expression, and its fields once each', () => {
  const expression = bin('gt', bin('add', f('n'), lit(1)), all('max', f('n'), lit(2)))
  expect(canonicalText(expression)).toBe('(gt (add $"n" 1) (max $"n" 2))')
  expect(canonicalText(lit('$"n"'))).not.toBe(canonicalText(f('n')))
  expect(fieldsOf(bin('eq', f('s'), all('coalesce', f('n'), f('s'))))).toEqual(['s', 'n'])
})
