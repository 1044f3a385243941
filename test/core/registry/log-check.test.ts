import { describe, expect, it } from 'vitest'
import { buildCatalog } from '../../../core/definition/catalog.ts'
import { float64, string, timestamp } from '../../../core/definition/fields.ts'
import { count, days, hours, last, minutes, series, sum, tumbling } from '../../../core/definition/functions.ts'
import { entity, stream } from '../../../core/definition/stream.ts'
import type { StreamDefinition, ViewDefinition } from '../../../core/definition/types.ts'
import { view } from '../../../core/definition/view.ts'
import { keptForEver, type StreamKeeping } from '../../../core/ports/event-log.ts'
import {
  checkKeeping,
  isError,
  makesValuesWrong,
  needOf,
  needOfEmpty,
  needOfOwn,
  newStream,
  refuseFindings,
} from '../../../core/registry/log-check.ts'

const dayMs = 86_400_000
const orders = (options: object = {}) =>
  stream('orders', {
    fields: { at: timestamp(), id: string(), shop: string(), amount: float64() },
    eventTime: 'at',
    partitions: 4,
    ...options,
  } as never)
const shop = entity('shop', { key: { shop: string() } })
type Windows = Parameters<typeof view>[1]['features']
const byShop = (from: StreamDefinition, features: Windows, options: object = {}) =>
  view('by_shop', {
    from,
    entity: shop,
    maxAhead: hours(1),
    features,
    ...options,
  } as never) as unknown as ViewDefinition

const system: NonNullable<StreamKeeping['system']> = {
  place: 'topic orders',
  appendBytes: 9_000_000,
  names: {
    knownAt: { createTime: 'type=Create', logAppendTime: 'type=Append' },
    uncompacted: 'policy=delete',
    keepForever: 'age=-1',
    keepAllBytes: 'size=-1',
    retentionMs: 'age',
    retentionBytes: 'size',
    batchBytes: 'batch',
  },
}
const topic = (more: Partial<StreamKeeping> = {}): StreamKeeping => ({
  isThere: true,
  system,
  partitions: 4,
  knownAt: 'logAppendTime',
  retentionMs: null,
  retentionBytes: null,
  isCompacted: false,
  batchBytesMax: 9_000_000,
  ...more,
})
const week: Windows = (({ amount }: { amount: never }) => ({
  n: count().over(days(2)),
  spent: sum(amount).over(days(7)),
})) as never

function findings(more: Partial<StreamKeeping>, features: Windows = week, { of = {}, in: options = {} } = {}) {
  const from = orders(of)
  const catalog = buildCatalog([from, shop, byShop(from, features, options)])
  return checkKeeping(needOf(catalog, from), topic(more))
}
const codes = (...args: Parameters<typeof findings>): string[] =>
  findings(...args).map(({ severity, code }) => `${severity} ${code}`)

