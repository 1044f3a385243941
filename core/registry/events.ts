import type { Definition } from '../definition/types.ts'

/** Format of the registry events that this version writes. */
export const registryFormat = 1

export type DefinitionKind = Definition['kind']

/** A definition holds from here on. The same version again: something that changes no value, such as a description. */
export interface DefinitionApplied {
  readonly type: 'definition-applied'
  readonly format: 1
  readonly kind: DefinitionKind
  readonly name: string
  /** From 1, one more for every changed fingerprint. */
  readonly version: number
  readonly fingerprint: string
  readonly definition: Definition
}

export interface DefinitionRemoved {
  readonly type: 'definition-removed'
  readonly format: 1
  readonly kind: DefinitionKind
  readonly name: string
}

/** A trained model and what it was made from. Plain values: the files lie where `onnx.path` says. */
export interface ModelRegistration {
  readonly model: string
  readonly service: string
  /** What the evaluation measured, by name. */
  readonly metrics: Readonly<Record<string, number>>
  /** Digest of the training set's content. */
  readonly trainingSet: string
  /** Token of the log position that the training set was read at. */
  readonly token: string
  readonly onnx: {
    /** Hex SHA-256 of the file. */
    readonly digest: string
    /** Relative to the project's data folder, with forward slashes. */
    readonly path: string
  }
  /** Fingerprints of what the model reads, by name: `serviceFingerprints` of its service. */
  readonly features: Readonly<Record<string, string>>
}

export interface ModelRegistered extends ModelRegistration {
  readonly type: 'model-registered'
  readonly format: 1
  /** From 1, per model. */
  readonly version: number
}

export type RegistryEvent = DefinitionApplied | DefinitionRemoved | ModelRegistered

/** What this version cannot read: of a newer format, of an unknown type, or no event at all. Kept as it is. */
export interface UnknownEvent {
  readonly type: 'unknown'
  readonly raw: unknown
}

export type JsonObject = Readonly<Record<string, unknown>>
/** Makes an event of format n one of format n + 1. */
export type Upcaster = (event: JsonObject) => JsonObject
/** By the format that they take. Format 1 is the first, so there are none yet. */
export const registryUpcasters: ReadonlyMap<number, Upcaster> = new Map()

/** The event in one value of the registry stream. Total: never throws. */
export function readRegistryEvent(
  raw: unknown,
  upcasters: ReadonlyMap<number, Upcaster> = registryUpcasters,
): RegistryEvent | UnknownEvent {
  const unknown: UnknownEvent = { type: 'unknown', raw }
  if (!isObject(raw)) return unknown
  let event: JsonObject = raw
  while (event['format'] !== registryFormat) {
    const format = event['format']
    const upcaster = typeof format === 'number' && format < registryFormat ? upcasters.get(format) : undefined
    if (upcaster === undefined) return unknown
    event = { ...upcaster(event), format: (format as number) + 1 }
  }
  return isRegistryEvent(event) ? event : unknown
}

const kinds: readonly unknown[] = ['stream', 'entity', 'view', 'service', 'model'] satisfies DefinitionKind[]
const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
const isText = (value: unknown): value is string => typeof value === 'string'
const isVersion = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) > 0

/** By the parts that state and decisions rest on; what is inside a definition is its builder's affair. */
function isRegistryEvent(event: JsonObject): event is JsonObject & RegistryEvent {
  const { kind, name, definition, onnx } = event
  switch (event['type']) {
    case 'definition-applied':
      return (
        kinds.includes(kind) &&
        isText(name) &&
        isVersion(event['version']) &&
        isText(event['fingerprint']) &&
        isObject(definition) &&
        definition['kind'] === kind &&
        definition['name'] === name
      )
    case 'definition-removed':
      return kinds.includes(kind) && isText(name)
    case 'model-registered':
      return (
        ['model', 'service', 'trainingSet', 'token'].every((part) => isText(event[part])) &&
        isVersion(event['version']) &&
        isObject(event['metrics']) &&
        isObject(event['features']) &&
        isObject(onnx) &&
        isText(onnx['digest']) &&
        isText(onnx['path'])
      )
    default:
      return false
  }
}

/** Key of the record that carries the event: what it is about. */
export const registryKey = (event: RegistryEvent): string =>
  event.type === 'model-registered' ? `model-version/${event.model}` : `${event.kind}/${event.name}`
