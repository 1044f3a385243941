import { expect, it } from 'vitest'
import { leastOfShards, lagText, shardLags } from '../../cli/lag.ts'
import { MemoryLog } from '../../connectors/memory/log.ts'
import { offset } from '../../core/event/position.ts'
import type { ShardPosition } from '../../core/ports/online-store.ts'
import { LogLag } from '../../worker/lag.ts'

const at = (...nexts: readonly number[]) => nexts.map((next) => ({ epoch: 0, next: offset(next) }))
const shard = (...nexts: readonly number[]): ShardPosition => ({
  position: { logId: 'log', streams: { taps: at(...nexts) } },
  newestEventTimeMs: {},
})
const ends = { taps: at(3, 2) }
const nextsOf = (positions: Parameters<typeof leastOfShards>[1]) =>
  leastOfShards(ends, positions)?.['taps']?.map(({ next }) => next)

it('what all shards have is the least of each partition; a shard that was never written has nothing', () => {
  expect(nextsOf([shard(3, 1), shard(2, 2)])).toEqual([2, 1])
  expect(nextsOf([shard(3, 2), null])).toEqual([0, 0])
  expect(nextsOf([null, null])).toBeUndefined()
})

it('each shard is behind by its own position', async () => {
  const log = new MemoryLog()
  await log.create('taps', { partitions: 2 })
  for (const [partition, count] of [3, 2].entries())
    for (let index = 1; index <= count; index++)
      await log.append('taps', partition, [{ key: null, value: new Uint8Array(1), timestampMs: 100 * index }])
  const lags = await shardLags(new LogLag(log, ends, 1_000), ['taps'], [shard(3, 2), shard(1, 1), null])
  expect(lags.map(({ shard, offsets, lagMs }) => [shard, offsets, lagMs])).toEqual([
    [0, 0, 0],
    [1, 3, 800],
    [2, 5, 900],
  ])
  expect(lags[1]?.partitions).toEqual([
    { stream: 'taps', partition: 0, applied: 1, offsets: 2, lagMs: 800 },
    { stream: 'taps', partition: 1, applied: 1, offsets: 1, lagMs: 800 },
  ])
})

it('says the worst in one line', () => {
  expect(lagText({ offsets: 0, lagMs: 0, worst: null }, 'records')).toBe('current')
  const worst = { stream: 'taps', partition: 3 }
  expect(lagText({ offsets: 1_204, lagMs: 3_210, worst }, 'records')).toBe(
    '1,204 records behind by 3.2 s, most in taps/3',
  )
  expect(lagText({ offsets: 7, lagMs: null, worst }, 'offsets')).toBe('7 offsets behind, most in taps/3')
})
