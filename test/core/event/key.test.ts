import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { encodeKey, keyBytesMax, murmur2, partitionOf, shardOf } from '../../../core/event/key.ts'
import type { Scalar, ScalarType } from '../../../core/event/types.ts'

const utf8 = new TextEncoder()

describe('murmur2', () => {
  test.each([
    ['21', -973932308],
    ['foobar', -790332482],
    ['a-little-bit-long-string', -985981536],
    ['a-little-bit-longer-string', -1486304829],
    ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58897971],
    ['abc', 479470107],
  ])("of %s is Kafka's", (text, hash) => {
    expect(murmur2(utf8.encode(text))).toBe(hash)
  })
  test('puts a key where Kafka does, however many partitions', () => {
    expect(partitionOf(utf8.encode('21'), 7)).toBe((-973932308 & 0x7fffffff) % 7)
    fc.assert(
      fc.property(fc.uint8Array(), fc.integer({ min: 1, max: 1024 }), (key, count) => {
        for (const place of [partitionOf(key, count), shardOf(key, count)]) {
          expect(place).toBeGreaterThanOrEqual(0)
          expect(place).toBeLessThan(count)
        }
      }),
    )
  })
})

const values: Readonly<Partial<Record<ScalarType, fc.Arbitrary<Scalar>>>> = {
  string: fc.oneof(
    fc.string({ unit: fc.constantFrom('\0', '\u0001', '\u00ff', 'a') }),
    fc.string({ unit: 'grapheme' }),
  ),
  bool: fc.boolean(),
  int32: fc.integer(),
  int64: fc.bigInt({ min: -(1n << 63n), max: (1n << 63n) - 1n }),
  timestamp: fc.integer({ min: -62_135_596_800_000, max: 253_370_764_799_999 }),
}
const types = fc.array(fc.constantFrom(...(Object.keys(values) as ScalarType[])), { minLength: 1, maxLength: 4 })
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

describe('a key', () => {
  test('is told from every other one by its bytes', () => {
    const pairs = types.chain((list) => {
      const key = fc.tuple(...list.map((type) => values[type] as fc.Arbitrary<Scalar>))
      return fc.tuple(fc.constant(list), key, key)
    })
    fc.assert(
      fc.property(pairs, ([list, a, b]) => {
        const equal = a.every((value, index) => value === b[index])
        expect(hex(encodeKey(a, list)) === hex(encodeKey(b, list))).toBe(equal)
      }),
      { numRuns: 2_000 },
    )
  })
  test('of two strings is no other split of them', () => {
    const keys = [
      ['a', '\0b'],
      ['a\0', 'b'],
      ['a\0b', ''],
      ['', 'a\0b'],
      ['a', '\0\u0001b'],
      ['a\0\u0001', 'b'],
      ['a\u00ff', 'b'],
    ]
    expect(new Set(keys.map((key) => hex(encodeKey(key, ['string', 'string'])))).size).toBe(keys.length)
  })
  test('of one string is its utf-8', () => {
    expect(encodeKey(['ü\0'], ['string'])).toEqual(utf8.encode('ü\0'))
    expect(encodeKey([''], ['string'])).toHaveLength(0)
  })
  test('sorts as its numbers do', () => {
    fc.assert(
      fc.property(values.int64 as fc.Arbitrary<bigint>, values.int64 as fc.Arbitrary<bigint>, (a, b) => {
        const order = Buffer.compare(encodeKey([a], ['int64']), encodeKey([b], ['int64']))
        expect(order).toBe(a < b ? -1 : a > b ? 1 : 0)
      }),
    )
    expect(encodeKey([5], ['int32'])).toEqual(encodeKey([5n], ['int64']))
  })
  test('has at most 1,024 bytes', () => {
    expect(encodeKey(['a'.repeat(keyBytesMax)], ['string'])).toHaveLength(1024)
    const tooLong = expect.objectContaining({
      code: 'FS_ENTITY_INVALID',
      message: expect.stringContaining('1025 bytes'),
    })
    expect(() => encodeKey(['a'.repeat(1025)], ['string'])).toThrow(tooLong)
    expect(() => encodeKey(['ü'.repeat(512), true], ['string', 'bool'])).toThrow(/1027 bytes/)
  })
  test.each<[string, Scalar | undefined, ScalarType]>([
    ['null', null, 'string'],
    ['a missing value', undefined, 'int32'],
    ['a number for a string', 1, 'string'],
    ['a string for a number', '1', 'int32'],
    ['a fraction', 1.5, 'int64'],
    ['a number for a bool', 1, 'bool'],
    ['a float64', 1, 'float64'],
    ['an integer beyond int64', 1n << 63n, 'int64'],
    ['an integer far below int64', -(1n << 64n), 'int64'],
    ['half a surrogate pair', '\ud800', 'string'],
  ])('refuses %s', (_, value, type) => {
    const error = expect.objectContaining({ code: 'FS_ENTITY_INVALID' })
    expect(() => encodeKey([value as Scalar], [type])).toThrow(error)
    expect(() => encodeKey(['a', value as Scalar], ['string', type])).toThrow(error)
  })
})
