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

test('runs merged many at a time are those merged one by one, up to the first wide one', () => {
  const history = fc.array(fc.tuple(fc.array(inDomain(0), { maxLength: 4 }), fc.integer({ min: 0, max: 60 })), {
    maxLength: 200,
  })
  fc.assert(
    fc.property(history, fc.integer({ min: 0, max: 40 }), (parts, before) => {
      const stride = runLaneWords + 2
      const words = new Float64Array(parts.length * stride + 3).fill(-1)
      const offsets = Int32Array.from(parts, (_, index) => index * stride)
      parts.forEach(([values, kind], index) => {
        lanesOf(kind === 0 ? [...values, 2 ** 28] : values, 0).store(words, 3 + index * stride)
      })
      const [one, many] = [new LaneTotal(), new LaneTotal()]
      const merged = Array.from({ length: before }, () => 0.5)
      for (const x of merged) for (const total of [one, many]) total.addValue(x)
      for (let index = 0; index < parts.length;) {
        const reached = many.mergeRuns(words, offsets, 3, index, parts.length)
        for (; index < reached; index++) {
          expect(one.mergeRun(words, 3 + index * stride)).toBe(true)
          merged.push(...(parts[index]?.[0] ?? []))
        }
        if (index < parts.length) expect(one.mergeRun(words, 3 + index++ * stride)).toBe(false)
      }
      const [a, b] = [new Float64Array(totalLaneWords), new Float64Array(totalLaneWords)]
      one.store(a, 0)
      many.store(b, 0)
      expect(b).toEqual(a)
      expectSame(many, merged)
    }),
    { numRuns: 500 },
  )
})

test('totals merged many at a time are those merged one by one, up to the first wide one', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.array(inDomain(0), { maxLength: 40 }), fc.integer({ min: 0, max: 9 })), { maxLength: 90 }),
      (parts) => {
        const words = new Float64Array(parts.length * totalLaneWords)
        parts.forEach(([values, kind], index) => {
          const part = new LaneTotal()
          for (let times = 0; times < 40; times++) part.addValues(Float64Array.from(values), values.length)
          part.store(words, index * totalLaneWords)
          if (kind === 0) words.fill(Number.NaN, index * totalLaneWords, (index + 1) * totalLaneWords)
        })
        const offsets = Int32Array.from(parts, (_, index) => index * totalLaneWords - 5)
        const [one, many] = [new LaneTotal(), new LaneTotal()]
        for (let index = 0; index < parts.length; index++) {
          const reached = many.mergeTotals(words, offsets, 5, index, parts.length)
          for (; index < reached; index++) expect(one.mergeTotal(words, index * totalLaneWords)).toBe(true)
          expect(index === parts.length || parts[index]?.[1] === 0).toBe(true)
        }
        const all = parts.flatMap(([values, kind]) =>
          kind === 0 ? [] : Array.from({ length: 40 }, () => values).flat(),
        )
        expectSame(one, all)
        expectSame(many, all)
      },
    ),
    { numRuns: 200 },
  )
})

