import type { Scalar } from '../event/types.ts'

/** The value left its type: status OVERFLOW, never a wrap. */
export const overflow = Symbol('overflow')
/** What an aggregation makes of the events of a window; null when nothing remains. */
export type Finished = Scalar | readonly Exclude<Scalar, null>[] | typeof overflow

/**
 * The algebra of an aggregation: this states what it means and runs in the naive twin; the columnar kernels of
 * core/engine are tested equal to it.
 *
 * Laws: merge is associative; empty() is its identity; add(acc, v) equals merge(acc, add(empty(), v)). Events are added
 * in total order and merged older before newer. Nulls never reach `add`: aggregations skip them. Accumulators are plain
 * data; whoever passes one to `add` or `merge` gives it up, so it may be changed in place.
 */
export interface Aggregation<In, Acc> {
  empty(): Acc
  add(acc: Acc, value: In): Acc
  merge(older: Acc, newer: Acc): Acc
  finish(acc: Acc): Finished
}
