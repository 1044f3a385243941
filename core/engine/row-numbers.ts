import type { Reader, Writer } from './row-bytes.ts'

/**
 * Columns of numbers in a packed row (row.ts), as narrow as their values let them be:
 *
 *     integers    width u8 (0: all are 0; 1, 2, 4), signed integers
 *     decimals    scale u8, then
 *                   0 … 6   integers, each to be divided by 10^scale: the least scale by which all of them come out
 *                   255     f64 each
 *
 * Amounts of money and counts are such integers, though their type is float64. A quotient of an integer and a power of ten
 * is rounded to the nearest double, and so is the literal that the value came from, so what is read is what was written,
 * bit for bit; -0 and what is not finite are no integers.
 */
const powers = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000] as const
const plain = 255

/** Values of one column on their way into a row; grown by whoever fills it. */
export const packed = { integers: new Int32Array(64) }

export function reservePacked(count: number): void {
  if (packed.integers.length < count) packed.integers = new Int32Array(count * 2)
}

/** The first `count` of `packed.integers`. */
export function writeIntegers(writer: Writer, count: number): void {
  const { integers } = packed
  let least = 0
  let most = 0
  for (let slot = 0; slot < count; slot++) {
    const value = integers[slot] as number
    if (value < least) least = value
    else if (value > most) most = value
  }
  const width =
    least === 0 && most === 0 ? 0 : least >= -128 && most < 128 ? 1 : least >= -32_768 && most < 32_768 ? 2 : 4
  writer.u8(width)
  const { view } = writer
  let { at } = writer
  if (width === 4) for (let slot = 0; slot < count; slot++, at += 4) view.setInt32(at, integers[slot] as number, true)
  else if (width === 2)
    for (let slot = 0; slot < count; slot++, at += 2) view.setInt16(at, integers[slot] as number, true)
  else if (width === 1) for (let slot = 0; slot < count; slot++, at++) view.setInt8(at, integers[slot] as number)
  writer.at = at
}

/** Reads integers into every `stride`-th word from `at` on, of the records of a row. */
export function readIntegers(
  reader: Reader,
  into: Int32Array | Float64Array,
  records: Int32Array,
  stride: number,
  at: number,
  count: number,
): void {
  const width = reader.u8()
  for (let slot = 0; slot < count; slot++) into[(records[slot] as number) * stride + at] = integer(reader, width)
}

export function integer(reader: Reader, width: number): number {
  if (width === 1) return (reader.u8() << 24) >> 24
  if (width === 2) return (reader.u16() << 16) >> 16
  if (width === 4) return reader.u32() | 0
  if (width === 0) return 0
  throw new RangeError(`integers of ${width} bytes`)
}

/** Floats at every `stride`-th place from `at` on, of the records of a row. */
export function writeDecimals(
  writer: Writer,
  floats: Float64Array,
  records: Int32Array,
  stride: number,
  at: number,
  count: number,
): void {
  const scale = scaleOf(floats, records, stride, at, count)
  writer.u8(scale)
  if (scale !== plain) return writeIntegers(writer, count)
  for (let slot = 0; slot < count; slot++) writer.f64(floats[(records[slot] as number) * stride + at] as number)
}

/** Fills `packed.integers` unless there is no scale. */
function scaleOf(floats: Float64Array, records: Int32Array, stride: number, at: number, count: number): number {
  const { integers } = packed
  let scale = 0
  let power: number = powers[0]
  for (let slot = 0; slot < count;) {
    const value = floats[(records[slot] as number) * stride + at] as number
    const whole = (value * power + (value < 0 ? -0.5 : 0.5)) | 0
    if (whole / power === value && (whole !== 0 || !Object.is(value, -0))) {
      integers[slot++] = whole
      continue
    }
    if (++scale === powers.length) return plain
    // What came out by the smaller scale comes out by this one, unless it is too large now.
    power = powers[scale] as number
    slot = 0
  }
  return scale
}

export function readDecimals(
  reader: Reader,
  floats: Float64Array,
  records: Int32Array,
  stride: number,
  at: number,
  count: number,
): void {
  const scale = reader.u8()
  if (scale === plain) {
    for (let slot = 0; slot < count; slot++) floats[(records[slot] as number) * stride + at] = reader.f64()
    return
  }
  const power = powers[scale]
  if (power === undefined) throw new RangeError(`decimals of scale ${scale}`)
  const width = reader.u8()
  for (let slot = 0; slot < count; slot++)
    floats[(records[slot] as number) * stride + at] = integer(reader, width) / power
}
