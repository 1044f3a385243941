import { FeatureStoreError } from '../../errors.ts'
import { encodeRowKey, shardOf } from '../../event/key.ts'
import { scalarAt } from '../../event/column.ts'
import type { Column, Scalar, ScalarType } from '../../event/types.ts'

/** One record of a changelog that a view takes: where the row stood from then on. */
export interface RowVersion {
  readonly knownMs: number
  /** `orderOf` its partition and offset. */
  readonly order: number
  readonly timeMs: number
  /** Key of its entity; null of a delete. */
  readonly entity: Uint8Array | null
}

/** A row of a changelog: its versions in order of (knownAt, partition, offset). */
export interface ChangelogRow {
  readonly key: Uint8Array
  readonly shard: number
  readonly versions: RowVersion[]
  loaded: boolean
  dirty: boolean
  /** The entities of its versions are in memory, or asked for. */
  held: boolean
}

const format = 1
const headerBytes = 8

/**
 * What each primary key of a changelog went through, for one view: a new version takes the one before it back, wherever
 * that lies, and one that comes late is taken back by the one behind it. Kept in the online store beside the view's rows,
 * by the shard of its entity where the primary key names it, else by the shard of the primary key.
 *
 * All versions are kept: a partition may lag behind another by any time, and what it brings belongs in between. So a row
 * grows by some 40 bytes with each change of it; a changelog has an object a version, other streams have none an event.
 */
export class RowVersions {
  readonly #fields: readonly string[]
  readonly #types: readonly ScalarType[]
  readonly #shards: number
  readonly #rows = new Map<string, ChangelogRow>()
  readonly #changed = new Set<ChangelogRow>()
  #versions = 0

  constructor(fields: readonly string[], types: readonly ScalarType[], shards: number) {
    this.#fields = fields
    this.#types = types
    this.#shards = shards
  }

  get bytes(): number {
    return this.#rows.size * 200 + this.#versions * 120
  }

  /**
   * The changelog row of each record of a batch; null for a primary key that cannot be encoded. `shardOfRow`: where a new
   * one lies, by the index of its record; null: by its primary key.
   */
  resolve(
    columns: Readonly<Record<string, Column>>,
    rows: number,
    shardOfRow: (row: number) => number | null = () => null,
  ): (ChangelogRow | null)[] {
    const parts = this.#fields.map((field) => columns[field] as Column)
    return Array.from({ length: rows }, (_, row) => {
      try {
        return this.#named(
          encodeRowKey(
            parts.map((column): Scalar => scalarAt(column, row)),
            this.#types,
          ),
          shardOfRow(row),
        )
      } catch (error) {
        if (error instanceof FeatureStoreError && error.code === 'FS_ENTITY_INVALID') return null
        throw error
      }
    })
  }

  #named(key: Uint8Array, ofEntity: number | null): ChangelogRow {
    const name = Buffer.from(key).toString('latin1')
    let row = this.#rows.get(name)
    if (row === undefined) {
      const shard = ofEntity ?? shardOf(key, this.#shards)
      row = { key, shard, versions: [], loaded: false, dirty: false, held: false }
      this.#rows.set(name, row)
    }
    return row
  }

  /** Gives a row the versions that the store has of it. Errors: FS_STATE_FORMAT, FS_ROW_CORRUPT. */
  load(row: ChangelogRow, bytes: Uint8Array | null): void {
    if (bytes !== null) row.versions.push(...decodeVersions(bytes))
    this.#versions += row.versions.length
    row.loaded = true
  }

  /** Puts a version in its place, unless it is there already; its index. */
  add(row: ChangelogRow, version: RowVersion): number {
    const { versions } = row
    let at = versions.length
    while (at > 0 && precedes(version, versions[at - 1] as RowVersion)) at--
    if (at > 0 && !precedes(versions[at - 1] as RowVersion, version)) return at - 1
    versions.splice(at, 0, version)
    this.#versions++
    row.dirty = true
    this.#changed.add(row)
    return at
  }

  get changed(): boolean {
    return this.#changed.size > 0
  }

  /** `only`: those of these shards, the others stay changed. */
  *takeChanged(
    only?: ReadonlySet<number>,
  ): Generator<{ readonly shard: number; readonly key: Uint8Array; readonly row: Uint8Array }> {
    const changed = [...this.#changed].filter(({ shard }) => only === undefined || only.has(shard))
    for (const row of changed) {
      this.#changed.delete(row)
      row.dirty = false
      yield { shard: row.shard, key: row.key, row: encodeVersions(row.versions) }
    }
  }

  /** Forgets the rows of these shards, changed or not. */
  drop(shards: ReadonlySet<number>): void {
    for (const [name, row] of this.#rows) {
      if (!shards.has(row.shard)) continue
      if (row.loaded) this.#versions -= row.versions.length
      this.#changed.delete(row)
      this.#rows.delete(name)
    }
  }

  /** Forgets what the store has as well. What stays may lose its entities. */
  evictClean(): void {
    for (const [name, row] of this.#rows) {
      row.held = false
      if (row.dirty) continue
      this.#versions -= row.versions.length
      this.#rows.delete(name)
    }
  }
}

const precedes = (a: RowVersion, b: RowVersion): boolean =>
  a.knownMs !== b.knownMs ? a.knownMs < b.knownMs : a.order < b.order

/**
 * Little-endian: | format u8 | - | versions u32 |, then of each: knownAt f64, order f64, event time f64, key length u16
 * (0xffff of a delete), key.
 */
function encodeVersions(versions: readonly RowVersion[]): Uint8Array {
  const bytes = versions.reduce((sum, { entity }) => sum + 26 + (entity?.length ?? 0), headerBytes)
  const row = new Uint8Array(bytes)
  const view = new DataView(row.buffer)
  row[0] = format
  view.setUint32(4, versions.length, true)
  let at = headerBytes
  for (const { knownMs, order, timeMs, entity } of versions) {
    view.setFloat64(at, knownMs, true)
    view.setFloat64(at + 8, order, true)
    view.setFloat64(at + 16, timeMs, true)
    view.setUint16(at + 24, entity?.length ?? 0xffff, true)
    row.set(entity ?? [], at + 26)
    at += 26 + (entity?.length ?? 0)
  }
  return row
}

function decodeVersions(row: Uint8Array): RowVersion[] {
  if (row[0] !== format)
    throw new FeatureStoreError('FS_STATE_FORMAT', `versions of a changelog row have format ${row[0]}, not ${format}`)
  const view = new DataView(row.buffer, row.byteOffset, row.byteLength)
  try {
    let at = headerBytes
    const versions: RowVersion[] = []
    for (let left = view.getUint32(4, true); left > 0; left--) {
      const length = view.getUint16(at + 24, true)
      const end = at + 26 + (length === 0xffff ? 0 : length)
      versions.push({
        knownMs: view.getFloat64(at, true),
        order: view.getFloat64(at + 8, true),
        timeMs: view.getFloat64(at + 16, true),
        entity: length === 0xffff ? null : row.slice(at + 26, end),
      })
      at = end
    }
    if (at !== row.length) throw new RangeError(`${row.length - at} bytes too many`)
    return versions
  } catch (cause) {
    throw new FeatureStoreError('FS_ROW_CORRUPT', 'versions of a changelog row do not decode', { cause })
  }
}
