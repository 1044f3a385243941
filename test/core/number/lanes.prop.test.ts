import fc from 'fast-check'
import { expect, test } from 'vitest'
import { exactMean, ExactSquares, exactStddev, ExactSum, exactVariance } from '../../../core/number/exact-sum.ts'
import {
  laneAnchor,
  LaneTotal,
  markWide,
  RunLanes,
  runLaneWords,
  runValuesMax,
  sumLaneWords,
  totalLaneWords,
} from '../../../core/number/lanes.ts'
import { toScaledBigInt } from '../../../core/number/rational.ts'
import { wideDouble } from './values.ts'

const runs = { numRuns: 2000 }
const kinds = ['sample', 'population'] as const

interface Wide {
  readonly sum: ExactSum
  readonly squares: ExactSquares
}
const wideOf = (values: Iterable<number>): Wide => {
  const wide = { sum: new ExactSum(), squares: new ExactSquares() }
  for (const x of values) {
    wide.sum.add(x)
    wide.squares.add(x)
  }
  return wide
}
const finished = ({ sum, squares }: Wide, n: number): readonly (number | null)[] => [
  sum.round(),
  exactMean(sum, n),
  ...kinds.flatMap((kind) => [exactVariance(sum, squares, n, kind), exactStddev(sum, squares, n, kind)]),
]
const finishedLanes = (total: LaneTotal, n: number): readonly (number | null)[] => [
  total.roundSum(),
  total.mean(n),
  ...kinds.flatMap((kind) => [total.variance(n, kind), total.stddev(n, kind)]),
]
const drained = (total: LaneTotal): Wide => {
  const wide = { sum: new ExactSum(), squares: new ExactSquares() }
  total.drainTo(wide.sum, wide.squares)
  return wide
}
/** Every result, and after it every lane, equal bit for bit: toEqual tells -0 from +0. */
const expectSame = (total: LaneTotal, values: readonly number[]): void => {
  const wide = wideOf(values)
  const n = values.length
  expect(finishedLanes(total, n)).toEqual(finished(wide, n))
  expect(finished(drained(total), n)).toEqual(finished(wide, n))
}

/** The domain as the header of lanes.ts states it, in plain numbers; only near its top does rounding blur the bound. */
const insideGrid = (x: number, anchor: number): boolean => {
  if (!Number.isFinite(x)) return false
  const { mantissa, exponent } = toScaledBigInt(x)
  const below = anchor - 62 - exponent
  return below <= 0 || mantissa % (1n << BigInt(below)) === 0n
}
const isNarrow = (values: readonly number[], anchor: number, withSquares: boolean): boolean => {
  if (values.length > runValuesMax || !values.every((x) => insideGrid(x, anchor))) return false
  return withSquares
    ? values.reduce((energy, x) => energy + x * x, 0) < 2 ** (2 * anchor + 56)
    : values.reduce((reach, x) => reach + Math.abs(x), 0) < 2 ** (anchor + 31)
}

const anchors = fc.constantFrom(0, 0, 0, -26, -50, 15, 26, 400, -400)
/** Doubles of the domain of an anchor: whole and part of it, both ends, ties, cancelling pairs, amounts, integers. */
const inDomain = (anchor: number): fc.Arbitrary<number> => {
  const unit = 2 ** anchor
  const onGrid = (x: number): number => Math.round((x % 2 ** 25) * 2 ** 62) * 2 ** -62 * unit
  return fc.oneof(
    fc.double({ noNaN: true, min: -1, max: 1 }).map(onGrid),
    fc.double({ noNaN: true, min: -(2 ** 25) + 1, max: 2 ** 25 - 1 }).map(onGrid),
    fc.double({ noNaN: true, min: 1, max: 1.001 }).map(onGrid),
    fc.integer({ min: -100_000_000, max: 100_000_000 }).map((cents) => onGrid(cents / 100)),
    fc.integer({ min: -(2 ** 25) + 1, max: 2 ** 25 - 1 }).map(onGrid),
    fc.integer({ min: -1000, max: 1000 }).map((small) => small * 2 ** -62 * unit),
    fc
      .constantFrom(0, -0, 2 ** -62, 2 ** -17, 2 ** -16, 1.5 * 2 ** -16, 2 ** 7, 2 ** 25 - 2 ** -16)
      .map((x) => x * unit),
  )
}
const anyValues = fc.array(
  fc.oneof(
    { weight: 1, arbitrary: wideDouble },
    { weight: 6, arbitrary: inDomain(0) },
    { weight: 1, arbitrary: fc.constantFrom(Number.NaN, Infinity, -Infinity, 2 ** 28, 2 ** 53, 2 ** 31, 2 ** -63) },
  ),
  { maxLength: 80 },
)

