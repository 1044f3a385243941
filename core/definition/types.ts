import type { FieldType } from '../event/types.ts'
import type { Expression } from '../expression/expression.ts'

/** Definitions are plain JSON-able data: what is written to the registry and hashed into fingerprints. */
export interface StreamDefinition {
  readonly kind: 'stream'
  readonly name: string
  readonly fields: Readonly<Record<string, FieldType>>
  /** The timestamp field that says when it happened. */
  readonly eventTime: string
  /** Fields whose values make the record key, and so the partition. */
  readonly key: readonly string[]
  readonly partitions: number
  /** For history: when a row became known, epoch milliseconds, over the stream's fields. */
  readonly importKnownAt: Expression | null
  /** The field that names an event: same id, entity key and event time is the same event. Absent: events have no identity. */
  readonly id?: string
  /** Only with `id`: how long after the first one, by knownAt, another one is a duplicate, milliseconds. */
  readonly dedupeSpanMs?: number
  /** A string field of the payload that holds the operation. Absent: `_op` of the writer's schema, if it has that. */
  readonly op?: string
  /** Fields of the primary key: the stream is a changelog of rows. Absent: it is none. */
  readonly primaryKey?: readonly string[]
  /** Its records bear their producers' time. Absent: that of the log, as it appends them. */
  readonly knownAt?: 'createTime'
  /** How far a record may be known beyond those before it in its partition, milliseconds. Absent: without bound. */
  readonly maxKnownAtJumpMs?: number
  readonly description?: string
}

export interface EntityDefinition {
  readonly kind: 'entity'
  readonly name: string
  readonly key: Readonly<Record<string, FieldType>>
  readonly description?: string
}

export type FunctionName =
  | 'count'
  | 'sum'
  | 'mean'
  | 'min'
  | 'max'
  | 'variance'
  | 'stddev'
  | 'share'
  | 'first'
  | 'last'
  | 'lastN'
  | 'distinctCount'

export interface AggregationDefinition {
  readonly function: FunctionName
  /** What is aggregated, over the stream's fields; null for `count()`. */
  readonly input: Expression | null
  /** Events for which it is not true (false or null) do not count. Absent: all do. */
  readonly where?: Expression
  /** lastN: how many, from 1. */
  readonly n?: number
  /** variance and stddev: n - 1 (the default) or n. */
  readonly divisor?: 'sample' | 'population'
}

/** What a window takes of the visible events at T is decided in `core/asof/visible.ts`. */
export type WindowDefinition =
  /**
   * Half-open, exact to the event: [T - spanMs - endsBeforeMs, T - endsBeforeMs). `endsBeforeMs` is absent where 0. With a
   * resolution the start is lowered to the multiple of it, from the epoch, at or below it.
   */
  | {
      readonly kind: 'sliding'
      readonly spanMs: number
      readonly endsBeforeMs?: number
      readonly resolutionMs?: number
    }
  /** The windows [T - (i + 1) stepMs, T - i stepMs) within spanMs, oldest first: one list. */
  | { readonly kind: 'series'; readonly spanMs: number; readonly stepMs: number }
  /** As far back as the ttl. */
  | { readonly kind: 'lifetime' }
  /** The aligned interval of `spanMs` (UTC, from the epoch) that T lies in, up to T, or the whole one before it. */
  | {
      readonly kind: 'tumbling'
      readonly spanMs: number
      readonly take: 'current' | 'last'
      /** Days of an IANA zone: `spanMs` is whole days, and intervals begin at local midnight. Absent: UTC. */
      readonly zone?: { readonly name: string; readonly digest: string }
    }
  /** The last `count` visible events in total order. */
  | { readonly kind: 'rows'; readonly count: number }
  /** The longest chain of visible events, each less than `gapMs` after the one before, that ends less than `gapMs` before T. */
  | { readonly kind: 'session'; readonly gapMs: number }

export interface FeatureDefinition {
  readonly name: string
  readonly aggregation: AggregationDefinition
  readonly window: WindowDefinition
}

/** When the values of a view are written to its feature history (core/engine/feature-history.ts). */
export type HistoryDefinition = { readonly kind: 'every'; readonly stepMs: number } | { readonly kind: 'none' }

export interface ViewDefinition {
  readonly kind: 'view'
  readonly name: string
  readonly from: string
  readonly entity: string
  /** Stream field of each key field of the entity, in the entity's order. */
  readonly keyFields: readonly string[]
  readonly ttlMs: number | null
  readonly latenessMs: number | null
  readonly maxAheadMs: number
  readonly features: readonly FeatureDefinition[]
  /** Absent: every 15 minutes. Changes no value, so no fingerprint. */
  readonly history?: HistoryDefinition
  readonly description?: string
}

export interface FeatureReference {
  readonly view: string
  readonly feature: string
}

export interface DerivedDefinition {
  readonly name: string
  /** Over `view.feature` and `request.field`. */
  readonly expression: Expression
}

export interface ServiceDefinition {
  readonly kind: 'service'
  readonly name: string
  readonly features: readonly FeatureReference[]
  readonly request: Readonly<Record<string, FieldType>>
  readonly derive: readonly DerivedDefinition[]
  /** What `now` is for a read without an as-of: the wall clock, or the newest accepted event + 1 ms (replayed history). */
  readonly clock: 'system' | 'newestEvent'
  readonly description?: string
}

/** Label rows drawn from a stream: every event is one, as of its own event time, known as of the same. */
export interface ModelDefinition {
  readonly kind: 'model'
  readonly name: string
  readonly service: string
  readonly labels: {
    readonly from: string
    /** True for the positive class; rows where it is null are left out. */
    readonly label: Expression
    /** Request field -> stream field. */
    readonly request: Readonly<Record<string, string>>
    /** At most this many rows, chosen by a hash of (partition, offset). */
    readonly sampleRows: number
  }
  /** Rows as of before it are fitted, the rest evaluated. Epoch milliseconds. */
  readonly trainUntilMs: number
  readonly algorithm: { readonly kind: 'logisticRegression'; readonly l2: number }
}

export type Definition = StreamDefinition | EntityDefinition | ViewDefinition | ServiceDefinition | ModelDefinition

export const referenceText = (reference: FeatureReference): string => `${reference.view}:${reference.feature}`
