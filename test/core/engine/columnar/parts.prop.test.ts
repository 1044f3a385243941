import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { firstFrom, type EventColumns } from '../../../../core/engine/columnar/columns.ts'
import { ExtremesTree } from '../../../../core/engine/columnar/extremes-tree.ts'
import { InputPrefix } from '../../../../core/engine/columnar/input-prefix.ts'
import { Settled } from '../../../../core/engine/columnar/settled.ts'
import { SlidingDistinct } from '../../../../core/engine/columnar/sliding-distinct.ts'
import { Tally } from '../../../../core/engine/state/tally.ts'

const runs = Number(process.env['TIDEMARK_PROPERTY_RUNS'] ?? 100)
const stretch = (count: number) =>
  fc
    .tuple(fc.nat({ max: count }), fc.nat({ max: count }))
    .map(([a, b]) => (a < b ? [a, b] : [b, a]) as [number, number])

describe('firstFrom', () => {
  it('finds the same place whatever the hint', () => {
    const values = fc
      .array(fc.integer({ min: -50, max: 50 }), { maxLength: 80 })
      .map((all) => all.sort((a, b) => a - b))
    fc.assert(
      fc.property(
        values,
        fc.integer({ min: -52, max: 52 }),
        fc.nat({ max: 90 }),
        fc.boolean(),
        (all, bound, hint, beyond) => {
          const found = all.findIndex((value) => (beyond ? value > bound : value >= bound))
          const got = firstFrom(Float64Array.from(all), all.length, bound, hint, beyond)
          expect(got).toBe(found < 0 ? all.length : found)
        },
      ),
      { numRuns: runs * 5 },
    )
  })
})

describe('ExtremesTree', () => {
  it('equals a scan over any stretch', () => {
    const numbers = fc.array(fc.oneof(fc.integer({ min: -9, max: 9 }), fc.constant(Number.NaN)), {
      maxLength: 600,
      size: 'max',
    })
    fc.assert(
      fc.property(
        fc.array(fc.tuple(numbers, fc.array(stretch(600), { maxLength: 6 })), { minLength: 1, maxLength: 3 }),
        (all) => {
          const tree = new ExtremesTree()
          for (const [values, stretches] of all) {
            tree.build(Float64Array.from(values), values.length)
            for (const [from, end] of stretches) {
              const to = Math.min(end, values.length)
              const own = values.slice(from, to).filter((value) => !Number.isNaN(value))
              tree.ask(Math.min(from, to), to)
              expect([tree.min, tree.max]).toEqual([Math.min(...own), Math.max(...own)])
            }
          }
        },
      ),
      { numRuns: runs },
    )
  })
})

describe('SlidingDistinct', () => {
  it('equals a set over any stretch, entity after entity', () => {
    const entity = fc.record({
      codes: fc.array(fc.nat({ max: 6 }), { minLength: 1, maxLength: 60 }),
      left: fc.uint8Array({ min: 0, max: 1, minLength: 60, maxLength: 60 }),
      asked: fc.array(fc.tuple(stretch(60), fc.array(fc.nat({ max: 59 }), { maxLength: 4 })), { maxLength: 8 }),
    })
    fc.assert(
      fc.property(fc.array(entity, { minLength: 1, maxLength: 3 }), (entities) => {
        const sliding = new SlidingDistinct()
        const shared = new Uint8Array(60)
        for (const { codes, left, asked } of entities) {
          sliding.end()
          shared.set(left)
          sliding.begin(Int32Array.from(codes), 7, [shared, null])
          for (const [[from, end], more] of asked) {
            const to = Math.min(end, codes.length)
            const places = more.filter((place) => place < codes.length)
            const counted = codes.filter((_, place) => place >= from && place < to && left[place] === 0)
            sliding.move(Math.min(from, to), to)
            const expected = new Set([...counted, ...places.map((place) => codes[place])]).size
            expect(sliding.withEvents(Int32Array.from(places), 0, places.length, null)).toBe(expected)
          }
        }
      }),
      { numRuns: runs },
    )
  })
})

describe('InputPrefix', () => {
  it('holds squares beyond one word', () => {
    const count = 3 * 2 ** 20
    const prefix = new InputPrefix({ sums: true, squares: true, extremes: false })
    prefix.build({ type: 'int32', values: new Int32Array(count).fill(65_535), nulls: null }, count, null)
    const tally = new Tally()
    prefix.addTally(tally, 1, count)
    expect([prefix.exact, tally.n, tally.sum]).toEqual([true, count - 1, 65_535 * (count - 1)])
    const squares = BigInt(tally.squaresHi) * 2n ** 32n + BigInt(tally.squaresLo)
    expect(squares).toBe(65_535n ** 2n * BigInt(count - 1))
  })
})

describe('Settled', () => {
  it('an event known far later than the others does not hold up those behind it', () => {
    const times = Float64Array.from({ length: 640 }, (_, place) => place * 10)
    const knowns = times.map((time, place) => (place === 5 ? time + 1_000_000 : time + 3))
    const events: EventColumns = { times, knowns, untils: null, inputs: [] }
    const settled = new Settled()
    settled.begin(events)
    expect([settled.at(4_002), settled.at(4_003), settled.count(0, 401)]).toEqual([400, 401, 400])
    settled.look(0, 640, 401, 4_003)
    expect(settled.found).toBe(0)
    settled.look(0, 640, settled.at(2_000_000), 2_000_000)
    expect([...settled.places.subarray(0, settled.found)]).toEqual([5])
  })
})
