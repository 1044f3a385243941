import { laneAnchor, LaneTotal, totalLaneWords } from '../../number/lanes.ts'
import type { FloatMoments } from '../state/float-moments.ts'
import type { Tally } from '../state/tally.ts'
import type { InputColumn } from './columns.ts'
import { ExtremesTree } from './extremes-tree.ts'

/** What is asked of an input over windows. */
export interface Wanted {
  sums: boolean
  squares: boolean
  extremes: boolean
}

const exactMax = 2 ** 53
const wordMax = 2 ** 32
/** Floats between two totals of lanes. */
const laneBlock = 8
/** | n | total | */
const blockWords = 1 + totalLaneWords
const firstOnly = Int32Array.of(0)

const roomFor = (count: number): number => Math.ceil(count * 1.5) + 1

/**
 * Sums of one input from the first event of an entity on: what lies between two places is their difference, exactly.
 *
 *     int32, bool   n, Σx, and Σx² in words of 2^32 and 1, of the events before place j, at j
 *     float64       | n | total of lanes (number/lanes.ts) | of the first 8 b events, at block b
 *     extremes      a tree over the values (extremes-tree.ts)
 *
 * Events that are left out, and nulls, add nothing. One is used again for every entity.
 */
export class InputPrefix {
  readonly #wanted: Wanted
  /** By place: the value, NaN where there is none. */
  values: Float64Array = new Float64Array(0)
  /** Likewise, and NaN where an event is left out. */
  #kept: Float64Array = new Float64Array(0)
  #room = new Float64Array(0)
  #counts = new Int32Array(1)
  #sums = new Float64Array(1)
  #highs = new Float64Array(1)
  #lows = new Float64Array(1)
  #lanes = new Float64Array(blockWords)
  readonly #between = new Float64Array(blockWords)
  readonly #tree = new ExtremesTree()
  readonly #totals = new Map<number, LaneTotal>()
  /** Of floats: where their lanes lie. */
  #anchor = 0
  /** False where sums could leave what doubles hold, or some float leaves its lanes: then each event must be read. */
  exact = true

  constructor(wanted: Wanted) {
    this.#wanted = wanted
  }

  get anchor(): number {
    return this.#anchor
  }

  /** Over the `count` events of an entity; `left` has 1 where one is left out. */
  build(column: InputColumn, count: number, left: Uint8Array | null): void {
    if (this.values.length < count) this.values = new Float64Array(roomFor(count))
    copyValues(column, count, this.values)
    this.#keep(count, left)
    this.exact = true
    const { sums, extremes } = this.#wanted
    if (column.type === 'int32' || column.type === 'bool') this.#buildTally(count)
    else if (sums) this.#buildLanes(column, count)
    if (extremes) this.#tree.build(this.#kept, count)
  }

  #keep(count: number, left: Uint8Array | null): void {
    this.#kept = this.values
    if (left === null) return
    if (this.#room.length < count) this.#room = new Float64Array(this.values.length)
    this.#kept = this.#room
    for (let place = 0; place < count; place++)
      this.#kept[place] = left[place] === 1 ? Number.NaN : (this.values[place] as number)
  }

