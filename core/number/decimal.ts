/**
 * Decimals: an integer, the unscaled value, of `scale` digits behind the point. Exact throughout; as text without exponent
 * and with exactly `scale` digits behind the point ("12.30", "-0.05", "7" at scale 0), so that equal numbers of one scale
 * are equal texts.
 */
import { roundRational, roundSqrtRational, toScaledBigInt } from './rational.ts'
import type { VarianceKind } from './exact-sum.ts'

/** So many digits fit an int64, whatever they are. */
export const decimalDigitsMax = 18
/** |unscaled| of every decimal, sums included, is at most this. */
export const unscaledMax = 10n ** BigInt(decimalDigitsMax) - 1n

/** Digits in all, and how many of them lie behind the point. */
export interface DecimalShape {
  readonly precision: number
  readonly scale: number
}

const powers = Array.from({ length: 2 * decimalDigitsMax + 1 }, (_, exponent) => 10n ** BigInt(exponent))
export const powerOfTen = (exponent: number): bigint => powers[exponent] ?? 10n ** BigInt(exponent)

/** Whether a value has at most `precision` digits. */
export const fitsPrecision = (unscaled: bigint, precision: number): boolean => {
  const limit = powerOfTen(precision)
  return unscaled < limit && unscaled > -limit
}

/** "12.34" of 1234 at scale 2. */
export function formatDecimal(unscaled: bigint, scale: number): string {
  if (scale === 0) return unscaled.toString()
  const digits = (unscaled < 0n ? -unscaled : unscaled).toString().padStart(scale + 1, '0')
  const point = digits.length - scale
  return `${unscaled < 0n ? '-' : ''}${digits.slice(0, point)}.${digits.slice(point)}`
}

const decimalText = /^([+-]?)(\d*)(?:\.(\d*))?$/

/** A decimal text, exactly; null for what is none (an exponent is no part of one). */
export function parseDecimal(text: string): { readonly unscaled: bigint; readonly scale: number } | null {
  // Longer ones are no value of ours, and BigInt takes its time over millions of digits.
  const match = text.length > 400 ? null : decimalText.exec(text)
  if (match === null) return null
  const [, sign, whole = '', rest = ''] = match
  if (whole === '' && rest === '') return null
  const unscaled = BigInt(whole + rest)
  return { unscaled: sign === '-' ? -unscaled : unscaled, scale: rest.length }
}

/** The unscaled value at another scale; null where it is not exact. */
export function rescaled(unscaled: bigint, from: number, to: number): bigint | null {
  if (to >= from) return unscaled * powerOfTen(to - from)
  const divisor = powerOfTen(from - to)
  return unscaled % divisor === 0n ? unscaled / divisor : null
}

/** The unscaled value of a text; null unless it has that value exactly and within the precision. */
export function unscaledOf(text: string, { precision, scale }: DecimalShape): bigint | null {
  const parsed = parseDecimal(text)
  const unscaled = parsed === null ? null : rescaled(parsed.unscaled, parsed.scale, scale)
  return unscaled === null || !fitsPrecision(unscaled, precision) ? null : unscaled
}

/** The unscaled value of a canonical text: exactly `scale` digits behind its point. */
export const unscaledOfCanonical = (text: string): bigint => BigInt(text.replace('.', ''))

/** A finite number by its shortest decimal text, which is how people write it, without exponent: 0.1 is "0.1". */
export function textOfNumber(value: number): string {
  const text = String(value + 0)
  const at = text.indexOf('e')
  if (at < 0) return text
  const exponent = Number(text.slice(at + 1))
  const { unscaled, scale } = parseDecimal(text.slice(0, at)) as { unscaled: bigint; scale: number }
  return exponent >= scale
    ? (unscaled * powerOfTen(exponent - scale)).toString()
    : formatDecimal(unscaled, scale - exponent)
}

/** A decimal of so many digits is the shortest text of the double nearest to it; longer ones need not be. */
const numberDigitsMax = 15

/**
 * What people give for a decimal, text or a number by its shortest text, as its unscaled value; null where that is none, or
 * does not fit. A number of more than 15 digits, but for safe integers, may not be the one that was written: null.
 */
