import { close, closeSync, fdatasync, fdatasyncSync, ftruncateSync, openSync, statSync, writeSync } from 'node:fs'
import { promisify } from 'node:util'
import { FeatureStoreError } from '../../core/errors.ts'
import { offset } from '../../core/event/position.ts'
import { type AppendResult, type LogRecord, type ProducerIdentity } from '../../core/ports/event-log.ts'
import { batchHeader } from '../../schemas/recordbatch/index.ts'
import { decideAppend } from './append.ts'
import { syncFolder } from './files.ts'
import { PartitionFiles, writeEpochs } from './partition.ts'
import { corruptAt } from './segment.ts'

/** What the last writer left behind, as far as this partition goes. */
export interface Before {
  /** The machine went down under a writer, so what it had not synced may be gone. */
  readonly mayHaveLost: boolean
  /** The end that a clean close recorded. */
  readonly end: number | undefined
}

/**
 * A partition under the writer's lock. `append` writes before it returns its promise, so appends lie in the order of
 * the calls; the promise is the acknowledgement.
 */
export class PartitionWriter extends PartitionFiles {
  private readonly segmentBytesMax: number
  private file: SyncedFile | null = null
  private readonly closing: Promise<void>[] = []
  /** Nobody else begins one while this process has the lock. */
  private epoch: number | null = null
  /** Set when a write or a sync failed in a way that leaves the file in doubt: opening again looks at what is there. */
  private failure: unknown = null

  constructor(folder: string, name: string, segmentBytesMax: number) {
    super(folder, name)
    this.segmentBytesMax = segmentBytesMax
  }

  /**
   * Cuts a torn tail and begins an epoch where records may have been lost. The epoch is on disk before anything is cut.
   *
   * Errors: FS_LOG_CORRUPT, and nothing is cut, when good batches lie behind the bad one.
   */
  recover(before: Before): void {
    const { last } = this
    if (this.tail === 'corrupt') throw corruptAt(last.path, last.size)
    const torn = this.tail === 'torn'
    const epochs = this.epochs()
    if (torn || before.mayHaveLost || (before.end !== undefined && before.end > this.end)) {
      const epoch = (epochs.at(-1)?.epoch ?? -1) + 1
      writeEpochs(this.folder, [...epochs, { epoch, firstOffset: offset(this.end) }])
    }
    if (!torn) return
    const descriptor = openSync(last.path, 'r+')
    try {
      ftruncateSync(descriptor, last.size)
      fdatasyncSync(descriptor)
    } finally {
      closeSync(descriptor)
    }
    this.tail = 'whole'
  }

  append(records: readonly LogRecord[], producer: ProducerIdentity | undefined): AppendResult {
    if (this.failure !== null)
      throw new FeatureStoreError('FS_CLOSED', `${this.name} failed to write and has to be opened again`, {
        cause: this.failure,
      })
    const epoch = (this.epoch ??= this.epochs().at(-1)?.epoch ?? 0)
    const firstOffset = offset(this.end)
    if (records.length === 0) return { epoch, firstOffset, nextOffset: firstOffset, clamped: 0 }
    const decision = decideAppend(
      { epoch, end: this.end, newestTimestampMs: this.newestTimestampMs() },
      records,
      producer,
      producer === undefined ? 0 : this.sequence(producer.producerId),
    )
    this.write(decision.bytes)
    return { epoch, firstOffset, nextOffset: offset(this.end), clamped: decision.clamped }
  }

  private write(bytes: Uint8Array): void {
    if (this.last.size > 0 && this.last.size + bytes.length > this.segmentBytesMax) this.roll()
    const segment = this.last
    try {
      this.file ??= this.openLast()
      this.file.write(bytes, segment.size)
    } catch (cause) {
      this.undo(segment.size, cause)
      throw new FeatureStoreError('FS_LOG_UNAVAILABLE', `${segment.path} cannot be written`, {
        cause,
        remedy: 'Make room on the disk, or mend it, and append again.',
      })
    }
    segment.note(batchHeader(bytes, 0))
  }

  /** What was half written goes away, so that the next append follows a whole batch. */
  private undo(size: number, cause: unknown): void {
    try {
      this.file?.truncate(size)
    } catch {
      this.failure = cause
    }
  }

  /** The old segment is on disk before the new one exists: only the last one can be torn. */
  private roll(): void {
    try {
      this.file?.syncNow()
    } catch (cause) {
      throw this.fail(cause)
    }
    if (this.file !== null) this.closing.push(this.file.close())
    this.file = null
    this.addSegment(this.end)
  }

  private openLast(): SyncedFile {
    const { path } = this.last
    const isNew = statSync(path, { throwIfNoEntry: false }) === undefined
    const file = new SyncedFile(openSync(path, isNew ? 'wx+' : 'r+'))
    if (isNew) syncFolder(this.folder)
    return file
  }

  /** Resolves when everything that was written before the call is on disk. */
  async sync(): Promise<void> {
    try {
      await this.file?.sync()
    } catch (cause) {
      throw this.fail(cause)
    }
  }

  /** After a failed sync the kernel may have dropped the pages: no later sync can be believed. */
  private fail(cause: unknown): FeatureStoreError {
    this.failure = cause
    return new FeatureStoreError('FS_CLOSED', `${this.last.path} cannot be synced`, { cause })
  }

  async close(): Promise<void> {
    const { file } = this
    this.file = null
    await Promise.all([...this.closing, file?.close()])
  }
}

const dataSync = promisify(fdatasync)
const closeDescriptor = promisify(close)

/** A file whose syncs are shared: whoever asks while one runs waits for the next, which covers all of them. */
class SyncedFile {
  private readonly descriptor: number
  private running: Promise<void> = Promise.resolve()
  private queued: Promise<void> | null = null
  private dirty = false

  constructor(descriptor: number) {
    this.descriptor = descriptor
  }

  write(bytes: Uint8Array, position: number): void {
    this.dirty = true
    for (let written = 0; written < bytes.length;)
      written += writeSync(this.descriptor, bytes, written, bytes.length - written, position + written)
  }

  truncate(size: number): void {
    ftruncateSync(this.descriptor, size)
  }

  syncNow(): void {
    fdatasyncSync(this.descriptor)
    this.dirty = false
  }

  sync(): Promise<void> {
    if (!this.dirty && this.queued === null) return this.running
    this.queued ??= this.running.then(
      () => this.start(),
      () => this.start(),
    )
    return this.queued
  }

  private start(): Promise<void> {
    this.queued = null
    this.dirty = false
    this.running = dataSync(this.descriptor)
    return this.running
  }

  async close(): Promise<void> {
    this.dirty = true
    try {
      await this.sync()
    } finally {
      await closeDescriptor(this.descriptor)
    }
  }
}
