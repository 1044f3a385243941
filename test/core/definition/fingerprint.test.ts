import { describe, expect, test } from 'vitest'
import { buildCatalog } from '../../../core/definition/catalog.ts'
import { bool, float64, int32, int64, nullable, string, timestamp } from '../../../core/definition/fields.ts'
import {
  definitionFingerprint,
  derivedFingerprint,
  featureFingerprint,
  projectionFingerprint,
  serviceFingerprints,
  viewFingerprint,
} from '../../../core/definition/fingerprint.ts'
import type { BoolExpr } from '../../../core/definition/expressions.ts'
import {
  lastN,
  max,
  mean,
  min,
  rows,
  series,
  session,
  stddev,
  tumbling,
  variance,
  type FeatureBuilder,
} from '../../../core/definition/functions.ts'
import { service } from '../../../core/definition/service.ts'
import { entity, stream } from '../../../core/definition/stream.ts'
import type { Definition } from '../../../core/definition/types.ts'
import { view } from '../../../core/definition/view.ts'
import type { FieldType } from '../../../core/event/types.ts'

/** A project with one feature, `v:f`, and what of it is written differently. */
interface Variant {
  readonly stream?: string
  readonly fields?: Readonly<Record<string, FieldType>>
  readonly eventTime?: string
  readonly streamKey?: readonly string[]
  readonly partitions?: number
  readonly key?: Readonly<Record<string, FieldType>>
  readonly feature?: (scope: Scope) => FeatureBuilder<'float64'>
  readonly options?: object
  readonly corrections?: object
  readonly describe?: string
  readonly entityName?: string
}
type Scope = Readonly<Record<'x' | 'y' | 'z', never>>
const conditional: Variant = { feature: ({ x, z }) => over1h(mean(x).where(z) as never) }

const fields = {
  at: timestamp(),
  seen: timestamp(),
  who: string(),
  where: int32(),
  x: int32(),
  y: float64(),
  z: bool(),
}
const over1h = (feature: FeatureBuilder<never>) => feature.over(3_600_000)

function project(variant: Variant): Definition[] {
  const described = variant.describe === undefined ? {} : { description: variant.describe }
  const from = stream(variant.stream ?? 's', {
    fields: { ...fields, ...variant.fields },
    eventTime: variant.eventTime ?? 'at',
    key: variant.streamKey ?? ['who'],
    partitions: variant.partitions ?? 1,
    ...variant.corrections,
    ...described,
  } as never)
  const who = entity(variant.entityName ?? 'e', {
    key: variant.key ?? { who: string(), where: int32() },
    ...described,
  } as never)
  const v = view('v', {
    from,
    entity: who,
    ttl: 86_400_000,
    lateness: 1_000,
    maxAhead: 2_000,
    features: (scope: Scope) => ({ f: (variant.feature ?? (({ x }) => over1h(mean(x) as never)))(scope) }),
    ...described,
    ...variant.options,
  } as never)
  return [from, who, v as Definition]
}

