import {
  partChanged,
  runSummary,
  entityDir,
  tailFlags,
  tailRun,
  tailWords,
  entityRuns,
  entityWords,
  runBase,
  runCount,
  runKnownBase,
  runLength,
  runMask,
  runMaxDelta,
  runPart,
  runShift,
  runWords,
  segmentLength,
  segmentMask,
  segmentShift,
} from './event-memory.ts'
import { EventCursors } from './event-cursors.ts'

export { entityWords, nodeShift, runLength, runMask, runShift, tailFlags, tailWords } from './event-memory.ts'
export type { StoreSize } from './event-memory.ts'

const deltaMax = 0x7fffffff

/** Fits `known - base` and `time - base`. */
const isDelta = (delta: number): boolean => delta >= 0 && delta <= deltaMax
const isKnownDelta = (delta: number): boolean => delta >= -deltaMax && delta <= deltaMax

/** What `appendRows` takes: columns of a batch by row, its records (staging.ts), and what must be true of them. */
export interface AppendRows {
  readonly entities: Int32Array
  readonly times: Float64Array
  readonly knowns: Float64Array
  readonly words: Int32Array
  /** Of offset 0 of their partition (record-layout.ts), to which `offsets` are added. */
  readonly firstOrder: number
  readonly offsets: Float64Array
  readonly maxAheadMs: number
  /** Of an entity's flags, those that matter, and how they must be. */
  readonly flagsMask: number
  readonly flags: number
}

/** Events that are appended together: what their appends touch fits the second cache. */
export const appendBlock = 256

/** Entities that are read together: their events fit the second cache. */
export const readBlock = 32
/** Runs of an entity that are brought near for reading all of it: one of many is read from end to end anyway. */
const nearRuns = 4
/** Of a line of the cache. */
const lineWords = 16

/** The events of many entities of one view (event-memory.ts): how they come and go. */
export class EventStore extends EventCursors {
  /** Where the events of a block will lie, as far as known. */
  readonly #near = new Int32Array(appendBlock)
  readonly #nearRuns = new Int32Array(appendBlock)
  /** What was read to have it near; nobody asks for it, but the compiler does not know. */
  #touched = 0

  /** As `bringNear`, of tails alone: for who asks the flags of entities of whom some are new, one by one. */
  bringTailsNear(entities: Int32Array, from: number, to: number): void {
    const { tails } = this
    let touched = 0
    for (let at = from; at < to; at++) {
      const entity = entities[at] as number
      if (entity >= 0) touched ^= tails[entity * tailWords + tailFlags] as number
    }
    this.#touched = touched
  }

  /**
   * Asks of memory what appending to entities [from, to) of a list will touch, at most `appendBlock` of them: all their
   * headers together, then all their last runs, then all the segments that these end in. Insertions one by one would
   * wait for each of the three in turn, which is most of their time once the events outgrow the caches. Changes nothing.
   */
  bringNear(entities: Int32Array, from: number, to: number): void {
    const near = this.#near
    const { tails } = this
    for (let at = from; at < to; at++) {
      const entity = entities[at] as number
      near[at - from] = entity < 0 ? -1 : (tails[entity * tailWords + tailRun] as number)
    }
    const { runs } = this
    for (let at = 0; at < to - from; at++) {
      const run = near[at] as number
      if (run < 0) continue
      const place = runs[run * runWords + runCount] as number
      // Of a full run or segment the next one is not known yet.
      near[at] =
        (place & segmentMask) === 0
          ? -1
          : ((runs[run * runWords + (place >> segmentShift)] as number) << segmentShift) | (place & segmentMask)
    }
    const { words } = this
    const { stride } = this.layout
    let touched = 0
    for (let at = 0; at < to - from; at++) {
      const record = near[at] as number
      if (record >= 0) touched ^= words[record * stride] as number
    }
    this.#touched = touched
  }