const lanesOf = (values: readonly number[], anchor: number): RunLanes => {
  const run = new RunLanes(anchor)
  for (const x of values) run.add(x)
  return run
}

test('a run is wide exactly where its values leave the domain, and its summary says so', () => {
  fc.assert(
    fc.property(anyValues, anchors, (values, anchor) => {
      for (const withSquares of [true, false]) {
        const run = new RunLanes(anchor)
        for (const x of [...values, Number.NaN]) run.add(x)
        run.reset()
        for (const x of values) withSquares ? run.add(x) : run.addSum(x)
        const narrow = isNarrow(values, anchor, withSquares)
        expect(run.wide).toBe(!narrow)
        const words = new Float64Array(9).fill(7)
        const total = new LaneTotal(anchor)
        if (withSquares) run.store(words, 1)
        else run.storeSum(words, 1)
        expect([words[0], words[withSquares ? 1 + runLaneWords : 1 + sumLaneWords]]).toEqual([7, 7])
        expect(withSquares ? total.mergeRun(words, 1) : total.mergeSum(words, 1)).toBe(narrow)
        if (!narrow) expect(finishedLanes(total, 3)).toEqual(finished(wideOf([0, 0, 0]), 3))
        else if (withSquares) expectSame(total, values)
        else expect(total.roundSum()).toBe(wideOf(values).sum.round())
      }
    }),
    runs,
  )
})

test('a single value is taken exactly where a run of it would be narrow; a refused one leaves no trace', () => {
  fc.assert(
    fc.property(anyValues, anchors, (values, anchor) => {
      const total = new LaneTotal(anchor)
      const sums = new LaneTotal(anchor)
      const taken = values.filter((x) => total.addValue(x))
      const summed = values.filter((x) => sums.addSumValue(x))
      expect(taken).toEqual(values.filter((x) => isNarrow([x], anchor, true)))
      expect(summed).toEqual(values.filter((x) => isNarrow([x], anchor, false)))
      expectSame(total, taken)
      const { sum } = wideOf(summed)
      expect(sums.roundSum()).toBe(sum.round())
      expect(sums.mean(summed.length)).toBe(exactMean(sum, summed.length))
    }),
    runs,
  )
})

test('no cut into runs, no order and no grouping of merges changes a bit', () => {
  const history = anchors.chain((anchor) =>
    fc.record({
      anchor: fc.constant(anchor),
      // Each run may be followed by its negative, so that sums cancel.
      parts: fc.array(
        fc.record({
          values: fc.array(inDomain(anchor), { maxLength: runValuesMax }),
          negated: fc.boolean(),
          how: fc.constantFrom('run', 'values', 'stored total'),
          order: fc.integer(),
        }),
        { maxLength: 12 },
      ),
    }),
  )
  fc.assert(
    fc.property(history, ({ anchor, parts }) => {
      const total = new LaneTotal(anchor)
      const words = new Float64Array(totalLaneWords + 1)
      const run = new RunLanes(anchor)
      const all = parts
        .toSorted((a, b) => a.order - b.order)
        .flatMap((part) => [part, ...(part.negated ? [{ ...part, values: part.values.map((x) => -x) }] : [])])
      const merged: number[] = []
      for (const { values, how } of all) {
        run.reset()
        for (const x of values) run.add(x)
        if (run.wide) continue
        merged.push(...values)
        if (how === 'values') for (const x of values) expect(total.addValue(x)).toBe(true)
        else if (how === 'run') {
          run.store(words, 1)
          expect(total.mergeRun(words, 1)).toBe(true)
        } else {
          const part = new LaneTotal(anchor)
          for (const x of values) part.addValue(x)
          part.store(words, 0)
          expect(total.mergeTotal(words, 0)).toBe(true)
        }
      }
      expectSame(total, merged)
      expectSame(total, merged)
      total.reset()
      expect(total.roundSum()).toBe(0)
    }),
    runs,
  )
})

