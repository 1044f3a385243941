import { GrowingBuffer } from './growing-buffer.ts'
import type { RecordLayout } from './record-layout.ts'

/**
 * The events of many entities of one view, without an object per event, run or entity.
 *
 *     tail      2 words   | last run | nodes and flags |                  of an entity: all that appending asks of it
 *     entity   12 words   | …                | runs | dir | … | pruned newest f64 | pruned known f64 |
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
export const segmentShift = 3
export const segmentLength = 1 << segmentShift
export const segmentMask = segmentLength - 1

// Words of a run.
export const runWords = 16
export const runCount = 8
export const runSummary = 9
export const runMaxDelta = 10
export const runPart = 11
export const runBase = 6
export const runKnownBase = 7

// Words of an entity.
export const entityWords = 12
export const entityRuns = 4
export const entityDir = 5
export const entityDirClass = 6
export const entityPrunedNewest = 4
export const entityPrunedKnown = 5

// Words of an entity's tail: few, so that those of many entities are near.
export const tailWords = 2
export const tailRun = 0
/** Low 8 bits: flags of the entity table. Above: nodes that are up to date (nodes.ts). */
export const tailFlags = 1
const nodesShift = 8
/** Runs of a node. */
export const nodeShift = 5

/** Of a run's part: it is not stored as it is. */
export const partChanged = 0x40000000

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

export interface StoreSize {
  readonly entities?: number
  readonly events?: number
  /** It will live and grow for long (growing-buffer.ts). */
  readonly growing?: boolean
  /** One that nobody reads any more: its memory is used again. */
  readonly from?: EventMemory
}

interface Buffers {
  readonly words: GrowingBuffer
  readonly runs: GrowingBuffer
  readonly entities: GrowingBuffer
  readonly tails: GrowingBuffer
  readonly dirs: GrowingBuffer
  readonly summaries: GrowingBuffer
}

function newBuffers(layout: RecordLayout, { entities = 16, events = 64, growing = false }: StoreSize): Buffers {
  const runs = Math.max(1, Math.ceil(events / runLength))
  return {
    words: new GrowingBuffer(Math.ceil(events / segmentLength) * segmentLength * layout.stride * 4, growing),
    runs: new GrowingBuffer(runs * runWords * 4, growing),
    entities: new GrowingBuffer(entities * entityWords * 4, growing),
    tails: new GrowingBuffer(entities * tailWords * 4, growing),
    dirs: new GrowingBuffer(runs * 4, growing),
    summaries: new GrowingBuffer(0, growing),
  }
}

/** Arrays of records, runs, entities, directories and summaries, which grow, and the ids in them, which are taken and given back. */
export class EventMemory {
  readonly layout: RecordLayout
  /** Float64 numbers of a run's summary; 0: runs have none. */
  readonly summaryStride: number

  /** Records; all three are views of one buffer. */
  words!: Int32Array
  floats!: Float64Array
  longs!: BigInt64Array
  /** Runs; both are views of one buffer. */
  runs!: Int32Array
  runFloats!: Float64Array
  /** Entities; both are views of one buffer. */
  entities!: Int32Array
  tails!: Int32Array
  entityFloats!: Float64Array
  dirs: Int32Array
  summaries: Float64Array

  entityCount = 0
  private segmentsUsed = 0
  private runsUsed = 0
  private dirUsed = 0
  private summariesUsed = 0
  private readonly freeSegments = new FreeList()
  private readonly freeRuns = new FreeList()
  private readonly freeSummaries = new FreeList()
  private readonly freeDirs = Array.from({ length: 26 }, () => new FreeList())

  private readonly buffers: Buffers

  constructor(layout: RecordLayout, summaryStride: number, size: StoreSize = {}) {
    this.layout = layout
    this.summaryStride = summaryStride
    this.buffers = size.from?.buffers ?? newBuffers(layout, size)
    this.setWords(this.buffers.words.buffer)
    this.setRuns(this.buffers.runs.buffer)
    this.setEntities(this.buffers.entities.buffer)
    this.tails = new Int32Array(this.buffers.tails.buffer)
    this.dirs = new Int32Array(this.buffers.dirs.buffer)
    this.summaries = new Float64Array(this.buffers.summaries.buffer)
    // The only ones that are not written as a whole when they are taken.
    this.tails.fill(0, 0, (size.from?.entityCount ?? 0) * tailWords)
  }

  private setWords(buffer: ArrayBufferLike): void {
    this.words = new Int32Array(buffer)
    this.floats = new Float64Array(buffer)
    this.longs = new BigInt64Array(buffer)
  }
  private setRuns(buffer: ArrayBufferLike): void {
    this.runs = new Int32Array(buffer)
    this.runFloats = new Float64Array(buffer)
  }
  private setEntities(buffer: ArrayBufferLike): void {
    this.entities = new Int32Array(buffer)
    this.entityFloats = new Float64Array(buffer)
  }

  /** Bytes held that the collector does not know of. */
  get unseenBytes(): number {
    return Object.values(this.buffers).reduce((sum, { unseenBytes }) => sum + unseenBytes, 0)
  }

  /** Bytes in use; what was freed and waits to be used again does not count. */
  get bytes(): number {
    const segments = this.segmentsUsed - this.freeSegments.length
    return (
      segments * segmentLength * this.layout.stride * 4 +
      (this.runsUsed - this.freeRuns.length) * runWords * 4 +
      (this.summariesUsed - this.freeSummaries.length) * this.summaryStride * 8 +
      this.dirUsed * 4 +
      this.entityCount * (entityWords + tailWords) * 4
    )
  }

