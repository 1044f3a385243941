import type { OwnershipListener, ShardOwnership } from '../../core/ports/shard-ownership.ts'

interface Member {
  readonly listener: OwnershipListener
  shards: ReadonlySet<number>
}

/** Workers of one process that share shards: nothing moves but on command. */
export class MemoryShardGroup {
  readonly #members = new Map<string, Member>()

  /** The ownership of one worker. It has no shards until they are given to it. */
  member(name: string): ShardOwnership {
    return {
      shared: true,
      join: async (listener) => {
        this.#members.set(name, { listener, shards: new Set() })
        return {
          [Symbol.asyncDispose]: async () => {
            this.#members.delete(name)
          },
        }
      },
    }
  }

  /** Names of those that have joined. */
  get members(): readonly string[] {
    return [...this.#members.keys()]
  }

  /**
   * Shards by the name of their owner; of members that are not named nothing is kept. What moves is first taken from all
   * that have it. `deaf`: members that are not told what they lose, as one that sleeps.
   */
  async give(shares: Readonly<Record<string, readonly number[]>>, deaf: readonly string[] = []): Promise<void> {
    const moves = [...this.#members].map(([name, member]) => {
      const given = new Set(shares[name] ?? [])
      const lost = [...member.shards].filter((shard) => !given.has(shard))
      const gained = [...given].filter((shard) => !member.shards.has(shard))
      if (!deaf.includes(name)) member.shards = given
      return { name, member, lost, gained }
    })
    const told = moves.filter(({ name }) => !deaf.includes(name))
    const losing = told.filter(({ lost }) => lost.length > 0)
    await Promise.all(losing.map(({ member, lost }) => member.listener.revoked(lost)))
    const gaining = told.filter(({ gained }) => gained.length > 0)
    await Promise.all(gaining.map(({ member, gained }) => member.listener.assigned(gained)))
  }
}
