/** A map that remembers what it was: entries by write number, so that a replica can lag and a failover can lose a tail. */
interface Version<V> {
  readonly at: number
  /** Null: not there. */
  readonly value: V | null
}

export class VersionedMap<V> {
  readonly #entries = new Map<string, Version<V>[]>()

  set(key: string, value: V | null, at: number): void {
    const versions = this.#entries.get(key)
    const version = { at, value }
    if (versions === undefined) this.#entries.set(key, [version])
    else if (versions.at(-1)?.at === at) versions[versions.length - 1] = version
    else versions.push(version)
  }

  /** As it was after write `at`. */
  get(key: string, at: number): V | null {
    const versions = this.#entries.get(key)
    if (versions === undefined) return null
    for (let index = versions.length - 1; index >= 0; index--) {
      const version = versions[index] as Version<V>
      if (version.at <= at) return version.value
    }
    return null
  }

  *entries(at: number): Generator<readonly [string, V]> {
    for (const key of this.#entries.keys()) {
      const value = this.get(key, at)
      if (value !== null) yield [key, value]
    }
  }

  /** As if the writes behind `at` had never been. */
  truncate(at: number): void {
    for (const [key, versions] of this.#entries) {
      while (versions.length > 0 && (versions.at(-1) as Version<V>).at > at) versions.pop()
      if (versions.length === 0) this.#entries.delete(key)
    }
  }

  /** Write `at` removes everything. */
  clear(at: number): void {
    for (const [key] of [...this.entries(at)]) this.set(key, null, at)
  }
}
