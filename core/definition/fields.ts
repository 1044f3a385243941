import { FeatureStoreError } from '../errors.ts'
import type { FieldType, ScalarType } from '../event/types.ts'
import { decimalDigitsMax } from '../number/decimal.ts'

/** A declared field. */
export interface Field<T extends ScalarType> extends FieldType {
  readonly type: T
}

const field = <T extends ScalarType>(type: T): Field<T> => ({ type })

/** The same field, which may be null or missing. */
export const nullable = <T extends ScalarType>(of: Field<T>): Field<T> => ({ ...of, nullable: true })

export const string = (): Field<'string'> => field('string')
export const bool = (): Field<'bool'> => field('bool')
export const int32 = (): Field<'int32'> => field('int32')
/** A bigint in TypeScript, a string in JSON. */
export const int64 = (): Field<'int64'> => field('int64')
export const float64 = (options: { readonly allowNonFinite?: boolean } = {}): Field<'float64'> =>
  options.allowNonFinite === true ? { type: 'float64', allowNonFinite: true } : field('float64')
/** Epoch milliseconds, UTC. */
export const timestamp = (): Field<'timestamp'> => field('timestamp')
/**
 * Exact: `precision` digits, 1 to 18, `scale` of them behind the point. In TypeScript and JSON a string with just those
 * ("12.30").
 *
 * Errors: FS_DEFINITION_INVALID; FS_NOT_YET beyond 18 digits.
 */
export function decimal(precision: number, scale: number): Field<'decimal'> {
  checkDecimal({ precision, scale })
  return { type: 'decimal', precision, scale }
}

/** More digits than an int64 holds: other databases go on to here. */
const wideDigitsMax = 38

function checkDecimal({ precision, scale }: { readonly precision?: unknown; readonly scale?: unknown }): void {
  const text = `decimal(${String(precision)}, ${String(scale)})`
  if (!Number.isInteger(precision) || (precision as number) < 1 || (precision as number) > wideDigitsMax)
    throw new FeatureStoreError('FS_DEFINITION_INVALID', `${text}: the precision is an integer from 1 to 18`)
  if (!Number.isInteger(scale) || (scale as number) < 0 || (scale as number) > (precision as number))
    throw new FeatureStoreError('FS_DEFINITION_INVALID', `${text}: the scale is an integer from 0 to the precision`)
  if ((precision as number) > decimalDigitsMax)
    throw new FeatureStoreError('FS_NOT_YET', `${text} is not built yet: decimals have up to 18 digits`, {
      remedy: 'Declare 18 digits or fewer, in a larger unit or with fewer digits behind the point.',
    })
}

const scalarTypes: readonly string[] = [
  'string',
  'bool',
  'int32',
  'int64',
  'float64',
  'timestamp',
  'decimal',
] satisfies ScalarType[]
const identifier = /^[A-Za-z_][A-Za-z0-9_]{0,62}$/

/** Names become column names, Avro names and generated code, so they are plain identifiers. */
export function checkName(what: string, name: unknown): asserts name is string {
  if (typeof name !== 'string' || !identifier.test(name) || name.startsWith('_')) {
    throw new FeatureStoreError(
      'FS_DEFINITION_INVALID',
      `${what} is called ${JSON.stringify(name)}: a name is a letter, then letters, digits and _, at most 63`,
    )
  }
}

export function checkFields(owner: string, fields: unknown): asserts fields is Readonly<Record<string, FieldType>> {
  if (typeof fields !== 'object' || fields === null || Object.keys(fields).length === 0) {
    throw new FeatureStoreError('FS_DEFINITION_INVALID', `${owner} declares no fields`)
  }
  for (const [name, value] of Object.entries(fields)) {
    checkName(`a field of ${owner}`, name)
    const type = (value as Partial<FieldType> | null)?.type
    if (type === undefined || !scalarTypes.includes(type)) {
      throw new FeatureStoreError(
        'FS_DEFINITION_INVALID',
        `field ${name} of ${owner} has no type; the types are ${scalarTypes.join(', ')}`,
      )
    }
    if (type === 'decimal') checkDecimal(value as FieldType)
  }
}

/** Fields as plain data, in the order declared. */
export const plainFields = (fields: Readonly<Record<string, FieldType>>): Record<string, FieldType> =>
  Object.fromEntries(Object.entries(fields).map(([name, { ...type }]) => [name, type]))
