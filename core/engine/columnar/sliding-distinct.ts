/**
 * How many codes there are among the events of a stretch, kept while the stretch moves: each event is added and taken away
 * once as moments advance, not once a moment.
 */
export class SlidingDistinct {
  #counts = new Int32Array(0)
  /** A code of no settled event that was seen in this call carries its stamp. */
  #stamps = new Int32Array(0)
  #stamp = 0
  #codes: Int32Array = new Int32Array(0)
  #out: readonly (Uint8Array | null)[] = []
  #from = 0
  #to = 0
  #distinct = 0

  /** Forgets the entity. Before its masks change: they say what is to be taken away. */
  end(): void {
    this.move(0, 0)
  }

  /** An entity: its codes, below `size`, and masks with 1 where an event is not counted. After `end` of the one before. */
  begin(codes: Int32Array, size: number, out: readonly (Uint8Array | null)[]): void {
    this.#codes = codes
    this.#out = out.filter((mask) => mask !== null)
    if (this.#counts.length >= size) return
    this.#counts = new Int32Array(size * 2)
    this.#stamps = new Int32Array(size * 2)
    this.#stamp = 0
  }

  /** Moves the stretch to places [from, to). */
  move(from: number, to: number): void {
    if (from >= this.#to || to <= this.#from) {
      while (this.#from < this.#to) this.#add(this.#from++, -1)
      this.#from = this.#to = from
    }
    while (this.#from > from) this.#add(--this.#from, 1)
    while (this.#to < to) this.#add(this.#to++, 1)
    while (this.#from < from) this.#add(this.#from++, -1)
    while (this.#to > to) this.#add(--this.#to, -1)
  }

  /** Codes of the stretch and of the events `places[first, last)`. */
  withEvents(places: Int32Array, first: number, last: number, nulls: Uint8Array | null): number {
    if (first === last) return this.#distinct
    if (this.#stamp === 0x7fffffff) this.#stamps.fill((this.#stamp = 0))
    const stamp = ++this.#stamp
    let distinct = this.#distinct
    for (let index = first; index < last; index++) {
      const place = places[index] as number
      if (nulls !== null && nulls[place] === 1) continue
      const code = this.#codes[place] as number
      if (this.#counts[code] !== 0 || this.#stamps[code] === stamp) continue
      this.#stamps[code] = stamp
      distinct++
    }
    return distinct
  }

  #add(place: number, by: 1 | -1): void {
    for (const mask of this.#out) if ((mask as Uint8Array)[place] === 1) return
    const code = this.#codes[place] as number
    const before = this.#counts[code] as number
    this.#counts[code] = before + by
    if (by === 1 ? before === 0 : before === 1) this.#distinct += by
  }
}
