import { powerOfTwo, roundScaled } from './rational.ts'

/*
 * A fixed-point number wide enough for every sum of doubles, in float64 limbs of 32 bits:
 *
 *     value = sum over i of limbs[i] * 2^(lowest + 32 i)
 *
 *     bit    0 ........ 31 | 32 ....... 63 | ...            53 bits of a double touch three limbs at most
 *            limbs[0]      | limbs[1]      | ...
 *
 * A limb takes signed pieces below 2^32 without carrying, so 2^20 additions stay below 2^53 and are exact; then the
 * carries run once. Addition of integers is associative: neither order nor grouping can change a bit.
 * Source: R. M. Neal, "Fast exact summation using small and large superaccumulators" (2015), the small one.
 */
const limbBits = 32
const limbSize = 2 ** 32
/** Additions between two runs of carries: 2^20 pieces of 2^32, on top of a limb below 2^33, stay below 2^53. */
const additionsMax = 2 ** 20

// Every platform that Node runs on here is little-endian: words[1] is the high word.
const double = new Float64Array(1)
const words = new Int32Array(double.buffer)

export class Superaccumulator {
  readonly #lowest: number
  readonly #limbs: Float64Array
  /** Limbs outside [first, last] are 0. */
  #first: number
  #last = -1
  #additions = 0
  #infinities = 0
  #nan = false

  /** Holds multiples of 2^lowest below 2^(highest), and 2^40 additions of them. */
  constructor(lowest: number, highest: number) {
    this.#lowest = lowest
    this.#limbs = new Float64Array(Math.ceil((highest - lowest + 41) / limbBits) + 1)
    this.#first = this.#limbs.length
  }

