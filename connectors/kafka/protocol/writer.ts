const utf8 = new TextEncoder()

/** Writes Kafka's primitive types into a buffer that grows. */
export class ProtocolWriter {
  private bytes: Uint8Array<ArrayBuffer>
  private view: DataView
  private at = 0

  constructor(capacity = 256) {
    this.bytes = new Uint8Array(capacity)
    this.view = new DataView(this.bytes.buffer)
  }

  get length(): number {
    return this.at
  }

  /** What was written; a view, good until the next write. */
  written(): Uint8Array {
    return this.bytes.subarray(0, this.at)
  }

  int8(value: number): this {
    const at = this.reserve(1)
    this.view.setInt8(at, value)
    return this
  }

  int16(value: number): this {
    const at = this.reserve(2)
    this.view.setInt16(at, value)
    return this
  }

  int32(value: number): this {
    const at = this.reserve(4)
    this.view.setInt32(at, value)
    return this
  }

  /** Whole numbers within the safe integers. */
  int64(value: number): this {
    const at = this.reserve(8)
    this.view.setInt32(at, Math.floor(value / 0x1_0000_0000))
    this.view.setUint32(at + 4, value >>> 0)
    return this
  }

  boolean(value: boolean): this {
    return this.int8(value ? 1 : 0)
  }

  uuid(hex: string): this {
    return this.raw(Buffer.from(hex, 'hex'))
  }

  unsignedVarint(value: number): this {
    let rest = value
    for (; rest > 0x7f; rest = Math.floor(rest / 128)) this.int8(((rest % 128) | 0x80) - 256)
    return this.int8(rest)
  }

  string(value: string | null): this {
    if (value === null) return this.int16(-1)
    const bytes = utf8.encode(value)
    return this.int16(bytes.length).raw(bytes)
  }

  compactString(value: string | null): this {
    return value === null ? this.unsignedVarint(0) : this.compactBytes(utf8.encode(value))
  }

  bytes32(value: Uint8Array): this {
    return this.int32(value.length).raw(value)
  }

  compactBytes(value: Uint8Array): this {
    return this.unsignedVarint(value.length + 1).raw(value)
  }

  compactArray<T>(values: readonly T[], write: (value: T) => void): this {
    this.unsignedVarint(values.length + 1)
    for (const value of values) write(value)
    return this
  }

  /** No tagged fields. */
  tags(): this {
    return this.int8(0)
  }

  raw(value: Uint8Array): this {
    // Before `this.bytes` is looked at: it may become another one.
    const at = this.reserve(value.length)
    this.bytes.set(value, at)
    return this
  }

  /** Sets an int32 that was written before, at `at`: a length that is known last. */
  patchInt32(at: number, value: number): void {
    this.view.setInt32(at, value)
  }

  private reserve(length: number): number {
    const at = this.at
    if (at + length > this.bytes.length) {
      const larger = new Uint8Array(Math.max(this.bytes.length * 2, at + length))
      larger.set(this.bytes.subarray(0, at))
      this.bytes = larger
      this.view = new DataView(larger.buffer)
    }
    this.at = at + length
    return at
  }
}
