/**
 * Entities of the shards that are asked for (default: of all), shard by shard and in each in the order that they had; and
 * the others. What a flush writes together then lies together in memory.
 */
export function byShard(
  entities: readonly number[],
  shardOf: (entity: number) => number,
  shards: number,
  only?: ReadonlySet<number>,
): { readonly taken: Int32Array; readonly left: number[] } {
  const isAsked = Uint8Array.from({ length: shards }, (_, shard) => (only?.has(shard) === false ? 0 : 1))
  const places = new Int32Array(shards)
  const left: number[] = []
  for (const entity of entities) {
    const shard = shardOf(entity)
    if (isAsked[shard] === 1) places[shard] = (places[shard] as number) + 1
    else left.push(entity)
  }
  // From how many each has to where each begins.
  let count = 0
  for (let shard = 0; shard < shards; shard++) {
    const own = places[shard] as number
    places[shard] = count
    count += own
  }
  const taken = new Int32Array(count)
  for (const entity of entities) {
    const shard = shardOf(entity)
    if (isAsked[shard] !== 1) continue
    taken[places[shard] as number] = entity
    places[shard] = (places[shard] as number) + 1
  }
  return { taken, left }
}
