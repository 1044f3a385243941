import { createHash } from 'node:crypto'
import { fieldsOf, canonicalText } from '../expression/expression.ts'
import {
  featureOf,
  fieldsAggregated,
  keyTypesOf,
  serviceOf,
  serviceScope,
  streamOf,
  viewOf,
  type Catalog,
} from './catalog.ts'
import { staysWithEntity } from './corrections.ts'
import { referenceText, type Definition, type FeatureReference, type ServiceDefinition } from './types.ts'

/** Raised whenever the same definition would give another value: old fingerprints then name the old meaning. */
export const semanticsVersion = 1

/** JSON with sorted keys: one text per value. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`
  if (typeof value === 'object' && value !== null) {
    const entries = Object.entries(value).filter(([, part]) => part !== undefined)
    entries.sort(([a], [b]) => (a < b ? -1 : 1))
    return `{${entries.map(([key, part]) => `${JSON.stringify(key)}:${canonicalJson(part)}`).join(',')}}`
  }
  return JSON.stringify(value)
}

export const sha256 = (text: string | Uint8Array): string => createHash('sha256').update(text).digest('hex')

/**
 * Hex SHA-256 over everything that can change a value of the feature, and nothing else: no description, no name of its
 * own, no order of definitions. A changed feature has another fingerprint; equal fingerprints have equal values.
 */
export function featureFingerprint(catalog: Catalog, reference: FeatureReference): string {
  const view = viewOf(catalog, reference.view)
  const feature = featureOf(catalog, reference)
  const stream = streamOf(catalog, view.from)
  const { input, where, ...aggregation } = feature.aggregation
  const read = fieldsAggregated(feature.aggregation)
  const identity = [...(stream.id === undefined ? [] : [stream.id]), ...(stream.primaryKey ?? [])]
  return sha256(
    canonicalJson({
      semanticsVersion,
      stream: stream.name,
      eventTime: stream.eventTime,
      // Absent where not declared: canonicalJson leaves them out, and fingerprints stay.
      id: stream.id,
      dedupeSpanMs: stream.dedupeSpanMs,
      op: stream.op,
      primaryKey: stream.primaryKey,
      knownAt: stream.knownAt,
      maxKnownAtJumpMs: stream.maxKnownAtJumpMs,
      fields: Object.fromEntries([...view.keyFields, ...read, ...identity].map((name) => [name, stream.fields[name]])),
      key: { fields: view.keyFields, types: keyTypesOf(catalog, view) },
      aggregation,
      input: input === null ? null : canonicalText(input),
      where: where === undefined ? undefined : canonicalText(where),
      window: feature.window,
      ttlMs: view.ttlMs,
      latenessMs: view.latenessMs,
      maxAheadMs: view.maxAheadMs,
    }),
  )
}

export function derivedFingerprint(catalog: Catalog, service: ServiceDefinition, name: string): string {
  const derived = service.derive.find((candidate) => candidate.name === name)
  if (derived === undefined) throw new Error(`service ${service.name} derives no ${name}`)
  const scope = serviceScope(catalog, service)
  const upstream = fieldsOf(derived.expression).map((field) => {
    const [owner = '', feature = ''] = field.split('.')
    return owner === 'request' ? [field, scope[field]] : [field, featureFingerprint(catalog, { view: owner, feature })]
  })
  return sha256(canonicalJson({ semanticsVersion, expression: canonicalText(derived.expression), upstream }))
}

/** A view's fingerprint: its features by name. */
export const viewFingerprint = (catalog: Catalog, view: string): string =>
  sha256(
    canonicalJson(
      viewOf(catalog, view).features.map(({ name }) => [name, featureFingerprint(catalog, { view, feature: name })]),
    ),
  )

/**
 * Hex SHA-256 of what a definition means: of a view what its values rest on (`viewFingerprint`), of the others all but
 * the description. Maps whose order means something (the key of an entity, the request of a service) count with it.
 */
export function definitionFingerprint(catalog: Catalog, definition: Definition): string {
  const ordered = (map: object): readonly [string, unknown][] => Object.entries(map)
  switch (definition.kind) {
    case 'view':
      return viewFingerprint(catalog, definition.name)
    case 'entity':
      return sha256(canonicalJson({ ...definition, key: ordered(definition.key), description: undefined }))
    case 'service':
      return sha256(canonicalJson({ ...definition, request: ordered(definition.request), description: undefined }))
    case 'stream':
      return sha256(canonicalJson({ ...definition, description: undefined }))
    case 'model':
      return sha256(canonicalJson(definition))
  }
}

/** What a model over the service pins: fingerprints of `view:feature`, and of derived features by their names. */
export function serviceFingerprints(catalog: Catalog, name: string): Record<string, string> {
  const service = serviceOf(catalog, name)
  return Object.fromEntries([
    ...service.features.map((reference) => [referenceText(reference), featureFingerprint(catalog, reference)]),
    ...service.derive.map((derived) => [derived.name, derivedFingerprint(catalog, service, derived.name)]),
  ])
}

/** What the online store as a whole was built for: every view, and how rows are kept. */
export const projectionFingerprint = (
  catalog: Catalog,
  settings: { readonly shards: number; readonly historyMs: number; readonly rowFormat: number },
): string => {
  const staying = [...catalog.views.values()]
    .filter((view) => staysWithEntity(streamOf(catalog, view.from), view))
    .map(({ name }) => name)
    .sort()
  return sha256(
    canonicalJson({
      settings,
      views: [...catalog.views.keys()].sort().map((view) => [view, viewFingerprint(catalog, view)]),
      // What such rows went through lies in the shards of their entities; of others in those of their primary keys.
      ...(staying.length === 0 ? {} : { staying }),
    }),
  )
}
