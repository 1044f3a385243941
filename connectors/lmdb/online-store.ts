import { existsSync } from 'node:fs'
import { open as openFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { open, type RootDatabase } from 'lmdb'
import { FeatureStoreError } from '../../core/errors.ts'
import type { DeadLetter } from '../../core/event/batch.ts'
import type { Logger, Random } from '../../core/ports/environment.ts'
import type {
  FlushOutcome,
  OnlineStore,
  RowRead,
  ShardFlush,
  ShardLease,
  ShardPosition,
} from '../../core/ports/online-store.ts'
import { decideFlush, leaseOf, takenBy, unownedShard, type ShardState } from '../kit/shard-state.ts'
import { Generations } from './generations.ts'
import {
  deadLetterKey,
  deadLetterRange,
  formatKey,
  formatVersion,
  generationRanges,
  keySizeMax,
  partKey,
  partPrefix,
  rowPrefix,
  seal,
  sealJson,
  shardKey,
  shardOfKey,
  shardRange,
  startingWith,
  unseal,
  unsealJson,
  type KeyRange,
} from './layout.ts'

export type Environment = RootDatabase<Buffer, Buffer>

export interface OpenOptions {
  /** A writer creates what is missing; a reader finds FS_NOT_READY until a writer was there. */
  readonly mode: 'read' | 'write'
  /** Fingerprint of the projection whose rows are meant. */
  readonly generation: string
  readonly logger: Logger
  readonly random: Random
}

export interface CheckedRowRead extends RowRead {
  /** Indexes of keys whose stored row fails its checksum (FS_ROW_CORRUPT); their row is null. Absent when there is none. */
  readonly corrupt?: readonly number[]
}

/** Address space only: the file grows as it fills, and LMDB enlarges the map beyond this by itself. */
const mapSizeBytes = 16 * 2 ** 30
/** A chunk of a scan, read from one snapshot: no reader lives longer, for stale readers keep LMDB from reusing pages. */
const scanRows = 1024
const scanBytes = 4 * 2 ** 20
/** Behind the header of the first page. */
const magicAt = 24
/** Calls of `apply` between two looks for readers that died without leaving the reader table: they would pin pages. */
const readerCheckCalls = 256
/** Keys removed in one transaction when a generation is dropped. */
const removalKeys = 20_000

/**
 * Opens the online store of a folder. One writer at a time, by a lock that the caller holds; any number of readers, in
 * any process.
 *
 * Errors: FS_NOT_READY (unavailable) for a reader before the first writer, or beside state of another format;
 *         FS_ONLINE_UNAVAILABLE if the files cannot be opened.
 */
export async function openOnlineStore(folder: string, options: OpenOptions): Promise<LmdbOnlineStore> {
  if (options.mode === 'read') return openReader(folder, options)
  let wasReset = false
  if (existsSync(join(folder, 'data.mdb')) && !(await hasMagic(join(folder, 'data.mdb')))) {
    for (const file of ['data.mdb', 'lock.mdb']) await rm(join(folder, file), { force: true })
    wasReset = true
  }
  const environment = openEnvironment(folder, false)
  if (readFormat(environment) !== formatVersion) {
    const empty = environment.getKeysCount({ start: Buffer.of(0), limit: 1 }) === 0
    await clearAll(environment)
    wasReset ||= !empty
  }
  if (wasReset) options.logger.warn('online.reset', { folder, format: formatVersion })
  const store = new LmdbOnlineStore(environment, options, wasReset)
  await store.removeDropped()
  return store
}

async function openReader(folder: string, options: OpenOptions): Promise<LmdbOnlineStore> {
  const file = join(folder, 'data.mdb')
  const notReady = (): FeatureStoreError => new FeatureStoreError('FS_NOT_READY', 'there is no online state here yet')
  if (!existsSync(file) || !(await hasMagic(file))) throw notReady()
  const environment = openEnvironment(folder, true)
  if (readFormat(environment) === formatVersion) return new LmdbOnlineStore(environment, options, false)
  await environment.close()
  throw notReady()
}

/*
 * Durability: lmdb's `overlappingSync` (its default but on Windows). A commit is visible to every process when its call
 * returns, and flushed to the disk in the background; commits that were not flushed are passed over after a power loss.
 * So a kill of the process loses nothing, and a power loss may take the store back to an earlier transaction, never to
 * part of one. The log is the truth: the worker goes on from the positions that it finds here.
 */
function openEnvironment(folder: string, readOnly: boolean): Environment {
  try {
    return open<Buffer, Buffer>({
      path: folder,
      noSubdir: false,
      encoding: 'binary',
      keyEncoding: 'binary',
      readOnly,
      ...(process.platform === 'win32' ? {} : { mapSize: mapSizeBytes }),
    })
  } catch (cause) {
    throw new FeatureStoreError('FS_ONLINE_UNAVAILABLE', 'the embedded online store cannot be opened', { cause })
  }
}

/**
 * LMDB's mark in its first page. Asked before it opens a file, because lmdb ends the process on one without the mark. A
 * file without it holds nothing that the log does not: it is thrown away and built again.
 */
async function hasMagic(path: string): Promise<boolean> {
  const file = await openFile(path)
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(32), 0, 32, 0)
    return bytesRead === 32 && buffer.readUInt32LE(magicAt) === 0xbeefc0de
  } finally {
    await file.close()
  }
}

