/** Waiting for what another process does, always with a deadline. */
import { setTimeout as sleep } from 'node:timers/promises'

export interface WaitOptions {
  readonly deadlineMs: number
  readonly everyMs?: number
  /** Throws when there is nothing left to wait for. */
  readonly stillWorth?: () => void
}

/** Calls `probe` until it no longer throws; past the deadline it throws with the last reason. */
export async function until<T>(what: string, probe: () => Promise<T>, options: WaitOptions): Promise<T> {
  const { deadlineMs, everyMs = 50, stillWorth } = options
  const end = performance.now() + deadlineMs
  for (;;) {
    stillWorth?.()
    try {
      return await probe()
    } catch (cause) {
      if (performance.now() >= end) {
        const reason = cause instanceof Error ? cause.message : String(cause)
        throw new Error(`${what}: not within ${deadlineMs / 1000} s; last: ${reason}`, { cause })
      }
    }
    await sleep(everyMs)
  }
}
