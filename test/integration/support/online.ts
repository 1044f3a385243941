import type { DeadLetter } from '../../../core/event/batch.ts'
import { offset } from '../../../core/event/position.ts'
import { silentLogger } from '../../../core/ports/environment.ts'
import type {
  FlushOutcome,
  OnlineStore,
  RowWrite,
  ShardFlush,
  ShardLease,
  ShardPosition,
} from '../../../core/ports/online-store.ts'
import {
  openRedisOnlineStore,
  type OpenOptions,
  type RedisOnlineStore,
  type RedisTarget,
} from '../../../connectors/redis/online-store.ts'
import { random } from './random.ts'

export const bytes = (text: string): Uint8Array => Buffer.from(text)
export const text = (row: Uint8Array | null | undefined): string | null =>
  row === null || row === undefined ? null : Buffer.from(row).toString()

export const local = (port: number): RedisTarget => ({ kind: 'standalone', address: { host: '127.0.0.1', port } })

export const openAt = (target: RedisTarget, options: Partial<OpenOptions> = {}): Promise<RedisOnlineStore> =>
  openRedisOnlineStore({
    target,
    mode: 'write',
    generation: 'g',
    shards: 64,
    timeoutMs: 2_000,
    logger: silentLogger,
    random,
    ...options,
  })

export const at = (next: number): ShardPosition => ({
  position: { logId: 'log', streams: { clicks: [{ epoch: 1, next: offset(next) }] } },
  newestEventTimeMs: { clicks: next },
})

export const row = (key: string, value: string): RowWrite => ({ view: 'v', key: bytes(key), row: bytes(value) })

export const letter = (index: number): DeadLetter => ({
  scope: 'view:v',
  stream: 'clicks',
  partition: 0,
  offset: offset(index),
  knownAt: index,
  code: 'FS_DEAD_TOO_LATE',
  reason: 'late',
})

export const flush = (
  lease: ShardLease,
  from: number | null,
  to: number,
  rows: readonly RowWrite[] = [],
  deadLetters: readonly DeadLetter[] = [],
): ShardFlush => ({ lease, from: from === null ? null : at(from), to: at(to), rows, deadLetters })

export async function take(store: OnlineStore, shard: number): Promise<ShardLease> {
  const [taken] = await store.acquire([shard])
  if (taken === undefined) throw new Error('no lease')
  return taken.lease
}

export const kinds = (outcomes: readonly FlushOutcome[]): readonly string[] => outcomes.map(({ kind }) => kind)

export async function valuesOf(store: OnlineStore, shard: number, keys: readonly string[]) {
  const read = await store.read(
    'v',
    keys.map(() => shard),
    keys.map(bytes),
  )
  return read.rows.map(text)
}

/** Tries until it does not throw; the last error is thrown when that takes more than `limitMs`. */
export async function eventually<T>(body: () => Promise<T>, limitMs = 20_000): Promise<T> {
  const until = Date.now() + limitMs
  for (;;) {
    try {
      return await body()
    } catch (error) {
      if (Date.now() > until) throw error
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }
}
