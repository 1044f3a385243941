/**
 * The matrix that a model reads: one row an entity, one float32 column an input. Training and serving build it here, so
 * a model is fitted on the very numbers that it will be asked about.
 */
import { featureOf, featureValueType, serviceScope } from '../definition/catalog.ts'
import type { Catalog } from '../definition/catalog.ts'
import { derivedFingerprint, featureFingerprint } from '../definition/fingerprint.ts'
import { referenceText, type ServiceDefinition } from '../definition/types.ts'
import { FeatureStoreError } from '../errors.ts'
import type { Column, Scalar, ScalarType } from '../event/types.ts'
import { decimalToFloat32, parseDecimal } from '../number/decimal.ts'
import { typeOf } from '../expression/types.ts'
import { carriesValue, hasValue, type FeatureColumn, type ScalarValues } from './feature-column.ts'

/** One column of the matrix. */
export type MatrixInput =
  | {
      readonly kind: 'feature'
      /** Name of the input; items of a list are `name[0]` (oldest) to `name[n - 1]` (newest). */
      readonly name: string
      /** `FeatureColumn.name`. */
      readonly feature: string
      readonly fingerprint: string
      /** Of a list: how far before its end the item lies, 1 for the newest. null for a scalar. */
      readonly fromEnd: number | null
    }
  | { readonly kind: 'request'; readonly name: string; readonly field: string }

export interface MatrixSpec {
  readonly service: string
  readonly inputs: readonly MatrixInput[]
  /** What the matrix leaves out, by output name: strings, and instants, which float32 would round to minutes. */
  readonly omitted: readonly { readonly name: string; readonly type: ScalarType }[]
}

/** Request fields by name: as columns, or as a request carries them. */
export type RequestColumns = Readonly<Record<string, Column | readonly Scalar[]>>

/** A feature's name as a column of a file: `view__feature`, or the name of a derived one. */
export const featureColumnName = (name: string): string => name.replace(':', '__')

const isNumeric = (type: ScalarType): boolean => type !== 'string' && type !== 'timestamp'

/** The inputs of a service, in order: features, derived features, request fields. */
export function matrixSpec(catalog: Catalog, service: ServiceDefinition): MatrixSpec {
  const inputs: MatrixInput[] = []
  const omitted: { name: string; type: ScalarType }[] = []
  const scope = serviceScope(catalog, service)
  for (const reference of service.features) {
    const feature = referenceText(reference)
    const name = featureColumnName(feature)
    const fingerprint = featureFingerprint(catalog, reference)
    const type = featureValueType(catalog, reference)
    const scalar = type.kind === 'scalar' ? type.type : type.of
    if (!isNumeric(scalar)) omitted.push({ name, type: scalar })
    else if (type.kind === 'scalar') inputs.push({ kind: 'feature', name, feature, fingerprint, fromEnd: null })
    else {
      const { aggregation, window } = featureOf(catalog, reference)
      const n = window.kind === 'series' ? window.spanMs / window.stepMs : (aggregation.n ?? 1)
      for (let item = 0; item < n; item++)
        inputs.push({ kind: 'feature', name: `${name}[${item}]`, feature, fingerprint, fromEnd: n - item })
    }
  }
  for (const { name, expression } of service.derive) {
    const fingerprint = derivedFingerprint(catalog, service, name)
    const type = typeOf(expression, scope)
    if (isNumeric(type)) inputs.push({ kind: 'feature', name, feature: name, fingerprint, fromEnd: null })
    else omitted.push({ name, type })
  }
  for (const [field, { type }] of Object.entries(service.request)) {
    if (isNumeric(type)) inputs.push({ kind: 'request', name: field, field })
    else omitted.push({ name: field, type })
  }
  return { service: service.name, inputs, omitted }
}

/**
 * The values of the inputs, `rows x inputs`, row-major.
 *
 * Values: a value rounded to float32 (of a decimal the nearest one), bools 0 and 1; NaN where there is none, a null item included, or float32 holds none
 *         (an infinity). A list stands at the right, newest last. A count of an entity never seen is 0, a series of counts
 *         of one NaN.
 * Errors: FS_INTERNAL when a column of the spec is missing.
 */
export function featureMatrix(
  spec: MatrixSpec,
  columns: readonly FeatureColumn[],
  request: RequestColumns,
  rows: number,
): Float32Array {
  const width = spec.inputs.length
  const matrix = new Float32Array(rows * width).fill(Number.NaN)
  const byName = new Map(columns.map((column) => [column.name, column]))
  spec.inputs.forEach((input, at) => {
    const into = { matrix, width, at }
    if (input.kind === 'request') {
      fillRequest(into, request[input.field] ?? missing(input.name), rows)
      return
    }
    const column = byName.get(input.feature) ?? missing(input.name)
    if (input.fromEnd === null) fillScalars(into, column, rows)
    else fillItems(into, column, input.fromEnd, rows)
  })
  return matrix
}

interface Target {
  readonly matrix: Float32Array
  readonly width: number
  readonly at: number
}

function missing(name: string): never {
  throw new FeatureStoreError('FS_INTERNAL', `the matrix needs ${name}, which is not among the columns`)
}

function put({ matrix, width, at }: Target, row: number, value: number): void {
  const cell = row * width + at
  matrix[cell] = value
  if (Math.abs(matrix[cell] as number) === Number.POSITIVE_INFINITY) matrix[cell] = Number.NaN
}

function numberAt(column: ScalarValues | Column): (index: number) => number {
  const { values } = column
  return column.type === 'decimal'
    ? (index) => decimalToFloat32(column.values[index] as bigint, column.scale)
    : (index) => Number(values[index])
}

function fillScalars(into: Target, column: FeatureColumn, rows: number): void {
  const number = numberAt(column.values as ScalarValues)
  for (let row = 0; row < rows; row++) {
    if (carriesValue(column, row)) put(into, row, number(row))
  }
}

function fillItems(into: Target, column: FeatureColumn, fromEnd: number, rows: number): void {
  if (column.values.type !== 'list') throw new FeatureStoreError('FS_INTERNAL', `${column.name} is no list`)
  const { ends, items, itemNulls } = column.values
  const number = numberAt(items)
  for (let row = 0; row < rows; row++) {
    const item = (ends[row] as number) - fromEnd
    const start = row === 0 ? 0 : (ends[row - 1] as number)
    if (hasValue(column.statuses[row] as number) && item >= start && itemNulls?.[item] !== 1)
      put(into, row, number(item))
  }
}

/** Text is a decimal of the request: the matrix has no strings. */
function givenNumber(value: Scalar): number {
  const decimal = typeof value === 'string' ? parseDecimal(value) : null
  return decimal === null ? Number(value) : decimalToFloat32(decimal.unscaled, decimal.scale)
}

function fillRequest(into: Target, column: Column | readonly Scalar[], rows: number): void {
  if (Array.isArray(column)) {
    const values = column as readonly Scalar[]
    for (let row = 0; row < rows; row++) if (values[row] !== null) put(into, row, givenNumber(values[row] as Scalar))
    return
  }
  const { nulls } = column as Column
  const number = numberAt(column as Column)
  for (let row = 0; row < rows; row++) if (nulls?.[row] !== 1) put(into, row, number(row))
}
