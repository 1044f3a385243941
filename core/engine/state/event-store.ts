import type { RecordLayout } from './record-layout.ts'

/**
 * The events of many entities of one view, without an object per event, run or entity.
 *
 *     entity   16 words   | …                | runs | dir | … | newest f64 | pruned newest f64 | pruned known f64 | …
 *     dir      run ids of an entity, in time order; blocks of 1, 2, 4, … words
 *     run      16 words   | segment x 8 | count | summary | max delta | part | base f64 | known base f64 |
 *     segment  8 records side by side; a run of n events has ceil(n / 8) of them, anywhere
 *
 * A run is a stretch of an entity's events in total order, cut by count: at most 64. A full run that an event lands in is
 * split in two; segments change hands, nothing is copied. A run is also cut where a time does not fit 31 bits behind its
 * base. `(run index) x 64 + (place in the run)` is a *cursor*: it sorts as the events do.
 *
 * Freed segments, runs, directories and summaries are used again. Positions are int32: at most 2^31 words of records.
 */
export const runShift = 6
export const runLength = 1 << runShift
export const runMask = runLength - 1
const segmentShift = 3
const segmentLength = 1 << segmentShift
const segmentMask = segmentLength - 1
const deltaMax = 0x7fffffff

// Words of a run.
const runWords = 16
export const runCount = 8
export const runSummary = 9
const runMaxDelta = 10
export const runPart = 11
const runBase = 6
const runKnownBase = 7

// Words of an entity.
export const entityWords = 16
const entityRuns = 4
const entityDir = 5
const entityDirClass = 6
const entityLastRun = 7
const entityNewest = 4
const entityPrunedNewest = 5
const entityPrunedKnown = 6
const entityEvents = 14
/** Low 8 bits: flags of the entity table. Above: nodes that are up to date (nodes.ts). */
export const entityFlags = 15
const nodesShift = 8
/** Runs of a node. */
export const nodeShift = 5

/** Fits `known - base` and `time - base`. */
const isDelta = (delta: number): boolean => delta >= 0 && delta <= deltaMax
const isKnownDelta = (delta: number): boolean => delta >= -deltaMax && delta <= deltaMax

