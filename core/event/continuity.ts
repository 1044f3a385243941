import type { PartitionInfo } from '../ports/event-log.ts'
import type { PartitionPosition } from './position.ts'

/**
 * Whether a projection that stands at `position` may go on reading the partition. It may not when the log ends below it,
 * when the epoch of what it holds is none of the partition's (the stream was made anew), or when a later epoch began
 * below it: records that it holds were then cut away, and it is rebuilt. Epochs are compared by their place in the list:
 * of some logs their numbers have no order.
 */
export function continues(position: PartitionPosition, { epochs, end }: PartitionInfo): boolean {
  if (position.next > end) return false
  // It holds nothing.
  if (position.next === 0) return true
  const own = epochs.findIndex(({ epoch }) => epoch === position.epoch)
  return own >= 0 && epochs.slice(own + 1).every(({ firstOffset }) => position.next <= firstOffset)
}
