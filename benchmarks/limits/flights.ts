/**
 * The flights stream read and written by hand: what a loop costs that knows this one schema, trusts its input where a
 * check costs time, and keeps nothing but columns. No plan, no generated code, no dead letters, no schema evolution.
 */
import { closeSync, openSync, writeSync } from 'node:fs'
import type { StringTable } from '../../core/event/types.ts'
import type { Offset } from '../../core/event/position.ts'
import type { LogChunk } from '../../core/ports/event-log.ts'
import { crc32c } from '../../schemas/recordbatch/crc32c.ts'

/** The columns of the Parquet file, as far as the encoder needs them. */
export interface FlightTable {
  readonly rowCount: number
  readonly date: Float64Array
  readonly delay: BigInt64Array
  readonly distance: BigInt64Array
  readonly origin: { readonly codes: Int32Array; readonly table: StringTable }
  readonly destination: { readonly codes: Int32Array; readonly table: StringTable }
}

const bufferBytes = 4 * 1024 * 1024
/** No record with three-letter airports is longer. */
const recordBytesMax = 64

/**
 * Limit of main/import: each row encoded into one preallocated buffer that is written out when it is full. `bytes` is
 * what the file ends up with, so that as much reaches the disk as from the log; gaps stand where the log has record
 * headers and keys. Rows in file order; no keys, no partitions, no batches, no checksums, no fsync.
 */
export function encodeToFile(path: string, table: FlightTable, header: Uint8Array, bytes: number): void {
  const file = openSync(path, 'w')
  try {
    const out = new Uint8Array(bufferBytes)
    const { rowCount, date, delay, distance, origin, destination } = table
    const delays = new Int32Array(delay.buffer, delay.byteOffset, delay.length * 2)
    const distances = new Int32Array(distance.buffer, distance.byteOffset, distance.length * 2)
    const origins = asciiOf(origin.table)
    const destinations = asciiOf(destination.table)
    let at = 0
    let written = 0
    for (let row = 0; row < rowCount; row++) {
      if (at > bufferBytes - recordBytesMax) {
        written += writeSync(file, out, 0, at)
        at = 0
      }
      for (let index = 0; index < header.length; index++) out[at + index] = header[index] as number
      at += header.length
      const time = (date[row] as number) * 2
      let low = time >>> 0
      let high = Math.floor(time / 0x1_0000_0000)
      while (high !== 0 || low > 0x7f) {
        out[at++] = (low & 0x7f) | 0x80
        low = ((low >>> 7) | (high << 25)) >>> 0
        high >>>= 7
      }
      out[at++] = low
      // Both fit 32 bits, so the low halves (little-endian) say everything.
      at = writeVarint(out, at, delays[row * 2] as number)
      at = writeVarint(out, at, distances[row * 2] as number)
      at = writeAirport(out, at, origins[origin.codes[row] as number] as number)
      at = writeAirport(out, at, destinations[destination.codes[row] as number] as number)
    }
    written += writeSync(file, out, 0, at)
    out.fill(0)
    while (written < bytes) written += writeSync(file, out, 0, Math.min(bufferBytes, bytes - written))
  } finally {
    closeSync(file)
  }
}

function writeVarint(out: Uint8Array, from: number, value: number): number {
  let at = from
  let rest = ((value << 1) ^ (value >> 31)) >>> 0
  for (; rest > 0x7f; rest >>>= 7) out[at++] = (rest & 0x7f) | 0x80
  out[at++] = rest
  return at
}

function writeAirport(out: Uint8Array, at: number, packed: number): number {
  out[at] = 6
  out[at + 1] = packed >>> 16
  out[at + 2] = (packed >>> 8) & 0xff
  out[at + 3] = packed & 0xff
  return at + 4
}

/** Three letters packed into a number, by code. */
const asciiOf = ({ strings }: StringTable): Int32Array =>
  Int32Array.from(strings, (text) => (text.charCodeAt(0) << 16) | (text.charCodeAt(1) << 8) | text.charCodeAt(2))

/** Every event of the stream, preallocated by the caller; airports are three letters packed into a number. */
export interface FlightColumns {
  readonly times: Float64Array
  readonly knowns: Float64Array
  readonly offsets: Float64Array
  readonly delays: Int32Array
  readonly distances: Int32Array
  readonly origins: Int32Array
  readonly destinations: Int32Array
}

