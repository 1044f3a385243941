/**
 * The views of small histories: subsets of all functions x window kinds x stream kinds, in two units of time. In the
 * long unit, events of one entity lie further apart than 31 bits of milliseconds.
 */
import { buildCatalog } from '../../../core/definition/catalog.ts'
import type { BoolExpr, Expr, NumericExpr, StringExpr, DecimalExpr } from '../../../core/definition/expressions.ts'
import { int32, string } from '../../../core/definition/fields.ts'
import {
  count,
  distinctCount,
  first,
  last,
  lastN,
  max,
  mean,
  min,
  rows,
  series,
  session,
  share,
  stddev,
  sum,
  tumbling,
  variance,
} from '../../../core/definition/functions.ts'
import { entity, stream, type Stream } from '../../../core/definition/stream.ts'
import type { ViewDefinition } from '../../../core/definition/types.ts'
import { view } from '../../../core/definition/view.ts'
import { ViewFinisher } from '../../../core/engine/finish.ts'
import { planView, type ViewPlan } from '../../../core/engine/plan.ts'
import type { AnyFeature, StreamKind } from './harness.ts'
import { declared, declaredCorrected } from '../../support/declared.ts'

export const longUnit = 1_000_000
export const dedupeSpanUnits = 400
export const latenessUnits = 1_500
export const aheadUnits = 40

export interface PlanSpec {
  readonly kind: StreamKind
  /** A name of `overs`. */
  readonly window: string
  /** A name of `subsets`. */
  readonly functions: string
  readonly where: 'none' | 'ok' | 'either'
  readonly key: 'person' | 'place'
  readonly unit: 1 | typeof longUnit
  /** With a ttl and a lateness. */
  readonly bounded: boolean
}

const streamOf = (kind: StreamKind, unit: number) => {
  const shared = { eventTime: 'at', key: ['who'], partitions: 3 } as const
  if (kind === 'plain') return stream('events', { fields: declared, ...shared })
  const { key: _, ...unkeyed } = shared
  const from =
    kind === 'id'
      ? stream('events', { fields: declaredCorrected, ...shared, id: 'id', dedupeSpan: dedupeSpanUnits * unit })
      : stream('events', { fields: declaredCorrected, ...unkeyed, changelog: true, primaryKey: ['id', 'line'] })
  return from as unknown as Stream<typeof declared>
}
interface Expressions {
  readonly at: Expr<'timestamp'>
  readonly i: NumericExpr<'int32'>
  readonly b: Expr<'int64'>
  readonly f: NumericExpr<'float64'>
  readonly s: StringExpr
  readonly ok: BoolExpr
  readonly d: DecimalExpr
}

/** Many sums of different inputs: more than one word of null bits. */
const many = (i: NumericExpr<'int32'>): Record<string, AnyFeature> =>
  Object.fromEntries(Array.from({ length: 33 }, (_, at) => [`i_${at}`, sum(i.add(at))]))

export const subsets: Readonly<Record<string, (of: Expressions) => Record<string, AnyFeature>>> = {
  counts: () => ({ n: count() }),
  integers: ({ i }) => ({ sum: sum(i), mean: mean(i), min: min(i), max: max(i), variance: variance(i) }),
  deviations: ({ i }) => ({ std: stddev(i), population: stddev(i, { divisor: 'population' }), big: share(i.gt(3)) }),
  ratios: ({ i }) => ({ mean: mean(i.div(3)), min: min(i.div(-3)), last: last(i.div(-3)), last3: lastN(i.div(7), 3) }),
  decimals: ({ d }) => ({
    sum: sum(d),
    mean: mean(d),
    max: max(d),
    min: min(d),
    std: stddev(d),
    last3: lastN(d, 3),
    distinct: distinctCount(d),
    above: share(d.gt(0.05)),
  }),
  longs: ({ b }) => ({ sum: sum(b), mean: mean(b), max: max(b), min: min(b), std: stddev(b) }),
  floats: ({ f }) => ({ sum: sum(f), mean: mean(f), std: stddev(f), max: max(f), min: min(f) }),
  moments: ({ f }) => ({ variance: variance(f, { divisor: 'population' }), mean: mean(f), n: count() }),
  float_sum: ({ f }) => ({ sum: sum(f) }),
  strings: ({ s }) => ({ distinct: distinctCount(s), last: last(s), first: first(s), last3: lastN(s, 3) }),
  order: ({ i, ok, b, f }) => ({ i2: lastN(i, 2), ok: last(ok), b: first(b), f: last(f), f9: lastN(f, 9) }),
  unordered: ({ f, i, b, ok, s }) => ({
    n: count(),
    f: sum(f),
    i: sum(i),
    b: sum(b),
    ok: share(ok),
    x: share(s.eq('x')),
  }),
  distinct: ({ f, i, b, ok }) => ({
    f: distinctCount(f),
    i: distinctCount(i),
    b: distinctCount(b),
    ok: distinctCount(ok),
  }),
  times: ({ at, s }) => ({ newest: max(at), oldest: min(at), s: distinctCount(s) }),
  wide: ({ i, s, f, b }) => ({ ...many(i), s: last(s), f: sum(f), b: first(b) }),
}

