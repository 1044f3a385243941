import { expect, test } from 'vitest'
import { valueText } from '../../cli/terminal.ts'

test('values read as text: integers of any size without quotes, texts in a list with them', () => {
  expect(valueText(9_007_199_254_740_993n)).toBe('9007199254740993')
  expect(valueText([1n, null, -2n])).toBe('[1,null,-2]')
  expect(valueText([0.5, Number.NaN, Number.POSITIVE_INFINITY])).toBe('[0.5,NaN,Infinity]')
  expect(valueText('a"b')).toBe('a"b')
  expect(valueText(['a"b', 'c,d'])).toBe('["a\\"b","c,d"]')
  expect(valueText(true)).toBe('true')
  expect(valueText(null)).toBe('null')
})
