import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { crc32c } from '../../../schemas/recordbatch/index.ts'

const of = (bytes: Uint8Array): number => crc32c(bytes, 0, bytes.length)

/** One bit at a time, as the polynomial is defined. */
function bitwise(bytes: Uint8Array): number {
  let crc = 0xffffffff
  for (const byte of bytes) {
    crc ^= byte
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1
  }
  return ~crc >>> 0
}

describe('CRC-32C', () => {
  it('has the published check values (RFC 3720, appendix B.4)', () => {
    expect(of(new TextEncoder().encode('123456789'))).toBe(0xe3069283)
    expect(of(new Uint8Array(0))).toBe(0)
    expect(of(new Uint8Array(32))).toBe(0x8a9136aa)
    expect(of(new Uint8Array(32).fill(0xff))).toBe(0x62a8ab43)
    expect(of(Uint8Array.from({ length: 32 }, (_, index) => index))).toBe(0x46dd794e)
    expect(of(Uint8Array.from({ length: 32 }, (_, index) => 31 - index))).toBe(0x113fdb5c)
  })

  it('equals the bitwise definition on any range, in one piece or two', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(), fc.nat(), fc.nat(), (bytes, a, b, c) => {
        const [from, middle, to] = [a, b, c].map((cut) => cut % (bytes.length + 1)).sort((x, y) => x - y) as [
          number,
          number,
          number,
        ]
        const expected = bitwise(bytes.subarray(from, to))
        expect(crc32c(bytes, from, to)).toBe(expected)
        expect(crc32c(bytes, middle, to, crc32c(bytes, from, middle))).toBe(expected)
      }),
    )
  })

  it('equals the bitwise definition on long ranges too, of which parts are summed side by side', () => {
    fc.assert(
      fc.property(
        fc.integer(),
        fc.nat({ max: 40 }),
        fc.integer({ min: 980, max: 3_000 }),
        fc.nat(),
        (seed, from, length, cut) => {
          const bytes = new Uint8Array(from + length + 9)
          for (let at = 0, state = seed; at < bytes.length; at++) {
            state = (Math.imul(state, 1_103_515_245) + 12_345) | 0
            bytes[at] = state >>> 16
          }
          const to = from + length
          const middle = from + (cut % length)
          const expected = bitwise(bytes.subarray(from, to))
          expect(crc32c(bytes, from, to)).toBe(expected)
          expect(crc32c(bytes.subarray(3), from, to)).toBe(bitwise(bytes.subarray(from + 3, to + 3)))
          expect(crc32c(bytes, middle, to, crc32c(bytes, from, middle))).toBe(expected)
        },
      ),
    )
  })
})
