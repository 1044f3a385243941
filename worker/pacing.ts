import type { Clock } from '../core/ports/environment.ts'

/**
 * When changed rows are flushed while more events arrive: the sink sets the pace. After a flush of d milliseconds events
 * are applied for 2 d before the next one, so that a third of the time goes into the sink whatever it is; the more slowly
 * it takes rows, the more events a row is written for. At `boundMs` at the latest, for that is how old rows may get; a
 * fixed short interval would write nearly every row once an event.
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
    return this.#clock.nowMs() - this.#begunMs >= Math.min(this.#boundMs, 3 * this.#tookMs)
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
