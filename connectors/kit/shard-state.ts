import { identicalPosition } from '../../core/event/position.ts'
import type { FlushOutcome, ShardFlush, ShardLease, ShardPosition } from '../../core/ports/online-store.ts'

/** What a store keeps of a shard beside its rows: the newest owner, and how far the rows reach. */
export interface ShardState {
  readonly epoch: number
  readonly nonce: string
  readonly position: ShardPosition | null
}

export const unownedShard: ShardState = { epoch: 0, nonce: '', position: null }

/** The state after a new owner took the shard. */
export const takenBy = (state: ShardState, nonce: string): ShardState => ({ ...state, epoch: state.epoch + 1, nonce })

export const leaseOf = (shard: number, state: ShardState): ShardLease => ({
  shard,
  epoch: state.epoch,
  nonce: state.nonce,
})

/**
 * What a flush meets, decided before anything is written: fenced, then already applied, then gap. The first two in this
 * order, so that a stale owner learns that it is one even from a flush that it sends again.
 */
export function decideFlush(state: ShardState, flush: ShardFlush): FlushOutcome {
  if (flush.lease.epoch !== state.epoch || flush.lease.nonce !== state.nonce)
    return { kind: 'fenced', byEpoch: state.epoch }
  if (sameShardPosition(state.position, flush.to)) return { kind: 'already-applied' }
  if (!sameShardPosition(state.position, flush.from)) return { kind: 'gap', found: state.position }
  return { kind: 'applied' }
}

/** Equal in every partition, epochs included; a stream that is absent is one with no partitions. */
export function sameShardPosition(a: ShardPosition | null, b: ShardPosition | null): boolean {
  if (a === null || b === null) return a === b
  return identicalPosition(a.position, b.position)
}
