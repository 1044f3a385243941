import type { ShardOwnership } from '../core/ports/shard-ownership.ts'

/** All shards from the start, and for good: of the one worker of an embedded store, which a lock keeps alone. */
export const allShards = (shards: number): ShardOwnership => ({
  shared: false,
  async join(listener) {
    await listener.assigned(Array.from({ length: shards }, (_, shard) => shard))
    return { [Symbol.asyncDispose]: () => Promise.resolve() }
  },
})
