/**
 * One starter at a time, over processes: an exclusive SQLite transaction, which the kernel ends with its process
 * however that ends. The file holds nothing.
 */
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import { FeatureStoreError } from '../../core/errors.ts'

const pollMs = 20

/**
 * Waits until nobody else holds the lock; the answer gives it back.
 *
 * Errors: FS_LOCKED (conflict) after `timeoutMs`.
 */
export async function acquireStartLock(path: string, timeoutMs: number): Promise<() => void> {
  const database = new DatabaseSync(path)
  try {
    for (let waitedMs = 0; ; waitedMs += pollMs) {
      if (tryExclusive(database)) return () => database.close()
      if (waitedMs >= timeoutMs) throw new FeatureStoreError('FS_LOCKED', `${path} is held by another process`)
      await sleep(pollMs)
    }
  } catch (error) {
    database.close()
    throw error
  }
}

function tryExclusive(database: DatabaseSync): boolean {
  try {
    database.exec('PRAGMA busy_timeout = 0; BEGIN EXCLUSIVE')
    return true
  } catch (error) {
    if (error instanceof Error && /locked|busy/i.test(error.message)) return false
    throw error
  }
}
