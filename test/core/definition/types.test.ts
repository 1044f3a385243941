import { describe, expect, test } from 'vitest'
import {
  count,
  days,
  entity,
  float64,
  int32,
  int64,
  lastN,
  mean,
  model,
  nullable,
  rows,
  series,
  service,
  share,
  stream,
  string,
  sum,
  timestamp,
  view,
} from '../../../index.ts'
import { buildCatalog } from '../../../core/definition/catalog.ts'

/*
 * Mistakes that do not compile, each with what plain JavaScript gets for it at load. An expected error that is none is
 * itself an error of the compiler.
 */
const flights = stream('flights', {
  fields: { date: timestamp(), delay: nullable(int32()), miles: int64(), origin: string(), destination: string() },
  eventTime: 'date',
})
const origin = entity('origin', { key: { origin: string() } })
const delays = view('delays', {
  from: flights,
  entity: origin,
  features: ({ delay }) => ({ n: count().over(days(1)), average: mean(delay), last_3: lastN(delay, 3) }),
})
const risk = service('risk', { features: [delays.all()], request: { distance: int32() } })
const from = { from: flights, entity: origin }

const invalid = (message: RegExp): unknown =>
  expect.objectContaining({ code: 'FS_DEFINITION_INVALID', message: expect.stringMatching(message) })

describe('a stream', () => {
  test('eventTime that is no timestamp', () => {
    // @ts-expect-error -- origin is a string
    expect(() => stream('s', { fields: { at: timestamp(), origin: string() }, eventTime: 'origin' })).toThrow(
      invalid(/eventTime names "origin"/),
    )
    // @ts-expect-error -- there is no such field
    expect(() => stream('s', { fields: { at: timestamp() }, eventTime: 'date' })).toThrow(invalid(/eventTime/))
  })

  test('a key that is no field', () => {
    // @ts-expect-error -- there is no field who
    expect(() => stream('s', { fields: { at: timestamp() }, eventTime: 'at', key: ['who'] })).toThrow(
      invalid(/key names "who"/),
    )
  })

  test('an id, primary key or operation of a wrong field', () => {
    const some = { fields: { at: timestamp(), who: string(), share: float64() }, eventTime: 'at' } as const
    // @ts-expect-error -- two floats are never surely the same
    expect(() => stream('s', { ...some, id: 'share' })).toThrow(invalid(/id names share, a float64/))
    // @ts-expect-error -- who, not whom
    expect(() => stream('s', { ...some, changelog: true, primaryKey: ['whom'] })).toThrow(invalid(/names "whom"/))
    // @ts-expect-error -- an operation is a word
    expect(() => stream('s', { ...some, id: 'who', op: 'at' })).toThrow(invalid(/op names at, a timestamp/))
    // @ts-expect-error -- a changelog, or not
    expect(() => stream('s', { ...some, changelog: 'who' })).toThrow(invalid(/changelog is true/))
  })

  test('an option that there is not', () => {
    // @ts-expect-error -- partitions, not partition
    expect(() => stream('s', { fields: { at: timestamp() }, eventTime: 'at', partition: 3 })).toThrow(
      invalid(/no option partition/),
    )
  })
})

describe('a view', () => {
  test('a field that the stream lacks', () => {
    // @ts-expect-error -- delay, not dely
    expect(() => view('v', { ...from, features: ({ dely }) => ({ a: mean(dely) }) })).toThrow(
      invalid(/stream flights has no field dely; it has date, delay/),
    )
  })

  test('the mean of a string', () => {
    // @ts-expect-error -- origin is a string
    const v = view('v', { ...from, features: ({ origin }) => ({ a: mean(origin) }) })
    expect(() => buildCatalog([flights, origin, v])).toThrow(
      invalid(/feature a: mean takes int32, int64, float64, decimal, not/),
    )
  })

  test('the share of a number', () => {
    // @ts-expect-error -- delay is a number, not a condition
    const v = view('v', { ...from, features: ({ delay }) => ({ a: share(delay) }) })
    expect(() => buildCatalog([flights, origin, v])).toThrow(invalid(/share takes bool, not int32/))
  })

  test('the sum of times', () => {
    // @ts-expect-error -- a sum of instants means nothing
    const v = view('v', { ...from, features: ({ date }) => ({ a: sum(date) }) })
    expect(() => buildCatalog([flights, origin, v])).toThrow(
      invalid(/sum takes int32, int64, float64, decimal, not timestamp/),
    )
  })

  test('arithmetic over int64', () => {
    // @ts-expect-error -- a float64 would round it
    expect(() => view('v', { ...from, features: ({ miles }) => ({ a: mean(miles.div(2)) }) })).toThrow()
  })

  test('an entity whose key the stream lacks, or has as another type', () => {
    const carrier = entity('carrier', { key: { carrier: string() } })
    // @ts-expect-error -- flights have no carrier
    expect(() => view('v', { from: flights, entity: carrier, features: () => ({ n: count() }) })).toThrow(
      invalid(/no field carrier of type string, which entity carrier is keyed by/),
    )
    const number = entity('number', { key: { origin: int32() } })
    // @ts-expect-error -- origin is a string
    expect(() => view('v', { from: flights, entity: number, features: () => ({ n: count() }) })).toThrow(
      invalid(/no field origin of type int32/),
    )
  })

  test('a condition that is none, and a window that is none', () => {
    // @ts-expect-error -- a number is no condition
    const where = view('v', { ...from, features: ({ delay }) => ({ n: count().where(delay) }) })
    expect(() => buildCatalog([flights, origin, where])).toThrow(invalid(/where takes a bool, not int32/))
    // @ts-expect-error -- rows end at T
    expect(() => count().over(rows(3), { endsBefore: 1 })).toThrow(invalid(/has no option endsBefore/))
    // @ts-expect-error -- 5m, not 5 minutes
    expect(() => count().over(days(1), { resolution: '5 minutes' })).toThrow(invalid(/a resolution of "5 minutes"/))
  })

  test('a series of lists', () => {
    // @ts-expect-error -- lastN is a list already
    expect(() => view('v', { ...from, features: ({ delay }) => ({ l: lastN(delay, 3).over(series(2, 1)) }) })).toThrow(
      invalid(/lastN over a series would be a list of lists/),
    )
  })

  test('a feature that is no aggregation', () => {
    // @ts-expect-error -- count(), not count
    expect(() => view('v', { ...from, features: () => ({ n: count }) })).toThrow(invalid(/feature n is no aggregation/))
    // @ts-expect-error -- a field is no aggregation
    expect(() => view('v', { ...from, features: ({ delay }) => ({ d: delay }) })).toThrow(invalid(/feature d is no/))
  })
})

