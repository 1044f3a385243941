import { FeatureStoreError } from '../../errors.ts'
import { scalarAt } from '../../event/column.ts'
import { encodeKey, keyBytesMax } from '../../event/key.ts'
import { tableSize, type Column, type Scalar, type ScalarType, type StringTable } from '../../event/types.ts'
import type { EntityTable } from './entity-table.ts'

/** Rows that are looked up together. */
const nearRows = 256

/** What a key is that no entity can have: null, or longer than 1,024 bytes. */
export const noEntity = -1

/**
 * Entities of the rows of a batch. Key bytes are made and hashed once for each distinct key of a string table: what is
 * looked up per event are codes and integers.
 *
 * A single string key has an array from code to entity. Other keys are tuples of 32-bit words (a string's code, an
 * integer, the halves of a wide one) in an index with open addressing. Both are caches of the entity table, begun anew
 * when a string column comes with another table of codes.
 */
export class KeyResolver {
  readonly #entities: EntityTable
  readonly #fields: readonly string[]
  readonly #types: readonly ScalarType[]
  readonly #width: number
  #tables: readonly (StringTable | null)[] = []
  /** The codes at hand are the first: a new one is a new key. */
  #oneTable = true
  /** Code -> entity + 2; 0: not asked yet; 1: no entity. */
  #byCode = new Int32Array(0)
  /** Tuple index: entry + 1; entries have their words in #tuples and their entity in #found. */
  #slots = new Int32Array(64)
  #tuples = new Int32Array(0)
  #found = new Int32Array(32)
  #entries = 0
  /** What was read to have it near; nobody asks for it, but the compiler does not know. */
  #touched = 0

  constructor(entities: EntityTable, fields: readonly string[], types: readonly ScalarType[]) {
    this.#entities = entities
    this.#fields = fields
    this.#types = types
    this.#width = types.reduce((words, type) => words + (type === 'int64' || type === 'timestamp' ? 2 : 1), 0)
  }

  get bytes(): number {
    return this.#byCode.length * 4 + this.#slots.length * 4 + this.#tuples.length * 4 + this.#found.length * 4
  }

  /** One entity a row, `noEntity` where its key can be none's. Unknown keys become new entities. */
  resolve(columns: Readonly<Record<string, Column>>, rows: number): Int32Array {
    const parts = this.#fields.map((field) => columns[field] as Column)
    const tables = parts.map((column) => (column.type === 'string' ? column.table : null))
    if (tables.some((table, part) => table !== this.#tables[part])) this.#forget(tables)
    const out = new Int32Array(rows)
    const only = parts.length === 1 ? parts[0] : undefined
    if (only?.type === 'string') this.#resolveCodes(only.values, only.table, only.nulls, columns, rows, out)
    else this.#resolveTuples(parts, columns, rows, out)
    return out
  }

  #forget(tables: readonly (StringTable | null)[]): void {
    this.#oneTable = this.#tables.length === 0
    this.#tables = tables
    this.#byCode = new Int32Array(0)
    this.#slots = new Int32Array(64)
    this.#entries = 0
  }

  #resolveCodes(
    codes: Int32Array,
    table: StringTable,
    nulls: Uint8Array | null,
    columns: Readonly<Record<string, Column>>,
    rows: number,
    out: Int32Array,
  ): void {
    const size = tableSize(table)
    if (size > this.#byCode.length) {
      const larger = new Int32Array(Math.ceil(size * 1.5))
      larger.set(this.#byCode)
      this.#byCode = larger
    }
    const known = this.#byCode
    for (let row = 0; row < rows; row++) {
      if (row % nearRows === 0) this.#bringNear(codes, row, Math.min(rows, row + nearRows))
      if (nulls !== null && nulls[row] === 1) {
        out[row] = noEntity
        continue
      }
      const code = codes[row] as number
      let entity = (known[code] as number) - 2
      if (entity === -2) {
        entity = table.bytes === undefined ? this.#entityOf(columns, row) : this.#entityOfBytes(table.bytes(code))
        known[code] = entity + 2
      }
      out[row] = entity
    }
  }

  /** Asks of memory what rows [from, to) will be looked up in, all together: whether one is new is a guess that waits for it. */
  #bringNear(codes: Int32Array, from: number, to: number): void {
    const known = this.#byCode
    let touched = 0
    for (let row = from; row < to; row++) touched ^= known[codes[row] as number] as number
    this.#touched = touched
  }

