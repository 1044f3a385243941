import { jumps } from '../../core/asof/known-at.ts'
import { durationText } from '../../core/definition/format.ts'
import type { StreamDefinition } from '../../core/definition/types.ts'
import { FeatureStoreError } from '../../core/errors.ts'
import { offset } from '../../core/event/position.ts'
import { lawfulTraits, type EventLog } from '../../core/ports/event-log.ts'
import { RecordCursor } from '../../schemas/recordbatch/index.ts'

/** Errors: FS_KNOWN_AT_REFUSED for a stream whose log sets the time at which a record became known itself. */
export function checkKeepsKnownAt(log: EventLog, { name, knownAt }: StreamDefinition, why: string): void {
  if ((log.traits ?? lawfulTraits).timestamps === 'declared' && knownAt !== 'createTime')
    throw new FeatureStoreError('FS_KNOWN_AT_REFUSED', `${why}, and the log of stream ${name} sets its own`)
}

/**
 * Keeps records that jump (`maxKnownAtJump`) out of a log that raises timestamps as it appends: it would raise all that
 * follow to such a one, and readers would refuse them with it. Where times stay as they were given, readers leave out the
 * one record alone, and nothing is refused here.
 */
export class JumpGuard {
  readonly #log: EventLog
  readonly #stream: string
  readonly #maxJumpMs: number
  /** By partition, of what the log had and what passed since. */
  readonly #newestMs = new Map<number, number>()

  constructor(log: EventLog, { name, maxKnownAtJumpMs }: StreamDefinition) {
    const isRaised = (log.traits ?? lawfulTraits).timestamps === 'raised'
    this.#log = log
    this.#stream = name
    this.#maxJumpMs = isRaised ? (maxKnownAtJumpMs ?? Number.POSITIVE_INFINITY) : Number.POSITIVE_INFINITY
  }

  /** Whether every record passes: there is no need to ask for each. */
  get isOpen(): boolean {
    return this.#maxJumpMs === Number.POSITIVE_INFINITY
  }

  /** Errors: FS_DEAD_KNOWN_AT. Records are asked for in the order of their appends. */
  async check(partition: number, timeMs: number): Promise<void> {
    let newestMs = this.#newestMs.get(partition)
    // Others may have appended since, and be nearer.
    if (newestMs === undefined || jumps(timeMs, newestMs, this.#maxJumpMs))
      newestMs = Math.max(newestMs ?? Number.NEGATIVE_INFINITY, await this.#newestOf(partition))
    if (jumps(timeMs, newestMs, this.#maxJumpMs))
      throw new FeatureStoreError(
        'FS_DEAD_KNOWN_AT',
        `known at ${timeMs}, ${timeMs - newestMs} ms beyond all that ${this.#stream}/${partition} has: more than maxKnownAtJump of ${durationText(this.#maxJumpMs)}`,
      )
    this.#newestMs.set(partition, Math.max(newestMs, timeMs))
  }

  /** Of a log that raises, the last record has it. */
  async #newestOf(partition: number): Promise<number> {
    const { start, end } = (await this.#log.describe(this.#stream))?.[partition] ?? { start: 0, end: 0 }
    if (end <= start) return Number.NEGATIVE_INFINITY
    const { bytes } = await this.#log.fetch(this.#stream, partition, offset(end - 1), 1)
    const cursor = new RecordCursor()
    cursor.reset(bytes)
    while (cursor.next());
    return cursor.timestampMs
  }
}
