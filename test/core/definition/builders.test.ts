import { describe, expect, test } from 'vitest'
import * as tidemark from '../../../index.ts'
import { buildCatalog } from '../../../core/definition/catalog.ts'
import { expressionsOf } from '../../../core/definition/stream.ts'
import type { Definition } from '../../../core/definition/types.ts'
import type { ErrorCode } from '../../../core/errors.ts'
import { every, everyEvent, historyStepOf, none } from '../../../core/definition/history.ts'

const { bool, count, days, distinctCount, entity, float64, hours, int32, int64, lastN, mean, nullable } = tidemark
const { model, service, stream, string, sum, timestamp, view } = tidemark

const error = (code: ErrorCode, message: RegExp): unknown =>
  expect.objectContaining({ name: 'FeatureStoreError', code, message: expect.stringMatching(message) })
/** Options as plain JavaScript may write them. */
const loose = (options: object): never => options as never

const fields = { at: timestamp(), who: string(), n: int32(), big: int64(), x: nullable(float64()), ok: bool() }
const events = stream('events', { fields, eventTime: 'at' })
const who = entity('who', { key: { who: string() } })
const base = { from: events, entity: who }
const counts = view('counts', { ...base, features: ({ x }) => ({ n: count(), x: mean(x) }) })
const risk = service('risk', { features: [counts.all()], request: { n: int32() } })
const labels = { from: events, label: () => ({ ast: { kind: 'field', name: 'ok' } }), sampleRows: 1 }
const someModel = { service: risk, labels, trainUntil: 0 }

