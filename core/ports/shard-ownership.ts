/** Told which shards are ours. */
export interface OwnershipListener {
  /** These are ours from now on, beside those that we have. Resolves when that is noted, not when they are taken. */
  assigned(shards: readonly number[]): Promise<void>
  /** These are no longer ours. Resolves when they are flushed and forgotten, or when that could not be done in time. */
  revoked(shards: readonly number[]): Promise<void>
}

/**
 * Who of several workers writes which shards of an online store.
 *
 * Laws:
 * - Before a shard is given to another, `revoked` of its last owner has resolved, or that one is given up for dead.
 * - What is kept is not revoked: its rows stay in memory.
 * - A listener is told one thing at a time, `assigned` before `revoked` of the same shard.
 * - Leaving gives up all shards; nothing is told while or after leaving: whoever leaves has flushed.
 * - Correctness never rests on it. Two workers may believe that a shard is theirs (one slept, one was given up too soon):
 *   of the two, the lease of the online store lets only one write. So this may be as loose as a consumer group is.
 */
export interface ShardOwnership {
  /**
   * Several workers share the shards: one that is fenced and is still said to be the owner takes the shard again. False:
   * there is one worker, by a lock, and one that is fenced has a successor.
   */
  readonly shared: boolean
  join(listener: OwnershipListener): Promise<AsyncDisposable>
}
