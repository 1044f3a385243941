import type { Prng } from '../support/prng.ts'

const minuteMs = 60_000
const dayMs = 86_400_000

export const cards = Array.from({ length: 60 }, (_, index) => `card ${index}`)
const shops = Array.from({ length: 9 }, (_, index) => `shop ${index}`)

/** What a card comes to: of all payments that count, and of all records as they lie in the topic. */
export interface CardTotals {
  /** Once each, without those that were taken back. */
  n: number
  cents: bigint
  /** Records that are no retraction: what somebody counts who counts every message. */
  records: number
}

/**
 * Payments without end: a tenth of them late, some of those too late for a view, a tenth twice, a tenth taken back. Keeps
 * the totals of what it gave, by means that have nothing in common with the product's.
 */
export class Payments {
  readonly totals: ReadonlyMap<string, CardTotals> = new Map(
    cards.map((card) => [card, { n: 0, cents: 0n, records: 0 }]),
  )
  readonly #random: Prng
  #made = 0

  constructor(random: Prng) {
    this.#random = random
  }

  /** Lines for `append`, in the order in which they are to lie in the log. */
  next(count: number, nowMs: number): string[] {
    const random = this.#random
    const lines: string[] = []
    for (let index = 0; index < count; index++) {
      const cents = random.integer(-50_000, 150_000)
      const payment = {
        id: `p${this.#made++}`,
        at: nowMs - this.#ageMs(),
        card: random.pick(cards),
        shop: random.pick(shops),
        amount: cents / 100,
        cents,
      }
      const totals = this.totals.get(payment.card) as CardTotals
      const copies = random.chance(0.1) ? 2 : 1
      for (let copy = 0; copy < copies; copy++) lines.push(JSON.stringify(payment))
      totals.records += copies
      if (random.chance(0.1)) {
        lines.push(JSON.stringify({ ...payment, _op: 'retract' }))
      } else {
        totals.n++
        totals.cents += BigInt(cents)
      }
    }
    return lines
  }

  /** Not near the 20 days at which the view draws its line: the broker may take a while to give a record its time. */
  #ageMs(): number {
    const random = this.#random
    if (!random.chance(0.1)) return random.integer(0, 60 * minuteMs)
    return random.chance(0.5) ? random.integer(0, 19 * dayMs) : random.integer(21 * dayMs, 29 * dayMs)
  }
}