describe('streams', () => {
  const make = (options: object) => () => stream('s', loose({ fields, eventTime: 'at', ...options }))
  test.each([
    ['no fields', { fields: {} }, /stream s declares no fields/],
    ['fields of nothing', { fields: null }, /stream s declares no fields/],
    ['a field without type', { fields: { at: {} } }, /field at of stream s has no type; the types are string, bool/],
    ['a field of an unknown type', { fields: { at: { type: 'uuid' } } }, /field at of stream s has no type/],
    ['a field called __x', { fields: { __x: int32() } }, /a field of stream s is called "__x": a name is a letter/],
    ['an unknown eventTime', { eventTime: 'time' }, /eventTime names "time", which is no timestamp field/],
    ['no eventTime', { eventTime: undefined }, /eventTime names undefined/],
    ['an eventTime of numbers', { eventTime: 'n' }, /eventTime names "n"/],
    ['a nullable eventTime', { fields: { at: nullable(timestamp()) } }, /eventTime names at, which is nullable/],
    ['an unknown key', { key: ['which'] }, /key names "which", which is no field/],
    ['a key that every object has', { key: ['toString'] }, /key names "toString"/],
    ['a key of floats', { key: ['x'] }, /key names x, a float64: keys are compared by their bytes/],
    ['no partitions', { partitions: 0 }, /partitions is 0: an integer from 1 to 1,024/],
    ['half a partition', { partitions: 1.5 }, /partitions is 1.5/],
    ['too many partitions', { partitions: 1025 }, /partitions is 1025/],
    ['importKnownAt that is no time', { importKnownAt: ({ who }: never) => who }, /importKnownAt is no time/],
    [
      'importKnownAt of no field',
      { importKnownAt: ({ when }: never) => when },
      /stream s has no field when; it has at, who/,
    ],
    ['an option that there is not', { owner: 'me' }, /stream s has no option owner; the options are fields, eventTime/],
  ])('%s', (_, options, message) => {
    expect(make(options)).toThrow(error('FS_DEFINITION_INVALID', message))
  })
  const log = { changelog: true, primaryKey: ['who'] }
  test.each([
    ['an unknown id', { id: 'which' }, /id names "which", which is no field/],
    ['an id of a type that has no identity', { id: 'x' }, /id names x, a float64: it takes string, int32, int64/],
    ['a nullable id', { fields: { ...fields, who: nullable(string()) }, id: 'who' }, /id names who, which is nullable/],
    ['an id of a changelog', { id: 'who', ...log }, /id and changelog exclude each other/],
    ['a dedupeSpan without an id', { dedupeSpan: 5 }, /dedupeSpan is only for a stream with an id/],
    ['a dedupeSpan of a changelog', { dedupeSpan: 5, ...log }, /dedupeSpan is only for a stream with an id/],
    ['a negative dedupeSpan', { id: 'who', dedupeSpan: -1 }, /dedupeSpan is -1: a number of milliseconds/],
    ['half a dedupeSpan', { id: 'who', dedupeSpan: 0.5 }, /dedupeSpan is 0.5/],
    ['a changelog without a primaryKey', { changelog: true }, /a changelog needs a primaryKey/],
    ['a primaryKey of no changelog', { primaryKey: ['who'] }, /primaryKey is only for changelog: true/],
    ['changelog: false', { changelog: false, primaryKey: ['who'] }, /changelog is true, or left out/],
    ['an empty primaryKey', { changelog: true, primaryKey: [] }, /primaryKey names no field/],
    ['a primaryKey twice', { changelog: true, primaryKey: ['who', 'who'] }, /primaryKey names a field twice/],
    ['a primaryKey of floats', { changelog: true, primaryKey: ['x'] }, /primaryKey names x, a float64/],
    [
      'an unknown primaryKey',
      { changelog: true, primaryKey: ['toString'] },
      /primaryKey names "toString", which is no/,
    ],
    ['an op of numbers', { id: 'who', op: 'n' }, /op names n, a int32: it takes string/],
    ['an op that is the id', { id: 'who', op: 'who' }, /op names who, which also says which record it is/],
    ['an op of inserts alone', { op: 'who' }, /op is only for a stream with an id or a changelog/],
  ])('%s', (_, options, message) => {
    expect(make(options)).toThrow(error('FS_DEFINITION_INVALID', message))
  })
  test('an id has 7 days of duplicates; a changelog is keyed by its primary key, unless it is said', () => {
    expect(make({ id: 'who' })()).toMatchObject({ id: 'who', dedupeSpanMs: 7 * 86_400_000, key: [] })
    expect(make({ id: 'who', dedupeSpan: 0, key: ['n'] })()).toMatchObject({ dedupeSpanMs: 0, key: ['n'] })
    expect(make({ changelog: true, primaryKey: ['who', 'n'] })()).toMatchObject({ key: ['who', 'n'] })
    expect(make({ changelog: true, primaryKey: ['who'], key: ['n'] })()).toMatchObject({ key: ['n'] })
    expect(Object.keys(make({})())).toEqual(Object.keys(events))
  })
  test.each([
    [
      'a knownAt that is a field',
      { knownAt: 'at' },
      /knownAt is "at": 'logAppendTime' \(the default\) or 'createTime'/,
    ],
    ['a maxKnownAtJump of nothing', { maxKnownAtJump: 0 }, /maxKnownAtJump is 0: a number of milliseconds, 1 or more/],
    ['half a maxKnownAtJump', { maxKnownAtJump: 1.5 }, /maxKnownAtJump is 1.5/],
    ['an endless maxKnownAtJump', { maxKnownAtJump: Infinity }, /maxKnownAtJump is Infinity/],
    ['a maxKnownAtJump in words', { maxKnownAtJump: '1h' }, /maxKnownAtJump is 1h/],
  ])('%s', (_, options, message) => {
    expect(make(options)).toThrow(error('FS_DEFINITION_INVALID', message))
  })
  test('records bear the time of the log, unless it is said', () => {
    expect(make({ knownAt: 'createTime', maxKnownAtJump: 5 })()).toMatchObject({
      knownAt: 'createTime',
      maxKnownAtJumpMs: 5,
    })
    expect(make({ knownAt: 'logAppendTime' })()).toEqual(make({})())
  })
  test('decimals have 1 to 18 digits, none to all of them behind the point', () => {
    expect(tidemark.decimal(18, 2)).toEqual({ type: 'decimal', precision: 18, scale: 2 })
    expect(tidemark.nullable(tidemark.decimal(1, 1))).toEqual({
      type: 'decimal',
      precision: 1,
      scale: 1,
      nullable: true,
    })
    expect(() => tidemark.decimal(19, 2)).toThrow(error('FS_NOT_YET', /decimal\(19, 2\).*18 digits/))
    expect(() => tidemark.decimal(38, 0)).toThrow(error('FS_NOT_YET', /decimal\(38, 0\)/))
    for (const [precision, scale] of [
      [39, 2],
      [0, 0],
      [2.5, 0],
      [5, 6],
      [5, -1],
      [5, 0.5],
      ['5', 1],
      [5, undefined],
    ] as [number, number][])
      expect(() => tidemark.decimal(precision, scale)).toThrow(
        error('FS_DEFINITION_INVALID', /the (precision|scale) is/),
      )
    const written = { type: 'decimal', precision: 20, scale: 2 } as ReturnType<typeof tidemark.decimal>
    expect(() => stream('s', { fields: { at: timestamp(), d: written }, eventTime: 'at' })).toThrow(
      error('FS_NOT_YET', /20/),
    )
  })
  test('decimals are no keys', () => {
    const fields = { at: timestamp(), d: tidemark.decimal(5, 2) }
    expect(() => stream('s', { fields, eventTime: 'at', key: ['d'] })).toThrow(
      error('FS_DEFINITION_INVALID', /a decimal/),
    )
    expect(() => tidemark.entity('e', { key: { d: tidemark.decimal(5, 2) } })).toThrow(
      error('FS_DEFINITION_INVALID', /key field d is a decimal/),
    )
    for (const more of [{ id: 'd' }, { changelog: true, primaryKey: ['d'] }])
      expect(() => stream('s', { fields, eventTime: 'at', ...more } as never)).toThrow(
        error('FS_DEFINITION_INVALID', /names d, a decimal/),
      )
  })
  test('are plain data with their defaults', () => {
    expect(stream('s', { fields: { at: timestamp() }, eventTime: 'at' })).toEqual({
      kind: 'stream',
      name: 's',
      fields: { at: { type: 'timestamp' } },
      eventTime: 'at',
      key: [],
      partitions: 1,
      importKnownAt: null,
    })
  })
})

