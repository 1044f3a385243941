import type { PartitionInfo } from '../ports/event-log.ts'
import type { PartitionPosition } from './position.ts'

/**
 * Whether a projection that stands at `position` may go on reading the partition. It may not when the log ends below it,
 * or when a later epoch began below it: records that it holds were then cut away, and it is rebuilt.
 */
export function continues(position: PartitionPosition, partition: PartitionInfo): boolean {
  if (position.next > partition.end) return false
  return partition.epochs.every(({ epoch, firstOffset }) => epoch <= position.epoch || position.next <= firstOffset)
}
