/**
 * LZ4 blocks and frames, to read what others compressed (lz4_Block_format.md and lz4_Frame_format.md of the LZ4 project).
 *
 *     block     sequences:  token u8 | literal length … | literals | offset u16 | match length …     the last ends after its literals
 *     frame     magic | FLG | BD | content size? | dictionary id? | header checksum | blocks: size u32, bytes, checksum? | 0 | checksum?
 *
 * Checksums are passed over: the formats around it have sizes of their own, which are checked.
 */

const damaged = (what: string): Error => new Error(`damaged LZ4 data: ${what}`)

interface Output {
  bytes: Uint8Array<ArrayBuffer>
  at: number
}

/** The length in a token's half byte and the bytes of 255 after it. */
class Cursor {
  at: number
  readonly bytes: Uint8Array
  readonly end: number

  constructor(bytes: Uint8Array, from: number, end: number) {
    this.bytes = bytes
    this.at = from
    this.end = end
  }

  u8(): number {
    if (this.at >= this.end) throw damaged('it ends early')
    return this.bytes[this.at++] as number
  }

  length(nibble: number): number {
    let length = nibble
    if (nibble === 15)
      for (let more = 255; more === 255;) {
        more = this.u8()
        length += more
      }
    return length
  }
}

function decodeBlock(input: Cursor, output: Output): void {
  const { bytes } = output
  while (input.at < input.end) {
    const token = input.u8()
    const literals = input.length(token >> 4)
    if (literals > input.end - input.at) throw damaged('literals beyond its end')
    if (literals > bytes.length - output.at) throw damaged('it is longer than its size')
    bytes.set(input.bytes.subarray(input.at, input.at + literals), output.at)
    input.at += literals
    output.at += literals
    if (input.at === input.end) return
    const distance = input.u8() | (input.u8() << 8)
    const match = input.length(token & 15) + 4
    if (distance === 0 || distance > output.at) throw damaged('a match before its start')
    if (match > bytes.length - output.at) throw damaged('it is longer than its size')
    // A match may overlap what it writes, so it is copied byte by byte.
    for (let left = match; left > 0; left--, output.at++) bytes[output.at] = bytes[output.at - distance] as number
  }
}

/** Errors: Error when the block is damaged or does not give exactly `outputLength` bytes. */
export function lz4Block(input: Uint8Array, outputLength: number): Uint8Array {
  const output: Output = { bytes: new Uint8Array(outputLength), at: 0 }
  decodeBlock(new Cursor(input, 0, input.length), output)
  if (output.at !== outputLength) throw damaged(`${output.at} bytes instead of ${outputLength}`)
  return output.bytes
}

const magic = 0x184d2204
const blockBytesMax: Readonly<Record<number, number>> = { 4: 1 << 16, 5: 1 << 18, 6: 1 << 20, 7: 1 << 22 }

/**
 * One frame, its blocks linked or not. Errors: Error when it is damaged, no frame, needs a dictionary, or holds more than
 * `outputBytesMax` bytes; memory grows with what is decoded, by a block at a time.
 */
export function lz4Frame(input: Uint8Array, outputBytesMax = Number.POSITIVE_INFINITY): Uint8Array {
  const view = new DataView(input.buffer, input.byteOffset, input.byteLength)
  if (input.length < 7 || view.getUint32(0, true) !== magic) throw damaged('it is no frame')
  const flags = input[4] as number
  if (flags >> 6 !== 1) throw damaged(`frames of version ${flags >> 6}`)
  if ((flags & 1) !== 0) throw damaged('it needs a dictionary')
  const blockBytes = blockBytesMax[((input[5] as number) >> 4) & 7]
  if (blockBytes === undefined) throw damaged('its block size')
  const checksumBytes = (flags & 0x10) === 0 ? 0 : 4
  let at = 7 + ((flags & 8) === 0 ? 0 : 8)
  const output: Output = { bytes: new Uint8Array(Math.min(Math.max(64, input.length * 3), outputBytesMax)), at: 0 }
  for (;;) {
    if (at + 4 > input.length) throw damaged('it ends early')
    const size = view.getUint32(at, true) & 0x7fffffff
    const plain = view.getUint8(at + 3) >> 7 === 1
    at += 4
    if (size === 0) return output.bytes.subarray(0, output.at)
    if (size > blockBytes || size > input.length - at) throw damaged('a block beyond its end')
    reserve(output, plain ? size : blockBytes, outputBytesMax)
    if (plain) {
      output.bytes.set(input.subarray(at, at + size), output.at)
      output.at += size
    } else decodeBlock(new Cursor(input, at, at + size), output)
    if (output.at > outputBytesMax) throw damaged(`more than ${outputBytesMax} bytes`)
    at += size + checksumBytes
  }
}

function reserve(output: Output, bytes: number, outputBytesMax: number): void {
  if (output.bytes.length - output.at >= bytes) return
  const doubled = Math.min(output.bytes.length * 2, outputBytesMax)
  const larger = new Uint8Array(Math.max(doubled, output.at + bytes))
  larger.set(output.bytes.subarray(0, output.at))
  output.bytes = larger
}
