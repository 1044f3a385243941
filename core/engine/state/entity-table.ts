import { murmur2 } from '../../event/key.ts'
import { entityWords, tailFlags, tailWords, type EventStore } from './event-store.ts'

// Words of an entity that belong to this table (event-store.ts has the others).
const keyStart = 0
const keyLength = 1
const keyHash = 2
const entityShard = 3

/** `loaded`: its events are here. `dirty`: they are not as the store has them. `kept`: somebody keeps what was finished from them. */
export const Flag = { loaded: 1, dirty: 2, listed: 4, kept: 8 } as const

/**
 * Entities by the bytes of their keys: an index with open addressing, at most half full, verified against the bytes. It
 * is made when somebody looks there: a worker mostly goes by the codes of its decoder (key-resolver.ts).
 *
 *     slots   | hash | entity + 1 | hash | entity + 1 | …        0: free
 *     keys    key bytes, one behind the other
 */
export class EntityTable {
  readonly #events: EventStore
  readonly #shards: number
  #slots = new Int32Array(64)
  #mask = 31
  #keys = new Uint8Array(256)
  #keysUsed = 0
  /** Entities below it are in the index. */
  #indexed = 0
  /** Entities were named by others than the caller of `append`. */
  #mixed = false

  constructor(events: EventStore, shards: number) {
    this.#events = events
    this.#shards = shards
  }

  get bytes(): number {
    return this.#slots.length * 4 + this.#keysUsed
  }

  /** The entity of a key, -1 for none. */
  find(key: Uint8Array): number {
    this.#index()
    return (this.#slots[this.#slotOf(key, murmur2(key)) * 2 + 1] as number) - 1
  }

  /** The entity of a key; a new one when there was none. */
  add(key: Uint8Array): number {
    this.#mixed = true
    this.#index()
    const hash = murmur2(key)
    const known = (this.#slots[this.#slotOf(key, hash) * 2 + 1] as number) - 1
    return known >= 0 ? known : this.#new(key, hash)
  }

  /**
   * A new entity for a key that nobody has named before, which is not checked: for the one caller that knows, because it
   * has a code for each key. Where others name entities as well, it is checked after all.
   */
  append(key: Uint8Array): number {
    return this.#mixed ? this.add(key) : this.#new(key, murmur2(key))
  }

  #new(key: Uint8Array, hash: number): number {
    const entity = this.#events.addEntity()
    const { entities } = this.#events
    const at = entity * entityWords
    entities[at + keyStart] = this.#keysUsed
    entities[at + keyLength] = key.length
    entities[at + keyHash] = hash
    // The same as `shardOf` of the key.
    entities[at + entityShard] = (hash & 0x7fffffff) % this.#shards
    this.#keep(key)
    return entity
  }

  /** Entities are put into the index when somebody looks there. */
  #index(): void {
    const { entityCount, entities } = this.#events
    while (entityCount * 2 > this.#mask) this.#grow()
    for (; this.#indexed < entityCount; this.#indexed++) {
      const hash = entities[this.#indexed * entityWords + keyHash] as number
      let slot = (hash ^ (hash >>> 15)) & this.#mask
      while (this.#slots[slot * 2 + 1] !== 0) slot = (slot + 1) & this.#mask
      this.#slots[slot * 2] = hash
      this.#slots[slot * 2 + 1] = this.#indexed + 1
    }
  }

  /** An entity's key: a view that stays as it is. */
  key(entity: number): Uint8Array {
    const at = entity * entityWords
    const start = this.#events.entities[at + keyStart] as number
    return this.#keys.subarray(start, start + (this.#events.entities[at + keyLength] as number))
  }

  /** Length of an entity's key, bytes. */
  keyBytes(entity: number): number {
    return this.#events.entities[entity * entityWords + keyLength] as number
  }

  shard(entity: number): number {
    return this.#events.entities[entity * entityWords + entityShard] as number
  }

  flags(entity: number): number {
    return this.#events.tails[entity * tailWords + tailFlags] as number
  }
  has(entity: number, flag: number): boolean {
    return ((this.#events.tails[entity * tailWords + tailFlags] as number) & flag) !== 0
  }
  set(entity: number, flag: number): void {
    const at = entity * tailWords + tailFlags
    this.#events.tails[at] = (this.#events.tails[at] as number) | flag
  }
  unset(entity: number, flag: number): void {
    const at = entity * tailWords + tailFlags
    this.#events.tails[at] = (this.#events.tails[at] as number) & ~flag
  }

  #slotOf(key: Uint8Array, hash: number): number {
    const slots = this.#slots
    for (let slot = (hash ^ (hash >>> 15)) & this.#mask; ; slot = (slot + 1) & this.#mask) {
      const entity = (slots[slot * 2 + 1] as number) - 1
      if (entity < 0 || (slots[slot * 2] === hash && this.#holds(entity, key))) return slot
    }
  }

  #holds(entity: number, key: Uint8Array): boolean {
    const at = entity * entityWords
    const { entities } = this.#events
    if (entities[at + keyLength] !== key.length) return false
    const start = entities[at + keyStart] as number
    for (let index = 0; index < key.length; index++) if (this.#keys[start + index] !== key[index]) return false
    return true
  }

  #keep(key: Uint8Array): void {
    if (this.#keysUsed + key.length > this.#keys.length) {
      const larger = new Uint8Array(Math.ceil((this.#keysUsed + key.length) * 1.5))
      larger.set(this.#keys)
      this.#keys = larger
    }
    this.#keys.set(key, this.#keysUsed)
    this.#keysUsed += key.length
  }

  #grow(): void {
    const old = this.#slots
    this.#slots = new Int32Array(old.length * 2)
    this.#mask = this.#mask * 2 + 1
    for (let index = 0; index < old.length; index += 2) {
      if (old[index + 1] === 0) continue
      const hash = old[index] as number
      let slot = (hash ^ (hash >>> 15)) & this.#mask
      while (this.#slots[slot * 2 + 1] !== 0) slot = (slot + 1) & this.#mask
      this.#slots[slot * 2] = hash
      this.#slots[slot * 2 + 1] = old[index + 1] as number
    }
  }
}