function readFormat(environment: Environment): unknown {
  const value = environment.getBinary(formatKey)
  if (value === undefined) return undefined
  const bytes = unseal(value)
  return bytes === null ? 'corrupt' : (JSON.parse(bytes.toString()) as unknown)
}

async function clearAll(environment: Environment): Promise<void> {
  await environment.childTransaction(() => {
    environment.clearSync()
    environment.putSync(formatKey, sealJson(formatVersion))
  })
}

/** The embedded OnlineStore on LMDB: rows, owners and positions of all shards in one environment, one transaction a flush. */
export class LmdbOnlineStore implements OnlineStore, AsyncDisposable {
  readonly appliesTogether = true
  readonly generation: string
  /** True when state of another format was found and cleared: everything is to be built again. */
  readonly wasReset: boolean
  readonly #environment: Environment
  readonly #generations: Generations
  readonly #random: Random
  readonly #writes: boolean
  /** Parsed shard records by their bytes: a batch of keys reads the same few of them again and again. */
  readonly #parsed = new Map<number, { readonly bytes: Buffer; readonly state: ShardState }>()
  readonly #key = Buffer.alloc(keySizeMax)
  #applied = 0
  #closing: Promise<void> | null = null

  constructor(environment: Environment, options: OpenOptions, wasReset: boolean) {
    this.#environment = environment
    this.#generations = new Generations(environment)
    this.#random = options.random
    this.#writes = options.mode === 'write'
    this.generation = options.generation
    this.wasReset = wasReset
  }

