import type { AggregationDefinition } from '../definition/types.ts'
import type { Scalar, ScalarType } from '../event/types.ts'
import type { Aggregation } from './aggregation.ts'
import { count } from './count.ts'
import {
  maxOfDecimals,
  meanOfDecimals,
  minOfDecimals,
  stddevOfDecimals,
  sumOfDecimals,
  varianceOfDecimals,
} from './decimals.ts'
import { distinctCount } from './distinct-count.ts'
import { max, min } from './extremes.ts'
import { mean, share, stddev, sumOfFloats, sumOfIntegers, variance } from './moments.ts'
import { first, last, lastN } from './order.ts'

/** The algebra of a definition; `scale` of a decimal input. The accumulator's type is its own affair, hence the one cast. */
export function aggregationOf(
  definition: AggregationDefinition,
  inputType: ScalarType | null,
  scale = 0,
): Aggregation<Scalar, unknown> {
  const decimal = inputType === 'decimal'
  const { divisor = 'sample' } = definition
  const pick = (): unknown => {
    switch (definition.function) {
      case 'count':
        return count
      case 'sum':
        if (decimal) return sumOfDecimals(scale)
        return inputType === 'float64' ? sumOfFloats : sumOfIntegers
      case 'mean':
        return decimal ? meanOfDecimals(scale) : mean
      case 'min':
        return decimal ? minOfDecimals : min
      case 'max':
        return decimal ? maxOfDecimals : max
      case 'variance':
        return decimal ? varianceOfDecimals(scale, divisor) : variance(divisor)
      case 'stddev':
        return decimal ? stddevOfDecimals(scale, divisor) : stddev(divisor)
      case 'share':
        return share
      case 'first':
        return first
      case 'last':
        return last
      case 'lastN':
        return lastN(definition.n ?? 1)
      case 'distinctCount':
        return distinctCount
    }
  }
  return pick() as Aggregation<Scalar, unknown>
}
