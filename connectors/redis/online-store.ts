import { FeatureStoreError } from '../../core/errors.ts'
import type { DeadLetter } from '../../core/event/batch.ts'
import type { Random } from '../../core/ports/environment.ts'
import type { FlushOutcome, RowRead, ShardFlush, ShardLease, ShardPosition } from '../../core/ports/online-store.ts'
import type { GenerationStore } from '../kit/generation-store.ts'
import { RedisClient, type ConnectOptions } from './client.ts'
export type { Address, RedisTarget } from './client.ts'
import {
  acquireCall,
  bytesOf,
  flushCall,
  outcomeOf,
  parsePosition,
  PositionTexts,
  readCommand,
  readPartsCommand,
  runScripts,
  valueOf,
  type ScriptCall,
} from './commands.ts'
import { Generations } from './generations.ts'
import { checkedName, formatVersion, keysOfShard, unseal, viewPrefix, type ShardKeys } from './layout.ts'
import { deadLettersOf, scanShard } from './scan.ts'

/**
 * What a writer should flush a shard at: a script of 1 MiB holds the server up for a few milliseconds. It may be passed:
 * one row, a head with many parts or one that is stored whole, can be larger, and a flush is never split.
 */
export const flushBytesTarget = 2 ** 20
/** Above this a flush is refused. Redis itself takes 512 MiB an argument and 1 GiB a command. */
export const refusedAboveBytesDefault = 64 * 2 ** 20
/** Flushes under way at a time, but for one that is larger by itself: what is not sent yet waits in the caller's memory. */
const pipelineBytesMax = 8 * 2 ** 20

export interface OpenOptions extends ConnectOptions {
  /** A writer takes shards and flushes; a reader finds FS_NOT_READY until a writer was there. */
  readonly mode: 'read' | 'write'
  /** Fingerprint of the projection whose rows are meant. */
  readonly generation: string
  /** Number of shards: 0 … shards - 1 are scanned and dropped. */
  readonly shards: number
  /** What all keys begin with. Default `tidemark`; stores with different ones do not see each other. */
  readonly prefix?: string
  /** Default 64 MiB. */
  readonly refusedAboveBytes?: number
  readonly random: Random
}

/**
 * Opens the online store in a Redis of 6.2 or later. Any number of readers and writers, in any process: writers hold
 * shards by their leases.
 *
 * Errors: FS_NOT_READY (unavailable) for a reader before the first writer, or beside state of another format;
 *         FS_ONLINE_UNAVAILABLE, FS_ONLINE_DENIED; FS_ONLINE_SERVER when the server evicts, is a replica, is too old or
 *         is not the kind that was configured; FS_CONFIG_INVALID.
 */
export async function openRedisOnlineStore(options: OpenOptions): Promise<RedisOnlineStore> {
  const prefix = checkedName('the prefix', options.prefix ?? 'tidemark')
  checkedName('the generation', options.generation)
  const client = await RedisClient.connect(options)
  try {
    const generations = new Generations(client, prefix)
    const wasReset = await checkFormat(generations, options)
    return new RedisOnlineStore(client, generations, options, prefix, wasReset)
  } catch (error) {
    await client.close()
    throw error
  }
}

/** True when rows of another format were dropped. */
async function checkFormat(generations: Generations, options: OpenOptions): Promise<boolean> {
  const { mode, generation, shards, logger } = options
  const all = await generations.all()
  const own = all.get(generation)
  const isForeign = own !== undefined && own.format !== formatVersion
  if (mode === 'read') {
    if (all.size === 0 || isForeign) throw new FeatureStoreError('FS_NOT_READY', 'there is no online state here yet')
    return false
  }
  if (own !== undefined && !isForeign && own.shards !== shards)
    throw new FeatureStoreError('FS_CONFIG_INVALID', `these rows are in ${own.shards} shards, not in ${shards}`)
  if (!isForeign) return false
  logger.warn('online.reset', { format: formatVersion })
  await generations.drop(generation, shards)
  return true
}

