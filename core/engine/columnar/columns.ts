import type { Column } from '../../event/types.ts'
import type { Interner } from '../interner.ts'
import type { ViewPlan } from '../plan.ts'

/** One input of a view by event. Strings are codes of one table; a float is never -0; at a null stands anything. */
export type InputColumn =
  | Exclude<Column, { readonly type: 'string' }>
  | (Extract<Column, { readonly type: 'string' }> & { readonly table: Interner })

/** Events in total order: what is read of them, column by column. */
export interface EventColumns {
  readonly times: Float64Array
  readonly knowns: Float64Array
  /** Until when each counts: +Infinity stands, else the knownAt that ended it; null: all stand. */
  readonly untils: Float64Array | null
  readonly inputs: readonly InputColumn[]
}

/**
 * The history of one view in columns, to be read only: the events of an entity lie side by side, in total order.
 *
 *     starts   | 0 | e1 | e2 | …          entity i has places [starts[i], starts[i + 1])
 *     times    | entity 0 … | entity 1 … | …
 *     knowns, untils, inputs: likewise
 */
export interface ViewColumns extends EventColumns {
  readonly plan: ViewPlan
  readonly starts: Int32Array
}

/** Places [from, to) of a history: views, nothing is copied. */
export function eventsOf(columns: EventColumns, from: number, to: number): EventColumns {
  return {
    times: columns.times.subarray(from, to),
    knowns: columns.knowns.subarray(from, to),
    untils: columns.untils?.subarray(from, to) ?? null,
    inputs: columns.inputs.map(
      (column) =>
        ({
          ...column,
          values: column.values.subarray(from, to),
          nulls: column.nulls?.subarray(from, to) ?? null,
        }) as InputColumn,
    ),
  }
}

/** Whether an event counts as of K (core/asof): known by K, and not ended by K. */
export function isVisible({ knowns, untils }: EventColumns, place: number, knownAsOfMs: number): boolean {
  if ((knowns[place] as number) > knownAsOfMs) return false
  if (untils === null) return true
  const untilMs = untils[place] as number
  return untilMs > knownAsOfMs || untilMs === Number.POSITIVE_INFINITY
}

/**
 * The first of `length` ascending values that is at least `bound`, or with `beyond` above it. Looks near `hint` first: the
 * next question is mostly about a moment a little later.
 */
export function firstFrom(values: Float64Array, length: number, bound: number, hint: number, beyond: boolean): number {
  let low = 0
  let high = length
  let at = Math.min(hint, length)
  if (at > 0 && isBefore(values[at - 1] as number, bound, beyond)) {
    low = at
    for (let step = 1; at < length && isBefore(values[at] as number, bound, beyond); step *= 2) {
      low = at + 1
      at += step
    }
    high = Math.min(at, length)
  } else if (at > 0) high = at - 1
  while (low < high) {
    const middle = (low + high) >>> 1
    if (isBefore(values[middle] as number, bound, beyond)) low = middle + 1
    else high = middle
  }
  return low
}

const isBefore = (value: number, bound: number, beyond: boolean): boolean => (beyond ? value <= bound : value < bound)
