import { FeatureStoreError } from '../errors.ts'
import type { ScalarType, StringTable } from '../event/types.ts'
import { EntityColumns, type InputColumn } from './entity-columns.ts'
import { Interner } from './interner.ts'
import type { ViewPlan } from './plan.ts'

/**
 * The packed row of (view, entity): its retained events in total order. Little-endian. The bytes depend on the events and
 * the definition alone, not on batches, restarts or order of arrival, so they are also the canonical form for digests.
 *
 *     0      1       2        4       8               16       24             32            40
 *     | form | -     | inputs | count | fingerprint   | base   | pruned       | pruned      | columns …
 *     | u8   | u8    | u16    | u32   | 8 bytes       | f64 ms | newest f64   | known f64   |
 *
 *     times       width u8 (4, 8), eventTime - base        unsigned integers or f64
 *     knowns      width u8 (4, 8), knownAt - eventTime     signed integers or f64
 *     partitions  width u8 (0: one u16 for all, 2: u16 each)
 *     offsets     least f64, width u8 (4, 8), offset - least
 *     inputs      type u8, nulls u8 (1: a byte each follows), then
 *                   int32               width u8 (1, 2, 4), signed integers
 *                   float64, timestamp  f64;   int64  i64;   bool  u8
 *                   string              distinct u32, each: length u32, utf-8, in order of appearance; width u8, codes
 *
 * A null's value is written as 0. Another `form` is another format: the state is rebuilt.
 */
export const rowFormat = 1
const headerBytes = 40
const typeTags: Readonly<Record<ScalarType, number>> = {
  string: 1,
  bool: 2,
  int32: 3,
  int64: 4,
  float64: 5,
  timestamp: 6,
}

const utf8 = new TextEncoder()
// A byte order mark is a character like any other: it is part of the string.
const fromUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** A cursor over growing bytes; one is reused for all rows. */
class Writer {
  view = new DataView(new ArrayBuffer(1 << 16))
  at = 0

  reserve(bytes: number): void {
    if (this.at + bytes <= this.view.byteLength) return
    const larger = new Uint8Array(Math.max(this.view.byteLength * 2, this.at + bytes))
    larger.set(new Uint8Array(this.view.buffer, 0, this.at))
    this.view = new DataView(larger.buffer)
  }
  u8(value: number): void {
    this.view.setUint8(this.at, value)
    this.at += 1
  }
  u16(value: number): void {
    this.view.setUint16(this.at, value, true)
    this.at += 2
  }
  u32(value: number): void {
    this.view.setUint32(this.at, value, true)
    this.at += 4
  }
  f64(value: number): void {
    this.view.setFloat64(this.at, value, true)
    this.at += 8
  }
  bytes(bytes: Uint8Array): void {
    new Uint8Array(this.view.buffer).set(bytes, this.at)
    this.at += bytes.length
  }
}

const writer = new Writer()

const fingerprintBytes = (plan: ViewPlan): Uint8Array =>
  Uint8Array.from(Buffer.from(plan.fingerprint.slice(0, 16), 'hex'))

/** The row of an entity. The caller has pruned it. */
export function encodeRow(plan: ViewPlan, entity: EntityColumns): Uint8Array {
  const { start, end, count } = entity
  writer.at = 0
  writer.reserve(headerBytes + 64 + count * (32 + plan.inputs.length * 10))
  const base = count === 0 ? 0 : (entity.times[start] as number)
  writer.u8(rowFormat)
  writer.u8(0)
  writer.u16(plan.inputs.length)
  writer.u32(count)
  writer.bytes(fingerprintBytes(plan))
  writer.f64(base)
  writer.f64(entity.prunedNewestMs)
  writer.f64(entity.prunedKnownMs)
  writeTimes(entity, base)
  writePartitions(entity)
  writeOffsets(entity)
  for (const input of entity.inputs) writeInput(input, start, end)
  return new Uint8Array(writer.view.buffer.slice(0, writer.at))
}

function writeTimes(entity: EntityColumns, base: number): void {
  const { start, end, times, knowns } = entity
  let deltaMax = 0
  let delayMin = 0
  let delayMax = 0
  for (let slot = start; slot < end; slot++) {
    const time = times[slot] as number
    const delay = (knowns[slot] as number) - time
    if (time - base > deltaMax) deltaMax = time - base
    if (delay < delayMin) delayMin = delay
    if (delay > delayMax) delayMax = delay
  }
  if (deltaMax < 2 ** 32) {
    writer.u8(4)
    for (let slot = start; slot < end; slot++) writer.u32((times[slot] as number) - base)
  } else {
    writer.u8(8)
    for (let slot = start; slot < end; slot++) writer.f64((times[slot] as number) - base)
  }
  if (delayMin >= -(2 ** 31) && delayMax < 2 ** 31) {
    writer.u8(4)
    for (let slot = start; slot < end; slot++) writer.u32(((knowns[slot] as number) - (times[slot] as number)) >>> 0)
  } else {
    writer.u8(8)
    for (let slot = start; slot < end; slot++) writer.f64((knowns[slot] as number) - (times[slot] as number))
  }
}

