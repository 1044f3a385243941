import { isUtf8 } from 'node:buffer'
import { type StringTable } from '../../core/event/types.ts'

const slotsMin = 1024
const arenaBytesMin = 16 * 1024
const slotWords = 4
/** Strings up to this long lie in their slot. */
const shortMax = 8
const isLong = 15
/** Strings that are looked up together: their slots fit the first cache. */
const blockRows = 256

/**
 * Codes for strings by their UTF-8 bytes: the bytes are hashed and compared where they lie, and a JavaScript string is
 * made only of what is asked for. Codes count from 0 and keep their meaning while the table lives; memory is that of the
 * distinct strings.
 *
 *     slots   | hash and length | code + 1 | bytes 0-3 | bytes 4-7 |     open addressing, at most three quarters full; code 0 is free
 *     starts  code -> where its bytes begin in the arena; they end where the next one's begin
 *
 * The low 4 bits of the first word are the length of a string of up to 8 bytes, which is compared in its slot alone: one
 * line of the cache. They are 15 for a longer one, whose bytes are compared in the arena.
 */
export class StringInterner implements StringTable {
  private readonly texts: string[] = []
  private count = 0
  private slots = new Int32Array(slotsMin * slotWords)
  private mask = slotsMin - 1
  private starts = new Float64Array(slotsMin)
  private arena = new Uint8Array(arenaBytesMin)
  /** Of the strings of a block. */
  private readonly tags = new Int32Array(blockRows)
  private readonly firsts = new Int32Array(blockRows)
  private readonly seconds = new Int32Array(blockRows)
  /** What was read to have it near; nobody asks for it, but the compiler does not know. */
  private touched = 0

  get size(): number {
    return this.count
  }

  get memoryBytes(): number {
    return this.slots.byteLength + this.starts.byteLength + this.arena.byteLength
  }

  /** All of them. Those that were never asked for are made now. */
  get strings(): readonly string[] {
    for (let code = this.texts.length; code < this.count; code++) this.texts.push(this.textOf(code))
    return this.texts
  }

  /** The string of one code, without making the others. */
  text(code: number): string {
    return this.texts[code] ?? this.textOf(code)
  }

  bytes(code: number): Uint8Array {
    return this.arena.subarray(this.starts[code], this.starts[code + 1])
  }

  /** The code of bytes[from, to), or -1 when they are not valid UTF-8. */
  intern(bytes: Uint8Array, from: number, to: number): number {
    const length = to - from
    const isShort = length <= shortMax
    const first = isShort ? headOf(bytes, from, to) : 0
    const second = isShort ? tailOf(bytes, from, to) : 0
    return this.find(bytes, from, to, tagOf(bytes, from, to, first, second), first, second)
  }

  /**
   * Sets codes[row] for rows [fromRow, toRow) to the code of bytes[starts[row], ends[row]), which are valid UTF-8; rows
   * that start below 0 stay as they are. As \`intern\` of each, but a block's slots are asked of memory together, not each
   * when the one before it has been compared.
   */
  internRows(
    bytes: Uint8Array,
    starts: Int32Array,
    ends: Int32Array,
    codes: Int32Array,
    fromRow: number,
    toRow: number,
  ): void {
    const { tags, firsts, seconds } = this
    for (let block = fromRow; block < toRow; block += blockRows) {
      const end = Math.min(toRow, block + blockRows)
      const { slots, mask } = this
      let touched = 0
      for (let row = block; row < end; row++) {
        const from = starts[row] as number
        if (from < 0) continue
        const to = ends[row] as number
        const isShort = to - from <= shortMax
        const first = isShort ? headOf(bytes, from, to) : 0
        const second = isShort ? tailOf(bytes, from, to) : 0
        const tag = tagOf(bytes, from, to, first, second)
        firsts[row - block] = first
        seconds[row - block] = second
        tags[row - block] = tag
        touched ^= slots[((tag >>> 4) & mask) * slotWords] as number
      }
      this.touched = touched
      for (let row = block; row < end; row++) {
        const from = starts[row] as number
        if (from < 0) continue
        const at = row - block
        const tag = tags[at] as number
        codes[row] = this.find(bytes, from, ends[row] as number, tag, firsts[at] as number, seconds[at] as number)
      }
    }
  }

  private find(bytes: Uint8Array, from: number, to: number, tag: number, first: number, second: number): number {
    const { slots, mask } = this
    for (let slot = (tag >>> 4) & mask; ; slot = (slot + 1) & mask) {
      const at = slot * slotWords
      const code = (slots[at + 1] as number) - 1
      if (code < 0) return this.add(bytes, from, to, tag, first, second, slot)
      if (slots[at] !== tag) continue
      if (
        to - from <= shortMax ? slots[at + 2] === first && slots[at + 3] === second : this.holds(code, bytes, from, to)
      )
        return code
    }
  }

