import { FeatureStoreError } from '../errors.ts'
import type { ScalarType, StringTable } from '../event/types.ts'
import type { Interner } from './interner.ts'
import type { InputPlan, ViewPlan } from './plan.ts'
import { Reader, Writer } from './row-bytes.ts'
import {
  integer,
  packed,
  readDecimals,
  readIntegers,
  reservePacked,
  writeDecimals,
  writeIntegers,
} from './row-numbers.ts'
import { runShift } from './state/event-store.ts'
import { offsetOfOrder, orderOf, partitionOfOrder, type RecordLayout } from './state/record-layout.ts'
import { Tiles } from './state/tiles.ts'
import { ViewState, type EntityEvents } from './state/view-state.ts'

/**
 * The packed row of (view, entity): its retained events in total order. Little-endian. The bytes of a whole row depend on
 * the events and the definition alone, not on batches, restarts or order of arrival, so they are also the canonical form
 * for digests. A row of many events is stored as a head and parts (row-parts.ts), which have the same layout; its canonical
 * form is the whole row all the same.
 *
 *     0      1       2        4       8               16       24             32            40
 *     | form | kind  | inputs | count | fingerprint   | base   | pruned       | pruned      | of a head:  | columns …
 *     | u8   | u8    | u16    | u32   | 8 bytes       | f64 ms | newest f64   | known f64   | directory   | of `count` events
 *
 *     kind        0 whole row, 1 head, 2 part
 *     times       width u8 (4, 8), eventTime - base        unsigned integers or f64
 *     knowns      knownAt - eventTime: integers, or width u8 (8) and f64 each
 *   where the view's layout has an order (state/record-layout.ts):
 *     partitions  width u8 (0: one u16 for all, 2: u16 each)
 *     offsets     least f64, width u8 (4, 8), offset - least
 *   where its events can be corrected:
 *     untils      width u8 (0: all stand, 8), f64 ms each
 *   where they have ids:
 *     ids         f64 each;  hashes  u32 each;  ops  u8 each
 *     inputs      type u8, nulls u8 (1: a byte each follows), then
 *                   int32               integers
 *                   float64, timestamp  decimals
 *                   int64, decimal      i64;   bool  u8
 *                   string              distinct u32, each: length u32, utf-8, in order of appearance; width u8, codes
 *
 *   where the view makes tiles of old events (state/tile-layout.ts):
 *     tiles       count u32, words u32 each, f64 …
 *
 * Integers and decimals are columns of the least width (row-numbers.ts). A null's value is written as 0. Without an order,
 * events of the same two times are sorted by what the row says of them. Another `form` is another format: the state is
 * rebuilt.
 */
export const rowFormat = 4
export const headerBytes = 40
export const RowKind = { whole: 0, head: 1, part: 2 } as const
const typeTags: Readonly<Record<ScalarType, number>> = {
  string: 1,
  bool: 2,
  int32: 3,
  int64: 4,
  float64: 5,
  timestamp: 6,
  decimal: 7,
}

const utf8 = new TextEncoder()
// A byte order mark is a character like any other: it is part of the string.
const fromUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

const writer = new Writer()

const fingerprints = new WeakMap<ViewPlan, Uint8Array>()

function fingerprintBytes(plan: ViewPlan): Uint8Array {
  let bytes = fingerprints.get(plan)
  if (bytes === undefined)
    fingerprints.set(plan, (bytes = Uint8Array.from(Buffer.from(plan.fingerprint.slice(0, 16), 'hex'))))
  return bytes
}

/** Events of one entity while they are written: records in the order of the row, and their times. */
const listed = {
  records: new Int32Array(64),
  /** eventTime - base. */
  deltas: new Float64Array(64),
  /** knownAt - eventTime. */
  delays: new Float64Array(64),
  count: 0,
  base: 0,
  /** Some have the times of another. */
  tied: false,
}

