import type { Aggregation } from './aggregation.ts'

type Value = number | bigint
const isNaNValue = (value: Value): boolean => typeof value === 'number' && Number.isNaN(value)

const extreme = (better: (a: Value, b: Value) => boolean): Aggregation<Value, Value | null> => ({
  empty: () => null,
  // NaN is no extreme: it is skipped where a field allows it.
  add: (acc, value) => (isNaNValue(value) || (acc !== null && !better(value, acc)) ? acc : value),
  merge: (older, newer) => (newer === null || (older !== null && !better(newer, older)) ? older : newer),
  finish: (acc) => acc,
})

export const min = extreme((a, b) => a < b)
export const max = extreme((a, b) => a > b)
