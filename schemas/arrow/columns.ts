import {
  carriesValue,
  listOf,
  scalarOf,
  type FeatureColumn,
  type ListValues,
  type ScalarValues,
  type ValueType,
} from '../../core/engine/feature-column.ts'
import type { Column, NullMask } from '../../core/event/types.ts'

/** Lists by row, as a file holds them. */
export interface ListColumn extends ListValues {
  readonly nulls: NullMask
}

/** What a column of a file can be. */
export type FileColumn = Column | ListColumn

export interface NamedColumn {
  readonly name: string
  /** A feature is null where its status carries no value. */
  readonly column: FileColumn | FeatureColumn
  readonly metadata?: Readonly<Record<string, string>>
}

export const rowCountOf = (column: FileColumn): number =>
  column.type === 'list' ? column.ends.length : column.values.length

export const valueTypeOf = (column: FileColumn): ValueType =>
  column.type === 'list' ? listOf(column.items) : scalarOf(column)

/** A column as a file holds it: statuses become nulls, strings become codes. */
export function fileColumn(column: FileColumn | FeatureColumn): FileColumn {
  if (!('statuses' in column)) return column
  const nulls = nullsOf(column)
  const { values } = column
  if (values.type === 'list') return { ...values, nulls }
  return scalarColumn(values, nulls)
}

/** Scalars with a mask as a column. */
export function scalarColumn(values: ScalarValues, nulls: NullMask): Column {
  return values.type === 'string' ? stringColumn(values.values, nulls) : { ...values, nulls }
}

/** Strings as codes, in order of their first appearance. */
export function stringColumn(values: readonly (string | null)[], nulls: NullMask): Column {
  const codes = new Int32Array(values.length)
  const strings: string[] = []
  const byString = new Map<string, number>()
  for (let row = 0; row < values.length; row++) {
    const text = values[row]
    if (text === null || text === undefined || nulls?.[row] === 1) continue
    let code = byString.get(text)
    if (code === undefined) {
      code = strings.length
      strings.push(text)
      byString.set(text, code)
    }
    codes[row] = code
  }
  return { type: 'string', values: codes, table: { strings }, nulls }
}

function nullsOf(column: FeatureColumn): NullMask {
  const { statuses } = column
  let nulls: Uint8Array | null = null
  for (let row = 0; row < statuses.length; row++) {
    if (carriesValue(column, row)) continue
    nulls ??= new Uint8Array(statuses.length)
    nulls[row] = 1
  }
  return nulls
}

/** Where the items of a row begin; they end at `ends[row]`. */
export const listStart = (list: ListValues, row: number): number => (row === 0 ? 0 : (list.ends[row - 1] as number))
