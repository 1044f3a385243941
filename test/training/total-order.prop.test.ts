import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ascending, byTimes } from '../../training/total-order.ts'

const runs = Number(process.env['TIDEMARK_PROPERTY_RUNS'] ?? 100)

/** Few distinct moments and many, near each other and centuries apart: slices of one event and of all. */
const moments = fc.oneof(
  fc.integer({ min: 0, max: 5 }),
  fc.integer({ min: -3_000, max: 3_000 }),
  fc.constantFrom(-62_135_596_800_000, 253_370_764_800_000, 0),
)
const events = fc.array(fc.tuple(moments, moments), { maxLength: 700, size: 'max' })

describe('the total order of events', () => {
  it('is by event time, then by knownAt, then as they came', () => {
    fc.assert(
      fc.property(events, (pairs) => {
        const times = Float64Array.from(pairs, ([time]) => time)
        const knowns = Float64Array.from(pairs, ([, known]) => known)
        const expected = pairs
          .map(([time, known], row) => ({ time, known, row }))
          .sort((a, b) => a.time - b.time || a.known - b.known || a.row - b.row)
        expect([...byTimes(times, knowns)]).toEqual(expected.map(({ row }) => row))
      }),
      { numRuns: runs },
    )
  })

  it('of one key keeps what ties as it came', () => {
    fc.assert(
      fc.property(fc.array(moments, { maxLength: 300 }), (keys) => {
        const expected = keys.map((key, row) => ({ key, row })).sort((a, b) => a.key - b.key || a.row - b.row)
        expect([...ascending(Float64Array.from(keys))]).toEqual(expected.map(({ row }) => row))
      }),
      { numRuns: runs },
    )
  })
})
