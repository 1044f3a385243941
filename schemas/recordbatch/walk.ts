import { gunzipSync, zstdDecompressSync } from 'node:zlib'
import { FeatureStoreError } from '../../core/errors.ts'
import { lz4Frame } from '../compression/lz4.ts'
import { snappy } from '../compression/snappy.ts'
import { crc32c } from './crc32c.ts'
import {
  batchHeaderBytes,
  checksumFrom,
  compressionMask,
  controlBit,
  lengthPrefixBytes,
  logAppendTimeBit,
  readInt64,
  recordBytesMin,
} from './layout.ts'

/** A batch that decompresses to more is refused as corrupt: a few bytes must not take all memory. */
export const decompressedBytesMax = 256 * 1024 * 1024

const noBytes = new Uint8Array(0)

const maxOutputLength = decompressedBytesMax
/** By the number in a batch's attributes. Each gives up before it makes more than it may. */
const decompressors: Readonly<Record<number, (bytes: Uint8Array) => Uint8Array>> = {
  1: (bytes) => gunzipSync(bytes, { maxOutputLength }),
  2: (bytes) => snappy(bytes, maxOutputLength),
  3: (bytes) => lz4Frame(bytes, maxOutputLength),
  4: (bytes) => zstdDecompressSync(bytes, { maxOutputLength }),
}

/**
 * Walks the records of whole batches that lie back to back (layout.ts), in place: after `next()` answered true, the
 * numeric fields say where the record's key and value lie in `bytes`. One cursor serves many chunks; it makes nothing
 * per record. Control batches are passed over.
 *
 *     cursor.reset(chunk.bytes)
 *     while (cursor.next()) use(cursor.bytes, cursor.valueStart, cursor.valueEnd, cursor.offset, cursor.timestampMs)
 *
 * Errors: FS_LOG_CORRUPT, naming the byte where the batch begins, when length, magic, checksum, counts or a record do
 * not fit, or records decompress to more than decompressedBytesMax.
 */
export class RecordCursor {
  /** What the positions below point into: the chunk, or the decompressed records of one batch. */
  bytes: Uint8Array = noBytes
  view: DataView = new DataView(noBytes.buffer)
  /** -1 (both) for a null key. */
  keyStart = -1
  keyEnd = -1
  /** -1 (both) for a null value. */
  valueStart = -1
  valueEnd = -1
  offset = -1
  timestampMs = -1
  /** Records of the current batch that are still to come. */
  left = 0

  private chunk: Uint8Array = noBytes
  private chunkView: DataView = new DataView(noBytes.buffer)
  private batchAt = 0
  private nextBatchAt = 0
  private at = 0
  private recordsEnd = 0
  private baseOffset = 0
  private lastOffset = 0
  private baseTimestamp = 0
  private appendTime = false
  // Zigzagged varint just read, as two halves, by readRest().
  private low = 0
  private high = 0

  reset(bytes: Uint8Array): void {
    this.chunk = bytes
    this.chunkView = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.batchAt = this.nextBatchAt = this.at = this.recordsEnd = this.left = 0
  }

  /** Goes to the next record; false at the end of the chunk. */
  next(): boolean {
    while (this.left === 0) if (!this.enterBatch()) return false
    this.left--
    const bytes = this.bytes
    let at = this.at
    const length = bytes[at] as number
    at = length < 128 ? at + 1 : this.readRest(at)
    const end = at + (length < 128 ? unzigzag(length) : this.int32())
    if (!(end <= this.recordsEnd)) throw this.corrupt('a record runs beyond its batch')
    at++ // attributes

    const time = bytes[at] as number
    if (time < 128) {
      at++
      if (!this.appendTime) this.timestampMs = this.baseTimestamp + unzigzag(time)
    } else {
      at = this.readRest(at)
      if (!this.appendTime) this.timestampMs = this.baseTimestamp + this.int64()
    }

    const delta = bytes[at] as number
    at = delta < 128 ? at + 1 : this.readRest(at)
    const offset = this.baseOffset + (delta < 128 ? unzigzag(delta) : this.int32())
    if (!(offset > this.offset && offset <= this.lastOffset)) throw this.corrupt('an offset is out of order')
    this.offset = offset

    const key = bytes[at] as number
    at = key < 128 ? at + 1 : this.readRest(at)
    const keyLength = key < 128 ? unzigzag(key) : this.int32()
    if (keyLength >= 0) {
      this.keyStart = at
      this.keyEnd = at += keyLength
    } else this.keyStart = this.keyEnd = this.null(keyLength)

    const value = bytes[at] as number
    at = value < 128 ? at + 1 : this.readRest(at)
    const valueLength = value < 128 ? unzigzag(value) : this.int32()
    if (valueLength >= 0) {
      this.valueStart = at
      this.valueEnd = at += valueLength
    } else this.valueStart = this.valueEnd = this.null(valueLength)

    at = bytes[at] === 0 ? at + 1 : this.skipHeaders(at, end)
    if (at !== end) throw this.corrupt('a record does not fill its length')
    this.at = at
    if (this.left === 0 && at !== this.recordsEnd) throw this.corrupt('the records do not fill the batch')
    return true
  }

