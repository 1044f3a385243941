import { firstFrom, isVisible, type EventColumns } from './columns.ts'

/** Entities with fewer events have no stragglers. */
const straggledMin = 64
const samplesMax = 256
/** Of so many, one may straggle. */
const straggledShare = 64

/**
 * Which events of an entity K takes for granted. An event is settled when it and what ended it are known; the bulk of an
 * entity's events is settled in about the order in which they happened, so that at K those before one place are settled
 * and only those behind it must be looked at:
 *
 *     places   | settled at K, but for stragglers: read by prefix sums | looked at one by one |
 *              0                                                     settled                 T
 *
 * Stragglers, which were known far later than the others, would hold that place back: they are looked at one by one
 * everywhere. So is nothing but speed decided by who is one. Events that something ended never count once it is settled.
 */
export class Settled {
  /** 1 for a straggler and for an event that does not stand: prefix sums leave it out. Null: none is left out. */
  left: Uint8Array | null = null
  #events: EventColumns = { times: none, knowns: none, untils: null, inputs: [] }
  /** By place: when all up to it are settled, stragglers aside. */
  #since = new Float64Array(0)
  /** Before place j: events that are not left out, at j. */
  #counts = new Int32Array(1)
  #leftRoom = new Uint8Array(0)
  #stragglers = new Int32Array(0)
  #straggling = 0
  #hint = 0
  /** Places that `look` found, ascending. */
  places = new Int32Array(64)
  found = 0

  begin(events: EventColumns): void {
    this.#events = events
    this.#hint = 0
    const count = events.times.length
    if (this.#since.length < count) {
      this.#since = new Float64Array(Math.ceil(count * 1.5))
      this.#counts = new Int32Array(this.#since.length + 1)
      this.#leftRoom = new Uint8Array(this.#since.length)
      this.#stragglers = new Int32Array(this.#since.length)
    }
    const { times, untils } = events
    const lagMax = lagOfMost(events)
    const since = this.#since
    const counts = this.#counts
    let newest = Number.NEGATIVE_INFINITY
    let kept = 0
    this.#straggling = 0
    for (let place = 0; place < count; place++) {
      const settledMs = settledAt(events, place)
      const straggles = settledMs - (times[place] as number) > lagMax
      if (straggles) this.#stragglers[this.#straggling++] = place
      else if (settledMs > newest) newest = settledMs
      const stays = !straggles && (untils === null || untils[place] === Number.POSITIVE_INFINITY)
      this.#leftRoom[place] = stays ? 0 : 1
      if (stays) kept++
      since[place] = newest
      counts[place + 1] = kept
    }
    this.left = kept === count ? null : this.#leftRoom
  }

  /** Events before it are settled at K, but for stragglers. */
  at(knownAsOfMs: number): number {
    return (this.#hint = firstFrom(this.#since, this.#events.times.length, knownAsOfMs, this.#hint, true))
  }

  /** Events of places [from, to), below `at(K)`, that prefix sums hold. */
  count(from: number, to: number): number {
    return (this.#counts[to] as number) - (this.#counts[from] as number)
  }

  /** Finds the events of [from, to) that count as of K and that prefix sums up to `settled` do not hold. */
  look(from: number, to: number, settled: number, knownAsOfMs: number): void {
    const events = this.#events
    if (this.places.length < to - from) this.places = new Int32Array((to - from) * 2)
    const { places } = this
    let found = 0
    if (this.#straggling > 0 && from < settled) {
      const last = Math.min(settled, to)
      for (let index = this.#stragglerFrom(from); index < this.#straggling; index++) {
        const place = this.#stragglers[index] as number
        if (place >= last) break
        if (isVisible(events, place, knownAsOfMs)) places[found++] = place
      }
    }
    const { knowns, untils } = events
    for (let place = Math.max(from, settled); place < to; place++) {
      if ((knowns[place] as number) > knownAsOfMs) continue
      if (untils === null || isVisible(events, place, knownAsOfMs)) places[found++] = place
    }
    this.found = found
  }

  /** Index of the first place found at or behind `place`. */
  from(place: number): number {
    let low = 0
    let high = this.found
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.places[middle] as number) < place) low = middle + 1
      else high = middle
    }
    return low
  }

  #stragglerFrom(place: number): number {
    let low = 0
    let high = this.#straggling
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#stragglers[middle] as number) < place) low = middle + 1
      else high = middle
    }
    return low
  }
}

const none = new Float64Array(0)

/** When nothing about an event changes any more. */
function settledAt({ knowns, untils }: EventColumns, place: number): number {
  const knownMs = knowns[place] as number
  if (untils === null) return knownMs
  const untilMs = untils[place] as number
  return untilMs === Number.POSITIVE_INFINITY ? knownMs : Math.max(knownMs, untilMs)
}

const samples = new Float64Array(samplesMax)

/** The time from happening to being settled that all but a 64th of the events keep to, by a sample. */
function lagOfMost(events: EventColumns): number {
  const count = events.times.length
  if (count < straggledMin) return Number.POSITIVE_INFINITY
  const taken = Math.min(count, samplesMax)
  for (let sample = 0; sample < taken; sample++) {
    const place = Math.floor((sample * count) / taken)
    samples[sample] = settledAt(events, place) - (events.times[place] as number)
  }
  const sorted = samples.subarray(0, taken).sort()
  return sorted[taken - 1 - Math.floor(taken / straggledShare)] as number
}
