import { join } from 'node:path'
import { FeatureStoreError } from '../../core/errors.ts'
import { type Offset } from '../../core/event/position.ts'
import { type Random } from '../../core/ports/environment.ts'
import {
  type AppendResult,
  type EventLog,
  keptForEver,
  type LogChunk,
  type LogRecord,
  type PartitionInfo,
  type ProducerIdentity,
  type StreamKeeping,
} from '../../core/ports/event-log.ts'
import { FileLock } from '../kit/file-lock.ts'
import { makeFolder, replaceFile } from './files.ts'
import {
  createIdentity,
  currentBootId,
  type FsyncPolicy,
  type LogIdentity,
  readIdentity,
  readPartitionCount,
  readWriterState,
  streamFolders,
  writeWriterState,
} from './format.ts'
import { checkPartitions, checkStreamName, isStreamName } from './names.ts'
import { createPartition, PartitionFiles } from './partition.ts'
import { PartitionWriter } from './writer.ts'

export interface ReadOptions {
  readonly mode: 'read'
}

export interface WriteOptions {
  readonly mode: 'write'
  /** Makes the id of a new log. */
  readonly random: Random
  /** Default: what the log was made with; for a new one `always`. */
  readonly fsync?: FsyncPolicy
  /** Milliseconds between syncs under `interval`; default 50. */
  readonly intervalMs?: number
  /** A segment is not begun to be longer than this; default 64 MiB. */
  readonly segmentBytesMax?: number
  /** Who writes, for the message that a second writer gets; default `tidemark`. */
  readonly holder?: string
}

const intervalMsDefault = 50
const segmentBytesDefault = 64 * 1024 * 1024

/**
 * The embedded log in folder `root` (README.md). One process writes, under a lock that dies with it; any number read.
 *
 * Errors: FS_LOCKED, naming the writer; FS_LOG_FORMAT for another version, nothing touched; FS_LOG_CORRUPT when a batch
 * is bad that good ones follow; FS_FILE_INVALID when there is nothing to read.
 */
export async function openLog(root: string, options: ReadOptions | WriteOptions): Promise<EmbeddedLog> {
  const identity = readIdentity(root)
  if (options.mode === 'write') return openForWriting(root, options)
  if (identity === null) throw new FeatureStoreError('FS_FILE_INVALID', `there is no log in ${root}`)
  return new EmbeddedLog(root, identity, null)
}

function openForWriting(root: string, options: WriteOptions): EmbeddedLog {
  makeFolder(root)
  const lock = FileLock.acquire(join(root, 'writer.lock'), options.holder ?? 'tidemark')
  try {
    const identity = readIdentity(root) ?? createIdentity(root, options.fsync ?? 'always', options.random)
    const writing = {
      lock,
      fsync: options.fsync ?? identity.fsync,
      intervalMs: options.intervalMs ?? intervalMsDefault,
      segmentBytesMax: options.segmentBytesMax ?? segmentBytesDefault,
      bootId: currentBootId(),
    }
    const log = new EmbeddedLog(root, identity, writing)
    log.recover()
    return log
  } catch (error) {
    lock.release()
    throw error
  }
}

interface Writing {
  readonly lock: FileLock
  readonly fsync: FsyncPolicy
  readonly intervalMs: number
  readonly segmentBytesMax: number
  readonly bootId: string | null
}

/** Appends are one batch each, of at most 10,000 records and 8 MiB (append.ts). Otherwise as the port says. */
export class EmbeddedLog implements EventLog, AsyncDisposable {
  readonly logId: string
  readonly root: string
  private readonly writing: Writing | null
  private readonly readers = new Map<string, readonly PartitionFiles[]>()
  private readonly writers = new Map<string, readonly PartitionWriter[]>()
  private readonly unsynced = new Set<PartitionWriter>()
  private timer: NodeJS.Timeout | null = null
  private closing: Promise<void> | null = null

  constructor(root: string, identity: LogIdentity, writing: Writing | null) {
    this.root = root
    this.logId = identity.logId
    this.writing = writing
  }

  /** Brings every partition to a whole end, before the first append. */
  recover(): void {
    const state = readWriterState(this.root)
    const bootId = this.writing?.bootId ?? null
    const mayHaveLost = state !== null && !state.clean && (bootId === null || state.bootId !== bootId)
    for (const stream of streamFolders(this.root)) {
      const partitions = this.openWriters(stream, readPartitionCount(this.root, stream) ?? 0)
      for (const partition of partitions)
        partition.recover({ mayHaveLost, end: state?.clean === true ? state.ends[partition.name] : undefined })
    }
    writeWriterState(this.root, { clean: false, bootId, ends: {} })
  }

