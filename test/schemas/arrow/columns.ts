import fc from 'fast-check'
import type { ScalarValues } from '../../../core/engine/feature-column.ts'
import type { ScalarType } from '../../../core/event/types.ts'
import { unscaledMax } from '../../../core/number/decimal.ts'
import { listStart, scalarColumn, type FileColumn, type NamedColumn } from '../../../schemas/arrow/columns.ts'

type Value = string | number | bigint | boolean
export type Cell = Value | null | readonly (Value | null)[]

/** Of the decimals. */
export const digits = { precision: 18, scale: 3 }
const scalarTypes: readonly ScalarType[] = ['float64', 'timestamp', 'int32', 'int64', 'bool', 'string', 'decimal']

const scalarOf: Record<ScalarType, fc.Arbitrary<Value>> = {
  float64: fc.double({ noNaN: true }).map((value) => value + 0),
  timestamp: fc.integer({ min: -62_135_596_800_000, max: 253_370_764_799_999 }),
  int32: fc.integer(),
  int64: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  bool: fc.boolean(),
  /** Unscaled. */
  decimal: fc.oneof(
    fc.constantFrom(unscaledMax, -unscaledMax, -1n),
    fc.bigInt({ min: -unscaledMax, max: unscaledMax }),
  ),
  string: fc.oneof(fc.string({ unit: 'grapheme', maxLength: 6 }), fc.constantFrom('', 'a', ',"\r\n')),
}

export function scalars(type: ScalarType, values: readonly Value[]): ScalarValues {
  switch (type) {
    case 'float64':
    case 'timestamp':
      return { type, values: Float64Array.from(values as number[]) }
    case 'int32':
      return { type, values: Int32Array.from(values as number[]) }
    case 'int64':
      return { type, values: BigInt64Array.from(values as bigint[]) }
    case 'decimal':
      return { type, ...digits, values: BigInt64Array.from(values as bigint[]) }
    case 'bool':
      return { type, values: Uint8Array.from(values, Number) }
    case 'string':
      return { type, values: [...values] as string[] }
  }
}

const maskOf = (cells: readonly Cell[]): Uint8Array | null =>
  cells.includes(null) ? Uint8Array.from(cells, (cell) => (cell === null ? 1 : 0)) : null

/** `filler` is what stands in null slots. */
export function scalarCells(type: ScalarType, cells: readonly (Value | null)[], filler: Value): FileColumn {
  return scalarColumn(
    scalars(
      type,
      cells.map((cell) => cell ?? filler),
    ),
    maskOf(cells),
  )
}

/** `fillers` is what stands in null lists, `filler` in null items. */
export function listCells(
  of: ScalarType,
  cells: readonly (readonly (Value | null)[] | null)[],
  fillers: readonly Value[],
  filler: Value,
): FileColumn {
  const full = cells.map((cell) => cell ?? fillers)
  let end = 0
  const ends = Int32Array.from(full, ({ length }) => (end += length))
  const flat = full.flat()
  const items = scalars(
    of,
    flat.map((item) => item ?? filler),
  )
  return { type: 'list', ends, items, itemNulls: maskOf(flat), nulls: maskOf(cells) }
}

export interface Drawn {
  readonly cells: Readonly<Record<string, readonly Cell[]>>
  readonly columns: readonly NamedColumn[]
  /** The same values with something else in the null slots. */
  readonly otherwise: readonly NamedColumn[]
}

/** A column of every scalar type and a list of each. */
export const drawnColumns: fc.Arbitrary<Drawn> = fc.integer({ min: 0, max: 20 }).chain((rows) => {
  const each = scalarTypes.map((type) => {
    const value = scalarOf[type]
    const cells = fc.array(fc.option(value), { minLength: rows, maxLength: rows })
    const lists = fc.array(fc.option(fc.array(fc.option(value), { maxLength: 4 })), {
      minLength: rows,
      maxLength: rows,
    })
    return fc.tuple(fc.constant(type), cells, lists, value, value)
  })
  return fc.tuple(...each).map((drawn) => {
    const cells: Record<string, readonly Cell[]> = {}
    const columns: NamedColumn[] = []
    const otherwise: NamedColumn[] = []
    for (const [type, scalar, list, one, two] of drawn) {
      const names = [`a ${type}`, `lists of ${type}`] as const
      cells[names[0]] = scalar
      cells[names[1]] = list
      columns.push({ name: names[0], column: scalarCells(type, scalar, one) })
      columns.push({ name: names[1], column: listCells(type, list, [one], one) })
      otherwise.push({ name: names[0], column: scalarCells(type, scalar, two) })
      otherwise.push({ name: names[1], column: listCells(type, list, [], two) })
    }
    return { cells, columns, otherwise }
  })
})

const itemsOf = (items: ScalarValues): Value[] =>
  items.type === 'bool' ? Array.from(items.values, (bit) => bit === 1) : Array.from<Value>(items.values)

/** What stands in a column, as values. */
export function cellsOf(column: FileColumn): Cell[] {
  const isNull = (row: number): boolean => column.nulls?.[row] === 1
  if (column.type === 'list') {
    const items = itemsOf(column.items).map((item, at) => (column.itemNulls?.[at] === 1 ? null : item))
    return Array.from(column.ends, (end, row) => (isNull(row) ? null : items.slice(listStart(column, row), end)))
  }
  if (column.type === 'string')
    return Array.from(column.values, (code, row) => (isNull(row) ? null : (column.table.strings[code] ?? '')))
  return itemsOf(column).map((value, row) => (isNull(row) ? null : value))
}
