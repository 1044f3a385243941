import { hash } from 'node:crypto'
import { FeatureStoreError } from '../errors.ts'
import type { RowSplit, ViewPlan } from './plan.ts'
import type { Reader, Writer } from './row-bytes.ts'
import { decoding, encodeRow, encodeRuns, readEvents, RowKind } from './row.ts'
import { runShift } from './state/event-store.ts'
import { ViewState, type EntityEvents } from './state/view-state.ts'

/**
 * The stored row of an entity of many events: a head and immutable parts, so that a flush writes what changed and a read
 * fetches what it needs. A part holds the events of consecutive runs; the newest events lie in no part but in the head.
 *
 *     events, oldest first    | part 7      | part 3      | part 12     | tail        |
 *                               pruned up to here ^ `skipped`             in the head
 *
 *     head    | header | parts u32 | next u32 | skipped u32 | gone u32 | gone names u32 … | entries … | columns of the tail |
 *     entry   | name u32 | events u32 | first ms f64 | last ms f64 | known ms f64 | check f64 |                   40 bytes
 *
 *     next      the next free name: no name is given twice while the row is a head
 *     skipped   events of the first part that are pruned: it is written anew only when that is more than half of it
 *     gone      names that this head replaced. They are dropped with the next head, so that who holds the head before
 *               still finds its parts
 *     known     newest knownAt of the part's events, corrections apart
 *     check     the first 48 bits of the part's SHA-256: parts of the same name from before the row was built again, or
 *               from a flush that the store lost, are told apart
 *
 * Where the parts end depends on how the events came; the canonical form is the whole row.
 *
 * How long a part is decides what a flush writes: the tail, the parts that late events fall in, and 40 bytes of head for
 * each part. `node benchmarks/engine/parts.ts`: rows of one float64, 200 events a flush, one in ten late by up to a tenth
 * of the window. KB written a flush, and KB read for the newest 2,000 events:
 *
 *     events of the row       whole       64 a part    128          256          512          1,024
 *         2,000               20    20      5    22      5    22      7    21     11    21
 *        20,000              199   199     24    31     23    25     24    25     24    21     26    23
 *       200,000            1,990 1,990    128   128     83    72     77    46    100    34    141    31
 *     1,000,000                           580   578    312   297    200   160    185    97    245    57
 */
export interface Part {
  readonly name: number
  readonly events: number
  readonly firstMs: number
  readonly lastMs: number
  readonly knownMs: number
  readonly check: number
}

export interface Directory {
  /** Oldest first. */
  readonly parts: readonly Part[]
  readonly next: number
  readonly skipped: number
  readonly gone: readonly number[]
}

export interface PartWrites {
  readonly put: readonly { readonly name: number; readonly bytes: Uint8Array }[]
  readonly drop: readonly number[]
}

/** What to store of an entity. */
export interface StoredRow {
  readonly row: Uint8Array
  readonly parts?: PartWrites
  /** Null: the row is whole. */
  readonly directory: Directory | null
}

const directoryBytes = 16
const entryBytes = 40
/** Names share a word of a run with a flag (event-store.ts). */
const nameMax = 2 ** 30 - 1

export const isHead = (row: Uint8Array): boolean => row[1] === RowKind.head

const checkOf = (bytes: Uint8Array): number => hash('sha256', bytes, 'buffer').readUIntBE(0, 6)

/**
 * Prunes an entity. The part at the edge stays as it is stored: what is pruned of it is passed over when it is read.
 */
export function pruneParted({ state: { events: store }, entity }: EntityEvents, beforeMs: number): void {
  const index = store.lowerBound(entity, beforeMs) >> runShift
  const run = index < store.runsOf(entity) ? store.runAt(entity, index) : -1
  const isStored = run >= 0 && !store.hasChanged(run)
  store.prune(entity, beforeMs)
  if (isStored) store.setPart(run, store.partOf(run))
}

/**
 * The row of an entity and the parts of it that must be written; `directory` is that of the stored row, null where that is
 * whole or there is none. The caller has pruned the entity, and stores all of it: runs are marked as stored.
 */
