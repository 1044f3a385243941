import type { Scalar } from '../event/types.ts'
import type { Aggregation } from './aggregation.ts'

type Present = Exclude<Scalar, null>

/** Value of the first event, in total order. */
export const first: Aggregation<Present, Present | null> = {
  empty: () => null,
  add: (acc, value) => acc ?? value,
  merge: (older, newer) => older ?? newer,
  finish: (acc) => acc,
}

/** Value of the last event, in total order. */
export const last: Aggregation<Present, Present | null> = {
  empty: () => null,
  add: (_acc, value) => value,
  merge: (older, newer) => newer ?? older,
  finish: (acc) => acc,
}

/** Values of the last n events, oldest first. */
export const lastN = (n: number): Aggregation<Present, readonly Present[]> => ({
  empty: () => [],
  add: (acc, value) => [...acc, value].slice(-n),
  merge: (older, newer) => [...older, ...newer].slice(-n),
  finish: (acc) => (acc.length === 0 ? null : acc),
})
