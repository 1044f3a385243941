/**
 * Requests of `tidemark.v1`: what they must look like, on both sides. Which type a field has is not known here: the
 * lookup knows it, and refuses text for a number.
 */
import { type MessageInitShape } from '@bufbuild/protobuf'
import { FeatureStoreError } from '../../core/errors.ts'
import { type Scalar } from '../../core/event/types.ts'
import {
  type GetFeaturesRequest,
  type GetFeaturesRequestSchema,
  type PredictRequest as PredictRequestMessage,
  type ValueColumn,
  type ValueColumnSchema,
} from '../../schemas/proto/generated/tidemark/v1/feature_service_pb.js'
import { type LookupRequest, type PredictRequest } from '../lookup/types.ts'

export interface RequestLimits {
  readonly rowsMax: number
  readonly featuresMax: number
}

const malformed = (message: string): FeatureStoreError => new FeatureStoreError('FS_REQUEST_INVALID', message)
const int64Max = 2n ** 63n - 1n

type ScalarColumn = MessageInitShape<typeof ValueColumnSchema>

/** The values as people write them: Int64s are bigints, Doubles numbers. */
function scalarsOf(column: ValueColumn, name: string): readonly Scalar[] {
  if (column.values.case === undefined) throw malformed(`${name}: the column has no values`)
  const values: readonly Scalar[] = column.values.value.values
  const { nulls } = column
  if (nulls.length === 0) return values
  if (nulls.length !== values.length) throw malformed(`${name}: ${nulls.length} null marks for ${values.length} values`)
  return values.map((value, row) => (nulls[row] === 0 ? value : null))
}

function columnsOf(columns: Readonly<Record<string, ValueColumn>>, what: string): Record<string, readonly Scalar[]> {
  return Object.fromEntries(
    Object.entries(columns).map(([name, column]) => [name, scalarsOf(column, `${what}.${name}`)]),
  )
}

function millisOf(value: bigint | undefined, name: string): number | undefined {
  if (value === undefined) return undefined
  const ms = Number(value)
  if (!Number.isSafeInteger(ms)) throw new FeatureStoreError('FS_TIME_INVALID', `${name}: ${value} is out of range`)
  return ms
}

/** Rows of a request: what every one of its columns has. */
function checkRows(request: LookupRequest, limits: RequestLimits): void {
  const columns = [...Object.entries(request.entities), ...Object.entries(request.request)]
  const [first] = columns
  if (Object.keys(request.entities).length === 0 || first === undefined) throw malformed('entities: no key is given')
  const rows = first[1].length
  if (rows > limits.rowsMax)
    throw new FeatureStoreError('FS_LIMIT_EXCEEDED', `${rows} rows are more than ${limits.rowsMax}`)
  for (const [name, values] of columns) {
    if (values.length !== rows) throw malformed(`${name}: ${values.length} rows, but ${first[0]} has ${rows}`)
  }
}

type Optional<T> = { readonly [K in keyof T]?: T[K] | undefined }

/** Without the properties that are undefined: those were not given. */
const given = <T extends object>(object: Optional<T>): Partial<T> =>
  Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as Partial<T>

const lookupOf = (message: GetFeaturesRequest | PredictRequestMessage): LookupRequest => ({
  entities: columnsOf(message.entities, 'entities'),
  request: columnsOf(message.requestFields, 'request_fields'),
  ...given<LookupRequest>({
    asOfMs: millisOf(message.asOfMs, 'as_of_ms'),
    knownAsOfMs: millisOf(message.knownAsOfMs, 'known_as_of_ms'),
    minPosition: message.minPosition === '' ? undefined : message.minPosition,
  }),
})

/** Errors: FS_REQUEST_INVALID, FS_TIME_INVALID, FS_LIMIT_EXCEEDED. */
export function fromGetFeatures(message: GetFeaturesRequest, limits: RequestLimits): LookupRequest {
  const { service, features } = message
  if ((service === '') === (features.length === 0)) throw malformed('give either a service or features')
  if (features.length > limits.featuresMax)
    throw new FeatureStoreError('FS_LIMIT_EXCEEDED', `${features.length} features are more than ${limits.featuresMax}`)
  const request = { ...lookupOf(message), ...(service === '' ? { features } : { service }) }
  checkRows(request, limits)
  return request
}

/** Errors: as of fromGetFeatures. */
export function fromPredict(message: PredictRequestMessage, limits: RequestLimits): PredictRequest {
  if (message.service === '') throw malformed('service: none is given')
  const request = { ...lookupOf(message), service: message.service, ...given({ model: message.model }) }
  checkRows(request, limits)
  return request
}

/** A column of one type of values: what differs within it is a slip of the caller, and so is a number written as text. */
function columnFor(values: readonly Scalar[], name: string): ScalarColumn {
  const sample = values.find((value) => value !== null)
  const type = sample === undefined ? 'string' : typeof sample
  const nulls = values.includes(null) ? Uint8Array.from(values, (value) => Number(value === null)) : new Uint8Array(0)
  for (const [row, value] of values.entries()) {
    if (value !== null && typeof value !== type)
      throw malformed(`${name}: row ${row} is a ${typeof value}, rows before it are a ${type}`)
  }
  const filled = <T extends Scalar>(zero: T): T[] => values.map((value) => (value ?? zero) as T)
  switch (type) {
    case 'string':
      return { values: { case: 'strings', value: { values: filled('') } }, nulls }
    case 'bigint': {
      const bigints = filled(0n)
      if (bigints.some((value) => value > int64Max || value < -int64Max - 1n)) throw malformed(`${name}: not an int64`)
      return { values: { case: 'int64s', value: { values: bigints } }, nulls }
    }
    case 'number':
      return { values: { case: 'doubles', value: { values: filled(0) } }, nulls }
    case 'boolean':
      return { values: { case: 'bools', value: { values: filled(false) } }, nulls }
    default:
      throw malformed(`${name}: a ${type} is no value`)
  }
}

function columnsFor(columns: Readonly<Record<string, readonly Scalar[]>>): Record<string, ScalarColumn> {
  return Object.fromEntries(Object.entries(columns).map(([name, values]) => [name, columnFor(values, name)]))
}

function millisFor(value: number | undefined, name: string): bigint | undefined {
  if (value === undefined) return undefined
  // Plain JavaScript may pass text here; 1577836800000 and '1577836800000' are not the same request.
  if (!Number.isSafeInteger(value)) throw malformed(`${name}: ${JSON.stringify(value)} is no whole number of ms`)
  return BigInt(value)
}

/** The fields that both requests have, by the same names. Errors: FS_REQUEST_INVALID. */
export function toLookupFields(request: LookupRequest) {
  return {
    entities: columnsFor(request.entities),
    requestFields: columnsFor(request.request),
    minPosition: request.minPosition ?? '',
    ...given({
      asOfMs: millisFor(request.asOfMs, 'asOfMs'),
      knownAsOfMs: millisFor(request.knownAsOfMs, 'knownAsOfMs'),
    }),
  } satisfies MessageInitShape<typeof GetFeaturesRequestSchema>
}
