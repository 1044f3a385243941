import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { FeatureStoreError } from '../../core/errors.ts'

/** Who holds a lock, for the message that others get. */
export interface LockHolder {
  readonly pid: number
  /** What the holder is, as a person would say it: `tidemark worker`. */
  readonly what: string
}

const sqliteBusy = 5

/**
 * A lock between processes that the kernel releases when its holder dies, kill -9 included: an exclusive transaction on
 * an empty SQLite database, which is an fcntl lock on POSIX and LockFileEx on Windows. It also keeps out a second holder
 * in the same process.
 *
 *     <path>        the database: always empty. Nothing else may open it: on POSIX closing any descriptor of a file
 *                   drops all locks that the process has on it
 *     <path>.json   who holds it; only for messages, and stale after a kill
 */
export class FileLock implements AsyncDisposable {
  readonly path: string
  private database: DatabaseSync | null

  private constructor(path: string, database: DatabaseSync) {
    this.path = path
    this.database = database
  }

  /**
   * Takes the lock or fails at once. The folder of `path` must be there.
   *
   * Errors: FS_LOCKED (conflict), naming the holder.
   */
  static acquire(path: string, what: string): FileLock {
    const database = new DatabaseSync(path, { timeout: 0 })
    try {
      database.exec('PRAGMA journal_mode = MEMORY; PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE')
    } catch (cause) {
      database.close()
      if ((cause as { readonly errcode?: unknown }).errcode !== sqliteBusy) throw cause
      throw new FeatureStoreError('FS_LOCKED', `${path} is held by ${describeHolder(lockHolder(path))}`, { cause })
    }
    const holder: LockHolder = { pid: process.pid, what }
    const draft = `${holderPath(path)}.${process.pid}`
    writeFileSync(draft, JSON.stringify(holder))
    renameSync(draft, holderPath(path))
    return new FileLock(path, database)
  }

  /** Lets go; twice is safe. */
  release(): void {
    if (this.database === null) return
    rmSync(holderPath(this.path), { force: true })
    this.database.close()
    this.database = null
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.release()
    return Promise.resolve()
  }
}

/** Who said to hold the lock at `path`; null when nobody did. After a kill it names the dead. */
export function lockHolder(path: string): LockHolder | null {
  try {
    const holder = JSON.parse(readFileSync(holderPath(path), 'utf8')) as LockHolder
    return typeof holder.pid === 'number' && typeof holder.what === 'string' ? holder : null
  } catch {
    return null
  }
}

const holderPath = (path: string): string => `${path}.json`

const describeHolder = (holder: LockHolder | null): string =>
  holder === null ? 'another process' : `process ${holder.pid} (${holder.what})`