describe('names', () => {
  const bad = ['', '1a', '_a', 'a-b', 'a.b', 'a b', 'ä', 'a'.repeat(64), 7, undefined, null]
  const makers: [string, (name: never) => unknown][] = [
    ['a stream', (name) => stream(name, { fields, eventTime: 'at' })],
    ['an entity', (name) => entity(name, { key: { who: string() } })],
    ['a view', (name) => view(name, { ...base, features: () => ({ n: count() }) })],
    ['a service', (name) => service(name, { features: [counts.all()] })],
    ['a model', (name) => model(name, loose(someModel))],
  ]
  test.each(makers)('of %s', (what, make) => {
    for (const name of bad) expect(() => make(name as never)).toThrow(error('FS_DEFINITION_INVALID', new RegExp(what)))
    for (const name of ['a', 'A9_', 'a'.repeat(63)]) expect(() => make(name as never)).not.toThrow()
  })
})

describe('entities', () => {
  test.each([
    ['no key', { key: {} }, /entity e declares no fields/],
    ['a float', { key: { x: float64() } }, /key field x is a float64/],
    ['a null', { key: { who: nullable(string()) } }, /key field who is nullable/],
    ['an option that there is not', { key: { who: string() }, id: 'x' }, /entity e has no option id/],
  ])('%s', (_, options, message) => {
    expect(() => entity('e', loose(options))).toThrow(error('FS_DEFINITION_INVALID', message))
  })
})

