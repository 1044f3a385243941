import { windowReachMs } from '../asof/visible.ts'
import { keyTypesOf, streamOf, valueTypeOf, viewOf, type Catalog } from '../definition/catalog.ts'
import { featureFingerprint, viewFingerprint } from '../definition/fingerprint.ts'
import type { FeatureDefinition, StreamDefinition, ViewDefinition } from '../definition/types.ts'
import type { FieldType, ScalarType } from '../event/types.ts'
import { canonicalText, type Expression } from '../expression/expression.ts'
import { itemTypeOf } from '../expression/types.ts'
import { runLaneWords, totalLaneWords } from '../number/lanes.ts'
import type { ValueType } from './feature-column.ts'
import { recordLayout, type RecordLayout } from './state/record-layout.ts'
import { summaryLayout, type SummaryLayout } from './state/summary-layout.ts'
import { planTiles, tileEventsMin, type TilePlan } from './state/tile-layout.ts'

/** One distinct input of a view, an expression under a condition: a column of its rows. */
export interface InputPlan {
  readonly expression: Expression
  /** Null where it is not true; null for all events. */
  readonly where: Expression | null
  readonly type: ScalarType
  /** Of decimals, with `scale`. */
  readonly precision?: number
  readonly scale?: number
  /** Null may stand there: all but a field that is never null, of events that are never corrected. */
  readonly nullable: boolean
  /** Some function needs Σx. */
  readonly moments: boolean
  /** Some function needs Σx². */
  readonly squares: boolean
  readonly extremes: boolean
}

export interface FeaturePlan {
  readonly definition: FeatureDefinition
  readonly reference: string
  readonly fingerprint: string
  readonly valueType: ValueType
  /** Index into `inputs`, -1 for a `count()` of all events. */
  readonly input: number
  /** Index into `windows`. */
  readonly window: number
}

/** When the stored row of an entity is split (row-parts.ts); events. */
export interface RowSplit {
  /** Rows beyond it are a head and parts; below half of it they are one value again. At least twice `partEvents`. */
  readonly splitEvents: number
  readonly partEvents: number
}

/** row-parts.ts has the figures. */
const rowSplit: RowSplit = { splitEvents: 512, partEvents: 256 }

type Mutable<T> = { -readonly [K in keyof T]: T[K] }

/** A view compiled once: its features share windows and inputs. */
export interface ViewPlan {
  readonly view: ViewDefinition
  readonly stream: StreamDefinition
  readonly fields: Readonly<Record<string, FieldType>>
  readonly keyTypes: readonly ScalarType[]
  readonly fingerprint: string
  readonly inputs: readonly InputPlan[]
  readonly windows: readonly FeatureDefinition['window'][]
  readonly features: readonly FeaturePlan[]
  /** How far before T the longest window looks, milliseconds; Infinity for a lifetime without ttl. */
  readonly reachMs: number
  /** Rows keep events this long behind their newest: reach + online history. */
  readonly retainMs: number
  /** Events may be taken back or replaced: the stream has an id or is a changelog. */
  readonly corrected: boolean
  readonly layout: RecordLayout
  readonly summary: SummaryLayout
  /** Of 32 runs together, and of 32 nodes. */
  readonly node: SummaryLayout
  readonly split: RowSplit
  /** Null where all events are kept one by one (tiles.ts). */
  readonly tile: TilePlan | null
}

export interface PlanOptions {
  /** Spans with fewer events keep them. */
  readonly tileEventsMin?: number
}

/** Functions and windows whose value depends on the order of events that happened and were known at the same moments. */
const isOrdered = ({ aggregation, window }: FeatureDefinition): boolean =>
  ['first', 'last', 'lastN'].includes(aggregation.function) || window.kind === 'rows'

export function planView(
  catalog: Catalog,
  name: string,
  historyMs: number,
  split = rowSplit,
  options: PlanOptions = {},
): ViewPlan {
  const view = viewOf(catalog, name)
  const stream = streamOf(catalog, view.from)
  const inputs: (Mutable<InputPlan> & { readonly text: string })[] = []
  const windows: FeatureDefinition['window'][] = []
  const identified = stream.id !== undefined
  const corrected = identified || stream.primaryKey !== undefined
  const features = view.features.map((definition): FeaturePlan => {
    const { aggregation, window } = definition
    let windowIndex = windows.findIndex((known) => JSON.stringify(known) === JSON.stringify(window))
    if (windowIndex < 0) windowIndex = windows.push(window) - 1
    let input = -1
    const where = aggregation.where ?? null
    // A count under a condition counts the events where the condition, true or null, is not null.
    const expression = aggregation.input ?? where
    if (expression !== null) {
      const text =
        where === null ? canonicalText(expression) : `${canonicalText(expression)} where ${canonicalText(where)}`
      input = inputs.findIndex((known) => known.text === text)
      if (input < 0) {
        input =
          inputs.push({
            expression,
            where,
            text,
            ...itemTypeOf(expression, stream.fields),
            nullable: corrected || where !== null || !isNeverNull(expression, stream.fields),
            moments: false,
            squares: false,
            extremes: false,
          }) - 1
      }
      const plan = inputs[input] as (typeof inputs)[number]
      plan.moments ||= ['sum', 'mean', 'variance', 'stddev', 'share'].includes(aggregation.function)
      plan.squares ||= aggregation.function === 'variance' || aggregation.function === 'stddev'
      plan.extremes ||= aggregation.function === 'min' || aggregation.function === 'max'
    }
    const reference = { view: name, feature: definition.name }
    return {
      definition,
      reference: `${name}:${definition.name}`,
      fingerprint: featureFingerprint(catalog, reference),
      valueType: valueTypeOf(definition, stream.fields),
      input,
      window: windowIndex,
    }
  })
  const reachMs = Math.max(...windows.map((window) => windowReachMs(window, view.ttlMs)))
  const planned = inputs.map(({ text: _, ...input }): InputPlan => input)
  return {
    view,
    stream,
    fields: stream.fields,
    keyTypes: keyTypesOf(catalog, view),
    fingerprint: viewFingerprint(catalog, name),
    inputs: planned,
    windows,
    features,
    reachMs,
    retainMs: reachMs + historyMs,
    corrected,
    layout: recordLayout({
      inputs: planned,
      ordered: corrected || view.features.some(isOrdered),
      corrected,
      identified,
    }),
    summary: summaryLayout(planned, runLaneWords),
    node: summaryLayout(planned, totalLaneWords),
    split,
    tile: corrected
      ? null
      : planTiles(view, planned, features, windows, historyMs, options.tileEventsMin ?? tileEventsMin),
  }
}

const isNeverNull = (expression: Expression, fields: Readonly<Record<string, FieldType>>): boolean =>
  expression.kind === 'field' && fields[expression.name]?.nullable !== true