export function unscaledOfGiven(value: unknown, shape: DecimalShape): bigint | null {
  if (typeof value === 'bigint') return unscaledOf(value.toString(), shape)
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) return null
    const text = textOfNumber(value)
    const digits = text.replace(/^-?0*\.?0*|\./g, '').replace(/0+$/, '').length
    return digits <= numberDigitsMax || Number.isSafeInteger(value) ? unscaledOf(text, shape) : null
  }
  return typeof value === 'string' ? unscaledOf(value, shape) : null
}

/**
 * A literal beside a decimal of `scale`, as a text that is equal to the decimal's exactly where the numbers are: the
 * decimal's own form where it has as few digits, else its own digits without zeros behind. Null for what is no decimal.
 */
export function literalText(value: string, scale: number): string | null {
  const parsed = parseDecimal(value)
  if (parsed === null) return null
  let { unscaled, scale: own } = parsed
  for (; own > scale && unscaled % 10n === 0n; own--) unscaled /= 10n
  return formatDecimal(own < scale ? unscaled * powerOfTen(scale - own) : unscaled, Math.max(own, scale))
}

/** Below 0, 0 or above 0, as of two decimal texts of any scale. */
export function compareDecimals(left: string, right: string): number {
  const l = parseDecimal(left)
  const r = parseDecimal(right)
  if (l === null || r === null) return Number.NaN
  const scale = Math.max(l.scale, r.scale)
  const difference = l.unscaled * powerOfTen(scale - l.scale) - r.unscaled * powerOfTen(scale - r.scale)
  return difference > 0n ? 1 : difference < 0n ? -1 : 0
}

/** RN: the nearest float64. */
export function decimalToNumber(unscaled: bigint, scale: number): number {
  const value = Number(unscaled)
  // Two exact doubles: their quotient is rounded once.
  return Number.isSafeInteger(value) ? value / Number(powerOfTen(scale)) : Number(formatDecimal(unscaled, scale))
}

const bits = new DataView(new ArrayBuffer(8))

/** The nearest float32, not that of the nearest float64. */
export function decimalToFloat32(unscaled: bigint, scale: number): number {
  const near = decimalToNumber(unscaled, scale)
  bits.setFloat64(0, near)
  // Only halfway between two float32 does it matter on which side of its float64 the value lies.
  if ((bits.getUint32(4) & 0x1fff_ffff) !== 0x1000_0000) return Math.fround(near)
  // value - near, times 10^scale and a power of two: an integer.
  const { mantissa, exponent } = toScaledBigInt(near)
  const shift = BigInt(Math.abs(exponent))
  const product = mantissa * powerOfTen(scale)
  const side = exponent < 0 ? (unscaled << shift) - product : unscaled - (product << shift)
  if (side === 0n) return Math.fround(near)
  bits.setBigUint64(0, bits.getBigUint64(0) + (side > 0n === near > 0 ? 1n : -1n))
  return Math.fround(bits.getFloat64(0))
}

/** RN(Σ / (n 10^scale)); null for n = 0. */
export const meanOfDecimals = (n: number, sum: bigint, scale: number): number | null =>
  n === 0 ? null : roundRational(sum, BigInt(n) * powerOfTen(scale))

function moment(
  n: number,
  sum: bigint,
  squares: bigint,
  scale: number,
  kind: VarianceKind,
  round: (numerator: bigint, denominator: bigint) => number,
): number | null {
  if (n < (kind === 'sample' ? 2 : 1)) return null
  const count = BigInt(n)
  const divisor = count * (kind === 'sample' ? count - 1n : count)
  return round(count * squares - sum * sum, divisor * powerOfTen(2 * scale))
}

/** RN of the exact variance of decimals, of their unscaled Σ and Σ². */
export const varianceOfDecimals = (n: number, sum: bigint, squares: bigint, scale: number, kind: VarianceKind) =>
  moment(n, sum, squares, scale, kind, roundRational)
/** RN of the root of the exact variance. */
export const stddevOfDecimals = (n: number, sum: bigint, squares: bigint, scale: number, kind: VarianceKind) =>
  moment(n, sum, squares, scale, kind, roundSqrtRational)
