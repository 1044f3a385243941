/**
 * CRC-32C (Castagnoli, RFC 3720 appendix B.4; reflected polynomial 0x82f63b78), slicing-by-8: eight tables let one step
 * take eight bytes (Kounavis and Berry, "A Systematic Approach to Building High Performance, Software-based, CRC
 * Generators", 2005). zlib's native crc32 has another polynomial.
 */
const polynomial = 0x82f63b78

const [t0, t1, t2, t3, t4, t5, t6, t7] = makeTables()

/**
 * The checksum of bytes[from, to), as an unsigned 32-bit number. `seed` is the checksum of what came before, so that
 * crc32c(ab) equals crc32c(b, seed = crc32c(a)).
 */
export function crc32c(bytes: Uint8Array, from: number, to: number, seed = 0): number {
  let crc = ~seed
  let at = from
  // Indexes below are within their arrays by construction; the casts only say so to the compiler.
  for (const last = to - 8; at <= last; at += 8) {
    crc ^=
      (bytes[at] as number) |
      ((bytes[at + 1] as number) << 8) |
      ((bytes[at + 2] as number) << 16) |
      ((bytes[at + 3] as number) << 24)
    crc =
      (t7[crc & 0xff] as number) ^
      (t6[(crc >>> 8) & 0xff] as number) ^
      (t5[(crc >>> 16) & 0xff] as number) ^
      (t4[crc >>> 24] as number) ^
      (t3[bytes[at + 4] as number] as number) ^
      (t2[bytes[at + 5] as number] as number) ^
      (t1[bytes[at + 6] as number] as number) ^
      (t0[bytes[at + 7] as number] as number)
  }
  for (; at < to; at++) crc = (t0[(crc ^ (bytes[at] as number)) & 0xff] as number) ^ (crc >>> 8)
  return ~crc >>> 0
}

type Tables = [Int32Array, Int32Array, Int32Array, Int32Array, Int32Array, Int32Array, Int32Array, Int32Array]

/** tables[k][b] is the checksum of byte b followed by k zero bytes. */
function makeTables(): Tables {
  const tables = Array.from({ length: 8 }, () => new Int32Array(256)) as Tables
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ polynomial : crc >>> 1
    tables[0][byte] = crc
  }
  for (let byte = 0; byte < 256; byte++) {
    let crc = tables[0][byte] as number
    for (const table of tables.slice(1)) {
      crc = (tables[0][crc & 0xff] as number) ^ (crc >>> 8)
      table[byte] = crc
    }
  }
  return tables
}
