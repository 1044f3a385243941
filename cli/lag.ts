import { lawfulTraits } from '../core/ports/event-log.ts'
import type { PartitionInfo } from '../core/ports/event-log.ts'
import type { PartitionPosition } from '../core/event/position.ts'
import type { ShardPosition } from '../core/ports/online-store.ts'
import { leastOf, summaryOf, type LogLag, type ByStream, type LagSummary, type PartitionLag } from '../worker/lag.ts'
import type { OpenLog } from './stores.ts'
import { grouped, seconds } from './terminal.ts'

/** What a store holds of one partition, and how far that is behind. */
export type Behind = Pick<PartitionLag, 'applied' | 'offsets' | 'lagMs'>

/** A shard of the online rows: how far it is behind over all partitions, and where it stands in each. */
export interface ShardLag {
  readonly shard: number
  readonly offsets: number
  readonly lagMs: number | null
  readonly partitions: readonly (Behind & { readonly stream: string; readonly partition: number })[]
}

/** Where the log begins and ends; streams that it does not have are left out. */
export async function describeStreams({ log }: OpenLog, streams: readonly string[]): Promise<ByStream<PartitionInfo>> {
  const described = await Promise.all(streams.map(async (stream) => [stream, await log.describe(stream)] as const))
  return Object.fromEntries(
    described.flatMap(([stream, partitions]) => (partitions === null ? [] : [[stream, partitions]])),
  )
}

export const endsOf = (partitions: ByStream<PartitionInfo>): ByStream<PartitionPosition> =>
  Object.fromEntries(
    Object.entries(partitions).map(([stream, infos]) => [
      stream,
      infos.map(({ epochs, end }) => ({ epoch: epochs.at(-1)?.epoch ?? 0, next: end })),
    ]),
  )

/** What an offset of the log counts. */
export const countedBy = ({ log }: OpenLog): 'records' | 'offsets' =>
  (log.traits ?? lawfulTraits).offsets === 'dense' ? 'records' : 'offsets'

/** The lag of every shard, one after the other: those that stand together ask the log once. */
export async function shardLags(
  lag: LogLag,
  streams: readonly string[],
  positions: readonly (ShardPosition | null)[],
): Promise<ShardLag[]> {
  const lags: ShardLag[] = []
  for (const [shard, position] of positions.entries()) {
    const own = await lag.of(position?.position.streams ?? {}, streams)
    const { offsets, lagMs } = summaryOf(own)
    const partitions = own.map(({ stream, partition, ...behind }) => ({ stream, partition, ...behindOf(behind) }))
    lags.push({ shard, offsets, lagMs, partitions })
  }
  return lags
}

/** What all shards have. Null where none was ever written. */
export function leastOfShards(
  ends: ByStream<PartitionPosition>,
  positions: readonly (ShardPosition | null)[],
): ByStream<PartitionPosition> | null {
  if (positions.every((position) => position === null)) return null
  return leastOf(
    ends,
    positions.map((position) => position?.position.streams ?? {}),
  )
}

export const behindOf = ({ applied, offsets, lagMs }: Behind): Behind => ({ applied, offsets, lagMs })

/** `1,204 records behind by 3.2 s, most in taps/3`; `current`. */
export function lagText({ offsets, lagMs, worst }: LagSummary, counted: string): string {
  if (worst === null) return 'current'
  const time = lagMs === null ? '' : ` by ${seconds(lagMs)}`
  return `${grouped(offsets)} ${counted} behind${time}, most in ${worst.stream}/${worst.partition}`
}