function list({ state, entity }: EntityEvents, fromRun: number, toRun: number): void {
  const store = state.events
  const { words } = store
  const { stride } = store.layout
  let count = 0
  for (let index = fromRun; index < toRun; index++) count += store.lengthOf(store.runAt(entity, index))
  if (count > listed.records.length) {
    listed.records = new Int32Array(count * 2)
    listed.deltas = new Float64Array(count * 2)
    listed.delays = new Float64Array(count * 2)
  }
  reservePacked(count)
  const { records, deltas, delays } = listed
  const base = count === 0 ? 0 : store.timeAt(entity, fromRun << runShift)
  let at = 0
  let before = Number.NEGATIVE_INFINITY
  let tied = false
  for (let index = fromRun; index < toRun; index++) {
    const run = store.runAt(entity, index)
    const runBase = store.baseOf(run)
    const knownBase = store.knownBaseOf(run)
    const length = store.lengthOf(run)
    for (let place = 0; place < length; place++) {
      const record = store.record(run, place)
      const time = runBase + (words[record * stride] as number)
      tied ||= time === before
      before = time
      records[at] = record
      deltas[at] = time - base
      delays[at++] = knownBase + (words[record * stride + 1] as number) - time
    }
  }
  listed.count = count
  listed.base = base
  listed.tied = tied
}

function sortTies(state: ViewState): void {
  const { records, deltas, delays, count } = listed
  for (let from = 0; from < count;) {
    let to = from + 1
    while (to < count && deltas[to] === deltas[from] && delays[to] === delays[from]) to++
    if (to > from + 1) records.subarray(from, to).sort((a, b) => compareInputs(state, a, b))
    from = to
  }
}

/** Orders events by their inputs, nulls first: any order will do that depends on values alone. */
function compareInputs({ plan, tables, events: { words, longs, layout } }: ViewState, a: number, b: number): number {
  const { stride, nulls, nullWords } = layout
  for (let word = 0; word < nullWords; word++) {
    const difference = (words[b * stride + nulls + word] as number) - (words[a * stride + nulls + word] as number)
    if (difference !== 0) return difference
  }
  for (let index = 0; index < plan.inputs.length; index++) {
    const at = layout.inputs[index] as number
    const { type } = plan.inputs[index] as InputPlan
    if (type === 'float64' || type === 'timestamp' || type === 'int64' || type === 'decimal') {
      // By bits: NaN has a place too.
      const x = longs[a * (stride >> 1) + at] as bigint
      const y = longs[b * (stride >> 1) + at] as bigint
      if (x !== y) return x < y ? -1 : 1
      continue
    }
    const x = words[a * stride + at] as number
    const y = words[b * stride + at] as number
    if (x === y) continue
    if (type !== 'string') return x - y
    const { strings } = tables[index] as StringTable
    return (strings[x] as string) < (strings[y] as string) ? -1 : 1
  }
  return 0
}

/** The whole row of an entity. The caller has pruned it. */
export const encodeRow = (events: EntityEvents): Uint8Array =>
  encodeRuns(events, 0, events.state.events.runsOf(events.entity), RowKind.whole)

/** The events of runs [fromRun, toRun) as a row of this kind; `between` writes what stands before the columns. */
export function encodeRuns(
  events: EntityEvents,
  fromRun: number,
  toRun: number,
  kind: (typeof RowKind)[keyof typeof RowKind],
  between: (writer: Writer) => void = () => {},
): Uint8Array {
  const { state, entity } = events
  const { plan } = state
  const store = state.events
  list(events, fromRun, toRun)
  if (listed.tied && store.layout.order < 0) sortTies(state)
  const { count, base } = listed
  writer.begin()
  writer.reserve(headerBytes)
  // What was pruned is told by the row or its head: a part never changes.
  const isPart = kind === RowKind.part
  writer.u8(rowFormat)
  writer.u8(kind)
  writer.u16(plan.inputs.length)
  writer.u32(count)
  writer.bytes(fingerprintBytes(plan))
  writer.f64(base)
  writer.f64(isPart ? Number.NEGATIVE_INFINITY : store.prunedNewestMs(entity))
  writer.f64(isPart ? Number.NEGATIVE_INFINITY : store.prunedKnownMs(entity))
  between(writer)
  writer.reserve(64 + count * (48 + plan.inputs.length * 10) + plan.inputs.length * 16)
  writeTimes()
  if (plan.layout.order >= 0) writeOrder(state)
  if (plan.layout.until >= 0) writeUntils(state)
  if (plan.layout.id >= 0) writeIds(state)
  for (let input = 0; input < plan.inputs.length; input++) writeInput(state, input)
  if (plan.tile !== null) writeTiles(state.tilesOf(entity))
  return writer.end()
}