describe('a log that keeps a stream', () => {
  it('for ever and as it is declared is as it has to be', () => {
    expect(codes({})).toEqual([])
    expect(codes({ partitions: 9, batchBytesMax: null })).toEqual([])
    expect(codes({ knownAt: 'createTime' }, week, { of: { knownAt: 'createTime' } })).toEqual([])
    const from = orders({ knownAt: 'createTime', maxKnownAtJump: 5 })
    const need = needOf(buildCatalog([from, shop, byShop(from, week)]), from)
    // The embedded log.
    expect(checkKeeping(need, keptForEver(true, 4))).toEqual([])
    expect(newStream(from)).toEqual({ partitions: 4, knownAt: 'createTime' })
    expect(newStream(orders())).toEqual({ partitions: 4 })
  })

  it.each<[string, object, Windows, number]>([
    ['the longest window and maxAhead', {}, week, 7 * dayMs + 3_600_000],
    [
      'a window that ends before',
      {},
      () => ({ n: count().over(days(1), { endsBefore: days(3) }) }),
      4 * dayMs + 3_600_000,
    ],
    ['a window with a resolution', {}, () => ({ n: count().over(days(1), { resolution: '1h' }) }), dayMs + 7_200_000],
    ['a series', {}, () => ({ n: count().over(series(days(5), days(1))) }), 5 * dayMs + 3_600_000],
    [
      'the interval before',
      {},
      () => ({ n: count().over(tumbling(days(1), { take: 'last' })) }),
      2 * dayMs + 3_600_000,
    ],
    ['a ttl beyond its windows', { ttl: days(30) }, week, 30 * dayMs + 3_600_000],
    ['a lifetime within its ttl', { ttl: days(3), maxAhead: 0 }, () => ({ n: count() }), 3 * dayMs],
    ['late events, which are known later', { lateness: days(60), maxAhead: minutes(1) }, week, 7 * dayMs + 60_000],
  ])('by time has to reach back as far as %s', (_, options, features, reachMs) => {
    expect(codes({ retentionMs: reachMs - 1 }, features, { in: options })).toEqual(['error FS_LOG_RETENTION'])
    expect(codes({ retentionMs: reachMs }, features, { in: options })).toEqual(['warning FS_LOG_RETENTION'])
  })

  it('takes the furthest of all views of the stream, and of no other', () => {
    const from = orders()
    const other = stream('others', { fields: { at: timestamp(), shop: string() }, eventTime: 'at' })
    const short = byShop(from, () => ({ n: count().over(hours(1)) }))
    const long = { ...byShop(from, () => ({ n: count().over(days(9)) }), { maxAhead: 0 }), name: 'long' }
    const alien = view('alien', { from: other, entity: shop, features: () => ({ n: count() }) })
    const catalog = buildCatalog([from, other, shop, short, long, alien])
    expect(needOf(catalog, from).reach?.ms).toBe(9 * dayMs)
    expect(needOf(buildCatalog([from, other, shop, alien]), from).reach).toBeNull()
    expect(checkKeeping(needOf(buildCatalog([from]), from), topic({ retentionMs: 1, retentionBytes: 1 }))).toEqual([])
  })

  it('by time or size is too little for what reaches back without bound', () => {
    const ever: Windows = (({ amount }: { amount: never }) => ({ newest: last(amount) })) as never
    expect(codes({ retentionMs: 1e15 }, ever)).toEqual(['error FS_LOG_RETENTION'])
    expect(codes({ retentionBytes: 1e15 }, ever)).toEqual(['error FS_LOG_RETENTION'])
    expect(codes({ retentionBytes: 1e15 })).toEqual(['warning FS_LOG_RETENTION'])
  })

  it('says what it is, how far it would have to go and what to set', () => {
    const [short] = findings({ retentionMs: 3 * dayMs })
    expect(short).toEqual({
      severity: 'error',
      code: 'FS_LOG_RETENTION',
      stream: 'orders',
      message:
        'topic orders keeps records for 3d (age), and view by_shop reaches 7d back with spent, sum(amount) over 7d (known up to 1h before: maxAhead)',
      remedy:
        'Set age=-1 of topic orders: it then keeps everything, or 608400000 at least. Or make the window shorter.',
    })
    const [borne] = findings({ retentionMs: 30 * dayMs, knownAt: 'createTime' }, week, {
      of: { knownAt: 'createTime' },
    })
    expect(borne?.message).toContain('by the time that they bear, so imported history may go at once')
    const [sized] = findings({ retentionBytes: 1_000 })
    expect(sized?.message).toContain('keeps 1000 bytes of a partition (size), which is no length of time')
  })

  it('with other times than declared makes values wrong, either way', () => {
    const [given] = findings({ knownAt: 'createTime' })
    expect(given).toMatchObject({ severity: 'error', code: 'FS_LOG_KNOWN_AT', stream: 'orders' })
    expect(given?.remedy).toBe(
      "Declare knownAt: 'createTime' on stream orders, if its producers' clocks are to say when events became known; otherwise set type=Append of topic orders.",
    )
    const [appended] = findings({}, week, { of: { knownAt: 'createTime' } })
    expect(appended?.remedy).toBe(
      "Leave out knownAt: 'createTime' of stream orders, or set type=Create of topic orders.",
    )
    expect([given, appended].map((finding) => finding !== undefined && makesValuesWrong(finding))).toEqual([true, true])
  })

  it('compacted makes values wrong; fewer partitions and small batches do not', () => {
    const all = findings({ isCompacted: true, partitions: 3, batchBytesMax: 1_000_000, retentionBytes: 5 })
    expect(all.map(({ severity, code }) => `${severity} ${code}`)).toEqual([
      'error FS_LOG_COMPACTED',
      'error FS_LOG_PARTITIONS',
      'warning FS_LOG_RETENTION',
      'warning FS_LOG_BATCH_BYTES',
    ])
    expect(all.map(makesValuesWrong)).toEqual([true, false, false, false])
    expect(all[1]?.message).toBe('topic orders has 3 partitions, and 4 are needed: appends to the others would fail')
    // Corrections of a changelog are history too.
    const changelog = { changelog: true, primaryKey: ['id'] }
    expect(codes({ isCompacted: true }, week, { of: changelog })).toEqual(['error FS_LOG_COMPACTED'])
  })

  it('of our own is read from its first record on, whoever says its times; an empty one needs its partitions', () => {
    const check = (more: Partial<StreamKeeping>) =>
      checkKeeping(needOfOwn('_registry', 1), topic({ partitions: 1, ...more })).map(({ code }) => code)
    expect(check({ knownAt: 'createTime' })).toEqual([])
    expect(check({ retentionMs: 1e15 })).toEqual(['FS_LOG_RETENTION'])
    expect(check({ isCompacted: true })).toEqual(['FS_LOG_COMPACTED'])
    const empty = topic({ partitions: 64, retentionMs: 1, retentionBytes: 1, knownAt: 'createTime' })
    expect(checkKeeping(needOfEmpty('_shards', 64), empty)).toEqual([])
    expect(checkKeeping(needOfEmpty('_shards', 65), empty).map(({ code }) => code)).toEqual(['FS_LOG_PARTITIONS'])
  })

  it('is refused by the first error, which names the others', () => {
    expect(() => refuseFindings([])).not.toThrow()
    const errors = findings({ isCompacted: true, partitions: 3 }).filter(isError)
    expect(() => refuseFindings(errors)).toThrow(
      expect.objectContaining({
        code: 'FS_LOG_COMPACTED',
        remedy: errors[0]?.remedy,
        message: expect.stringMatching(
          /^topic orders is compacted.*; FS_LOG_PARTITIONS: topic orders has 3/,
        ) as unknown,
      }),
    )
  })
})
