import fc from 'fast-check'
import { expect, it } from 'vitest'
import { longLayout, LongTally } from '../../../core/engine/state/long-tally.ts'
import { Extremes, Tally } from '../../../core/engine/state/tally.ts'
import { varianceOfBigIntegers, varianceOfIntegers } from '../../../core/number/integer-moments.ts'

const numRuns = Number(process.env['TIDEMARK_PROPERTY_RUNS'] ?? 150)

it.each([2 ** 31 - 1, -(2 ** 31), -(2 ** 31) + 1, 65_535, 98_303])(
  'a tally is exact for any number of values of %d',
  (value) => {
    const run = new Tally()
    for (let place = 0; place < 63; place++) run.addInteger(value)
    run.addInteger(-3)
    const summary = new Float64Array(6)
    run.store(summary, 0)
    const tally = new Tally()
    // 2^24 values one run at a time, then as many again 1,024 runs at a time, as nodes of the second level are.
    const runs = 2 ** 18
    for (let index = 0; index < runs; index++) {
      tally.merge(summary, 0)
      tally.carry()
    }
    const node = new Tally()
    for (let index = 0; index < 1024; index++) {
      node.merge(summary, 0)
      node.carry()
    }
    expect(node.plain).toBe(true)
    const nodeSummary = new Float64Array(6)
    node.store(nodeSummary, 0)
    for (let index = 0; index < runs / 1024; index++) {
      tally.merge(nodeSummary, 0)
      tally.carry()
    }
    const count = BigInt(2 * runs)
    const sum = count * (63n * BigInt(value) - 3n)
    const squares = count * (63n * BigInt(value) ** 2n + 9n)
    const copy = new Tally()
    copy.copy(tally)
    for (const one of [tally, copy]) {
      expect([one.n, one.bigSum(), one.bigSquares()]).toEqual([128 * runs, sum, squares])
      expect([one.min, one.max]).toEqual([Math.min(value, -3), Math.max(value, -3)])
      for (const lane of [one.sum, one.squaresHi, one.squaresLo]) expect(Number.isSafeInteger(lane)).toBe(true)
      expect(one.plain).toBe(BigInt(one.sum) === sum && squares < 2n ** 84n)
      if (!one.plain) continue
      for (const kind of ['sample', 'population'] as const)
        expect(varianceOfIntegers(one.n, one.sum, one.squaresHi, one.squaresLo, kind)).toBe(
          varianceOfBigIntegers(one.n, sum, squares, kind),
        )
    }
  },
)

it('a tally takes sums of tiles, of whatever size, as they are', () => {
  const sums = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })
  const squares = fc.bigInt({ min: 0n, max: 2n ** 110n })
  fc.assert(
    fc.property(fc.array(fc.tuple(sums, squares), { maxLength: 40 }), (tiles) => {
      const tally = new Tally()
      for (const [sum, square] of tiles) {
        tally.addSum(Number(sum >> 32n), Number(BigInt.asUintN(32, sum)))
        tally.addSquares(
          Number(square >> 64n),
          Number(BigInt.asUintN(32, square >> 32n)),
          Number(BigInt.asUintN(32, square)),
        )
        tally.addInteger(-65_537)
        tally.carry()
      }
      const n = BigInt(tiles.length)
      expect(tally.bigSum()).toBe(tiles.reduce((total, [sum]) => total + sum, -65_537n * n))
      expect(tally.bigSquares()).toBe(tiles.reduce((total, [, square]) => total + square, 65_537n ** 2n * n))
      expect(tally.plain && BigInt(tally.sum) !== tally.bigSum()).toBe(false)
    }),
    { numRuns },
  )
})

const int64 = fc.oneof(
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  fc.bigInt({ min: -(2n ** 45n), max: 2n ** 45n }),
  fc.bigInt({ min: -1000n, max: 1000n }),
  fc.constantFrom(-(2n ** 63n), 2n ** 63n - 1n, 2n ** 44n, -(2n ** 44n), 2n ** 22n - 1n, -(2n ** 22n), -1n, 0n, 1n),
)
const longs = new BigInt64Array(1)
const words = new Int32Array(longs.buffer)

function addAll(tally: LongTally, values: readonly bigint[]): void {
  values.forEach((value, index) => {
    longs[0] = value
    tally.add(words[0] as number, words[1] as number, true)
    if (index % 64 === 63) tally.carry()
  })
  tally.carry()
}

/** All that a tally says against BigInts. */
function expectLong(tally: LongTally, values: readonly bigint[]): void {
  const sum = values.reduce((total, value) => total + value, 0n)
  const squares = values.reduce((total, value) => total + value * value, 0n)
  expect([tally.n, tally.bigSum(), tally.bigSquares()]).toEqual([values.length, sum, squares])
  const inDoubles = (value: bigint): boolean => value >= -(2n ** 52n) && value < 2n ** 52n
  expect(tally.sum()).toBe(inDoubles(sum) ? Number(sum) : Number.NaN)
  expect(tally.squares()).toBe(inDoubles(squares) ? Number(squares) : Number.NaN)
  if (values.length === 0) return
  const sorted = values.toSorted((a, b) => (a < b ? -1 : a > b ? 1 : 0))
  expect([tally.min(), tally.max()]).toEqual([sorted[0], sorted.at(-1)])
}

