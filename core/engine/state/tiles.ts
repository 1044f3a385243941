import { ExactSquares, ExactSum } from '../../number/exact-sum.ts'
import type { EventStore } from './event-store.ts'
import { runMask, runShift } from './event-store.ts'
import { addExtremes, addIntegers, live, present } from './live.ts'
import { Extremes, Tally } from './tally.ts'
import {
  spanStart,
  tileEvents,
  tileNewest,
  tileNewestKnown,
  tileStart,
  type TileInput,
  type TilePlan,
} from './tile-layout.ts'
import type { ViewState } from './view-state.ts'

/**
 * Time tiles: what is left of events that only windows with a resolution still reach. A tile is the exact summary of one
 * aligned span; its events are gone.
 *
 *     … tile │ tile │ 3 events │ tile │ events, each of them …
 *            span                     ▲ horizon: newest event - (longest exact reach + online history), at a boundary
 *
 * Behind the horizon a span of `eventsMin` events or more becomes a tile; with fewer its events cost less than it. What
 * comes late is added to its tile. All of that depends on the events alone, not on when they are folded, so a row with
 * tiles is canonical as well. Of streams that take events back no tile is made: what is summed up could not be taken out
 * of a minimum.
 */
export class Tiles {
  /** Where each begins in `words`, and where the last one ends. */
  readonly offsets: Uint32Array
  /** The tiles in time order, as tile-layout.ts has them. */
  readonly words: Float64Array

  constructor(offsets: Uint32Array, words: Float64Array) {
    this.offsets = offsets
    this.words = words
  }

  get count(): number {
    return this.offsets.length - 1
  }
  get bytes(): number {
    return this.offsets.byteLength + this.words.byteLength
  }

  startMs(tile: number): number {
    return this.#word(tile, tileStart)
  }
  newestMs(tile: number): number {
    return this.#word(tile, tileNewest)
  }
  newestKnownMs(tile: number): number {
    return this.#word(tile, tileNewestKnown)
  }
  events(tile: number): number {
    return this.#word(tile, tileEvents)
  }
  #word(tile: number, at: number): number {
    return this.words[(this.offsets[tile] as number) + at] as number
  }

  /** The first tile that begins at or after `timeMs`. */
  startingFrom(timeMs: number): number {
    return this.#first((tile) => this.startMs(tile) >= timeMs)
  }
  /** The first tile with an event at or after `timeMs`. */
  reachingTo(timeMs: number): number {
    return this.#first((tile) => this.newestMs(tile) >= timeMs)
  }
  #first(is: (tile: number) => boolean): number {
    let low = 0
    let high = this.count
    while (low < high) {
      const middle = (low + high) >>> 1
      if (is(middle)) high = middle
      else low = middle + 1
    }
    return low
  }
}

const none = new Tiles(new Uint32Array(1), new Float64Array(0))

/** Puts tiles side by side. */
class TilesBuilder {
  readonly #parts: (Float64Array | readonly number[])[] = []
  readonly #offsets = [0]

