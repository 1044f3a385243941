import { expect, test } from 'vitest'
import { buildCatalog } from '../../../core/definition/catalog.ts'
import { int32, int64, nullable, string } from '../../../core/definition/fields.ts'
import { count, days, hours, last, mean, minutes, tumbling } from '../../../core/definition/functions.ts'
import { model, service } from '../../../core/definition/service.ts'
import { entity, stream } from '../../../core/definition/stream.ts'
import { view } from '../../../core/definition/view.ts'
import { planOf, planText } from '../../../core/registry/plan.ts'
import { initialState } from '../../../core/registry/state.ts'
import { apply, catalogWith, delayRisk, flights, origin, originDelays, otherDelays, project } from './support.ts'

const catalog = buildCatalog(project)
const applied = apply(catalog)
const text = (lines: readonly string[]): string => `\n${lines.join('\n')}\n`

test('a first plan lists what is new, with the features of views', () => {
  expect(text(planText(catalog, initialState))).toBe(`
+ stream flights (4 fields, 2 partitions)
+ entity origin (origin string)
+ view origin_delays (3 features)
    + flights_1h     count() over 1h
    + mean_delay_1d  mean(delay) over 1d
    + last_delay     last(delay)
+ service delay_risk (3 features, 1 derived)
+ model delay_model (of service delay_risk)
built from the log: view origin_delays
`)
})

test('nothing to do', () => {
  expect(planText(catalog, applied)).toEqual(['no changes'])
  expect(planOf(catalog, applied)).toEqual({ changes: [], builds: [] })
})

test('a changed view lists features that are new, changed and gone', () => {
  const risk = service('delay_risk', {
    features: [otherDelays.all()],
    request: { distance: int32() },
    derive: ({ origin_delays, request }) => ({ surprise: origin_delays.max_delay.sub(request.distance.div(8)) }),
    description: 'Before a departure',
  })
  expect(text(planText(buildCatalog([flights, origin, otherDelays, risk]), applied))).toBe(`
~ view origin_delays: version 1 -> 2
    ~ mean_delay_1d  mean(delay) over 1d -> over 2d
    + max_delay      max(delay) over 6h
    - last_delay
~ service delay_risk: version 1 -> 2
    ~ request                   none -> distance int32
    + description               "Before a departure"
    + origin_delays:max_delay
    ~ surprise                  origin_delays.last_delay - origin_delays.mean_delay_1d -> origin_delays.max_delay - request.distance / 8
    - origin_delays:last_delay
- model delay_model
built from the log: view origin_delays
`)
})

test('settings of a view, and what it takes from its stream, are shown once, not by feature', () => {
  const wide = stream('flights', {
    fields: { ...flights.fields, delay: int64(), seats: nullable(int32()) },
    eventTime: 'date',
    key: ['origin'],
    partitions: 2,
    importKnownAt: ({ date }) => date.add(60_000).mul(1),
  })
  const changed = view('origin_delays', {
    from: wide,
    entity: origin,
    lateness: minutes(90),
    features: ({ delay, seats }) => ({
      last_delay: last(delay).over(days(1)),
      flights_1h: count(),
      mean_delay_1d: mean(delay).over(days(1)),
      full: mean(seats).over(hours(36)),
    }),
  })
  expect(text(planText(buildCatalog([wide, origin, changed]), apply(buildCatalog([flights, origin, originDelays])))))
    .toBe(`
~ stream flights: version 1 -> 2
    ~ importKnownAt  none -> (date + 60000) * 1
    ~ delay          int32 -> int64
    + seats          nullable int32
~ view origin_delays: version 1 -> 2
    ~ ttl                30d -> none
    ~ lateness           none -> 90m
    ~ field delay        int32 -> int64
    ~ last_delay         last(delay) -> over 1d
    ~ flights_1h         count() over 1h -> count()
    + full               mean(seats) over 36h
    ~ order of features  now last_delay, flights_1h, mean_delay_1d
built from the log: view origin_delays
`)
})

test('a stream whose events get an identity is a change of its views, which says what changed', () => {
  const identified = { ...flights, id: 'note', dedupeSpanMs: 60_000 }
  expect(
    text(
      planText(buildCatalog([identified, origin, originDelays]), apply(buildCatalog([flights, origin, originDelays]))),
    ),
  ).toBe(`
~ stream flights: version 1 -> 2
    + id          note
    + dedupeSpan  1m
~ view origin_delays: version 1 -> 2
    ~ id          none -> note
    ~ dedupeSpan  none -> 1m
built from the log: view origin_delays
`)
})

