import type { ErrorCode } from '../errors.ts'
import { shapeOf, type Scalar } from '../event/types.ts'
import { unscaledOfCanonical } from '../number/decimal.ts'
import {
  itemTypeOf,
  Status,
  type FeatureColumn,
  type ItemType,
  type ScalarValues,
  type StatusCode,
  type ValueType,
} from './feature-column.ts'

type Item = Exclude<Scalar, null>

export function emptyValues(item: ItemType, rows: number): ScalarValues {
  const { type } = item
  switch (type) {
    case 'int32':
      return { type, values: new Int32Array(rows) }
    case 'int64':
      return { type, values: new BigInt64Array(rows) }
    case 'decimal':
      return { type, ...shapeOf(item), values: new BigInt64Array(rows) }
    case 'bool':
      return { type, values: new Uint8Array(rows) }
    case 'string':
      return { type, values: new Array<string>(rows).fill('') }
    case 'float64':
    case 'timestamp':
      return { type, values: new Float64Array(rows) }
  }
}

function put(values: ScalarValues, row: number, item: Item): void {
  switch (values.type) {
    case 'string':
      values.values[row] = item as string
      break
    case 'bool':
      values.values[row] = item === true || item === 1 ? 1 : 0
      break
    case 'int64':
      values.values[row] = typeof item === 'bigint' ? item : BigInt(item as number)
      break
    case 'decimal':
      values.values[row] = typeof item === 'bigint' ? item : unscaledOfCanonical(item as string)
      break
    default:
      values.values[row] = item as number
  }
}

function copyItem(into: ScalarValues, row: number, from: ScalarValues, fromRow: number): void {
  switch (into.type) {
    case 'string':
      into.values[row] = from.values[fromRow] as string
      break
    case 'int64':
    case 'decimal':
      into.values[row] = from.values[fromRow] as bigint
      break
    // Spelt out, so that each place sees arrays of one kind only.
    case 'int32':
      into.values[row] = (from.values as Int32Array)[fromRow] as number
      break
    case 'bool':
      into.values[row] = (from.values as Uint8Array)[fromRow] as number
      break
    case 'float64':
    case 'timestamp':
      into.values[row] = (from.values as Float64Array)[fromRow] as number
  }
}

/** Builds one feature's column; rows may be set in any order. A row that is not set is NOT_FOUND. */
export class ColumnBuilder {
  readonly #name: string
  readonly #type: ValueType
  readonly #fingerprint: string
  readonly #counts: boolean
  readonly #statuses: Uint8Array
  readonly #scalars: ScalarValues | null
  /** Where numbers are put as they are, and words of int64; null elsewhere. */
  readonly #floats: Float64Array | null
  readonly #words: Int32Array | null
  readonly #lists: (readonly Scalar[] | undefined)[]
  readonly #errors: { row: number; code: ErrorCode }[] = []

  constructor(
    rows: number,
    column: {
      readonly name: string
      readonly type: ValueType
      readonly fingerprint: string
      readonly counts?: boolean
    },
  ) {
    this.#name = column.name
    this.#type = column.type
    this.#fingerprint = column.fingerprint
    this.#counts = column.counts === true
    this.#statuses = new Uint8Array(rows).fill(Status.NOT_FOUND)
    this.#scalars = column.type.kind === 'scalar' ? emptyValues(itemTypeOf(column.type), rows) : null
    const { type, values } = this.#scalars ?? { type: 'list', values: null }
    this.#floats = values instanceof Float64Array ? values : null
    this.#words = type === 'int64' && values instanceof BigInt64Array ? new Int32Array(values.buffer) : null
    this.#lists = column.type.kind === 'list' ? new Array<readonly Scalar[] | undefined>(rows) : []
  }

  setStatus(row: number, status: StatusCode): void {
    this.#statuses[row] = status
    // A row that is set again must not keep what it said before.
    if (this.#scalars === null) this.#lists[row] = undefined
    else if (this.#counts && status === Status.NOT_FOUND) put(this.#scalars, row, 0)
  }

  setError(row: number, code: ErrorCode): void {
    this.#statuses[row] = Status.ERROR
    this.#errors.push({ row, code })
  }

  /** A decimal as its unscaled bigint, or as text. */
  setValue(row: number, value: Item): void {
    this.#statuses[row] = Status.PRESENT
    put(this.#scalars as ScalarValues, row, value)
  }

  /** As setValue, of a number: without a BigInt where the column holds int64. */
  setNumber(row: number, value: number): void {
    this.#statuses[row] = Status.PRESENT
    const words = this.#words
    if (this.#floats !== null) this.#floats[row] = value
    else if (words !== null) {
      const high = Math.floor(value / 2 ** 32)
      words[2 * row] = value - high * 2 ** 32
      words[2 * row + 1] = high
    } else put(this.#scalars as ScalarValues, row, value)
  }

  /** Items may be null. */
  setList(row: number, items: readonly Scalar[]): void {
    this.#statuses[row] = Status.PRESENT
    this.#lists[row] = items
  }

  statusAt(row: number): StatusCode {
    return this.#statuses[row] as StatusCode
  }

  /** Whether two rows that were set say the same, to the bit. */
  isSame(a: number, b: number): boolean {
    const status = this.#statuses[a]
    if (status !== this.#statuses[b]) return false
    if (status !== Status.PRESENT) return true
    if (this.#scalars !== null) return Object.is(this.#scalars.values[a], this.#scalars.values[b])
    const [left, right] = [this.#lists[a] as readonly Scalar[], this.#lists[b] as readonly Scalar[]]
    return left.length === right.length && left.every((item, index) => Object.is(item, right[index]))
  }

  /** Sets a row to what a row of another builder of the same feature is. */
  copy(row: number, from: ColumnBuilder, fromRow: number): void {
    const status = from.#statuses[fromRow] as number
    this.#statuses[row] = status
    // A row without a value is the type's zero in both.
    if (this.#scalars === null) this.#lists[row] = from.#lists[fromRow]
    else copyItem(this.#scalars, row, from.#scalars as ScalarValues, fromRow)
    if (status === Status.ERROR)
      this.setError(row, from.#errors.find((error) => error.row === fromRow)?.code ?? 'FS_INTERNAL')
  }

  build(): FeatureColumn {
    const { statuses, values } = { statuses: this.#statuses, values: this.#scalars ?? this.#listValues() }
    return {
      name: this.#name,
      type: this.#type,
      fingerprint: this.#fingerprint,
      statuses,
      values,
      ...(this.#counts ? { counts: true as const } : {}),
      errors: this.#errors,
    }
  }

  #listValues(): FeatureColumn['values'] {
    const rows = this.#statuses.length
    const ends = new Int32Array(rows)
    let total = 0
    for (let row = 0; row < rows; row++) ends[row] = total += this.#lists[row]?.length ?? 0
    const items = emptyValues(itemTypeOf(this.#type), total)
    let itemNulls: Uint8Array | null = null
    let at = 0
    for (const list of this.#lists) {
      for (const item of list ?? []) {
        if (item === null) (itemNulls ??= new Uint8Array(total))[at] = 1
        else put(items, at, item)
        at++
      }
    }
    return { type: 'list', ends, items, itemNulls }
  }
}