function writeTimes(): void {
  const { deltas, delays, count } = listed
  const narrow = count === 0 || (deltas[count - 1] as number) < 2 ** 32
  writer.u8(narrow ? 4 : 8)
  if (narrow) for (let slot = 0; slot < count; slot++) writer.u32(deltas[slot] as number)
  else for (let slot = 0; slot < count; slot++) writer.f64(deltas[slot] as number)
  const { integers } = packed
  let isWhole = true
  for (let slot = 0; slot < count; slot++) {
    const delay = delays[slot] as number
    integers[slot] = delay
    isWhole &&= integers[slot] === delay
  }
  if (isWhole) return writeIntegers(writer, count)
  writer.u8(8)
  for (let slot = 0; slot < count; slot++) writer.f64(delays[slot] as number)
}

function writeOrder({ events: { floats, layout } }: ViewState): void {
  const { records, count } = listed
  const order = (slot: number): number =>
    floats[(records[slot] as number) * (layout.stride >> 1) + layout.order] as number
  const one = count === 0 ? 0 : partitionOfOrder(order(0))
  let same = true
  let least = count === 0 ? 0 : Number.POSITIVE_INFINITY
  let most = 0
  for (let slot = 0; slot < count; slot++) {
    same &&= partitionOfOrder(order(slot)) === one
    least = Math.min(least, offsetOfOrder(order(slot)))
    most = Math.max(most, offsetOfOrder(order(slot)))
  }
  writer.u8(same ? 0 : 2)
  if (same) writer.u16(one)
  else for (let slot = 0; slot < count; slot++) writer.u16(partitionOfOrder(order(slot)))
  writer.f64(least)
  const narrow = most - least < 2 ** 32
  writer.u8(narrow ? 4 : 8)
  for (let slot = 0; slot < count; slot++) {
    if (narrow) writer.u32(offsetOfOrder(order(slot)) - least)
    else writer.f64(offsetOfOrder(order(slot)) - least)
  }
}

function writeUntils({ events: { floats, layout } }: ViewState): void {
  const { records, count } = listed
  const until = (slot: number): number =>
    floats[(records[slot] as number) * (layout.stride >> 1) + layout.until] as number
  let allStand = true
  for (let slot = 0; slot < count; slot++) allStand &&= until(slot) === Number.POSITIVE_INFINITY
  writer.u8(allStand ? 0 : 8)
  if (!allStand) for (let slot = 0; slot < count; slot++) writer.f64(until(slot))
}

function writeIds({ events: { words, floats, layout } }: ViewState): void {
  const { records, count } = listed
  const { stride, id, hash } = layout
  for (let slot = 0; slot < count; slot++) writer.f64(floats[(records[slot] as number) * (stride >> 1) + id] as number)
  for (let slot = 0; slot < count; slot++)
    writer.u32((words[(records[slot] as number) * stride + hash] as number) >>> 0)
  for (let slot = 0; slot < count; slot++) writer.u8(words[(records[slot] as number) * stride + hash + 1] as number)
}

