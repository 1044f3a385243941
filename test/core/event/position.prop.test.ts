import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  covers,
  emptyPosition,
  encodeToken,
  meet,
  nextOffset,
  offset,
  recordCount,
  samePosition,
  type Position,
} from '../../../core/event/position.ts'

/** Few streams, offsets and epochs, so that ties are common. Some names are those of properties that every object has. */
const partition = fc.record({ epoch: fc.nat(2), next: fc.nat(4).map(offset) })
const positions: fc.Arbitrary<Position> = fc
  .dictionary(fc.constantFrom('a', 'b', 'constructor'), fc.array(partition, { maxLength: 3 }), {
    noNullPrototype: true,
  })
  .map((streams) => ({ logId: 'log', streams }))

const law = (title: string, holds: (a: Position, b: Position, c: Position) => void): void =>
  test(title, () =>
    fc.assert(
      fc.property(positions, positions, positions, (a, b, c) => {
        holds(a, b, c)
      }),
      { numRuns: 500 },
    ),
  )

describe('meet', () => {
  law('is commutative', (a, b) => expect(meet(a, b)).toEqual(meet(b, a)))
  law('is associative', (a, b, c) => expect(meet(meet(a, b), c)).toEqual(meet(a, meet(b, c))))
  law('is idempotent', (a) => expect(meet(a, a)).toEqual(a))
  law('is covered by both', (a, b) => {
    expect(covers(a, meet(a, b))).toBe(true)
    expect(covers(b, meet(a, b))).toBe(true)
  })
  law('covers whatever both cover', (a, b, c) => {
    const lower = meet(meet(a, b), c)
    for (const candidate of [c, lower])
      if (covers(a, candidate) && covers(b, candidate)) expect(covers(meet(a, b), candidate)).toBe(true)
  })
})

describe('covers', () => {
  law('is reflexive, and everything covers nothing', (a) => {
    expect(covers(a, a)).toBe(true)
    expect(covers(a, emptyPosition('log'))).toBe(true)
  })
  law('is transitive', (a, b, c) => {
    if (covers(a, b) && covers(b, c)) expect(covers(a, c)).toBe(true)
  })
  law('both ways is the same position', (a, b) => {
    expect(samePosition(a, b)).toBe(covers(a, b) && covers(b, a))
    expect(samePosition(a, { ...a, logId: 'other' })).toBe(false)
  })
  law('counts at least as many records', (a, b) => {
    if (covers(a, b)) expect(recordCount(a)).toBeGreaterThanOrEqual(recordCount(b))
    expect(recordCount(a, 'a') + recordCount(a, 'b') + recordCount(a, 'constructor')).toBe(recordCount(a))
  })
})

test('a stream or partition that is absent is covered up to 0', () => {
  const position = { logId: 'log', streams: { a: [{ epoch: 0, next: offset(3) }] } }
  expect([nextOffset(position, 'a', 0), nextOffset(position, 'a', 1), nextOffset(position, 'toString', 0)]).toEqual([
    3, 0, 0,
  ])
})

test('a token is the position, and safe in a URL', () => {
  const position = { logId: 'ü?', streams: { a: [{ epoch: 0, next: offset(3) }] } }
  expect(encodeToken(position)).toMatch(/^[A-Za-z0-9_-]+$/)
  expect(JSON.parse(Buffer.from(encodeToken(position), 'base64url').toString())).toEqual(position)
})