const of = (variant: Variant): string => featureFingerprint(buildCatalog(project(variant)), { view: 'v', feature: 'f' })
const same: [string, Variant][] = [
  ['descriptions', { describe: 'what it is' }],
  ['a field that it does not read', { fields: { y: int64(), z: nullable(bool()), w: string() } }],
  ['the name of the entity', { entityName: 'person' }],
  ['where the records lie', { streamKey: ['where'], partitions: 7 }],
  ['the time of the log said aloud', { corrections: { knownAt: 'logAppendTime' } }],
  ['a default said aloud', { feature: ({ x }) => mean(x).over(3_600_000, { resolution: 'exact', endsBefore: 0 }) }],
]
const zoned = tumbling(86_400_000, { take: 'current', zone: 'Asia/Tokyo' })
const different: [string, Variant][] = [
  ['the stream', { stream: 't' }],
  ['the event time', { eventTime: 'seen' }],
  ['the type of an input', { fields: { x: int64() } }],
  ['the nullability of an input', { fields: { x: nullable(int32()) } }],
  ['the input', { feature: ({ y }) => over1h(mean(y) as never) }],
  [
    'non-finite inputs',
    { feature: ({ y }) => over1h(mean(y) as never), fields: { y: float64({ allowNonFinite: true }) } },
  ],
  ['the type of a key field', { fields: { where: int64() }, key: { who: string(), where: int64() } }],
  ['the key', { key: { who: string() } }],
  ['the order of the key', { key: { where: int32(), who: string() } }],
  ['the window', { feature: ({ x }) => mean(x).over(3_600_001) }],
  ['where it ends', { feature: ({ x }) => mean(x).over(3_600_000, { endsBefore: 1 }) }],
  ['a condition', { feature: ({ x, z }) => over1h(mean(x).where(z) as never) }],
  ['another condition', { feature: ({ x, z }) => over1h(mean(x).where((z as BoolExpr).not()) as never) }],
  ['the type of what it reads', { ...conditional, fields: { z: nullable(bool()) } }],
  ['a resolution', { feature: ({ x }) => mean(x).over(3_600_000, { resolution: '1m' }) }],
  ['another resolution', { feature: ({ x }) => mean(x).over(3_600_000, { resolution: '2m' }) }],
  ['a series', { feature: ({ x }) => mean(x).over(series(3_600_000, 60_000)) as never }],
  ['another step', { feature: ({ x }) => mean(x).over(series(3_600_000, 120_000)) as never }],
  ['a day', { feature: ({ x }) => mean(x).over(tumbling(86_400_000, { take: 'current' })) }],
  ['a day in a zone', { feature: ({ x }) => mean(x).over(zoned) }],
  [
    'other data of the zone',
    { feature: ({ x }) => mean(x).over({ ...zoned, zone: { name: 'Asia/Tokyo', digest: '0123456789abcdef' } }) },
  ],
  ['rows', { feature: ({ x }) => mean(x).over(rows(5)) }],
  ['other rows', { feature: ({ x }) => mean(x).over(rows(6)) }],
  ['an aligned window', { feature: ({ x }) => mean(x).over(tumbling(3_600_000, { take: 'current' })) }],
  ['the one before it', { feature: ({ x }) => mean(x).over(tumbling(3_600_000, { take: 'last' })) }],
  ['sessions', { feature: ({ x }) => mean(x).over(session(5)) }],
  ['another gap', { feature: ({ x }) => mean(x).over(session(6)) }],
  ['no window', { feature: ({ x }) => mean(x) }],
  ['whose time records bear', { corrections: { knownAt: 'createTime' } }],
  ['how far they may jump', { corrections: { maxKnownAtJump: 5 } }],
  ['or further', { corrections: { maxKnownAtJump: 6 } }],
  ['the ttl', { options: { ttl: 86_400_001 } }],
  ['no ttl', { options: { ttl: undefined } }],
  ['the lateness', { options: { lateness: 0 } }],
  ['no lateness', { options: { lateness: undefined } }],
  ['maxAhead', { options: { maxAhead: 0 } }],
  ['another function', { feature: ({ x }) => over1h(min(x) as never) }],
  ['and another one', { feature: ({ x }) => over1h(max(x) as never) }],
  ['a variance', { feature: ({ x }) => over1h(variance(x) as never) }],
  ['its divisor', { feature: ({ x }) => over1h(variance(x, { divisor: 'population' }) as never) }],
  ['a deviation', { feature: ({ x }) => over1h(stddev(x) as never) }],
  ['n', { feature: ({ x }) => over1h(lastN(x, 2) as never) }],
  ['an id', { corrections: { id: 'who' } }],
  ['another id', { corrections: { id: 'where' } }],
  ['the span of duplicates', { corrections: { id: 'who', dedupeSpan: 1 } }],
  ['where the operation is', { corrections: { id: 'who', op: 'kind' }, fields: { kind: string() } }],
  ['a primary key', { corrections: { changelog: true, primaryKey: ['who'] } }],
  ['another primary key', { corrections: { changelog: true, primaryKey: ['where', 'who'] } }],
  ['another n', { feature: ({ x }) => over1h(lastN(x, 3) as never) }],
]

