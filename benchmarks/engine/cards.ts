/** What the suite `engine` is about: card payments, 36 bytes each, and views of them with so many windows and features. */
import { buildCatalog, type Catalog } from '../../core/definition/catalog.ts'
import { bool, float64, int32, string, timestamp } from '../../core/definition/fields.ts'
import { count, max, mean, min, stddev, sum, variance, type FeatureBuilder } from '../../core/definition/functions.ts'
import type { NumericExpr } from '../../core/definition/expressions.ts'
import { entity, stream } from '../../core/definition/stream.ts'
import { view } from '../../core/definition/view.ts'
import type { ScalarType } from '../../core/event/types.ts'
import { dayMs } from '../../core/time/time.ts'
import { streamSchema } from '../../schemas/avro/index.ts'

export const hourMs = 3_600_000
export const spanMs = 7 * dayMs

export const cardFields = {
  card: string(),
  merchant: int32(),
  country: int32(),
  time: timestamp(),
  category: int32(),
  amount: float64(),
  terminal: int32(),
  present: bool(),
  attempt: int32(),
  auth: int32(),
}
/** Without a record key, so that events are as long as their payload says; one partition. */
export const cards = stream('cards', { fields: cardFields, eventTime: 'time' })
export const card = entity('card', { key: { card: string() } })
export const cardsSchema = streamSchema(cards.name, cards.fields)

/** Seven characters, whatever the number. */
export const cardText = (index: number): string => `c${index.toString(36).padStart(6, '0')}`

export const viewName = 'card_amounts'
export type AnyFeature = FeatureBuilder<ScalarType | `list<${ScalarType}>`>
interface Inputs {
  readonly amount: NumericExpr<'float64'>
  readonly terminal: NumericExpr<'int32'>
  readonly auth: NumericExpr<'int32'>
}

/** A view with the features that are asked for, and nothing else. */
export const catalogOf = (features: (inputs: Inputs) => Readonly<Record<string, AnyFeature>>): Catalog =>
  buildCatalog([
    cards,
    card,
    view(viewName, {
      from: cards,
      entity: card,
      features: ({ amount, terminal, auth }) => features({ amount, terminal, auth }),
    }),
  ])

/** Spans, by the name that they have in features, of the view that most lines are about. */
export const windows = { '1h': hourMs, '24h': dayMs, '7d': spanMs } as const

function fourOver(amount: NumericExpr<'float64'>, name: string, ms: number): [string, AnyFeature][] {
  return [
    [`count_${name}`, count().over(ms)],
    [`sum_${name}`, sum(amount).over(ms)],
    [`max_${name}`, max(amount).over(ms)],
    [`stddev_${name}`, stddev(amount).over(ms)],
  ]
}

/** 3 exact windows x 4 aggregations: count, sum, max, stddev of each window, in the order of `windows`. */
export const fourOverEach = ({ amount }: Pick<Inputs, 'amount'>): Readonly<Record<string, AnyFeature>> =>
  Object.fromEntries(Object.entries(windows).flatMap(([name, ms]) => fourOver(amount, name, ms)))
export const mainCatalog = catalogOf(fourOverEach)
export const mainFeatures = [...mainCatalog.views.values()].flatMap((of) => of.features.map(({ name }) => name))

/** So many exact windows of evenly spaced lengths up to 7 days, 4 aggregations each. */
export const windowsCatalog = (windowCount: number): Catalog =>
  catalogOf(({ amount }) =>
    Object.fromEntries(
      Array.from({ length: windowCount }, (_, index) => Math.round(spanMs / (index + 1))).flatMap((ms, index) =>
        fourOver(amount, `w${index}`, ms),
      ),
    ),
  )

/** The first so many of a fixed list over the three windows, the longest first: of one input until 21, of two, of three. */
export function featuresCatalog(featureCount: number): Catalog {
  return catalogOf((inputs) => {
    const all: [string, AnyFeature][] = []
    for (const [name, input] of Object.entries(inputs) as [string, NumericExpr<'float64'>][])
      for (const [window, ms] of Object.entries(windows).toReversed()) {
        if (name === 'amount') all.push([`count_${window}`, count().over(ms)])
        all.push([`sum_${name}_${window}`, sum(input).over(ms)])
        all.push([`max_${name}_${window}`, max(input).over(ms)])
        all.push([`stddev_${name}_${window}`, stddev(input).over(ms)])
        all.push([`mean_${name}_${window}`, mean(input).over(ms)])
        all.push([`min_${name}_${window}`, min(input).over(ms)])
        all.push([`variance_${name}_${window}`, variance(input).over(ms)])
      }
    return Object.fromEntries(all.slice(0, featureCount))
  })
}
