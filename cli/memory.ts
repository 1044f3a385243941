import { readFileSync } from 'node:fs'

/**
 * Peak resident bytes of a process, 0 where the system does not tell. Linux only: the peak that getrusage gives a child
 * begins at the size of its parent.
 */
export function peakOf(pid: number | undefined): number {
  if (pid === undefined) return 0
  try {
    return Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024
  } catch {
    return 0
  }
}
