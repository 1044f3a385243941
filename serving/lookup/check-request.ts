import { FeatureStoreError, type ErrorCode } from '../../core/errors.ts'
import { encodeKey, shardOf } from '../../core/event/key.ts'
import { scalarText, shapeOf, type FieldType, type Scalar } from '../../core/event/types.ts'
import { formatDecimal, unscaledOfGiven } from '../../core/number/decimal.ts'
import { earliestMs, latestMs } from '../../core/time/time.ts'
import type { ServicePlan } from './service-plan.ts'
import type { LookupRequest } from './types.ts'

/**
 * Checks names, types and lengths; returns the number of rows.
 *
 * Errors: FS_REQUEST_INVALID, FS_LIMIT_EXCEEDED, FS_TIME_INVALID.
 */
export function checkRequest(plan: ServicePlan, request: LookupRequest, rowsMax: number): number {
  const invalid = (message: string): FeatureStoreError => new FeatureStoreError('FS_REQUEST_INVALID', message)
  const lengths = new Map<string, number>()
  const check = (
    kind: string,
    declared: Readonly<Record<string, FieldType>>,
    given: Readonly<Record<string, readonly Scalar[]>>,
  ): void => {
    for (const name of Object.keys(given)) {
      if (!Object.hasOwn(declared, name))
        throw invalid(`${kind} ${name} is not asked for; what is: ${Object.keys(declared).join(', ') || 'nothing'}`)
    }
    for (const [name, field] of Object.entries(declared)) {
      const values = given[name]
      // A nullable field that is left out is null in every row.
      if (values === undefined && field.nullable === true) continue
      if (values === undefined) throw invalid(`${kind} ${name} (${field.type}) is missing`)
      lengths.set(name, values.length)
      if (kind === 'request field') values.forEach((value, row) => checkScalar(name, field, value, row))
    }
  }
  check('key field', plan.entityFields, request.entities)
  check('request field', plan.requestFields, request.request)
  const distinct = new Set(lengths.values())
  if (distinct.size > 1)
    throw invalid(`columns differ in length: ${[...lengths].map(([name, length]) => `${name} ${length}`).join(', ')}`)
  const rows = [...distinct][0] ?? 0
  if (rows > rowsMax)
    throw new FeatureStoreError('FS_LIMIT_EXCEEDED', `${rows} rows in one request; at most ${rowsMax} are allowed`)
  for (const [name, timeMs] of [
    ['asOfMs', request.asOfMs],
    ['knownAsOfMs', request.knownAsOfMs],
  ] as const) {
    if (timeMs !== undefined && !(Number.isSafeInteger(timeMs) && timeMs >= earliestMs && timeMs <= latestMs)) {
      throw new FeatureStoreError(
        'FS_TIME_INVALID',
        `${name} is ${timeMs}: epoch milliseconds within the years 1 to 9998`,
      )
    }
  }
  return rows
}

function checkScalar(name: string, field: FieldType, value: Scalar, row: number): void {
  const wrong = (what: string): FeatureStoreError =>
    new FeatureStoreError('FS_REQUEST_INVALID', `request field ${name}, row ${row}: ${what}`)
  if (value === null) {
    if (field.nullable === true) return
    throw wrong('is null')
  }
  const number = typeof value === 'number' || typeof value === 'bigint'
  switch (field.type) {
    case 'string':
      if (typeof value !== 'string') throw wrong('is no string')
      return
    case 'bool':
      if (typeof value !== 'boolean') throw wrong('is no bool')
      return
    case 'int32':
      if (!number || !Number.isInteger(Number(value)) || Number(value) !== (Number(value) | 0))
        throw wrong(`${String(value)} is no int32`)
      return
    case 'int64':
    case 'timestamp':
      if (!number || (typeof value === 'number' && !Number.isSafeInteger(value)))
        throw wrong(`${String(value)} is no ${field.type}`)
      return
    case 'decimal':
      if (unscaledOfGiven(value, shapeOf(field)) === null) throw wrong(`${String(value)} is no ${scalarText(field)}`)
      return
    case 'float64':
      if (!number || !(Number.isFinite(Number(value)) || field.allowNonFinite === true))
        throw wrong(`${String(value)} is no finite float64`)
  }
}

/** The request with its decimals in their one form, of which expressions and matrices make the same whoever wrote them. */
export function withPlainDecimals<R extends LookupRequest>(fields: Readonly<Record<string, FieldType>>, request: R): R {
  const decimals = Object.entries(fields).filter(([name, { type }]) => type === 'decimal' && name in request.request)
  if (decimals.length === 0) return request
  const plain = (field: FieldType, value: Scalar): Scalar => {
    const unscaled = value === null ? null : unscaledOfGiven(value, shapeOf(field))
    return unscaled === null ? value : formatDecimal(unscaled, shapeOf(field).scale)
  }
  const columns = decimals.map(([name, field]) => [name, request.request[name]?.map((value) => plain(field, value))])
  return { ...request, request: { ...request.request, ...(Object.fromEntries(columns) as typeof request.request) } }
}

/**
 * What is asked of one view: its distinct keys, in order of their first rows.
 *
 *     rows    | a | b | a | ? |
 *     of      | 0 | 1 | 0 | -1 |       keys  | a | b |
 */
export interface AskedKeys {
  readonly keys: readonly Uint8Array[]
  /** The keys as strings of their bytes. */
  readonly ids: readonly string[]
  readonly shards: readonly number[]
  /** By key: the first row that asks for it. */
  readonly firstRows: readonly number[]
  /** By row: the index of its key; -1 where it cannot be encoded. */
  readonly of: Int32Array
  /** By row. */
  readonly keyErrors: ReadonlyMap<number, ErrorCode>
}

/** A key that cannot be encoded is an error of its row, never of the batch. */
export function askedKeys(
  view: ServicePlan['views'][number],
  request: LookupRequest,
  rows: number,
  shardCount: number,
): AskedKeys {
  const known = new Map<string, number>()
  const keys: Uint8Array[] = []
  const ids: string[] = []
  const shards: number[] = []
  const firstRows: number[] = []
  const of = new Int32Array(rows).fill(-1)
  const keyErrors = new Map<number, ErrorCode>()
  const fields = view.keyFields.map((field) => request.entities[field])
  for (let row = 0; row < rows; row++) {
    let key: Uint8Array
    try {
      key = encodeKey(
        fields.map((values) => values?.[row] ?? null),
        view.keyTypes,
      )
    } catch (error) {
      if (!(error instanceof FeatureStoreError)) throw error
      keyErrors.set(row, error.code)
      continue
    }
    const id = Buffer.from(key.buffer, key.byteOffset, key.length).toString('latin1')
    let index = known.get(id)
    if (index === undefined) {
      known.set(id, (index = keys.length))
      keys.push(key)
      ids.push(id)
      shards.push(shardOf(key, shardCount))
      firstRows.push(row)
    }
    of[row] = index
  }
  return { keys, ids, shards, firstRows, of, keyErrors }
}
