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
import { meanOfDecimals, stddevOfDecimals, unscaledMax, varianceOfDecimals } from '../number/decimal.ts'
import type { ColumnBuilder } from './column-builder.ts'
import { Status } from './feature-column.ts'
import type { InputPlan } from './plan.ts'
import type { FloatMoments } from './state/float-moments.ts'
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
  if (value === null) builder.setStatus(row, Status.NULL)
  else if (value === overflow) builder.setStatus(row, Status.OVERFLOW)
  else if (typeof value === 'object') builder.setList(row, value)
  else builder.setValue(row, value)
}

export function tallyValue({ function: name, divisor = 'sample' }: AggregationDefinition, tally: Tally): Finished {
  const { n, sum, squaresHi, squaresLo } = tally
  switch (name) {
    case 'count':
      return n
    case 'share':
      return n === 0 ? null : sum / n
    case 'min':
      return n === 0 ? null : tally.min
    case 'max':
      return n === 0 ? null : tally.max
    case 'sum':
      return n === 0 ? null : sum
    case 'mean':
      return meanOfIntegers(n, sum)
    default:
      return (name === 'variance' ? varianceOfIntegers : stddevOfIntegers)(n, sum, squaresHi, squaresLo, divisor)
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