describe('views', () => {
  const features = () => ({ n: count() })
  const make = (options: object) => () => view('v', loose({ ...base, features, ...options }))
  test.each([
    ['from nothing', { from: undefined }, /view v: from is no stream/],
    ['from an entity', { from: who }, /view v: from is no stream/],
    ['of no entity', { entity: events }, /view v: entity is no entity/],
    ['without features', { features: () => ({}) }, /view v: it has no features/],
    ['a feature with __', { features: () => ({ a__b: count() }) }, /feature a__b: "__" separates view and feature/],
    ['a feature with a bad name', { features: () => ({ '1h': count() }) }, /a feature of view v is called "1h"/],
    ['a ttl of nothing', { ttl: 0 }, /ttl is 0: a positive number of milliseconds/],
    ['a negative ttl', { ttl: -1 }, /ttl is -1/],
    ['a ttl for ever', { ttl: Number.POSITIVE_INFINITY }, /ttl is Infinity/],
    ['a negative lateness', { lateness: -1 }, /lateness is -1/],
    ['a fraction of a millisecond', { lateness: 0.5 }, /lateness is 0.5/],
    ['a maxAhead that is none', { maxAhead: Number.NaN }, /maxAhead is NaN/],
    ['an option that there is not', { latenes: 1 }, /view v has no option latenes/],
  ])('%s', (_, options, message) => {
    expect(make(options)).toThrow(error('FS_DEFINITION_INVALID', message))
  })
  test('the name that services give the request', () => {
    expect(() => view('request', { ...base, features })).toThrow(error('FS_DEFINITION_INVALID', /view request/))
  })
  test.each(['where', 'resolution', 'unnest'])('%s: not yet', (option) => {
    expect(make({ [option]: 1 })).toThrow(error('FS_NOT_YET', new RegExp(`view v: ${option}`)))
  })
  test('history is every 15 minutes unless it is said, and changes no fingerprint', () => {
    expect(historyStepOf(make({})())).toBe(900_000)
    expect(historyStepOf(make({ history: every(7) })())).toBe(7)
    expect(historyStepOf(make({ history: everyEvent })())).toBe(1)
    expect(historyStepOf(make({ history: none })())).toBeNull()
    for (const history of [1, 'daily', {}, null])
      expect(make({ history })).toThrow(error('FS_DEFINITION_INVALID', /history is every/))
    expect(() => every(0)).toThrow(error('FS_DEFINITION_INVALID', /history every 0 ms/))
  })
  test('an event may be 1 day ahead and however late, and counts for ever, unless it is said', () => {
    expect(make({})()).toMatchObject({ ttlMs: null, latenessMs: null, maxAheadMs: 86_400_000, keyFields: ['who'] })
    expect(make({ lateness: 0, maxAhead: 0 })()).toMatchObject({ latenessMs: 0, maxAheadMs: 0 })
  })
  test('are data: their methods are not among it', () => {
    expect(Object.keys(counts)).not.toContain('all')
    expect(JSON.parse(JSON.stringify(counts))).toEqual({ ...counts })
    expect(() => counts.select('z' as never)).toThrow(
      error('FS_FEATURE_UNKNOWN', /view counts has no feature z; it has n, x/),
    )
  })
})

