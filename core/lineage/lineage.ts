/**
 * What a training set was computed from, as plain text that travels inside the file. A function of the definitions, the
 * position and the content: no clock, so the same set has the same bytes whenever it is built.
 */
import { fieldsAggregated, featureOf, serviceScope, streamOf, viewOf, type Catalog } from '../definition/catalog.ts'
import {
  canonicalJson,
  derivedFingerprint,
  featureFingerprint,
  semanticsVersion,
  serviceFingerprints,
} from '../definition/fingerprint.ts'
import {
  referenceText,
  type AggregationDefinition,
  type FeatureReference,
  type ServiceDefinition,
} from '../definition/types.ts'
import { featureColumnName } from '../engine/matrix.ts'
import { encodeToken, type PartitionPosition, type Position } from '../event/position.ts'
import { canonicalText, fieldsOf } from '../expression/expression.ts'

/** Raised when a key below changes its meaning. */
export const lineageFormat = 'tidemark-training-set-1'

export type Metadata = Readonly<Record<string, string>>

export interface TrainingSetLineage {
  /** Metadata of the whole file. */
  readonly schema: Metadata
  /** Metadata of each feature's column, by the column's name. */
  readonly columns: Readonly<Record<string, Metadata>>
}

export interface TrainingSetFacts {
  readonly catalog: Catalog
  readonly service: ServiceDefinition
  readonly position: Position
  readonly rows: number
  /** Hex SHA-256 of the content. */
  readonly contentDigest: string
}

export function trainingSetLineage(facts: TrainingSetFacts): TrainingSetLineage {
  const { catalog, service, rows, contentDigest } = facts
  const columns: Record<string, Metadata> = {}
  for (const reference of service.features)
    columns[featureColumnName(referenceText(reference))] = featureMetadata(catalog, reference)
  for (const { name } of service.derive) columns[name] = derivedMetadata(catalog, service, name)
  const position = servicePosition(catalog, service, facts.position)
  return {
    schema: {
      'tidemark.format': lineageFormat,
      'tidemark.service': service.name,
      'tidemark.fingerprints': canonicalJson(columnFingerprints(catalog, service)),
      'tidemark.position': canonicalJson(position),
      'tidemark.token': encodeToken(position),
      'tidemark.rows': String(rows),
      'tidemark.content_digest': contentDigest,
      'tidemark.semantics_version': String(semanticsVersion),
    },
    columns,
  }
}

/** Fingerprints by the name of the column: `view__feature`, or the name of a derived feature. */
export const columnFingerprints = (catalog: Catalog, service: ServiceDefinition): Record<string, string> =>
  Object.fromEntries(
    Object.entries(serviceFingerprints(catalog, service.name)).map(([name, fingerprint]) => [
      featureColumnName(name),
      fingerprint,
    ]),
  )

/** The part of a position that a service's values depend on: its streams, in order of their names. */
export function servicePosition(catalog: Catalog, service: ServiceDefinition, position: Position): Position {
  const names = service.features.map(({ view }) => streamOf(catalog, viewOf(catalog, view).from).name)
  const streams: Record<string, readonly PartitionPosition[]> = {}
  for (const name of [...new Set(names)].sort())
    streams[name] = (position.streams[name] ?? []).map(({ epoch, next }) => ({ epoch, next }))
  return { logId: position.logId, streams }
}

function featureMetadata(catalog: Catalog, reference: FeatureReference): Metadata {
  return {
    'tidemark.reference': referenceText(reference),
    'tidemark.fingerprint': featureFingerprint(catalog, reference),
    'tidemark.sources': JSON.stringify(sourcesOf(catalog, reference)),
    'tidemark.window': canonicalJson(featureOf(catalog, reference).window),
    'tidemark.function': functionText(featureOf(catalog, reference).aggregation),
  }
}

/** A derived feature has no window of its own. */
function derivedMetadata(catalog: Catalog, service: ServiceDefinition, name: string): Metadata {
  const derived = service.derive.find((candidate) => candidate.name === name)
  if (derived === undefined) throw new Error(`service ${service.name} derives no ${name}`)
  const scope = serviceScope(catalog, service)
  const read = fieldsOf(derived.expression).filter((field) => field in scope)
  const sources = read.flatMap((field) => {
    const [view = '', feature = ''] = field.split('.')
    return view === 'request' ? [field] : sourcesOf(catalog, { view, feature })
  })
  return {
    'tidemark.reference': name,
    'tidemark.fingerprint': derivedFingerprint(catalog, service, name),
    'tidemark.sources': JSON.stringify([...new Set(sources)].sort()),
    'tidemark.inputs': JSON.stringify(read),
    'tidemark.function': canonicalText(derived.expression),
  }
}

/** Every stream field that a value depends on: the key, the event time, and what is aggregated. */
function sourcesOf(catalog: Catalog, reference: FeatureReference): string[] {
  const view = viewOf(catalog, reference.view)
  const stream = streamOf(catalog, view.from)
  const fields = [...view.keyFields, stream.eventTime, ...fieldsAggregated(featureOf(catalog, reference).aggregation)]
  return [...new Set(fields)].sort().map((field) => `${stream.name}.${field}`)
}

/** As a definition reads: `mean($"delay")`, `lastN($"delay", 3)`, `count() where (gt $"delay" 15)`. */
function functionText({ function: name, input, where, n, divisor }: AggregationDefinition): string {
  const parts = [input === null ? '' : canonicalText(input), n === undefined ? '' : String(n), divisor ?? '']
  const condition = where === undefined ? '' : ` where ${canonicalText(where)}`
  return `${name}(${parts.filter((part) => part !== '').join(', ')})${condition}`
}
