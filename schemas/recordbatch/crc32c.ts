/**
 * CRC-32C (Castagnoli, RFC 3720 appendix B.4; reflected polynomial 0x82f63b78), slicing-by-8: eight tables let one step
 * take eight bytes (Kounavis and Berry, "A Systematic Approach to Building High Performance, Software-based, CRC
 * Generators", 2005). zlib's native crc32 has another polynomial.
 *
 * A step waits for the one before it. So a long input is cut in three of one length, whose checksums are made side by
 * side, and put together as zlib's crc32_combine does: what lies n bytes before the end counts x^8n times.
 *
 *     | third | third | third | less than 24 bytes |
 */
const polynomial = 0x82f63b78

/** tables[k * 256 + b] is the checksum of byte b followed by k zero bytes. */
const table = makeTable()
/** x^(2^k), of the polynomials modulo ours. */
const powers = makePowers()

/** Shorter inputs are not worth three beginnings. */
const thirdsMin = 1024

/**
 * The checksum of bytes[from, to), as an unsigned 32-bit number. `seed` is the checksum of what came before, so that
 * crc32c(ab) equals crc32c(b, seed = crc32c(a)).
 */
export function crc32c(bytes: Uint8Array, from: number, to: number, seed = 0): number {
  if (to - from < thirdsMin) return inTurn(bytes, from, to, seed)
  const length = Math.floor((to - from) / 24) * 8
  return inTurn(bytes, from + 3 * length, to, thirds(bytes, from, length, seed))
}

/** Of three times `length` bytes, a multiple of 8. */
function thirds(bytes: Uint8Array, from: number, length: number, seed: number): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset + from, 3 * length)
  const second = length
  const third = 2 * length
  let a = ~seed
  let b = -1
  let c = -1
  for (let at = 0; at < length; at += 8) {
    a = step(a ^ view.getInt32(at, true), view.getInt32(at + 4, true))
    b = step(b ^ view.getInt32(second + at, true), view.getInt32(second + at + 4, true))
    c = step(c ^ view.getInt32(third + at, true), view.getInt32(third + at + 4, true))
  }
  const shift = powerOf(8 * length)
  const both = product(shift, ~a) ^ ~b
  return (product(shift, both) ^ ~c) >>> 0
}

/** Eight bytes, of which the first four are in the checksum so far. */
// Indexes here and below are within their arrays by construction; the casts only say so to the compiler.
const step = (low: number, high: number): number =>
  (table[0x700 + (low & 0xff)] as number) ^
  (table[0x600 + ((low >>> 8) & 0xff)] as number) ^
  (table[0x500 + ((low >>> 16) & 0xff)] as number) ^
  (table[0x400 + (low >>> 24)] as number) ^
  (table[0x300 + (high & 0xff)] as number) ^
  (table[0x200 + ((high >>> 8) & 0xff)] as number) ^
  (table[0x100 + ((high >>> 16) & 0xff)] as number) ^
  (table[high >>> 24] as number)

function inTurn(bytes: Uint8Array, from: number, to: number, seed: number): number {
  let crc = ~seed
  let at = from
  for (const last = to - 8; at <= last; at += 8) crc = step(crc ^ word(bytes, at), word(bytes, at + 4))
  for (; at < to; at++) crc = (table[(crc ^ (bytes[at] as number)) & 0xff] as number) ^ (crc >>> 8)
  return ~crc >>> 0
}

const word = (bytes: Uint8Array, at: number): number =>
  (bytes[at] as number) |
  ((bytes[at + 1] as number) << 8) |
  ((bytes[at + 2] as number) << 16) |
  ((bytes[at + 3] as number) << 24)

/** Of two polynomials of degree below 32, modulo ours. Bit 31 is x^0. */
function product(a: number, b: number): number {
  let sum = 0
  let factor = b
  for (let bit = 31; bit >= 0; bit--) {
    if ((a >>> bit) & 1) sum ^= factor
    factor = timesX(factor)
  }
  return sum
}

/** x^n for n below 2^32. */
function powerOf(n: number): number {
  let power = 1 << 31
  for (let bit = 0; bit < 32; bit++) if ((n >>> bit) & 1) power = product(powers[bit] as number, power)
  return power
}

function timesX(a: number): number {
  return a & 1 ? (a >>> 1) ^ polynomial : a >>> 1
}

function makePowers(): Int32Array {
  const made = new Int32Array(32)
  made[0] = 1 << 30
  for (let bit = 1; bit < 32; bit++) made[bit] = product(made[bit - 1] as number, made[bit - 1] as number)
  return made
}

function makeTable(): Int32Array {
  const made = new Int32Array(8 * 256)
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte
    for (let bit = 0; bit < 8; bit++) crc = timesX(crc)
    made[byte] = crc
  }
  for (let at = 256; at < made.length; at++) {
    const crc = made[at - 256] as number
    made[at] = (made[crc & 0xff] as number) ^ (crc >>> 8)
  }
  return made
}