  /** A new entity without events. */
  addEntity(): number {
    const entity = this.entityCount++
    if (this.entityCount * entityWords > this.entities.length)
      this.setEntities(this.buffers.entities.grow(this.entityCount * entityWords * 4))
    if (this.entityCount * tailWords > this.tails.length)
      this.tails = new Int32Array(this.buffers.tails.grow(this.entityCount * tailWords * 4))
    this.clearEntity(entity)
    return entity
  }

  protected clearEntity(entity: number): void {
    const at = entity * entityWords
    this.entities[at + entityRuns] = 0
    this.entities[at + entityDirClass] = -1
    this.tails[entity * tailWords + tailRun] = -1
    this.keepNodes(entity, 0)
    const atFloat = entity * (entityWords / 2)
    this.entityFloats[atFloat + entityPrunedNewest] = Number.NEGATIVE_INFINITY
    this.entityFloats[atFloat + entityPrunedKnown] = Number.NEGATIVE_INFINITY
  }

  /** Nodes of an entity that are up to date: the first so many. */
  nodesOf(entity: number): number {
    return (this.tails[entity * tailWords + tailFlags] as number) >>> nodesShift
  }
  setNodes(entity: number, nodes: number): void {
    const at = entity * tailWords + tailFlags
    this.tails[at] = ((this.tails[at] as number) & ((1 << nodesShift) - 1)) | (nodes << nodesShift)
  }
  /** Run `index` and those behind it are no longer what their nodes say. */
  protected keepNodes(entity: number, index: number): void {
    const nodes = index >> nodeShift
    if (this.nodesOf(entity) > nodes) this.setNodes(entity, nodes)
  }

  protected takeSegment(): number {
    if (this.freeSegments.length > 0) return this.freeSegments.pop()
    const segment = this.segmentsUsed++
    const words = this.segmentsUsed * segmentLength * this.layout.stride
    if (words > this.words.length) this.setWords(this.buffers.words.grow(words * 4))
    return segment
  }

  protected takeRun(): number {
    const run = this.freeRuns.length > 0 ? this.freeRuns.pop() : this.runsUsed++
    if (this.runsUsed * runWords > this.runs.length) this.setRuns(this.buffers.runs.grow(this.runsUsed * runWords * 4))
    const at = run * runWords
    this.runs[at + runCount] = 0
    this.runs[at + runSummary] = -1
    this.runs[at + runMaxDelta] = 0
    this.runs[at + runPart] = partChanged
    return run
  }

  protected freeRun(run: number): void {
    this.forget(run)
    this.truncate(run, 0)
    this.freeRuns.push(run)
  }

  protected truncate(run: number, count: number): void {
    const was = this.lengthOf(run)
    for (let segment = (count + segmentMask) >> segmentShift; segment < (was + segmentMask) >> segmentShift; segment++)
      this.freeSegments.push(this.runs[run * runWords + segment] as number)
    this.runs[run * runWords + runCount] = count
  }

  /** A run changed: its summary says nothing any more. */
  protected forget(run: number): void {
    const summary = this.runs[run * runWords + runSummary] as number
    if (summary >= 0) {
      this.freeSummaries.push(summary)
      this.runs[run * runWords + runSummary] = -1
    }
    this.runs[run * runWords + runPart] = (this.runs[run * runWords + runPart] as number) | partChanged
  }

  protected insertRun(entity: number, index: number, run: number): void {
    const at = entity * entityWords
    const count = this.entities[at + entityRuns] as number
    const dirClass = this.entities[at + entityDirClass] as number
    if (dirClass < 0 || count === 1 << dirClass) {
      const to = this.takeDir(dirClass + 1)
      if (dirClass >= 0) {
        const from = this.entities[at + entityDir] as number
        this.dirs.copyWithin(to, from, from + count)
        this.freeDirs[dirClass]?.push(from)
      }
      this.entities[at + entityDir] = to
      this.entities[at + entityDirClass] = dirClass + 1
    }
    const dir = this.entities[at + entityDir] as number
    if (index < count) this.dirs.copyWithin(dir + index + 1, dir + index, dir + count)
    this.dirs[dir + index] = run
    this.entities[at + entityRuns] = count + 1
    this.tails[entity * tailWords + tailRun] = this.dirs[dir + count] as number
  }

  private takeDir(dirClass: number): number {
    const free = this.freeDirs[dirClass] as FreeList
    if (free.length > 0) return free.pop()
    const dir = this.dirUsed
    this.dirUsed += 1 << dirClass
    if (this.dirUsed > this.dirs.length) this.dirs = new Int32Array(this.buffers.dirs.grow(this.dirUsed * 4))
    return dir
  }

  protected freeDir(entity: number): void {
    const at = entity * entityWords
    const dirClass = this.entities[at + entityDirClass] as number
    if (dirClass < 0) return
    this.freeDirs[dirClass]?.push(this.entities[at + entityDir] as number)
    this.entities[at + entityDirClass] = -1
  }

  /** The summary of a run as an index in units of `summaryStride`, or -1. */
  summaryOf(run: number): number {
    return this.runs[run * runWords + runSummary] as number
  }

  /** Gives a run room for a summary. */
  addSummary(run: number): number {
    const summary = this.freeSummaries.length > 0 ? this.freeSummaries.pop() : this.summariesUsed++
    if (this.summariesUsed * this.summaryStride > this.summaries.length)
      this.summaries = new Float64Array(this.buffers.summaries.grow(this.summariesUsed * this.summaryStride * 8))
    this.runs[run * runWords + runSummary] = summary
    return summary
  }

  /** Events of a run. */
  lengthOf(run: number): number {
    return this.runs[run * runWords + runCount] as number
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
