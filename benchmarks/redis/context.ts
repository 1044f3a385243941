/** A server of the suite's own, and entities in it. */
import { randomBytes } from 'node:crypto'
import { Redis } from 'ioredis'
import { openRedisOnlineStore, type RedisOnlineStore } from '../../connectors/redis/online-store.ts'
import { offset } from '../../core/event/position.ts'
import { silentLogger } from '../../core/ports/environment.ts'
import type { RowWrite, ShardFlush, ShardLease, ShardPosition } from '../../core/ports/online-store.ts'
import type { ServerNode } from '../../test/support/services/node.ts'
import { startRedis } from '../../test/support/services/redis.ts'
import { ensure } from '../harness.ts'

export const view = 'card_activity'
export const shards = 64
export const rowBytes = 400
export const batchKeys = 100
/** Rows of a flush, so that one has about 64 KiB. */
export const flushRows = 160

/** 16 characters, as a card number has. */
export const keyOf = (entity: number): Uint8Array => Buffer.from(`4000${String(entity).padStart(12, '0')}`)
export const shardOf = (entity: number): number => (Math.imul(entity, 0x9e3779b1) >>> 0) % shards

/** A row that says whose it is and in which version; its bytes do not repeat. */
export function rowOf(entity: number, version: number): Buffer {
  const row = Buffer.allocUnsafe(rowBytes)
  row.writeUInt32LE(entity, 0)
  row.writeUInt32LE(version, 4)
  let state = Math.imul(entity + 1, 0x85ebca6b) ^ version
  for (let at = 8; at < rowBytes; at += 4) {
    state = Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + at
    row.writeInt32LE(state | 0, at)
  }
  return row
}

export const isRowOf = (row: Uint8Array | null | undefined, entity: number): boolean =>
  row instanceof Buffer && row.length === rowBytes && row.readUInt32LE(0) === entity

/** Four streams of four partitions, as a worker with several views has. */
export const positionAt = (next: number): ShardPosition => ({
  position: {
    logId: 'benchmark',
    streams: Object.fromEntries(
      ['cards', 'logins', 'devices', 'merchants'].map((stream) => [
        stream,
        [0, 1, 2, 3].map((partition) => ({ epoch: 0, next: offset(next * 4 + partition) })),
      ]),
    ),
  },
  newestEventTimeMs: { cards: 1.7e12 + next, logins: 1.7e12, devices: 1.7e12, merchants: 1.7e12 },
})

export interface Bench {
  readonly serverPid: number
  readonly client: Redis
  readonly store: RedisOnlineStore
  close(): Promise<void>
}

export async function openBench(): Promise<Bench> {
  const server = await startRedis()
  const address = { host: '127.0.0.1', port: server.port }
  const client = new Redis(address)
  const store = await openRedisOnlineStore({
    target: { kind: 'standalone', address },
    mode: 'write',
    generation: 'benchmark',
    shards,
    logger: silentLogger,
    random: { bytes: (length) => randomBytes(length) },
  })
  return {
    serverPid: (server.nodes[0] as ServerNode).pid,
    client,
    store,
    async close() {
      await store[Symbol.asyncDispose]()
      client.disconnect()
      await server[Symbol.asyncDispose]()
    },
  }
}

/** Writes entities through the store, some rows a flush, all shards at once; says where the shards stand then. */
export class Loader {
  readonly #store: RedisOnlineStore
  readonly #leases: readonly ShardLease[]
  #next = 0

  private constructor(store: RedisOnlineStore, leases: readonly ShardLease[]) {
    this.#store = store
    this.#leases = leases
  }

  static async open(store: RedisOnlineStore): Promise<Loader> {
    const taken = await store.acquire(Array.from({ length: shards }, (_, shard) => shard))
    return new Loader(
      store,
      taken.map(({ lease }) => lease),
    )
  }

  get stands(): number {
    return this.#next
  }

  async flush(byShard: readonly (readonly RowWrite[])[]): Promise<void> {
    const from = this.#next === 0 ? null : positionAt(this.#next)
    const to = positionAt(++this.#next)
    const flushes = byShard.map((rows, shard): ShardFlush => ({
      lease: this.#leases[shard] as ShardLease,
      from,
      to,
      rows,
      deadLetters: [],
    }))
    for (const outcome of await this.#store.apply(flushes))
      ensure(outcome.kind === 'applied', `a flush was ${outcome.kind}`)
  }

  /** Entities 0 … count - 1, in version 0. */
  async load(count: number): Promise<void> {
    const queues: RowWrite[][] = Array.from({ length: shards }, () => [])
    for (let entity = 0; entity < count; entity++)
      queues[shardOf(entity)]?.push({ view, key: keyOf(entity), row: rowOf(entity, 0) })
    const longest = Math.max(...queues.map(({ length }) => length))
    for (let from = 0; from < longest; from += flushRows)
      await this.flush(queues.map((queue) => queue.slice(from, from + flushRows)))
  }
}

export async function usedMemory(client: Redis): Promise<number> {
  return Number(/used_memory:(\d+)/.exec(await client.info('memory'))?.[1] ?? Number.NaN)
}