  /** A string alone is a key as it is. */
  #entityOfBytes(bytes: Uint8Array): number {
    if (bytes.length > keyBytesMax) return noEntity
    return this.#oneTable ? this.#entities.append(bytes) : this.#entities.add(bytes)
  }

  #resolveTuples(
    parts: readonly Column[],
    columns: Readonly<Record<string, Column>>,
    rows: number,
    out: Int32Array,
  ): void {
    const width = this.#width
    const tuple = new Int32Array(rows * width)
    let at = 0
    for (const column of parts) {
      fillWords(column, tuple, at, width, rows)
      at += column.type === 'int64' || column.type === 'timestamp' ? 2 : 1
    }
    for (let row = 0; row < rows; row++) out[row] = this.#entityOfTuple(tuple, row * width, columns, row)
    for (const { nulls } of parts)
      if (nulls !== null) for (let row = 0; row < rows; row++) if (nulls[row] === 1) out[row] = noEntity
  }

  #entityOfTuple(tuple: Int32Array, at: number, columns: Readonly<Record<string, Column>>, row: number): number {
    const width = this.#width
    let hash = 0x9747b28c | 0
    for (let word = 0; word < width; word++) {
      hash = Math.imul(hash ^ (tuple[at + word] as number), 0x5bd1e995)
      hash ^= hash >>> 15
    }
    const mask = this.#slots.length - 1
    let slot = hash & mask
    for (; ; slot = (slot + 1) & mask) {
      const entry = (this.#slots[slot] as number) - 1
      if (entry < 0) break
      let same = true
      for (let word = 0; same && word < width; word++) same = this.#tuples[entry * width + word] === tuple[at + word]
      if (same) return this.#found[entry] as number
    }
    // A null has any word: it is not remembered.
    if (this.#fields.some((field) => columns[field]?.nulls?.[row] === 1)) return noEntity
    const entity = this.#entityOf(columns, row)
    this.#remember(tuple, at, entity, slot)
    return entity
  }

  #remember(tuple: Int32Array, at: number, entity: number, slot: number): void {
    const width = this.#width
    const entry = this.#entries++
    if (this.#entries * width > this.#tuples.length) {
      const larger = new Int32Array(Math.max(64, this.#tuples.length * 2, this.#entries * width))
      larger.set(this.#tuples)
      this.#tuples = larger
    }
    if (this.#entries > this.#found.length) {
      const larger = new Int32Array(this.#found.length * 2)
      larger.set(this.#found)
      this.#found = larger
    }
    for (let word = 0; word < width; word++) this.#tuples[entry * width + word] = tuple[at + word] as number
    this.#found[entry] = entity
    this.#slots[slot] = entry + 1
    if (this.#entries * 2 > this.#slots.length) this.#rehash()
  }

  #rehash(): void {
    const width = this.#width
    this.#slots = new Int32Array(this.#slots.length * 2)
    const mask = this.#slots.length - 1
    for (let entry = 0; entry < this.#entries; entry++) {
      let hash = 0x9747b28c | 0
      for (let word = 0; word < width; word++) {
        hash = Math.imul(hash ^ (this.#tuples[entry * width + word] as number), 0x5bd1e995)
        hash ^= hash >>> 15
      }
      let slot = hash & mask
      while (this.#slots[slot] !== 0) slot = (slot + 1) & mask
      this.#slots[slot] = entry + 1
    }
  }

  #entityOf(columns: Readonly<Record<string, Column>>, row: number): number {
    const key = this.#fields.map((field): Scalar => scalarAt(columns[field] as Column, row))
    try {
      return this.#entities.add(encodeKey(key, this.#types))
    } catch (error) {
      if (error instanceof FeatureStoreError && error.code === 'FS_ENTITY_INVALID') return noEntity
      throw error
    }
  }
}

/** The words of one key part for every row; of wide types the two halves. */
function fillWords(column: Column, tuple: Int32Array, at: number, width: number, rows: number): void {
  switch (column.type) {
    case 'int64':
    case 'timestamp':
    case 'float64': {
      const { values } = column
      const halves = new Int32Array(values.buffer, values.byteOffset, rows * 2)
      for (let row = 0; row < rows; row++) {
        tuple[row * width + at] = halves[row * 2] as number
        tuple[row * width + at + 1] = halves[row * 2 + 1] as number
      }
      return
    }
    case 'bool':
      for (let row = 0; row < rows; row++) tuple[row * width + at] = column.values[row] as number
      return
    default:
      for (let row = 0; row < rows; row++) tuple[row * width + at] = column.values[row] as number
  }
}
