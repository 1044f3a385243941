import { FeatureStoreError } from '../../core/errors.ts'
import type { RedisClient } from './client.ts'
import { currentKey, formatVersion, generationsKey, keysOfShard } from './layout.ts'

interface Registered {
  readonly format: number
  readonly shards: number
}

/**
 * Which generations have state. The list names them for status and for cleaning up, and no row depends on it: rows are
 * found by the name of their generation. So what a failover loses of it is a name that the next owner writes again.
 */
export class Generations {
  readonly #client: RedisClient
  readonly #prefix: string

  constructor(client: RedisClient, prefix: string) {
    this.#client = client
    this.#prefix = prefix
  }

  async all(): Promise<ReadonlyMap<string, Registered>> {
    // ioredis makes an object of this reply.
    const reply = (await this.#client.call('hgetall', generationsKey(this.#prefix))) as Readonly<Record<string, Buffer>>
    const found = new Map<string, Registered>()
    for (const [name, value] of Object.entries(reply)) found.set(name, parseRegistered(String(value)))
    return found
  }

  async register(generation: string, shards: number): Promise<void> {
    const value: Registered = { format: formatVersion, shards }
    await this.#client.call('hset', generationsKey(this.#prefix), generation, JSON.stringify(value))
  }

  async current(): Promise<string | null> {
    const reply = await this.#client.call('get', currentKey(this.#prefix))
    return reply === null ? null : String(reply)
  }

  async markCurrent(generation: string): Promise<void> {
    if (!(await this.all()).has(generation))
      throw new FeatureStoreError('FS_INTERNAL', `generation ${generation} has no state in the online store`)
    await this.#client.call('set', currentKey(this.#prefix), generation)
  }

  /**
   * Shard by shard, each in one step: owner, rows, parts and dead letters go together, so a shard is there whole or not at
   * all, and a drop that is cut short leaves shards that stand by themselves and a name by which to drop the rest. UNLINK
   * frees the memory outside the thread that answers, however large a shard is.
   */
  async drop(generation: string, shardsAtLeast: number): Promise<void> {
    const shards = Math.max(shardsAtLeast, (await this.all()).get(generation)?.shards ?? 0)
    for (let shard = 0; shard < shards; shard++) {
      const { rows, parts, dead } = keysOfShard(this.#prefix, generation, shard)
      await this.#client.call('unlink', rows, parts, dead)
    }
    if ((await this.current()) === generation) await this.#client.call('del', currentKey(this.#prefix))
    await this.#client.call('hdel', generationsKey(this.#prefix), generation)
  }
}

function parseRegistered(text: string): Registered {
  try {
    const { format, shards } = JSON.parse(text) as Partial<Registered>
    if (Number.isInteger(format) && Number.isInteger(shards))
      return { format: format as number, shards: shards as number }
  } catch {
    // falls through: written by something else
  }
  return { format: -1, shards: 0 }
}
