/** What the workers compute while they are killed: every kind of state, late and taken back events, and plain totals. */
import {
  count,
  days,
  entity,
  float64,
  hours,
  int64,
  lastN,
  max,
  mean,
  none,
  service,
  stddev,
  stream,
  string,
  sum,
  timestamp,
  view,
} from 'tidemark'

export const payments = stream('payments', {
  fields: { id: string(), at: timestamp(), card: string(), shop: string(), amount: float64(), cents: int64() },
  eventTime: 'at',
  id: 'id',
  key: ['shop'],
  partitions: 4,
})

/** Without an id, so that nothing but the position keeps an event from being counted twice. */
export const visits = stream('visits', {
  fields: { at: timestamp(), card: string(), seconds: int64() },
  eventTime: 'at',
  key: ['card'],
  partitions: 2,
})

export const card = entity('card', { key: { card: string() } })
export const shop = entity('shop', { key: { shop: string() } })

export const byCard = view('by_card', {
  from: payments,
  entity: card,
  ttl: days(30),
  lateness: days(20),
  features: ({ amount }) => ({
    n_1h: count().over(hours(1)),
    spent_1d: sum(amount).over(days(1)),
    max_7d: max(amount).over(days(7)),
    stddev_7d: stddev(amount).over(days(7)),
    last_3: lastN(amount, 3),
  }),
})

export const byShop = view('by_shop', {
  from: payments,
  entity: shop,
  ttl: days(30),
  history: none,
  features: ({ amount }) => ({ n_7d: count().over(days(7)), mean_7d: mean(amount).over(days(7)) }),
})

/**
 * Nothing is too late for it and nothing grows old: whoever appends the payments knows what it must say. Without a history:
 * each of its rows would be made of all events of a card.
 */
export const totals = view('totals', {
  from: payments,
  entity: card,
  history: none,
  features: ({ cents }) => ({ n: count(), cents: sum(cents) }),
})

export const visitTotals = view('visit_totals', {
  from: visits,
  entity: card,
  history: none,
  features: ({ seconds }) => ({ n: count(), seconds: sum(seconds) }),
})

export const risk = service('risk', { features: [byCard.all(), byShop.all(), visitTotals.all()] })
