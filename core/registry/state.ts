import type { Catalog } from '../definition/catalog.ts'
import type { Definition } from '../definition/types.ts'
import type { DefinitionKind, ModelRegistered, RegistryEvent, UnknownEvent } from './events.ts'

export interface AppliedDefinition {
  readonly version: number
  readonly fingerprint: string
  readonly definition: Definition
}

/** The registry as its events leave it: a projection of the log like any other. */
export interface RegistryState {
  /** What holds now, by `kind/name`, in the order first applied. */
  readonly definitions: ReadonlyMap<string, AppliedDefinition>
  /** What held once: versions go on from there, and the log still has a removed stream's records. */
  readonly removed: ReadonlyMap<string, AppliedDefinition>
  /** Registered models by service, oldest first. */
  readonly models: ReadonlyMap<string, readonly ModelRegistered[]>
  /** Events that this version cannot read, as they are. */
  readonly unknown: readonly unknown[]
}

export const initialState: RegistryState = {
  definitions: new Map(),
  removed: new Map(),
  models: new Map(),
  unknown: [],
}

export const definitionKey = (kind: DefinitionKind, name: string): string => `${kind}/${name}`

/** Total over every event ever written; changes nothing in place. */
export function evolve(state: RegistryState, event: RegistryEvent | UnknownEvent): RegistryState {
  switch (event.type) {
    case 'definition-applied': {
      const { kind, name, version, fingerprint, definition } = event
      const key = definitionKey(kind, name)
      const removed = new Map(state.removed)
      removed.delete(key)
      return {
        ...state,
        definitions: new Map(state.definitions).set(key, { version, fingerprint, definition }),
        removed,
      }
    }
    case 'definition-removed': {
      const key = definitionKey(event.kind, event.name)
      const last = state.definitions.get(key)
      if (last === undefined) return state
      const definitions = new Map(state.definitions)
      definitions.delete(key)
      return { ...state, definitions, removed: new Map(state.removed).set(key, last) }
    }
    case 'model-registered': {
      const before = state.models.get(event.service) ?? []
      return { ...state, models: new Map(state.models).set(event.service, [...before, event]) }
    }
    case 'unknown':
      return { ...state, unknown: [...state.unknown, event.raw] }
  }
}

/** The applied definitions as a catalog. Not checked again: they were when they were applied. */
export function catalogOf(state: RegistryState): Catalog {
  const ofKind = <K extends DefinitionKind>(kind: K): ReadonlyMap<string, Extract<Definition, { kind: K }>> =>
    new Map(
      [...state.definitions.values()].flatMap(({ definition }) =>
        definition.kind === kind ? [[definition.name, definition as Extract<Definition, { kind: K }>]] : [],
      ),
    )
  return {
    streams: ofKind('stream'),
    entities: ofKind('entity'),
    views: ofKind('view'),
    services: ofKind('service'),
    models: ofKind('model'),
  }
}

/** The newest registered model of a service, of one name or of any; null when there is none. */
export const newestModel = (state: RegistryState, service: string, model?: string): ModelRegistered | null =>
  state.models.get(service)?.findLast((candidate) => model === undefined || candidate.model === model) ?? null
