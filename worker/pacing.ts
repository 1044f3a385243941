import type { Clock } from '../core/ports/environment.ts'

/** A flush begins at the earliest when this many times what the last one took has passed since that began. */
const coalesced = 8

/**
 * When changed rows are flushed while more events arrive: the sink sets the pace. A flush that took d milliseconds is
 * followed by the next one 8 d after it began, so that an eighth of the time goes into the sink whatever it is; the more
 * slowly it takes rows, the more events a row is written for. At `boundMs` at the latest, for that is how old rows may
 * get; a fixed short interval would write nearly every row once an event.
 *
 * Not more often, although rows would be younger: this is the pace of a worker that is behind its log, where what a row
 * waits for is the events before it. One that has caught up flushes when there is nothing to read (run-online.ts).
 */
export class FlushPacer {
  readonly #clock: Clock
  readonly #boundMs: number
  #begunMs: number
  #tookMs = 0
  #inFlight = false

  constructor(clock: Clock, boundMs: number) {
    this.#clock = clock
    this.#boundMs = boundMs
    this.#begunMs = clock.nowMs()
  }

  /** Whether the next flush may begin. Never while one is in flight. */
  get due(): boolean {
    if (this.#inFlight) return false
    return this.#clock.nowMs() - this.#begunMs >= Math.min(this.#boundMs, coalesced * this.#tookMs)
  }

  /** Runs one flush and takes its time. */
  async run<T>(flush: () => Promise<T>): Promise<T> {
    this.#inFlight = true
    this.#begunMs = this.#clock.nowMs()
    try {
      return await flush()
    } finally {
      this.#tookMs = this.#clock.nowMs() - this.#begunMs
      this.#inFlight = false
    }
  }
}
