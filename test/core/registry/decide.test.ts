import { describe, expect, test } from 'vitest'
import { buildCatalog } from '../../../core/definition/catalog.ts'
import { decimal, float64, int32, int64, nullable, string, timestamp } from '../../../core/definition/fields.ts'
import { serviceFingerprints } from '../../../core/definition/fingerprint.ts'
import { service } from '../../../core/definition/service.ts'
import { entity, stream } from '../../../core/definition/stream.ts'
import type { Definition } from '../../../core/definition/types.ts'
import { decideApply, decideRegisterModel, isApplied } from '../../../core/registry/decide.ts'
import { readRegistryEvent, registryKey, type Upcaster } from '../../../core/registry/events.ts'
import { catalogOf, evolve, initialState, newestModel } from '../../../core/registry/state.ts'
import {
  apply,
  catalogWith,
  delayModel,
  flights,
  origin,
  originDelays,
  otherDelays,
  project,
  registration,
  replay,
} from './support.ts'

const described: Definition = { ...originDelays, description: 'How departures have been going' }
const catalogs = {
  project: buildCatalog(project),
  'nothing at all': buildCatalog([]),
  'a changed view': buildCatalog([flights, origin, otherDelays]),
  'a view only described': catalogWith(described),
  'no model': buildCatalog(project.filter(({ kind }) => kind !== 'model')),
  'a wider stream': catalogWith(
    stream('flights', { ...streamOptions(), fields: { ...flights.fields, seats: nullable(int32()) } }),
  ),
  'another entity': catalogWith(entity('airport', { key: { origin: string() } })),
  'less of a view in a service': catalogWith(service('delay_risk', { features: [originDelays.select('last_delay')] })),
}

function streamOptions() {
  const { fields, partitions } = flights
  return { fields, partitions, eventTime: 'date' as const, key: ['origin'] as const }
}

describe('decide and evolve', () => {
  const pairs = Object.entries(catalogs).flatMap(([from, before]) =>
    Object.entries(catalogs)
      // A stream never loses a field.
      .filter(([to]) => from !== 'a wider stream' || to === from || to === 'nothing at all')
      .map(([to, after]) => [from, to, before, after] as const),
  )
  test.each(pairs)(
    'from %s to %s: what was decided is applied, and nothing is left to decide',
    (_, __, before, after) => {
      const start = apply(before)
      expect(isApplied(before, start)).toBe(true)
      const state = apply(after, start)
      expect(isApplied(after, state)).toBe(true)
      expect(decideApply(after, state)).toEqual([])
      expect(isApplied(before, state)).toBe(before === after)
    },
  )

  test('events name what others refer to first, and take away in the opposite order', () => {
    expect(decideApply(catalogs.project, initialState).map(registryKey)).toEqual([
      'stream/flights',
      'entity/origin',
      'view/origin_delays',
      'service/delay_risk',
      'model/delay_model',
    ])
    const removals = decideApply(catalogs['nothing at all'], apply(catalogs.project))
    expect(removals.map((event) => `${event.type} ${registryKey(event)}`)).toEqual([
      'definition-removed model/delay_model',
      'definition-removed service/delay_risk',
      'definition-removed view/origin_delays',
      'definition-removed entity/origin',
      'definition-removed stream/flights',
    ])
  })

  test('events are plain JSON, and the state holds what was defined', () => {
    const events = decideApply(catalogs.project, initialState)
    expect(JSON.parse(JSON.stringify(events))).toEqual(events)
    expect(catalogOf(apply(catalogs.project))).toEqual(
      expect.objectContaining({
        views: new Map([['origin_delays', JSON.parse(JSON.stringify(originDelays))]]),
        models: new Map([['delay_model', delayModel]]),
      }),
    )
  })

  test('evolve changes no state in place', () => {
    const state = apply(catalogs.project)
    const copy = structuredClone(state)
    apply(catalogs['nothing at all'], state)
    expect(state).toEqual(copy)
  })

  test('the order of definitions decides nothing', () => {
    expect(isApplied(buildCatalog(project.toReversed()), apply(catalogs.project))).toBe(true)
  })
})