export const flightColumns = (rows: number): FlightColumns => ({
  times: new Float64Array(rows),
  knowns: new Float64Array(rows),
  offsets: new Float64Array(rows),
  delays: new Int32Array(rows),
  distances: new Int32Array(rows),
  origins: new Int32Array(rows),
  destinations: new Int32Array(rows),
})

export const airportText = (packed: number): string =>
  String.fromCharCode(packed >>> 16, (packed >>> 8) & 0xff, packed & 0xff)

type Fetch = (partition: number, from: Offset, bytes: number) => Promise<LogChunk>

/** Limit of main/stream and main/dataset-scan: the log fetched, its checksums checked, decoded into `into`. Returns the rows. */
export async function readFlights(fetch: Fetch, ends: readonly Offset[], into: FlightColumns): Promise<number> {
  let row = 0
  for (let partition = 0; partition < ends.length; partition++) {
    for (let from = 0 as Offset; from < (ends[partition] as Offset);) {
      const chunk = await fetch(partition, from, bufferBytes)
      row = decodeChunk(chunk.bytes, into, row)
      from = chunk.nextOffset
    }
  }
  return row
}

const batchHeaderBytes = 61

function decodeChunk(bytes: Uint8Array, into: FlightColumns, firstRow: number): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  let row = firstRow
  for (let at = 0; at < bytes.length;) {
    const end = at + 12 + view.getInt32(at + 8)
    if (view.getInt8(at + 16) !== 2 || crc32c(bytes, at + 21, end) !== view.getUint32(at + 17))
      throw new Error(`a batch at byte ${at} fails its checksum`)
    const offset = view.getInt32(at) * 0x1_0000_0000 + view.getUint32(at + 4)
    const time = view.getInt32(at + 27) * 0x1_0000_0000 + view.getUint32(at + 31)
    row = decodeRecords(bytes, at + batchHeaderBytes, view.getInt32(at + 57), offset, time, into, row)
    at = end
  }
  return row
}

const headerBytes = 10

function decodeRecords(
  bytes: Uint8Array,
  from: number,
  count: number,
  baseOffset: number,
  baseTime: number,
  into: FlightColumns,
  firstRow: number,
): number {
  const { times, knowns, offsets, delays, distances, origins, destinations } = into
  let at = from
  let row = firstRow
  for (let index = 0; index < count; index++, row++) {
    while ((bytes[at++] as number) > 0x7f); // length
    at++ // attributes
    let byte = bytes[at++] as number
    let value = byte & 0x7f
    for (let scale = 128; byte > 0x7f; scale *= 128) {
      byte = bytes[at++] as number
      value += (byte & 0x7f) * scale
    }
    knowns[row] = baseTime + value / 2
    while ((bytes[at++] as number) > 0x7f); // offset delta: they are dense
    offsets[row] = baseOffset + index
    at += 1 + ((bytes[at] as number) >>> 1) // key
    while ((bytes[at++] as number) > 0x7f); // value length
    at += headerBytes
    byte = bytes[at++] as number
    value = byte & 0x7f
    for (let scale = 128; byte > 0x7f; scale *= 128) {
      byte = bytes[at++] as number
      value += (byte & 0x7f) * scale
    }
    times[row] = value / 2
    byte = bytes[at++] as number
    let zigzag = byte & 0x7f
    for (let shift = 7; byte > 0x7f; shift += 7) {
      byte = bytes[at++] as number
      zigzag |= (byte & 0x7f) << shift
    }
    delays[row] = (zigzag >>> 1) ^ -(zigzag & 1)
    byte = bytes[at++] as number
    zigzag = byte & 0x7f
    for (let shift = 7; byte > 0x7f; shift += 7) {
      byte = bytes[at++] as number
      zigzag |= (byte & 0x7f) << shift
    }
    distances[row] = (zigzag >>> 1) ^ -(zigzag & 1)
    origins[row] = ((bytes[at + 1] as number) << 16) | ((bytes[at + 2] as number) << 8) | (bytes[at + 3] as number)
    at += 4
    destinations[row] = ((bytes[at + 1] as number) << 16) | ((bytes[at + 2] as number) << 8) | (bytes[at + 3] as number)
    at += 5 // and the count of headers
  }
  return row
}
