import { type FeatureColumn } from '../../core/engine/feature-column.ts'
import { type Position } from '../../core/event/position.ts'
import { type Scalar } from '../../core/event/types.ts'

/**
 * Features of many entities as of one moment, whatever protocol asked.
 *
 * Shape:  columns by name of the key field or request field, all of one length: the rows. A transport carries integers
 *         as number or bigint, so either fits an integer or timestamp field; a string fits a string field only.
 * Units:  `asOfMs` and `knownAsOfMs` epoch milliseconds; `deadlineMs` milliseconds from now.
 */
export interface LookupRequest {
  /** Exactly one of `service` and `features`. */
  readonly service?: string
  /** `view:feature` or `view@version:feature`. */
  readonly features?: readonly string[]
  readonly entities: Readonly<Record<string, readonly Scalar[]>>
  readonly request: Readonly<Record<string, readonly Scalar[]>>
  /** Now, when left out. */
  readonly asOfMs?: number
  /** `asOfMs` when only that is given, everything when neither is. */
  readonly knownAsOfMs?: number
  /** Token of an earlier reply: wait until as much is applied, else FS_POSITION_NOT_REACHED. */
  readonly minPosition?: string
  readonly deadlineMs?: number
}

export interface LookupReply {
  readonly asOfMs: number
  /** null: everything applied was allowed. */
  readonly knownAsOfMs: number | null
  readonly rows: number
  readonly columns: readonly FeatureColumn[]
  readonly position: Position
  /** `position`, opaque: the `minPosition` of a later request. */
  readonly token: string
}

export interface FeatureLookup {
  getFeatures(request: LookupRequest): Promise<LookupReply>
}

export interface PredictRequest extends LookupRequest {
  /** The newest model of the service, when left out. */
  readonly model?: string
}

export interface Prediction {
  /** One per row. */
  readonly scores: Float32Array
  readonly model: string
  readonly modelVersion: number
  /** What the scores were computed from. */
  readonly lookup: LookupReply
}

export interface Predictor {
  predict(request: PredictRequest): Promise<Prediction>
}