describe('windows and functions', () => {
  test.each([
    ['zero', () => count().over(0)],
    ['negative', () => count().over(-1)],
    ['fractional', () => count().over(1.5)],
    ['endless', () => count().over(Number.POSITIVE_INFINITY)],
    ['no hours', () => count().over(hours(0))],
    ['negative days', () => days(-1)],
    ['NaN seconds', () => tidemark.seconds(Number.NaN)],
    ['half a millisecond', () => tidemark.seconds(0.0005)],
    ['endsBefore the future', () => count().over(1, { endsBefore: -1 })],
    ['endsBefore half a millisecond', () => count().over(1, { endsBefore: 0.5 })],
    ['endsBefore for ever', () => count().over(1, { endsBefore: Number.POSITIVE_INFINITY })],
    ['where without a condition', () => count().where({} as never)],
    ['where of nothing', () => count().where(undefined as never)],
    ['a window of nothing', () => count().over(null as never)],
    ['a window of an unknown kind', () => count().over({ kind: 'rowz' } as never)],
    ['tumbling of nothing', () => tidemark.tumbling(0, { take: 'last' })],
    ['tumbling that takes none', () => tidemark.tumbling(hours(1), {} as never)],
    ['tumbling without options', () => tidemark.tumbling(hours(1), undefined as never)],
    ['tumbling with other options', () => tidemark.tumbling(hours(1), loose({ take: 'last', endsBefore: 1 }))],
    ['tumbling that takes all', () => tidemark.tumbling(hours(1), { take: 'all' as never })],
    ['a session without a gap', () => tidemark.session(0)],
    ['a session of no time', () => tidemark.session('1h' as never)],
    ['rows(0)', () => tidemark.rows(0)],
    ['rows(1.5)', () => tidemark.rows(1.5)],
    ['rows of too many', () => tidemark.rows(100_001)],
    ['rows that end before', () => count().over(tidemark.rows(1) as never, loose({ endsBefore: 1 }))],
    ['an option of windows that there is not', () => count().over(1, loose({ endBefore: 1 }))],
    ...([0, -1, 1.5, Number.NaN, '0s', '-5m', '5 m', '1w', '61m', 'coarse', '', 3_600_001, null] as never[]).map(
      (resolution): [string, () => unknown] => [
        `a resolution of ${JSON.stringify(resolution)}`,
        () => count().over(hours(1), { resolution }),
      ],
    ),
    ['a series of nothing', () => tidemark.series(0, 1)],
    ['a series that looks ahead', () => tidemark.series(-10, 5)],
    ['a series without step', () => tidemark.series(hours(1), undefined as never)],
    ['a series of no steps', () => tidemark.series(hours(1), 0)],
    ['a series of steps back', () => tidemark.series(hours(1), -hours(1))],
    ['a series of steps that do not divide it', () => tidemark.series(hours(1), hours(1) - 1)],
    ['a series of steps longer than it', () => tidemark.series(hours(1), hours(2))],
    ['a series of 1,001 windows', () => tidemark.series(1_001, 1)],
    ['a series with a resolution', () => count().over(tidemark.series(2, 1) as never, loose({ resolution: '1s' }))],
    ['rows with a resolution', () => count().over(tidemark.rows(1) as never, loose({ resolution: '1s' }))],
    ['lastN over a series', () => lastN({ ast: null } as never, 2).over(tidemark.series(2, 1) as never)],
    ['a zone that there is not', () => tidemark.tumbling(days(1), { take: 'last', zone: 'Europe/Atlantis' })],
    ['a zone that is an offset', () => tidemark.tumbling(days(1), { take: 'last', zone: '+01:00' })],
    ['a zone that is no text', () => tidemark.tumbling(days(1), { take: 'last', zone: 1 as never })],
    ['hours of a zone', () => tidemark.tumbling(hours(36), { take: 'last', zone: 'Europe/Zurich' })],
    ['lastN of 0', () => lastN({ ast: null } as never, 0)],
    ['lastN of 1,001', () => lastN({ ast: null } as never, 1001)],
    ['lastN of 1.5', () => lastN({ ast: null } as never, 1.5)],
  ])('%s is refused', (_, make) => {
    expect(make).toThrow(error('FS_DEFINITION_INVALID', /./))
  })

  const later: [string, () => unknown][] = [
    ['the window "1h"', () => count().over('1h' as never)],
    ['topN', () => tidemark.topN('x', 3)],
    ['quantile', () => tidemark.quantile('x', 0.5)],
    ['approxDistinctCount', () => tidemark.approxDistinctCount('x')],
  ]
  test.each(later)('%s: not yet, also inside features', (what, make) => {
    expect(make).toThrow(error('FS_NOT_YET', new RegExp(`${what}.* is not built yet`)))
    expect(() => view('v', { ...base, features: () => ({ n: make() as ReturnType<typeof count> }) })).toThrow(
      error('FS_NOT_YET', /not built yet/),
    )
  })

  test("resolution: 'exact' is the default said aloud", () => {
    expect(count().over(1, { resolution: 'exact' }).window).toEqual({ kind: 'sliding', spanMs: 1 })
  })
  test('a resolution is a length, as text or in milliseconds; of 1 ms it is exact', () => {
    const resolutionOf = (resolution: '5m' | number) =>
      (count().over(days(1), { resolution }).window as { resolutionMs?: number }).resolutionMs
    const texts = ['250ms', '30s', '5m', '1h', '1d'] as never[]
    expect(texts.map(resolutionOf)).toEqual([250, 30_000, 300_000, 3_600_000, 86_400_000])
    expect(resolutionOf(tidemark.minutes(5))).toBe(300_000)
    expect(count().over(1, { resolution: 1 })).toEqual(count().over(1))
  })
  test("zone: 'UTC' is the default said aloud, another one is kept with the digest of its table", () => {
    expect(tidemark.tumbling(days(1), { take: 'last', zone: 'UTC' })).toEqual(
      tidemark.tumbling(days(1), { take: 'last' }),
    )
    expect(tidemark.tumbling(days(7), { take: 'last', zone: 'Europe/Zurich' })).toEqual({
      kind: 'tumbling',
      spanMs: days(7),
      take: 'last',
      zone: { name: 'Europe/Zurich', digest: expect.stringMatching(/^[0-9a-f]{16}$/) as string },
    })
  })
  test('where goes before over or after it; of two conditions both must hold', () => {
    const { ok } = expressionsOf('stream s', { ok: bool() })
    expect(count().where(ok).over(1)).toEqual(count().over(1).where(ok))
    expect(count().where(ok).where(ok.not())).toEqual(count().where(ok.and(ok.not())))
  })
  test('endsBefore: 0 is, too', () => {
    expect(count().over(1, { endsBefore: 0 }).window).toEqual({ kind: 'sliding', spanMs: 1 })
    expect(count().over(2, { endsBefore: 3 }).window).toEqual({ kind: 'sliding', spanMs: 2, endsBeforeMs: 3 })
  })
})

