import { refusal } from '../../core/asof/visible.ts'
import { ViewEngine } from '../../core/engine/view-engine.ts'
import type { ViewPlan } from '../../core/engine/plan.ts'
import type { EventBatch } from '../../core/event/batch.ts'
import { takeBelow } from '../../core/event/batch-ops.ts'
import { offset } from '../../core/event/position.ts'
import type { ViewSample } from '../../core/registry/estimate.ts'
import type { StreamReader } from '../../schemas/stream-reader.ts'

export interface SampleLimits {
  /** Records looked at in all. What is decoded may be more by a record batch for each chunk. */
  readonly recordsMax: number
  /** Bytes asked of the log in all. */
  readonly bytesMax: number
}
export const sampleLimits: SampleLimits = { recordsMax: 200_000, bytesMax: 64 * 2 ** 20 }

/** Chunks over all partitions: enough to meet every season of a log, few enough that each is a fetch or two. */
const chunksMax = 32
const chunkRecordsMin = 500
const fetchBytes = 64 * 1024
/** Share of the event times left out at each end: one clock of 1970 would make every rate look small. */
const outlierShare = 1 / 200

/** Fields that a sample reads: keys, of entities and of a changelog's rows, and the event time. */
export const sampledFields = (plans: readonly ViewPlan[]): string[] => [
  ...new Set(plans.flatMap(({ view, stream }) => [...view.keyFields, ...(stream.primaryKey ?? []), stream.eventTime])),
]

/**
 * Samples of views over one stream, in the order of `plans`; null when the log has no records of it.
 *
 * Method: each partition gives as many chunks of consecutive records as its share of the log, at evenly spaced offsets, the
 *         first at its start and the last at its end; counts of a partition are scaled by its records over those sampled.
 *         A log below the limits is counted whole.
 * Error:  neighbours in a log are alike, so a chunk says less than as many records drawn one by one: an entity that lives
 *         in one stretch of the log (a session, a campaign) is met by luck. Rates of entities that are there all along, the
 *         hottest among them, come out within about 1 / sqrt(their events in the sample).
 * Errors: FS_STREAM_UNKNOWN, FS_LOG_CORRUPT.
 */
export async function sampleViews(
  reader: StreamReader,
  plans: readonly ViewPlan[],
  { recordsMax, bytesMax }: SampleLimits = sampleLimits,
): Promise<ViewSample[] | null> {
  const partitions = await reader.refresh()
  const records = partitions.reduce((sum, { start, end }) => sum + (end - start), 0)
  if (records === 0) return null
  const counters = plans.map((plan) => new ViewCounter(plan))
  let sampled = 0
  for (const [partition, { start, end }] of partitions.entries()) {
    const held = end - start
    if (held === 0) continue
    const share = held / records
    const chunks = Math.max(1, Math.min(Math.round(chunksMax * share), Math.ceil(held / chunkRecordsMin)))
    const whole = records <= recordsMax
    const length = Math.max(1, Math.floor((recordsMax * share) / chunks))
    const fetches = Math.max(1, Math.floor((bytesMax * share) / chunks / fetchBytes))
    const batches: EventBatch[] = []
    for (let chunk = 0; chunk < chunks; chunk++) {
      const at = (index: number): number => start + Math.floor((index * held) / chunks)
      const first = whole || chunks === 1 ? at(chunk) : start + Math.floor((chunk * (held - length)) / (chunks - 1))
      const next = whole ? at(chunk + 1) : first + length
      batches.push(...(await readChunk(reader, partition, first, next, fetches)))
    }
    const looked = batches.reduce((sum, { count, dead }) => sum + count + dead.length, 0)
    if (looked === 0) continue
    sampled += looked
    for (const counter of counters) counter.add(batches, held / looked)
  }
  return counters.map((counter) => counter.sample(records, sampled))
}

/** Records [first, next) of a partition, in at most so many fetches. */
async function readChunk(
  reader: StreamReader,
  partition: number,
  first: number,
  next: number,
  fetches: number,
): Promise<EventBatch[]> {
  const batches: EventBatch[] = []
  for (let at = first; at < next && batches.length < fetches;) {
    const batch = await reader.read(partition, offset(at), fetchBytes)
    if (batch === null) break
    batches.push(takeBelow(batch, next))
    at = batch.nextOffset
  }
  return batches
}

/** Counts the events of each entity of one view. */
class ViewCounter {
  /** Names entities by their encoded keys; it holds no events. */
  readonly #engine: ViewEngine
  readonly #plan: ViewPlan
  /** Per entity: events in the sample, and scaled up to the log. */
  readonly #sampled: number[] = []
  readonly #scaled: number[] = []
  readonly #times: number[] = []
  #events = 0

  constructor(plan: ViewPlan) {
    this.#plan = plan
    this.#engine = new ViewEngine(plan, 1, new Set([0]))
  }

  add(batches: readonly EventBatch[], scale: number): void {
    const { view } = this.#plan
    for (const batch of batches) {
      const entities = this.#engine.resolve(batch)
      for (let row = 0; row < batch.count; row++) {
        const entity = entities[row] as number
        const timeMs = batch.eventTimes[row] as number
        if (entity < 0 || refusal(timeMs, batch.knownAts[row] as number, view) !== null) continue
        this.#sampled[entity] = (this.#sampled[entity] ?? 0) + 1
        this.#scaled[entity] = (this.#scaled[entity] ?? 0) + scale
        this.#times.push(timeMs)
        this.#events += scale
      }
    }
  }

  sample(records: number, sampled: number): ViewSample {
    let hottest = -1
    let distinct = 0
    let once = 0
    this.#sampled.forEach((count, entity) => {
      distinct++
      if (count === 1) once++
      if (hottest < 0 || (this.#scaled[entity] as number) > (this.#scaled[hottest] as number)) hottest = entity
    })
    return {
      records,
      sampled,
      events: Math.round(this.#events),
      spanMs: spanOf(Float64Array.from(this.#times)),
      distinct,
      once,
      hottestEvents: Math.round(this.#scaled[hottest] ?? 0),
      hottestSampled: this.#sampled[hottest] ?? 0,
    }
  }
}

/** Event time between the outer quantiles, stretched to all of the events. */
function spanOf(times: Float64Array): number {
  if (times.length < 2) return 0
  times.sort()
  const low = Math.floor(times.length * outlierShare)
  const high = times.length - 1 - low
  return (((times[high] as number) - (times[low] as number)) * (times.length - 1)) / (high - low)
}
