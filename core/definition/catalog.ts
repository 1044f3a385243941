import { listOf, scalarOf, type ValueType } from '../engine/feature-column.ts'
import { FeatureStoreError } from '../errors.ts'
import type { FieldType, ScalarType } from '../event/types.ts'
import { fieldsOf } from '../expression/expression.ts'
import { itemTypeOf as itemTypeOfExpression, typeOf, type FieldScope } from '../expression/types.ts'
import { decimalDigitsMax } from '../number/decimal.ts'
import { ttlMinMs, windowReachMs } from '../asof/visible.ts'
import { isCorrectable } from './corrections.ts'
import { durationText } from './format.ts'
import { formatInstant } from '../time/time.ts'
import type {
  AggregationDefinition,
  Definition,
  EntityDefinition,
  FeatureDefinition,
  FeatureReference,
  FunctionName,
  ModelDefinition,
  ServiceDefinition,
  StreamDefinition,
  ViewDefinition,
} from './types.ts'

/** All definitions of a project, checked against each other. */
export interface Catalog {
  readonly streams: ReadonlyMap<string, StreamDefinition>
  readonly entities: ReadonlyMap<string, EntityDefinition>
  readonly views: ReadonlyMap<string, ViewDefinition>
  readonly services: ReadonlyMap<string, ServiceDefinition>
  readonly models: ReadonlyMap<string, ModelDefinition>
}

const invalid = (message: string, remedy?: string): FeatureStoreError =>
  new FeatureStoreError('FS_DEFINITION_INVALID', message, remedy === undefined ? {} : { remedy })

/** Functions whose summary cannot lose a value again: what was retracted must then be found among events still held. */
const withoutInverse: ReadonlySet<FunctionName> = new Set(['min', 'max', 'first', 'last', 'lastN', 'distinctCount'])

/**
 * Errors: FS_DEFINITION_INVALID for names used twice, references to what is not there, wrong types, a ttl shorter than
 * a window, an unbounded exact distinct count.
 */
export function buildCatalog(definitions: readonly Definition[]): Catalog {
  const catalog = {
    streams: byName<StreamDefinition>(definitions, 'stream'),
    entities: byName<EntityDefinition>(definitions, 'entity'),
    views: byName<ViewDefinition>(definitions, 'view'),
    services: byName<ServiceDefinition>(definitions, 'service'),
    models: byName<ModelDefinition>(definitions, 'model'),
  }
  for (const view of catalog.views.values()) checkView(catalog, view)
  for (const service of catalog.services.values()) checkService(catalog, service)
  for (const model of catalog.models.values()) checkModel(catalog, model)
  return catalog
}

function byName<D extends Definition>(definitions: readonly Definition[], kind: D['kind']): ReadonlyMap<string, D> {
  const found = new Map<string, D>()
  for (const definition of definitions) {
    if (definition.kind !== kind) continue
    if (found.has(definition.name)) throw invalid(`two ${kind}s are called ${definition.name}`)
    found.set(definition.name, definition as D)
  }
  return found
}

export const streamOf = (catalog: Catalog, name: string): StreamDefinition =>
  catalog.streams.get(name) ?? fail('FS_STREAM_UNKNOWN', 'stream', name, catalog.streams)
export const viewOf = (catalog: Catalog, name: string): ViewDefinition =>
  catalog.views.get(name) ?? fail('FS_VIEW_UNKNOWN', 'view', name, catalog.views)
export const serviceOf = (catalog: Catalog, name: string): ServiceDefinition =>
  catalog.services.get(name) ?? fail('FS_SERVICE_UNKNOWN', 'service', name, catalog.services)
export const modelOf = (catalog: Catalog, name: string): ModelDefinition =>
  catalog.models.get(name) ?? fail('FS_MODEL_UNKNOWN', 'model', name, catalog.models)

export function featureOf(catalog: Catalog, reference: FeatureReference): FeatureDefinition {
  const view = viewOf(catalog, reference.view)
  const feature = view.features.find((candidate) => candidate.name === reference.feature)
  if (feature !== undefined) return feature
  const known = view.features.map((candidate) => candidate.name).join(', ')
  throw new FeatureStoreError(
    'FS_FEATURE_UNKNOWN',
    `view ${view.name} has no feature ${reference.feature}; it has ${known}`,
  )
}

function fail(
  code: 'FS_STREAM_UNKNOWN' | 'FS_VIEW_UNKNOWN' | 'FS_SERVICE_UNKNOWN' | 'FS_MODEL_UNKNOWN',
  what: string,
  name: string,
  known: ReadonlyMap<string, unknown>,
): never {
  throw new FeatureStoreError(code, `there is no ${what} ${name}; there are ${[...known.keys()].join(', ') || 'none'}`)
}

