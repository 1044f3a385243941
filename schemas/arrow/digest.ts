import { createHash, type Hash } from 'node:crypto'
import { formatValueType } from '../../core/engine/feature-column.ts'
import type { ScalarValues } from '../../core/engine/feature-column.ts'
import type { Column } from '../../core/event/types.ts'
import { fileColumn, listStart, rowCountOf, valueTypeOf, type ListColumn, type NamedColumn } from './columns.ts'

/*
 * The content digest of a data set: SHA-256 over names, types, values and nulls, columns in the order given. It does not
 * depend on record batches, string codes, metadata or what stands in null slots.
 *
 *     header   JSON ["tidemark-content-1", rows, [[name, type] ...]], 00
 *     column   for each block of 65,536 rows: a byte a row (1: null), then the values that are not null
 *
 *     float64 8 bytes (one NaN, one zero) | timestamp, int64, decimal (unscaled) 8 bytes | int32 4 bytes | bool 1 byte
 *     string  length:u32, UTF-8           | list  length:u32, items                  all little-endian
 *
 *     a list with null items:  ~length:i32, a byte an item (1: null), then the items that are not null
 */
const blockRows = 65_536

/** Hex SHA-256 of the content of columns. */
export function contentDigest(columns: readonly NamedColumn[]): string {
  const plain = columns.map(({ column }) => fileColumn(column))
  const rows = plain[0] === undefined ? 0 : rowCountOf(plain[0])
  const fields = plain.map((column, index) => [columns[index]?.name, formatValueType(valueTypeOf(column))])
  const sink = new ByteSink(createHash('sha256'))
  sink.bytes(Buffer.from(`${JSON.stringify(['tidemark-content-1', rows, fields])}\0`))
  for (const column of plain) {
    const put = column.type === 'list' ? listWriter(column, sink) : columnWriter(column, sink)
    for (let from = 0; from < rows; from += blockRows) {
      const to = Math.min(from + blockRows, rows)
      const { nulls } = column
      sink.bytes(nulls === null ? new Uint8Array(to - from) : nulls.subarray(from, to))
      for (let row = from; row < to; row++) if (nulls?.[row] !== 1) put(row)
    }
  }
  return sink.digest()
}

/** Gathers bytes before they are hashed. */
class ByteSink {
  readonly #hash: Hash
  readonly #buffer = Buffer.allocUnsafeSlow(256 * 1024)
  #at = 0

  constructor(hash: Hash) {
    this.#hash = hash
  }

  byte(value: number): void {
    this.#at = this.#buffer.writeUInt8(value, this.#room(1))
  }

  int32(value: number): void {
    this.#at = this.#buffer.writeInt32LE(value, this.#room(4))
  }

  int64(value: bigint): void {
    this.#at = this.#buffer.writeBigInt64LE(value, this.#room(8))
  }

  /** An integer in a double, as 64 bits. */
  integer(value: number): void {
    const high = Math.floor(value / 2 ** 32)
    const at = this.#buffer.writeUInt32LE(value - high * 2 ** 32, this.#room(8))
    this.#at = this.#buffer.writeInt32LE(high, at)
  }

  float64(value: number): void {
    // Adding 0 makes -0 into 0; the constant is one NaN of the many.
    this.#at = this.#buffer.writeDoubleLE(Number.isNaN(value) ? Number.NaN : value + 0, this.#room(8))
  }

  string(bytes: Buffer): void {
    this.int32(bytes.length)
    this.bytes(bytes)
  }

  bytes(bytes: Uint8Array): void {
    if (bytes.length > 4096) {
      this.#flush()
      this.#hash.update(bytes)
    } else {
      const at = this.#room(bytes.length)
      this.#buffer.set(bytes, at)
      this.#at = at + bytes.length
    }
  }

  digest(): string {
    this.#flush()
    return this.#hash.digest('hex')
  }

  #room(size: number): number {
    if (this.#at + size > this.#buffer.length) this.#flush()
    return this.#at
  }

  #flush(): void {
    this.#hash.update(this.#buffer.subarray(0, this.#at))
    this.#at = 0
  }
}

type Put = (row: number) => void

function columnWriter(column: Column, sink: ByteSink): Put {
  if (column.type !== 'string') return scalarWriter(column, sink)
  const encoded = column.table.strings.map((text) => Buffer.from(text))
  return (row) => sink.string(encoded[column.values[row] as number] as Buffer)
}

function scalarWriter(column: ScalarValues | Exclude<Column, { type: 'string' }>, sink: ByteSink): Put {
  switch (column.type) {
    case 'float64':
      return (row) => sink.float64(column.values[row] as number)
    case 'timestamp':
      return (row) => sink.integer(column.values[row] as number)
    case 'int32':
      return (row) => sink.int32(column.values[row] as number)
    case 'int64':
    case 'decimal':
      return (row) => sink.int64(column.values[row] as bigint)
    case 'bool':
      return (row) => sink.byte(column.values[row] as number)
    case 'string':
      return (row) => sink.string(Buffer.from(column.values[row] ?? ''))
  }
}

function listWriter(list: ListColumn, sink: ByteSink): Put {
  const put = scalarWriter(list.items, sink)
  return (row) => {
    const start = listStart(list, row)
    const end = list.ends[row] as number
    const nulls = list.itemNulls?.subarray(start, end)
    if (nulls?.includes(1) !== true) {
      sink.int32(end - start)
      for (let item = start; item < end; item++) put(item)
      return
    }
    sink.int32(~(end - start))
    sink.bytes(nulls)
    for (let item = start; item < end; item++) if (nulls[item - start] !== 1) put(item)
  }
}
