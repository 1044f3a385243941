/**
 * The only clock and the only source of chance of a simulation. Whatever a fake does, it asks here for a moment to do it
 * at; between two steps everything that was woken runs until it waits for a fake again. So one seed is one run.
 *
 *     heap of (moment, turn) ─► run the least ─► let all promises settle ─► the next
 */
import { Prng } from '../support/prng.ts'
import { Finding } from './finding.ts'

interface Entry {
  readonly atMs: number
  /** Settles ties by the order of asking. */
  readonly turn: number
  /** True where it woke something that waits for a promise. */
  readonly run: () => boolean
}

/** A line of the trace is kept for reading as long as it is among the last. */
const linesMax = 160

/** All that was scheduled has run: jobs of settled promises run before the next turn of the event loop, and nothing else does. */
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

export class Scheduler {
  readonly random: Prng
  nowMs = 0
  steps = 0
  /** The first that was met; the run ends with it. */
  finding: Finding | null = null
  readonly #heap: Entry[] = []
  #turn = 0
  readonly #lines: string[] = []
  #hashLow = 0x811c9dc5 | 0
  #hashHigh = 0x41c6ce57 | 0

  constructor(seed: number) {
    this.random = new Prng(seed)
  }

  /** Runs `run` after `delayMs`; fractions of a millisecond are moments too. */
  after(delayMs: number, run: () => boolean | void): void {
    const heap = this.#heap
    const entry: Entry = { atMs: this.nowMs + delayMs, turn: this.#turn++, run: () => run() === true }
    let at = heap.push(entry) - 1
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!isBefore(entry, heap[parent] as Entry)) break
      heap[at] = heap[parent] as Entry
      at = parent
    }
    heap[at] = entry
  }

  /** Runs until `isDone`, looked at after each step that woke somebody, or until there is nothing left to do. */
  async run(isDone: () => boolean, stepsMax: number): Promise<void> {
    await settled()
    while (this.#heap.length > 0 && this.steps < stepsMax && this.finding === null) {
      const { atMs, run } = this.#take()
      this.nowMs = atMs
      this.steps++
      if (run()) await settled()
      if (isDone()) return
    }
  }

  #take(): Entry {
    const heap = this.#heap
    const least = heap[0] as Entry
    const last = heap.pop() as Entry
    if (heap.length === 0) return least
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && isBefore(heap[child + 1] as Entry, heap[child] as Entry)) child++
      if (!isBefore(heap[child] as Entry, last)) break
      heap[at] = heap[child] as Entry
      at = child
    }
    heap[at] = last
    return least
  }

  /** Ends the run with what went wrong. Errors that are no findings have no business here, and are some. */
  fail(error: unknown): void {
    this.finding ??= error instanceof Finding ? error : new Finding(textOf(error))
  }

  note(actor: string, what: string): void {
    const line = `${this.nowMs.toFixed(2).padStart(9)}  ${actor.padEnd(8)} ${what}`
    if (this.#lines.push(line) > 2 * linesMax) this.#lines.splice(0, linesMax)
    let low = this.#hashLow
    let high = this.#hashHigh
    for (let at = 0; at < line.length; at++) {
      const unit = line.charCodeAt(at)
      low = Math.imul(low ^ unit, 0x01000193)
      high = Math.imul(high ^ unit, 0x5f356495)
    }
    this.#hashLow = low
    this.#hashHigh = high
  }

  /** The last lines. */
  get trace(): readonly string[] {
    return this.#lines.slice(-linesMax)
  }

  /** Of all lines. */
  get digest(): string {
    const hex = (word: number): string => (word >>> 0).toString(16).padStart(8, '0')
    return `${hex(this.#hashHigh)}${hex(this.#hashLow)}`
  }
}

const isBefore = (a: Entry, b: Entry): boolean => a.atMs < b.atMs || (a.atMs === b.atMs && a.turn < b.turn)

const textOf = (error: unknown): string => (error instanceof Error ? (error.stack ?? error.message) : String(error))
