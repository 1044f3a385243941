import type { PartitionPosition } from '../core/event/position.ts'
import type { PartitionInfo } from '../core/ports/event-log.ts'
import type { StreamReader } from '../schemas/stream-reader.ts'
import type { ByStream } from './lag.ts'

/** Where the log ends, for the streams of some readers; `look` says how their partitions stand, by default now. */
export async function endsOf(
  streams: readonly StreamReader[],
  look: (reader: StreamReader) => Promise<readonly PartitionInfo[]> = (reader) => reader.refresh(),
): Promise<ByStream<PartitionPosition>> {
  const ends: Record<string, PartitionPosition[]> = {}
  for (const reader of streams)
    ends[reader.stream.name] = (await look(reader)).map(({ epochs, end }) => ({
      epoch: epochs.at(-1)?.epoch ?? 0,
      next: end,
    }))
  return ends
}

/** Offsets of the log below its ends: records, where offsets are dense from 0. */
export const totalOf = (ends: ByStream<PartitionPosition>): number =>
  Object.values(ends).reduce((sum, partitions) => partitions.reduce((total, { next }) => total + next, sum), 0)