  /** Adds the events of places [from, to). Only of int32 and bool, and where `exact`. */
  addTally(tally: Tally, from: number, to: number): void {
    tally.n += (this.#counts[to] as number) - (this.#counts[from] as number)
    tally.sum += (this.#sums[to] as number) - (this.#sums[from] as number)
    if (this.#wanted.squares) {
      tally.squaresHi += (this.#highs[to] as number) - (this.#highs[from] as number)
      tally.squaresLo += (this.#lows[to] as number) - (this.#lows[from] as number)
    }
  }

  /** Least and greatest of places [from, to), NaN skipped: `min` and `max` of the answer. */
  extremesOf(from: number, to: number): ExtremesTree {
    this.#tree.ask(from, to)
    return this.#tree
  }

  /** Adds the events of places [from, to). Only of float64, and where `exact`. */
  addMoments(moments: FloatMoments, from: number, to: number): void {
    const first = Math.ceil(from / laneBlock)
    const last = Math.floor(to / laneBlock)
    if (first >= last) return this.#addEach(moments, from, to)
    const lanes = this.#lanes
    const between = this.#between
    const atFirst = first * blockWords
    const atLast = last * blockWords
    // Lanes are multiples of their grids, each at most half a grid of the lane above: differences are exact.
    for (let word = 0; word < blockWords; word++)
      between[word] = (lanes[atLast + word] as number) - (lanes[atFirst + word] as number)
    moments.mergeAll(between, firstOnly, 0, 0, 1, true)
    this.#addEach(moments, from, first * laneBlock)
    this.#addEach(moments, last * laneBlock, to)
  }

  #addEach(moments: FloatMoments, from: number, to: number): void {
    for (let place = from; place < to; place++) {
      const value = this.#kept[place] as number
      if (value === value) moments.add(value)
    }
  }

  #buildTally(count: number): void {
    if (this.#counts.length <= count) {
      this.#counts = new Int32Array(roomFor(count))
      this.#sums = new Float64Array(this.#counts.length)
      if (this.#wanted.squares) {
        this.#highs = new Float64Array(this.#counts.length)
        this.#lows = new Float64Array(this.#counts.length)
      }
    }
    const values = this.#kept
    const counts = this.#counts
    const sums = this.#sums
    let n = 0
    let sum = 0
    let most = 0
    for (let place = 0; place < count; place++) {
      const value = values[place] as number
      if (value === value) {
        n++
        sum += value
        const magnitude = value < 0 ? -value : value
        if (magnitude > most) most = magnitude
      }
      counts[place + 1] = n
      sums[place + 1] = sum
    }
    // Of 2^22 values of 31 bits it still holds.
    this.exact = n * most <= exactMax && n * ((most * most) / wordMax + 2) <= exactMax
    if (this.#wanted.squares && this.exact) this.#buildSquares(count)
  }

  #buildSquares(count: number): void {
    const values = this.#kept
    const highs = this.#highs
    const lows = this.#lows
    let high = 0
    let low = 0
    for (let place = 0; place < count; place++) {
      const value = values[place] as number
      if (value === value) {
        const magnitude = value < 0 ? -value : value
        if (magnitude < 65_536) low += magnitude * magnitude
        else {
          // (upper 2^16 + lower)²: every part stays an exact integer.
          const upper = Math.floor(magnitude / 65_536)
          const lower = magnitude - upper * 65_536
          const middle = 2 * upper * lower
          const middleHigh = Math.floor(middle / 65_536)
          high += upper * upper + middleHigh
          low += (middle - middleHigh * 65_536) * 65_536 + lower * lower
        }
        if (low >= wordMax) {
          const carried = Math.floor(low / wordMax)
          high += carried
          low -= carried * wordMax
        }
      }
      highs[place + 1] = high
      lows[place + 1] = low
    }
  }

  #buildLanes(column: InputColumn, count: number): void {
    const words = (Math.floor(count / laneBlock) + 1) * blockWords
    if (this.#lanes.length < words) this.#lanes = new Float64Array(roomFor(words))
    const values = this.#kept
    this.#anchor = laneAnchor(values, 0, 1, count)
    let total = this.#totals.get(this.#anchor)
    if (total === undefined) this.#totals.set(this.#anchor, (total = new LaneTotal(this.#anchor)))
    total.reset()
    const { squares } = this.#wanted
    const { nulls } = column
    let n = 0
    for (let place = 0; place < count; place++) {
      if (place % laneBlock === 0) this.#storeLanes(total, place / laneBlock, n)
      const value = values[place] as number
      if (squares ? total.addValue(value) : total.addSumValue(value)) n++
      else if (value === value || (this.values[place] !== this.values[place] && nulls?.[place] !== 1)) {
        // Outside of the lanes, or a NaN that is one: an event left out may be one, too, and is then read.
        this.exact = false
        return
      }
    }
    if (count % laneBlock === 0) this.#storeLanes(total, count / laneBlock, n)
  }

  #storeLanes(total: LaneTotal, block: number, n: number): void {
    this.#lanes[block * blockWords] = n
    total.store(this.#lanes, block * blockWords + 1)
  }
}

/** One loop for each kind of array. */
function copyValues(column: InputColumn, count: number, to: Float64Array): void {
  const { nulls } = column
  switch (column.type) {
    case 'int32':
      copyInts(column.values, count, to)
      break
    case 'bool':
      copyBytes(column.values, count, to)
      break
    case 'float64':
    case 'timestamp':
      copyFloats(column.values, count, to)
      break
    default:
      return
  }
  if (nulls !== null) for (let place = 0; place < count; place++) if (nulls[place] === 1) to[place] = Number.NaN
}

function copyInts(from: Int32Array, count: number, to: Float64Array): void {
  for (let place = 0; place < count; place++) to[place] = from[place] as number
}
function copyBytes(from: Uint8Array, count: number, to: Float64Array): void {
  for (let place = 0; place < count; place++) to[place] = from[place] as number
}
function copyFloats(from: Float64Array, count: number, to: Float64Array): void {
  for (let place = 0; place < count; place++) to[place] = from[place] as number
}
