import { valueAt, type FeatureColumn, type FeatureValue, type StatusCode } from '../../core/engine/feature-column.ts'
import type { Position } from '../../core/event/position.ts'
import type { Scalar } from '../../core/event/types.ts'

/** Which path gave the answer: the online rows now, a training set, or a lookup at a moment in the past. */
export type AuditKind = 'online' | 'training' | 'as-of'

export interface SampledValue {
  /** `view:feature`, or the name of a derived feature of the sample's service. */
  readonly name: string
  readonly status: StatusCode
  readonly value: FeatureValue
}

/** One answered row, with all that F depends on: enough to compute it again from the log alone. */
export interface AuditSample {
  readonly kind: AuditKind
  /** The service asked, or '' for features named one by one (nothing is derived then). */
  readonly service: string
  /** By key field. */
  readonly entities: Readonly<Record<string, Scalar>>
  /** By request field; derived features read it. */
  readonly request: Readonly<Record<string, Scalar>>
  /** Epoch milliseconds. */
  readonly asOfMs: number
  /** Epoch milliseconds; Infinity: everything applied was allowed. */
  readonly knownAsOfMs: number
  readonly position: Position
  readonly values: readonly SampledValue[]
}

/** A columnar answer, as a lookup gives it. */
export interface ColumnarReply {
  readonly asOfMs: number
  /** null: everything applied was allowed. */
  readonly knownAsOfMs: number | null
  readonly rows: number
  readonly columns: readonly FeatureColumn[]
  readonly position: Position
}

type ScalarColumns = Readonly<Record<string, readonly Scalar[]>>

/** The values of one row, in the order of the columns. */
export const sampledValues = (columns: readonly FeatureColumn[], row: number): SampledValue[] =>
  columns.map((column) => ({
    name: column.name,
    status: column.statuses[row] as StatusCode,
    value: valueAt(column, row),
  }))

/** One sample per row of a reply; `entities` and `request` are the columns that were asked with. */
export function samplesFromReply(
  kind: AuditKind,
  service: string,
  entities: ScalarColumns,
  request: ScalarColumns,
  reply: ColumnarReply,
): AuditSample[] {
  return Array.from({ length: reply.rows }, (_, row) => ({
    kind,
    service,
    entities: rowOf(entities, row),
    request: rowOf(request, row),
    asOfMs: reply.asOfMs,
    knownAsOfMs: reply.knownAsOfMs ?? Number.POSITIVE_INFINITY,
    position: reply.position,
    values: sampledValues(reply.columns, row),
  }))
}

const rowOf = (columns: ScalarColumns, row: number): Record<string, Scalar> =>
  Object.fromEntries(Object.entries(columns).map(([name, values]) => [name, values[row] ?? null]))
