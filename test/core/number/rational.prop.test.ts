import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  floorSqrt,
  powerOfTwo,
  roundRational,
  roundSqrtRational,
  toScaledBigInt,
} from '../../../core/number/rational.ts'
import { wideDouble } from './values.ts'

const runs = { numRuns: 3000 }
const integer = fc.integer({ min: -(2 ** 53), max: 2 ** 53 })

test('a double comes back from its exact value', () => {
  fc.assert(
    fc.property(wideDouble, (x) => {
      const { mantissa, exponent } = toScaledBigInt(x)
      return exponent < 0
        ? roundRational(mantissa, 1n << BigInt(-exponent)) === x
        : roundRational(mantissa << BigInt(exponent), 1n) === x
    }),
    runs,
  )
})

test('quotients and roots of integers are those of the hardware', () => {
  fc.assert(
    fc.property(integer, integer, (a, b) => {
      if (b !== 0) expect(roundRational(BigInt(a), BigInt(b))).toBe(a / b + 0)
      expect(roundSqrtRational(BigInt(Math.abs(a)), 1n)).toBe(Math.sqrt(Math.abs(a)))
    }),
    runs,
  )
})

test('rounds half to even, subnormals too, and overflows where half of the last ulp is reached', () => {
  expect(roundRational((1n << 53n) + 1n, 1n)).toBe(2 ** 53)
  expect(roundRational((1n << 53n) + 3n, 1n)).toBe(2 ** 53 + 4)
  expect(roundRational(1n, 1n << 1075n)).toBe(0)
  expect(roundRational((1n << 100n) + 1n, 1n << 1175n)).toBe(5e-324)
  expect(roundRational(3n, 1n << 1075n)).toBe(1e-323)
  expect(roundRational(-3n, 1n << 1074n)).toBe(-1.5e-323)
  // Too small for a double: +0, never -0.
  expect(Object.is(roundRational(-1n, 1n << 1075n), 0)).toBe(true)
  const halfBeyond = (1n << 1024n) - (1n << 970n)
  expect(roundRational(halfBeyond, 1n)).toBe(Number.POSITIVE_INFINITY)
  expect(roundRational(halfBeyond - 1n, 1n)).toBe(Number.MAX_VALUE)
  expect(roundRational(-(1n << 3000n), 7n)).toBe(Number.NEGATIVE_INFINITY)
  expect(roundSqrtRational(1n, 1n << 2148n)).toBe(5e-324)
  expect(() => roundRational(1n, 0n)).toThrow(RangeError)
  expect(() => roundSqrtRational(-1n, 2n)).toThrow(RangeError)
})

test('powers of two and integer roots are exact', () => {
  for (let exponent = -1074; exponent <= 1023; exponent++) {
    const x = powerOfTwo(exponent)
    const { mantissa, exponent: lowest } = toScaledBigInt(x)
    expect(mantissa << BigInt(lowest + 1074)).toBe(1n << BigInt(exponent + 1074))
  }
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: 1n << 140n }), (x) => {
      const root = floorSqrt(x)
      return root * root <= x && x < (root + 1n) ** 2n && floorSqrt(root * root) === root
    }),
    runs,
  )
})
