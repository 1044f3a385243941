import { rmSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { EmbeddedClickHouse } from '../../../connectors/chdb/index.ts'

export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

/** Answers whether `done` came true in time. */
export async function eventually(done: () => boolean, timeoutMs = 5_000): Promise<boolean> {
  for (let waitedMs = 0; waitedMs < timeoutMs; waitedMs += 10) {
    if (done()) return true
    await sleep(10)
  }
  return done()
}

/** Closes, sees to it that the child is gone, and removes its folder. */
export async function discardEmbedded(embedded: EmbeddedClickHouse, folder: string): Promise<void> {
  const { pid } = embedded
  await embedded.close()
  if (!(await eventually(() => !isRunning(pid)))) process.kill(pid, 'SIGKILL')
  rmSync(folder, { recursive: true, force: true })
}
