import {
  EventMemory,
  entityDir,
  tailRun,
  tailWords,
  entityPrunedKnown,
  entityPrunedNewest,
  entityRuns,
  entityWords,
  runBase,
  runCount,
  runKnownBase,
  runMask,
  runMaxDelta,
  runShift,
  runWords,
  segmentMask,
  segmentShift,
} from './event-memory.ts'

/** Reading events: by entity, by run, and by *cursor*, which is `(run index) x 64 + (place in the run)`. */
export class EventCursors extends EventMemory {
  // Entities.

  /** Events held: counted run by run. */
  count(entity: number): number {
    let events = 0
    for (let index = this.runsOf(entity) - 1; index >= 0; index--) events += this.lengthOf(this.runAt(entity, index))
    return events
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
    const last = this.tails[entity * tailWords + tailRun] as number
    return last < 0 ? Number.NEGATIVE_INFINITY : this.lastTimeOf(last)
  }
  /** Newest event time among pruned events, -Infinity when none was. */
  prunedNewestMs(entity: number): number {
    return this.entityFloats[entity * (entityWords / 2) + entityPrunedNewest] as number
  }
  /** Newest knownAt among pruned events, -Infinity when none was. */
  prunedKnownMs(entity: number): number {
    return this.entityFloats[entity * (entityWords / 2) + entityPrunedKnown] as number
  }
  setPruned(entity: number, newestMs: number, knownMs: number): void {
    this.entityFloats[entity * (entityWords / 2) + entityPrunedNewest] = newestMs
    this.entityFloats[entity * (entityWords / 2) + entityPrunedKnown] = knownMs
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
    const index = this.runFor(entity, timeMs, knownMs, order)
    let cursor = (index << runShift) + this.placeIn(this.runAt(entity, index), timeMs, knownMs, order)
    // Behind the last of its run: the first of the next one.
    if ((cursor & runMask) === this.lengthOf(this.runAt(entity, index)) || cursor >> runShift !== index)
      cursor = (index + 1) << runShift
    if (cursor >= this.end(entity) || this.timeAt(entity, cursor) !== timeMs) return -1
    const at = this.recordAt(entity, cursor) * (this.layout.stride >> 1) + this.layout.order
    return this.knownAt(entity, cursor) === knownMs && this.floats[at] === order ? cursor : -1
  }

  /** The last run whose first event comes before the given one, else run 0. */
  protected runFor(entity: number, timeMs: number, knownMs: number, order: number): number {
    let low = 0
    let high = this.runsOf(entity) - 1
    while (low < high) {
      const middle = (low + high + 1) >>> 1
      if (this.precedes(this.runAt(entity, middle), 0, timeMs, knownMs, order)) low = middle
      else high = middle - 1
    }
    return low
  }

  /** The place of an event among those of a run: behind all that precede it. */
  protected placeIn(run: number, timeMs: number, knownMs: number, order: number): number {
    let low = 0
    let high = this.lengthOf(run)
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.precedes(run, middle, timeMs, knownMs, order)) low = middle + 1
      else high = middle
    }
    return low
  }

  /** Whether the event at a place comes before the given one in total order; without orders a tie does. */
  protected precedes(run: number, place: number, timeMs: number, knownMs: number, order: number): boolean {
    const record = this.record(run, place)
    const at = record * this.layout.stride
    const time = this.baseOf(run) + (this.words[at] as number)
    if (time !== timeMs) return time < timeMs
    const known = this.knownBaseOf(run) + (this.words[at + 1] as number)
    if (known !== knownMs) return known < knownMs
    if (this.layout.order < 0) return true
    return (this.floats[(at >> 1) + this.layout.order] as number) < order
  }
}