  async create(stream: string, { partitions }: { readonly partitions: number }): Promise<void> {
    this.checkOpen()
    checkStreamName(stream)
    const there = this.find(stream)
    checkPartitions(stream, partitions, there?.length)
    if (there !== null) return
    this.checkWriting()
    const folder = join(this.root, stream)
    makeFolder(folder)
    for (let index = 0; index < partitions; index++) createPartition(join(folder, String(index)))
    // Last, since it says that the stream is there.
    replaceFile(join(folder, 'stream.json'), JSON.stringify({ partitions }))
    this.openWriters(stream, partitions)
  }

  async inspect(
    streams: readonly { readonly stream: string; readonly partitions: number }[],
  ): Promise<readonly StreamKeeping[]> {
    this.checkOpen()
    return streams.map(({ stream, partitions }) => {
      const there = this.find(stream)
      return keptForEver(there !== null, there?.length ?? partitions)
    })
  }

  async describe(stream: string): Promise<readonly PartitionInfo[] | null> {
    this.checkOpen()
    const partitions = this.find(stream)
    if (partitions === null) return null
    return partitions.map((partition) => {
      if (this.writing === null) partition.refresh()
      return partition.describe()
    })
  }

  async append(
    stream: string,
    partition: number,
    records: readonly LogRecord[],
    producer?: ProducerIdentity,
  ): Promise<AppendResult> {
    this.checkOpen()
    this.checkWriting()
    const writer = this.writers.get(stream)?.[partition]
    if (writer === undefined) throw unknownPartition(stream, partition)
    const result = writer.append(records, producer)
    await this.makeDurable(writer)
    return result
  }

  async fetch(stream: string, partition: number, from: Offset, maxBytes: number): Promise<LogChunk> {
    const files = this.partition(stream, partition)
    if (this.writing === null && from >= files.end) files.refresh()
    return files.fetch(from, maxBytes)
  }

  async nextSequence(stream: string, partition: number, producerId: bigint): Promise<number> {
    const files = this.partition(stream, partition)
    if (this.writing === null) files.refresh()
    return files.sequence(producerId)
  }

  /** Drains: what was appended is on disk, then the lock is let go. Twice is safe. */
  [Symbol.asyncDispose](): Promise<void> {
    this.closing ??= this.close()
    return this.closing
  }

  private async close(): Promise<void> {
    if (this.writing === null) return
    if (this.timer !== null) clearTimeout(this.timer)
    const { lock, bootId } = this.writing
    try {
      const all = [...this.writers.values()].flat()
      await Promise.all(all.map((writer) => writer.close()))
      const ends = Object.fromEntries(all.map(({ name, end }) => [name, end]))
      writeWriterState(this.root, { clean: true, bootId, ends })
    } finally {
      lock.release()
    }
  }

  private async makeDurable(writer: PartitionWriter): Promise<void> {
    const { fsync, intervalMs } = this.writing as Writing
    if (fsync === 'always') return writer.sync()
    if (fsync === 'never') return
    this.unsynced.add(writer)
    this.timer ??= setTimeout(() => this.syncAll(), intervalMs).unref()
  }

  /** A failure stays in the partition, which refuses the next append. */
  private syncAll(): void {
    this.timer = null
    const writers = [...this.unsynced]
    this.unsynced.clear()
    void Promise.allSettled(writers.map((writer) => writer.sync()))
  }

  private openWriters(stream: string, count: number): readonly PartitionWriter[] {
    const { segmentBytesMax } = this.writing as Writing
    const partitions = Array.from(
      { length: count },
      (_, index) => new PartitionWriter(join(this.root, stream, String(index)), `${stream}/${index}`, segmentBytesMax),
    )
    this.writers.set(stream, partitions)
    return partitions
  }

  /** A reader finds streams that were made after it was opened. */
  private find(stream: string): readonly PartitionFiles[] | null {
    const known = this.writers.get(stream) ?? this.readers.get(stream)
    if (known !== undefined) return known
    if (this.writing !== null || !isStreamName(stream)) return null
    const count = readPartitionCount(this.root, stream)
    if (count === null) return null
    const partitions = Array.from(
      { length: count },
      (_, index) => new PartitionFiles(join(this.root, stream, String(index)), `${stream}/${index}`),
    )
    this.readers.set(stream, partitions)
    return partitions
  }

  private partition(stream: string, index: number): PartitionFiles {
    this.checkOpen()
    const partition = this.find(stream)?.[index]
    if (partition === undefined) throw unknownPartition(stream, index)
    return partition
  }

  private checkOpen(): void {
    if (this.closing !== null) throw new FeatureStoreError('FS_CLOSED', `the log in ${this.root} is closed`)
  }

  private checkWriting(): void {
    if (this.writing === null)
      throw new FeatureStoreError('FS_LOCKED', `the log in ${this.root} is open for reading, without the writer's lock`)
  }
}

const unknownPartition = (stream: string, index: number): FeatureStoreError =>
  new FeatureStoreError('FS_STREAM_UNKNOWN', `the log has no partition ${stream}/${index}`)