function writeInput(state: ViewState, input: number): void {
  const { words, floats, longs, layout } = state.events
  const { stride, nulls } = layout
  const { records, count } = listed
  const { type } = state.plan.inputs[input] as InputPlan
  const at = layout.inputs[input] as number
  const half = stride >> 1
  const isNull = (slot: number): boolean =>
    nulls >= 0 &&
    ((words[(records[slot] as number) * stride + nulls + (input >> 5)] as number) & (1 << (input & 31))) !== 0
  let anyNull = false
  if (nulls >= 0) for (let slot = 0; slot < count; slot++) anyNull ||= isNull(slot)
  writer.u8(typeTags[type])
  writer.u8(anyNull ? 1 : 0)
  if (anyNull) for (let slot = 0; slot < count; slot++) writer.u8(isNull(slot) ? 1 : 0)
  switch (type) {
    case 'int32':
      for (let slot = 0; slot < count; slot++)
        packed.integers[slot] = words[(records[slot] as number) * stride + at] as number
      return writeIntegers(writer, count)
    case 'bool':
      for (let slot = 0; slot < count; slot++) writer.u8(words[(records[slot] as number) * stride + at] as number)
      return
    case 'int64':
    case 'decimal':
      for (let slot = 0; slot < count; slot++) {
        writer.view.setBigInt64(writer.at, longs[(records[slot] as number) * half + at] as bigint, true)
        writer.at += 8
      }
      return
    case 'string':
      return writeStrings(state, input, isNull)
    case 'float64':
    case 'timestamp':
      return writeDecimals(writer, floats, records, half, at, count)
  }
}

function writeCode(width: number, value: number): void {
  if (width === 1) writer.u8(value & 0xff)
  else if (width === 2) writer.u16(value & 0xffff)
  else writer.u32(value >>> 0)
}

function writeStrings(
  { tables, events: { words, layout } }: ViewState,
  input: number,
  isNull: (slot: number) => boolean,
): void {
  const { records, count } = listed
  const table = tables[input] as StringTable
  const code = (slot: number): number =>
    words[(records[slot] as number) * layout.stride + (layout.inputs[input] as number)] as number
  const local = new Map<number, number>()
  for (let slot = 0; slot < count; slot++)
    if (!isNull(slot) && !local.has(code(slot))) local.set(code(slot), local.size)
  writer.reserve(16 + count * 8)
  writer.u32(local.size)
  for (const own of local.keys()) {
    const bytes = utf8.encode(table.strings[own] as string)
    writer.reserve(bytes.length + 16 + count * 8)
    writer.u32(bytes.length)
    writer.bytes(bytes)
  }
  const width = local.size <= 256 ? 1 : local.size <= 65_536 ? 2 : 4
  writer.reserve(64 + count * 48)
  writer.u8(width)
  for (let slot = 0; slot < count; slot++) writeCode(width, isNull(slot) ? 0 : (local.get(code(slot)) as number))
}

function writeTiles(tiles: Tiles | null): void {
  const count = tiles?.count ?? 0
  writer.reserve(4 + count * 4 + (tiles?.words.byteLength ?? 0))
  writer.u32(count)
  if (tiles === null) return
  for (let tile = 0; tile < count; tile++)
    writer.u32((tiles.offsets[tile + 1] as number) - (tiles.offsets[tile] as number))
  for (const word of tiles.words) writer.f64(word)
}

function readTiles(reader: Reader): Tiles | null {
  const count = reader.u32()
  if (count === 0) return null
  if (count > reader.source.length) throw new RangeError('more tiles than bytes')
  const offsets = new Uint32Array(count + 1)
  for (let tile = 0; tile < count; tile++) offsets[tile + 1] = (offsets[tile] as number) + reader.u32()
  const length = offsets[count] as number
  if (length > reader.source.length) throw new RangeError('longer tiles than their row')
  return new Tiles(
    offsets,
    Float64Array.from({ length }, () => reader.f64()),
  )
}

/**
 * The events of a row. `tables` (one per string input) share codes with a live engine; without them each row has tables
 * of its own.
 *
 * Errors: FS_STATE_FORMAT for another format or another fingerprint of the view, FS_ROW_CORRUPT when it does not decode.
 */
export function decodeRow(plan: ViewPlan, row: Uint8Array, tables?: readonly (Interner | null)[]): EntityEvents {
  const events = row.length >= 8 ? new DataView(row.buffer, row.byteOffset).getUint32(4, true) : 0
  const state = new ViewState(plan, tables, { entities: 1, events: Math.min(events, row.length) })
  const entity = state.events.addEntity()
  decodeInto(state, entity, row)
  return { state, entity }
}

/** `decodeRow` into an entity without events. */
export function decodeInto(state: ViewState, entity: number, row: Uint8Array): void {
  decoding(state, entity, row, RowKind.whole, (reader) => {
    reader.at = 24
    state.events.setPruned(entity, reader.f64(), reader.f64())
    readEvents(reader, state, entity)
    if (state.plan.tile !== null) state.setTiles(entity, readTiles(reader))
  })
}