test('narrow and wide runs of one range add up in the wide accumulators', () => {
  fc.assert(
    fc.property(fc.array(anyValues, { maxLength: 6 }), (parts) => {
      const finite = parts.map((values) => values.filter(Number.isFinite))
      const total = new LaneTotal()
      const wide = wideOf([])
      const words = new Float64Array(runLaneWords)
      for (const values of finite) {
        lanesOf(values, 0).store(words, 0)
        if (total.mergeRun(words, 0)) continue
        for (const x of values) {
          wide.sum.add(x)
          wide.squares.add(x)
        }
      }
      total.drainTo(wide.sum, wide.squares)
      const values = finite.flat()
      expect(finished(wide, values.length)).toEqual(finished(wideOf(values), values.length))
    }),
    runs,
  )
})

/** Runs of 64 at the top of the domain, their low bits all set so that each lane is as full as it can be. */
const top = 2 ** 25 - 2 ** -28
const full = 2 ** 25 - 2 ** -17
const fillings: readonly (readonly [string, (index: number) => number])[] = [
  ['positive, at the top', () => top],
  ['negative, at the top', () => -top],
  ['alternating, at the top', (index) => (index % 2 === 0 ? top : -top)],
  ['half a grid of the sum above the top lane', () => full],
  ['just below the middle of a lane', () => 2 ** -17 - 2 ** -62],
  ['just below the middle of a lane, negative', () => 2 ** -62 - 2 ** -17],
  ['amounts', (index) => Math.round(index * 7919.37) / 100],
  ['one amount', () => 19.99],
  ['a large mean, small differences', (index) => 33_000_000 + (index % 1000) * 2 ** -20],
  ['squares below the middle of their lanes', (index) => Math.sqrt(2 ** 13 - 2 ** -32) + (index % 2) * 2 ** -44],
]
const merges = [1, 31, 32, 33, 63, 64, 65, 127, 128, 129, 512, 1024, 1025]

test.each(fillings)('carries at every number of merges: %s', (_, valueAt) => {
  for (const anchor of [0, -37, 12]) {
    const unit = 2 ** anchor
    const run = new RunLanes(anchor)
    const total = new LaneTotal(anchor)
    const wide = wideOf([])
    const words = new Float64Array(runLaneWords)
    let count = 0
    for (let merged = 1; merged <= 1025; merged++) {
      run.reset()
      for (let index = 0; index < runValuesMax; index++) {
        const x = Math.round(valueAt(count++) * 2 ** 62) * 2 ** -62 * unit
        run.add(x)
        wide.sum.add(x)
        wide.squares.add(x)
      }
      run.store(words, 0)
      expect(total.mergeRun(words, 0)).toBe(true)
      if (!merges.includes(merged)) continue
      // A stored total is one of carried lanes; the one it came from goes on uncarried.
      expect(finished(drained(total), count)).toEqual(finished(wide, count))
      const copy = new LaneTotal(anchor)
      expect(finishedLanes(copy, 2)).toEqual(finished(wideOf([0, 0]), 2))
      copy.mergeRun(words, 0)
      expect(finishedLanes(copy, runValuesMax)).toEqual(finished(drained(copy), runValuesMax))
      if (merged === 1025 || merged === 129) expect(finishedLanes(total, count)).toEqual(finished(wide, count))
    }
  }
})

test.each(fillings)('a million values in one total: %s', (_, valueAt) => {
  const run = new RunLanes()
  const total = new LaneTotal()
  const values = new LaneTotal()
  const wide = wideOf([])
  const words = new Float64Array(runLaneWords)
  const n = 2 ** 20 + 37
  for (let index = 0; index < n;) {
    run.reset()
    for (let inRun = 0; inRun < runValuesMax && index < n; inRun++) {
      const x = valueAt(index++ % 2 ** 16)
      run.add(x)
      values.addValue(x)
      wide.sum.add(x)
      wide.squares.add(x)
    }
    run.store(words, 0)
    expect(total.mergeRun(words, 0)).toBe(true)
  }
  expect(finishedLanes(total, n)).toEqual(finished(wide, n))
  expect(finishedLanes(values, n)).toEqual(finished(wide, n))
})

