import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { dataFile, json, projectOf, refusal, removeFolders, run } from './support.ts'

const limit = 60_000
afterAll(removeFolders, limit)

const config = `import { defineConfig } from 'tidemark'

export default defineConfig({ definitions: ['features.ts'], log: { fsync: 'never' } })
`
const stream = `import { count, days, entity, hours, int32, mean, stream, string, timestamp, view } from 'tidemark'

export const taps = stream('taps', {
  fields: { at: timestamp(), card: string(), amount: int32() },
  eventTime: 'at',
  key: ['card'],
  partitions: 2,
})
export const card = entity('card', { key: { card: string() } })
`
const viewOver = (window: string): string => `${stream}
export const byCard = view('by_card', {
  from: taps,
  entity: card,
  features: ({ amount }) => ({ n_1h: count().over(hours(1)), mean_amount: mean(amount)${window} }),
})
`

interface PlanJson {
  readonly builds: readonly string[]
  readonly estimates: readonly {
    readonly stream: string
    readonly records: number
    readonly sampled: number
    readonly unsampled: string | null
    readonly views: readonly {
      readonly view: string
      readonly entities: number | null
      readonly hottest: { readonly events: number } | null
      readonly warnings: readonly { readonly kind: string; readonly text: string; readonly resolution: string | null }[]
    }[]
  }[]
}

/** 2,000 events in 20 s of event time, nine in ten of one card. */
const taps = Array.from({ length: 2_000 }, (_, index) => {
  const at = Date.UTC(2026, 0, 5) + index * 10
  return JSON.stringify({ at, card: index % 10 === 0 ? `c${index % 70}` : 'hot', amount: index, _knownAt: at })
}).join('\n')

it(
  'plan estimates new and changed views from the log, and warns of a hot entity with the resolution that fits',
  async () => {
    const folder = projectOf({ 'tidemark.config.ts': config, 'features.ts': stream })
    const define = (text: string): void => writeFileSync(join(folder, 'features.ts'), text)
    const plan = (): Promise<PlanJson> => json<PlanJson>(folder, ['plan'])

    expect((await plan()).estimates).toEqual([])
    define(viewOver('.over(days(7))'))
    expect((await plan()).estimates).toMatchObject([
      { unsampled: 'there is no log yet', views: [{ entities: null, hottest: null, warnings: [] }] },
    ])
    define(stream)
    await json(folder, ['apply'])
    define(viewOver('.over(days(7))'))
    expect((await run(folder, ['plan'])).stdout).toContain('\nnothing to sample: stream taps has no records\n')

    await json(folder, ['append', 'taps'], taps)
    const [estimate, ...others] = (await plan()).estimates
    expect(others).toEqual([])
    expect(estimate).toMatchObject({ stream: 'taps', records: 2_000, sampled: 2_000, unsampled: null })
    expect(estimate?.views).toMatchObject([
      {
        view: 'by_card',
        entities: 8,
        hottest: { events: 1_800 },
        warnings: [{ kind: 'hot-window', resolution: '5m' }],
      },
    ])
    const text = (await run(folder, ['plan'])).stdout
    expect(text).toContain('+ view by_card (2 features)')
    expect(text).toMatch(
      /\nestimated from all 2,000 records of stream taps:\n {2}view by_card: about 8 entities: 2,000 events, .+ in memory, .+ stored\n {6}hottest entity: 1,800 events, .+; a read visits about \d+ events and summaries \(small\)\n/,
    )
    expect(text).toMatch(
      /\n {2}warning: view by_card: exact window of 7d will hold about 5\d M events \(\d+ MiB\) of its hottest entity at the rate of the log, 1,800 now; resolution '5m' would keep about 2,020 summaries\n$/,
    )

    await json(folder, ['apply'])
    expect((await plan()).estimates).toEqual([])
    define(viewOver(''))
    const [unbounded] = (await plan()).estimates
    expect(unbounded?.views[0]?.warnings).toMatchObject([{ kind: 'unbounded' }])
  },
  limit,
)

it(
  'plan estimates a view over a changelog',
  async () => {
    const changelog = viewOver('.over(days(7))')
      .replace('card: string(), amount', 'tap: string(), card: string(), amount')
      .replace("key: ['card'],", "changelog: true,\n  primaryKey: ['tap'],")
    const folder = projectOf({ 'tidemark.config.ts': config, 'features.ts': stream })
    const define = (text: string): void => writeFileSync(join(folder, 'features.ts'), text)
    define(changelog)
    await json(folder, ['apply'])
    await json(
      folder,
      ['append', 'taps'],
      `{"tap": "t1", "at": 1000, "card": "c1", "amount": 1, "_knownAt": 1000}
{"tap": "t2", "at": 1000, "card": "c2", "amount": 1, "_knownAt": 1000}
{"tap": "t1", "at": 1000, "_op": "delete", "_knownAt": 2000}`,
    )
    define(changelog.replace('days(7)', 'days(8)'))
    expect((await json<PlanJson>(folder, ['plan'])).estimates).toMatchObject([
      { stream: 'taps', records: 3, sampled: 3, views: [{ view: 'by_card', entities: 2 }] },
    ])
  },
  limit,
)

it(
  'get of a view that was changed and not applied says so, and not that a worker would help',
  async () => {
    const folder = projectOf({ 'tidemark.config.ts': config, 'features.ts': viewOver('.over(days(7))') })
    const get = [
      'get',
      'by_card:n_1h',
      'by_card:mean_amount',
      '--entity',
      'card=hot',
      '--as-of',
      '2026-01-06T00:00:00Z',
    ]
    await json(folder, ['apply'])
    expect(await refusal(folder, get)).toMatchObject({ code: 'FS_NOT_READY' })
    await json(folder, ['append', 'taps'], taps)
    await json(folder, ['worker', '--once'])
    expect(await json(folder, get)).toMatchObject({ rows: [{ values: { 'by_card:n_1h': '0' } }] })
    writeFileSync(join(folder, 'features.ts'), viewOver('.over(days(8))'))
    expect(await refusal(folder, get)).toMatchObject({ code: 'FS_NOT_APPLIED' })
  },
  limit,
)

it(
  'plan says why where the log cannot be sampled, and shows the changes all the same',
  async () => {
    const folder = projectOf({ 'tidemark.config.ts': config, 'features.ts': stream })
    await json(folder, ['apply'])
    await json(folder, ['append', 'taps'], taps)
    for (const partition of ['0', '1'])
      writeFileSync(dataFile(folder, 'log', 'taps', partition, '00000000000000000000.log'), Buffer.alloc(5_000, 7))
    writeFileSync(join(folder, 'features.ts'), viewOver('.over(days(7))'))
    const { code, stdout } = await run(folder, ['plan'])
    expect(stdout).toContain('+ view by_card (2 features)')
    expect(stdout).toContain('nothing to sample: ')
    expect(code).toBe(0)
  },
  limit,
)