  private textOf(code: number): string {
    const start = this.starts[code] as number
    return Buffer.from(this.arena.buffer, start, (this.starts[code + 1] as number) - start).toString('utf8')
  }

  private holds(code: number, bytes: Uint8Array, from: number, to: number): boolean {
    const start = this.starts[code] as number
    if ((this.starts[code + 1] as number) - start !== to - from) return false
    const { arena } = this
    const shift = start - from
    for (let at = from; at < to; at++) if (arena[at + shift] !== bytes[at]) return false
    return true
  }

  private add(
    bytes: Uint8Array,
    from: number,
    to: number,
    tag: number,
    first: number,
    second: number,
    slot: number,
  ): number {
    const piece = bytes.subarray(from, to)
    if (!isUtf8(piece)) return -1
    const code = this.count++
    const at = slot * slotWords
    this.slots[at] = tag
    this.slots[at + 1] = code + 1
    this.slots[at + 2] = first
    this.slots[at + 3] = second
    const start = this.starts[code] as number
    if (start + piece.length > this.arena.length) {
      const arena = new Uint8Array((start + piece.length) * 2)
      arena.set(this.arena)
      this.arena = arena
    }
    this.arena.set(piece, start)
    this.starts[code + 1] = start + piece.length
    if (this.count * 4 > this.mask * 3) this.grow()
    return code
  }

  /** Where a slot's search begins needs the hash above its low bits alone, so slots move without their strings. */
  private grow(): void {
    const old = this.slots
    this.slots = new Int32Array(old.length * 2)
    this.mask = this.mask * 2 + 1
    const starts = new Float64Array(Math.ceil(this.mask * 0.75) + 3)
    starts.set(this.starts)
    this.starts = starts
    for (let from = 0; from < old.length; from += slotWords) {
      if (old[from + 1] === 0) continue
      let slot = ((old[from] as number) >>> 4) & this.mask
      while (this.slots[slot * slotWords + 1] !== 0) slot = (slot + 1) & this.mask
      for (let word = 0; word < slotWords; word++) this.slots[slot * slotWords + word] = old[from + word] as number
    }
  }
}

/** The first four bytes of a short string. */
function headOf(bytes: Uint8Array, from: number, to: number): number {
  if (to - from >= 4) return wordOf(bytes, from)
  let word = 0
  for (let at = from; at < to; at++) word |= (bytes[at] as number) << ((at - from) << 3)
  return word
}
/** Those behind them. */
function tailOf(bytes: Uint8Array, from: number, to: number): number {
  const missing = shortMax - (to - from)
  return missing < 4 ? wordOf(bytes, to - 4) >>> (missing << 3) : 0
}
const wordOf = (bytes: Uint8Array, at: number): number =>
  (bytes[at] as number) |
  ((bytes[at + 1] as number) << 8) |
  ((bytes[at + 2] as number) << 16) |
  ((bytes[at + 3] as number) << 24)

/** Hash and length in one word; see the class. */
function tagOf(bytes: Uint8Array, from: number, to: number, first: number, second: number): number {
  const length = to - from
  if (length <= shortMax) {
    const hash = Math.imul(first ^ Math.imul(second ^ length, 0x5bd1e995), 0x9e3779b1)
    return ((hash ^ (hash >>> 15)) & ~15) | length
  }
  let hash = 0x811c9dc5 | 0
  for (let at = from; at + 4 < to; at += 4) {
    hash = Math.imul(hash ^ wordOf(bytes, at), 0x9e3779b1)
    hash ^= hash >>> 15
  }
  // The last four bytes, of which some may have been taken before.
  hash = Math.imul(hash ^ wordOf(bytes, to - 4), 0x9e3779b1)
  return ((hash ^ (hash >>> 15)) & ~15) | isLong
}

/** True when all of bytes[from, to) are ASCII, and so valid UTF-8. */
export function isAscii(bytes: Uint8Array, from: number, to: number): boolean {
  let all = 0
  for (let at = from; at < to; at++) all |= bytes[at] as number
  return all < 128
}

/** True when bytes[from, to) are valid UTF-8. */
export function validUtf8(bytes: Uint8Array, from: number, to: number): boolean {
  for (let at = from; at < to; at++) if ((bytes[at] as number) > 0x7f) return isUtf8(bytes.subarray(at, to))
  return true
}