/** Ids that are free to use again. */
class FreeList {
  #ids = new Int32Array(16)
  length = 0
  push(id: number): void {
    if (this.length === this.#ids.length) {
      const larger = new Int32Array(this.#ids.length * 2)
      larger.set(this.#ids)
      this.#ids = larger
    }
    this.#ids[this.length++] = id
  }
  pop(): number {
    return this.#ids[--this.length] as number
  }
}

/** Capacity to grow to, of `capacity` things of `bytes` each: by half while small, by an eighth when what lies idle counts. */
const grown = (capacity: number, needed: number, bytes: number): number => {
  const size = capacity * bytes
  return Math.max(needed, Math.ceil(capacity * (size < 1 << 18 ? 1.5 : size < 1 << 24 ? 1.25 : 1.125)))
}

export interface StoreSize {
  readonly entities?: number
  readonly events?: number
}

export class EventStore {
  readonly layout: RecordLayout
  /** Float64 numbers of a run's summary; 0: runs have none. */
  readonly summaryStride: number

  /** Records; all three are views of one buffer. */
  words: Int32Array
  floats: Float64Array
  longs: BigInt64Array
  /** Runs; both are views of one buffer. */
  runs: Int32Array
  runFloats: Float64Array
  /** Entities; both are views of one buffer. */
  entities: Int32Array
  entityFloats: Float64Array
  dirs: Int32Array
  summaries: Float64Array

  entityCount = 0
  #segmentsUsed = 0
  #runsUsed = 0
  #dirUsed = 0
  #summariesUsed = 0
  readonly #freeSegments = new FreeList()
  readonly #freeRuns = new FreeList()
  readonly #freeSummaries = new FreeList()
  readonly #freeDirs = Array.from({ length: 26 }, () => new FreeList())

  constructor(layout: RecordLayout, summaryStride: number, { entities = 16, events = 64 }: StoreSize = {}) {
    this.layout = layout
    this.summaryStride = summaryStride
    const segments = Math.ceil(events / segmentLength)
    this.words = new Int32Array(segments * segmentLength * layout.stride)
    this.floats = new Float64Array(this.words.buffer)
    this.longs = new BigInt64Array(this.words.buffer)
    const runs = Math.max(1, Math.ceil(events / runLength))
    this.runs = new Int32Array(runs * runWords)
    this.runFloats = new Float64Array(this.runs.buffer)
    this.entities = new Int32Array(entities * entityWords)
    this.entityFloats = new Float64Array(this.entities.buffer)
    this.dirs = new Int32Array(runs)
    this.summaries = new Float64Array(0)
  }

  /** Bytes in use; what was freed and waits to be used again does not count. */
  get bytes(): number {
    const segments = this.#segmentsUsed - this.#freeSegments.length
    return (
      segments * segmentLength * this.layout.stride * 4 +
      (this.#runsUsed - this.#freeRuns.length) * runWords * 4 +
      (this.#summariesUsed - this.#freeSummaries.length) * this.summaryStride * 8 +
      this.#dirUsed * 4 +
      this.entityCount * entityWords * 4
    )
  }

  /** A new entity without events. */
  addEntity(): number {
    const entity = this.entityCount++
    if (this.entityCount * entityWords > this.entities.length) {
      const larger = new Int32Array(
        grown(this.entities.length / entityWords, this.entityCount, entityWords * 4) * entityWords,
      )
      larger.set(this.entities)
      this.entities = larger
      this.entityFloats = new Float64Array(larger.buffer)
    }
    this.#clearEntity(entity)
    return entity
  }

  #clearEntity(entity: number): void {
    const at = entity * entityWords
    this.entities[at + entityRuns] = 0
    this.entities[at + entityDirClass] = -1
    this.entities[at + entityLastRun] = -1
    this.entities[at + entityEvents] = 0
    this.#keepNodes(entity, 0)
    const atFloat = entity * (entityWords / 2)
    this.entityFloats[atFloat + entityNewest] = Number.NEGATIVE_INFINITY
    this.entityFloats[atFloat + entityPrunedNewest] = Number.NEGATIVE_INFINITY
    this.entityFloats[atFloat + entityPrunedKnown] = Number.NEGATIVE_INFINITY
  }

  // Entities.

  /** Events held. */
  count(entity: number): number {
    return this.entities[entity * entityWords + entityEvents] as number
  }
  runsOf(entity: number): number {
    return this.entities[entity * entityWords + entityRuns] as number
  }
  /** Id of run `index` of an entity. */
  runAt(entity: number, index: number): number {
    return this.dirs[(this.entities[entity * entityWords + entityDir] as number) + index] as number
  }
  /** Event time of the newest event held, -Infinity when there is none. */
  newestMs(entity: number): number {
    return this.entityFloats[entity * 8 + entityNewest] as number
  }
  /** Newest event time among pruned events, -Infinity when none was. */
  prunedNewestMs(entity: number): number {
    return this.entityFloats[entity * 8 + entityPrunedNewest] as number
  }
  /** Newest knownAt among pruned events, -Infinity when none was. */
  prunedKnownMs(entity: number): number {
    return this.entityFloats[entity * 8 + entityPrunedKnown] as number
  }
  setPruned(entity: number, newestMs: number, knownMs: number): void {
    this.entityFloats[entity * 8 + entityPrunedNewest] = newestMs
    this.entityFloats[entity * 8 + entityPrunedKnown] = knownMs
  }

  /** Nodes of an entity that are up to date: the first so many. */
  nodesOf(entity: number): number {
    return (this.entities[entity * entityWords + entityFlags] as number) >>> nodesShift
  }
  setNodes(entity: number, nodes: number): void {
    const at = entity * entityWords + entityFlags
    this.entities[at] = ((this.entities[at] as number) & ((1 << nodesShift) - 1)) | (nodes << nodesShift)
  }
  /** Run `index` and those behind it are no longer what their nodes say. */
  #keepNodes(entity: number, index: number): void {
    const nodes = index >> nodeShift
    if (this.nodesOf(entity) > nodes) this.setNodes(entity, nodes)
  }

  // Cursors.

  /** One past the last event. */
  end(entity: number): number {
    return this.runsOf(entity) << runShift
  }
  /** The cursor of the event behind, across runs. */
  next(entity: number, cursor: number): number {
    const index = cursor >> runShift
    const count = this.runs[this.runAt(entity, index) * runWords + runCount] as number
    return (cursor & runMask) + 1 < count ? cursor + 1 : (index + 1) << runShift
  }
  /** The cursor of the event before; the caller knows that there is one. */
  previous(entity: number, cursor: number): number {
    if ((cursor & runMask) > 0) return cursor - 1
    const index = (cursor >> runShift) - 1
    return (index << runShift) + (this.runs[this.runAt(entity, index) * runWords + runCount] as number) - 1
  }
  /** Events of a run. */
  lengthOf(run: number): number {
    return this.runs[run * runWords + runCount] as number
  }
  record(run: number, place: number): number {
    return ((this.runs[run * runWords + (place >> segmentShift)] as number) << segmentShift) | (place & segmentMask)
  }
  recordAt(entity: number, cursor: number): number {
    return this.record(this.runAt(entity, cursor >> runShift), cursor & runMask)
  }
  /** Event time that delta 0 means in this run: that of its first event. */
  baseOf(run: number): number {
    return this.runFloats[run * 8 + runBase] as number
  }
  knownBaseOf(run: number): number {
    return this.runFloats[run * 8 + runKnownBase] as number
  }
  /** Event time of the run's last event. */
  lastTimeOf(run: number): number {
    return this.baseOf(run) + (this.runs[run * runWords + runMaxDelta] as number)
  }
  timeAt(entity: number, cursor: number): number {
    const run = this.runAt(entity, cursor >> runShift)
    return this.baseOf(run) + (this.words[this.record(run, cursor & runMask) * this.layout.stride] as number)
  }
  knownAt(entity: number, cursor: number): number {
    const run = this.runAt(entity, cursor >> runShift)
    return this.knownBaseOf(run) + (this.words[this.record(run, cursor & runMask) * this.layout.stride + 1] as number)
  }

  /** The first event at or after `timeMs`. */
  lowerBound(entity: number, timeMs: number): number {
    let low = 0
    let high = this.runsOf(entity)
    // The first run whose last event is not before it.
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.lastTimeOf(this.runAt(entity, middle)) < timeMs) low = middle + 1
      else high = middle
    }
    if (low === this.runsOf(entity)) return low << runShift
    const run = this.runAt(entity, low)
    const delta = timeMs - this.baseOf(run)
    if (delta <= 0) return low << runShift
    const { words } = this
    const { stride } = this.layout
    let from = 0
    let to = this.lengthOf(run)
    while (from < to) {
      const middle = (from + to) >>> 1
      if ((words[this.record(run, middle) * stride] as number) < delta) from = middle + 1
      else to = middle
    }
    return (low << runShift) + from
  }

