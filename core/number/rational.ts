/**
 * Exact rationals rounded once to float64: the plain twins of the fast paths beside this file. Every finite double is
 * an integer times a power of two, so BigInt carries it without loss.
 */

/** A number as `mantissa * 2^exponent`, exactly. */
export interface ScaledBigInt {
  readonly mantissa: bigint
  readonly exponent: number
}

/** The exponent of the least subnormal: every finite double is a multiple of 2^-1074. */
export const leastExponent = -1074
const significandBits = 53

const scratch = new DataView(new ArrayBuffer(8))

/** `x` exactly; `x` must be finite. -0 is +0. */
export function toScaledBigInt(x: number): ScaledBigInt {
  if (!Number.isFinite(x)) throw new RangeError(`${x} has no exact value`)
  scratch.setFloat64(0, x)
  const bits = scratch.getBigUint64(0)
  const biased = Number((bits >> 52n) & 0x7ffn)
  const fraction = bits & 0xfffffffffffffn
  const magnitude = biased === 0 ? fraction : fraction | (1n << 52n)
  return { mantissa: x < 0 ? -magnitude : magnitude, exponent: Math.max(biased, 1) - 1 + leastExponent }
}

/** 2^exponent, exactly; -1074 <= exponent <= 1023. `Math.pow` is not bound to be exact. */
export function powerOfTwo(exponent: number): number {
  if (exponent < -1022) return powerOfTwo(exponent + 52) * 2 ** -52
  scratch.setInt32(0, (exponent + 1023) << 20)
  scratch.setInt32(4, 0)
  return scratch.getFloat64(0)
}

const magnitudeOf = (x: bigint): bigint => (x < 0n ? -x : x)

/** Bits of a positive integer. */
function bitLength(x: bigint): number {
  const digits = x.toString(16)
  return digits.length * 4 + 28 - Math.clz32(Number.parseInt(digits.charAt(0), 16))
}

/**
 * RN to nearest, ties to even, of `(mantissa + s) * 2^exponent`, where s is 0, or somewhere strictly between 0 and 1 if
 * `sticky`. With `sticky` the mantissa must have at least 55 bits.
 */
export function roundScaled(mantissa: bigint, exponent: number, sticky = false): number {
  if (mantissa === 0n) return 0
  // What is too small for a double is +0 on either side.
  if (mantissa < 0n) return -roundScaled(-mantissa, exponent, sticky) + 0
  const ulpExponent = Math.max(bitLength(mantissa) + exponent - significandBits, leastExponent)
  if (ulpExponent > 1023) return Number.POSITIVE_INFINITY
  const dropped = BigInt(ulpExponent - exponent)
  if (dropped <= 0n) return Number(mantissa << -dropped) * powerOfTwo(ulpExponent)
  const kept = mantissa >> dropped
  const rest = mantissa - (kept << dropped)
  const half = 1n << (dropped - 1n)
  const up = rest > half || (rest === half && (sticky || (kept & 1n) === 1n))
  // 2^53 at most, and a multiple of the ulp, so the product is exact, or Infinity where RN is.
  return Number(up ? kept + 1n : kept) * powerOfTwo(ulpExponent)
}

/** RN of num / den; `den` must not be 0. */
export function roundRational(num: bigint, den: bigint): number {
  if (den === 0n) throw new RangeError('a rational with denominator 0')
  if (num === 0n) return 0
  const sign = num < 0n === den < 0n ? 1 : -1
  const n = magnitudeOf(num)
  const d = magnitudeOf(den)
  // Scaled so that the quotient has 64 or 65 bits.
  const shift = 64 - (bitLength(n) - bitLength(d))
  const dividend = shift > 0 ? n << BigInt(shift) : n
  const divisor = shift < 0 ? d << BigInt(-shift) : d
  const quotient = dividend / divisor
  return sign * roundScaled(quotient, -shift, quotient * divisor !== dividend) + 0
}

/** RN of the square root of num / den; the rational must not be negative, `den` not 0. */
export function roundSqrtRational(num: bigint, den: bigint): number {
  if (den === 0n || (num !== 0n && num < 0n !== den < 0n)) throw new RangeError('no root of this rational')
  if (num === 0n) return 0
  const n = magnitudeOf(num)
  const d = magnitudeOf(den)
  // Scaled by an even power so that the quotient has 129 to 131 bits, and its root 65 or 66.
  const half = Math.ceil((130 - (bitLength(n) - bitLength(d))) / 2)
  const dividend = half > 0 ? n << BigInt(2 * half) : n
  const divisor = half < 0 ? d << BigInt(-2 * half) : d
  const quotient = dividend / divisor
  const root = floorSqrt(quotient)
  return roundScaled(root, -half, root * root !== quotient || quotient * divisor !== dividend)
}

/** The greatest integer whose square is at most x; x >= 0. */
export function floorSqrt(x: bigint): bigint {
  if (x < 1n << 52n) return BigInt(Math.floor(Math.sqrt(Number(x))))
  // Newton from above: falls until it stands.
  let root = 1n << BigInt((bitLength(x) + 1) >> 1)
  for (;;) {
    const next = (root + x / root) >> 1n
    if (next >= root) return root
    root = next
  }
}
