import { describe, expect, test } from 'vitest'
import { lz4Block, lz4Frame } from '../../../schemas/compression/lz4.ts'

/** Written by pyarrow 26: `pa.compress(data, codec='lz4')`, and 'lz4_raw'. */
const frame = Buffer.from(
  'BCJNGGBAgokAAACTc2Vuc29yIDQ7CQAUNQkAFDgJABQwCQAUNwkAFDMJAAUbABQyEgAUMQkABUgADjYAFDYkAAVjAAU2AA5aAAUSAAU2AAWrAAV1AAUbAAUSAAVRAAUSAAWHAAUSAAUJAAXGAAUJAAV1AAUJAAUtAAUJAAWHAAXqAAUtAAXYALAzO3NlbnNvciAyOwAAAAA=',
  'base64',
)
const block = frame.subarray(11, frame.length - 4)
const text = Array.from('4580730215736813036426212722003322453832', (digit) => `sensor ${digit};`).join('')

const latin1 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1')
const header = (flags: number): number[] => [0x04, 0x22, 0x4d, 0x18, flags, 0x40, 0]
const sized = (bytes: readonly number[], plain = false): number[] => [bytes.length, 0, 0, plain ? 0x80 : 0, ...bytes]
const ascii = (words: string): number[] => [...Buffer.from(words)]

describe('what others compressed', () => {
  test('reads as it was', () => {
    expect(latin1(lz4Frame(frame))).toBe(text)
    expect(latin1(lz4Block(block, text.length))).toBe(text)
    expect(lz4Block(Uint8Array.of(0), 0)).toEqual(new Uint8Array())
  })

  test('blocks that are stored, linked, checked and sized', () => {
    // The second block: three literals, then a match of 20 that begins in the first block and overlaps itself.
    const linked = [(3 << 4) | 15, ...ascii('xyz'), 6, 0, 1, 1 << 4, ...ascii('!')]
    const bytes = Uint8Array.from([
      ...header(0x40 | 0x10 | 8),
      ...[0, 0, 0, 0, 0, 0, 0, 0],
      ...[...sized(ascii('abcdef'), true), 1, 2, 3, 4],
      ...[...sized(linked), 5, 6, 7, 8],
      ...[0, 0, 0, 0],
    ])
    expect(latin1(lz4Frame(bytes))).toBe(`abcdefxyz${'defxyz'.repeat(4).slice(0, 20)}!`)
  })

  test('long literals and more than one reservation', () => {
    const long = Array.from({ length: 60_000 }, (_, index) => index & 0xff)
    const stored = [long.length & 0xff, long.length >> 8, 0, 0x80, ...long]
    const bytes = Uint8Array.from([...header(0x60), ...stored, ...stored, ...stored, 0, 0, 0, 0])
    expect(Buffer.compare(lz4Frame(bytes), Uint8Array.from([...long, ...long, ...long]))).toBe(0)
    // 15 in the token, then 255 and 30 more.
    const literals = long.slice(0, 300)
    expect(lz4Block(Uint8Array.from([0xf0, 255, 30, ...literals]), 300)).toEqual(Uint8Array.from(literals))
  })
})

describe('damaged data', () => {
  test.each([
    ['cut', frame.subarray(0, 60)],
    ['of another magic', Uint8Array.from([1, ...frame.subarray(1)])],
    ['of another version', Uint8Array.from([...header(0x80), 0, 0, 0, 0])],
    ['with a dictionary', Uint8Array.from([...header(0x61), 0, 0, 0, 0])],
    ['without an end mark', frame.subarray(0, frame.length - 4)],
    ['with a match before its start', Uint8Array.from([...header(0x60), ...sized([0x10, 97, 9, 0, 0]), 0, 0, 0, 0])],
    ['with a match of itself', Uint8Array.from([...header(0x60), ...sized([0x10, 97, 0, 0, 0]), 0, 0, 0, 0])],
  ])('a frame %s is refused', (_, bytes) => {
    expect(() => lz4Frame(bytes)).toThrow(/damaged LZ4 data/)
  })

  test('a block of another size than it should have is refused', () => {
    expect(() => lz4Block(block, text.length - 1)).toThrow(/longer than its size/)
    expect(() => lz4Block(block, text.length + 1)).toThrow(/360 bytes instead of 361/)
  })

  test('any byte changed ends in bytes or an error', () => {
    for (let at = 0; at < frame.length; at++)
      for (const bit of [1, 16, 128]) {
        const damaged = Uint8Array.from(frame)
        damaged[at] = (damaged[at] as number) ^ bit
        try {
          expect(lz4Frame(damaged).length).toBeLessThan(70_000)
        } catch (error) {
          expect(String(error)).toMatch(/damaged LZ4 data/)
        }
      }
  })
})