  /** Checks the next batch and stands before its first record; false at the end of the chunk. */
  private enterBatch(): boolean {
    const at = (this.batchAt = this.nextBatchAt)
    if (at === this.chunk.length) return false
    if (this.chunk.length - at < batchHeaderBytes) throw this.corrupt('a batch header is cut off')
    const view = this.chunkView
    const batchLength = view.getInt32(at + 8)
    const end = at + lengthPrefixBytes + batchLength
    if (batchLength < batchHeaderBytes - lengthPrefixBytes || end > this.chunk.length)
      throw this.corrupt(`a batch of ${batchLength} bytes does not fit`)
    const magic = view.getInt8(at + 16)
    if (magic !== 2) throw this.corrupt(`magic is ${magic}, not 2`)
    if (crc32c(this.chunk, at + checksumFrom, end) !== view.getUint32(at + 17)) throw this.corrupt('the checksum fails')
    this.nextBatchAt = end

    const attributes = view.getInt16(at + 21)
    const count = view.getInt32(at + 57)
    const lastOffsetDelta = view.getInt32(at + 23)
    if (count < 0 || lastOffsetDelta < count - 1) throw this.corrupt(`a record count of ${count} cannot be`)
    if (attributes & controlBit || count === 0) return true
    this.baseOffset = readInt64(view, at)
    this.offset = this.baseOffset - 1
    this.lastOffset = this.baseOffset + lastOffsetDelta
    this.appendTime = (attributes & logAppendTimeBit) !== 0
    this.baseTimestamp = readInt64(view, at + 27)
    this.timestampMs = readInt64(view, at + 35)
    this.enterRecords(at + batchHeaderBytes, end, attributes & compressionMask)
    if (count * recordBytesMin > this.recordsEnd - this.at) throw this.corrupt(`${count} records do not fit`)
    this.left = count
    return true
  }

  private enterRecords(from: number, to: number, compression: number): void {
    if (compression === 0) {
      this.bytes = this.chunk
      this.view = this.chunkView
      this.at = from
      this.recordsEnd = to
      return
    }
    this.bytes = this.decompress(this.chunk.subarray(from, to), compression)
    this.view = new DataView(this.bytes.buffer, this.bytes.byteOffset, this.bytes.byteLength)
    this.at = 0
    this.recordsEnd = this.bytes.length
  }

  private decompress(records: Uint8Array, compression: number): Uint8Array {
    const inflate = decompressors[compression]
    if (inflate === undefined) throw this.corrupt(`compression ${compression} is none`)
    try {
      return inflate(records)
    } catch (cause) {
      throw this.corrupt('the records do not decompress', cause)
    }
  }

  /** A varint of any length into `low` and `high`; answers the position behind it. */
  private readRest(from: number): number {
    const bytes = this.bytes
    let at = from
    let low = 0
    let high = 0
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[at++]
      if (byte === undefined || shift > 63) throw this.corrupt('a varint has no end')
      const group = byte & 0x7f
      if (shift < 28) low |= group << shift
      else if (shift === 28) {
        low |= group << 28
        high = group >>> 4
      } else high |= group << (shift - 32)
      if (byte < 128) break
    }
    this.low = low
    this.high = high
    return at
  }

  /** The varint last read; what does not fit 32 bits is corrupt where this is called. */
  private int32(): number {
    if (this.high !== 0) throw this.corrupt('a length or an offset exceeds 32 bits')
    return unzigzag(this.low)
  }

  private int64(): number {
    const { low, high } = this
    const halfLow = ((low >>> 1) | (high << 31)) >>> 0
    const halfHigh = high >>> 1
    return (low & 1) === 0 ? halfHigh * 0x1_0000_0000 + halfLow : ~halfHigh * 0x1_0000_0000 + (~halfLow >>> 0)
  }

  private null(length: number): -1 {
    if (length !== -1) throw this.corrupt(`a length of ${length} cannot be`)
    return -1
  }

  private skipHeaders(from: number, end: number): number {
    let at = this.readRest(from)
    let pieces = this.int32() * 2
    if (pieces < 0) throw this.corrupt('a negative count of headers')
    for (; pieces > 0 && at < end; pieces--) {
      at = this.readRest(at)
      const length = this.int32()
      if (length > 0) at += length
    }
    return pieces === 0 ? at : -1
  }

  private corrupt(what: string, cause?: unknown): FeatureStoreError {
    return new FeatureStoreError(
      'FS_LOG_CORRUPT',
      `the record batch at byte ${this.batchAt}: ${what}`,
      cause === undefined ? {} : { cause },
    )
  }
}

const unzigzag = (value: number): number => (value >>> 1) ^ -(value & 1)

/** True when a whole batch with a right magic and checksum begins at `at`. Never throws. */
export function isGoodBatch(bytes: Uint8Array, at: number): boolean {
  if (at < 0 || bytes.length - at < batchHeaderBytes) return false
  const view = new DataView(bytes.buffer, bytes.byteOffset + at, batchHeaderBytes)
  const batchLength = view.getInt32(8)
  if (batchLength < batchHeaderBytes - lengthPrefixBytes || view.getInt8(16) !== 2) return false
  const end = at + lengthPrefixBytes + batchLength
  return end <= bytes.length && crc32c(bytes, at + checksumFrom, end) === view.getUint32(17)
}

/**
 * How many records the headers of these batches announce, as a hint for sizing arrays: no batch is taken at its word
 * for more than its bytes can hold, compressed ones count nothing.
 */
export function announcedRecords(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  let total = 0
  for (let at = 0; bytes.length - at >= batchHeaderBytes;) {
    const batchLength = view.getInt32(at + 8)
    if (batchLength < 0) break
    const compressed = (view.getInt16(at + 21) & compressionMask) !== 0
    if (!compressed) total += Math.min(Math.max(view.getInt32(at + 57), 0), Math.floor(batchLength / recordBytesMin))
    at += lengthPrefixBytes + batchLength
  }
  return Math.min(total, Math.floor(bytes.length / recordBytesMin))
}
