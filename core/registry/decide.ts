import type { Catalog } from '../definition/catalog.ts'
import { canonicalJson, definitionFingerprint, serviceFingerprints } from '../definition/fingerprint.ts'
import { typeText } from '../definition/format.ts'
import type { Definition, StreamDefinition } from '../definition/types.ts'
import { FeatureStoreError } from '../errors.ts'
import type { FieldType } from '../event/types.ts'
import {
  registryFormat,
  type DefinitionApplied,
  type DefinitionRemoved,
  type ModelRegistered,
  type ModelRegistration,
  type RegistryEvent,
} from './events.ts'
import { catalogOf, definitionKey, type AppliedDefinition, type RegistryState } from './state.ts'

/**
 * What applying the project's definitions would write: changed ones with their versions, what others refer to first;
 * then what is gone, in the opposite order. Nothing when all is applied.
 *
 * Errors: FS_DEFINITION_INVALID for a change to a stream that records in the log contradict.
 */
export function decideApply(catalog: Catalog, state: RegistryState): RegistryEvent[] {
  for (const stream of catalog.streams.values()) {
    const key = definitionKey('stream', stream.name)
    const before = (state.definitions.get(key) ?? state.removed.get(key))?.definition
    if (before?.kind === 'stream') checkStreamChange(before, stream)
  }
  return [...applied(catalog, state), ...removals(catalog, state)]
}

/** Whether the registry holds exactly these definitions. */
export const isApplied = (catalog: Catalog, state: RegistryState): boolean =>
  applied(catalog, state).length === 0 && removals(catalog, state).length === 0

/** What others refer to first. */
const definitionsOf = (catalog: Catalog): Definition[] => [
  ...catalog.streams.values(),
  ...catalog.entities.values(),
  ...catalog.views.values(),
  ...catalog.services.values(),
  ...catalog.models.values(),
]

function applied(catalog: Catalog, state: RegistryState): DefinitionApplied[] {
  return definitionsOf(catalog).flatMap((definition) => {
    const { kind, name } = definition
    const key = definitionKey(kind, name)
    const current = state.definitions.get(key)
    const fingerprint = definitionFingerprint(catalog, definition)
    if (current?.fingerprint === fingerprint && sameText(current.definition, definition)) return []
    const version = nextVersion(current ?? state.removed.get(key), fingerprint)
    // As it will be read back: plain data, without the methods of a view.
    const plain = JSON.parse(JSON.stringify(definition)) as Definition
    return [{ type: 'definition-applied', format: registryFormat, kind, name, version, fingerprint, definition: plain }]
  })
}

const sameText = (a: Definition, b: Definition): boolean => canonicalJson(a) === canonicalJson(b)

const nextVersion = (before: AppliedDefinition | undefined, fingerprint: string): number =>
  before === undefined ? 1 : before.version + (before.fingerprint === fingerprint ? 0 : 1)

const kindsOutermostFirst = ['model', 'service', 'view', 'entity', 'stream'] as const

function removals(catalog: Catalog, state: RegistryState): DefinitionRemoved[] {
  const wanted = new Set(definitionsOf(catalog).map(({ kind, name }) => definitionKey(kind, name)))
  const gone = [...state.definitions.values()].filter(
    ({ definition }) => !wanted.has(definitionKey(definition.kind, definition.name)),
  )
  return kindsOutermostFirst.flatMap((kind) =>
    gone
      .filter(({ definition }) => definition.kind === kind)
      .map(({ definition }) => ({
        type: 'definition-removed' as const,
        format: registryFormat,
        kind,
        name: definition.name,
      })),
  )
}

const newName = {
  remedy: 'Give the changed stream a new name, and import the history into it; or take the change back.',
}

/** Records in the log lie in the partitions of the old key, and were written with the old schema. */
function checkStreamChange(before: StreamDefinition, after: StreamDefinition): void {
  const refuse = (what: string): FeatureStoreError =>
    new FeatureStoreError(
      'FS_DEFINITION_INVALID',
      `stream ${after.name}: ${what}, but its log holds records of the old definition`,
      newName,
    )
  if (before.partitions !== after.partitions)
    throw refuse(`partitions goes from ${before.partitions} to ${after.partitions}`)
  if (canonicalJson(before.key) !== canonicalJson(after.key))
    throw refuse(`key goes from [${before.key.join(', ')}] to [${after.key.join(', ')}]`)
  for (const [name, type] of Object.entries(before.fields)) {
    const now = Object.hasOwn(after.fields, name) ? after.fields[name] : undefined
    if (now === undefined) throw refuse(`field ${name} is removed`)
    if (!isWidening(type, now)) throw refuse(`field ${name} goes from ${typeText(type)} to ${typeText(now)}`)
  }
  for (const [name, type] of Object.entries(after.fields)) {
    if (!Object.hasOwn(before.fields, name) && type.nullable !== true)
      throw refuse(`field ${name} is new and not nullable`)
  }
}

/** Every value of the old type is one of the new type, with the same bytes as a key. */
const isWidening = (before: FieldType, after: FieldType): boolean =>
  (before.type === after.type || (before.type === 'int32' && after.type === 'int64')) &&
  (before.nullable !== true || after.nullable === true) &&
  before.scale === after.scale &&
  (before.precision ?? 0) <= (after.precision ?? 0) &&
  (before.allowNonFinite !== true || after.allowNonFinite === true)

/**
 * What registering a trained model writes: its next version; nothing when its newest version is the same.
 *
 * Errors: FS_SERVICE_UNKNOWN when the service is not applied; FS_MODEL_INVALID when the model was trained for features
 * that are no longer those applied.
 */
export function decideRegisterModel(registration: ModelRegistration, state: RegistryState): ModelRegistered[] {
  const { model, service, metrics, trainingSet, token, onnx, features } = registration
  const now = serviceFingerprints(catalogOf(state), service)
  const stale = [...new Set([...Object.keys(now), ...Object.keys(features)])].filter(
    (name) => now[name] !== features[name],
  )
  if (stale.length > 0)
    throw new FeatureStoreError(
      'FS_MODEL_INVALID',
      `model ${model} was trained for another version of service ${service}: ${stale.slice(0, 5).join(', ')}${
        stale.length > 5 ? ` and ${stale.length - 5} more` : ''
      } changed`,
    )
  const versions = [...state.models.values()].flat().filter((candidate) => candidate.model === model)
  const newest = versions.reduce<ModelRegistered | null>(
    (best, candidate) => (best === null || candidate.version > best.version ? candidate : best),
    null,
  )
  const registered: ModelRegistered = {
    type: 'model-registered',
    format: registryFormat,
    model,
    service,
    version: newest?.version ?? 1,
    metrics,
    trainingSet,
    token,
    onnx,
    features,
  }
  if (newest === null) return [registered]
  return canonicalJson(newest) === canonicalJson(registered) ? [] : [{ ...registered, version: newest.version + 1 }]
}
