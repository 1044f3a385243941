import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  compareDecimals,
  decimalToFloat32,
  decimalToNumber,
  formatDecimal,
  literalText,
  parseDecimal,
  rescaled,
  textOfNumber,
  unscaledMax,
  unscaledOf,
  unscaledOfCanonical,
  unscaledOfGiven,
} from '../../../core/number/decimal.ts'
import { roundRational, toScaledBigInt } from '../../../core/number/rational.ts'

const unscaled = fc.oneof(
  fc.constantFrom(0n, 1n, -1n, unscaledMax, -unscaledMax, 2n ** 53n, 2n ** 53n + 1n, 2n ** 24n + 1n, 33_554_435n),
  fc.bigInt({ min: -unscaledMax, max: unscaledMax }),
  fc.bigInt({ min: -1000n, max: 1000n }),
)
const scales = fc.nat({ max: 18 })

test('texts have one form', () => {
  expect([formatDecimal(1234n, 2), formatDecimal(-5n, 2), formatDecimal(0n, 2), formatDecimal(-7n, 0)]).toEqual([
    '12.34',
    '-0.05',
    '0.00',
    '-7',
  ])
  fc.assert(
    fc.property(unscaled, scales, (value, scale) => {
      const text = formatDecimal(value, scale)
      expect(unscaledOfCanonical(text)).toBe(value)
      expect(unscaledOf(text, { precision: 18, scale })).toBe(value)
      expect(parseDecimal(text)).toEqual({ unscaled: value, scale })
    }),
  )
})

test('a text is read exactly, or not at all', () => {
  const at = (text: string): bigint | null => unscaledOf(text, { precision: 5, scale: 2 })
  expect(['12.34', '12.340', '+1', '.5', '5.', '-0.00', '-0', '007', '999.99', '-999.99'].map(at)).toEqual([
    1234n,
    1234n,
    100n,
    50n,
    500n,
    0n,
    0n,
    700n,
    99999n,
    -99999n,
  ])
  for (const text of [
    '',
    '.',
    '-',
    '1e2',
    ' 1',
    '1 ',
    '1,5',
    '0x1',
    'NaN',
    '1.234',
    '1000',
    '1000.00',
    '--1',
    '9'.repeat(500),
  ])
    expect(at(text)).toBeNull()
})

test('a number is what its shortest text says, up to 15 digits', () => {
  const given = (value: unknown): bigint | null => unscaledOfGiven(value, { precision: 18, scale: 2 })
  expect([0.1, 1e3, -0, 12.34, 1e15, Number.MAX_SAFE_INTEGER, 5n, '5'].map(given)).toEqual([
    10n,
    100_000n,
    0n,
    1234n,
    10n ** 17n,
    900_719_925_474_099_100n,
    500n,
    500n,
  ])
  for (const value of [0.125, 1e-7, Number.NaN, Infinity, 1234567890123456.78, 1e16, null, true, [1]])
    expect(given(value)).toBeNull()
  expect([1e21, 1.5e-7, 1e-7, -123e20].map(textOfNumber)).toEqual([
    '1000000000000000000000',
    '0.00000015',
    '0.0000001',
    '-12300000000000000000000',
  ])
  fc.assert(
    fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (value) => {
      expect(Number(textOfNumber(value))).toBe(value + 0)
      expect(textOfNumber(value)).not.toContain('e')
    }),
  )
})

test('of another scale only where it is exact', () => {
  expect([rescaled(12n, 1, 3), rescaled(1200n, 3, 1), rescaled(-1210n, 3, 1), rescaled(0n, 18, 0)]).toEqual([
    1200n,
    12n,
    null,
    0n,
  ])
})

test('a literal has the form of the decimals beside it where it can', () => {
  expect(['0.1', '1.500', '0.125', '-7', '-0', '0.0000'].map((text) => literalText(text, 2))).toEqual([
    '0.10',
    '1.50',
    '0.125',
    '-7.00',
    '0.00',
    '0.00',
  ])
  expect(literalText('1e5', 2)).toBeNull()
  fc.assert(
    fc.property(unscaled, scales, unscaled, scales, (a, scaleA, b, scaleB) => {
      const [left, right] = [formatDecimal(a, scaleA), formatDecimal(b, scaleB)]
      const wanted = a * 10n ** BigInt(scaleB) - b * 10n ** BigInt(scaleA)
      expect(compareDecimals(left, right)).toBe(wanted > 0n ? 1 : wanted < 0n ? -1 : 0)
      expect(literalText(right, scaleA) === left).toBe(wanted === 0n)
    }),
  )
})

/** The nearest float32 by a search over its neighbours. */
function nearestFloat32(value: bigint, scale: number): number {
  const middle = Math.fround(decimalToNumber(value, scale))
  const bits = new DataView(new ArrayBuffer(4))
  bits.setFloat32(0, middle)
  const around = [-1, 0, 1].map((step) => {
    const view = new DataView(new ArrayBuffer(4))
    view.setInt32(0, bits.getInt32(0) + step)
    return view.getFloat32(0)
  })
  const distance = (candidate: number): bigint => {
    const { mantissa, exponent } = toScaledBigInt(candidate)
    const shift = 1100n
    const scaled = (mantissa * 10n ** BigInt(scale)) << (shift + BigInt(exponent))
    const difference = (value << shift) - scaled
    return difference < 0n ? -difference : difference
  }
  return around.reduce((best, candidate) => {
    const [a, b] = [distance(candidate), distance(best)]
    const even = new DataView(new ArrayBuffer(4))
    even.setFloat32(0, candidate)
    return a < b || (a === b && (even.getInt32(0) & 1) === 0) ? candidate : best
  })
}

test('the nearest float64 and the nearest float32, each rounded once', () => {
  fc.assert(
    fc.property(unscaled, scales, (value, scale) => {
      expect(decimalToNumber(value, scale)).toBe(roundRational(value, 10n ** BigInt(scale)))
      if (value !== 0n) expect(decimalToFloat32(value, scale)).toBe(nearestFloat32(value, scale))
    }),
    { numRuns: 2_000 },
  )
  // Just above, at and just below the middle of two float32, where the nearest float64 is the middle itself.
  const middle = (2n ** 24n + 1n) * 10n ** 10n
  expect([1n, 0n, -1n].map((step) => decimalToFloat32(middle + step, 10))).toEqual([2 ** 24 + 2, 2 ** 24, 2 ** 24])
  expect([1n, 0n, -1n].map((step) => decimalToFloat32(-middle + step, 10))).toEqual([
    -(2 ** 24),
    -(2 ** 24),
    -(2 ** 24) - 2,
  ])
  expect(Object.is(decimalToFloat32(0n, 3), 0)).toBe(true)
})
