/** Where the bytes of a response go. */
export interface ResponseBuffers {
  /** Exactly `byteLength` bytes, their content undefined. */
  take(byteLength: number): Uint8Array
  /** What `take` gave is not looked at any more. Giving back is optional: what is not given back is collected. */
  give(bytes: Uint8Array): void
}

/** New memory for each response: it is the receiver's for good. */
export const freshBuffers: ResponseBuffers = { take: (length) => new Uint8Array(uncleared(length)), give() {} }

/** Buffers that are used again: memory that was touched before costs no page faults. */
export class BufferPool implements ResponseBuffers {
  private readonly free: ArrayBufferLike[] = []
  private readonly countMax: number
  private readonly bytesMax: number

  /** At most `countMax` free buffers are kept, none longer than `bytesMax`. */
  constructor(countMax = 4, bytesMax = 16 * 1024 * 1024) {
    this.countMax = countMax
    this.bytesMax = bytesMax
  }

  take(byteLength: number): Uint8Array {
    const index = this.free.findIndex((buffer) => buffer.byteLength >= byteLength)
    // A response is rarely as long as the last one: an eighth more saves the next allocation.
    const buffer =
      index >= 0
        ? this.free.splice(index, 1)[0]
        : uncleared(Math.min(byteLength + (byteLength >>> 3), Math.max(byteLength, this.bytesMax)))
    return new Uint8Array(buffer as ArrayBufferLike, 0, byteLength)
  }

  give(bytes: Uint8Array): void {
    if (this.free.length < this.countMax && bytes.buffer.byteLength <= this.bytesMax) this.free.push(bytes.buffer)
  }
}

/** Whoever takes it writes all of it. */
const uncleared = (byteLength: number): ArrayBufferLike => Buffer.allocUnsafeSlow(byteLength).buffer