export function encodeStored(events: EntityEvents, directory: Directory | null, split: RowSplit): StoredRow {
  const { state, entity } = events
  const store = state.events
  const count = store.count(entity)
  // Tiles bound what a row holds; one with tiles stays whole.
  const isSmall = directory === null ? count <= split.splitEvents : count < split.splitEvents / 2
  if (isSmall || state.plan.tile !== null) return whole(events, directory)
  const put: { readonly name: number; readonly bytes: Uint8Array }[] = []
  const parts: Part[] = []
  let next = directory?.next ?? 1
  let skipped = 0

  const write = (from: number, to: number): void => {
    if (next > nameMax) throw new FeatureStoreError('FS_INTERNAL', 'a row has no name left for a part')
    const name = next++
    const bytes = encodeRuns(events, from, to, RowKind.part)
    put.push({ name, bytes })
    let inPart = 0
    let knownMs = Number.NEGATIVE_INFINITY
    for (let index = from; index < to; index++) {
      const run = store.runAt(entity, index)
      inPart += store.lengthOf(run)
      knownMs = Math.max(knownMs, store.newestKnownAtOf(run))
      store.setPart(run, name)
    }
    const firstMs = store.baseOf(store.runAt(entity, from))
    const lastMs = store.lastTimeOf(store.runAt(entity, to - 1))
    parts.push({ name, events: inPart, firstMs, lastMs, knownMs, check: checkOf(bytes) })
  }
  /** Takes runs from `from` on until they hold `least` events; runs longer than a part are cut. The end of them. */
  const take = (from: number, least: number): { readonly to: number; readonly events: number } => {
    let to = from
    let taken = 0
    while (taken < least && to < store.runsOf(entity)) {
      if (store.lengthOf(store.runAt(entity, to)) > split.partEvents) store.cutRun(entity, to, split.partEvents)
      taken += store.lengthOf(store.runAt(entity, to++))
    }
    return { to, events: taken }
  }

  const old = directory?.parts ?? []
  let at = 0
  let index = 0
  let left = count
  for (;;) {
    const stretch = nextStretch(events, index)
    if (stretch === null) break
    while (at < old.length && old[at]?.name !== stretch.name) at++
    const part = old[at] as Part
    const pruned = part.events - stretch.events
    if (!stretch.changed && pruned <= (index === 0 ? part.events / 2 : 0)) {
      skipped += pruned
      parts.push(part)
      index = stretch.to
      left -= stretch.events
      continue
    }
    // One that grew too long becomes several of about the same length.
    const pieces = stretch.events > 2 * split.partEvents ? Math.floor(stretch.events / split.partEvents) : 1
    let remaining = stretch.events
    for (let piece = pieces; remaining > 0; piece--) {
      const taken = take(index, Math.ceil(remaining / Math.max(piece, 1)))
      write(index, taken.to)
      index = taken.to
      remaining -= taken.events
      left -= taken.events
    }
  }
  while (left >= 2 * split.partEvents) {
    const taken = take(index, split.partEvents)
    write(index, taken.to)
    index = taken.to
    left -= taken.events
  }
  if (parts.length === 0) return whole(events, directory)
  const kept = new Set(parts.map(({ name }) => name))
  const gone = old.flatMap(({ name }) => (kept.has(name) ? [] : [name]))
  const now: Directory = { parts, next, skipped, gone }
  const row = encodeRuns(events, index, store.runsOf(entity), RowKind.head, (writer) => writeDirectory(writer, now))
  return { row, parts: { put, drop: directory?.gone ?? [] }, directory: now }
}

function whole(events: EntityEvents, directory: Directory | null): StoredRow {
  const row = encodeRow(events)
  if (directory === null) return { row, directory: null }
  const store = events.state.events
  for (let index = store.runsOf(events.entity) - 1; index >= 0; index--)
    store.setPart(store.runAt(events.entity, index), 0)
  return { row, parts: { put: [], drop: namesOf(directory) }, directory: null }
}

/** Every name that the store may hold a part of. */
const namesOf = ({ parts, gone }: Directory): number[] => [...gone, ...parts.map(({ name }) => name)]

interface Stretch {
  readonly to: number
  readonly name: number
  readonly events: number
  readonly changed: boolean
}

/**
 * The runs from `from` on that belong into one part: those of the same name, and those of none that came before or between
 * them. Null when only runs of no part follow, the tail.
 */
function nextStretch({ state: { events: store }, entity }: EntityEvents, from: number): Stretch | null {
  let name = 0
  let changed = false
  let events = 0
  let to = from
  // Runs of no part behind those of one may be the tail's.
  let open = 0
  const runs = store.runsOf(entity)
  for (let index = from; index < runs; index++) {
    const run = store.runAt(entity, index)
    const own = store.partOf(run)
    if (own === 0) {
      open += store.lengthOf(run)
      continue
    }
    if (name !== 0 && own !== name) {
      // The next part follows: what lies between goes with this one.
      changed ||= open > 0
      return { to: index, name, events: events + open, changed }
    }
    name = own
    changed ||= open > 0 || store.hasChanged(run)
    events += open + store.lengthOf(run)
    open = 0
    to = index + 1
  }
  return name === 0 ? null : { to, name, events, changed }
}

function writeDirectory(writer: Writer, { parts, next, skipped, gone }: Directory): void {
  writer.reserve(directoryBytes + gone.length * 4 + parts.length * entryBytes)
  writer.u32(parts.length)
  writer.u32(next)
  writer.u32(skipped)
  writer.u32(gone.length)
  for (const name of gone) writer.u32(name)
  for (const { name, events, firstMs, lastMs, knownMs, check } of parts) {
    writer.u32(name)
    writer.u32(events)
    writer.f64(firstMs)
    writer.f64(lastMs)
    writer.f64(knownMs)
    writer.f64(check)
  }
}

