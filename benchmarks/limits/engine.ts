/**
 * Limit of engine/ingest: record batches walked with their checksum, key, time and amount decoded, the entity found and
 * (time, amount) appended to its ring. It knows this one schema, trusts what a check would cost time for, and keeps
 * neither order nor sums nor knownAt: what memory and bytes cost, and nothing else.
 */
import { crc32c } from '../../schemas/recordbatch/crc32c.ts'

const batchHeaderBytes = 61
const payloadHeaderBytes = 10
/** Keys are this long: two words that overlap say all of one. */
const keyBytes = 7
const headWords = 4

/**
 *     slots   [hash, entity + 1] pairs, open addressing, at most half full; 0 is free
 *     heads   by entity: the key's first and last four bytes, events appended, free
 *     rings   by entity: `capacity` pairs of (time, amount); the newest overwrite the oldest
 *
 * Everything is preallocated and touched, so that no round pays for page faults.
 */
export class BareIngest {
  readonly #slots: Int32Array
  readonly #mask: number
  readonly #heads: Int32Array
  readonly #rings: Float64Array
  /** Slots of a ring, a power of two. */
  readonly capacity: number
  entities = 0

  constructor(entitiesMax: number, eventsPerEntityMax: number) {
    const slots = 2 ** Math.ceil(Math.log2(entitiesMax * 2 + 1))
    this.capacity = 2 ** Math.ceil(Math.log2(eventsPerEntityMax))
    this.#mask = slots - 1
    this.#slots = new Int32Array(slots * 2)
    this.#heads = new Int32Array(entitiesMax * headWords)
    this.#rings = new Float64Array(entitiesMax * this.capacity * 2).fill(1)
    this.reset()
  }

  reset(): void {
    this.#slots.fill(0)
    this.#heads.fill(0)
    this.entities = 0
  }

  /** Returns the number of events. */
  run(bytes: Uint8Array): number {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    let events = 0
    for (let at = 0; at < bytes.length;) {
      const end = at + 12 + view.getInt32(at + 8)
      if (view.getInt8(at + 16) !== 2 || crc32c(bytes, at + 21, end) !== view.getUint32(at + 17))
        throw new Error(`a batch at byte ${at} fails its checksum`)
      const count = view.getInt32(at + 57)
      this.#records(bytes, view, at + batchHeaderBytes, count)
      events += count
      at = end
    }
    return events
  }

  #records(bytes: Uint8Array, view: DataView, from: number, count: number): void {
    const heads = this.#heads
    const rings = this.#rings
    const { capacity } = this
    let at = from
    for (let index = 0; index < count; index++) {
      let byte = bytes[at++] as number
      let length = byte & 0x7f
      for (let shift = 7; byte > 0x7f; shift += 7) {
        byte = bytes[at++] as number
        length |= (byte & 0x7f) << shift
      }
      const end = at + (length >>> 1)
      at++ // attributes
      while ((bytes[at++] as number) > 0x7f); // timestamp
      while ((bytes[at++] as number) > 0x7f); // offset: they are dense
      at++ // no key
      while ((bytes[at++] as number) > 0x7f); // value length
      at += payloadHeaderBytes + 1
      const entity = this.#entityOf(view.getInt32(at, true), view.getInt32(at + keyBytes - 4, true))
      at += keyBytes
      while ((bytes[at++] as number) > 0x7f); // merchant
      while ((bytes[at++] as number) > 0x7f); // country
      byte = bytes[at++] as number
      let low = byte & 0x7f
      for (let shift = 7; byte > 0x7f && shift < 28; shift += 7) {
        byte = bytes[at++] as number
        low |= (byte & 0x7f) << shift
      }
      let high = 0
      for (let shift = 0; byte > 0x7f; shift += 7) {
        byte = bytes[at++] as number
        high |= (byte & 0x7f) << shift
      }
      while ((bytes[at++] as number) > 0x7f); // category
      const events = heads[entity * headWords + 2] as number
      const slot = (entity * capacity + (events & (capacity - 1))) * 2
      rings[slot] = (high * 0x1000_0000 + low) / 2
      rings[slot + 1] = view.getFloat64(at, true)
      heads[entity * headWords + 2] = events + 1
      at = end
    }
  }

  #entityOf(first: number, last: number): number {
    const slots = this.#slots
    const heads = this.#heads
    const mask = this.#mask
    let hash = Math.imul(first, 0x85eb_ca6b) ^ Math.imul(last, 0xc2b2_ae35)
    hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b_3c6d)
    hash ^= hash >>> 13
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const entity = (slots[slot * 2 + 1] as number) - 1
      if (entity < 0) return this.#add(slot, hash, first, last)
      if (slots[slot * 2] === hash && heads[entity * headWords] === first && heads[entity * headWords + 1] === last)
        return entity
    }
  }

  #add(slot: number, hash: number, first: number, last: number): number {
    const entity = this.entities++
    this.#slots[slot * 2] = hash
    this.#slots[slot * 2 + 1] = entity + 1
    this.#heads[entity * headWords] = first
    this.#heads[entity * headWords + 1] = last
    return entity
  }

  /** For checks: the number of an entity, new if it was never seen. */
  entityOf(key: string): number {
    const bytes = Buffer.from(key)
    if (bytes.length !== keyBytes) throw new Error(`a key has ${bytes.length} bytes, not ${keyBytes}`)
    return this.#entityOf(bytes.readInt32LE(0), bytes.readInt32LE(keyBytes - 4))
  }

  /** For checks: count, cents and greatest amount of an entity's events with a time in [fromMs, toMs). */
  totals(
    entity: number,
    fromMs: number,
    toMs: number,
  ): { readonly count: number; readonly cents: number; readonly max: number } {
    const events = Math.min(this.#heads[entity * headWords + 2] as number, this.capacity)
    let count = 0
    let cents = 0
    let max = Number.NEGATIVE_INFINITY
    for (let event = 0; event < events; event++) {
      const slot = (entity * this.capacity + event) * 2
      const time = this.#rings[slot] as number
      if (time < fromMs || time >= toMs) continue
      const amount = this.#rings[slot + 1] as number
      count++
      cents += Math.round(amount * 100)
      max = Math.max(max, amount)
    }
    return { count, cents, max }
  }
}
