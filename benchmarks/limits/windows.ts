/**
 * Limit of main/dataset-finish: counts and means over windows for label rows that are as of (T, K = T), from columns
 * that are sorted already. Prefix sums and moving pointers; nothing but int32 values, no other aggregation, no ttl.
 */

/** The events of one view, those of an entity side by side in order of time. */
export interface SortedEvents {
  /** First slot of each entity, and the number of slots last. */
  readonly starts: Int32Array
  readonly times: Float64Array
  readonly knowns: Float64Array
  readonly values: Int32Array
}

/** Label rows in order of (entity, asOfMs). */
export interface SortedLabels {
  readonly rows: Int32Array
  readonly entities: Int32Array
  readonly asOfMs: Float64Array
}

/** By label row, one pair of columns a window. A mean of no events is NaN. */
export interface WindowColumns {
  readonly counts: readonly Float64Array[]
  readonly means: readonly Float64Array[]
}

/**
 * Exact for integers: sums stay below 2^53.
 *
 *     time      lo …………………………… hi        events in [T - window, T): prefix[hi] - prefix[lo]
 *                      x     x x          less those not known by T, near the end: the walk goes back from hi while
 *                                         the newest knownAt so far is beyond T
 */
export function countsAndMeans(
  events: SortedEvents,
  labels: SortedLabels,
  windowsMs: readonly number[],
  rows: number,
): WindowColumns {
  const { starts, times, knowns, values } = events
  const slots = times.length
  const prefix = new Float64Array(slots + 1)
  const newest = new Float64Array(slots)
  for (let entity = 0; entity + 1 < starts.length; entity++) {
    let known = Number.NEGATIVE_INFINITY
    for (let slot = starts[entity] as number; slot < (starts[entity + 1] as number); slot++) {
      prefix[slot + 1] = (prefix[slot] as number) + (values[slot] as number)
      if ((knowns[slot] as number) > known) known = knowns[slot] as number
      newest[slot] = known
    }
  }
  const widths = windowsMs.length
  const counts = windowsMs.map(() => new Float64Array(rows))
  const means = windowsMs.map(() => new Float64Array(rows))
  const lows = new Int32Array(widths)
  let entity = -1
  let high = 0
  let end = 0
  for (let index = 0; index < labels.rows.length; index++) {
    const time = labels.asOfMs[index] as number
    const row = labels.rows[index] as number
    if (labels.entities[index] !== entity) {
      entity = labels.entities[index] as number
      high = starts[entity] as number
      end = starts[entity + 1] as number
      lows.fill(high)
    }
    while (high < end && (times[high] as number) < time) high++
    for (let window = 0; window < widths; window++) {
      const from = time - (windowsMs[window] as number)
      let low = lows[window] as number
      while (low < high && (times[low] as number) < from) low++
      lows[window] = low
      let count = high - low
      let sum = (prefix[high] as number) - (prefix[low] as number)
      for (let slot = high - 1; slot >= low && (newest[slot] as number) > time; slot--) {
        if ((knowns[slot] as number) <= time) continue
        count--
        sum -= values[slot] as number
      }
      ;(counts[window] as Float64Array)[row] = count
      ;(means[window] as Float64Array)[row] = sum / count + 0
    }
  }
  return { counts, means }
}
