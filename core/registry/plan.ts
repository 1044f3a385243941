import { fieldsReadBy, type Catalog } from '../definition/catalog.ts'
import { durationText, expressionText, featureText, historyText, typeText, windowText } from '../definition/format.ts'
import {
  referenceText,
  type Definition,
  type FeatureDefinition,
  type StreamDefinition,
  type ViewDefinition,
} from '../definition/types.ts'
import type { FieldType } from '../event/types.ts'
import { formatInstant } from '../time/time.ts'
import { decideApply } from './decide.ts'
import type { DefinitionKind } from './events.ts'
import { catalogOf, definitionKey, type RegistryState } from './state.ts'

/** One part of a definition that differs: `before` null where it is new, `after` null where it is gone. */
export interface ItemChange {
  readonly name: string
  readonly before: string | null
  readonly after: string | null
  /** How the change reads: `mean(delay) over 1d -> over 2d`. */
  readonly text: string
}

export interface DefinitionChange {
  /** `described`: something that changes no value, so the version stays. */
  readonly change: 'added' | 'changed' | 'described' | 'removed'
  readonly kind: DefinitionKind
  readonly name: string
  /** Null for what is new. */
  readonly fromVersion: number | null
  /** Null for what is removed. */
  readonly toVersion: number | null
  /** What is inside, in a few words; empty for what is removed. */
  readonly summary: string
  readonly items: readonly ItemChange[]
}

/** What `apply` would do. */
export interface RegistryPlan {
  readonly changes: readonly DefinitionChange[]
  /** Views whose values change, so that their rows are built from the log. */
  readonly builds: readonly string[]
}

/** Errors: FS_DEFINITION_INVALID for a change that `apply` would refuse. */
export function planOf(catalog: Catalog, state: RegistryState): RegistryPlan {
  const old = catalogOf(state)
  const changes = decideApply(catalog, state).flatMap((event): DefinitionChange[] => {
    if (event.type === 'model-registered') return []
    const { kind, name } = event
    const before = state.definitions.get(definitionKey(kind, name))
    const fromVersion = before?.version ?? null
    if (event.type === 'definition-removed')
      return [{ change: 'removed', kind, name, fromVersion, toVersion: null, summary: '', items: [] }]
    const { version, definition } = event
    const change = before === undefined ? 'added' : before.version === version ? 'described' : 'changed'
    const items =
      before === undefined
        ? featureItems(definition)
        : changedItems(partsOf(old, before.definition), partsOf(catalog, definition))
    return [{ change, kind, name, fromVersion, toVersion: version, summary: summaryOf(definition), items }]
  })
  const builds = changes
    .filter(({ kind, change }) => kind === 'view' && (change === 'added' || change === 'changed'))
    .map(({ name }) => name)
  return { changes, builds }
}

/**
 * The plan as lines, one sign each: + new, ~ changed, - gone.
 *
 *     ~ view route_delays: version 1 -> 2
 *         + flights_1h     count() over 1h
 *         ~ mean_delay_1d  mean(delay) over 1d -> over 2d
 *
 * Errors: FS_DEFINITION_INVALID for a change that `apply` would refuse.
 */
export function planText(catalog: Catalog, state: RegistryState): string[] {
  const { changes, builds } = planOf(catalog, state)
  if (changes.length === 0) return ['no changes']
  return [
    ...changes.flatMap((change) => [headline(change), ...itemLines(change)]),
    ...(builds.length === 0 ? [] : [`built from the log: ${builds.map((name) => `view ${name}`).join(', ')}`]),
  ]
}

function headline({ change, kind, name, fromVersion, toVersion, summary }: DefinitionChange): string {
  switch (change) {
    case 'added':
      return `+ ${kind} ${name} (${summary})${toVersion === 1 ? '' : `: version ${toVersion}`}`
    case 'changed':
      return `~ ${kind} ${name}: version ${fromVersion} -> ${toVersion}`
    case 'described':
      return `~ ${kind} ${name}: version ${toVersion} stays, no value changes`
    case 'removed':
      return `- ${kind} ${name}`
  }
}

