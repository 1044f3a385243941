/** Rows of up to an eighth of a block lie in one with others: a buffer of its own costs more than a small row. */
const blockBytes = 1 << 18
const smallBytes = blockBytes / 8

/**
 * A cursor over growing bytes; one is reused for all rows. A small row is written where it stays, a large one into memory
 * of the writer, which is copied in the end.
 *
 *     block | row | row | row at hand … at | room for others |
 */
export class Writer {
  view: DataView
  at = 0
  #start = 0
  #bytes: Uint8Array
  #block: Uint8Array
  #blockView: DataView
  #blockUsed = 0
  #large = new Uint8Array(0)

  constructor() {
    this.#bytes = this.#block = new Uint8Array(0)
    this.view = this.#blockView = new DataView(this.#block.buffer)
  }

  /** Begins a row; what was begun and not ended is forgotten. */
  begin(): void {
    this.#bytes = this.#block
    this.view = this.#blockView
    this.#start = this.at = this.#blockUsed
  }

  reserve(bytes: number): void {
    if (this.at + bytes <= this.view.byteLength) return
    const used = this.at - this.#start
    const row = this.#bytes.subarray(this.#start, this.at)
    if (used + bytes <= smallBytes) {
      this.#bytes = this.#block = new Uint8Array(blockBytes)
      this.view = this.#blockView = new DataView(this.#block.buffer)
    } else {
      if (this.#bytes === this.#large || this.#large.length < used + bytes)
        this.#large = new Uint8Array(Math.max(this.#large.length * 2, used + bytes))
      this.#bytes = this.#large
      this.view = new DataView(this.#large.buffer)
    }
    this.#bytes.set(row)
    this.#start = 0
    this.at = used
  }

  /** The row since `begin`, which stays as it is. */
  end(): Uint8Array {
    if (this.#bytes !== this.#block) return this.#bytes.slice(this.#start, this.at)
    this.#blockUsed = this.at
    return this.#bytes.subarray(this.#start, this.at)
  }

  u8(value: number): void {
    this.view.setUint8(this.at, value)
    this.at += 1
  }
  u16(value: number): void {
    this.view.setUint16(this.at, value, true)
    this.at += 2
  }
  u32(value: number): void {
    this.view.setUint32(this.at, value, true)
    this.at += 4
  }
  f64(value: number): void {
    this.view.setFloat64(this.at, value, true)
    this.at += 8
  }
  bytes(bytes: Uint8Array): void {
    this.#bytes.set(bytes, this.at)
    this.at += bytes.length
  }
}

/** A cursor over the bytes of a row. Reading beyond them is a RangeError. */
export class Reader {
  readonly view: DataView
  readonly source: Uint8Array
  at = 0
  constructor(source: Uint8Array) {
    this.source = source
    this.view = new DataView(source.buffer, source.byteOffset, source.byteLength)
  }
  u8(): number {
    return this.view.getUint8(this.at++)
  }
  u16(): number {
    this.at += 2
    return this.view.getUint16(this.at - 2, true)
  }
  u32(): number {
    this.at += 4
    return this.view.getUint32(this.at - 4, true)
  }
  f64(): number {
    this.at += 8
    return this.view.getFloat64(this.at - 8, true)
  }
}
