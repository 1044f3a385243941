/** One direction of a connection: what comes in goes out in its order; now, later, not yet, or never. */
import type { Socket } from 'node:net'

/** What a proxy does to all its connections in one direction. */
export interface Weather {
  readonly delayMs: number
  /** Nothing goes out; it waits. */
  readonly holds: boolean
  /** Nothing goes out; it is thrown away, and so is all that follows, for good. */
  readonly swallows: boolean
}

export const fair: Weather = { delayMs: 0, holds: false, swallows: false }

/** `end`: no more bytes come. `reset`: both sides of the connection are told that it broke. */
type Item = { readonly dueMs: number; readonly what: Buffer | 'end' | 'reset' }

/** A source is not read while this much waits: whoever writes notices, as on a real wire. */
const waitingBytesMax = 1 << 20

export class Wire {
  readonly #source: Socket
  readonly #sink: Socket
  readonly #weather: () => Weather
  readonly #reset: () => void
  #queue: Item[] = []
  #waitingBytes = 0
  #timer: NodeJS.Timeout | undefined
  #ended = false
  /** Bytes are missing: nothing that would follow them may arrive. */
  #lost = false
  #sinkIsFull = false

  constructor(source: Socket, sink: Socket, weather: () => Weather, reset: () => void) {
    this.#source = source
    this.#sink = sink
    this.#weather = weather
    this.#reset = reset
    sink.on('drain', () => {
      this.#sinkIsFull = false
      this.pump()
    })
    sink.on('close', () => this.stop())
  }

  push(what: Buffer | 'end' | 'reset'): void {
    if (this.#lost || this.#ended) return
    if (typeof what === 'string') this.#ended = true
    else this.#waitingBytes += what.length
    const { delayMs } = this.#weather()
    // One that is due waits for those before it.
    this.#queue.push({ dueMs: performance.now() + delayMs, what })
    this.pump()
  }

  /** Lets out what may go out now. To be called when the weather has changed. */
  pump(): void {
    clearTimeout(this.#timer)
    const { holds, swallows } = this.#weather()
    if (swallows && this.#queue.length > 0) this.stop()
    while (!holds && !this.#sinkIsFull) {
      const [first] = this.#queue
      if (first === undefined) break
      const waitMs = first.dueMs - performance.now()
      if (waitMs > 0) {
        this.#timer = setTimeout(() => this.pump(), Math.ceil(waitMs))
        break
      }
      this.#queue.shift()
      this.#deliver(first.what)
    }
    if (this.#waitingBytes > waitingBytesMax) this.#source.pause()
    else if (this.#source.isPaused()) this.#source.resume()
  }

  /** Nothing goes out any more; what comes in is thrown away, and its writer does not notice. */
  stop(): void {
    clearTimeout(this.#timer)
    this.#lost = true
    this.#queue = []
    this.#waitingBytes = 0
    if (this.#source.isPaused()) this.#source.resume()
  }

  #deliver(what: Buffer | 'end' | 'reset'): void {
    if (what === 'reset') return this.#reset()
    if (what === 'end') {
      this.#sink.end()
      return
    }
    this.#waitingBytes -= what.length
    this.#sinkIsFull = !this.#sink.write(what)
  }
}
