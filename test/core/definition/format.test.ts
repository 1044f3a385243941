import { expect, test } from 'vitest'
import { expressionsOf } from '../../../core/definition/stream.ts'
import { bool, float64, int32, nullable, string, timestamp } from '../../../core/definition/fields.ts'
import { durationText, expressionText, featureText, typeText } from '../../../core/definition/format.ts'
import {
  count,
  days,
  distinctCount,
  last,
  lastN,
  mean,
  minutes,
  rows,
  series,
  share,
  session,
  stddev,
  tumbling,
} from '../../../core/definition/functions.ts'

const { a, b, s, ok, at } = expressionsOf('stream s', {
  a: int32(),
  b: float64(),
  s: string(),
  ok: bool(),
  at: timestamp(),
})

test.each([
  [3_600_000, '1h'],
  [604_800_000, '7d'],
  [5_400_000, '90m'],
  [129_600_000, '36h'],
  [86_400_000, '1d'],
  [90_000, '90s'],
  [1_500, '1500ms'],
  [1, '1ms'],
  [0, '0ms'],
])('%i ms is %s', (ms, text) => {
  expect(durationText(ms)).toBe(text)
})

test.each([
  [count().over(days(1)), 'count() over 1d'],
  [count().over(days(7), { endsBefore: days(1) }), 'count() over 7d ending 1d before'],
  [count().where(a.gt(15)).over(days(1)), 'count() where a > 15 over 1d'],
  [mean(b).where(ok.or(a.gt(1))), 'mean(b) where ok or a > 1'],
  [mean(a).over(rows(5)), 'mean(a) over the last 5'],
  [count().over(tumbling(days(1), { take: 'last' })), 'count() over the last 1d'],
  [count().over(tumbling(minutes(15), { take: 'current', zone: 'UTC' })), 'count() over the current 15m'],
  [count().over(tumbling(days(7), { take: 'last', zone: 'Asia/Tokyo' })), 'count() over the last 7d in Asia/Tokyo'],
  [mean(a).over(series(days(1), minutes(60))), 'mean(a) over each 1h of 1d'],
  [count().over(days(7), { resolution: '5m' }), 'count() over 7d to 5m'],
  [count().over(days(7), { endsBefore: days(1), resolution: minutes(90) }), 'count() over 7d ending 1d before to 90m'],
  [count().over(session(minutes(30))), 'count() over the session with gaps below 30m'],
  [last(s), 'last(s)'],
  [lastN(a, 3).over(minutes(90)), 'lastN(a, 3) over 90m'],
  [share(a.gt(15)).over(days(7)), 'share(a > 15) over 7d'],
  [stddev(a), 'stddev(a)'],
  [stddev(a, { divisor: 'population' }), 'stddev(a, population)'],
  [distinctCount(s).over(1), 'distinctCount(s) over 1ms'],
  [mean(a.sub(b)), 'mean(a - b)'],
])('a feature %#', (feature, text) => {
  expect(featureText(feature)).toBe(text)
})

test.each([
  [at.add(a.div(8).ceil().add(b.max(0)).mul(60_000)), 'at + (ceil(a / 8) + max(b, 0)) * 60000'],
  [a.sub(b).sub(1), 'a - b - 1'],
  [a.sub(b.sub(1)), 'a - (b - 1)'],
  [a.add(b).mul(2), '(a + b) * 2'],
  [a.mul(b).add(2), 'a * b + 2'],
  [a.div(b.mul(2)), 'a / (b * 2)'],
  [a.neg().abs(), 'abs(-a)'],
  [a.add(b).neg(), '-(a + b)'],
  [a.neg().neg(), '-(-a)'],
  [a.gt(1).and(b.lte(2).or(ok)), 'a > 1 and (b <= 2 or ok)'],
  [a.gt(1).or(b.lt(2).and(ok)), 'a > 1 or b < 2 and ok'],
  [a.gt(1).and(ok).not(), 'not (a > 1 and ok)'],
  [s.eq('x "y"').not().not(), 'not not s = "x \\"y\\""'],
  [s.ne(s).isNull(), '(s != s) is null'],
  [a.isNull().and(ok), 'a is null and ok'],
  [a.gte(1).isNull(), '(a >= 1) is null'],
  [a.coalesce(b, 0).floor(), 'floor(coalesce(a, b, 0))'],
  [a.add(1).eq(b.min(2)), 'a + 1 = min(b, 2)'],
])('an expression %#', ({ ast }, text) => {
  expect(expressionText(ast)).toBe(text)
})

test('types', () => {
  expect(typeText(nullable(int32()))).toBe('nullable int32')
  expect(typeText(float64({ allowNonFinite: true }))).toBe('float64 with NaN and infinities')
})