function writePartitions(entity: EntityColumns): void {
  const { start, end, partitions } = entity
  const one = partitions[start] ?? 0
  let same = true
  for (let slot = start; slot < end; slot++) same &&= partitions[slot] === one
  writer.u8(same ? 0 : 2)
  if (same) writer.u16(end === start ? 0 : one)
  else for (let slot = start; slot < end; slot++) writer.u16(partitions[slot] as number)
}

function writeOffsets(entity: EntityColumns): void {
  const { start, end, offsets } = entity
  let least = end === start ? 0 : Number.POSITIVE_INFINITY
  let most = 0
  for (let slot = start; slot < end; slot++) {
    least = Math.min(least, offsets[slot] as number)
    most = Math.max(most, offsets[slot] as number)
  }
  writer.f64(least)
  const narrow = most - least < 2 ** 32
  writer.u8(narrow ? 4 : 8)
  for (let slot = start; slot < end; slot++) {
    if (narrow) writer.u32((offsets[slot] as number) - least)
    else writer.f64((offsets[slot] as number) - least)
  }
}

function writeInput(input: InputColumn, start: number, end: number): void {
  const { nulls } = input
  let anyNull = false
  if (nulls !== null) for (let slot = start; slot < end; slot++) anyNull ||= nulls[slot] === 1
  writer.u8(typeTags[input.type])
  writer.u8(anyNull ? 1 : 0)
  if (anyNull) for (let slot = start; slot < end; slot++) writer.u8(nulls?.[slot] ?? 0)
  const present = (slot: number): boolean => !anyNull || nulls?.[slot] === 0
  switch (input.type) {
    case 'int32':
      return writeIntegers(input.values as Int32Array, start, end, present)
    case 'bool':
      for (let slot = start; slot < end; slot++) writer.u8(present(slot) ? (input.values[slot] as number) : 0)
      return
    case 'int64':
      for (let slot = start; slot < end; slot++) {
        writer.view.setBigInt64(writer.at, present(slot) ? ((input.values as BigInt64Array)[slot] as bigint) : 0n, true)
        writer.at += 8
      }
      return
    case 'string':
      return writeStrings(input, start, end, present)
    case 'float64':
    case 'timestamp':
      for (let slot = start; slot < end; slot++) writer.f64(present(slot) ? (input.values[slot] as number) : 0)
  }
}

function writeIntegers(values: Int32Array, start: number, end: number, present: (slot: number) => boolean): void {
  let least = 0
  let most = 0
  for (let slot = start; slot < end; slot++) {
    if (!present(slot)) continue
    if ((values[slot] as number) < least) least = values[slot] as number
    if ((values[slot] as number) > most) most = values[slot] as number
  }
  const width = least >= -128 && most < 128 ? 1 : least >= -32_768 && most < 32_768 ? 2 : 4
  writer.u8(width)
  for (let slot = start; slot < end; slot++) writeCode(width, present(slot) ? (values[slot] as number) : 0)
}

function writeCode(width: number, value: number): void {
  if (width === 1) writer.u8(value & 0xff)
  else if (width === 2) writer.u16(value & 0xffff)
  else writer.u32(value >>> 0)
}

function writeStrings(input: InputColumn, start: number, end: number, present: (slot: number) => boolean): void {
  const table = input.table as StringTable
  const local = new Map<number, number>()
  for (let slot = start; slot < end; slot++) {
    if (present(slot) && !local.has(input.values[slot] as number)) local.set(input.values[slot] as number, local.size)
  }
  writer.reserve(16 + (end - start) * 8)
  writer.u32(local.size)
  for (const code of local.keys()) {
    const bytes = utf8.encode(table.strings[code] as string)
    writer.reserve(bytes.length + 16 + (end - start) * 8)
    writer.u32(bytes.length)
    writer.bytes(bytes)
  }
  const width = local.size <= 256 ? 1 : local.size <= 65_536 ? 2 : 4
  writer.reserve(64 + (end - start) * 32)
  writer.u8(width)
  for (let slot = start; slot < end; slot++)
    writeCode(width, present(slot) ? (local.get(input.values[slot] as number) as number) : 0)
}

class Reader {
  readonly view: DataView
  readonly source: Uint8Array
  at = 0
  constructor(source: Uint8Array) {
    this.source = source
    this.view = new DataView(source.buffer, source.byteOffset, source.byteLength)
  }
  u8(): number {
    return this.view.getUint8(this.at++)
  }
  u16(): number {
    this.at += 2
    return this.view.getUint16(this.at - 2, true)
  }
  u32(): number {
    this.at += 4
    return this.view.getUint32(this.at - 4, true)
  }
  f64(): number {
    this.at += 8
    return this.view.getFloat64(this.at - 8, true)
  }
}