it('int64 values are summed exactly, however they are cut into runs and nodes', () => {
  const layout = longLayout(true, true, true)
  const history = fc.array(fc.array(fc.array(int64, { maxLength: 70 }), { maxLength: 5 }), { maxLength: 5 })
  fc.assert(
    fc.property(history, fc.nat({ max: 2 }), (nodes, shift) => {
      const total = new LongTally()
      const node = new LongTally()
      const run = new LongTally()
      const stride = layout.words + shift
      for (const runs of nodes) {
        const summaries = new Float64Array(5 * stride + shift)
        runs.forEach((values, index) => {
          run.reset()
          addAll(run, values)
          expectLong(run, values)
          run.store(summaries, index * stride + shift, layout)
        })
        const offsets = Int32Array.from({ length: 5 }, (_, index) => index * stride)
        node.reset()
        node.mergeAll(summaries, offsets, shift, runs.length, layout)
        expectLong(node, runs.flat())
        const stored = new Float64Array(layout.words)
        node.store(stored, 0, layout)
        total.mergeAll(stored, Int32Array.of(0), 0, 1, layout)
      }
      const copy = new LongTally()
      addAll(copy, [5n])
      copy.copy(total)
      addAll(total, [7n])
      expectLong(copy, nodes.flat(2))
      expectLong(total, [...nodes.flat(2), 7n])
    }),
    { numRuns },
  )
})

it('only what is asked for of int64 values is stored, and what is stored is whole', () => {
  for (const [sums, extremes, squares] of [
    [true, false, false],
    [false, true, false],
    [true, false, true],
    [false, false, false],
  ] as const) {
    const layout = longLayout(sums, extremes, squares)
    expect(layout.words).toBe(1 + (sums ? 3 : 0) + (extremes ? 4 : 0) + (squares ? 6 : 0))
    const tally = new LongTally()
    addAll(tally, [-(2n ** 63n), 3n])
    const stored = new Float64Array(layout.words + 2).fill(-7)
    tally.store(stored, 1, layout)
    expect([stored[0], stored.at(-1)]).toEqual([-7, -7])
    const other = new LongTally()
    other.mergeAll(stored, Int32Array.of(0), 1, 1, layout)
    expect(other.n).toBe(2)
    if (sums) expect(other.bigSum()).toBe(3n - 2n ** 63n)
    if (extremes) expect([other.min(), other.max()]).toEqual([-(2n ** 63n), 3n])
    if (squares) expect(other.bigSquares()).toBe(2n ** 126n + 9n)
  }
})

it.each([-(2n ** 63n), 2n ** 63n - 1n, -1n, 2n ** 44n - 1n, 524_287n])('2^24 values of %d', (value) => {
  const layout = longLayout(true, true, true)
  const run = new LongTally()
  addAll(
    run,
    Array.from({ length: 64 }, () => value),
  )
  const summaries = new Float64Array(layout.words)
  run.store(summaries, 0, layout)
  const total = new LongTally()
  const offsets = new Int32Array(64)
  for (let merged = 0; merged < 2 ** 24; merged += 64 * 64) total.mergeAll(summaries, offsets, 0, 64, layout)
  expect(total.bigSum()).toBe(2n ** 24n * value)
  expect(total.bigSquares()).toBe(2n ** 24n * value * value)
  expect(total.squares()).toBe(value === -1n ? 2 ** 24 : Number.NaN)
  expect([total.min(), total.max()]).toEqual([value, value])
})

it('extremes of a run without some of its values are those of the others, or it says that it cannot tell', () => {
  const value = fc.oneof(fc.constantFrom(1, 2, 3, Number.NaN, Infinity, -Infinity), fc.double({ noNaN: true }))
  fc.assert(
    fc.property(fc.array(value, { maxLength: 64 }), fc.nat({ max: 64 }), fc.array(value), (run, cut, before) => {
      const extremes = new Extremes()
      extremes.addAll(Float64Array.from(before), before.length)
      const summary = new Float64Array(3)
      const whole = new Extremes()
      whole.addAll(Float64Array.from(run), run.length)
      whole.store(summary, 0)
      const gone = run.slice(0, cut)
      const kept = run.slice(cut)
      if (!extremes.mergeWithout(summary, 0, Float64Array.from(gone), gone.length))
        extremes.addAll(Float64Array.from(kept), kept.length)
      const numbers = [...before, ...kept].filter((one) => !Number.isNaN(one))
      expect([extremes.n, extremes.min, extremes.max]).toEqual([
        numbers.length,
        Math.min(Infinity, ...numbers),
        Math.max(-Infinity, ...numbers),
      ])
    }),
    { numRuns },
  )
})
