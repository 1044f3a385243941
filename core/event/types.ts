import { FeatureStoreError } from '../errors.ts'
import type { DecimalShape } from '../number/decimal.ts'

/**
 * Field types and columns of events. A batch of events is columns of one length, not objects: the hot path reads typed
 * arrays by index.
 */
export type ScalarType = 'string' | 'bool' | 'int32' | 'int64' | 'float64' | 'timestamp' | 'decimal'

export interface FieldType {
  readonly type: ScalarType
  readonly nullable?: true
  /** float64 only: NaN and the infinities are values, not dead letters. */
  readonly allowNonFinite?: true
  /** decimal only: digits in all, 1 to 18. */
  readonly precision?: number
  /** decimal only: digits behind the point. */
  readonly scale?: number
}

/** The digits of a decimal type. */
export function shapeOf({
  precision,
  scale,
}: {
  readonly precision?: number | undefined
  readonly scale?: number | undefined
}): DecimalShape {
  if (precision === undefined || scale === undefined)
    throw new FeatureStoreError('FS_INTERNAL', 'a decimal without precision and scale')
  return { precision, scale }
}

/** A scalar type as people write it: int32, decimal(18, 2). */
export const scalarText = ({ type, precision, scale }: Pick<FieldType, 'type' | 'precision' | 'scale'>): string =>
  type === 'decimal' ? `decimal(${precision}, ${scale})` : type

/** Distinct strings, each once; its index is its code. Grows only, so a code keeps its meaning while the process lives. */
export interface StringTable {
  readonly strings: readonly string[]
  /** How many there are, where that is known without making them. */
  readonly size?: number
  /** One of them, where it can be had without the others. */
  text?(code: number): string
  /** The UTF-8 bytes of one, where they are at hand: a view, valid until the table grows. */
  bytes?(code: number): Uint8Array
}

export const tableSize = (table: StringTable): number => table.size ?? table.strings.length
export const tableText = (table: StringTable, code: number): string =>
  table.text === undefined ? (table.strings[code] as string) : table.text(code)

/** One byte per row, 1 where the value is null; null when no row is. What `values` holds at a null is unspecified. */
export type NullMask = Uint8Array | null

export type Column =
  | { readonly type: 'float64'; readonly values: Float64Array; readonly nulls: NullMask }
  | { readonly type: 'timestamp'; readonly values: Float64Array; readonly nulls: NullMask }
  | { readonly type: 'int32'; readonly values: Int32Array; readonly nulls: NullMask }
  | { readonly type: 'int64'; readonly values: BigInt64Array; readonly nulls: NullMask }
  | { readonly type: 'bool'; readonly values: Uint8Array; readonly nulls: NullMask }
  /** Unscaled values: 1234 is 12.34 at scale 2. */
  | {
      readonly type: 'decimal'
      readonly precision: number
      readonly scale: number
      readonly values: BigInt64Array
      readonly nulls: NullMask
    }
  | { readonly type: 'string'; readonly values: Int32Array; readonly table: StringTable; readonly nulls: NullMask }

export type ColumnOf<T extends ScalarType> = Extract<Column, { readonly type: T }>

/**
 * A value of one field as people write it: int64 is a bigint, a timestamp epoch milliseconds, a decimal text with all of its
 * digits behind the point ("12.30").
 */
export type Scalar = string | boolean | number | bigint | null
