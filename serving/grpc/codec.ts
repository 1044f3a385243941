/** Replies of `tidemark.v1` and the values they stand for. Columns stay columns: no object per value but int64's. */
import { create, type MessageInitShape } from '@bufbuild/protobuf'
import { unreachable } from '../../core/brand.ts'
import { FeatureStoreError } from '../../core/errors.ts'
import {
  listOf,
  scalarOf,
  type FeatureColumn,
  type ListValues,
  type ScalarValues,
  type ValueType,
} from '../../core/engine/feature-column.ts'
import { decimalDigitsMax } from '../../core/number/decimal.ts'
import { offset, type PartitionPosition, type Position } from '../../core/event/position.ts'
import {
  BoolsSchema,
  DecimalsSchema,
  DoublesSchema,
  FeatureColumnSchema,
  GetFeaturesResponseSchema,
  Int32sSchema,
  Int64sSchema,
  ListsSchema,
  PredictResponseSchema,
  RowErrorSchema,
  StringsSchema,
  TimestampsSchema,
  type FeatureColumn as FeatureColumnMessage,
  type GetFeaturesResponse,
  type Lists,
  type PositionSchema,
  type Position as PositionMessage,
  type PredictResponse,
} from '../../schemas/proto/generated/tidemark/v1/feature_service_pb.js'
import { type LookupReply, type Prediction } from '../lookup/types.ts'
import { isErrorCode } from './status.ts'

type ScalarOneof = Exclude<Lists['items'], { case: undefined }>
type ValuesOneof = Exclude<FeatureColumnMessage['values'], { case: undefined }>

function scalarValuesFor(values: ScalarValues): ScalarOneof {
  switch (values.type) {
    case 'float64':
      return { case: 'doubles', value: create(DoublesSchema, { values: Array.from(values.values) }) }
    case 'int32':
      return { case: 'int32s', value: create(Int32sSchema, { values: Array.from(values.values) }) }
    case 'int64':
      return { case: 'int64s', value: create(Int64sSchema, { values: Array.from(values.values) }) }
    case 'decimal': {
      const { precision, scale } = values
      return {
        case: 'decimals',
        value: create(DecimalsSchema, { values: Array.from(values.values), precision, scale }),
      }
    }
    case 'string':
      return { case: 'strings', value: create(StringsSchema, { values: values.values }) }
    case 'bool':
      return {
        case: 'bools',
        value: create(BoolsSchema, { values: Array.from(values.values, (value) => value === 1) }),
      }
    case 'timestamp':
      return { case: 'timestamps', value: create(TimestampsSchema, { values: Array.from(values.values, BigInt) }) }
    default:
      return unreachable(values)
  }
}

function valuesFor(values: ScalarValues | ListValues): ValuesOneof {
  if (values.type !== 'list') return scalarValuesFor(values)
  const items = scalarValuesFor(values.items)
  const itemNulls = values.itemNulls === null ? {} : { itemNulls: values.itemNulls }
  return { case: 'lists', value: create(ListsSchema, { ends: Array.from(values.ends), ...itemNulls, items }) }
}

export function toColumn(column: FeatureColumn): FeatureColumnMessage {
  const { name, fingerprint, statuses, errors, values } = column
  return create(FeatureColumnSchema, {
    name,
    fingerprint,
    statuses,
    errors: errors.map(({ row, code }) => create(RowErrorSchema, { row, code })),
    values: valuesFor(values),
    counts: column.counts === true,
  })
}

function scalarValuesOf(values: ScalarOneof): ScalarValues {
  switch (values.case) {
    case 'doubles':
      return { type: 'float64', values: Float64Array.from(values.value.values) }
    case 'int32s':
      return { type: 'int32', values: Int32Array.from(values.value.values) }
    case 'int64s':
      return { type: 'int64', values: BigInt64Array.from(values.value.values) }
    case 'decimals': {
      const { precision, scale } = values.value
      if (precision < 1 || precision > decimalDigitsMax || scale < 0 || scale > precision)
        throw broken(`decimals of ${precision} digits, ${scale} behind the point`)
      return { type: 'decimal', precision, scale, values: BigInt64Array.from(values.value.values) }
    }
    case 'strings':
      return { type: 'string', values: values.value.values }
    case 'bools':
      return { type: 'bool', values: Uint8Array.from(values.value.values, Number) }
    case 'timestamps':
      return { type: 'timestamp', values: Float64Array.from(values.value.values, Number) }
    default:
      return unreachable(values)
  }
}

const broken = (message: string): FeatureStoreError => new FeatureStoreError('FS_INTERNAL', `reply: ${message}`)

