/** What sampled values have to be: core/engine/naive.ts over the events that the decoder gives. */
import type { AsOf } from '../../core/asof/visible.ts'
import { streamOf, viewOf, type Catalog } from '../../core/definition/catalog.ts'
import { statusName } from '../../core/engine/feature-column.ts'
import { acceptedEvents, naiveValue, type NaiveEvent } from '../../core/engine/naive.ts'
import type { Scalar } from '../../core/event/types.ts'
import { dayMs } from '../../core/time/time.ts'
import { ensure } from '../harness.ts'
import { cards, cardText, hourMs, viewName } from './cards.ts'
import { endMs, startMs, type Dataset } from './dataset.ts'
import { newDecoder, type Finished } from './subject.ts'

/** What all features of a card are as of one moment. */
export interface Expected {
  readonly card: number
  readonly asOf: AsOf
  readonly values: readonly Finished[]
}

/** Sorting more of them would take longer than what is measured. */
const cardsConsidered = 200_000

/** The cards with most events, some in between, and the ones with fewest; each once, of the first ones that have any. */
export function sampledCards({ perEntity }: Dataset, each = 2): number[] {
  const order = [...perEntity.subarray(0, cardsConsidered).keys()].filter((card) => (perEntity[card] as number) > 0)
  order.sort((a, b) => (perEntity[b] as number) - (perEntity[a] as number) || a - b)
  const middle = Math.floor(order.length / 2)
  return [...new Set([...order.slice(0, each), ...order.slice(middle, middle + each), ...order.slice(-each)])]
}

/** Events of the cards given, as objects, in total order. */
export function eventsOf(dataset: Dataset, of: readonly number[]): Map<number, NaiveEvent[]> {
  const found = new Map(of.map((card): [number, NaiveEvent[]] => [card, []]))
  const wanted = new Map(of.map((card) => [cardText(card), card]))
  const decoder = newDecoder()
  for (const chunk of dataset.log.chunks()) {
    const batch = decoder.decode(chunk, 0, 0, chunk.baseOffset)
    ensure(batch.dead.length === 0, `${dataset.name}: a record does not decode`)
    const { card, amount, terminal, auth } = batch.columns
    if (card?.type !== 'string') throw new Error('the key is no string')
    const scalar = (values: ArrayLike<Scalar> | undefined, row: number): Scalar => values?.[row] ?? null
    for (let row = 0; row < batch.count; row++) {
      const name = card.table.strings[card.values[row] as number] as string
      const number = wanted.get(name)
      if (number === undefined) continue
      found.get(number)?.push({
        eventTimeMs: batch.eventTimes[row] as number,
        knownAtMs: batch.knownAts[row] as number,
        partition: 0,
        offset: batch.offsets[row] as number,
        fields: {
          card: name,
          amount: scalar(amount?.values, row),
          terminal: scalar(terminal?.values, row),
          auth: scalar(auth?.values, row),
        },
      })
    }
  }
  for (const [card, events] of found) {
    const count = dataset.perEntity[card]
    ensure(events.length === count, `${dataset.name}: a card has ${events.length} of its ${count} events`)
  }
  return found
}

/**
 * At the end with everything known; at the very time of an event and an hour and a day after it, where windows begin and
 * end on the event; just before it was known, and when it was; amid the week.
 */
function momentsOf(events: readonly NaiveEvent[]): AsOf[] {
  const { eventTimeMs: timeMs, knownAtMs } = events[Math.floor(events.length / 2)] as NaiveEvent
  return [
    { asOfMs: endMs, knownAsOfMs: Number.POSITIVE_INFINITY },
    { asOfMs: timeMs, knownAsOfMs: timeMs },
    { asOfMs: timeMs + 1, knownAsOfMs: knownAtMs - 1 },
    { asOfMs: timeMs + 1, knownAsOfMs: knownAtMs },
    { asOfMs: timeMs + hourMs, knownAsOfMs: Number.POSITIVE_INFINITY },
    { asOfMs: timeMs + dayMs, knownAsOfMs: timeMs + dayMs },
    { asOfMs: startMs + 3.5 * dayMs, knownAsOfMs: Number.POSITIVE_INFINITY },
  ]
}

/** Of every moment of every card; those of the busiest cards take long, so a few cards do. */
export function expectedOf(
  catalog: Catalog,
  dataset: Dataset,
  of: readonly number[],
  moments: (events: readonly NaiveEvent[]) => readonly AsOf[] = momentsOf,
): Expected[] {
  const view = viewOf(catalog, viewName)
  const { fields } = streamOf(catalog, cards.name)
  return [...eventsOf(dataset, of)].flatMap(([card, events]) => {
    const accepted = acceptedEvents(view, events, () => dataset.events)
    return moments(accepted).map((asOf): Expected => ({
      card,
      asOf,
      values: view.features.map((feature) => {
        const { status, value } = naiveValue(view, fields, feature, accepted, asOf)
        return { name: feature.name, status, value }
      }),
    }))
  })
}

/** Bit for bit, statuses included. */
export function ensureExpected(
  what: string,
  expected: readonly Expected[],
  finish: (card: number, asOf: AsOf) => readonly Finished[],
): void {
  ensure(expected.length > 0, `${what}: nothing was checked`)
  for (const { card, asOf, values } of expected) {
    const got = finish(card, asOf)
    values.forEach(({ name, status, value }, index) => {
      const there = got[index]
      ensure(
        there !== undefined && there.status === status && Object.is(there.value, value),
        `${what}: ${name} of ${cardText(card)} at ${asOf.asOfMs}, known at ${asOf.knownAsOfMs}, is ${shown(there)}, ` +
          `by the naive twin ${shown({ name, status, value })}`,
      )
    })
  }
}

const shown = (finished: Finished | undefined): string =>
  finished === undefined ? 'not there' : `${statusName(finished.status)} ${String(finished.value)}`