describe('versions', () => {
  const versionOf = (state: ReturnType<typeof apply>): number | undefined =>
    state.definitions.get('view/origin_delays')?.version

  test('a changed fingerprint is the next version, a description is the same one', () => {
    let state = apply(catalogs.project)
    expect(versionOf(state)).toBe(1)
    state = apply(catalogs['a view only described'], state)
    expect(versionOf(state)).toBe(1)
    expect(state.definitions.get('view/origin_delays')?.definition).toEqual(JSON.parse(JSON.stringify(described)))
    state = apply(catalogs['a changed view'], state)
    expect(versionOf(state)).toBe(2)
    expect(versionOf(apply(catalogs.project, state))).toBe(3)
  })

  test('go on after a removal, so that a version never means two things', () => {
    const removed = apply(catalogs['nothing at all'], apply(catalogs.project))
    expect(versionOf(removed)).toBeUndefined()
    expect(versionOf(apply(catalogs.project, removed))).toBe(1)
    expect(versionOf(apply(catalogs['a changed view'], removed))).toBe(2)
  })

  test('a changed stream changes the views that read the field, and no other', () => {
    const wider = stream('flights', { ...streamOptions(), fields: { ...flights.fields, delay: int64() } })
    const state = apply(
      buildCatalog([wider, origin, { ...originDelays }]),
      apply(buildCatalog([flights, origin, originDelays])),
    )
    expect(versionOf(state)).toBe(2)
    const seats = apply(catalogs['a wider stream'], apply(catalogs.project))
    expect(versionOf(seats)).toBe(1)
    expect(seats.definitions.get('stream/flights')?.version).toBe(2)
  })
})

describe('changes that records in the log contradict are refused', () => {
  const { note, ...withoutNote } = flights.fields
  const options = streamOptions()
  const refused: [string, Definition, RegExp][] = [
    ['partitions', stream('flights', { ...options, partitions: 3 }), /partitions goes from 2 to 3/],
    ['key', stream('flights', { ...options, key: [] }), /key goes from \[origin\] to \[\]/],
    [
      'type',
      stream('flights', { ...options, fields: { ...flights.fields, delay: float64() } }),
      /delay goes from int32/,
    ],
    ['removal', stream('flights', { ...options, fields: withoutNote }), /field note is removed/],
    ['null', stream('flights', { ...options, fields: { ...withoutNote, note: string() } }), /note goes from nullable/],
    ['new', stream('flights', { ...options, fields: { ...flights.fields, seats: int32() } }), /seats is new and not/],
  ]
  test.each(refused)('%s', (_, changed, message) => {
    const catalog = buildCatalog([changed, origin])
    const state = apply(catalogs.project)
    expect(() => decideApply(catalog, state)).toThrow(
      expect.objectContaining({ code: 'FS_DEFINITION_INVALID', message: expect.stringMatching(message) }),
    )
    expect(() => decideApply(catalog, state)).toThrow(/stream flights/)
    // The records stay when the definition goes.
    const removed = apply(catalogs['nothing at all'], state)
    expect(() => decideApply(catalog, removed)).toThrow(message)
    expect(isApplied(catalog, state)).toBe(false)
  })

  test('widening is none of them', () => {
    const fields = {
      date: timestamp(),
      delay: nullable(int64()),
      origin: nullable(string()),
      note: nullable(note),
      seats: nullable(float64({ allowNonFinite: true })),
    }
    const state = apply(buildCatalog([stream('flights', { ...options, fields })]), apply(catalogs.project))
    expect(state.definitions.get('stream/flights')?.version).toBe(2)
    const nonFinite = stream('flights', { ...options, fields: { ...fields, seats: nullable(float64()) } })
    expect(() => decideApply(buildCatalog([nonFinite]), state)).toThrow(/with NaN and infinities to nullable float64/)
  })
})

test('a decimal gains digits before the point, and none behind it', () => {
  const of = (precision: number, scale: number) =>
    buildCatalog([stream('prices', { fields: { at: timestamp(), price: decimal(precision, scale) }, eventTime: 'at' })])
  const state = apply(of(9, 2))
  expect(apply(of(18, 2), state).definitions.get('stream/prices')?.version).toBe(2)
  for (const [precision, scale] of [
    [8, 2],
    [9, 3],
    [18, 3],
    [9, 1],
  ] as const)
    expect(() => decideApply(of(precision, scale), state)).toThrow(
      `field price goes from decimal(9, 2) to decimal(${precision}, ${scale})`,
    )
})

