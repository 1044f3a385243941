import { FeatureStoreError } from '../core/errors.ts'
import type { Clock, Logger } from '../core/ports/environment.ts'

const backoffMsMin = 50
const backoffMsMax = 5_000

export const isUnavailable = (error: unknown): error is FeatureStoreError =>
  error instanceof FeatureStoreError && error.kind === 'unavailable'

/** A time in which a store does not answer: how long to wait before it is asked again. One line when it begins and ends. */
export class Outage {
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #of: string
  #failures = 0
  #sinceMs = 0
  #lastMs = 0

  constructor(clock: Clock, logger: Logger, of: string) {
    this.#clock = clock
    this.#logger = logger
    this.#of = of
  }

  get isOn(): boolean {
    return this.#failures > 0
  }

  /** From one failure to the next attempt. */
  get waitMs(): number {
    return this.#failures === 0 ? 0 : Math.min(backoffMsMax, backoffMsMin * 2 ** (this.#failures - 1))
  }

  /** Whether it has been waited for as long. */
  get isDue(): boolean {
    return this.#clock.nowMs() - this.#lastMs >= this.waitMs
  }

  failed(error: FeatureStoreError): void {
    this.#lastMs = this.#clock.nowMs()
    if (this.#failures++ > 0) return
    this.#sinceMs = this.#lastMs
    this.#logger.warn('online.unavailable', { of: this.#of, code: error.code, reason: error.message })
  }

  answered(): void {
    if (this.#failures === 0) return
    this.#logger.info('online.available', {
      of: this.#of,
      attempts: this.#failures + 1,
      afterMs: this.#clock.nowMs() - this.#sinceMs,
    })
    this.#failures = 0
  }
}