describe('services and models', () => {
  const make = (options: object) => () => service('s', loose({ features: [counts.all()], ...options }))
  test.each([
    ['without features', { features: [] }, /service s: it has no features/],
    ['a request field without type', { request: { n: {} } }, /field n of the request of service s has no type/],
    ['a clock that there is not', { clock: 'mine' }, /clock is "mine": 'system' or 'newestEvent'/],
    [
      'a derived feature with a bad name',
      { derive: () => ({ 'a b': {} }) },
      /a derived feature of service s is called/,
    ],
    ['an option that there is not', { view: 1 }, /service s has no option view/],
  ])('service: %s', (_, options, message) => {
    expect(make(options)).toThrow(error('FS_DEFINITION_INVALID', message))
  })

  const makeModel = (options: object) => () => model('m', loose({ ...someModel, ...options }))
  test.each([
    ['no rows', { labels: { ...labels, sampleRows: 0 } }, /sampleRows is 0: a positive integer/],
    ['half a row', { labels: { ...labels, sampleRows: 1.5 } }, /sampleRows is 1.5/],
    ['a request from no field', { labels: { ...labels, request: { n: 'm' } } }, /no field m for request field n/],
    ['a negative penalty', { algorithm: { kind: 'logisticRegression', l2: -1 } }, /l2 is -1: a number from 0/],
    ['a penalty that is none', { algorithm: { kind: 'logisticRegression', l2: Number.NaN } }, /l2 is NaN/],
    ['an option that there is not', { epochs: 1 }, /model m has no option epochs/],
    [
      'an option of labels that there is not',
      { labels: { ...labels, rows: 1 } },
      /labels of model m has no option rows/,
    ],
  ])('model: %s', (_, options, message) => {
    expect(makeModel(options)).toThrow(error('FS_DEFINITION_INVALID', message))
  })
  test('other algorithms: not yet', () => {
    expect(makeModel({ algorithm: { kind: 'trees' } })).toThrow(error('FS_NOT_YET', /model m: algorithm "trees"/))
  })
  test('a request field is drawn from the field of its name unless another is named', () => {
    expect(makeModel({})()).toMatchObject({ labels: { request: { n: 'n' } }, algorithm: { l2: 1 } })
    expect(makeModel({ labels: { ...labels, request: { n: 'big' } } })()).toMatchObject({
      labels: { request: { n: 'big' } },
    })
  })
})

