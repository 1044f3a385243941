/**
 * Snappy, to read what others compressed: a raw block (format_description.txt of the Snappy project), or several in the
 * framing of xerial's SnappyOutputStream, which the Java client of Kafka and those that follow it write:
 *
 *     block     length of the content, varint | literals and copies
 *               literal   length - 1 in 6 bits, or 60 to 63: in the 1 to 4 bytes that follow | 00 | … bytes
 *               copy      distance, high 3 bits | length - 4 in 3 bits | 01 | distance, low byte
 *               copy      length - 1 in 6 bits | 10 | distance u16        and | 11 | distance u32
 *     framing   82 "SNAPPY" 00 | version i32 | compatible version i32 | per block: its bytes i32 | block
 *
 * Written out here since it meets damaged data: every length is checked before it is used (snappyjs takes one that turned
 * negative for a step back, and goes round for ever).
 */
const damaged = (what: string): Error => new Error(`damaged Snappy data: ${what}`)

const magic = Uint8Array.of(0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0x00)
const framingBytes = 16

/** Errors: Error when it is damaged, or holds more than `outputBytesMax` bytes; nothing of that size is then made. */
export function snappy(input: Uint8Array, outputBytesMax: number): Uint8Array {
  if (!magic.every((byte, index) => input[index] === byte)) return block(input, outputBytesMax)
  const blocks = framed(input)
  const total = blocks.reduce((sum, each) => sum + contentLength(each), 0)
  if (total > outputBytesMax) throw damaged(`${total} bytes, at most ${outputBytesMax} are taken`)
  const out = new Uint8Array(total)
  let at = 0
  for (const each of blocks) {
    out.set(block(each, outputBytesMax), at)
    at += contentLength(each)
  }
  return out
}

function framed(input: Uint8Array): Uint8Array[] {
  const view = new DataView(input.buffer, input.byteOffset, input.byteLength)
  const blocks: Uint8Array[] = []
  let at = framingBytes
  while (at < input.length) {
    if (at + 4 > input.length) throw damaged('it ends early')
    const length = view.getInt32(at)
    if (length < 0 || length > input.length - at - 4) throw damaged('a block beyond its end')
    blocks.push(input.subarray(at + 4, at + 4 + length))
    at += 4 + length
  }
  return blocks
}

function block(input: Uint8Array, outputBytesMax: number): Uint8Array {
  const length = contentLength(input)
  if (length > outputBytesMax) throw damaged(`${length} bytes, at most ${outputBytesMax} are taken`)
  // No byte of a block gives more than 64 (a copy of two and more bytes): what announces more is not even tried.
  if (length > input.length * 64) throw damaged(`${length} bytes out of ${input.length}`)
  return decode(input, length)
}

function decode(input: Uint8Array, length: number): Uint8Array {
  const out = new Uint8Array(length)
  let at = input.findIndex((byte) => byte < 128) + 1
  let written = 0
  while (at < input.length) {
    const tag = input[at++] as number
    if ((tag & 3) === 0) {
      const extra = Math.max((tag >> 2) - 59, 0)
      const size = (extra === 0 ? tag >> 2 : littleEndian(input, at, extra)) + 1
      at += extra
      if (size > input.length - at) throw damaged('literals beyond its end')
      if (size > length - written) throw damaged('it is longer than its length')
      out.set(input.subarray(at, at + size), written)
      at += size
      written += size
      continue
    }
    const wide = (tag & 3) === 1 ? 1 : (tag & 3) === 2 ? 2 : 4
    const size = wide === 1 ? ((tag >> 2) & 7) + 4 : (tag >> 2) + 1
    const distance = (wide === 1 ? (tag >> 5) << 8 : 0) + littleEndian(input, at, wide)
    at += wide
    if (distance === 0 || distance > written) throw damaged('a copy from before its start')
    if (size > length - written) throw damaged('it is longer than its length')
    // A copy may overlap what it writes, so it goes byte by byte.
    for (const end = written + size; written < end; written++) out[written] = out[written - distance] as number
  }
  if (written !== length) throw damaged(`${written} bytes instead of ${length}`)
  return out
}

/** An unsigned integer of 1 to 4 bytes. */
function littleEndian(input: Uint8Array, at: number, bytes: number): number {
  if (at + bytes > input.length) throw damaged('it ends early')
  let value = 0
  for (let index = bytes - 1; index >= 0; index--) value = value * 256 + (input[at + index] as number)
  return value
}

/** The varint that a block begins with. */
function contentLength(input: Uint8Array): number {
  let length = 0
  for (let index = 0; index < 5; index++) {
    const byte = input[index]
    if (byte === undefined) break
    length += (byte & 0x7f) * 2 ** (7 * index)
    if (byte < 128) return length
  }
  throw damaged('its length has no end')
}