  /** The event of these times and this order; -1 for none. Only where the layout has an order. */
  find(entity: number, timeMs: number, knownMs: number, order: number): number {
    if (this.runsOf(entity) === 0) return -1
    const index = this.#runFor(entity, timeMs, knownMs, order)
    let cursor = (index << runShift) + this.#placeIn(this.runAt(entity, index), timeMs, knownMs, order)
    // Behind the last of its run: the first of the next one.
    if ((cursor & runMask) === this.lengthOf(this.runAt(entity, index)) || cursor >> runShift !== index)
      cursor = (index + 1) << runShift
    if (cursor >= this.end(entity) || this.timeAt(entity, cursor) !== timeMs) return -1
    const at = this.recordAt(entity, cursor) * (this.layout.stride >> 1) + this.layout.order
    return this.knownAt(entity, cursor) === knownMs && this.floats[at] === order ? cursor : -1
  }

  // Changes.

  /**
   * Makes room for an event at its place in total order and returns its record, with times and order set; the caller sets
   * the rest. `order` is not read where the layout has none: ties then lie as they came.
   */
  insert(entity: number, timeMs: number, knownMs: number, order: number): number {
    const at = entity * entityWords
    const last = this.entities[at + entityLastRun] as number
    this.entities[at + entityEvents] = (this.entities[at + entityEvents] as number) + 1
    // The commonest: newer than all, and room in the last run.
    if (last >= 0 && timeMs > (this.entityFloats[entity * 8 + entityNewest] as number)) {
      this.entityFloats[entity * 8 + entityNewest] = timeMs
      const count = this.runs[last * runWords + runCount] as number
      if (count < runLength) {
        const delta = timeMs - (this.runFloats[last * 8 + runBase] as number)
        const knownDelta = knownMs - (this.runFloats[last * 8 + runKnownBase] as number)
        if (delta <= deltaMax && isKnownDelta(knownDelta)) {
          this.#forget(last)
          const record = this.#append(last, count)
          this.runs[last * runWords + runMaxDelta] = delta
          return this.#setTimes(record, delta, knownDelta, order)
        }
      }
      return this.#newRun(entity, this.runsOf(entity), timeMs, knownMs, order)
    }
    if (last < 0) {
      this.entityFloats[entity * 8 + entityNewest] = timeMs
      return this.#newRun(entity, 0, timeMs, knownMs, order)
    }
    return this.#insertWithin(entity, timeMs, knownMs, order)
  }

