/** A worker, and the shards that it has from the last round. */
export interface Member {
  readonly id: string
  /** Not given up yet, so that nobody else may have them. */
  readonly owned: readonly number[]
  /** The group's generation in which it had them. Of two that name one shard, the one who slept has the older one. */
  readonly generation: number
}

export type Shares = ReadonlyMap<string, readonly number[]>

/**
 * Shares of the shards 0 … shards - 1 by member id.
 *
 * Laws: every shard is in exactly one share; two shares differ by one at most; as few shards as possible change hands;
 * of equal members and shards the order of arrival decides nothing. No members: no shares.
 */
export function balance(members: readonly Member[], shards: number): Shares {
  const shares = new Map<string, number[]>()
  if (members.length === 0) return shares
  const kept = keptShards(members, shards)
  const least = Math.floor(shards / members.length)
  let larger = shards % members.length
  // Who has most keeps most: one more than the least is for those who have it already.
  const ordered = [...kept].sort(([a, own], [b, others]) => others.length - own.length || (a < b ? -1 : 1))
  const free = new Set(Array.from({ length: shards }, (_, shard) => shard))
  const quotas = new Map<string, number>()
  for (const [id, own] of ordered) {
    const quota = larger-- > 0 ? least + 1 : least
    const share = own.slice(0, quota)
    for (const shard of share) free.delete(shard)
    quotas.set(id, quota)
    shares.set(id, share)
  }
  const rest = [...free]
  for (const [id, share] of shares) {
    share.push(...rest.splice(0, (quotas.get(id) as number) - share.length))
    share.sort((a, b) => a - b)
  }
  return shares
}

/**
 * What the members get in this round. A shard that changes hands is nobody's until its owner has given it up and has said
 * so, in the round after:
 *
 *     owned        A 0 1 2 3    B
 *     this round   A 0 1        B             A flushes 2 and 3, and calls for another round
 *     the next     A 0 1        B 2 3
 *
 * Laws: nobody gets a shard that another has; when all that is withheld is given up, the next round gives every shard.
 */
export function nextShares(members: readonly Member[], shards: number): Shares {
  const ownerOf = new Map<number, string>()
  for (const [id, own] of keptShards(members, shards)) for (const shard of own) ownerOf.set(shard, id)
  const isFreeFor = (id: string) => (shard: number) => (ownerOf.get(shard) ?? id) === id
  return new Map([...balance(members, shards)].map(([id, share]) => [id, share.filter(isFreeFor(id))]))
}

/** What each member has, of shards that there are; one that two believe to have is the newer one's, then the first one's. */
function keptShards(members: readonly Member[], shards: number): Map<string, number[]> {
  const taken = new Set<number>()
  const kept = new Map<string, number[]>()
  for (const { id, owned } of members.toSorted((a, b) => b.generation - a.generation || (a.id < b.id ? -1 : 1))) {
    const own = [...new Set(owned)].filter((shard) => shard >= 0 && shard < shards && !taken.has(shard))
    for (const shard of own) taken.add(shard)
    kept.set(
      id,
      own.sort((a, b) => a - b),
    )
  }
  return kept
}