/**
 * The columns of a row. `interners` (one per string input) share codes with a live engine; without them each row has
 * tables of its own.
 *
 * Errors: FS_STATE_FORMAT for another format or another fingerprint of the view, FS_ROW_CORRUPT when it does not decode.
 */
export function decodeRow(plan: ViewPlan, row: Uint8Array, interners?: readonly (Interner | null)[]): EntityColumns {
  if (row[0] !== rowFormat)
    throw new FeatureStoreError(
      'FS_STATE_FORMAT',
      `a row of view ${plan.view.name} has format ${row[0]}, not ${rowFormat}`,
    )
  try {
    return decode(plan, row, interners)
  } catch (error) {
    if (error instanceof FeatureStoreError) throw error
    throw new FeatureStoreError('FS_ROW_CORRUPT', `a row of view ${plan.view.name} does not decode`, { cause: error })
  }
}

function decode(plan: ViewPlan, row: Uint8Array, interners?: readonly (Interner | null)[]): EntityColumns {
  const reader = new Reader(row)
  reader.at = 2
  const corrupt = (what: string): FeatureStoreError =>
    new FeatureStoreError('FS_ROW_CORRUPT', `a row of view ${plan.view.name} ${what}`)
  if (reader.u16() !== plan.inputs.length) throw corrupt('has another number of inputs')
  const count = reader.u32()
  if (count > row.length) throw corrupt(`counts ${count} events in ${row.length} bytes`)
  const fingerprint = fingerprintBytes(plan)
  if (!fingerprint.every((byte, index) => row[8 + index] === byte)) {
    throw new FeatureStoreError('FS_STATE_FORMAT', `a row of view ${plan.view.name} was built for another definition`)
  }
  reader.at = 16
  const tables = plan.inputs.map(({ type }, index) =>
    type === 'string' ? (interners?.[index] ?? new Interner()) : null,
  )
  // Room to append a few events without growing at once.
  const entity = new EntityColumns(plan.inputs, interners === undefined ? count : count + 8 + (count >> 2), tables)
  const base = reader.f64()
  entity.prunedNewestMs = reader.f64()
  entity.prunedKnownMs = reader.f64()
  const timeWidth = reader.u8()
  for (let slot = 0; slot < count; slot++) entity.times[slot] = base + (timeWidth === 4 ? reader.u32() : reader.f64())
  const delayWidth = reader.u8()
  for (let slot = 0; slot < count; slot++)
    entity.knowns[slot] = (entity.times[slot] as number) + (delayWidth === 4 ? reader.u32() | 0 : reader.f64())
  const partitionWidth = reader.u8()
  if (partitionWidth === 0) entity.partitions.fill(reader.u16(), 0, count)
  else for (let slot = 0; slot < count; slot++) entity.partitions[slot] = reader.u16()
  const least = reader.f64()
  const offsetWidth = reader.u8()
  for (let slot = 0; slot < count; slot++)
    entity.offsets[slot] = least + (offsetWidth === 4 ? reader.u32() : reader.f64())
  entity.end = count
  for (const input of entity.inputs) readInput(reader, entity, input, count)
  if (reader.at !== row.length) throw corrupt(`has ${row.length - reader.at} bytes too many`)
  return entity
}

function readInput(reader: Reader, entity: EntityColumns, input: InputColumn, count: number): void {
  if (reader.u8() !== typeTags[input.type])
    throw new FeatureStoreError('FS_ROW_CORRUPT', `an input is no ${input.type}`)
  if (reader.u8() === 1) for (let slot = 0; slot < count; slot++) if (reader.u8() === 1) entity.setNull(input, slot)
  switch (input.type) {
    case 'int32': {
      const width = reader.u8()
      for (let slot = 0; slot < count; slot++)
        input.values[slot] =
          width === 1 ? (reader.u8() << 24) >> 24 : width === 2 ? (reader.u16() << 16) >> 16 : reader.u32() | 0
      return
    }
    case 'bool':
      for (let slot = 0; slot < count; slot++) input.values[slot] = reader.u8()
      return
    case 'int64':
      for (let slot = 0; slot < count; slot++) {
        input.values[slot] = reader.view.getBigInt64(reader.at, true)
        reader.at += 8
      }
      return
    case 'string': {
      const codes: number[] = []
      const table = input.table as Interner
      for (let left = reader.u32(); left > 0; left--) {
        const length = reader.u32()
        if (length > reader.source.length - reader.at) throw new RangeError('a string longer than its row')
        codes.push(table.code(fromUtf8.decode(reader.source.subarray(reader.at, reader.at + length))))
        reader.at += length
      }
      const width = reader.u8()
      for (let slot = 0; slot < count; slot++)
        input.values[slot] = codes[width === 1 ? reader.u8() : width === 2 ? reader.u16() : reader.u32()] ?? 0
      return
    }
    case 'float64':
    case 'timestamp':
      for (let slot = 0; slot < count; slot++) input.values[slot] = reader.f64()
  }
}
