import { runMask, runShift, type EventStore } from './event-store.ts'

/** Ties that are looked through one by one; from here on they are kept by id. */
const tiesMax = 128
/** Of all kept ties; beyond, they are found anew. */
const bytesMax = 32 * 1024 * 1024

/** A record that comes among the events of an entity, in a stream with an id. */
export interface Arrival {
  readonly entity: number
  readonly timeMs: number
  readonly knownMs: number
  readonly order: number
  /** As `idsOf` (identity.ts) has it. */
  readonly id: number
}

/**
 * Finds the records of an entity that have the event time and the id of another one. They lie among its ties, which are
 * looked through; where these are many (events stamped by the day, and an entity to which everything happens) each one
 * that comes would look through all the others, so the ties of such a millisecond are kept by id.
 *
 * What is kept says which records came; which of them are still there, the store says.
 */
export class TieGroups {
  readonly #kept = new Map<number, Map<number, TiesById>>()
  readonly #found: number[] = []
  #bytes = 0

  get bytes(): number {
    return this.#bytes
  }

  /** Cursors of the records with this event time and id, in total order; `arrival` is among them. Until the next call. */
  group(store: EventStore, arrival: Arrival): readonly number[] {
    const { entity, timeMs, id } = arrival
    const found = this.#found
    found.length = 0
    const ties = this.#kept.size === 0 ? undefined : this.#kept.get(entity)?.get(timeMs)
    if (ties !== undefined) {
      this.#bytes += ties.add(arrival)
      ties.each(id, (knownMs, order) => {
        const cursor = store.find(entity, timeMs, knownMs, order)
        if (cursor >= 0) found.push(cursor)
      })
      // Cursors sort as the events do.
      return found.sort((a, b) => a - b)
    }
    let seen = 0
    eachTie(store, entity, timeMs, (cursor, record) => {
      seen++
      if (idOf(store, record) === id) found.push(cursor)
    })
    if (seen > tiesMax) this.#keep(store, entity, timeMs)
    return found
  }

  /** Before events come that `group` was not asked for: rows that are loaded, entities whose numbers mean others. */
  clear(): void {
    this.#kept.clear()
    this.#bytes = 0
  }

  #keep(store: EventStore, entity: number, timeMs: number): void {
    const half = store.layout.stride >> 1
    const ties = new TiesById()
    eachTie(store, entity, timeMs, (cursor, record) => {
      const order = store.floats[record * half + store.layout.order] as number
      ties.add({ id: idOf(store, record), knownMs: store.knownAt(entity, cursor), order })
    })
    if (this.#bytes + ties.bytes > bytesMax) this.clear()
    this.#bytes += ties.bytes
    const ofEntity = this.#kept.get(entity)
    if (ofEntity === undefined) this.#kept.set(entity, new Map([[timeMs, ties]]))
    else ofEntity.set(timeMs, ties)
  }
}

function eachTie(
  store: EventStore,
  entity: number,
  timeMs: number,
  visit: (cursor: number, record: number) => void,
): void {
  const end = store.end(entity)
  for (
    let cursor = store.lowerBound(entity, timeMs);
    cursor < end && store.timeAt(entity, cursor) === timeMs;
    cursor = store.next(entity, cursor)
  )
    visit(cursor, store.record(store.runAt(entity, cursor >> runShift), cursor & runMask))
}

const idOf = ({ floats, layout }: EventStore, record: number): number =>
  floats[record * (layout.stride >> 1) + layout.id] as number

const slotFloats = 3

/**
 * Ties by id, without an object each: open addressing, half full at the most, with as many slots of an id as it has records.
 *
 *     slot   3 float64   | id, NaN: free | knownAt | order |
 */
class TiesById {
  #slots = new Float64Array(4 * tiesMax * slotFloats).fill(Number.NaN)
  #count = 0

  get bytes(): number {
    return this.#slots.byteLength
  }

  /** Returns by how many bytes it grew. */
  add({ id, knownMs, order }: Pick<Arrival, 'id' | 'knownMs' | 'order'>): number {
    this.#put(id, knownMs, order)
    this.#count++
    const old = this.#slots
    if (this.#count * 2 * slotFloats <= old.length) return 0
    this.#slots = new Float64Array(old.length * 2).fill(Number.NaN)
    for (let at = 0; at < old.length; at += slotFloats)
      if (!Number.isNaN(old[at])) this.#put(old[at] as number, old[at + 1] as number, old[at + 2] as number)
    return this.#slots.byteLength - old.byteLength
  }

  /** In any order. */
  each(id: number, visit: (knownMs: number, order: number) => void): void {
    const slots = this.#slots
    for (let at = this.#home(id); !Number.isNaN(slots[at]); at = (at + slotFloats) % slots.length)
      if (slots[at] === id) visit(slots[at + 1] as number, slots[at + 2] as number)
  }

  #put(id: number, knownMs: number, order: number): void {
    const slots = this.#slots
    let at = this.#home(id)
    while (!Number.isNaN(slots[at])) at = (at + slotFloats) % slots.length
    slots[at] = id
    slots[at + 1] = knownMs
    slots[at + 2] = order
  }

  #home(id: number): number {
    const mixed = Math.imul((id | 0) ^ Math.imul((id / 2 ** 32) | 0, 0x85ebca6b), 0x9e3779b1)
    // The number of slots is a power of two.
    return ((mixed ^ (mixed >>> 15)) & (this.#slots.length / slotFloats - 1)) * slotFloats
  }
}