test('a sum beyond 2^39 rounds once: ties against what lies below', () => {
  const parts = fc.array(
    fc.constantFrom(2 ** 27, -(2 ** 27), 2 ** 12, 2 ** -14, -(2 ** -14), 2 ** -15, 2 ** -62, -(2 ** -62), 0.1),
    {
      maxLength: 8,
    },
  )
  fc.assert(
    fc.property(
      parts,
      fc.integer({ min: 1, max: 2 ** 16 }),
      fc.integer({ min: 0, max: 12 }),
      (values, copies, doublings) => {
        const total = new LaneTotal()
        const wide = wideOf(values)
        for (const x of values) total.addValue(x)
        const words = new Float64Array(totalLaneWords)
        let n = values.length
        const base = new ExactSum()
        for (let index = 0; index < copies % 64; index++) {
          total.addValue(2 ** 27)
          base.add(2 ** 27)
          wide.squares.add(2 ** 27)
          n++
        }
        wide.sum.merge(base)
        for (let index = 0; index < doublings; index++) {
          total.store(words, 0)
          total.mergeTotal(words, 0)
          const copy = new ExactSum()
          copy.merge(wide.sum)
          wide.sum.merge(copy)
          const squares = new ExactSquares()
          squares.merge(wide.squares)
          wide.squares.merge(squares)
          n *= 2
        }
        for (const x of values) {
          total.addValue(x)
          wide.sum.add(x)
          wide.squares.add(x)
          n++
        }
        expect(finishedLanes(total, n)).toEqual(finished(wide, n))
      },
    ),
    runs,
  )
})

test('means halfway between two doubles go to the even one', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(2, 3, 4, 5, 6, 7, 10, 12, 20, 24, 48, 60),
      fc.integer({ min: 2 ** 30, max: 2 ** 31 }),
      fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 60, maxLength: 60 }),
      (n, base, steps) => {
        const values = steps.slice(0, n).map((step) => (base * 2 ** 22 + step) * 2 ** -52)
        const total = new LaneTotal()
        for (const x of values) total.addValue(x)
        expectSame(total, values)
      },
    ),
    runs,
  )
})

test('more values than countMax are finished as exactly', () => {
  const total = new LaneTotal()
  const wide = wideOf([])
  const words = new Float64Array(totalLaneWords)
  const x = 0.1
  total.addValue(x)
  wide.sum.add(x)
  wide.squares.add(x)
  total.addValue(3)
  wide.sum.add(3)
  wide.squares.add(3)
  let n = 2
  for (let times = 0; times < 30; times++) {
    total.store(words, 0)
    total.mergeTotal(words, 0)
    const [sum, squares] = [new ExactSum(), new ExactSquares()]
    sum.merge(wide.sum)
    squares.merge(wide.squares)
    wide.sum.merge(sum)
    wide.squares.merge(squares)
    n *= 2
    expect(finishedLanes(total, n)).toEqual(finished(wide, n))
  }
})

test('the anchor of a column puts its values in the domain', () => {
  const column = fc
    .tuple(
      fc.integer({ min: -380, max: 380 }),
      fc.array(fc.double({ noNaN: true, min: 1, max: 2 }), { minLength: 1, maxLength: 64 }),
    )
    .map(([exponent, values]) => values.map((x, index) => (index % 2 === 0 ? x : -x) * 2 ** (exponent + (index % 30))))
  fc.assert(
    fc.property(column, (values) => {
      const words = Float64Array.from(values.flatMap((x) => [x, Number.NaN]))
      expect(lanesOf(values, laneAnchor(words, 0, 2, values.length)).wide).toBe(false)
    }),
    runs,
  )
  expect(laneAnchor(Float64Array.of(0, Number.NaN, Infinity, -0), 0, 1, 4)).toBe(0)
  expect(laneAnchor(Float64Array.of(5e-324, 1e-300), 0, 1, 2)).toBe(-400)
  expect(laneAnchor(Float64Array.of(1e300), 0, 1, 1)).toBe(400)
  expect(() => new RunLanes(401)).toThrow(RangeError)
  expect(() => new LaneTotal(0.5)).toThrow(RangeError)
})

test('a summary marked wide is not merged', () => {
  const words = new Float64Array(totalLaneWords)
  markWide(words, 0, totalLaneWords)
  const total = new LaneTotal()
  expect([total.mergeRun(words, 0), total.mergeSum(words, 0), total.mergeTotal(words, 0)]).toEqual([
    false,
    false,
    false,
  ])
  expectSame(total, [])
})