function itemLines({ change, items }: DefinitionChange): string[] {
  // The fingerprint differs and nothing that a definition says does.
  if (change === 'changed' && items.length === 0) return ['    ~ what this version of Tidemark makes of it']
  const width = Math.max(...items.map(({ name }) => name.length))
  return items.map(({ name, before, after, text }) => {
    const sign = before === null ? '+' : after === null ? '-' : '~'
    return `    ${sign} ${name.padEnd(width)}  ${text}`.trimEnd()
  })
}

const counted = (count: number, what: string): string => `${count} ${what}${count === 1 ? '' : 's'}`

function summaryOf(definition: Definition): string {
  switch (definition.kind) {
    case 'stream':
      return `${counted(Object.keys(definition.fields).length, 'field')}, ${counted(definition.partitions, 'partition')}`
    case 'entity':
      return fieldsText(definition.key)
    case 'view':
      return counted(definition.features.length, 'feature')
    case 'service':
      return [
        counted(definition.features.length, 'feature'),
        ...(definition.derive.length === 0 ? [] : [`${definition.derive.length} derived`]),
      ].join(', ')
    case 'model':
      return `of service ${definition.service}`
  }
}

const fieldsText = (fields: Readonly<Record<string, FieldType>>): string =>
  Object.entries(fields)
    .map(([name, type]) => `${name} ${typeText(type)}`)
    .join(', ')

/** The features of a new view; of the other kinds the summary says enough. */
const featureItems = (definition: Definition): ItemChange[] =>
  definition.kind === 'view'
    ? definition.features.map((feature) => {
        const text = featureText(feature)
        return { name: feature.name, before: null, after: text, text }
      })
    : []

/**
 * One line of a definition. Names of different groups do not meet: a feature may be called `ttl`. What a view takes from
 * its stream (`upstream`) is of interest only where it changes.
 */
interface Part {
  readonly group: 'setting' | 'field' | 'upstream' | 'feature'
  readonly name: string
  readonly text: string
  readonly feature?: FeatureDefinition
}

function changedItems(before: readonly Part[], after: readonly Part[]): ItemChange[] {
  const keyOf = ({ group, name }: Part): string => `${group}/${name}`
  const old = new Map(before.map((part) => [keyOf(part), part]))
  const now = new Set(after.map(keyOf))
  return [
    ...after.flatMap((part): ItemChange[] => {
      const was = old.get(keyOf(part))
      if (was === undefined) return added(part)
      if (was.text === part.text) return []
      return [{ name: part.name, before: was.text, after: part.text, text: changeText(was, part) }]
    }),
    ...before
      .filter((part) => part.group !== 'upstream' && !now.has(keyOf(part)))
      .map((part) => ({ name: part.name, before: part.text, after: null, text: '' })),
    ...reordered(before, after),
  ]
}

const added = ({ group, name, text }: Part): ItemChange[] =>
  group === 'upstream' ? [] : [{ name, before: null, after: text, text }]

/** Features that were there already stand in another order. */
function reordered(before: readonly Part[], after: readonly Part[]): ItemChange[] {
  const names = (parts: readonly Part[], others: readonly Part[]): string => {
    const known = new Set(others.flatMap(({ group, name }) => (group === 'feature' ? [name] : [])))
    return parts.flatMap(({ group, name }) => (group === 'feature' && known.has(name) ? [name] : [])).join(', ')
  }
  const [was, is] = [names(before, after), names(after, before)]
  return was === is ? [] : [{ name: 'order of features', before: was, after: is, text: `now ${is}` }]
}

function changeText(before: Part, after: Part): string {
  if (before.feature === undefined || after.feature === undefined) return `${before.text} -> ${after.text}`
  const whole = ({ aggregation }: FeatureDefinition): string =>
    featureText({ aggregation, window: { kind: 'lifetime' } })
  const window = windowText(after.feature.window)
  return whole(before.feature) === whole(after.feature) && window !== ''
    ? `${before.text} -> ${window}`
    : `${before.text} -> ${after.text}`
}

