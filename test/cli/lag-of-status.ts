/** What `status` says of lag, with any stores: a project of one stream in two partitions. */
import { expect } from 'vitest'
import { json, run } from './support.ts'

export const features = `import { count, entity, int32, stream, string, timestamp, view } from 'tidemark'
export const taps = stream('taps', { fields: { at: timestamp(), card: string() }, eventTime: 'at', key: ['card'], partitions: 2 })
export const card = entity('card', { key: { card: string() } })
export const byCard = view('by_card', { from: taps, entity: card, features: () => ({ n: count() }) })
`

const shards = 8

interface Behind {
  readonly applied: number
  readonly offsets: number
  readonly lagMs: number | null
}
interface Summary {
  readonly offsets: number
  readonly lagMs: number | null
  readonly worst: { readonly stream: string; readonly partition: number } | null
}
interface LagJson {
  readonly counted: string
  readonly streams: readonly {
    readonly records: number
    readonly online: number | null
    readonly offline: number | null
    readonly partitions: readonly {
      readonly start: number
      readonly end: number
      readonly online: Behind | null
      readonly offline: Behind | null
    }[]
  }[]
  readonly lag: { readonly online: Summary | null; readonly offline: Summary | null }
  readonly histories: readonly { readonly lag: number | null; readonly lagMs: number | null }[]
  readonly shards: readonly (Behind & { readonly shard: number; readonly partitions: readonly Behind[] })[]
}

const events = (count: number): string =>
  Array.from({ length: count }, (_, index) => JSON.stringify({ at: Date.now() - 1_000, card: `c${index}` })).join('\n')

/** Before a worker, behind one, and with all applied. `counted` is what the log's offsets are. */
export async function checkLag(folder: string, counted: 'records' | 'offsets'): Promise<void> {
  const statusOf = (): Promise<LagJson> => json<LagJson>(folder, ['status'])
  const textOf = async (): Promise<string> => (await run(folder, ['status'])).stdout
  await json(folder, ['apply'])
  expect(await statusOf()).toMatchObject({ counted, lag: { online: null } })
  expect(await textOf()).toContain('online rows: not built yet')

  await json(folder, ['append', 'taps'], events(40))
  const begunMs = Date.now()
  await json(folder, ['worker', '--once'])
  const current = await statusOf()
  const none = { offsets: 0, lagMs: 0, worst: null }
  expect(current.lag).toEqual({ online: none, offline: none })
  expect(current.streams).toMatchObject([{ records: 40, online: 40, offline: 40 }])
  expect(current.histories).toMatchObject([{ lag: 0, lagMs: 0 }])
  expect(current.shards).toHaveLength(shards)
  for (const shard of current.shards) expect(shard).toMatchObject({ offsets: 0, lagMs: 0 })
  expect(await textOf()).toMatch(/online rows: current\noffline tables: current\n/)

  await json(folder, ['append', 'taps'], events(15))
  const behind = await statusOf()
  const [taps] = behind.streams
  expect(taps).toMatchObject({ records: 55, online: 40, offline: 40 })
  for (const of of ['online', 'offline'] as const) {
    const partitions = taps?.partitions ?? []
    expect(partitions.reduce((sum, partition) => sum + (partition[of]?.offsets ?? 0), 0)).toBe(15)
    for (const { start, end, [of]: own } of partitions) {
      expect(start).toBe(0)
      expect((own?.applied ?? 0) + (own?.offsets ?? 0)).toBe(end)
      if (own?.offsets === 0) expect(own.lagMs).toBe(0)
    }
    expect(behind.lag[of]).toMatchObject({ offsets: 15, worst: { stream: 'taps' } })
    expect(behind.lag[of]?.lagMs).toBeGreaterThan(0)
    // Not the age of what was applied long before.
    expect(behind.lag[of]?.lagMs).toBeLessThan(Date.now() - begunMs)
  }
  expect(behind.shards.map(({ shard }) => shard)).toEqual(Array.from({ length: shards }, (_, shard) => shard))
  for (const shard of behind.shards) {
    expect(shard.offsets).toBe(15)
    expect(shard.lagMs).toBe(behind.lag.online?.lagMs)
    expect(shard.partitions.map(({ offsets }) => offsets)).toEqual(
      taps?.partitions.map(({ online }) => online?.offsets),
    )
  }
  expect(await textOf()).toMatch(
    new RegExp(`online rows: 15 ${counted} behind by \\d+\\.\\d s, most in taps/[01]\noffline tables: 15 ${counted}`),
  )
}
