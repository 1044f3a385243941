import { FeatureStoreError } from '../../../core/errors.ts'
import { readInt64 } from '../../../schemas/recordbatch/layout.ts'

const utf8 = new TextDecoder()

/**
 * Reads Kafka's primitive types in place (big-endian; "compact" lengths are unsigned varints, one more than the length).
 *
 * Errors: FS_KAFKA_PROTOCOL when the response ends early or a length cannot be.
 */
export class ProtocolReader {
  readonly bytes: Uint8Array
  readonly view: DataView
  at: number

  constructor(bytes: Uint8Array, at = 0) {
    this.bytes = bytes
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.at = at
  }

  get left(): number {
    return this.bytes.length - this.at
  }

  int8(): number {
    return this.view.getInt8(this.take(1))
  }

  int16(): number {
    return this.view.getInt16(this.take(2))
  }

  int32(): number {
    return this.view.getInt32(this.take(4))
  }

  /** Exact within the safe integers: offsets and times. */
  int64(): number {
    return readInt64(this.view, this.take(8))
  }

  bigint64(): bigint {
    return this.view.getBigInt64(this.take(8))
  }

  boolean(): boolean {
    return this.int8() !== 0
  }

  uuid(): string {
    const at = this.take(16)
    return Buffer.from(this.bytes.buffer, this.bytes.byteOffset + at, 16).toString('hex')
  }

  unsignedVarint(): number {
    let value = 0
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.bytes[this.take(1)] as number
      value += (byte & 0x7f) * 2 ** shift
      if (byte < 128) return value
    }
    throw broken('a varint has no end')
  }

  string(): string | null {
    return this.text(this.int16())
  }

  compactString(): string | null {
    return this.text(this.unsignedVarint() - 1)
  }

  /** Not null; an empty name would be one that nobody asked for. */
  compactName(): string {
    const name = this.compactString()
    if (name === null) throw broken('a name is null')
    return name
  }

  /** A view of the response, or null. */
  nullableBytes(): Uint8Array | null {
    return this.slice(this.int32())
  }

  compactBytes(): Uint8Array | null {
    return this.slice(this.unsignedVarint() - 1)
  }

  /** Each element by `read`; null counts as empty. */
  array<T>(read: (reader: this) => T): T[] {
    return this.elements(this.int32(), read)
  }

  compactArray<T>(read: (reader: this) => T): T[] {
    return this.elements(this.unsignedVarint() - 1, read)
  }

  /** Passes over the tagged fields at the end of a structure: none that we need are among them. */
  tags(): void {
    for (let count = this.unsignedVarint(); count > 0; count--) {
      this.unsignedVarint()
      this.take(this.unsignedVarint())
    }
  }

  private elements<T>(count: number, read: (reader: this) => T): T[] {
    // Every element has a byte at least, so a count that is a lie ends with the response.
    const out: T[] = []
    for (let index = 0; index < count; index++) out.push(read(this))
    return out
  }

  private text(length: number): string | null {
    const bytes = this.slice(length)
    return bytes === null ? null : utf8.decode(bytes)
  }

  private slice(length: number): Uint8Array | null {
    if (length < 0) return null
    const at = this.take(length)
    return this.bytes.subarray(at, at + length)
  }

  private take(length: number): number {
    const at = this.at
    if (length > this.left) throw broken(`it ends after ${this.bytes.length} bytes`)
    this.at = at + length
    return at
  }
}

const broken = (what: string): FeatureStoreError =>
  new FeatureStoreError('FS_KAFKA_PROTOCOL', `a response of the broker does not parse: ${what}`)