  reset(): void {
    if (this.#first <= this.#last) this.#limbs.fill(0, this.#first, this.#last + 1)
    this.#first = this.#limbs.length
    this.#last = -1
    this.#additions = 0
    this.#infinities = 0
    this.#nan = false
  }

  /** Adds a double whose least bit is at least 2^lowest. NaN and the infinities are remembered apart. */
  add(x: number): void {
    double[0] = x
    const high = words[1] as number
    const low = words[0] as number
    const biased = (high >>> 20) & 0x7ff
    if (biased === 0x7ff) return this.#mark(x)
    const top = biased === 0 ? high & 0xfffff : (high & 0xfffff) | 0x100000
    if ((top | low) === 0) return
    const bit = (biased === 0 ? 0 : biased - 1) - 1074 - this.#lowest
    const at = bit >> 5
    const shift = bit & 31
    // `>>> 1 >>> (31 - shift)` is `>>> (32 - shift)`, for shift 0 too.
    const piece0 = (low << shift) >>> 0
    const piece1 = ((top << shift) | ((low >>> 1) >>> (31 - shift))) >>> 0
    const piece2 = (top >>> 1) >>> (31 - shift)
    const limbs = this.#limbs
    if (high < 0) {
      limbs[at] = (limbs[at] as number) - piece0
      limbs[at + 1] = (limbs[at + 1] as number) - piece1
      limbs[at + 2] = (limbs[at + 2] as number) - piece2
    } else {
      limbs[at] = (limbs[at] as number) + piece0
      limbs[at + 1] = (limbs[at + 1] as number) + piece1
      limbs[at + 2] = (limbs[at + 2] as number) + piece2
    }
    if (at < this.#first) this.#first = at
    if (at + 2 > this.#last) this.#last = at + 2
    if (++this.#additions >= additionsMax) this.#carry()
  }

  /** Adds `integer * 2^(lowest + bit)` for an integer of magnitude 2^53 at most. */
  addAtBit(integer: number, bit: number): void {
    const at = bit >> 5
    // Scaling and cutting a 53-bit integer at multiples of 2^32 is exact.
    let rest = integer * (1 << (bit & 15)) * (1 << (bit & 16))
    const piece2 = Math.trunc(rest / (limbSize * limbSize))
    rest -= piece2 * (limbSize * limbSize)
    const piece1 = Math.trunc(rest / limbSize)
    const limbs = this.#limbs
    limbs[at] = (limbs[at] as number) + (rest - piece1 * limbSize)
    limbs[at + 1] = (limbs[at + 1] as number) + piece1
    limbs[at + 2] = (limbs[at + 2] as number) + piece2
    if (at < this.#first) this.#first = at
    if (at + 2 > this.#last) this.#last = at + 2
    if (++this.#additions >= additionsMax) this.#carry()
  }

  /** Adds what the other holds; both must have the same range. */
  merge(other: Superaccumulator): void {
    if (other.#lowest !== this.#lowest || other.#limbs.length !== this.#limbs.length)
      throw new RangeError('superaccumulators of different ranges')
    if (this.#additions + other.#additions >= additionsMax) {
      this.#carry()
      other.#carry()
    }
    const from = other.#limbs
    for (let at = other.#first; at <= other.#last; at++)
      this.#limbs[at] = (this.#limbs[at] as number) + (from[at] as number)
    this.#first = Math.min(this.#first, other.#first)
    this.#last = Math.max(this.#last, other.#last)
    // One more for the limb that stood here after its own carries.
    this.#additions += other.#additions + 1
    this.#nan ||= other.#nan
    this.#infinities |= other.#infinities
  }

  /**
   * Appends the sum as `| limbs | first | limb … |`, least limb first: the same for every order of additions. The limbs have
   * the sign of the sum and neither the first nor the last is 0. `| 0 |` is 0; NaN and the infinities are `| -1 |` to `| -3 |`.
   */
  store(to: number[]): void {
    const odd = this.nonFinite()
    if (odd !== 0) {
      to.push(Number.isNaN(odd) ? -1 : odd > 0 ? -2 : -3)
      return
    }
    this.#carry()
    const limbs = this.#limbs
    const negative = this.#last >= 0 && (limbs[this.#last] as number) < 0
    if (negative) this.#negate()
    let first = this.#first
    let last = this.#last
    while (last >= first && limbs[last] === 0) last--
    while (first < last && limbs[first] === 0) first++
    if (last < first) to.push(0)
    else {
      to.push(last - first + 1, first)
      for (let at = first; at <= last; at++) to.push(negative ? -(limbs[at] as number) + 0 : (limbs[at] as number))
    }
    if (negative) this.#negate()
  }

  /** Adds what another one of the same range stored; returns where that ends. */
  addStored(from: Float64Array, at: number): number {
    const count = from[at] as number
    if (count < 0) this.#mark(count === -1 ? Number.NaN : count === -2 ? Infinity : -Infinity)
    if (count <= 0) return at + 1
    const first = from[at + 1] as number
    const limbs = this.#limbs
    for (let index = 0; index < count; index++)
      limbs[first + index] = (limbs[first + index] as number) + (from[at + 2 + index] as number)
    if (first < this.#first) this.#first = first
    if (first + count - 1 > this.#last) this.#last = first + count - 1
    if (++this.#additions >= additionsMax) this.#carry()
    return at + 2 + count
  }

  /** NaN, Infinity or -Infinity if such were added; 0 if every value was finite. */
  nonFinite(): number {
    if (this.#nan || this.#infinities === 3) return Number.NaN
    if (this.#infinities === 0) return 0
    return this.#infinities === 1 ? Number.POSITIVE_INFINITY : Number.NEGATIVE_INFINITY
  }

  /** RN to nearest-even of the exact sum. Never -0. */
  round(): number {
    if (this.#nan || this.#infinities !== 0) return this.nonFinite()
    this.#carry()
    const limbs = this.#limbs
    let top = this.#last
    if (top < 0) return 0
    const negative = (limbs[top] as number) < 0
    if (negative) this.#negate()
    while (top > 0 && limbs[top] === 0) top--
    const magnitude = this.#roundDownFrom(top)
    if (negative) this.#negate()
    return negative ? -magnitude : magnitude
  }

  /** The exact sum; all values must have been finite. */
  toBigInt(): { readonly value: bigint; readonly exponent: number } {
    this.#carry()
    let value = 0n
    for (let at = this.#last; at >= this.#first; at--) value = (value << 32n) + BigInt(this.#limbs[at] as number)
    if (value === 0n) return { value, exponent: 0 }
    return { value, exponent: this.#lowest + limbBits * this.#first }
  }

  #mark(x: number): void {
    if (Number.isNaN(x)) this.#nan = true
    else this.#infinities |= x > 0 ? 1 : 2
  }

  /** Brings every limb but the last into [0, 2^32); the last keeps the sign. */
  #carry(): void {
    const limbs = this.#limbs
    let carry = 0
    for (let at = this.#first; at < this.#last; at++) {
      const limb = (limbs[at] as number) + carry
      carry = Math.floor(limb / limbSize)
      limbs[at] = limb - carry * limbSize
    }
    if (this.#last >= 0) {
      let limb = (limbs[this.#last] as number) + carry
      while (limb >= limbSize || limb < -limbSize) {
        carry = Math.floor(limb / limbSize)
        limbs[this.#last] = limb - carry * limbSize
        limb = (limbs[++this.#last] as number) + carry
      }
      limbs[this.#last] = limb
      // A zero on top would hide the sign of the limb below.
      while (this.#last >= this.#first && limbs[this.#last] === 0) this.#last--
      if (this.#last < this.#first) {
        this.#first = limbs.length
        this.#last = -1
      }
    }
    this.#additions = 0
  }

  #negate(): void {
    const limbs = this.#limbs
    let borrow = 0
    for (let at = this.#first; at < this.#last; at++) {
      const limb = -(limbs[at] as number) + borrow
      borrow = limb < 0 ? -1 : 0
      limbs[at] = limb < 0 ? limb + limbSize : limb
    }
    // 0 - 0 is +0, where a sign change alone would leave -0.
    limbs[this.#last] = 0 - (limbs[this.#last] as number) + borrow
  }

  /**
   * RN of a positive carried number whose top limb is `top`: the first 54 to 96 bits as two exact doubles, all that lies
   * below folded into the last bit of the second (it is not among the bits that rounding can meet), then one addition,
   * which rounds once.
   */
  #roundDownFrom(top: number): number {
    const limbs = this.#limbs
    const at = (index: number): number => (index >= 0 ? (limbs[index] as number) : 0)
    const narrow = at(top) < 2 ** 21
    const base = narrow ? top - 1 : top
    const upper = narrow ? at(top) * limbSize + at(top - 1) : at(top)
    const next = at(base - 2)
    let sticky = (next & 0x7ff) !== 0
    for (let index = base - 3; !sticky && index >= this.#first; index--) sticky = limbs[index] !== 0
    const middle = Math.floor(next / 2048)
    const lower = at(base - 1) * 2 ** 21 + (sticky && middle % 2 === 0 ? middle + 1 : middle)
    const exponent = this.#lowest + limbBits * base - 53
    // Near the ends of the range scaling could round a second time.
    if (exponent < -1000 || exponent > 800) {
      const { value, exponent: lowest } = this.toBigInt()
      return roundScaled(value, lowest)
    }
    return (upper * 2 ** 53 + lower) * powerOfTwo(exponent)
  }
}