  copy(from: Tiles, first: number, end: number): void {
    if (first === end) return
    const start = from.offsets[first] as number
    const base = (this.#offsets.at(-1) as number) - start
    this.#parts.push(from.words.subarray(start, from.offsets[end]))
    for (let tile = first + 1; tile <= end; tile++) this.#offsets.push(base + (from.offsets[tile] as number))
  }

  add(tile: readonly number[]): void {
    this.#parts.push(tile)
    this.#offsets.push((this.#offsets.at(-1) as number) + tile.length)
  }

  build(): Tiles {
    const words = new Float64Array(this.#offsets.at(-1) as number)
    let at = 0
    for (const part of this.#parts) {
      words.set(part, at)
      at += part.length
    }
    return new Tiles(Uint32Array.from(this.#offsets), words)
  }
}

/**
 * Makes tiles of what lies behind the horizon of an entity, and forgets those events. Due before the entity is pruned and
 * written.
 */
export function foldTiles(state: ViewState, entity: number): void {
  const { tile: plan } = state.plan
  const store = state.events
  if (plan === null || store.runsOf(entity) === 0) return
  const horizonMs = spanStart(store.newestMs(entity) - plan.rawMs, plan.spanMs)
  if (store.timeAt(entity, 0) >= horizonMs) return
  const old = state.tilesOf(entity) ?? none
  const has = (startMs: number): boolean => {
    const at = old.startingFrom(startMs)
    return at < old.count && old.startMs(at) === startMs
  }
  const folded = spansBefore(store, entity, horizonMs, plan.spanMs).filter(
    ({ startMs, events }) => events >= plan.eventsMin || has(startMs),
  )
  if (folded.length === 0) return
  const builder = new TilesBuilder()
  let from = 0
  for (const span of folded) {
    const at = old.startingFrom(span.startMs)
    builder.copy(old, from, at)
    from = has(span.startMs) ? at + 1 : at
    builder.add(tileOf(state, entity, plan, span, from > at ? (old.offsets[at] as number) : -1, old.words))
  }
  builder.copy(old, from, old.count)
  state.setTiles(entity, builder.build())
  // The last first: cursors before it stay as they are.
  for (const { lo, hi } of folded.reverse()) store.remove(entity, lo, hi)
}

/** The events [lo, hi) of an entity in one span. */
interface Span {
  readonly startMs: number
  readonly lo: number
  readonly hi: number
  readonly events: number
}

function spansBefore(store: EventStore, entity: number, horizonMs: number, spanMs: number): Span[] {
  const spans: Span[] = []
  const end = store.lowerBound(entity, horizonMs)
  for (let lo = 0; lo < end;) {
    const startMs = spanStart(store.timeAt(entity, lo), spanMs)
    const hi = store.lowerBound(entity, startMs + spanMs)
    let events = 0
    for (let cursor = lo; cursor < hi; cursor = store.next(entity, cursor)) events++
    spans.push({ startMs, lo, hi, events })
    lo = hi
  }
  return spans
}

const tally = new Tally()
const extremes = new Extremes()
const sum = new ExactSum()
const squares = new ExactSquares()

/** The tile of a span: its events, and what an older tile of it at `at` of `words` tells (-1: there is none). */
function tileOf(
  state: ViewState,
  entity: number,
  { layout }: TilePlan,
  { startMs, lo, hi, events }: Span,
  at: number,
  words: Float64Array,
): number[] {
  const store = state.events
  const tile = Array.from<number>({ length: layout.fixed }).fill(0)
  let newestKnownMs = at < 0 ? Number.NEGATIVE_INFINITY : (words[at + tileNewestKnown] as number)
  let newestMs = at < 0 ? Number.NEGATIVE_INFINITY : (words[at + tileNewest] as number)
  for (let cursor = lo; cursor < hi; cursor = store.next(entity, cursor)) {
    newestMs = Math.max(newestMs, store.timeAt(entity, cursor))
    newestKnownMs = Math.max(newestKnownMs, store.knownAt(entity, cursor))
  }
  tile[tileStart] = startMs
  tile[tileNewest] = newestMs
  tile[tileNewestKnown] = newestKnownMs
  tile[tileEvents] = events + (at < 0 ? 0 : (words[at + tileEvents] as number))
  // Of floats the sums stand behind all that is fixed, in the order of the inputs.
  let sumsAt = at + layout.fixed
  for (const input of layout.inputs)
    if (input.integers) addIntegersTo(tile, state, entity, lo, hi, input, at, words)
    else sumsAt = addFloatsTo(tile, state, entity, lo, hi, input, at, words, sumsAt)
  return tile
}

/** Calls with the number of records of each run of [lo, hi) whose input is not null, which then lie in `live`. */
function forPresent(
  { events: store }: ViewState,
  entity: number,
  lo: number,
  hi: number,
  input: number,
  take: (found: number) => void,
): void {
  for (let index = lo >> runShift; index << runShift < hi; index++) {
    const run = store.runAt(entity, index)
    const from = index === lo >> runShift ? lo & runMask : 0
    const to = index === hi >> runShift ? hi & runMask : store.lengthOf(run)
    for (let place = from; place < to; place++) live[place - from] = store.record(run, place)
    take(present(store, input, to - from))
  }
}

function addIntegersTo(
  tile: number[],
  state: ViewState,
  entity: number,
  lo: number,
  hi: number,
  { input, n, extremes: extremesAt, sum: sumAt, squares: squaresAt }: TileInput,
  at: number,
  words: Float64Array,
): void {
  let count = 0
  let total = 0n
  let squared = 0n
  tally.reset()
  if (at >= 0) {
    count = words[at + n] as number
    if (sumAt >= 0) total = storedSum(words, at + sumAt)
    if (squaresAt >= 0) squared = storedSquares(words, at + squaresAt)
    if (extremesAt >= 0) {
      tally.min = words[at + extremesAt] as number
      tally.max = words[at + extremesAt + 1] as number
    }
  }
  forPresent(state, entity, lo, hi, input, (found) => {
    const { min, max } = tally
    tally.reset()
    tally.min = min
    tally.max = max
    addIntegers(tally, state.events, input, found)
    count += found
    total += BigInt(tally.sum)
    squared += (BigInt(tally.squaresHi) << 32n) + BigInt(tally.squaresLo)
  })
  tile[n] = count
  if (sumAt >= 0) {
    tile[sumAt] = Number(total >> 32n)
    tile[sumAt + 1] = Number(BigInt.asUintN(32, total))
  }
  if (squaresAt >= 0) {
    tile[squaresAt] = Number(squared >> 64n)
    tile[squaresAt + 1] = Number(BigInt.asUintN(32, squared >> 32n))
    tile[squaresAt + 2] = Number(BigInt.asUintN(32, squared))
  }
  if (extremesAt >= 0) {
    tile[extremesAt] = tally.min
    tile[extremesAt + 1] = tally.max
  }
}

/** Σx and Σx² of integers as a tile has them. */
export const storedSum = (words: Float64Array, at: number): bigint =>
  (BigInt(words[at] as number) << 32n) + BigInt(words[at + 1] as number)
export const storedSquares = (words: Float64Array, at: number): bigint =>
  (((BigInt(words[at] as number) << 32n) + BigInt(words[at + 1] as number)) << 32n) + BigInt(words[at + 2] as number)

/** Where the older tile's sums of the next input begin. */
function addFloatsTo(
  tile: number[],
  state: ViewState,
  entity: number,
  lo: number,
  hi: number,
  { input, n, extremes: extremesAt, sum: sumAt, squares: squaresAt }: TileInput,
  at: number,
  words: Float64Array,
  oldSumsAt: number,
): number {
  const store = state.events
  const column = store.layout.inputs[input] as number
  const half = store.layout.stride >> 1
  let count = 0
  let next = oldSumsAt
  extremes.reset()
  sum.reset()
  squares.reset()
  if (at >= 0) {
    count = words[at + n] as number
    if (extremesAt >= 0) extremes.merge(words, at + extremesAt)
    if (sumAt >= 0) next = sum.addStored(words, next)
    if (squaresAt >= 0) next = squares.addStored(words, next)
  }
  forPresent(state, entity, lo, hi, input, (found) => {
    count += found
    if (extremesAt >= 0) addExtremes(extremes, store, input, found)
    if (sumAt < 0) return
    for (let index = 0; index < found; index++) {
      const value = store.floats[(live[index] as number) * half + column] as number
      sum.add(value)
      if (squaresAt >= 0) squares.add(value)
    }
  })
  tile[n] = count
  if (extremesAt >= 0) {
    tile[extremesAt] = extremes.n
    tile[extremesAt + 1] = extremes.min
    tile[extremesAt + 2] = extremes.max
  }
  if (sumAt >= 0) sum.store(tile)
  if (squaresAt >= 0) squares.store(tile)
  return next
}

/** Forgets tiles that begin before `beforeMs`, the start of a span, as pruned events. */
export function pruneTiles(state: ViewState, entity: number, beforeMs: number): void {
  const tiles = state.tilesOf(entity)
  if (tiles === null) return
  const gone = tiles.startingFrom(beforeMs)
  if (gone === 0) return
  const store = state.events
  let newestMs = store.prunedNewestMs(entity)
  let knownMs = store.prunedKnownMs(entity)
  for (let tile = 0; tile < gone; tile++) {
    newestMs = Math.max(newestMs, tiles.newestMs(tile))
    knownMs = Math.max(knownMs, tiles.newestKnownMs(tile))
  }
  store.setPruned(entity, newestMs, knownMs)
  const builder = new TilesBuilder()
  builder.copy(tiles, gone, tiles.count)
  state.setTiles(entity, gone === tiles.count ? null : builder.build())
}
