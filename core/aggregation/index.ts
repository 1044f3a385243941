import type { AggregationDefinition } from '../definition/types.ts'
import type { Scalar, ScalarType } from '../event/types.ts'
import type { Aggregation } from './aggregation.ts'
import { count } from './count.ts'
import { distinctCount } from './distinct-count.ts'
import { max, min } from './extremes.ts'
import { mean, share, stddev, sumOfFloats, sumOfIntegers, variance } from './moments.ts'
import { first, last, lastN } from './order.ts'

/** The algebra of a definition. The accumulator's type is its own affair, hence the one cast. */
export function aggregationOf(
  definition: AggregationDefinition,
  inputType: ScalarType | null,
): Aggregation<Scalar, unknown> {
  const pick = (): unknown => {
    switch (definition.function) {
      case 'count':
        return count
      case 'sum':
        return inputType === 'float64' ? sumOfFloats : sumOfIntegers
      case 'mean':
        return mean
      case 'min':
        return min
      case 'max':
        return max
      case 'variance':
        return variance(definition.divisor ?? 'sample')
      case 'stddev':
        return stddev(definition.divisor ?? 'sample')
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