function readDirectory(reader: Reader): Directory {
  const count = reader.u32()
  const next = reader.u32()
  const skipped = reader.u32()
  const gone = reader.u32()
  if (gone * 4 + count * entryBytes > reader.source.length - reader.at)
    throw new RangeError('a directory longer than its row')
  return {
    next,
    skipped,
    gone: Array.from({ length: gone }, () => reader.u32()),
    parts: Array.from({ length: count }, () => ({
      name: reader.u32(),
      events: reader.u32(),
      firstMs: reader.f64(),
      lastMs: reader.f64(),
      knownMs: reader.f64(),
      check: reader.f64(),
    })),
  }
}

/** A head as it was read. */
export interface Head {
  readonly directory: Directory
  /** What was pruned of the entity. */
  readonly prunedNewestMs: number
  readonly prunedKnownMs: number
}

/**
 * Puts the tail of a head into an entity, behind the events that it has, and returns the rest.
 *
 * Errors: FS_STATE_FORMAT, FS_ROW_CORRUPT.
 */
export function decodeHead(
  state: ViewState,
  entity: number,
  row: Uint8Array,
  partsFirst: (head: Head) => void = () => {},
): Head {
  return decoding(state, entity, row, RowKind.head, (reader) => {
    const prunedNewestMs = reader.view.getFloat64(24, true)
    const prunedKnownMs = reader.view.getFloat64(32, true)
    const head: Head = { directory: readDirectory(reader), prunedNewestMs, prunedKnownMs }
    partsFirst(head)
    const first = readEvents(reader, state, entity)
    for (let index = first; index < state.events.runsOf(entity); index++)
      state.events.setPart(state.events.runAt(entity, index), 0)
    return head
  })
}

/** The directory of a head. Errors: FS_STATE_FORMAT, FS_ROW_CORRUPT. */
export function directoryOf(plan: ViewPlan, row: Uint8Array): Directory {
  const state = new ViewState(plan, undefined, { entities: 1, events: 1 })
  return decoding(state, state.events.addEntity(), row, RowKind.head, (reader) => {
    const directory = readDirectory(reader)
    reader.at = row.length
    return directory
  })
}

/**
 * Puts the events of a part behind those that an entity has. False when the bytes are not those that the head means: it
 * was replaced since it was read.
 */
export function decodePart(state: ViewState, entity: number, part: Part, bytes: Uint8Array): boolean {
  if (checkOf(bytes) !== part.check) return false
  decoding(state, entity, bytes, RowKind.part, (reader) => {
    const first = readEvents(reader, state, entity)
    for (let index = first; index < state.events.runsOf(entity); index++)
      state.events.setPart(state.events.runAt(entity, index), part.name)
  })
  return true
}

/**
 * Puts all events of a row that is stored as a head and its parts into an entity without events; null when a part is not
 * what the head means.
 *
 * Errors: FS_STATE_FORMAT, FS_ROW_CORRUPT.
 */
export function decodeParted(
  state: ViewState,
  entity: number,
  row: Uint8Array,
  bytesOf: (name: number) => Uint8Array | null,
): Directory | null {
  const store = state.events
  let isWhole = true
  const { directory, prunedNewestMs, prunedKnownMs } = decodeHead(state, entity, row, (head) => {
    head.directory.parts.forEach((part, index) => {
      const bytes = bytesOf(part.name)
      isWhole &&= bytes !== null && decodePart(state, entity, part, bytes)
      if (isWhole && index === 0) skip({ state, entity }, head.directory.skipped)
    })
  })
  if (!isWhole) {
    store.clear(entity)
    return null
  }
  store.setPruned(entity, prunedNewestMs, prunedKnownMs)
  return directory
}

/** Forgets the first events of an entity: they were pruned, so none of the others happened at the same time. */
function skip(events: EntityEvents, count: number): void {
  const store = events.state.events
  let left = count
  for (let index = 0; left > 0 && index < store.runsOf(events.entity); index++) {
    const length = store.lengthOf(store.runAt(events.entity, index))
    if (left < length) return pruneParted(events, store.timeAt(events.entity, (index << runShift) + left))
    left -= length
    if (left === 0 && index + 1 < store.runsOf(events.entity))
      return pruneParted(events, store.timeAt(events.entity, (index + 1) << runShift))
  }
}

/** The canonical form of a stored row: the whole row of its events. Null when a part is not what the head means. */
export function canonicalRow(
  plan: ViewPlan,
  row: Uint8Array,
  bytesOf: (name: number) => Uint8Array | null,
): Uint8Array | null {
  const state = new ViewState(plan)
  const entity = state.events.addEntity()
  return decodeParted(state, entity, row, bytesOf) === null ? null : encodeRow({ state, entity })
}
