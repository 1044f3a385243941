import type { Aggregation } from './aggregation.ts'

/** Number of events, as int64. Counts events, not values: what is added does not matter. */
export const count: Aggregation<unknown, bigint> = {
  empty: () => 0n,
  add: (acc) => acc + 1n,
  merge: (older, newer) => older + newer,
  finish: (acc) => acc,
}
