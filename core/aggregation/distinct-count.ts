import type { Scalar } from '../event/types.ts'
import type { Aggregation } from './aggregation.ts'

/** Exact number of distinct values, as int64; all NaNs are one value. Of an empty window 0, as SQL's count(distinct). */
export const distinctCount: Aggregation<Exclude<Scalar, null>, Set<Scalar>> = {
  empty: () => new Set(),
  add: (acc, value) => acc.add(value),
  merge: (older, newer) => older.union(newer),
  finish: (acc) => BigInt(acc.size),
}