/** The type of a feature's value: over a series a list of what the function gives. Errors: FS_DEFINITION_INVALID. */
export function valueTypeOf(
  { aggregation, window }: Pick<FeatureDefinition, 'aggregation' | 'window'>,
  fields: FieldScope,
): ValueType {
  const type = aggregateType(aggregation, fields)
  if (window.kind !== 'series') return type
  if (type.kind === 'list') throw invalid(`${aggregation.function} over a series would be a list of lists`)
  return listOf(type)
}

/** What a function gives on one window. */
function aggregateType(aggregation: AggregationDefinition, fields: FieldScope): ValueType {
  const scalar = (type: ScalarType): ValueType => scalarOf({ type })
  if (aggregation.where !== undefined) {
    const type = typeOf(aggregation.where, fields)
    if (type !== 'bool') throw invalid(`where takes a bool, not ${type}`)
  }
  if (aggregation.input === null) {
    if (aggregation.function !== 'count') throw invalid(`${aggregation.function} needs something to aggregate`)
    return scalar('int64')
  }
  const item = itemTypeOfExpression(aggregation.input, fields)
  const input = item.type
  const takes = (...types: readonly ScalarType[]): void => {
    if (!types.includes(input)) throw invalid(`${aggregation.function} takes ${types.join(', ')}, not ${input}`)
  }
  switch (aggregation.function) {
    case 'count':
      throw invalid('count() takes no input: it counts events')
    case 'sum':
      takes('int32', 'int64', 'float64', 'decimal')
      if (input === 'decimal') return scalarOf({ ...item, precision: decimalDigitsMax })
      return scalar(input === 'float64' ? 'float64' : 'int64')
    case 'mean':
    case 'variance':
    case 'stddev':
      takes('int32', 'int64', 'float64', 'decimal')
      return scalar('float64')
    case 'min':
    case 'max':
      takes('int32', 'int64', 'float64', 'decimal', 'timestamp')
      return scalarOf(item)
    case 'share':
      takes('bool')
      return scalar('float64')
    case 'first':
    case 'last':
      return scalarOf(item)
    case 'lastN':
      return listOf(item)
    case 'distinctCount':
      return scalar('int64')
  }
}

/** Field types of a view's entity key, in order. */
export const keyTypesOf = (catalog: Catalog, view: ViewDefinition): ScalarType[] => {
  const key = catalog.entities.get(view.entity)?.key ?? {}
  return Object.values(key).map((field) => field.type)
}

/** What expressions of a service see: `view.feature` and `request.field`. Counts, integer sums and decimals read as float64. */
export function serviceScope(catalog: Catalog, service: ServiceDefinition): Record<string, FieldType> {
  const scope: Record<string, FieldType> = {}
  for (const reference of service.features) {
    const type = featureValueType(catalog, reference)
    if (type.kind === 'scalar')
      scope[`${reference.view}.${reference.feature}`] = {
        type: type.type === 'int64' || type.type === 'decimal' ? 'float64' : type.type,
        nullable: true,
      }
  }
  for (const [name, field] of Object.entries(service.request)) scope[`request.${name}`] = field
  return scope
}

export function featureValueType(catalog: Catalog, reference: FeatureReference): ValueType {
  const view = viewOf(catalog, reference.view)
  return valueTypeOf(featureOf(catalog, reference), streamOf(catalog, view.from).fields)
}

/** Key fields of every entity that a service describes: what a caller must send. */
export function entityFieldsOf(catalog: Catalog, views: Iterable<string>): Record<string, FieldType> {
  const fields: Record<string, FieldType> = {}
  for (const name of views) {
    const view = viewOf(catalog, name)
    for (const [part, type] of Object.entries(catalog.entities.get(view.entity)?.key ?? {})) {
      const other = fields[part]
      if (other !== undefined && other.type !== type.type)
        throw invalid(`key field ${part} is ${other.type} in one entity and ${type.type} in ${view.entity}`)
      fields[part] = type
    }
  }
  return fields
}

const named = <T>(owner: string, check: () => T): T => {
  try {
    return check()
  } catch (error) {
    if (error instanceof FeatureStoreError)
      throw new FeatureStoreError(error.code, `${owner}: ${error.message}`, { cause: error })
    throw error
  }
}

