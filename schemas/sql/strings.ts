/**
 * Distinct strings by their bytes: open addressing over the UTF-8 as it lies in the buffer, so that a value seen before
 * costs a hash and a compare, and no string is made. A code is the order of first sight.
 */
export class StringInterner {
  readonly strings: string[] = []
  #arena = Buffer.allocUnsafe(4096)
  #arenaLength = 0
  /** Start of code i in the arena; its end is the start of code i + 1. */
  #starts = new Uint32Array(1024)
  #hashes = new Int32Array(1024)
  /** Code + 1 per slot, 0 where free; kept at most half full. */
  #slots = new Int32Array(2048)

  intern(bytes: Buffer, start: number, end: number): number {
    let hash = 0x811c9dc5 | 0
    for (let at = start; at < end; at++) hash = Math.imul(hash ^ (bytes[at] as number), 0x01000193)
    hash ^= hash >>> 15
    const mask = this.#slots.length - 1
    let slot = hash & mask
    for (;;) {
      const held = this.#slots[slot] as number
      if (held === 0) return this.#add(bytes, start, end, hash, slot)
      if (this.#hashes[held - 1] === hash && this.#same(held - 1, bytes, start, end)) return held - 1
      slot = (slot + 1) & mask
    }
  }

  #same(code: number, bytes: Buffer, start: number, end: number): boolean {
    let at = this.#starts[code] as number
    const stop = code + 1 < this.strings.length ? (this.#starts[code + 1] as number) : this.#arenaLength
    if (stop - at !== end - start) return false
    for (let i = start; i < end; i++) if (this.#arena[at++] !== bytes[i]) return false
    return true
  }

  #add(bytes: Buffer, start: number, end: number, hash: number, slot: number): number {
    const code = this.strings.length
    if (code === this.#starts.length) {
      this.#starts = grown(this.#starts, new Uint32Array(code * 2))
      this.#hashes = grown(this.#hashes, new Int32Array(code * 2))
    }
    const length = end - start
    if (this.#arenaLength + length > this.#arena.length) {
      const larger = Buffer.allocUnsafe(Math.max(this.#arena.length * 2, this.#arenaLength + length))
      this.#arena.copy(larger, 0, 0, this.#arenaLength)
      this.#arena = larger
    }
    bytes.copy(this.#arena, this.#arenaLength, start, end)
    this.#starts[code] = this.#arenaLength
    this.#hashes[code] = hash
    this.#arenaLength += length
    this.strings.push(bytes.toString('utf8', start, end))
    this.#slots[slot] = code + 1
    if (this.strings.length * 2 > this.#slots.length) this.#rehash()
    return code
  }

  #rehash(): void {
    const slots = new Int32Array(this.#slots.length * 2)
    const mask = slots.length - 1
    for (let code = 0; code < this.strings.length; code++) {
      let slot = (this.#hashes[code] as number) & mask
      while (slots[slot] !== 0) slot = (slot + 1) & mask
      slots[slot] = code + 1
    }
    this.#slots = slots
  }
}

function grown<T extends Uint32Array | Int32Array>(from: T, to: T): T {
  to.set(from)
  return to
}
