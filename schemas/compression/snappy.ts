/**
 * Snappy, to read what others compressed: a raw block (format_description.txt of the Snappy project), or several in the
 * framing of xerial's SnappyOutputStream, which the Java client of Kafka and those that follow it write:
 *
 *     block     length of the content, varint | literals and copies
 *     framing   82 "SNAPPY" 00 | version i32 | compatible version i32 | per block: its bytes i32 | block
 */
import { uncompress } from 'snappyjs'

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
  return uncompress(input, length)
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
