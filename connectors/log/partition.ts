import { closeSync, openSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { FeatureStoreError } from '../../core/errors.ts'
import { offset, type Offset, offsetZero } from '../../core/event/position.ts'
import { type LogChunk, type PartitionInfo } from '../../core/ports/event-log.ts'
import { batchHeader, batchHeaderBytes } from '../../schemas/recordbatch/index.ts'
import { checkFetch } from './append.ts'
import { makeFolder, readAt, readJson, replaceFile, syncFolder } from './files.ts'
import {
  corruptAt,
  follows,
  indexSpacingBytes,
  scan,
  type ScanEnd,
  Segment,
  segmentName,
  segmentPattern,
} from './segment.ts'

export type Epochs = PartitionInfo['epochs']

const noBytes = new Uint8Array(0)

/**
 * A partition as it lies in its folder, for reading: segments in offset order, of which the last one grows. What it
 * knows is brought up to date by `refresh`, so it also follows a writer in another process.
 */
export class PartitionFiles {
  readonly name: string
  readonly folder: string
  protected readonly segments: Segment[] = []
  /** How the last scan of the last segment ended. */
  protected tail: ScanEnd = 'whole'
  /** Size and modification time of the last segment when it was scanned: the same again needs no scan. */
  private seen = ''
  private readonly indexed = new WeakSet<Segment>()
  private epochsSeen = ''
  private epochsKnown: Epochs = []

  constructor(folder: string, name: string) {
    this.folder = folder
    this.name = name
    const bases = readdirSync(folder)
      .filter((file) => segmentPattern.test(file))
      .map((file) => Number.parseInt(file, 10))
      .sort((a, b) => a - b)
    for (const base of bases.length === 0 ? [0] : bases) this.segments.push(new Segment(folder, base))
    this.refresh()
  }

  get end(): number {
    return this.last.end
  }

  protected get last(): Segment {
    return this.segments.at(-1) as Segment
  }

  describe(): PartitionInfo {
    return { epochs: this.epochs(), start: offsetZero, end: offset(this.end) }
  }

  /** Takes in what was appended since, by whatever process. Never changes a file. */
  refresh(): void {
    for (;;) {
      this.refreshLast()
      const { last } = this
      // A writer begins a segment only where the one before is complete, so the next one's name is this one's end.
      if (last.end === last.baseOffset || !exists(join(this.folder, segmentName(last.end)))) return
      this.segments.push(new Segment(this.folder, last.end))
      this.indexed.add(last)
      this.seen = ''
    }
  }

  private refreshLast(): void {
    const { last } = this
    const stat = statSync(last.path, { throwIfNoEntry: false })
    if (stat === undefined) return
    const seen = `${stat.size} ${stat.mtimeMs}`
    if (seen === this.seen) return
    if (stat.size < last.size) this.segments[this.segments.length - 1] = new Segment(this.folder, last.baseOffset)
    this.tail = scan(this.last, stat.size, true)
    this.seen = seen
  }

  /** Read after the end is: an epoch that begins in between is then known with no offsets of it, which is harmless. */
  protected epochs(): Epochs {
    const path = join(this.folder, 'epochs.json')
    const stat = statSync(path, { throwIfNoEntry: false })
    const seen = stat === undefined ? 'none' : `${stat.size} ${stat.mtimeMs} ${stat.ino}`
    if (seen === this.epochsSeen) return this.epochsKnown
    this.epochsKnown = parseEpochs(path, readJson(path))
    this.epochsSeen = seen
    return this.epochsKnown
  }

  async fetch(from: Offset, maxBytes: number): Promise<LogChunk> {
    checkFetch(this.name, from, this.end)
    if (from === this.end) {
      if (this.tail === 'corrupt') throw corruptAt(this.last.path, this.last.size)
      return { bytes: noBytes, baseOffset: from, nextOffset: from }
    }
    const segment = this.segmentOf(from)
    const { position, at, size } = await this.locate(segment, from, maxBytes)
    const wanted = Math.min(Math.max(maxBytes, size), segment.size - position)
    const bytes =
      at.bytes.length - at.index >= wanted
        ? at.bytes.subarray(at.index, at.index + wanted)
        : await readAt(segment.path, position, wanted)
    return wholeBatches(bytes, at.offset, segment, position)
  }

  /** Where the batch that holds `from` begins, and what was read on the way. */
  private async locate(segment: Segment, from: number, maxBytes: number) {
    const start = segment.nearest(from)
    let next = start.offset
    let position = start.position
    let bytes: Uint8Array = noBytes
    let index = 0
    for (;;) {
      if (bytes.length - index < batchHeaderBytes) {
        const length = Math.max(maxBytes, batchHeaderBytes) + indexSpacingBytes
        bytes = await readAt(segment.path, position, Math.min(length, segment.size - position))
        index = 0
        if (bytes.length < batchHeaderBytes) throw corruptAt(segment.path, position)
      }
      const header = batchHeader(bytes, index)
      if (!follows(header, next)) throw corruptAt(segment.path, position)
      if (next + header.recordCount > from)
        return { position, size: header.byteLength, at: { bytes, index, offset: next } }
      next += header.recordCount
      position += header.byteLength
      index += header.byteLength
    }
  }

  private segmentOf(from: number): Segment {
    let index = this.segments.length - 1
    while (index > 0 && (this.segments[index] as Segment).baseOffset > from) index--
    return this.indexedSegment(index)
  }

  /** Segments before the last are scanned when they are first needed. */
  private indexedSegment(index: number): Segment {
    const segment = this.segments[index] as Segment
    const following = this.segments[index + 1]
    if (following === undefined || this.indexed.has(segment)) return segment
    const end = scan(segment, statSync(segment.path).size, false)
    if (end !== 'whole' || segment.end !== following.baseOffset) throw corruptAt(segment.path, segment.size)
    this.indexed.add(segment)
    return segment
  }

  /** Records of a producer so far, which is the sequence of its next one. */
  sequence(producerId: bigint): number {
    let total = 0
    for (let index = 0; index < this.segments.length; index++)
      total += this.indexedSegment(index).sequences.get(producerId) ?? 0
    return total
  }

  /** The running maximum of the timestamps; the last segment may be empty, then the one before has it. */
  protected newestTimestampMs(): number {
    if (this.last.size > 0 || this.segments.length === 1) return this.last.newestTimestampMs
    return this.indexedSegment(this.segments.length - 2).newestTimestampMs
  }

  protected addSegment(baseOffset: number): void {
    this.indexed.add(this.last)
    this.segments.push(new Segment(this.folder, baseOffset))
  }
}

/** Makes the folder of a new partition: epoch 0, one empty segment. */
export function createPartition(folder: string): void {
  makeFolder(folder)
  closeSync(openSync(join(folder, segmentName(0)), 'a'))
  writeEpochs(folder, [{ epoch: 0, firstOffset: offsetZero }])
  syncFolder(folder)
}

export const writeEpochs = (folder: string, epochs: Epochs): void =>
  replaceFile(join(folder, 'epochs.json'), JSON.stringify(epochs))

function parseEpochs(path: string, json: unknown): Epochs {
  const epochs = json as Epochs
  const fits =
    Array.isArray(json) &&
    json.length > 0 &&
    epochs.every(({ epoch, firstOffset }) => Number.isSafeInteger(epoch) && Number.isSafeInteger(firstOffset))
  if (!fits) throw new FeatureStoreError('FS_FILE_INVALID', `${path} is no list of epochs`)
  return epochs
}

const exists = (path: string): boolean => statSync(path, { throwIfNoEntry: false }) !== undefined

/** As many whole batches of what was read as there are, at least one. */
function wholeBatches(bytes: Uint8Array, baseOffset: number, segment: Segment, position: number): LogChunk {
  let end = 0
  let next = baseOffset
  while (bytes.length - end >= batchHeaderBytes) {
    const header = batchHeader(bytes, end)
    if (!follows(header, next)) throw corruptAt(segment.path, position + end)
    if (end + header.byteLength > bytes.length) break
    end += header.byteLength
    next += header.recordCount
  }
  if (end === 0) throw corruptAt(segment.path, position)
  return { bytes: bytes.subarray(0, end), baseOffset: offset(baseOffset), nextOffset: offset(next) }
}
