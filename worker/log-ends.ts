import type { PartitionPosition } from '../core/event/position.ts'
import type { StreamReader } from '../schemas/stream-reader.ts'
import type { ByStream } from './lag.ts'

/** Where the log ends now, for the streams of some readers. */
export async function endsOf(streams: readonly StreamReader[]): Promise<ByStream<PartitionPosition>> {
  const ends: Record<string, PartitionPosition[]> = {}
  for (const reader of streams) ends[reader.stream.name] = await reader.ends()
  return ends
}

/** Offsets of the log below its ends: records, where offsets are dense from 0. */
export const totalOf = (ends: ByStream<PartitionPosition>): number =>
  Object.values(ends).reduce((sum, partitions) => partitions.reduce((total, { next }) => total + next, sum), 0)
