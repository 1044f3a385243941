/**
 * When the records of a partition became known, from the times that they bear: the plain meaning, which readers are tested
 * against (schemas/known-at.ts does it batch by batch).
 *
 *     borne        10   12   11   95   13      maxKnownAtJump 50
 *     known at     10   12   12   ✗12  13
 *
 * The running maximum, so that "known by K" is a prefix of the partition. A record that lies more than `maxJumpMs` beyond
 * the maximum of those before it is refused (✗) and does not move it; it stands where the maximum is. The first record of a
 * partition has nothing to jump from.
 */
export interface KnownAt {
  readonly knownAtMs: number
  readonly isRefused: boolean
}

/** One per record, in offset order. `maxJumpMs`: Infinity without a bound. */
export function knownAtsOf(borneMs: readonly number[], maxJumpMs: number): KnownAt[] {
  let newestMs: number | null = null
  return borneMs.map((timeMs) => {
    const isRefused = newestMs !== null && jumps(timeMs, newestMs, maxJumpMs)
    if (!isRefused) newestMs = newestMs === null ? timeMs : Math.max(newestMs, timeMs)
    return { knownAtMs: newestMs as number, isRefused }
  })
}

/** Whether a record jumps, `newestMs` being the maximum of those before it: -Infinity where there are none. */
export const jumps = (timeMs: number, newestMs: number, maxJumpMs: number): boolean =>
  timeMs - newestMs > maxJumpMs && newestMs !== Number.NEGATIVE_INFINITY
