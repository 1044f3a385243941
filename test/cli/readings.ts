/** A small project: sensors in three partitions, with nullable fields, int32 and int64, and known-at from the file. */
import { projectOf } from './support.ts'

export const features = `import { count, days, distinctCount, entity, every, float64, hours, int32, int64, last, lastN, max, mean, minutes, nullable, series, service, share, stddev, stream, string, sum, timestamp, tumbling, view } from 'tidemark'

export const readings = stream('readings', {
  fields: {
    at: timestamp(),
    sensor: string(),
    site: int32(),
    level: nullable(int32()),
    total: nullable(int64()),
    temperature: nullable(float64()),
    note: nullable(string()),
    delay: int32(),
  },
  eventTime: 'at',
  key: ['sensor'],
  partitions: 3,
  importKnownAt: ({ at, delay }) => at.add(delay.mul(1000)),
})

export const sensor = entity('sensor', { key: { sensor: string() } })
export const site = entity('site', { key: { site: int32() } })

export const bySensor = view('by_sensor', {
  from: readings,
  entity: sensor,
  ttl: days(7),
  history: every(days(1)),
  features: ({ level, total, temperature, note, site }) => ({
    n: count(),
    n_1h: count().over(hours(1)),
    level_sum_1d: sum(level).over(days(1)),
    level_max_1d: max(level).over(days(1)),
    temperature_mean_1d: mean(temperature).over(days(1)),
    last_note: last(note),
    last_2_levels: lastN(level, 2),
    total_sum: sum(total),
    warm_share_1d: share(temperature.gt(20)).over(days(1)),
    sites_1d: distinctCount(site).over(days(1)),
  }),
})

export const bySite = view('by_site', {
  from: readings,
  entity: site,
  history: every(hours(6)),
  features: ({ temperature }) => ({
    n_1d: count().over(days(1)),
    temperature_stddev_1d: stddev(temperature).over(days(1)),
    temperature_max_each: max(temperature).over(series(hours(2), minutes(30))),
    n_each: count().over(series(hours(2), minutes(30))),
    n_today: count().over(tumbling(days(1), { take: 'current', zone: 'Asia/Kolkata' })),
  }),
})

export const plant = service('plant', {
  features: [bySensor.all(), bySite.all()],
  request: { limit: int32() },
  derive: ({ by_sensor, request }) => ({ below_limit: request.limit.sub(by_sensor.level_max_1d) }),
  clock: 'newestEvent',
})
`

/** Small flushes, so that a crash leaves something between the log and the stores. */
export const config = `import { defineConfig } from 'tidemark'

export default defineConfig({ definitions: ['features.ts'], log: { fsync: 'never' }, worker: { flushMs: 20 } })
`

export const readingsProject = (): string => projectOf({ 'tidemark.config.ts': config, 'features.ts': features })

/** 08:30 as the instant of the day that the events are of. */
export const clock = (time: string): string => `2026-01-05T${time}Z`

const event = (fields: Readonly<Record<string, unknown>>): string => JSON.stringify(fields)

/** Sensor a: 08:00, 08:30, and two that became known an hour late; sensor b in a partition that its key does not choose. */
export const events = [
  event({
    at: clock('08:00:00'),
    sensor: 'a',
    site: 1,
    level: 10,
    total: '9000000000000000000',
    temperature: 20.5,
    note: 'x',
    delay: 5,
    _knownAt: clock('08:00:05'),
  }),
  event({
    at: clock('08:30:00'),
    sensor: 'a',
    site: 1,
    temperature: 21.5,
    note: null,
    delay: 5,
    _knownAt: clock('08:30:05'),
  }),
  event({
    at: clock('09:10:00'),
    sensor: 'b',
    site: 1,
    level: 7,
    total: 1,
    temperature: 19.5,
    delay: 1,
    _knownAt: clock('09:10:01'),
    _partition: 2,
  }),
  event({
    at: clock('09:00:00'),
    sensor: 'a',
    site: 2,
    level: -4,
    total: 100,
    note: 'y, "quoted"',
    delay: 3600,
    _knownAt: clock('10:00:00'),
  }),
  event({
    at: clock('09:20:00'),
    sensor: 'a',
    site: 2,
    level: 2147483647,
    total: '9000000000000000000',
    temperature: 18,
    note: 'z',
    delay: 2401,
    _knownAt: clock('10:00:01'),
    _op: 'insert',
  }),
  '',
].join('\n')

export interface GetJson {
  readonly asOfMs: number
  readonly knownAsOfMs: number | null
  readonly token: string
  readonly rows: readonly {
    readonly values: Readonly<Record<string, unknown>>
    readonly statuses: Readonly<Record<string, string>>
    readonly errors: Readonly<Record<string, string>>
  }[]
}

export interface AppendJson {
  readonly appended: number
  readonly clamped: number
  readonly token: string
  readonly through?: number | null
  readonly position: {
    readonly logId: string
    readonly streams: Readonly<Record<string, readonly { readonly epoch: number; readonly next: number }[]>>
  }
}

export interface ImportJson {
  readonly rows: number
  readonly appended: number
  readonly alreadyThere: number
  readonly clamped: number
  readonly ignoredColumns: readonly string[]
}

export interface StatusJson {
  readonly up: { readonly pid: number } | null
  readonly streams: readonly {
    readonly stream: string
    readonly records: number
    readonly online: number | null
    readonly offline: number | null
  }[]
  readonly histories: readonly {
    readonly view: string
    readonly records: number
    readonly covered: number | null
    readonly lag: number | null
  }[]
  readonly deadLetters: number
  readonly deadLettersByCode: Readonly<Record<string, number>>
  readonly deadLetterList?: readonly {
    readonly scope: string
    readonly stream: string
    readonly partition: number
    readonly offset: number
    readonly code: string
    readonly reason: string
  }[]
}

interface Digests {
  readonly online: string
  readonly offline: string
  readonly history: string
}

export interface RebuildJson {
  readonly before: Digests | null
  readonly after: Digests
  readonly matches: boolean | null
}

export interface AuditJson {
  readonly checked: number
  readonly mismatched: number
}