describe('a catalog', () => {
  const all: readonly Definition[] = [events, who, counts, risk]
  const other = (options: object) => view('other', loose({ ...base, ...options }))
  const shares = (condition: (scope: never) => unknown) =>
    other({ features: (scope: never) => ({ f: tidemark.share(condition(scope) as never) }) })
  const lastOf3 = { name: 'f', aggregation: lastN({ ast: { kind: 'field', name: 'n' } } as never, 3).aggregation }
  const lastHour = tidemark.tumbling(hours(1), { take: 'last' })
  const num = entity('num', { key: { n: int32() } })
  const num64 = entity('num64', { key: { n: int64() } })
  const wide = stream('wide', { fields: { at: timestamp(), n: int64(), who: string() }, eventTime: 'at' })

  test.each<[string, readonly Definition[], ErrorCode, RegExp]>([
    ['two of one name', [...all, counts], 'FS_DEFINITION_INVALID', /two views are called counts/],
    [
      'a view of no stream',
      [who, counts],
      'FS_STREAM_UNKNOWN',
      /view counts: there is no stream events; there are none/,
    ],
    ['a view of no entity', [events, counts], 'FS_DEFINITION_INVALID', /view counts: entity who is not exported/],
    ['a service of no view', [events, who, risk], 'FS_VIEW_UNKNOWN', /service risk: there is no view counts/],
    ['a model of no service', [events, makeModelOf()], 'FS_SERVICE_UNKNOWN', /model m: there is no service risk/],
    [
      'a ttl shorter than a window',
      [events, who, other({ ttl: hours(1), features: () => ({ f: count().over(hours(2)) }) })],
      'FS_DEFINITION_INVALID',
      /view other: feature f: its window reaches 2h back, further than the ttl of 1h/,
    ],
    [
      'a ttl shorter than where a shifted window begins',
      [
        events,
        who,
        other({ ttl: hours(2), features: () => ({ f: count().over(hours(1), { endsBefore: hours(2) }) }) }),
      ],
      'FS_DEFINITION_INVALID',
      /feature f: its window reaches 3h back, further than the ttl of 2h/,
    ],
    [
      'a ttl shorter than two intervals, of which the last begins',
      [events, who, other({ ttl: hours(1), features: () => ({ f: count().over(lastHour) }) })],
      'FS_DEFINITION_INVALID',
      /feature f: its window reaches 2h back, further than the ttl of 1h/,
    ],
    [
      'a ttl shorter than a series',
      [
        events,
        who,
        other({ ttl: hours(1), features: () => ({ f: count().over(tidemark.series(hours(2), hours(1))) }) }),
      ],
      'FS_DEFINITION_INVALID',
      /feature f: its window reaches 2h back, further than the ttl of 1h/,
    ],
    [
      'a ttl shorter than two days of a zone',
      [
        events,
        who,
        other({
          ttl: hours(47),
          features: () => ({ f: count().over(tidemark.tumbling(days(1), { take: 'last', zone: 'Asia/Kolkata' })) }),
        }),
      ],
      'FS_DEFINITION_INVALID',
      /feature f: its window reaches 2d back, further than the ttl of 47h/,
    ],
    [
      'a list over a series, as data',
      [
        events,
        who,
        {
          ...counts,
          features: [{ ...lastOf3, window: tidemark.series(2, 1) }],
        },
      ],
      'FS_DEFINITION_INVALID',
      /view counts: feature f: lastN over a series would be a list of lists/,
    ],
    [
      'a distinct count over sessions without bound',
      [events, who, other({ features: ({ who }: never) => ({ f: distinctCount(who).over(tidemark.session(1)) }) })],
      'FS_DEFINITION_INVALID',
      /feature f: an exact distinct count without bound/,
    ],
    [
      'a condition that is a number',
      [events, who, other({ features: ({ n }: never) => ({ f: count().where(n) }) })],
      'FS_DEFINITION_INVALID',
      /feature f: where takes a bool, not int32/,
    ],
    [
      'a condition over another field',
      [events, who, other({ features: () => ({ f: count().where(loose({ ast: { kind: 'field', name: 'z' } })) }) })],
      'FS_DEFINITION_INVALID',
      /feature f: there is no field z/,
    ],
    [
      'a distinct count for ever',
      [events, who, other({ features: ({ who }: never) => ({ f: distinctCount(who) }) })],
      'FS_DEFINITION_INVALID',
      /feature f: an exact distinct count without bound/,
    ],
    [
      'a sum of conditions',
      [events, who, other({ features: ({ ok }: never) => ({ f: sum(ok) }) })],
      'FS_DEFINITION_INVALID',
      /feature f: sum takes int32, int64, float64, decimal, not bool/,
    ],
    [
      'a number that is not finite',
      [events, who, shares((scope) => (scope as { n: { gt(x: number): unknown } }).n.gt(Number.NaN))],
      'FS_DEFINITION_INVALID',
      /NaN is no literal/,
    ],
    [
      'a feature that is there twice',
      [events, who, counts, service('s', { features: [counts.all(), counts.select('n')] })],
      'FS_DEFINITION_INVALID',
      /service s: counts:n is there twice/,
    ],
    [
      'a request field that is a key',
      [events, who, counts, service('s', { features: [counts.all()], request: { who: string() } })],
      'FS_DEFINITION_INVALID',
      /service s: request field who is also a key field/,
    ],
    [
      'a derived feature that is a string',
      [
        events,
        who,
        counts,
        service('s', {
          features: [counts.all()],
          request: { a: string() },
          derive: loose(({ request }: never) => ({ d: request['a'] })),
        }),
      ],
      'FS_DEFINITION_INVALID',
      /derived feature d is string: float64 or bool/,
    ],
    [
      'two keys of one name and two types',
      [
        events,
        wide,
        num,
        num64,
        view('a', { from: events, entity: num, features: () => ({ f: count() }) }),
        view('b', { from: wide, entity: num64, features: () => ({ f: count() }) }),
        service('s', {
          features: [
            view('a', { from: events, entity: num, features: () => ({ f: count() }) }).all(),
            view('b', { from: wide, entity: num64, features: () => ({ f: count() }) }).all(),
          ],
        }),
      ],
      'FS_DEFINITION_INVALID',
      /key field n is int32 in one entity and int64 in num64/,
    ],
    [
      'a model whose stream lacks the entity',
      [
        ...all,
        stream('bare', { fields: { at: timestamp(), n: int32(), ok: bool() }, eventTime: 'at' }),
        makeModelOf('bare'),
      ],
      'FS_DEFINITION_INVALID',
      /model m: stream bare has no field who of type string to find the entity by/,
    ],
    [
      'a model whose request field has another type',
      [...all, makeModelOf('events', { n: 'big' })],
      'FS_DEFINITION_INVALID',
      /model m: request field n is int32, stream field big is int64/,
    ],
    [
      'a model trained until no time',
      [...all, { ...makeModelOf(), trainUntilMs: '2020-01-01' } as never],
      'FS_DEFINITION_INVALID',
      /trainUntil is 2020-01-01: epoch milliseconds/,
    ],
  ])('%s', (_, definitions, code, message) => {
    expect(() => buildCatalog(definitions)).toThrow(error(code, message))
  })

  test('a distinct count within a ttl is bounded', () => {
    const bounded = other({ ttl: days(1), features: ({ who }: never) => ({ f: distinctCount(who) }) })
    expect(buildCatalog([...all, bounded]).views.size).toBe(2)
  })
})

function makeModelOf(from = 'events', request: object = { n: 'n' }): Definition {
  const made = model('m', loose(someModel))
  return { ...made, labels: { ...made.labels, from, request } } as Definition
}
