import { expect, it } from 'vitest'
import { Tally, tallyEventsMax } from '../../../core/engine/state/tally.ts'
import { varianceOfBigIntegers, varianceOfIntegers } from '../../../core/number/integer-moments.ts'

it.each([2 ** 31 - 1, -(2 ** 31), -(2 ** 31) + 1, 65_535, 98_303])(
  'a tally is exact for as many values of %d as it may hold',
  (value) => {
    const run = new Tally()
    for (let place = 0; place < 63; place++) run.addInteger(value)
    run.addInteger(-3)
    const summary = new Float64Array(6)
    run.store(summary, 0)
    const tally = new Tally()
    const runs = tallyEventsMax / 64
    for (let index = 0; index < runs; index++) {
      tally.merge(summary, 0)
      tally.carry()
    }
    const sum = BigInt(runs) * (63n * BigInt(value) - 3n)
    const squares = BigInt(runs) * (63n * BigInt(value) ** 2n + 9n)
    expect(BigInt(tally.sum)).toBe(sum)
    expect(BigInt(tally.squaresHi) * 2n ** 32n + BigInt(tally.squaresLo)).toBe(squares)
    expect(Number.isSafeInteger(tally.squaresHi) && Number.isSafeInteger(tally.squaresLo)).toBe(true)
    for (const kind of ['sample', 'population'] as const)
      expect(varianceOfIntegers(tally.n, tally.sum, tally.squaresHi, tally.squaresLo, kind)).toBe(
        varianceOfBigIntegers(tally.n, sum, squares, kind),
      )
  },
)