  async acquire(
    shards: readonly number[],
  ): Promise<readonly { readonly lease: ShardLease; readonly position: ShardPosition | null }[]> {
    return this.#write(() => {
      const id = this.#generations.ensure(this.generation)
      return shards.map((shard) => {
        const state = takenBy(this.#shard(id, shard), Buffer.from(this.#random.bytes(12)).toString('base64url'))
        this.#environment.putSync(shardKey(id, shard), sealJson(state))
        return { lease: leaseOf(shard, state), position: state.position }
      })
    })
  }

  /** All flushes of a call in one transaction: every outcome is decided before the first byte is written. */
  async apply(flushes: readonly ShardFlush[]): Promise<readonly FlushOutcome[]> {
    this.#assertWriter()
    if (++this.#applied % readerCheckCalls === 0) this.#environment.readerCheck()
    return this.#write(() => {
      const id = this.#generations.find(this.generation)
      const states = new Map<number, ShardState>()
      const outcomes = flushes.map((flush): FlushOutcome => {
        const { shard } = flush.lease
        const state = states.get(shard) ?? (id === null ? unownedShard : this.#shard(id, shard))
        const outcome = decideFlush(state, flush)
        states.set(shard, outcome.kind === 'applied' ? { ...state, position: flush.to } : state)
        return outcome
      })
      if (id === null) return outcomes
      flushes.forEach((flush, index) => {
        if (outcomes[index]?.kind === 'applied') this.#writeFlush(id, flush)
      })
      return outcomes
    })
  }

  async read(view: string, shards: readonly number[], keys: readonly Uint8Array[]): Promise<CheckedRowRead> {
    const id = this.#snapshot()
    if (id === null) return { rows: keys.map(() => null), positions: keys.map(() => null) }
    const corrupt: number[] = []
    const positions = new Map<number, ShardPosition | null>()
    const prefixes = new Map<number, Buffer>()
    const rows = keys.map((key, index) => {
      const shard = shards[index] as number
      let prefix = prefixes.get(shard)
      if (prefix === undefined) {
        prefix = rowPrefix(id, shard, view)
        prefixes.set(shard, prefix)
        positions.set(shard, this.#shard(id, shard).position)
      }
      const value = this.#environment.getBinary(this.#rowKey(prefix, key))
      if (value === undefined) return null
      const row = unseal(value)
      if (row === null) corrupt.push(index)
      return row
    })
    const read = { rows, positions: shards.map((shard) => positions.get(shard) ?? null) }
    return corrupt.length === 0 ? read : { ...read, corrupt }
  }

  async readParts(
    view: string,
    shard: number,
    key: Uint8Array,
    names: readonly number[],
  ): Promise<readonly (Uint8Array | null)[]> {
    const id = this.#snapshot()
    if (id === null) return names.map(() => null)
    const prefix = partPrefix(id, shard, view, key)
    return names.map((name) => {
      const value = this.#environment.getBinary(partKey(prefix, name))
      return value === undefined ? null : unseal(value)
    })
  }

  async positions(shards: readonly number[]): Promise<readonly (ShardPosition | null)[]> {
    const id = this.#snapshot()
    return shards.map((shard) => (id === null ? null : this.#shard(id, shard).position))
  }

  /** Reads in chunks, each from one snapshot. Errors: FS_ROW_CORRUPT. */
  async *scan(view: string): AsyncGenerator<{ shard: number; key: Uint8Array; row: Uint8Array }> {
    const id = this.#snapshot()
    if (id === null) return
    const shards = [...this.#environment.getKeys(shardRange(id))].map(shardOfKey)
    for (const shard of shards) {
      const prefix = rowPrefix(id, shard, view)
      for (const { key, value } of this.#chunks(startingWith(prefix))) {
        const row = unseal(value)
        if (row === null)
          throw new FeatureStoreError('FS_ROW_CORRUPT', `a row of ${view} in shard ${shard} fails its checksum`)
        yield { shard, key: key.subarray(prefix.length), row }
      }
    }
  }

  async *deadLetters(): AsyncGenerator<DeadLetter> {
    const id = this.#snapshot()
    if (id === null) return
    for (const { value } of this.#chunks(deadLetterRange(id))) yield unsealJson(value) as DeadLetter
  }

  /** Every generation that has state here, sorted. */
  async generations(): Promise<readonly string[]> {
    this.#snapshot()
    return this.#generations.names()
  }

  /** The generation that serving reads, null until one was marked. */
  async current(): Promise<string | null> {
    this.#snapshot()
    return this.#generations.current()
  }

  /** Makes a generation the one that serving reads. Errors: FS_INTERNAL if it has no state here. */
  async markCurrent(generation: string): Promise<void> {
    await this.#write(() => this.#generations.markCurrent(generation))
  }

  /** Forgets a generation at once, then removes its rows, some thousands a transaction; a removal cut short goes on at the next open. */
  async dropGeneration(generation: string): Promise<void> {
    await this.#write(() => this.#generations.drop(generation))
    await this.removeDropped()
  }

  /** Forgets everything: all generations, owners included. */
  async clear(): Promise<void> {
    this.#assertWriter()
    await clearAll(this.#environment)
  }

  /** Removes what is left of dropped generations. */
  async removeDropped(): Promise<void> {
    this.#snapshot()
    for (const id of this.#generations.dropped()) {
      for (const range of generationRanges(id)) {
        while (await this.#write(() => this.#removeSome(range)));
      }
      await this.#write(() => this.#generations.forgetDropped(id))
    }
  }

  /** Waits for writes under way and their flush to the disk. Closing twice is safe. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#closing ??= this.#environment.close()
    return this.#closing
  }

  #assertOpen(): void {
    if (this.#closing !== null) throw new FeatureStoreError('FS_CLOSED', 'the online store is closed')
  }

  #assertWriter(): void {
    this.#assertOpen()
    if (!this.#writes) throw new FeatureStoreError('FS_INTERNAL', 'this online store was opened for reading')
  }

  /**
   * A nested transaction, for only that one is rolled back when its body throws: lmdb commits what a plain one had
   * written by then. The commit runs outside this thread.
   */
  async #write<T>(body: () => T): Promise<T> {
    this.#assertWriter()
    try {
      return await this.#environment.childTransaction(body)
    } catch (cause) {
      if (cause instanceof FeatureStoreError) throw cause
      throw new FeatureStoreError('FS_ONLINE_UNAVAILABLE', 'the embedded online store refused a write', { cause })
    }
  }

  /**
   * Starts a read from the newest commit of any process; what follows without an await reads the same snapshot, for
   * lmdb renews its read transaction at the first read after a reset, and resets it on a timer otherwise.
   */
  #snapshot(): number | null {
    this.#assertOpen()
    this.#environment.resetReadTxn()
    return this.#generations.find(this.generation)
  }

  #shard(id: number, shard: number): ShardState {
    const bytes = this.#environment.getBinary(shardKey(id, shard))
    if (bytes === undefined) return unownedShard
    const known = this.#parsed.get(shard)
    if (known?.bytes.equals(bytes) === true) return known.state
    const state = unsealJson(bytes) as ShardState
    this.#parsed.set(shard, { bytes, state })
    return state
  }

  #rowKey(prefix: Buffer, key: Uint8Array): Buffer {
    this.#key.set(prefix)
    this.#key.set(key, prefix.length)
    return this.#key.subarray(0, prefix.length + key.length)
  }

  #writeFlush(id: number, flush: ShardFlush): void {
    const environment = this.#environment
    const { shard, epoch, nonce } = flush.lease
    // Rows of a view come together, and keys are mostly of one length: what stands before a key is set once.
    let table: string | null = null
    let prefixBytes = 0
    let rowKey = this.#key
    for (const { view, key, row, parts } of flush.rows) {
      if (view !== table) {
        const prefix = rowPrefix(id, shard, (table = view))
        prefixBytes = prefix.length
        this.#key.set(prefix)
      }
      if (rowKey.length !== prefixBytes + key.length) rowKey = this.#key.subarray(0, prefixBytes + key.length)
      rowKey.set(key, prefixBytes)
      environment.putSync(rowKey, seal(row))
      if (parts === undefined) continue
      const ofRow = partPrefix(id, shard, view, key)
      for (const { name, bytes } of parts.put) environment.putSync(partKey(ofRow, name), seal(bytes))
      for (const name of parts.drop) environment.removeSync(partKey(ofRow, name))
    }
    for (const letter of flush.deadLetters) {
      const key = deadLetterKey(id, letter)
      if (!environment.doesExist(key)) environment.putSync(key, sealJson(letter))
    }
    const state: ShardState = { epoch, nonce, position: flush.to }
    environment.putSync(shardKey(id, shard), sealJson(state))
  }

  *#chunks({ start, end }: KeyRange): Generator<{ key: Buffer; value: Buffer }> {
    let from = start
    for (;;) {
      this.#assertOpen()
      this.#environment.resetReadTxn()
      const chunk: { key: Buffer; value: Buffer }[] = []
      let bytes = 0
      for (const entry of this.#environment.getRange({ start: from, end, exclusiveStart: from !== start })) {
        chunk.push(entry)
        bytes += entry.value.length
        if (chunk.length >= scanRows || bytes >= scanBytes) break
      }
      yield* chunk
      if (chunk.length < scanRows && bytes < scanBytes) return
      from = (chunk.at(-1) as { key: Buffer }).key
    }
  }

  /** True while there may be more. */
  #removeSome(range: KeyRange): boolean {
    const keys = [...this.#environment.getKeys({ ...range, limit: removalKeys })]
    for (const key of keys) this.#environment.removeSync(key)
    return keys.length === removalKeys
  }
}
