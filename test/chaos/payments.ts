import type { Prng } from '../support/prng.ts'

const minuteMs = 60_000
const dayMs = 86_400_000

export const cards = Array.from({ length: 60 }, (_, index) => `card ${index}`)
const shops = Array.from({ length: 9 }, (_, index) => `shop ${index}`)

/** What a card comes to. */
export interface CardTotals {
  /** Payments that count: once each, without those that were taken back. */
  n: number
  cents: bigint
  /** Records of payments as they lie in the topic, without retractions: what counts who counts every message. */
  records: number
  visits: number
  seconds: bigint
}

/** Lines for `append` by stream, in the order in which they are to lie in the log. */
export type Lines = Readonly<Record<'payments' | 'visits', readonly string[]>>

/**
 * Payments and visits without end. Of the payments a tenth is late, some of those too late for a view, a tenth there twice,
 * a tenth taken back. Keeps the totals of what it gave, by means that have nothing in common with the product's.
 */
export class Payments {
  readonly totals: ReadonlyMap<string, CardTotals> = new Map(
    cards.map((card) => [card, { n: 0, cents: 0n, records: 0, visits: 0, seconds: 0n }]),
  )
  readonly #random: Prng
  #made = 0

  constructor(random: Prng) {
    this.#random = random
  }

  /** So many payments, and about half as many visits. */
  next(count: number, nowMs: number): Lines {
    const payments: string[] = []
    const visits: string[] = []
    for (let index = 0; index < count; index++) {
      payments.push(...this.#payment(nowMs))
      if (this.#random.chance(0.5)) visits.push(this.#visit(nowMs))
    }
    return { payments, visits }
  }

  #payment(nowMs: number): string[] {
    const random = this.#random
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
    const lines = [JSON.stringify(payment)]
    if (random.chance(0.1)) lines.push(JSON.stringify(payment))
    totals.records += lines.length
    if (random.chance(0.1)) {
      lines.push(JSON.stringify({ ...payment, _op: 'retract' }))
    } else {
      totals.n++
      totals.cents += BigInt(cents)
    }
    return lines
  }

  /** Many of them alike: no event is told from another by what is in it. */
  #visit(nowMs: number): string {
    const random = this.#random
    const seconds = random.integer(1, 9)
    const visit = { at: nowMs - (nowMs % minuteMs) - minuteMs, card: random.pick(cards), seconds }
    const totals = this.totals.get(visit.card) as CardTotals
    totals.visits++
    totals.seconds += BigInt(seconds)
    return JSON.stringify(visit)
  }

  /** Not near the 20 days at which the view draws its line: the broker may take a while to give a record its time. */
  #ageMs(): number {
    const random = this.#random
    if (!random.chance(0.1)) return random.integer(0, 60 * minuteMs)
    return random.chance(0.5) ? random.integer(0, 19 * dayMs) : random.integer(21 * dayMs, 29 * dayMs)
  }
}
