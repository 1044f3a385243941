import { isUtf8 } from 'node:buffer'
import { type StringTable } from '../../core/event/types.ts'

const slotsMin = 1024
const arenaBytesMin = 16 * 1024

/**
 * Codes for strings by their UTF-8 bytes: the bytes are hashed and compared where they lie, and a JavaScript string is
 * made only for one that was never seen. Codes count from 0 and keep their meaning while the table lives; memory is
 * that of the distinct strings.
 *
 *     slots   [hash, code + 1] pairs, open addressing, at most half full; 0 is free
 *     starts  code -> where its bytes begin in the arena; they end where the next one's begin
 */
export class StringInterner implements StringTable {
  readonly strings: string[] = []
  private slots = new Int32Array(slotsMin * 2)
  private mask = slotsMin - 1
  private starts = new Float64Array(slotsMin / 2 + 1)
  private arena = new Uint8Array(arenaBytesMin)

  /** The code of bytes[from, to), or -1 when they are not valid UTF-8. */
  intern(bytes: Uint8Array, from: number, to: number): number {
    let hash = 0x811c9dc5 | 0
    for (let at = from; at < to; at++) hash = Math.imul(hash ^ (bytes[at] as number), 0x01000193)
    hash ^= hash >>> 15
    const { slots, mask } = this
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const code = (slots[slot * 2 + 1] as number) - 1
      if (code < 0) return this.add(bytes, from, to, hash, slot)
      if (slots[slot * 2] === hash && this.holds(code, bytes, from, to)) return code
    }
  }

  private holds(code: number, bytes: Uint8Array, from: number, to: number): boolean {
    const start = this.starts[code] as number
    if ((this.starts[code + 1] as number) - start !== to - from) return false
    const { arena } = this
    const shift = start - from
    for (let at = from; at < to; at++) if (arena[at + shift] !== bytes[at]) return false
    return true
  }

  private add(bytes: Uint8Array, from: number, to: number, hash: number, slot: number): number {
    const piece = Buffer.from(bytes.buffer, bytes.byteOffset + from, to - from)
    if (!isUtf8(piece)) return -1
    const code = this.strings.push(piece.toString('utf8')) - 1
    this.slots[slot * 2] = hash
    this.slots[slot * 2 + 1] = code + 1
    const start = this.starts[code] as number
    if (start + piece.length > this.arena.length) {
      const arena = new Uint8Array((start + piece.length) * 2)
      arena.set(this.arena)
      this.arena = arena
    }
    this.arena.set(piece, start)
    this.starts[code + 1] = start + piece.length
    if (this.strings.length * 2 > this.mask) this.grow()
    return code
  }

  private grow(): void {
    const old = this.slots
    this.slots = new Int32Array(old.length * 2)
    this.mask = this.mask * 2 + 1
    const starts = new Float64Array(this.mask / 2 + 2)
    starts.set(this.starts)
    this.starts = starts
    for (let index = 0; index < old.length; index += 2) {
      if (old[index + 1] === 0) continue
      let slot = (old[index] as number) & this.mask
      while (this.slots[slot * 2 + 1] !== 0) slot = (slot + 1) & this.mask
      this.slots[slot * 2] = old[index] as number
      this.slots[slot * 2 + 1] = old[index + 1] as number
    }
  }
}

/** True when bytes[from, to) are valid UTF-8. */
export function validUtf8(bytes: Uint8Array, from: number, to: number): boolean {
  for (let at = from; at < to; at++) if ((bytes[at] as number) > 0x7f) return isUtf8(bytes.subarray(at, to))
  return true
}