describe('models', () => {
  const catalog = catalogs.project
  const features = serviceFingerprints(catalog, 'delay_risk')

  test('get the next version of their name; the same one again is nothing', () => {
    let state = apply(catalog)
    const first = decideRegisterModel({ ...registration, features }, state)
    expect(first).toMatchObject([{ type: 'model-registered', format: 1, version: 1, features }])
    state = replay(first, state)
    expect(decideRegisterModel({ ...registration, features }, state)).toEqual([])
    const next = { ...registration, features, onnx: { digest: '345', path: 'models/delay_model/2/model.onnx' } }
    state = replay(decideRegisterModel(next, state), state)
    expect(newestModel(state, 'delay_risk')).toMatchObject({ version: 2, onnx: next.onnx })
    expect(state.models.get('delay_risk')?.map(({ version }) => version)).toEqual([1, 2])
    expect(newestModel(state, 'delay_risk', 'other')).toBeNull()
    expect(newestModel(state, 'other')).toBeNull()
    expect(isApplied(catalog, state)).toBe(true)
  })

  test('pin their features by name, derived ones too', () => {
    expect(Object.keys(features)).toEqual([
      'origin_delays:flights_1h',
      'origin_delays:mean_delay_1d',
      'origin_delays:last_delay',
      'surprise',
    ])
  })

  test('are refused for features that are no longer applied, and for services that are not', () => {
    const service2 = service('delay_risk', { features: [otherDelays.all()] })
    const changed = apply(buildCatalog([flights, origin, otherDelays, service2]), apply(catalog))
    expect(() => decideRegisterModel({ ...registration, features }, changed)).toThrow(
      expect.objectContaining({ code: 'FS_MODEL_INVALID' }),
    )
    expect(() => decideRegisterModel({ ...registration, features: {} }, apply(catalog))).toThrow(/flights_1h/)
    expect(() => decideRegisterModel({ ...registration, features }, initialState)).toThrow(
      expect.objectContaining({ code: 'FS_SERVICE_UNKNOWN' }),
    )
  })
})

describe('events of other versions', () => {
  const [known] = decideApply(catalogs.project, initialState)
  test.each<[string, unknown]>([
    ['a newer format', { ...known, format: 2 }],
    ['an unknown type', { type: 'view-frozen', format: 1, name: 'x' }],
    ['no format', { ...known, format: undefined }],
    ['a broken version', { ...known, version: 0 }],
    ['a definition of another name', { ...known, name: 'other' }],
    ['a kind of its own', { type: 'definition-removed', format: 1, kind: 'sink', name: 'x' }],
    ['a model without a file', { type: 'model-registered', format: 1, model: 'm', service: 's', version: 1 }],
    ['an older format that nothing raises', { ...known, format: 0 }],
    ['no object', 7],
    ['nothing', null],
    ['a list', [known]],
  ])('%s is kept, never an error', (_, raw) => {
    const before = apply(catalogs.project)
    const state = evolve(before, readRegistryEvent(raw))
    expect(state).toEqual({ ...before, unknown: [raw] })
    expect(isApplied(catalogs.project, state)).toBe(true)
  })

  test('older formats pass an upcaster', () => {
    const removal = { type: 'definition-removed', format: -1, what: 'view', called: 'x' }
    const upcasters = new Map<number, Upcaster>([
      [-1, ({ what, ...rest }) => ({ ...rest, kind: what })],
      [0, ({ called, ...rest }) => ({ ...rest, name: called })],
    ])
    expect(readRegistryEvent(removal, upcasters)).toEqual({
      type: 'definition-removed',
      format: 1,
      kind: 'view',
      name: 'x',
    })
  })

  test('the removal of what never was changes nothing', () => {
    const state = apply(catalogs.project)
    expect(evolve(state, { type: 'definition-removed', format: 1, kind: 'view', name: 'x' })).toBe(state)
  })
})

test('a ttl counts as a change of every feature', () => {
  const ttl = catalogWith({ ...originDelays, ttlMs: 1 + (originDelays.ttlMs ?? 0) })
  const state = apply(ttl, apply(catalogs.project))
  expect(state.definitions.get('view/origin_delays')?.version).toBe(2)
  expect(state.definitions.get('service/delay_risk')?.version).toBe(1)
})
