/**
 * Writes protobuf from the end to the front: a nested message is there, and so its length known, before its tag is
 * written. No pass for sizes, no buffer per message. Fields are therefore written in descending order.
 */
export const WireType = { VARINT: 0, DELIMITED: 2 } as const

const asciiCharsMax = 64

export class ReverseWriter {
  #bytes: Uint8Array
  /** First byte written. */
  #at: number

  constructor(capacityBytes: number) {
    this.#bytes = new Uint8Array(capacityBytes)
    this.#at = capacityBytes
  }

  /** How much is written; the difference of two answers is the length of what came in between. */
  get written(): number {
    return this.#bytes.length - this.#at
  }

  finish(): Uint8Array {
    return this.#bytes.subarray(this.#at)
  }

  raw(values: Uint8Array): void {
    this.#reserve(values.length)
    this.#at -= values.length
    this.#bytes.set(values, this.#at)
  }

  /** Of a whole number from 0 to 2^53. */
  varint(value: number): void {
    this.#reserve(8)
    let length = 1
    for (let rest = value; rest >= 128; rest = Math.floor(rest / 128)) length++
    this.#at -= length
    let at = this.#at
    for (; value >= 128; value = Math.floor(value / 128)) this.#bytes[at++] = (value % 128) | 128
    this.#bytes[at] = value
  }

  tag(field: number, type: number): void {
    this.varint(field * 8 + type)
  }

  /** Of a safe integer: a negative one takes ten bytes, its two's complement in 64 bits. */
  int64(field: number, value: number): void {
    if (value >= 0) {
      this.varint(value)
    } else {
      const bytes = new Uint8Array(10)
      let rest = BigInt.asUintN(64, BigInt(value))
      for (let i = 0; i < 10; i++, rest >>= 7n) bytes[i] = Number(rest & 127n) | (i < 9 ? 128 : 0)
      this.raw(bytes)
    }
    this.tag(field, WireType.VARINT)
  }

  bytes(field: number, values: Uint8Array): void {
    this.raw(values)
    this.close(field, values.length)
  }

  string(field: number, value: string): void {
    const length = this.#ascii(value) ? value.length : this.#utf8(value)
    this.close(field, length)
  }

  /** Ends (that is: begins) a field of `length` bytes that stand already. */
  close(field: number, length: number): void {
    this.varint(length)
    this.tag(field, WireType.DELIMITED)
  }

  /** Most strings are short names and codes: cheaper by hand than by a call out of JavaScript. */
  #ascii(value: string): boolean {
    const { length } = value
    if (length > asciiCharsMax) return false
    this.#reserve(length)
    const from = this.#at - length
    for (let i = 0; i < length; i++) {
      const unit = value.charCodeAt(i)
      if (unit > 127) return false
      this.#bytes[from + i] = unit
    }
    this.#at = from
    return true
  }

  #utf8(value: string): number {
    const encoded = Buffer.from(value)
    this.raw(encoded)
    return encoded.length
  }

  #reserve(bytes: number): void {
    if (this.#at >= bytes) return
    const { written } = this
    const grown = new Uint8Array(Math.max(this.#bytes.length * 2, written + bytes))
    grown.set(this.#bytes.subarray(this.#at), grown.length - written)
    this.#bytes = grown
    this.#at = grown.length - written
  }
}