describe('a service', () => {
  test('a selected feature that the view lacks', () => {
    // @ts-expect-error -- average, not mean
    expect(() => delays.select('n', 'mean')).toThrow(expect.objectContaining({ code: 'FS_FEATURE_UNKNOWN' }))
  })

  test('a derived feature of a feature that the view lacks', () => {
    const features = [delays.all()]
    expect(() =>
      // @ts-expect-error -- average, not mean
      service('s', { features, derive: ({ delays }) => ({ d: delays.mean.add(1) }) }),
    ).toThrow(invalid(/no feature of view delays called mean; it has n, average, last_3/))
    expect(() =>
      // @ts-expect-error -- the service has no such view
      service('s', { features, derive: ({ origins }) => ({ d: origins.n.add(1) }) }),
    ).toThrow(invalid(/service s has no view origins/))
  })

  test('a derived feature of what was not selected', () => {
    const features = [delays.select('n')]
    expect(() =>
      // @ts-expect-error -- average is not selected
      service('s', { features, derive: ({ delays }) => ({ d: delays.average.add(1) }) }),
    ).toThrow(invalid(/called average; it has n/))
  })

  test('a derived feature of a list', () => {
    const features = [delays.all()]
    // @ts-expect-error -- a list has no arithmetic
    const s = service('s', { features, derive: ({ delays }) => ({ d: delays.last_3.add(1) }) })
    expect(() => buildCatalog([flights, origin, delays, s])).toThrow(invalid(/no field delays.last_3/))
    const hourly = view('hourly', { ...from, features: () => ({ n: count().over(series(2, 1)) }) })
    const each = [hourly.all()]
    // @ts-expect-error -- nor has a series
    const t = service('t', { features: each, derive: ({ hourly }) => ({ d: hourly.n.add(1) }) })
    expect(() => buildCatalog([flights, origin, hourly, t])).toThrow(invalid(/no field hourly.n/))
  })

  test('a request field that there is not', () => {
    const options = { features: [delays.all()], request: { distance: int32() } }
    expect(() =>
      // @ts-expect-error -- distance, not miles
      service('s', { ...options, derive: ({ request }) => ({ d: request.miles.add(1) }) }),
    ).toThrow(invalid(/no request field miles; it has distance/))
  })

  test('what is right compiles, with its types', () => {
    const s = service('s', {
      features: [delays.all()],
      request: { distance: int32() },
      derive: ({ delays, request }) => ({ d: delays.average.sub(delays.n).mul(request.distance) }),
    })
    expect(buildCatalog([flights, origin, delays, s]).services.get('s')?.derive).toHaveLength(1)
  })
})

describe('a model', () => {
  const labels = { from: flights, sampleRows: 10 } as const

  test('a label that is no condition', () => {
    const m = model('m', {
      service: risk,
      // @ts-expect-error -- a number is no label
      labels: { ...labels, label: ({ delay }) => delay.add(1), request: { distance: 'delay' } },
      trainUntil: 0,
    })
    expect(() => buildCatalog([flights, origin, delays, risk, m])).toThrow(invalid(/the label is no bool/))
  })

  test('a request field drawn from what the stream lacks', () => {
    expect(() =>
      model('m', {
        service: risk,
        // @ts-expect-error -- flights have no distance
        labels: { ...labels, label: ({ delay }) => delay.gt(1), request: { distance: 'distance' } },
        trainUntil: 0,
      }),
    ).toThrow(invalid(/no field distance for request field distance/))
  })

  test('an algorithm that there is not', () => {
    expect(() =>
      model('m', {
        service: risk,
        labels: { ...labels, label: ({ delay }) => delay.gt(1), request: { distance: 'delay' } },
        trainUntil: 0,
        // @ts-expect-error -- only logisticRegression is built
        algorithm: { kind: 'gradientBoosting' },
      }),
    ).toThrow(expect.objectContaining({ code: 'FS_NOT_YET' }))
  })
})