function valuesOf(values: ValuesOneof, name: string): ScalarValues | ListValues {
  if (values.case !== 'lists') return scalarValuesOf(values)
  const { ends, items, itemNulls: nulls } = values.value
  if (items.case === undefined) throw broken(`${name} has lists without items`)
  // A copy, as of the statuses.
  const itemNulls = nulls.length === 0 ? null : new Uint8Array(nulls)
  return { type: 'list', ends: Int32Array.from(ends), items: scalarValuesOf(items), itemNulls }
}

/** Errors: FS_INTERNAL when the message contradicts itself. */
export function fromColumn(message: FeatureColumnMessage, rows: number): FeatureColumn {
  const { name, fingerprint } = message
  // A copy: the message's is a view that would keep the whole reply alive.
  const statuses = new Uint8Array(message.statuses)
  if (message.values.case === undefined) throw broken(`${name} has no values`)
  const values = valuesOf(message.values, name)
  const count = values.type === 'list' ? values.ends.length : values.values.length
  if (count !== rows || statuses.length !== rows) throw broken(`${name} has ${count} values for ${rows} rows`)
  if (values.type === 'list' && (values.ends.at(-1) ?? 0) !== values.items.values.length)
    throw broken(`${name}: the lists do not end with their items`)
  if (values.type === 'list' && values.itemNulls !== null && values.itemNulls.length !== values.items.values.length)
    throw broken(`${name}: ${values.itemNulls.length} of ${values.items.values.length} items say whether they are null`)
  const type: ValueType = values.type === 'list' ? listOf(values.items) : scalarOf(values)
  const errors = message.errors.map(({ row, code }) => ({
    row,
    code: isErrorCode(code) ? code : ('FS_INTERNAL' as const),
  }))
  return { name, type, fingerprint, statuses, values, ...(message.counts ? { counts: true } : {}), errors }
}

function positionFor(position: Position): MessageInitShape<typeof PositionSchema> {
  const streams = Object.entries(position.streams).map(([stream, partitions]) => ({
    stream,
    partitions: partitions.map(({ epoch, next }) => ({ epoch: BigInt(epoch), next: BigInt(next) })),
  }))
  return { logId: position.logId, streams }
}

function positionOf(message: PositionMessage | undefined): Position {
  const streams = (message?.streams ?? []).map(({ stream, partitions }): [string, PartitionPosition[]] => [
    stream,
    partitions.map(({ epoch, next }) => ({ epoch: Number(epoch), next: offset(Number(next)) })),
  ])
  return { logId: message?.logId ?? '', streams: Object.fromEntries(streams) }
}

const knownFor = (knownAsOfMs: number | null) => (knownAsOfMs === null ? {} : { knownAsOfMs: BigInt(knownAsOfMs) })
const knownOf = (knownAsOfMs: bigint | undefined): number | null =>
  knownAsOfMs === undefined ? null : Number(knownAsOfMs)

/** The plain twin of encode-reply.ts. */
export const toReply = (reply: LookupReply): GetFeaturesResponse =>
  create(GetFeaturesResponseSchema, {
    asOfMs: BigInt(reply.asOfMs),
    ...knownFor(reply.knownAsOfMs),
    token: reply.token,
    rows: reply.rows,
    columns: reply.columns.map(toColumn),
    position: positionFor(reply.position),
  })

export const fromReply = (message: GetFeaturesResponse): LookupReply => ({
  asOfMs: Number(message.asOfMs),
  knownAsOfMs: knownOf(message.knownAsOfMs),
  rows: message.rows,
  columns: message.columns.map((column) => fromColumn(column, message.rows)),
  position: positionOf(message.position),
  token: message.token,
})

export const toPrediction = (prediction: Prediction, includeFeatures: boolean): PredictResponse =>
  create(PredictResponseSchema, {
    scores: Array.from(prediction.scores),
    model: prediction.model,
    modelVersion: prediction.modelVersion,
    token: prediction.lookup.token,
    asOfMs: BigInt(prediction.lookup.asOfMs),
    ...knownFor(prediction.lookup.knownAsOfMs),
    features: includeFeatures ? prediction.lookup.columns.map(toColumn) : [],
    position: positionFor(prediction.lookup.position),
  })

export const fromPrediction = (message: PredictResponse): Prediction => ({
  scores: Float32Array.from(message.scores),
  model: message.model,
  modelVersion: message.modelVersion,
  lookup: {
    asOfMs: Number(message.asOfMs),
    knownAsOfMs: knownOf(message.knownAsOfMs),
    rows: message.scores.length,
    columns: message.features.map((column) => fromColumn(column, message.scores.length)),
    position: positionOf(message.position),
    token: message.token,
  },
})