test('values added, taken back and copied many at a time are those added one by one, and refused where a run is wide', () => {
  const steps = fc.array(fc.record({ values: anyValues, back: fc.nat({ max: 64 }) }), { maxLength: 50 })
  fc.assert(
    fc.property(steps, anchors, (parts, anchor) => {
      const [total, sums] = [new LaneTotal(anchor), new LaneTotal(anchor)]
      const kept: number[] = []
      const keptSums: number[] = []
      for (const { values, back } of parts) {
        const some = values.slice(0, runValuesMax)
        const scratch = Float64Array.from(some)
        const words = new Float64Array(runLaneWords)
        const run = new RunLanes(anchor)
        run.storeAll(scratch, some.length, words, 0)
        const twin = new Float64Array(runLaneWords)
        lanesOf(some, anchor).store(twin, 0)
        expect(words).toEqual(twin)
        const narrow = isNarrow(some, anchor, true)
        expect(total.addValues(scratch, some.length)).toBe(narrow)
        // What is taken back may be any part of what was added.
        if (narrow) {
          expect(total.subtractValues(scratch.subarray(0, back), Math.min(back, some.length))).toBe(true)
          kept.push(...some.slice(back))
        } else expect(total.subtractValues(scratch, some.length)).toBe(false)
        const fits = isNarrow(some, anchor, false)
        expect(sums.addSumValues(scratch, some.length)).toBe(fits)
        if (fits) keptSums.push(...some)
      }
      const copied = new LaneTotal(anchor)
      copied.addValues(Float64Array.of(1), 1)
      copied.copy(total)
      total.addValues(Float64Array.of(0.5), 1)
      expectSame(copied, kept)
      expect(sums.roundSum()).toBe(wideOf(keptSums).sum.round())
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

/** The low bit set in one value of 64 only: sums of runs are then odd, and lose it where a lane overflows. */
const odd = (value: number, bit: number) => (index: number) => (index % 64 === 0 ? value - bit : value)
/** Values of which x² is just below half a grid of q2 above it, so that q3 fills to one side; the first alone has its low bit. */
const oneSided = [1, 8].flatMap((step) => {
  const found: number[] = []
  for (let m = 2 ** 40 + step; found.length < 8; m += 2 * step) {
    const rest = Number(BigInt(m) ** 2n % (1n << 46n))
    if (rest < 2 ** 45 && rest > 0.9 * 2 ** 45) found.push(m * 2 ** -62)
  }
  return found
})
const fillings: readonly (readonly [string, (index: number) => number])[] = [
  ['positive, at the top', () => 2 ** 25 - 2 ** -28],
  ['negative, at the top', () => 2 ** -28 - 2 ** 25],
  ['alternating, at the top', (index) => (index % 2 === 0 ? 2 ** 25 - 2 ** -28 : 2 ** -28 - 2 ** 25)],
  ['odd sums, at the top', odd(2 ** 25 - 2 ** -16, 2 ** -16)],
  ['half a grid of the sum above the top lane', () => 2 ** 25 - 2 ** -17],
  ['just below the middle of a lane', odd(2 ** -17 - 2 ** -62, 2 ** -62)],
  ['just below the middle of a lane, negative', odd(2 ** -62 - 2 ** -17, 2 ** -62)],
  ['amounts', (index) => Math.round(index * 7919.37) / 100],
  ['one amount', () => 19.99],
  ['one number of all limbs', () => 4096 + 1 / 3],
  ['a large mean, small differences', (index) => 33_000_000 + (index % 1000) * 2 ** -20],
  ['squares below the middle of q1', (index) => Math.sqrt(2 ** 13 - 2 ** -32) + (index % 2) * 2 ** -44],
  ['squares below the middle of q3', (index) => oneSided[index % 64 === 0 ? 0 : 8 + (index % 8)] as number],
]
const merges = [1, 31, 32, 33, 63, 64, 65, 127, 128, 129, 512, 1024, 1025]

test.each(fillings)('carries at every number of merges: %s', (_, valueAt) => {
  for (const anchor of [0, -37, 12]) {
    const unit = 2 ** anchor
    const run = new RunLanes(anchor)
    const total = new LaneTotal(anchor)
    const relays = [new LaneTotal(anchor), new LaneTotal(anchor), new LaneTotal(anchor), new LaneTotal(anchor)]
    const wide = wideOf([])
    const words = new Float64Array(1025 * runLaneWords)
    const offsets = Int32Array.from({ length: 1025 }, (_, index) => index * runLaneWords)
    let count = 0
    for (let merged = 1; merged <= 1025; merged++) {
      run.reset()
      for (let index = 0; index < runValuesMax; index++) {
        const x = valueAt(count++) * unit
        run.add(x)
        wide.sum.add(x)
        wide.squares.add(x)
      }
      const at = (merged - 1) * runLaneWords
      run.store(words, at)
      expect(total.mergeRun(words, at)).toBe(true)
      // A copy is as near to its next carry as what it is a copy of.
      const relay = relays[merged % relays.length] as LaneTotal
      relay.copy(relays[(merged - 1) % relays.length] as LaneTotal)
      relay.mergeRun(words, at)
      if (!merges.includes(merged)) continue
      // Draining carries nothing, so this total goes on as it is; the others are finished with their last lanes full.
      const twin = finished(wide, count)
      expect(finished(drained(total), count)).toEqual(twin)
      expect(finished(drained(relay), count)).toEqual(twin)
      const bulk = new LaneTotal(anchor)
      expect(bulk.mergeRuns(words, offsets, 0, 0, merged)).toBe(merged)
      expect(bulk.stddev(count, 'population')).toBe(twin[5])
      const again = new LaneTotal(anchor)
      for (let from = 0; from < merged; from += 7) again.mergeRuns(words, offsets, 0, from, Math.min(from + 7, merged))
      expect(finishedLanes(again, count)).toEqual(twin)
    }
  }
})

test.each(fillings)('a million values in one total: %s', (_, valueAt) => {
  const run = new RunLanes()
  const total = new LaneTotal()
  const values = new LaneTotal()
  const bulk = new LaneTotal()
  const wide = wideOf([])
  const n = 2 ** 20 + 37
  const words = new Float64Array(Math.ceil(n / runValuesMax) * runLaneWords)
  let runCount = 0
  for (let index = 0; index < n;) {
    run.reset()
    for (let inRun = 0; inRun < runValuesMax && index < n; inRun++) {
      const x = valueAt(index++ % 2 ** 16)
      run.add(x)
      values.addValue(x)
      wide.sum.add(x)
      wide.squares.add(x)
    }
    run.store(words, runCount * runLaneWords)
    expect(total.mergeRun(words, runCount++ * runLaneWords)).toBe(true)
  }
  const offsets = Int32Array.from({ length: runCount }, (_, index) => index * runLaneWords)
  expect(bulk.mergeRuns(words, offsets, 0, 0, runCount)).toBe(runCount)
  for (const each of [total, values, bulk]) expect(finishedLanes(each, n)).toEqual(finished(wide, n))
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

test('a sum halfway between two doubles looks at the lowest lane', () => {
  const words = new Float64Array(totalLaneWords)
  for (let doublings = 10; doublings < 25; doublings++) {
    const half = 2 ** (27 + doublings - 53)
    for (const signs of [1, -1])
      for (const halves of [-3, -1, 1, 3])
        for (const last of [0, 2 ** -62, -(2 ** -62)]) {
          const total = new LaneTotal()
          const sum = new ExactSum()
          total.addValue(signs * 2 ** 27)
          for (let times = 0; times < doublings; times++) {
            total.store(words, 0)
            total.mergeTotal(words, 0)
          }
          sum.add(signs * 2 ** (27 + doublings))
          for (const x of [halves * half, last]) {
            expect(total.addSumValue(x)).toBe(true)
            sum.add(x)
          }
          expect(total.roundSum()).toBe(sum.round())
          for (const n of [2 ** doublings, 3, 5 * 2 ** 20]) expect(total.mean(n)).toBe(exactMean(sum, n))
        }
  }
})

test('deviations halfway between two doubles are certified or handed on', () => {
  const significand = fc.integer({ min: 0, max: 2 ** 31 }).map((low) => 1.9 + low * 2 ** -52)
  fc.assert(
    fc.property(significand, significand, fc.integer({ min: 1, max: 20 }), (a, b, copies) => {
      const total = new LaneTotal()
      const values = Array.from({ length: copies }, () => [a, -b]).flat()
      for (const x of values) total.addValue(x)
      expectSame(total, values)
    }),
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
    // One more, so that n (n - 1) needs all of its bits.
    total.addValue(x)
    wide.sum.add(x)
    wide.squares.add(x)
    n = 2 * n + 1
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

test('a run has room for 64 values and says so', () => {
  const run = lanesOf(new Array<number>(runValuesMax).fill(1), 0)
  expect(run.wide).toBe(false)
  run.add(1)
  expect(run.wide).toBe(true)
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
