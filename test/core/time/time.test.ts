import { describe, expect, test } from 'vitest'
import { earliestMs, formatInstant, latestMs, parseInstant } from '../../../core/time/time.ts'

const day2020 = Date.UTC(2020, 0, 1)

describe('an instant', () => {
  test.each<[unknown, number]>([
    [0, 0],
    [-5, -5],
    [1577836800000, day2020],
    [10n, 10],
    ['1577836800000', day2020],
    [' -5 ', -5],
    ['2020-01-01T00:00:00Z', day2020],
    ['2020-01-01t00:00z', day2020],
    ['2020-01-01 00:00:00+0100', day2020 - 3_600_000],
    ['2020-01-01T00:00:00-05:30', day2020 + 19_800_000],
    ['2020-01-01T24:00Z', day2020 + 86_400_000],
    ['2020-01-01T00:00:00.1239Z', day2020 + 123],
    ['1969-12-31T23:59:59.9999Z', -1],
    ['2020-02-29T00:00Z', Date.UTC(2020, 1, 29)],
    ['2000-02-29T00:00Z', Date.UTC(2000, 1, 29)],
    ['2021-12-31T00:00Z', Date.UTC(2021, 11, 31)],
    ['0001-01-01T00:00Z', earliestMs],
    ['+009998-12-31T23:59:59.999Z', Date.UTC(9998, 11, 31, 23, 59, 59, 999)],
    ['-000001-01-01T00:00Z', -62_198_755_200_000],
  ])('%s', (input, ms) => {
    expect(parseInstant(input, 'as_of')).toBe(ms)
  })

  test.each<[unknown]>([
    ['2020-01-01T00:00:00'],
    ['2020-01-01'],
    ['2021-02-29T00:00Z'],
    ['2021-02-30T00:00Z'],
    ['1900-02-29T00:00Z'],
    ['2020-04-31T00:00Z'],
    ['2020-13-01T00:00Z'],
    ['2020-00-01T00:00Z'],
    ['2020-01-00T00:00Z'],
    ['2020-01-32T00:00Z'],
    ['2020-01-01T25:00Z'],
    ['2020-01-01T23:60Z'],
    ['2020-01-01T23:59:60Z'],
    ['2020-01-01T00:00+24:00'],
    ['2020-1-1T00:00Z'],
    ['12345-01-01T00:00Z'],
    ['-2020-01-01T00:00Z'],
    ['1e3'],
    ['1.5'],
    ['99999999999999999'],
    [''],
    ['now'],
    [1.5],
    [Number.NaN],
    [Number.POSITIVE_INFINITY],
    [2n ** 60n],
    [true],
    [null],
    [undefined],
    [{}],
    [new Date(0)],
  ])('is not %s', (input) => {
    expect(() => parseInstant(input, 'as_of')).toThrow(
      expect.objectContaining({ code: 'FS_TIME_INVALID', kind: 'invalid', message: expect.stringMatching(/^as_of: /) }),
    )
  })

  test('is written in UTC, and read back', () => {
    for (const ms of [earliestMs, -1, 0, day2020 + 123, latestMs]) expect(parseInstant(formatInstant(ms), 'x')).toBe(ms)
  })
})