/** Windows, in units. */
const overs: Readonly<Record<string, (unit: number) => (feature: AnyFeature) => AnyFeature>> = {
  lifetime: () => (feature) => feature,
  'sliding 1 ms': () => (feature) => feature.over(1),
  'sliding 700': (unit) => (feature) => feature.over(700 * unit),
  'sliding 4000': (unit) => (feature) => feature.over(4_000 * unit),
  'sliding 700 ends 900 before': (unit) => (feature) => feature.over(700 * unit, { endsBefore: 900 * unit }),
  'sliding 3000 ends 1000 before': (unit) => (feature) => feature.over(3_000 * unit, { endsBefore: 1_000 * unit }),
  'sliding 2000 to 700': (unit) => (feature) => feature.over(2_000 * unit, { resolution: 700 * unit }),
  'rows 1': () => (feature) => feature.over(rows(1)),
  'rows 5': () => (feature) => feature.over(rows(5)),
  'rows 70': () => (feature) => feature.over(rows(70)),
  'tumbling 700 current': (unit) => (feature) => feature.over(tumbling(700 * unit, { take: 'current' })),
  'tumbling 2000 last': (unit) => (feature) => feature.over(tumbling(2_000 * unit, { take: 'last' })),
  'session 1 ms': () => (feature) => feature.over(session(1)),
  'session 60': (unit) => (feature) => feature.over(session(60 * unit)),
  'session 900': (unit) => (feature) => feature.over(session(900 * unit)),
  'series 4 x 1000': (unit) => (feature) =>
    feature.aggregation.function === 'lastN'
      ? feature.over(4_000 * unit)
      : feature.over(series(4_000 * unit, 1_000 * unit)),
  'series 7 x 300': (unit) => (feature) =>
    feature.aggregation.function === 'lastN'
      ? feature.over(2_100 * unit)
      : feature.over(series(2_100 * unit, 300 * unit)),
}

/** What a window adds to an event time where it opens, closes or slides past, in units. */
export const edges: Readonly<Record<string, readonly number[]>> = {
  'sliding 700': [700],
  'sliding 4000': [4_000],
  'sliding 700 ends 900 before': [900, 1_600],
  'sliding 3000 ends 1000 before': [1_000, 4_000],
  'sliding 2000 to 700': [2_000, 1_300, 2_700],
  'tumbling 700 current': [700],
  'tumbling 2000 last': [2_000, 4_000],
  'session 60': [60],
  'session 900': [900],
  'series 4 x 1000': [1_000, 2_000, 3_000, 4_000],
  'series 7 x 300': [300, 600, 1_800, 2_100],
}

/** Windows that only a ttl bounds, and what is refused over them without one. */
const unbounded = new Set(['lifetime', 'rows 1', 'rows 5', 'rows 70', 'session 1 ms', 'session 60', 'session 900'])
const withoutInverse = new Set(['min', 'max', 'first', 'last', 'lastN', 'distinctCount'])
const refused = (kind: StreamKind, name: string): boolean =>
  kind === 'plain' ? name === 'distinctCount' : withoutInverse.has(name)

export interface Subject {
  readonly spec: PlanSpec
  readonly definition: ViewDefinition
  readonly plan: ViewPlan
  readonly finisher: ViewFinisher
}

const subjects = new Map<string, Subject>()

/** Compiled once. */
export function subjectOf(spec: PlanSpec): Subject {
  const name = JSON.stringify(spec)
  let subject = subjects.get(name)
  if (subject === undefined) subjects.set(name, (subject = compile(spec)))
  return subject
}

function compile(spec: PlanSpec): Subject {
  const { kind, window, where, key, unit, bounded } = spec
  const from = streamOf(kind, unit)
  const place = entity('place', { key: { who: string(), region: int32() } })
  const person = entity('person', { key: { who: string() } })
  const over = (overs[window] as (typeof overs)[string])(unit)
  const definition = view('small', {
    from,
    entity: (key === 'place' ? place : person) as typeof place,
    ...(bounded ? { ttl: 4_000 * unit, lateness: latenessUnits * unit, maxAhead: aheadUnits * unit } : {}),
    features: (own) => {
      const all = (subsets[spec.functions] as (typeof subsets)[string])(own)
      const { i, ok, s } = own
      return Object.fromEntries(
        Object.entries(all)
          // What the catalog refuses without a bound.
          .filter(([, { aggregation }]) => bounded || !unbounded.has(window) || !refused(kind, aggregation.function))
          .concat([['any', count()]])
          .map(([name, feature]) => [
            name,
            over(
              where === 'none' || name === 'any' ? feature : feature.where(where === 'ok' ? ok : i.gt(0).or(s.eq('x'))),
            ),
          ]),
      )
    },
  })
  const plan = planView(buildCatalog([from, place, person, definition]), 'small', 300 * unit)
  return { spec, definition, plan, finisher: new ViewFinisher(plan) }
}

const wheres = ['none', 'ok', 'none', 'either'] as const

/** The view of history `index` of a kind: all functions over all windows, by turns; the rest varies with each round. */
export function specOf(kind: StreamKind, index: number): PlanSpec {
  const functions = Object.keys(subsets)
  const windows = Object.keys(overs)
  const round = Math.floor(index / (functions.length * windows.length))
  const at = index % functions.length
  return {
    kind,
    functions: functions[at] as string,
    window: windows[Math.floor(index / functions.length) % windows.length] as string,
    where: wheres[(round + at) % wheres.length] as PlanSpec['where'],
    key: (round >> 2) % 2 === 0 ? 'person' : 'place',
    unit: (round + at) % 3 === 1 ? longUnit : 1,
    bounded: (round + (at >> 1)) % 2 === 0,
  }
}

/** How many histories of a kind see every function over every window once. */
export const histories = { aRound: Object.keys(subsets).length * Object.keys(overs).length }
