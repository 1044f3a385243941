import type { ErrorCode } from '../errors.ts'
import { scalarText, shapeOf, type FieldType, type Scalar, type ScalarType } from '../event/types.ts'
import { formatDecimal, type DecimalShape } from '../number/decimal.ts'

/** How a value came to be. The names are the wire names; the numbers are the wire numbers. */
export const Status = { PRESENT: 1, NULL: 2, NOT_FOUND: 3, EXPIRED: 4, OVERFLOW: 5, STALE: 6, ERROR: 7 } as const
export type StatusName = keyof typeof Status
export type StatusCode = (typeof Status)[StatusName]

const statusNames = Object.fromEntries(Object.entries(Status).map(([name, code]) => [code, name])) as Record<
  number,
  StatusName
>
export const statusName = (code: number): StatusName => statusNames[code] ?? 'ERROR'

/** A status with a value beside it. */
export const hasValue = (status: number): boolean => status === Status.PRESENT || status === Status.STALE

/** A scalar type with the digits of a decimal. */
export type ItemType = Pick<FieldType, 'type' | 'precision' | 'scale'>

/** `precision` and `scale` are there for decimals alone. */
export type ValueType =
  | ({ readonly kind: 'scalar' } & ItemType)
  | ({ readonly kind: 'list'; readonly of: ScalarType } & Partial<DecimalShape>)

export const itemOf = ({ type, precision, scale }: ItemType): ItemType =>
  type === 'decimal' ? { type, ...shapeOf({ precision, scale }) } : { type }
export const scalarOf = (item: ItemType): ValueType => ({ kind: 'scalar', ...itemOf(item) })
export const listOf = (item: ItemType): ValueType => {
  const { type, ...digits } = itemOf(item)
  return { kind: 'list', of: type, ...digits }
}
/** What a value is, or of what a list is. */
export const itemTypeOf = (type: ValueType): ItemType =>
  itemOf(type.kind === 'scalar' ? type : { ...type, type: type.of })
export const formatValueType = (type: ValueType): string =>
  type.kind === 'scalar' ? scalarText(type) : `list<${scalarText(itemTypeOf(type))}>`

/** Values of one scalar type by row. What stands at a row without a value is the type's zero. */
export type ScalarValues =
  | { readonly type: 'float64'; readonly values: Float64Array }
  | { readonly type: 'timestamp'; readonly values: Float64Array }
  | { readonly type: 'int32'; readonly values: Int32Array }
  | { readonly type: 'int64'; readonly values: BigInt64Array }
  | { readonly type: 'bool'; readonly values: Uint8Array }
  /** Unscaled. */
  | { readonly type: 'decimal'; readonly precision: number; readonly scale: number; readonly values: BigInt64Array }
  | { readonly type: 'string'; readonly values: string[] }

/** Lists by row: row i holds items[ends[i - 1] ?? 0 .. ends[i]). */
export interface ListValues {
  readonly type: 'list'
  readonly ends: Int32Array
  readonly items: ScalarValues
  /** 1 where an item is null, by item; null where none is. Only lists over a series have nulls. */
  readonly itemNulls: Uint8Array | null
}

/** One feature for every row of a reply or a training set. */
export interface FeatureColumn {
  /** `view:feature`, or the name of a derived feature. */
  readonly name: string
  readonly type: ValueType
  /** Hex SHA-256 over everything that can change a value. */
  readonly fingerprint: string
  readonly statuses: Uint8Array
  readonly values: ScalarValues | ListValues
  /** A count: where no event is visible at all (NOT_FOUND) its value is 0, not null. */
  readonly counts?: true
  /** Codes of the rows whose status is ERROR. */
  readonly errors: readonly { readonly row: number; readonly code: ErrorCode }[]
}

/** A value as people see it: int64 a bigint, a decimal text, a list an array, absent null. */
export type FeatureValue = Scalar | readonly Scalar[]

function scalarAt(values: ScalarValues, index: number): Exclude<Scalar, null> {
  switch (values.type) {
    case 'bool':
      return values.values[index] === 1
    case 'string':
      return values.values[index] ?? ''
    case 'decimal':
      return formatDecimal(values.values[index] as bigint, values.scale)
    default:
      return values.values[index] as number | bigint
  }
}

/** Whether a row has a value: its status says so, or it is a count of nothing, which is 0. */
export function carriesValue({ statuses, counts }: FeatureColumn, row: number): boolean {
  const status = statuses[row] as number
  return hasValue(status) || (counts === true && status === Status.NOT_FOUND)
}

/** The value of a row, null where its status carries none. */
export function valueAt(column: FeatureColumn, row: number): FeatureValue {
  if (!carriesValue(column, row)) return null
  const values = column.values
  if (values.type !== 'list') return scalarAt(values, row)
  const from = row === 0 ? 0 : (values.ends[row - 1] as number)
  const list: Scalar[] = []
  for (let index = from; index < (values.ends[row] as number); index++)
    list.push(values.itemNulls?.[index] === 1 ? null : scalarAt(values.items, index))
  return list
}