/** The OnlineStore on Redis: one hash a shard for rows, owner and position; one script a flush. README.md draws it. */
export class RedisOnlineStore implements GenerationStore {
  readonly generation: string
  readonly wasReset: boolean
  readonly flushBytesMax = flushBytesTarget
  /** A larger flush is refused with FS_FLUSH_TOO_LARGE. */
  readonly #refusedAboveBytes: number
  readonly #client: RedisClient
  readonly #generations: Generations
  readonly #random: Random
  readonly #writes: boolean
  readonly #prefix: string
  readonly #shards: number
  readonly #keys = new Map<number, ShardKeys>()
  /** Parsed positions by their bytes: batches of keys read the same few of them again and again. */
  readonly #parsed = new Map<number, { readonly bytes: Buffer; readonly position: ShardPosition | null }>()

  constructor(client: RedisClient, generations: Generations, options: OpenOptions, prefix: string, wasReset: boolean) {
    this.#client = client
    this.#generations = generations
    this.#random = options.random
    this.#writes = options.mode === 'write'
    this.#prefix = prefix
    this.#shards = options.shards
    this.generation = options.generation
    this.#refusedAboveBytes = options.refusedAboveBytes ?? refusedAboveBytesDefault
    this.wasReset = wasReset
  }

  /** The generation is named first, so that no shard has an owner whom status and cleaning up do not know of. */
  async acquire(
    shards: readonly number[],
  ): Promise<readonly { readonly lease: ShardLease; readonly position: ShardPosition | null }[]> {
    this.#assertWriter()
    await this.#generations.register(this.generation, this.#shards)
    const nonces = shards.map(() => Buffer.from(this.#random.bytes(12)).toString('base64url'))
    const answers = await runScripts(
      this.#client,
      shards.map((shard, index) => acquireCall(this.#keysOf(shard), nonces[index] as string)),
    )
    return shards.map((shard, index) => {
      const [epoch, position] = valueOf(answers[index] as (typeof answers)[number]) as readonly [Buffer, Buffer | null]
      return {
        lease: { shard, epoch: Number(epoch), nonce: nonces[index] as string },
        position: parsePosition(position),
      }
    })
  }

  /**
   * One script a flush; those of different shards together, those of one shard in turn.
   *
   * Errors: FS_FLUSH_TOO_LARGE, before anything is sent. FS_ONLINE_UNAVAILABLE, FS_ONLINE_FULL: some flushes may be
   * applied, and all can be sent again.
   */
  async apply(flushes: readonly ShardFlush[]): Promise<readonly FlushOutcome[]> {
    this.#assertWriter()
    const sizes = flushes.map((flush) => this.#checkedBytes(flush))
    const texts = new PositionTexts()
    const outcomes: FlushOutcome[] = []
    for (let from = 0; from < flushes.length;) {
      const calls: ScriptCall[] = []
      const shards = new Set<number>()
      let bytes = 0
      for (let index = from; index < flushes.length; index++) {
        const flush = flushes[index] as ShardFlush
        const size = sizes[index] as number
        const isFull = calls.length > 0 && bytes + size > pipelineBytesMax
        if (isFull || shards.has(flush.lease.shard)) break
        shards.add(flush.lease.shard)
        bytes += size
        calls.push(flushCall(this.#keysOf(flush.lease.shard), flush, texts))
      }
      const answers = await runScripts(this.#client, calls)
      outcomes.push(...answers.map((answer) => outcomeOf(valueOf(answer))))
      from += calls.length
    }
    return outcomes
  }

  async read(view: string, shards: readonly number[], keys: readonly Uint8Array[]): Promise<RowRead> {
    const groups = byShard(shards)
    const prefix = viewPrefix(view)
    const answers = await this.#client.send(
      groups.map(({ shard, indexes }) =>
        readCommand(
          this.#keysOf(shard).rows,
          prefix,
          indexes.map((index) => keys[index] as Uint8Array),
        ),
      ),
    )
    const rows = new Array<Uint8Array | null>(keys.length).fill(null)
    const positions = new Array<ShardPosition | null>(keys.length).fill(null)
    const corrupt: number[] = []
    groups.forEach(({ shard, indexes }, at) => {
      const reply = valueOf(answers[at] as (typeof answers)[number]) as readonly (Buffer | null)[]
      const position = this.#position(shard, reply[0] ?? null)
      for (let found = 0; found < indexes.length; found++) {
        const index = indexes[found] as number
        const value = reply[found + 1] ?? null
        positions[index] = position
        if (value === null) continue
        const row = unseal(value)
        if (row === null) corrupt.push(index)
        else rows[index] = row
      }
    })
    if (corrupt.length === 0) return { rows, positions }
    return { rows, positions, corrupt: corrupt.sort((a, b) => a - b) }
  }

  async readParts(
    view: string,
    shard: number,
    key: Uint8Array,
    names: readonly number[],
  ): Promise<readonly (Uint8Array | null)[]> {
    if (names.length === 0) return []
    const [answer] = await this.#client.send([readPartsCommand(this.#keysOf(shard).parts, view, key, names)])
    const values = valueOf(answer as NonNullable<typeof answer>) as readonly (Buffer | null)[]
    return values.map((value) => (value === null ? null : unseal(value)))
  }

  async positions(shards: readonly number[]): Promise<readonly (ShardPosition | null)[]> {
    const groups = byShard(shards)
    const none = Buffer.of()
    const answers = await this.#client.send(groups.map(({ shard }) => readCommand(this.#keysOf(shard).rows, none, [])))
    const found = new Map<number, ShardPosition | null>()
    groups.forEach(({ shard }, at) => {
      const [position] = valueOf(answers[at] as (typeof answers)[number]) as readonly (Buffer | null)[]
      found.set(shard, this.#position(shard, position ?? null))
    })
    return shards.map((shard) => found.get(shard) ?? null)
  }

  /**
   * Reads in chunks, each at a position of its own. Memory: the keys of one shard. Errors: FS_ROW_CORRUPT.
   */
  async *scan(view: string): AsyncGenerator<{ shard: number; key: Uint8Array; row: Uint8Array }> {
    for (let shard = 0; shard < this.#shards; shard++)
      for await (const { key, row } of scanShard(this.#client, this.#keysOf(shard), view)) yield { shard, key, row }
  }

  /** A letter of a stream may lie in several shards: it is given once. Memory: the ids of all letters. */
  async *deadLetters(): AsyncGenerator<DeadLetter> {
    const seen = new Set<string>()
    for (let shard = 0; shard < this.#shards; shard++) {
      for await (const [id, letter] of deadLettersOf(this.#client, this.#keysOf(shard))) {
        if (seen.has(id)) continue
        seen.add(id)
        yield letter
      }
    }
  }

  async generations(): Promise<readonly string[]> {
    return [...(await this.#generations.all()).keys()].sort()
  }

  current(): Promise<string | null> {
    return this.#generations.current()
  }

  async markCurrent(generation: string): Promise<void> {
    this.#assertWriter()
    await this.#generations.markCurrent(generation)
  }

  async dropGeneration(generation: string): Promise<void> {
    this.#assertWriter()
    await this.#generations.drop(generation, this.#shards)
  }

  async clear(): Promise<void> {
    this.#assertWriter()
    for (const generation of await this.generations()) await this.#generations.drop(generation, this.#shards)
  }

  /** Waits for calls under way. Closing twice is safe. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.#client.close()
  }

  #assertWriter(): void {
    if (!this.#writes) throw new FeatureStoreError('FS_INTERNAL', 'this online store was opened for reading')
  }

  #keysOf(shard: number): ShardKeys {
    let keys = this.#keys.get(shard)
    if (keys === undefined) this.#keys.set(shard, (keys = keysOfShard(this.#prefix, this.generation, shard)))
    return keys
  }

  #checkedBytes(flush: ShardFlush): number {
    const bytes = bytesOf(flush)
    if (bytes > this.#refusedAboveBytes)
      throw new FeatureStoreError(
        'FS_FLUSH_TOO_LARGE',
        `a flush of shard ${flush.lease.shard} has ${bytes} bytes, more than ${this.#refusedAboveBytes}`,
      )
    return bytes
  }

  #position(shard: number, value: Buffer | null): ShardPosition | null {
    const known = this.#parsed.get(shard)
    if (value === null) return null
    if (known?.bytes.equals(value) === true) return known.position
    const position = parsePosition(value)
    // Copied, for a reply is a piece of a larger buffer that would be kept.
    this.#parsed.set(shard, { bytes: Buffer.from(value), position })
    return position
  }
}

/** Shards in the order in which they are first asked for, each with the indexes of its keys. */
function byShard(
  shards: readonly number[],
): readonly { readonly shard: number; readonly indexes: readonly number[] }[] {
  const groups = new Map<number, number[]>()
  shards.forEach((shard, index) => {
    const indexes = groups.get(shard)
    if (indexes === undefined) groups.set(shard, [index])
    else indexes.push(index)
  })
  return [...groups].map(([shard, indexes]) => ({ shard, indexes }))
}
