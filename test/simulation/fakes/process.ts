import type { Scheduler } from '../scheduler.ts'

/**
 * A process as the others see it: what reaches it, and whether it reacts. Dead, it never does: promises that it awaits
 * stay open for ever, and with them all that it had in memory. Paused, it reacts once it is woken.
 */
export class SimProcess {
  readonly name: string
  readonly #scheduler: Scheduler
  #alive = true
  #paused = false
  #held: (() => void)[] = []

  constructor(scheduler: Scheduler, name: string) {
    this.#scheduler = scheduler
    this.name = name
  }

  get isAlive(): boolean {
    return this.#alive
  }
  get isPaused(): boolean {
    return this.#paused
  }

  crash(): void {
    this.#alive = false
    this.#held = []
  }

  pause(): void {
    this.#paused = true
  }

  /** What came meanwhile arrives in order, each at a moment of its own. */
  wake(): void {
    this.#paused = false
    const held = this.#held
    this.#held = []
    held.forEach((run, index) => this.#scheduler.after((index + 1) / 1_024, () => this.receive(run)))
  }

  /** Something arrives. True when it was taken in now. */
  receive(run: () => void): boolean {
    if (!this.#alive) return false
    if (this.#paused) {
      this.#held.push(run)
      return false
    }
    run()
    return true
  }

  /** Passes time. */
  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => this.#scheduler.after(ms, () => this.receive(resolve)))
  }
}