function checkView(catalog: Catalog, view: ViewDefinition): void {
  const stream = named(`view ${view.name}`, () => streamOf(catalog, view.from))
  if (!catalog.entities.has(view.entity))
    throw invalid(`view ${view.name}: entity ${view.entity} is not exported by the project`)
  for (const feature of view.features) {
    const owner = `view ${view.name}: feature ${feature.name}`
    named(owner, () => valueTypeOf(feature, stream.fields))
    const ttlMs = ttlMinMs(feature.window)
    if (view.ttlMs !== null && ttlMs > view.ttlMs)
      throw invalid(
        `${owner}: its window reaches ${durationText(ttlMs)} back, further than the ttl of ${durationText(view.ttlMs)}`,
      )
    if (
      feature.aggregation.function === 'distinctCount' &&
      !Number.isFinite(windowReachMs(feature.window, view.ttlMs)) &&
      feature.window.kind !== 'rows'
    ) {
      throw invalid(
        `${owner}: an exact distinct count without bound keeps every value for ever: give it a window or the view a ttl`,
      )
    }
    if (
      isCorrectable(stream) &&
      view.ttlMs === null &&
      withoutInverse.has(feature.aggregation.function) &&
      (feature.window.kind === 'lifetime' || feature.window.kind === 'rows')
    ) {
      throw invalid(
        `${owner}: ${feature.aggregation.function} has no inverse, events of stream ${stream.name} can be taken back, and the view keeps them for ever`,
        `Give the view ${view.name} a ttl, or the feature a window in time.`,
      )
    }
  }
}

function checkService(catalog: Catalog, service: ServiceDefinition): void {
  const owner = `service ${service.name}`
  const seen = new Set<string>()
  for (const reference of service.features) {
    named(owner, () => featureOf(catalog, reference))
    const text = `${reference.view}:${reference.feature}`
    if (seen.has(text)) throw invalid(`${owner}: ${text} is there twice`)
    seen.add(text)
  }
  const entityFields = named(owner, () => entityFieldsOf(catalog, new Set(service.features.map(({ view }) => view))))
  for (const name of Object.keys(service.request)) {
    if (name in entityFields) throw invalid(`${owner}: request field ${name} is also a key field`)
  }
  const scope = serviceScope(catalog, service)
  for (const derived of service.derive) {
    const type = named(`${owner}: derived feature ${derived.name}`, () => typeOf(derived.expression, scope))
    if (type !== 'float64' && type !== 'bool')
      throw invalid(`${owner}: derived feature ${derived.name} is ${type}: float64 or bool`)
  }
}

function checkModel(catalog: Catalog, model: ModelDefinition): void {
  const owner = `model ${model.name}`
  const service = named(owner, () => serviceOf(catalog, model.service))
  const stream = named(owner, () => streamOf(catalog, model.labels.from))
  if (named(`${owner}: label`, () => typeOf(model.labels.label, stream.fields)) !== 'bool')
    throw invalid(`${owner}: the label is no bool`)
  const entityFields = entityFieldsOf(catalog, new Set(service.features.map(({ view }) => view)))
  for (const [name, type] of Object.entries(entityFields)) {
    if (stream.fields[name]?.type !== type.type)
      throw invalid(`${owner}: stream ${stream.name} has no field ${name} of type ${type.type} to find the entity by`)
  }
  for (const [name, source] of Object.entries(model.labels.request)) {
    const [asked, given] = [service.request[name], stream.fields[source]]
    if (
      given?.type !== asked?.type ||
      given?.scale !== asked?.scale ||
      (given?.precision ?? 0) > (asked?.precision ?? 0)
    )
      throw invalid(
        `${owner}: request field ${name} is ${service.request[name]?.type}, stream field ${source} is ${stream.fields[source]?.type}`,
      )
  }
  if (!Number.isSafeInteger(model.trainUntilMs))
    throw invalid(`${owner}: trainUntil is ${model.trainUntilMs}: epoch milliseconds, such as ${formatInstant(0)} = 0`)
}

/** Stream fields that an aggregation reads, each once: its input's and its condition's. */
export const fieldsAggregated = ({ input, where }: AggregationDefinition): string[] => [
  ...new Set([...(input === null ? [] : fieldsOf(input)), ...(where === undefined ? [] : fieldsOf(where))]),
]

/** Stream fields that a view reads: its key, its event time, every input, and what says which event a record corrects. */
export function fieldsReadBy(view: ViewDefinition, stream: StreamDefinition): string[] {
  const inputs = view.features.flatMap(({ aggregation }) => fieldsAggregated(aggregation))
  const identity = stream.id === undefined ? (stream.primaryKey ?? []) : [stream.id]
  return [...new Set([...view.keyFields, stream.eventTime, ...inputs, ...identity])]
}

/** Stream fields that its views apply together. With an id all of them: duplicates are compared by what they say. */
export function fieldsApplied(catalog: Catalog, stream: StreamDefinition): string[] {
  if (stream.id !== undefined) return Object.keys(stream.fields)
  const views = [...catalog.views.values()].filter(({ from }) => from === stream.name)
  return [...new Set(views.flatMap((view) => fieldsReadBy(view, stream)))]
}