  #insertWithin(entity: number, timeMs: number, knownMs: number, order: number): number {
    let index = this.#runFor(entity, timeMs, knownMs, order)
    this.#keepNodes(entity, index)
    let run = this.runAt(entity, index)
    if (this.lengthOf(run) === runLength) {
      // Behind all others a new run is better than two halves.
      if (index === this.runsOf(entity) - 1 && this.#placeIn(run, timeMs, knownMs, order) === runLength)
        return this.#newRun(entity, index + 1, timeMs, knownMs, order)
      this.#split(entity, index)
      if (this.#precedes(this.runAt(entity, index + 1), 0, timeMs, knownMs, order)) index++
      run = this.runAt(entity, index)
    }
    const place = this.#placeIn(run, timeMs, knownMs, order)
    const count = this.lengthOf(run)
    const base = this.baseOf(run)
    const knownDelta = knownMs - this.knownBaseOf(run)
    const maxDelta = this.runs[run * runWords + runMaxDelta] as number
    const fits = timeMs >= base ? isDelta(timeMs - base) : isDelta(maxDelta + (base - timeMs))
    if (!fits || !isKnownDelta(knownDelta)) {
      if (place > 0 && place < count) this.#cut(entity, index, place)
      return this.#newRun(entity, place === 0 ? index : index + 1, timeMs, knownMs, order)
    }
    this.#forget(run)
    if (timeMs < base) this.#lowerBase(run, timeMs)
    const delta = timeMs - this.baseOf(run)
    this.#append(run, count)
    this.#shiftUp(run, place, count)
    if (delta > (this.runs[run * runWords + runMaxDelta] as number)) this.runs[run * runWords + runMaxDelta] = delta
    if (timeMs > this.newestMs(entity)) this.entityFloats[entity * 8 + entityNewest] = timeMs
    return this.#setTimes(this.record(run, place), delta, knownDelta, order)
  }

  /** The last run whose first event comes before the given one, else run 0. */
  #runFor(entity: number, timeMs: number, knownMs: number, order: number): number {
    let low = 0
    let high = this.runsOf(entity) - 1
    while (low < high) {
      const middle = (low + high + 1) >>> 1
      if (this.#precedes(this.runAt(entity, middle), 0, timeMs, knownMs, order)) low = middle
      else high = middle - 1
    }
    return low
  }

  /** The place of an event among those of a run: behind all that precede it. */
  #placeIn(run: number, timeMs: number, knownMs: number, order: number): number {
    let low = 0
    let high = this.lengthOf(run)
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#precedes(run, middle, timeMs, knownMs, order)) low = middle + 1
      else high = middle
    }
    return low
  }

  /** Whether the event at a place comes before the given one in total order; without orders a tie does. */
  #precedes(run: number, place: number, timeMs: number, knownMs: number, order: number): boolean {
    const record = this.record(run, place)
    const at = record * this.layout.stride
    const time = this.baseOf(run) + (this.words[at] as number)
    if (time !== timeMs) return time < timeMs
    const known = this.knownBaseOf(run) + (this.words[at + 1] as number)
    if (known !== knownMs) return known < knownMs
    if (this.layout.order < 0) return true
    return (this.floats[(at >> 1) + this.layout.order] as number) < order
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
    if ((count & segmentMask) === 0) this.runs[run * runWords + (count >> segmentShift)] = this.#takeSegment()
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
    const run = this.#takeRun()
    this.runFloats[run * 8 + runBase] = timeMs
    this.runFloats[run * 8 + runKnownBase] = knownMs
    this.#insertRun(entity, index, run)
    if (timeMs > this.newestMs(entity)) this.entityFloats[entity * 8 + entityNewest] = timeMs
    return this.#setTimes(this.#append(run, 0), 0, 0, order)
  }

  /** Halves a full run: its later segments become a run of their own. */
  #split(entity: number, index: number): void {
    const left = this.runAt(entity, index)
    this.#forget(left)
    const right = this.#takeRun()
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
    this.#insertRun(entity, index + 1, right)
  }

  /** Cuts a run in two before a place in its middle. */
  #cut(entity: number, index: number, place: number): void {
    const left = this.runAt(entity, index)
    this.#forget(left)
    const right = this.#takeRun()
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
    this.#truncate(left, place)
    this.#setDeltaMax(left)
    this.#raiseBase(right)
    this.#insertRun(entity, index + 1, right)
  }

  /** Cuts run `index` in two before a place in its middle: both are in the part that it was in. */
  cutRun(entity: number, index: number, place: number): void {
    this.#cut(entity, index, place)
  }

  /**
   * Makes an entity the concatenation of others, which keep their runs and must not change while it is read. It is let go
   * by composing it anew, never cleared.
   */
  compose(entity: number, sources: readonly number[]): void {
    this.#freeDir(entity)
    this.#clearEntity(entity)
    let events = 0
    for (const source of sources) {
      const runs = this.runsOf(source)
      for (let index = 0; index < runs; index++) this.#insertRun(entity, this.runsOf(entity), this.runAt(source, index))
      events += this.count(source)
      if (runs > 0) this.entityFloats[entity * 8 + entityNewest] = this.newestMs(source)
    }
    this.entities[entity * entityWords + entityEvents] = events
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

  #truncate(run: number, count: number): void {
    const was = this.lengthOf(run)
    for (let segment = (count + segmentMask) >> segmentShift; segment < (was + segmentMask) >> segmentShift; segment++)
      this.#freeSegments.push(this.runs[run * runWords + segment] as number)
    this.runs[run * runWords + runCount] = count
  }

  /** A run changed: its summary says nothing any more. */
  #forget(run: number): void {
    const summary = this.runs[run * runWords + runSummary] as number
    if (summary >= 0) {
      this.#freeSummaries.push(summary)
      this.runs[run * runWords + runSummary] = -1
    }
    this.runs[run * runWords + runPart] = (this.runs[run * runWords + runPart] as number) | partChanged
  }

  /** Something of a record was changed in place, such as until when it counts. */
  touch(entity: number, cursor: number): void {
    this.#keepNodes(entity, cursor >> runShift)
    this.#forget(this.runAt(entity, cursor >> runShift))
  }

  /** Forgets events older than `beforeMs`, remembering their newest times. */
  prune(entity: number, beforeMs: number): void {
    if (this.count(entity) === 0 || this.baseOf(this.runAt(entity, 0)) >= beforeMs) return
    this.#keepNodes(entity, 0)
    let newest = this.prunedNewestMs(entity)
    let known = this.prunedKnownMs(entity)
    const end = this.lowerBound(entity, beforeMs)
    const whole = end >> runShift
    let pruned = 0
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
      pruned += to
      if (index < whole) this.#freeRun(run)
      else if (to > 0) this.#dropFirst(run, to)
    }
    this.setPruned(entity, newest, known)
    const at = entity * entityWords
    this.entities[at + entityEvents] = (this.entities[at + entityEvents] as number) - pruned
    const left = this.runsOf(entity) - whole
    const dir = this.entities[at + entityDir] as number
    this.dirs.copyWithin(dir, dir + whole, dir + whole + left)
    this.entities[at + entityRuns] = left
    if (left === 0) {
      this.#freeDir(entity)
      this.entities[at + entityLastRun] = -1
      this.entityFloats[entity * 8 + entityNewest] = Number.NEGATIVE_INFINITY
    }
  }

  /** When the last of an event and of what ended it was known. */
  newestKnownOf(run: number, place: number): number {
    const at = this.record(run, place) * this.layout.stride
    const known = this.knownBaseOf(run) + (this.words[at + 1] as number)
    if (this.layout.until < 0) return known
    const until = this.floats[(at >> 1) + this.layout.until] as number
    return until === Number.POSITIVE_INFINITY ? known : Math.max(known, until)
  }

  /** Newest knownAt of a run's events, whatever ended them. */
  newestKnownAtOf(run: number): number {
    let newest = 0
    for (let place = this.lengthOf(run) - 1; place >= 0; place--) {
      const delta = this.words[this.record(run, place) * this.layout.stride + 1] as number
      if (place === this.lengthOf(run) - 1 || delta > newest) newest = delta
    }
    return this.knownBaseOf(run) + newest
  }

  #dropFirst(run: number, places: number): void {
    this.#forget(run)
    const { stride } = this.layout
    const left = this.lengthOf(run) - places
    for (let to = 0; to < left; to++) {
      const into = this.record(run, to) * stride
      const from = this.record(run, to + places) * stride
      for (let word = 0; word < stride; word++) this.words[into + word] = this.words[from + word] as number
    }
    this.#truncate(run, left)
    this.#raiseBase(run)
  }

  /** Forgets all of an entity's events and what was pruned; the entity stays. */
  clear(entity: number): void {
    for (let index = 0; index < this.runsOf(entity); index++) this.#freeRun(this.runAt(entity, index))
    this.#freeDir(entity)
    this.#clearEntity(entity)
  }

  /** The summary of a run as an index in units of `summaryStride`, or -1. */
  summaryOf(run: number): number {
    return this.runs[run * runWords + runSummary] as number
  }

  /** Gives a run room for a summary. */
  addSummary(run: number): number {
    const summary = this.#freeSummaries.length > 0 ? this.#freeSummaries.pop() : this.#summariesUsed++
    if (this.#summariesUsed * this.summaryStride > this.summaries.length) {
      const capacity = grown(this.summaries.length / this.summaryStride, this.#summariesUsed, this.summaryStride * 8)
      const larger = new Float64Array(capacity * this.summaryStride)
      larger.set(this.summaries)
      this.summaries = larger
    }
    this.runs[run * runWords + runSummary] = summary
    return summary
  }

  // Memory.

  #takeSegment(): number {
    if (this.#freeSegments.length > 0) return this.#freeSegments.pop()
    const segment = this.#segmentsUsed++
    const words = this.#segmentsUsed * segmentLength * this.layout.stride
    if (words > this.words.length) {
      const perSegment = segmentLength * this.layout.stride
      const larger = new Int32Array(
        grown(this.words.length / perSegment, this.#segmentsUsed, perSegment * 4) * perSegment,
      )
      larger.set(this.words)
      this.words = larger
      this.floats = new Float64Array(larger.buffer)
      this.longs = new BigInt64Array(larger.buffer)
    }
    return segment
  }

  #takeRun(): number {
    const run = this.#freeRuns.length > 0 ? this.#freeRuns.pop() : this.#runsUsed++
    if (this.#runsUsed * runWords > this.runs.length) {
      const larger = new Int32Array(grown(this.runs.length / runWords, this.#runsUsed, runWords * 4) * runWords)
      larger.set(this.runs)
      this.runs = larger
      this.runFloats = new Float64Array(larger.buffer)
    }
    const at = run * runWords
    this.runs[at + runCount] = 0
    this.runs[at + runSummary] = -1
    this.runs[at + runMaxDelta] = 0
    this.runs[at + runPart] = partChanged
    return run
  }

  #freeRun(run: number): void {
    this.#forget(run)
    this.#truncate(run, 0)
    this.#freeRuns.push(run)
  }

  #insertRun(entity: number, index: number, run: number): void {
    const at = entity * entityWords
    const count = this.entities[at + entityRuns] as number
    const dirClass = this.entities[at + entityDirClass] as number
    if (dirClass < 0 || count === 1 << dirClass) {
      const to = this.#takeDir(dirClass + 1)
      if (dirClass >= 0) {
        const from = this.entities[at + entityDir] as number
        this.dirs.copyWithin(to, from, from + count)
        this.#freeDirs[dirClass]?.push(from)
      }
      this.entities[at + entityDir] = to
      this.entities[at + entityDirClass] = dirClass + 1
    }
    const dir = this.entities[at + entityDir] as number
    if (index < count) this.dirs.copyWithin(dir + index + 1, dir + index, dir + count)
    this.dirs[dir + index] = run
    this.entities[at + entityRuns] = count + 1
    this.entities[at + entityLastRun] = this.dirs[dir + count] as number
  }

  #takeDir(dirClass: number): number {
    const free = this.#freeDirs[dirClass] as FreeList
    if (free.length > 0) return free.pop()
    const dir = this.#dirUsed
    this.#dirUsed += 1 << dirClass
    if (this.#dirUsed > this.dirs.length) {
      const larger = new Int32Array(grown(this.dirs.length, this.#dirUsed, 4))
      larger.set(this.dirs)
      this.dirs = larger
    }
    return dir
  }

  #freeDir(entity: number): void {
    const at = entity * entityWords
    const dirClass = this.entities[at + entityDirClass] as number
    if (dirClass < 0) return
    this.#freeDirs[dirClass]?.push(this.entities[at + entityDir] as number)
    this.entities[at + entityDirClass] = -1
  }

  /** The part of the stored row that a run lies in (0: none yet), and whether it changed since it was stored. */
  partOf(run: number): number {
    return (this.runs[run * runWords + runPart] as number) & ~partChanged
  }
  hasChanged(run: number): boolean {
    return ((this.runs[run * runWords + runPart] as number) & partChanged) !== 0
  }
  /** A run is stored as it is, in this part. */
  setPart(run: number, part: number): void {
    this.runs[run * runWords + runPart] = part
  }
}

const partChanged = 0x40000000
