import { closeSync, openSync, readSync } from 'node:fs'
import { join } from 'node:path'
import { FeatureStoreError } from '../../core/errors.ts'
import { batchHeader, type BatchHeader, batchHeaderBytes, isGoodBatch } from '../../schemas/recordbatch/index.ts'

/** A batch that says it is longer is taken for broken, before memory is taken for it. */
const batchBytesMax = 64 * 1024 * 1024
const windowBytes = 256 * 1024
/** The sparse index has an entry for the first batch that begins this far behind the last entry. */
export const indexSpacingBytes = 4096

export const segmentName = (baseOffset: number): string => `${String(baseOffset).padStart(20, '0')}.log`
export const segmentPattern = /^\d{20}\.log$/

/**
 * One file of whole batches, back to back, and what scanning their headers told: where it ends, and a sparse index from
 * offset to byte. It grows by `note`, for a batch that was found or was written.
 */
export class Segment {
  readonly path: string
  readonly baseOffset: number
  /** Bytes known to be whole batches; one past the last offset in them. */
  size = 0
  end: number
  newestTimestampMs = -Infinity
  /** Records per producer. */
  readonly sequences = new Map<bigint, number>()
  private readonly indexOffsets: number[] = []
  private readonly indexPositions: number[] = []

  constructor(folder: string, baseOffset: number) {
    this.path = join(folder, segmentName(baseOffset))
    this.baseOffset = baseOffset
    this.end = baseOffset
  }

  note(header: BatchHeader): void {
    const last = this.indexPositions.at(-1)
    if (last === undefined || this.size - last >= indexSpacingBytes) {
      this.indexOffsets.push(header.baseOffset)
      this.indexPositions.push(this.size)
    }
    this.size += header.byteLength
    this.end += header.recordCount
    if (header.maxTimestamp > this.newestTimestampMs) this.newestTimestampMs = header.maxTimestamp
    if (header.producerId >= 0n)
      this.sequences.set(header.producerId, (this.sequences.get(header.producerId) ?? 0) + header.recordCount)
  }

  /** The nearest indexed batch at or below `offset`. */
  nearest(offset: number): { readonly offset: number; readonly position: number } {
    let low = 0
    let high = this.indexOffsets.length
    while (high - low > 1) {
      const middle = (low + high) >>> 1
      if ((this.indexOffsets[middle] as number) <= offset) low = middle
      else high = middle
    }
    return { offset: this.indexOffsets[low] ?? this.baseOffset, position: this.indexPositions[low] ?? 0 }
  }
}

/** How a scan ended: all bytes are whole batches; or the rest is no batch and nothing good follows; or something good does. */
export type ScanEnd = 'whole' | 'torn' | 'corrupt'

/**
 * Takes in the batches behind what the segment knows, up to `fileBytes`. `checksums` is for the last segment, whose tail
 * a crash may have torn; the checksums of earlier ones are checked by whoever walks their records.
 */
export function scan(segment: Segment, fileBytes: number, checksums: boolean): ScanEnd {
  if (segment.size >= fileBytes) return 'whole'
  const descriptor = openSync(segment.path, 'r')
  try {
    const file = new Window(descriptor, fileBytes)
    while (segment.size < fileBytes) {
      const header = file.headerAt(segment.size)
      if (header === null || !follows(header, segment.end)) break
      if (checksums) {
        const batch = file.bytesAt(segment.size, header.byteLength)
        if (batch === null || !isGoodBatch(batch, 0)) break
      } else if (segment.size + header.byteLength > fileBytes) break
      segment.note(header)
    }
    if (segment.size >= fileBytes) return 'whole'
    return goodBatchBehind(file, segment.size, segment.end) ? 'corrupt' : 'torn'
  } finally {
    closeSync(descriptor)
  }
}

/** The parts of a header that no checksum covers, or that a log of ours always has. */
export const follows = (header: BatchHeader, expectedOffset: number): boolean =>
  header.magic === 2 &&
  header.baseOffset === expectedOffset &&
  header.byteLength > batchHeaderBytes &&
  header.byteLength <= batchBytesMax &&
  header.recordCount > 0 &&
  header.lastOffsetDelta === header.recordCount - 1

/** Tells a torn tail from damage in the middle: behind a tear there is nothing good. */
function goodBatchBehind(file: Window, from: number, expectedOffset: number): boolean {
  const rest = file.bytesAt(from, file.size - from)
  if (rest === null) return false
  // Whole and checked, and yet not what follows: no tear does that.
  if (isGoodBatch(rest, 0)) return true
  for (let at = 1; at + batchHeaderBytes <= rest.length; at++) {
    if (rest[at + 16] !== 2) continue
    if (batchHeader(rest, at).baseOffset >= expectedOffset && isGoodBatch(rest, at)) return true
  }
  return false
}

/** Reads a file forwards through a buffer, so that headers of small batches cost no call each. */
class Window {
  readonly size: number
  private readonly descriptor: number
  private bytes = new Uint8Array(0)
  private from = 0

  constructor(descriptor: number, size: number) {
    this.descriptor = descriptor
    this.size = size
  }

  headerAt(position: number): BatchHeader | null {
    const bytes = this.bytesAt(position, batchHeaderBytes)
    return bytes === null ? null : batchHeader(bytes, 0)
  }

  /** The bytes from `position`, until the next call; null where the file has fewer. */
  bytesAt(position: number, length: number): Uint8Array | null {
    if (position + length > this.size) return null
    if (position < this.from || position + length > this.from + this.bytes.length) {
      if (!this.fill(position, Math.max(length, Math.min(windowBytes, this.size - position)))) return null
    }
    const at = position - this.from
    return this.bytes.subarray(at, at + length)
  }

  private fill(position: number, length: number): boolean {
    const bytes = new Uint8Array(length)
    for (let filled = 0; filled < length;) {
      const count = readSync(this.descriptor, bytes, filled, length - filled, position + filled)
      if (count === 0) return false
      filled += count
    }
    this.bytes = bytes
    this.from = position
    return true
  }
}

export const corruptAt = (path: string, position: number): FeatureStoreError =>
  new FeatureStoreError(
    'FS_LOG_CORRUPT',
    `${path}: the record batch at byte ${position} fails its checksum or structure`,
  )