/** Reads a row of this kind, from behind its header on, into an entity, which is left without events if it is no such row. */
export function decoding<T>(
  state: ViewState,
  entity: number,
  row: Uint8Array,
  kind: (typeof RowKind)[keyof typeof RowKind],
  read: (reader: Reader) => T,
): T {
  const { plan } = state
  if (row[0] !== rowFormat)
    throw new FeatureStoreError(
      'FS_STATE_FORMAT',
      `a row of view ${plan.view.name} has format ${row[0]}, not ${rowFormat}`,
    )
  const reader = new Reader(row)
  reader.at = headerBytes
  const corrupt = (what: string, cause?: unknown): FeatureStoreError =>
    new FeatureStoreError('FS_ROW_CORRUPT', `a row of view ${plan.view.name} ${what}`, { cause })
  try {
    if (row[1] !== kind) throw corrupt(`is of kind ${row[1]}, not ${kind}`)
    if (reader.view.getUint16(2, true) !== plan.inputs.length) throw corrupt('has another number of inputs')
    const fingerprint = fingerprintBytes(plan)
    if (!fingerprint.every((byte, index) => row[8 + index] === byte)) {
      throw new FeatureStoreError('FS_STATE_FORMAT', `a row of view ${plan.view.name} was built for another definition`)
    }
    const result = read(reader)
    if (reader.at !== row.length) throw corrupt(`has ${row.length - reader.at} bytes too many`)
    return result
  } catch (error) {
    state.clear(entity)
    if (error instanceof FeatureStoreError) throw error
    throw corrupt('does not decode', error)
  }
}

/** Decoded columns of one row, before they become records. */
const columns = {
  times: new Float64Array(0),
  knowns: new Float64Array(0),
  orders: new Float64Array(0),
  records: new Int32Array(0),
}

/**
 * Reads the columns, which must follow, and puts their events behind those that the entity has, in runs of their own.
 * Returns the index of the first of these runs.
 */
export function readEvents(reader: Reader, state: ViewState, entity: number): number {
  const { plan } = state
  const store = state.events
  const { layout } = store
  const corrupt = (what: string): FeatureStoreError =>
    new FeatureStoreError('FS_ROW_CORRUPT', `a row of view ${plan.view.name} ${what}`)
  const count = reader.view.getUint32(4, true)
  if (count > reader.source.length) throw corrupt(`counts ${count} events in ${reader.source.length} bytes`)
  const base = reader.view.getFloat64(16, true)
  if (columns.times.length < count) {
    columns.times = new Float64Array(count * 2)
    columns.knowns = new Float64Array(count * 2)
    columns.orders = new Float64Array(count * 2)
    columns.records = new Int32Array(count * 2)
  }
  const { times, knowns, orders, records } = columns
  const timeWidth = reader.u8()
  for (let slot = 0; slot < count; slot++) times[slot] = base + (timeWidth === 4 ? reader.u32() : reader.f64())
  const delayWidth = reader.u8()
  for (let slot = 0; slot < count; slot++)
    knowns[slot] = (times[slot] as number) + (delayWidth === 8 ? reader.f64() : integer(reader, delayWidth))
  if (layout.order >= 0) readOrder(reader, orders, count)
  const runsBefore = store.runsOf(entity)
  const countBefore = store.count(entity)
  const lastLength = runsBefore === 0 ? 0 : store.lengthOf(store.runAt(entity, runsBefore - 1))
  // In the order of the row, so each event goes behind the others.
  for (let slot = 0; slot < count; slot++)
    store.insert(entity, times[slot] as number, knowns[slot] as number, orders[slot] as number)
  if (store.count(entity) !== countBefore + count) throw corrupt('counts wrongly')
  if (runsBefore > 0 && store.lengthOf(store.runAt(entity, runsBefore - 1)) > lastLength)
    store.cutRun(entity, runsBefore - 1, lastLength)
  let at = 0
  for (let index = runsBefore; index < store.runsOf(entity); index++) {
    const run = store.runAt(entity, index)
    for (let place = 0; place < store.lengthOf(run); place++) records[at++] = store.record(run, place)
  }
  if (at !== count) throw corrupt('has events out of order')
  clearNulls(store.words, layout, records, count)
  if (layout.until >= 0) {
    const width = reader.u8()
    for (let slot = 0; slot < count; slot++)
      store.floats[(records[slot] as number) * (layout.stride >> 1) + layout.until] =
        width === 0 ? Number.POSITIVE_INFINITY : reader.f64()
  }
  if (layout.id >= 0) {
    const { stride, id, hash } = layout
    for (let slot = 0; slot < count; slot++) store.floats[(records[slot] as number) * (stride >> 1) + id] = reader.f64()
    for (let slot = 0; slot < count; slot++) store.words[(records[slot] as number) * stride + hash] = reader.u32() | 0
    for (let slot = 0; slot < count; slot++) store.words[(records[slot] as number) * stride + hash + 1] = reader.u8()
  }
  for (let input = 0; input < plan.inputs.length; input++) readInput(reader, state, input, records, count)
  return runsBefore
}