test('whose time records bear, and how far they may jump, is a change of the views of a stream', () => {
  const given = { ...flights, knownAt: 'createTime' as const, maxKnownAtJumpMs: 36 * 3_600_000 }
  const before = { ...given, maxKnownAtJumpMs: 1_500 }
  const planned = (from: typeof flights) =>
    text(planText(buildCatalog([given, origin, originDelays]), apply(buildCatalog([from, origin, originDelays]))))
  expect(planned(before)).toContain(`
    ~ maxKnownAtJump  1500ms -> 36h
~ view origin_delays: version 1 -> 2
    ~ maxKnownAtJump  1500ms -> 36h
built from the log: view origin_delays
`)
  expect(planned(flights)).toContain(`
    + knownAt         createTime
    + maxKnownAtJump  36h
~ view origin_delays: version 1 -> 2
    ~ knownAt         none -> createTime
    ~ maxKnownAtJump  none -> 36h
`)
})

test('a description changes no value, so nothing is built and the version stays', () => {
  const described = catalogWith(
    { ...originDelays, description: 'Departures' },
    entity('origin', { key: { origin: string() }, description: 'An airport' }),
  )
  expect(text(planText(described, applied))).toBe(`
~ entity origin: version 1 stays, no value changes
    + description  "An airport"
~ view origin_delays: version 1 stays, no value changes
    + description  "Departures"
`)
})

test('what comes back goes on with its versions', () => {
  const removed = apply(buildCatalog([flights, origin]), applied)
  const back = buildCatalog([flights, origin, otherDelays])
  expect(planText(back, removed)[0]).toBe('+ view origin_delays (3 features): version 2')
  expect(planOf(back, removed)).toMatchObject({
    changes: [{ change: 'added', fromVersion: null, toVersion: 2 }],
    builds: ['origin_delays'],
  })
})

test('a fingerprint that differs without a word in the definition is said to', () => {
  const definitions = new Map(applied.definitions)
  definitions.set('view/origin_delays', {
    ...(definitions.get('view/origin_delays') as NonNullable<ReturnType<typeof definitions.get>>),
    fingerprint: 'of older semantics',
  })
  expect(text(planText(catalog, { ...applied, definitions }))).toBe(`
~ view origin_delays: version 1 -> 2
    ~ what this version of Tidemark makes of it
built from the log: view origin_delays
`)
})

test('a changed model names what changed', () => {
  const other = model('delay_model', {
    service: delayRisk,
    labels: { from: flights, label: ({ delay, note }) => delay.gt(30).or(note.isNull().not()), sampleRows: 100 },
    trainUntil: 86_400_000,
    algorithm: { kind: 'logisticRegression', l2: 0.5 },
  })
  expect(text(planText(catalogWith(other), applied))).toBe(`
~ model delay_model: version 1 -> 2
    ~ label       delay > 15 -> delay > 30 or not note is null
    ~ trainUntil  1970-01-01T00:00:00.000Z -> 1970-01-02T00:00:00.000Z
    ~ algorithm   logisticRegression, l2 1 -> logisticRegression, l2 0.5
`)
})

test('a change that apply refuses is refused here', () => {
  const moved = stream('flights', { fields: flights.fields, eventTime: 'date', partitions: 2 })
  expect(() => planText(buildCatalog([moved]), applied)).toThrow(
    expect.objectContaining({ code: 'FS_DEFINITION_INVALID' }),
  )
})

test('other time zone data is a change of the view, from outside', () => {
  const daily = (digest?: string) => {
    const window = tumbling(days(1), { take: 'last', zone: 'Europe/Zurich' })
    const zone = { name: 'Europe/Zurich', digest: digest ?? window.zone?.digest ?? '' }
    const features = () => ({ n: count().over({ ...window, zone }) })
    return buildCatalog([flights, origin, view('daily', { from: flights, entity: origin, features })])
  }
  const digest = tumbling(days(1), { take: 'last', zone: 'Europe/Zurich' }).zone?.digest
  expect(text(planText(daily(), apply(daily('0123456789abcdef'))))).toBe(`
~ view daily: version 1 -> 2
    ~ time zone Europe/Zurich  data 0123456789abcdef -> data ${digest}
built from the log: view daily
`)
})