  /**
   * Asks of memory what reading all events of entities [from, to) of a list will touch, of each but the last `nearRuns`
   * runs: headers, then runs, then records. Read one by one, nearly every line of them would be waited for. Changes
   * nothing.
   */
  bringEventsNear(list: Int32Array, from: number, to: number): void {
    const { entities, dirs, runs, words } = this
    const near = this.#nearRuns
    let found = 0
    for (let at = from; at < to && found < appendBlock; at++) {
      const entity = (list[at] as number) * entityWords
      const count = entities[entity + entityRuns] as number
      const dir = entities[entity + entityDir] as number
      for (let index = Math.max(0, count - nearRuns); index < count && found < appendBlock; index++)
        near[found++] = dirs[dir + index] as number
    }
    let touched = 0
    for (let at = 0; at < found; at++) touched ^= runs[(near[at] as number) * runWords + runCount] as number
    const segmentWords = segmentLength * this.layout.stride
    for (let at = 0; at < found; at++) {
      const run = (near[at] as number) * runWords
      const segments = ((runs[run + runCount] as number) + segmentMask) >> segmentShift
      for (let segment = 0; segment < segments; segment++) {
        const first = (runs[run + segment] as number) * segmentWords
        for (let word = first; word < first + segmentWords; word += lineWords) touched ^= words[word] as number
      }
    }
    this.#touched = touched
  }

  /**
   * Appends rows [from, to) of a batch as `insert` and `Staging.copyTo` would one by one, as long as each is the commonest
   * case: newer than all of its entity, behind others in a run that has room and no summary, of an entity whose header
   * has the flags. Returns the first row that is not, or `to`; that one is for the caller, which may come back after it.
   */
  appendRows(rows: AppendRows, from: number, to: number): number {
    const { entities, times, knowns, words: source, firstOrder, offsets, maxAheadMs, flagsMask, flags } = rows
    const { tails, runs, runFloats } = this
    const { stride, order } = this.layout
    const copiedFrom = order < 0 ? 2 : 4
    let { words, floats } = this
    for (let row = from; row < to; row++) {
      const entity = entities[row] as number
      if (entity < 0) return row
      const tail = entity * tailWords
      const time = times[row] as number
      const known = knowns[row] as number
      if (((tails[tail + tailFlags] as number) & flagsMask) !== flags || time - known > maxAheadMs) return row
      const last = tails[tail + tailRun] as number
      if (last < 0) return row
      const run = last * runWords
      const delta = time - (runFloats[last * (runWords / 2) + runBase] as number)
      const knownDelta = known - (runFloats[last * (runWords / 2) + runKnownBase] as number)
      const count = runs[run + runCount] as number
      if (delta <= (runs[run + runMaxDelta] as number) || delta > deltaMax) return row
      if (count === runLength || !isKnownDelta(knownDelta)) return row
      if ((runs[run + runSummary] as number) >= 0 || ((runs[run + runPart] as number) & partChanged) === 0) return row
      if ((count & segmentMask) === 0) {
        runs[run + (count >> segmentShift)] = this.takeSegment()
        words = this.words
        floats = this.floats
      }
      runs[run + runCount] = count + 1
      runs[run + runMaxDelta] = delta
      const segment = runs[run + (count >> segmentShift)] as number
      const into = ((segment << segmentShift) | (count & segmentMask)) * stride
      words[into] = delta
      words[into + 1] = knownDelta
      const shift = row * stride - into
      if (order >= 0) floats[(into >> 1) + order] = firstOrder + (offsets[row] as number)
      for (let at = into + copiedFrom; at < into + stride; at++) words[at] = source[at + shift] as number
    }
    return to
  }

