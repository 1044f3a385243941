/** A small generator of pseudo-random numbers (sfc32): the same numbers for the same seed on every machine. */
export class Prng {
  #a: number
  #b: number
  #c = 0x2545f491 | 0
  #counter = 1

  constructor(seed: number) {
    this.#a = seed | 0
    this.#b = Math.floor(seed / 2 ** 32) | 0
    for (let round = 0; round < 12; round++) this.word()
  }

  /** 32 bits, unsigned. */
  word(): number {
    const sum = (((this.#a + this.#b) | 0) + this.#counter) | 0
    this.#counter = (this.#counter + 1) | 0
    this.#a = this.#b ^ (this.#b >>> 9)
    this.#b = (this.#c + (this.#c << 3)) | 0
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + sum
    return sum >>> 0
  }

  /** In [0, 1), 53 bits. */
  unit(): number {
    return ((this.word() >>> 5) * 67_108_864 + (this.word() >>> 6)) / 2 ** 53
  }

  /** An integer in [from, to], both safe. */
  integer(from: number, to: number): number {
    return from + Math.floor(this.unit() * (to - from + 1))
  }

  chance(share: number): boolean {
    return this.word() < share * 2 ** 32
  }

  pick<T>(items: readonly T[]): T {
    return items[Math.floor(this.unit() * items.length)] as T
  }
}