/** All that a definition says, line by line. */
function partsOf(catalog: Catalog, definition: Definition): Part[] {
  const setting = (name: string, text: string): Part => ({ group: 'setting', name, text })
  const field = ([name, type]: readonly [string, FieldType]): Part => ({ group: 'field', name, text: typeText(type) })
  const description =
    'description' in definition ? [setting('description', JSON.stringify(definition.description))] : []
  switch (definition.kind) {
    case 'stream':
      return [
        setting('eventTime', definition.eventTime),
        ...recordTexts(definition).flatMap(([name, text]) => (text === null ? [] : [setting(name, text)])),
        setting('importKnownAt', definition.importKnownAt === null ? 'none' : expressionText(definition.importKnownAt)),
        ...Object.entries(definition.fields).map(field),
        ...description,
      ]
    case 'entity':
      return [setting('key', fieldsText(definition.key)), ...description]
    case 'view':
      return [...viewSettings(catalog, definition), ...description, ...viewFeatures(definition)]
    case 'service':
      return [
        setting('clock', definition.clock),
        setting('request', fieldsText(definition.request) || 'none'),
        ...description,
        ...definition.features.map((reference): Part => ({
          group: 'feature',
          name: referenceText(reference),
          text: '',
        })),
        ...definition.derive.map(({ name, expression }): Part => ({
          group: 'feature',
          name,
          text: expressionText(expression),
        })),
      ]
    case 'model': {
      const { labels, algorithm } = definition
      return [
        setting('service', definition.service),
        setting('labels from', labels.from),
        setting('label', expressionText(labels.label)),
        setting('request', JSON.stringify(labels.request)),
        setting('sampleRows', String(labels.sampleRows)),
        setting('trainUntil', formatInstant(definition.trainUntilMs)),
        setting('algorithm', `${algorithm.kind}, l2 ${algorithm.l2}`),
      ]
    }
  }
}

/** How records of a stream take back others, and when they became known; null for what it does not declare. */
const recordTexts = (stream: StreamDefinition): [string, string | null][] => [
  ...correctionTexts(stream),
  ['knownAt', stream.knownAt ?? null],
  ['maxKnownAtJump', stream.maxKnownAtJumpMs === undefined ? null : durationText(stream.maxKnownAtJumpMs)],
]

const correctionTexts = ({ id, dedupeSpanMs, primaryKey, op }: StreamDefinition): [string, string | null][] => [
  ['id', id ?? null],
  ['dedupeSpan', dedupeSpanMs === undefined ? null : durationText(dedupeSpanMs)],
  ['primaryKey', primaryKey?.join(', ') ?? null],
  ['op', op ?? null],
]

/** What holds for all features of a view, with what it takes from its stream and entity. */
function viewSettings(catalog: Catalog, view: ViewDefinition): Part[] {
  const setting = (name: string, text: string): Part => ({ group: 'setting', name, text })
  const span = (ms: number | null): string => (ms === null ? 'none' : durationText(ms))
  const stream = catalog.streams.get(view.from)
  const entity = catalog.entities.get(view.entity)
  return [
    setting('from', view.from),
    setting('entity', entity === undefined ? view.entity : `${view.entity} (${fieldsText(entity.key)})`),
    setting('ttl', span(view.ttlMs)),
    setting('lateness', span(view.latenessMs)),
    setting('maxAhead', span(view.maxAheadMs)),
    setting('history', historyText(view)),
    ...zoneData(view),
    ...(stream === undefined
      ? []
      : [
          { group: 'upstream' as const, name: 'eventTime', text: stream.eventTime },
          ...recordTexts(stream).map(([name, text]): Part => ({ group: 'upstream', name, text: text ?? 'none' })),
          ...fieldsReadBy(view, stream).flatMap((name): Part[] => {
            const type = stream.fields[name]
            return type === undefined ? [] : [{ group: 'upstream', name: `field ${name}`, text: typeText(type) }]
          }),
        ]),
  ]
}

/** Other time zone data is a change from outside, like one of the stream. */
const zoneData = (view: ViewDefinition): Part[] => {
  const zones = view.features.flatMap(({ window }) =>
    window.kind === 'tumbling' && window.zone !== undefined ? [window.zone] : [],
  )
  return [...new Map(zones.map(({ name, digest }) => [name, digest]))].map(([name, digest]) => ({
    group: 'upstream',
    name: `time zone ${name}`,
    text: `data ${digest}`,
  }))
}

const viewFeatures = (view: ViewDefinition): Part[] =>
  view.features.map((feature) => ({ group: 'feature', name: feature.name, text: featureText(feature), feature }))
