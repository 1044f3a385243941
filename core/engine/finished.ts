/** What a feature's sums come to: the last step of every path that finishes features. */
import type { AggregationDefinition } from '../definition/types.ts'
import type { Scalar } from '../event/types.ts'
import {
  meanOfBigIntegers,
  meanOfIntegers,
  stddevOfBigIntegers,
  stddevOfIntegers,
  varianceOfBigIntegers,
  varianceOfIntegers,
} from '../number/integer-moments.ts'
import { meanOfDecimals, powerOfTen, stddevOfDecimals, unscaledMax, varianceOfDecimals } from '../number/decimal.ts'
import type { ColumnBuilder } from './column-builder.ts'
import { Status } from './feature-column.ts'
import type { InputPlan } from './plan.ts'
import type { FloatMoments } from './state/float-moments.ts'
import type { LongTally } from './state/long-tally.ts'
import type { Extremes, Tally } from './state/tally.ts'

export const overflow = Symbol('OVERFLOW')
/** A value, a decimal unscaled, null for SQL's null, or OVERFLOW. */
export type Finished = Scalar | readonly Scalar[] | typeof overflow

/** Sums and extremes of integers beyond what doubles carry, and of unscaled decimals. */
export interface BigTally {
  n: number
  sum: bigint
  squares: bigint
  min: bigint
  max: bigint
}

const int64Max = 2n ** 63n - 1n

export function putFinished(builder: ColumnBuilder, row: number, value: Finished): void {
  if (typeof value === 'number') builder.setNumber(row, value)
  else if (value === null) builder.setStatus(row, Status.NULL)
  else if (value === overflow) builder.setStatus(row, Status.OVERFLOW)
  else if (typeof value === 'object') builder.setList(row, value)
  else builder.setValue(row, value)
}

export function tallyValue({ function: name, divisor = 'sample' }: AggregationDefinition, tally: Tally): Finished {
  const { n, sum, squaresHi, squaresLo } = tally
  if (name === 'count') return n
  if (n === 0) return null
  switch (name) {
    case 'share':
      return sum / n
    case 'min':
      return tally.min
    case 'max':
      return tally.max
    case 'sum':
      return tally.plain ? sum : tally.bigSum()
    case 'mean':
      return tally.plain ? meanOfIntegers(n, sum) : meanOfBigIntegers(n, tally.bigSum())
    default:
      if (tally.plain)
        return (name === 'variance' ? varianceOfIntegers : stddevOfIntegers)(n, sum, squaresHi, squaresLo, divisor)
      return (name === 'variance' ? varianceOfBigIntegers : stddevOfBigIntegers)(
        n,
        tally.bigSum(),
        tally.bigSquares(),
        divisor,
      )
  }
}

export function floatValue(
  { function: name, divisor = 'sample' }: AggregationDefinition,
  moments: FloatMoments,
  extremes: Extremes,
): Finished {
  switch (name) {
    case 'min':
      return extremes.n === 0 ? null : extremes.min
    case 'max':
      return extremes.n === 0 ? null : extremes.max
    case 'sum':
      return moments.sum()
    case 'mean':
      return moments.mean()
    case 'variance':
      return moments.variance(divisor)
    default:
      return moments.stddev(divisor)
  }
}

export function longValue(
  { function: name, divisor = 'sample' }: AggregationDefinition,
  tally: LongTally,
  { type, scale = 0 }: InputPlan,
): Finished {
  const { n } = tally
  if (n === 0) return null
  const decimal = type === 'decimal'
  switch (name) {
    case 'min':
      return tally.min()
    case 'max':
      return tally.max()
    case 'sum': {
      const small = tally.sum()
      if (small === small) return decimal ? BigInt(small) : small
      const sum = tally.bigSum()
      if (decimal) return sum > unscaledMax || sum < -unscaledMax ? overflow : sum
      return sum > int64Max || sum < -int64Max - 1n ? overflow : sum
    }
    case 'mean': {
      const small = tally.sum()
      if (small === small) return meanOfIntegers(n, small, Number(powerOfTen(scale)))
      return decimal ? meanOfDecimals(n, tally.bigSum(), scale) : meanOfBigIntegers(n, tally.bigSum())
    }
    default: {
      const [sum, squares] = [tally.sum(), tally.squares()]
      if (sum === sum && squares === squares && scale <= plainScaleMax) {
        const finish = name === 'variance' ? varianceOfIntegers : stddevOfIntegers
        return finish(n, sum, 0, squares, divisor, Number(powerOfTen(2 * scale)))
      }
      if (decimal) {
        const finish = name === 'variance' ? varianceOfDecimals : stddevOfDecimals
        return finish(n, tally.bigSum(), tally.bigSquares(), scale, divisor)
      }
      const finish = name === 'variance' ? varianceOfBigIntegers : stddevOfBigIntegers
      return finish(n, tally.bigSum(), tally.bigSquares(), divisor)
    }
  }
}

/** 100 to this power is a double, exactly. */
const plainScaleMax = 11

export function bigValue(
  { function: name, divisor = 'sample' }: AggregationDefinition,
  { n, sum, squares, min, max }: BigTally,
  { type, scale = 0 }: InputPlan,
): Finished {
  const decimal = type === 'decimal'
  const own = (value: bigint): Scalar => (type === 'int64' || decimal ? value : Number(value))
  switch (name) {
    case 'count':
      return n
    case 'share':
      return n === 0 ? null : Number(sum) / n
    case 'min':
      return n === 0 ? null : own(min)
    case 'max':
      return n === 0 ? null : own(max)
    case 'sum':
      if (n === 0) return null
      if (decimal) return sum > unscaledMax || sum < -unscaledMax ? overflow : sum
      return sum > int64Max || sum < -int64Max - 1n ? overflow : sum
    case 'mean':
      return decimal ? meanOfDecimals(n, sum, scale) : meanOfBigIntegers(n, sum)
    default:
      if (decimal) return (name === 'variance' ? varianceOfDecimals : stddevOfDecimals)(n, sum, squares, scale, divisor)
      return (name === 'variance' ? varianceOfBigIntegers : stddevOfBigIntegers)(n, sum, squares, divisor)
  }
}