  /**
   * Makes room for an event at its place in total order and returns its record, with times and order set; the caller sets
   * the rest. `order` is not read where the layout has none: ties then lie as they came.
   */
  insert(entity: number, timeMs: number, knownMs: number, order: number): number {
    const last = this.tails[entity * tailWords + tailRun] as number
    // The commonest: newer than all, and room in the last run.
    if (last >= 0 && timeMs > this.lastTimeOf(last)) {
      const count = this.runs[last * runWords + runCount] as number
      if (count < runLength) {
        const delta = timeMs - (this.runFloats[last * 8 + runBase] as number)
        const knownDelta = knownMs - (this.runFloats[last * 8 + runKnownBase] as number)
        if (delta <= deltaMax && isKnownDelta(knownDelta)) {
          this.forget(last)
          const record = this.#append(last, count)
          this.runs[last * runWords + runMaxDelta] = delta
          return this.#setTimes(record, delta, knownDelta, order)
        }
      }
      return this.#newRun(entity, this.runsOf(entity), timeMs, knownMs, order)
    }
    if (last < 0) return this.#newRun(entity, 0, timeMs, knownMs, order)
    return this.#insertWithin(entity, timeMs, knownMs, order)
  }

  #insertWithin(entity: number, timeMs: number, knownMs: number, order: number): number {
    let index = this.runFor(entity, timeMs, knownMs, order)
    this.keepNodes(entity, index)
    let run = this.runAt(entity, index)
    if (this.lengthOf(run) === runLength) {
      // Behind all others a new run is better than two halves.
      if (index === this.runsOf(entity) - 1 && this.placeIn(run, timeMs, knownMs, order) === runLength)
        return this.#newRun(entity, index + 1, timeMs, knownMs, order)
      this.#split(entity, index)
      if (this.precedes(this.runAt(entity, index + 1), 0, timeMs, knownMs, order)) index++
      run = this.runAt(entity, index)
    }
    const place = this.placeIn(run, timeMs, knownMs, order)
    const count = this.lengthOf(run)
    const base = this.baseOf(run)
    const knownDelta = knownMs - this.knownBaseOf(run)
    const maxDelta = this.runs[run * runWords + runMaxDelta] as number
    const fits = timeMs >= base ? isDelta(timeMs - base) : isDelta(maxDelta + (base - timeMs))
    if (!fits || !isKnownDelta(knownDelta)) {
      if (place > 0 && place < count) this.#cut(entity, index, place)
      return this.#newRun(entity, place === 0 ? index : index + 1, timeMs, knownMs, order)
    }
    this.forget(run)
    if (timeMs < base) this.#lowerBase(run, timeMs)
    const delta = timeMs - this.baseOf(run)
    this.#append(run, count)
    this.#shiftUp(run, place, count)
    if (delta > (this.runs[run * runWords + runMaxDelta] as number)) this.runs[run * runWords + runMaxDelta] = delta
    return this.#setTimes(this.record(run, place), delta, knownDelta, order)
  }

  #setTimes(record: number, delta: number, knownDelta: number, order: number): number {
    const at = record * this.layout.stride
    this.words[at] = delta
    this.words[at + 1] = knownDelta
    if (this.layout.order >= 0) this.floats[(at >> 1) + this.layout.order] = order
    return record
  }

  /** Room for one more event at the end of a run that is not full. */
  #append(run: number, count: number): number {
    if ((count & segmentMask) === 0) this.runs[run * runWords + (count >> segmentShift)] = this.takeSegment()
    this.runs[run * runWords + runCount] = count + 1
    return this.record(run, count)
  }

  #shiftUp(run: number, place: number, count: number): void {
    const { words } = this
    const { stride } = this.layout
    for (let to = count; to > place; to--) {
      const into = this.record(run, to) * stride
      const from = this.record(run, to - 1) * stride
      for (let word = 0; word < stride; word++) words[into + word] = words[from + word] as number
    }
  }

  #lowerBase(run: number, timeMs: number): void {
    const by = this.baseOf(run) - timeMs
    const { stride } = this.layout
    for (let place = this.lengthOf(run) - 1; place >= 0; place--) {
      const at = this.record(run, place) * stride
      this.words[at] = (this.words[at] as number) + by
    }
    this.runs[run * runWords + runMaxDelta] = (this.runs[run * runWords + runMaxDelta] as number) + by
    this.runFloats[run * 8 + runBase] = timeMs
  }

  /** A run of one event, as run `index` of the entity. */
  #newRun(entity: number, index: number, timeMs: number, knownMs: number, order: number): number {
    const run = this.takeRun()
    this.runFloats[run * 8 + runBase] = timeMs
    this.runFloats[run * 8 + runKnownBase] = knownMs
    this.insertRun(entity, index, run)
    return this.#setTimes(this.#append(run, 0), 0, 0, order)
  }

  /** Halves a full run: its later segments become a run of their own. */
  #split(entity: number, index: number): void {
    const left = this.runAt(entity, index)
    this.forget(left)
    const right = this.takeRun()
    const half = runLength / 2
    for (let segment = 0; segment < half / segmentLength; segment++)
      this.runs[right * runWords + segment] = this.runs[left * runWords + half / segmentLength + segment] as number
    this.runs[left * runWords + runCount] = half
    this.runs[right * runWords + runCount] = half
    this.runs[right * runWords + runPart] = this.runs[left * runWords + runPart] as number
    this.runFloats[right * 8 + runBase] = this.baseOf(left)
    this.runFloats[right * 8 + runKnownBase] = this.knownBaseOf(left)
    this.#setDeltaMax(left)
    this.#raiseBase(right)
    this.insertRun(entity, index + 1, right)
  }

  /** Cuts a run in two before a place in its middle. */
  #cut(entity: number, index: number, place: number): void {
    const left = this.runAt(entity, index)
    this.forget(left)
    const right = this.takeRun()
    this.runs[right * runWords + runPart] = this.runs[left * runWords + runPart] as number
    this.runFloats[right * 8 + runBase] = this.baseOf(left)
    this.runFloats[right * 8 + runKnownBase] = this.knownBaseOf(left)
    const count = this.lengthOf(left)
    const { stride } = this.layout
    for (let from = place; from < count; from++) {
      const into = this.#append(right, from - place) * stride
      const source = this.record(left, from) * stride
      for (let word = 0; word < stride; word++) this.words[into + word] = this.words[source + word] as number
    }
    this.truncate(left, place)
    this.#setDeltaMax(left)
    this.#raiseBase(right)
    this.insertRun(entity, index + 1, right)
  }

  /** Cuts run `index` in two before a place in its middle: both are in the part that it was in. */
  cutRun(entity: number, index: number, place: number): void {
    this.keepNodes(entity, index)
    this.#cut(entity, index, place)
  }

  /**
   * Makes an entity the concatenation of others, which keep their runs and must not change while it is read. It is let go
   * by composing it anew, never cleared.
   */
  compose(entity: number, sources: readonly number[]): void {
    this.freeDir(entity)
    this.clearEntity(entity)
    for (const source of sources) {
      const runs = this.runsOf(source)
      for (let index = 0; index < runs; index++) this.insertRun(entity, this.runsOf(entity), this.runAt(source, index))
    }
  }

  #setDeltaMax(run: number): void {
    const record = this.record(run, this.lengthOf(run) - 1)
    this.runs[run * runWords + runMaxDelta] = this.words[record * this.layout.stride] as number
  }

  /** Brings the base to the first event's time. */
  #raiseBase(run: number): void {
    const { stride } = this.layout
    const by = this.words[this.record(run, 0) * stride] as number
    for (let place = this.lengthOf(run) - 1; place >= 0; place--) {
      const at = this.record(run, place) * stride
      this.words[at] = (this.words[at] as number) - by
    }
    this.runFloats[run * 8 + runBase] = this.baseOf(run) + by
    this.#setDeltaMax(run)
  }

  /** Something of a record was changed in place, such as until when it counts. */
  touch(entity: number, cursor: number): void {
    this.keepNodes(entity, cursor >> runShift)
    this.forget(this.runAt(entity, cursor >> runShift))
  }

  /** Forgets events older than `beforeMs`, remembering their newest times. */
  prune(entity: number, beforeMs: number): void {
    if (this.runsOf(entity) === 0 || this.baseOf(this.runAt(entity, 0)) >= beforeMs) return
    this.keepNodes(entity, 0)
    let newest = this.prunedNewestMs(entity)
    let known = this.prunedKnownMs(entity)
    const end = this.lowerBound(entity, beforeMs)
    const whole = end >> runShift
    for (let index = 0; index <= whole && index < this.runsOf(entity); index++) {
      const run = this.runAt(entity, index)
      const to = index < whole ? this.lengthOf(run) : end & runMask
      for (let place = 0; place < to; place++) {
        const at = this.record(run, place) * this.layout.stride
        // Not when it was taken back: that may be known before it is pruned or after.
        known = Math.max(known, this.knownBaseOf(run) + (this.words[at + 1] as number))
        newest = Math.max(
          newest,
          this.baseOf(run) + (this.words[this.record(run, place) * this.layout.stride] as number),
        )
      }
      if (index < whole) this.freeRun(run)
      else if (to > 0) this.#dropPlaces(run, 0, to)
    }
    this.setPruned(entity, newest, known)
    const at = entity * entityWords
    const left = this.runsOf(entity) - whole
    const dir = this.entities[at + entityDir] as number
    this.dirs.copyWithin(dir, dir + whole, dir + whole + left)
    this.entities[at + entityRuns] = left
    if (left === 0) {
      this.freeDir(entity)
      this.tails[entity * tailWords + tailRun] = -1
    }
  }

  /** Removes the events [lo, hi), never the newest one: what they were is kept elsewhere, so they are not taken for pruned. */
  remove(entity: number, lo: number, hi: number): void {
    const at = entity * entityWords
    const first = lo >> runShift
    this.keepNodes(entity, first)
    let from = first
    let last = hi >> runShift
    let to = hi & runMask
    // One past the last event of a run is the first of the next.
    if (last < this.runsOf(entity) && to === this.lengthOf(this.runAt(entity, last))) {
      last++
      to = 0
    }
    const place = lo & runMask
    if (first === last) {
      if (to > place) this.#dropPlaces(this.runAt(entity, first), place, to - place)
    } else {
      if (place > 0) {
        const run = this.runAt(entity, from++)
        this.forget(run)
        this.truncate(run, place)
        this.#setDeltaMax(run)
      }
      for (let index = from; index < last; index++) this.freeRun(this.runAt(entity, index))
      if (to > 0) this.#dropPlaces(this.runAt(entity, last), 0, to)
      const dir = this.entities[at + entityDir] as number
      const runs = this.runsOf(entity)
      this.dirs.copyWithin(dir + from, dir + last, dir + runs)
      this.entities[at + entityRuns] = runs - (last - from)
    }
  }

  /** Removes some but not all events of a run, never its last one. */
  #dropPlaces(run: number, from: number, places: number): void {
    this.forget(run)
    const { stride } = this.layout
    const left = this.lengthOf(run) - places
    for (let to = from; to < left; to++) {
      const into = this.record(run, to) * stride
      const source = this.record(run, to + places) * stride
      for (let word = 0; word < stride; word++) this.words[into + word] = this.words[source + word] as number
    }
    this.truncate(run, left)
    if (from === 0) this.#raiseBase(run)
  }

  /** Forgets all of an entity's events and what was pruned; the entity stays. */
  clear(entity: number): void {
    for (let index = 0; index < this.runsOf(entity); index++) this.freeRun(this.runAt(entity, index))
    this.freeDir(entity)
    this.clearEntity(entity)
  }
}
