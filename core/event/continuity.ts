import type { PartitionInfo } from '../ports/event-log.ts'
import type { PartitionPosition } from './position.ts'

/**
 * Whether a projection that stands at `position` may go on reading the partition. It may not when the log ends below it,
 * when a later epoch began below it (records that it holds were then cut away), or when its epoch is none of the
 * partition's: then the stream was made again, and its offsets are others. It is then rebuilt.
 */
export function continues(position: PartitionPosition, partition: PartitionInfo): boolean {
  if (position.next > partition.end) return false
  if (position.next > 0 && !partition.epochs.some(({ epoch }) => epoch === position.epoch)) return false
  return partition.epochs.every(({ epoch, firstOffset }) => epoch <= position.epoch || position.next <= firstOffset)
}
