import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isAscii, StringInterner } from '../../../schemas/avro/intern.ts'

const utf8 = new TextEncoder()

/** Strings one behind the other; where each begins and ends. */
function laidOut(texts: readonly string[]): { bytes: Uint8Array; starts: Int32Array; ends: Int32Array } {
  const pieces = texts.map((text) => utf8.encode(text))
  const bytes = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length + 1, 3))
  const starts = new Int32Array(texts.length)
  const ends = new Int32Array(texts.length)
  let at = 1
  pieces.forEach((piece, row) => {
    bytes.set(piece, at)
    starts[row] = at
    ends[row] = at += piece.length
    at++
  })
  return { bytes, starts, ends }
}

const texts = fc.array(
  fc.oneof(
    fc.string({ maxLength: 12 }),
    fc.string({ unit: 'binary', maxLength: 12 }).filter((text) => text.isWellFormed()),
    fc.constantFrom('', 'a', 'aaaa', 'aaaaa', 'aaaaaaaa', 'aaaaaaaaa', 'aaaaaaaaaaaa', 'card-000001', 'card-000010'),
    fc.nat({ max: 3_000 }).map((number) => `c${number}`),
  ),
  { maxLength: 700, size: 'max' },
)

describe('codes of strings', () => {
  it('are those of their texts, looked up alone or many at once, in any mixture', () => {
    fc.assert(
      fc.property(texts, fc.array(fc.boolean(), { minLength: 1, maxLength: 50 }), (all, alone) => {
        const interner = new StringInterner()
        const { bytes, starts, ends } = laidOut(all)
        const expected = new Map<string, number>()
        const codes = new Int32Array(all.length).fill(-7)
        const late = starts.slice()
        all.forEach((text, row) => {
          if (alone[row % alone.length] !== true) return
          late[row] = -1
          codes[row] = interner.intern(bytes, starts[row] as number, ends[row] as number)
          if (!expected.has(text)) expected.set(text, codes[row] as number)
        })
        const half = all.length >> 1
        interner.internRows(bytes, late, ends, codes, 0, half)
        interner.internRows(bytes, late, ends, codes, half, all.length)
        expect([...codes].map((code) => interner.text(code))).toEqual(all)
        expect(interner.size).toBe(new Set(all).size)
        expect(new Set(codes).size).toBe(interner.size)
        for (const [text, code] of expected) expect(interner.text(code)).toBe(text)
      }),
      { numRuns: Number(process.env['TIDEMARK_PROPERTY_RUNS'] ?? 100) },
    )
  })

  it('ASCII is what has no byte above 127', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 20 }), fc.nat({ max: 20 }), (bytes, cut) => {
        const from = Math.min(cut, bytes.length)
        expect(isAscii(bytes, from, bytes.length)).toBe(bytes.subarray(from).every((byte) => byte < 128))
      }),
    )
  })
})