function readOrder(reader: Reader, orders: Float64Array, count: number): void {
  const width = reader.u8()
  const one = width === 0 ? reader.u16() : 0
  for (let slot = 0; slot < count; slot++) orders[slot] = width === 0 ? one : reader.u16()
  const least = reader.f64()
  const offsetWidth = reader.u8()
  for (let slot = 0; slot < count; slot++)
    orders[slot] = orderOf(orders[slot] as number, least + (offsetWidth === 4 ? reader.u32() : reader.f64()))
}

/** Records may be used ones: null bits become 0. */
function clearNulls(
  words: Int32Array,
  { stride, nulls, nullWords }: RecordLayout,
  records: Int32Array,
  count: number,
): void {
  for (let slot = 0; slot < count; slot++)
    for (let word = 0; word < nullWords; word++) words[(records[slot] as number) * stride + nulls + word] = 0
}

function readInput(reader: Reader, state: ViewState, input: number, records: Int32Array, count: number): void {
  const { words, floats, longs, layout } = state.events
  const { stride, nulls } = layout
  const { type } = state.plan.inputs[input] as InputPlan
  const at = layout.inputs[input] as number
  const half = stride >> 1
  if (reader.u8() !== typeTags[type]) throw new FeatureStoreError('FS_ROW_CORRUPT', `an input is no ${type}`)
  if (reader.u8() === 1) {
    if (nulls < 0) throw new FeatureStoreError('FS_ROW_CORRUPT', 'an input that cannot be null is null')
    for (let slot = 0; slot < count; slot++) {
      if (reader.u8() !== 1) continue
      const word = (records[slot] as number) * stride + nulls + (input >> 5)
      words[word] = (words[word] as number) | (1 << (input & 31))
    }
  }
  switch (type) {
    case 'int32':
      return readIntegers(reader, words, records, stride, at, count)
    case 'bool':
      for (let slot = 0; slot < count; slot++) words[(records[slot] as number) * stride + at] = reader.u8()
      return
    case 'int64':
    case 'decimal':
      for (let slot = 0; slot < count; slot++) {
        longs[(records[slot] as number) * half + at] = reader.view.getBigInt64(reader.at, true)
        reader.at += 8
      }
      return
    case 'string': {
      const codes: number[] = []
      const table = state.tables[input] as Interner
      for (let left = reader.u32(); left > 0; left--) {
        const length = reader.u32()
        if (length > reader.source.length - reader.at) throw new RangeError('a string longer than its row')
        codes.push(table.code(fromUtf8.decode(reader.source.subarray(reader.at, reader.at + length))))
        reader.at += length
      }
      const width = reader.u8()
      for (let slot = 0; slot < count; slot++)
        words[(records[slot] as number) * stride + at] =
          codes[width === 1 ? reader.u8() : width === 2 ? reader.u16() : reader.u32()] ?? 0
      return
    }
    case 'float64':
    case 'timestamp':
      return readDecimals(reader, floats, records, half, at, count)
  }
}