describe('the fingerprint of a feature', () => {
  test.each(same)('is the same whatever %s', (_, variant) => {
    expect(of(variant)).toBe(of({}))
  })
  test.each(different)('changes with %s', (_, variant) => {
    expect(of(variant)).toMatch(/^[0-9a-f]{64}$/)
    expect(of(variant)).not.toBe(of({}))
  })
  test('is another one for every change', () => {
    expect(new Set(different.map(([, variant]) => of(variant))).size).toBe(different.length)
  })
  test('changes with every part of an expression', () => {
    const inputs: ((scope: { x: Num; y: Num }) => unknown)[] = [
      ({ x, y }) => x.add(y),
      ({ x, y }) => y.add(x),
      ({ x, y }) => x.sub(y),
      ({ x }) => x.add(1),
      ({ x }) => x.add(2),
      ({ x, y }) => x.add(y).add(1),
      ({ x, y }) => x.add(y.add(1)),
    ]
    const all = inputs.map((input) => of({ feature: (scope) => over1h(mean(input(scope) as never) as never) }))
    expect(new Set(all).size).toBe(inputs.length)
  })
  test('is what it was before streams could be corrected, where a stream declares nothing of it', () => {
    const from = stream('s', { fields: { at: timestamp(), who: string(), x: int32() }, eventTime: 'at' })
    const who = entity('e', { key: { who: string() } })
    const v = view('v', { from, entity: who, features: ({ x }) => ({ f: mean(x).over(3_600_000) }) })
    const catalog = buildCatalog([from, who, v])
    expect(featureFingerprint(catalog, { view: 'v', feature: 'f' })).toBe(
      '263541f81dd9c56274bfc23a37c991486d2500f49a8f9bfb5edfa87c3af80c65',
    )
    expect(definitionFingerprint(catalog, from)).toBe(
      'ad1347efd49664a9d7d8a078cb66aee071450624aec145ca89cf098c1a2343bd',
    )
  })
  test('the order of definitions decides nothing', () => {
    const definitions = project({})
    const settings = { shards: 64, historyMs: 1, rowFormat: 1 }
    const [a, b] = [buildCatalog(definitions), buildCatalog(definitions.toReversed())]
    expect(viewFingerprint(b, 'v')).toBe(viewFingerprint(a, 'v'))
    expect(projectionFingerprint(b, settings)).toBe(projectionFingerprint(a, settings))
    expect(projectionFingerprint(a, { ...settings, shards: 65 })).not.toBe(projectionFingerprint(a, settings))
  })
})

interface Num {
  add(other: Num | number): Num
  sub(other: Num | number): Num
}

describe('the fingerprint of a definition', () => {
  const definitionOf = (variant: Variant, index: number): string => {
    const definitions = project(variant)
    return definitionFingerprint(buildCatalog(definitions), definitions[index] as Definition)
  }
  test.each([0, 1, 2])('has no description in it (%i)', (index) => {
    expect(definitionOf({ describe: 'what it is' }, index)).toBe(definitionOf({}, index))
  })
  test('of a stream has everything else', () => {
    for (const variant of [
      { partitions: 2 },
      { streamKey: [] },
      { eventTime: 'seen' },
      { fields: { z: nullable(bool()) } },
    ])
      expect(definitionOf(variant, 0)).not.toBe(definitionOf({}, 0))
  })
  test('of an entity has the order of its key', () => {
    expect(definitionOf({ key: { where: int32(), who: string() } }, 1)).not.toBe(definitionOf({}, 1))
  })
})

describe('a service', () => {
  const [from, who, v] = project({}) as [Definition, Definition, Definition]
  const selection = { view: 'v', references: [{ view: 'v', feature: 'f' }] } as const
  const catalogWith = (plus: number, request: Readonly<Record<string, FieldType>>, other: Definition = v) =>
    buildCatalog([
      from,
      who,
      other,
      service('r', {
        features: [selection],
        request,
        derive: ((scope: { v: { f: Num } }) => ({ d: scope.v.f.add(plus) })) as never,
      } as never),
    ])
  const base = catalogWith(1, { a: int32(), b: int32() })
  const fingerprint = (catalog: typeof base) => definitionFingerprint(catalog, catalog.services.get('r') as Definition)

  test('changes with its request, the order of it, and what it derives', () => {
    expect(fingerprint(catalogWith(1, { a: int32(), b: int32() }))).toBe(fingerprint(base))
    expect(fingerprint(catalogWith(1, { b: int32(), a: int32() }))).not.toBe(fingerprint(base))
    expect(fingerprint(catalogWith(1, { a: int32() }))).not.toBe(fingerprint(base))
    expect(fingerprint(catalogWith(2, { a: int32(), b: int32() }))).not.toBe(fingerprint(base))
  })
  test('pins its features, and derived ones change with what they rest on', () => {
    const changed = catalogWith(1, { a: int32(), b: int32() }, { ...v, ttlMs: 90_000_000 } as Definition)
    const [before, after] = [serviceFingerprints(base, 'r'), serviceFingerprints(changed, 'r')]
    expect(Object.keys(before)).toEqual(['v:f', 'd'])
    expect(before['d']).toBe(derivedFingerprint(base, base.services.get('r') as never, 'd'))
    expect(after['v:f']).not.toBe(before['v:f'])
    expect(after['d']).not.toBe(before['d'])
  })
})
