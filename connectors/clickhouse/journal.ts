/**
 * Inserts that were begun and not acknowledged: at most one per stream and partition, each a small file. Written whole
 * before the insert is sent (a rename: seen whole or not at all after kill -9), removed when it was acknowledged. No
 * fsync: a power loss that takes the file back also takes back the log's or the table's newest writes, and a table is
 * derived from the log.
 */
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { FeatureStoreError } from '../../core/errors.ts'
import type { PendingInsert } from '../../core/ports/offline-store.ts'

interface Entry extends PendingInsert {
  readonly logId: string
}

const suffix = '.insert.json'

export class InsertJournal {
  readonly #folder: string | null
  readonly #logId: string
  readonly #pending = new Map<string, PendingInsert>()

  /** Entries of another log are dropped: tables made from it are dropped too. Folder null: a reader, which has none. */
  constructor(folder: string | null, logId: string) {
    this.#folder = folder
    this.#logId = logId
    if (folder === null) return
    mkdirSync(folder, { recursive: true })
    for (const name of readdirSync(folder)) {
      if (!name.endsWith(suffix)) continue
      const { logId: of, ...entry } = JSON.parse(readFileSync(join(folder, name), 'utf8')) as Entry
      if (of === logId) this.#pending.set(slot(entry.stream, entry.partition), entry)
      else rmSync(join(folder, name), { force: true })
    }
  }

  pending(stream: string): readonly PendingInsert[] {
    return [...this.#pending.values()]
      .filter((entry) => entry.stream === stream)
      .sort((a, b) => a.partition - b.partition)
  }

  of(stream: string, partition: number): PendingInsert | null {
    return this.#pending.get(slot(stream, partition)) ?? null
  }

  begin(entry: PendingInsert): void {
    const key = slot(entry.stream, entry.partition)
    const path = this.#path(key)
    writeFileSync(`${path}.new`, JSON.stringify({ ...entry, logId: this.#logId } satisfies Entry))
    renameSync(`${path}.new`, path)
    this.#pending.set(key, entry)
  }

  done(stream: string, partition: number): void {
    const key = slot(stream, partition)
    rmSync(this.#path(key), { force: true })
    this.#pending.delete(key)
  }

  /** For a table that is made anew. */
  forget(stream: string): void {
    for (const { partition } of this.pending(stream)) this.done(stream, partition)
  }

  #path(key: string): string {
    if (this.#folder === null) throw new FeatureStoreError('FS_CLOSED', 'this offline store was opened to read')
    return join(this.#folder, `${key}${suffix}`)
  }
}

const slot = (stream: string, partition: number): string => `${encodeURIComponent(stream)}.${partition}`
