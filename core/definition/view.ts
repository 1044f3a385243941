import { FeatureStoreError } from '../errors.ts'
import type { ScalarType } from '../event/types.ts'
import { dayMs } from '../time/time.ts'
import { checkName, type Field } from './fields.ts'
import type { FeatureBuilder } from './functions.ts'
import { checkHistory } from './history.ts'
import { checkOptions } from './options.ts'
import { expressionsOf, type Entity, type FieldExpressions, type FieldMap, type Stream } from './stream.ts'
import type { FeatureDefinition, FeatureReference, HistoryDefinition, ViewDefinition } from './types.ts'

type AnyFeature = FeatureBuilder<ScalarType | `list<${ScalarType}>`>
export type FeatureMap = Readonly<Record<string, AnyFeature>>

/** Features of one view, chosen for a service. `Features` is only for the type checker. */
export interface Selection<Name extends string = string, Features = unknown> {
  readonly view: Name
  readonly references: readonly FeatureReference[]
  readonly features?: Features
}

/** A view definition that still knows its name and features. Its methods are not enumerable: a definition is data. */
export interface View<Name extends string, Features extends FeatureMap> extends ViewDefinition {
  readonly name: Name
  /** Every feature of the view. */
  all(): Selection<Name, Features>
  select<K extends keyof Features & string>(...names: readonly K[]): Selection<Name, Pick<Features, K>>
}

/** Streams whose fields hold the entity's key, by the same names and types. */
type HasKey<F extends FieldMap, K extends FieldMap> = {
  [P in keyof K]: P extends keyof F ? (F[P] extends Field<K[P]['type']> ? F[P] : never) : never
}

export interface ViewOptions<F extends FieldMap, K extends FieldMap, Features extends FeatureMap> {
  readonly from: Stream<F> & { readonly fields: HasKey<F, K> }
  readonly entity: Entity<K>
  /** How far back anything counts; at least the longest window. Default: for ever. */
  readonly ttl?: number
  /** An event counts only if known at most this long after it happened. Default: however late. */
  readonly lateness?: number
  /** An event counts only if it happened at most this long after it was known. Default: 1 day. */
  readonly maxAhead?: number
  readonly features: (fields: FieldExpressions<F>) => Features
  /** When values are written to the offline table `features_<view>`: every(ms), everyEvent or none. Default: every 15 minutes. */
  readonly history?: HistoryDefinition
  readonly description?: string
}

const known = ['from', 'entity', 'ttl', 'lateness', 'maxAhead', 'features', 'history', 'description']
const later = ['where', 'resolution', 'unnest']

/**
 * A versioned set of features of one entity over one stream.
 *
 * Errors: FS_DEFINITION_INVALID, FS_NOT_YET (where, resolution, unnest).
 */
export function view<
  const Name extends string,
  F extends FieldMap,
  K extends FieldMap,
  const Features extends FeatureMap,
>(name: Name, options: ViewOptions<F, K, Features>): View<Name, Features> {
  checkName('a view', name)
  checkOptions(`view ${name}`, options, known, later)
  const invalid = (message: string) => new FeatureStoreError('FS_DEFINITION_INVALID', `view ${name}: ${message}`)
  if (name === 'request') throw invalid('in a service, request is what the caller sends')
  const { from, entity } = options
  if (from?.kind !== 'stream') throw invalid('from is no stream')
  if (entity?.kind !== 'entity') throw invalid('entity is no entity')
  for (const [part, { type }] of Object.entries(entity.key)) {
    const field = Object.hasOwn(from.fields, part) ? (from.fields as FieldMap)[part] : undefined
    if (field?.type !== type)
      throw invalid(`stream ${from.name} has no field ${part} of type ${type}, which entity ${entity.name} is keyed by`)
  }
  const span = (what: string, value: number | undefined): number | null => {
    if (value === undefined) return null
    if (!Number.isSafeInteger(value) || value < 0 || (what === 'ttl' && value === 0))
      throw invalid(`${what} is ${value}: a positive number of milliseconds`)
    return value
  }
  const features = Object.entries(
    options.features(expressionsOf(`stream ${from.name}`, from.fields as unknown as F)),
  ).map(([feature, builder]): FeatureDefinition => {
    checkName(`a feature of view ${name}`, feature)
    if (feature.includes('__'))
      throw invalid(`feature ${feature}: "__" separates view and feature in the columns of training sets`)
    const aggregation = (builder as Partial<AnyFeature> | null | undefined)?.aggregation
    if (aggregation === undefined) throw invalid(`feature ${feature} is no aggregation, such as count()`)
    if (Object.hasOwn(entity.key, feature))
      throw invalid(`feature ${feature} has the name of a key field, which its history has as a column`)
    return { name: feature, aggregation, window: builder.window }
  })
  if (features.length === 0) throw invalid('it has no features')
  const definition: ViewDefinition = {
    kind: 'view',
    name,
    from: from.name,
    entity: entity.name,
    keyFields: Object.keys(entity.key),
    ttlMs: span('ttl', options.ttl),
    latenessMs: span('lateness', options.lateness),
    maxAheadMs: span('maxAhead', options.maxAhead) ?? dayMs,
    features,
    ...(options.history === undefined ? {} : { history: checkHistory(`view ${name}`, options.history) }),
    ...(options.description === undefined ? {} : { description: options.description }),
  }
  const select = (...names: readonly string[]): Selection<Name> => ({
    view: name,
    references: names.map((feature) => {
      if (!features.some((known) => known.name === feature)) {
        throw new FeatureStoreError(
          'FS_FEATURE_UNKNOWN',
          `view ${name} has no feature ${feature}; it has ${features.map((known) => known.name).join(', ')}`,
        )
      }
      return { view: name, feature }
    }),
  })
  return Object.defineProperties(definition, {
    all: { value: () => select(...features.map((feature) => feature.name)) },
    select: { value: select },
  }) as View<Name, Features>
}
