/**
 * Windows of one entity with enough events for nodes of nodes, folded together, against plain loops over all events: what
 * one window takes over from another must be what it would have found itself. Events come late and are taken back between
 * reads, runs that know too much lie beside ones that do not, and values that no lane holds among ones that are held.
 */
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { buildCatalog } from '../../../core/definition/catalog.ts'
import { decimal, float64, int32, int64, nullable, string, timestamp } from '../../../core/definition/fields.ts'
import { count, max, mean, min, rows, stddev, sum, variance } from '../../../core/definition/functions.ts'
import { entity, stream } from '../../../core/definition/stream.ts'
import { view } from '../../../core/definition/view.ts'
import { hasValue, Status, valueAt, type FeatureValue } from '../../../core/engine/feature-column.ts'
import { ViewFinisher } from '../../../core/engine/finish.ts'
import { planView } from '../../../core/engine/plan.ts'
import { ViewState } from '../../../core/engine/state/view-state.ts'
import { decimalDigitsMax, formatDecimal, meanOfDecimals, stddevOfDecimals } from '../../../core/number/decimal.ts'
import { exactMean, ExactSquares, exactStddev, ExactSum } from '../../../core/number/exact-sum.ts'
import { meanOfBigIntegers, varianceOfBigIntegers } from '../../../core/number/integer-moments.ts'
import { Prng } from '../../support/prng.ts'

const histories = Number(process.env['TIDEMARK_PROPERTY_RUNS'] ?? 150)
const spans = [40, 3_000, 3_001, 50_000, 90_000, 1_000_000]
const rowsBack = 700

const events = stream('events', {
  fields: {
    at: timestamp(),
    id: string(),
    one: int32(),
    f: float64(),
    a: int64(),
    d: nullable(decimal(decimalDigitsMax, 4)),
    e: decimal(decimalDigitsMax, 15),
  },
  eventTime: 'at',
  id: 'id',
  key: ['one'],
})
const only = entity('only', { key: { one: int32() } })
const folds = view('folds', {
  from: events,
  entity: only,
  ttl: 10 ** 12,
  features: ({ f, a, d, e }) => {
    const functions = {
      n: count(),
      f_sum: sum(f),
      f_mean: mean(f),
      f_std: stddev(f),
      f_min: min(f),
      f_max: max(f),
      a_sum: sum(a),
      a_mean: mean(a),
      a_var: variance(a),
      a_min: min(a),
      a_max: max(a),
      d_sum: sum(d),
      d_mean: mean(d),
      d_std: stddev(d, { divisor: 'population' }),
      e_mean: mean(e),
      e_std: stddev(e),
    }
    return Object.fromEntries([
      ...spans.flatMap((ms) => Object.entries(functions).map(([name, of]) => [`${name}_${ms}`, of.over(ms)])),
      ...Object.entries(functions).map(([name, of]) => [`${name}_rows`, of.over(rows(rowsBack))]),
      ...Object.entries(functions).map(([name, of]) => [`${name}_before`, of.over(50_000, { endsBefore: 7_000 })]),
    ])
  },
})
const plan = planView(buildCatalog([events, only, folds]), 'folds', 0)

interface Event {
  readonly time: number
  readonly known: number
  until: number
  readonly f: number
  readonly a: bigint
  readonly d: bigint | null
  readonly e: bigint
}

/** The state, and what was put into it, in order of time. */
class Twin {
  readonly state = new ViewState(plan)
  readonly entity = this.state.events.addEntity()
  readonly events: Event[] = []
  readonly #inputs = ['f', 'a', 'd', 'e'].map((name) =>
    plan.inputs.findIndex(({ expression }) => expression.kind === 'field' && expression.name === name),
  )
  #orders = 0

  add(event: Event): void {
    const store = this.state.events
    const { layout } = store
    const record = store.insert(this.entity, event.time, event.known, this.#orders++)
    const half = record * (layout.stride >> 1)
    const [f = 0, a = 0, d = 0, e = 0] = this.#inputs
    store.floats[half + layout.until] = event.until
    store.floats[half + (layout.inputs[f] as number)] = event.f
    store.longs[half + (layout.inputs[a] as number)] = event.a
    store.longs[half + (layout.inputs[d] as number)] = event.d ?? 99n
    store.longs[half + (layout.inputs[e] as number)] = event.e
    store.words[record * layout.stride + layout.nulls] = event.d === null ? 1 << d : 0
    this.events.push(event)
  }

  /** Times are unique, so an event is found by its own. */
  takeBack(event: Event, untilMs: number): void {
    const store = this.state.events
    const cursor = store.lowerBound(this.entity, event.time)
    event.until = untilMs
    store.floats[store.recordAt(this.entity, cursor) * (store.layout.stride >> 1) + store.layout.until] = untilMs
    store.touch(this.entity, cursor)
  }
}

type Row = Record<string, FeatureValue | 'OVERFLOW'>

function expectedOf(all: readonly Event[], asOfMs: number, known: number): Row {
  const live = all
    .filter(({ time, known: at, until }) => time < asOfMs && at <= known && until > known)
    .sort((a, b) => a.time - b.time)
  const row: Row = {}
  for (const ms of spans)
    Object.assign(
      row,
      valuesOf(
        `_${ms}`,
        live.filter(({ time }) => time >= asOfMs - ms),
      ),
    )
  Object.assign(row, valuesOf('_rows', live.slice(-rowsBack)))
  const before = live.filter(({ time }) => time >= asOfMs - 57_000 && time < asOfMs - 7_000)
  return Object.assign(row, valuesOf('_before', before))
}

const range = (values: readonly bigint[], least: bigint, greatest: bigint) => {
  const total = values.reduce((to, value) => to + value, 0n)
  return values.length === 0 ? null : total < least || total > greatest ? 'OVERFLOW' : total
}

function valuesOf(suffix: string, live: readonly Event[]): Row {
  const exact = new ExactSum()
  const squares = new ExactSquares()
  let [least, greatest] = [Infinity, -Infinity]
  let [leastLong, greatestLong]: (bigint | null)[] = [null, null]
  for (const { f, a } of live) {
    exact.add(f)
    squares.add(f)
    least = Math.min(least, f)
    greatest = Math.max(greatest, f)
    leastLong = leastLong === null || leastLong === undefined || a < leastLong ? a : leastLong
    greatestLong = greatestLong === null || greatestLong === undefined || a > greatestLong ? a : greatestLong
  }
  const n = live.length
  const longs = live.map(({ a }) => a)
  const decimals = live.flatMap(({ d }) => (d === null ? [] : [d]))
  const small = live.map(({ e }) => e)
  const [longSum, longSquares, decimalSum, decimalSquares, smallSum, smallSquares] = [longs, decimals, small].flatMap(
    (values) => [
      values.reduce((total, value) => total + value, 0n),
      values.reduce((total, value) => total + value * value, 0n),
    ],
  ) as [bigint, bigint, bigint, bigint, bigint, bigint]
  const limit = 10n ** 18n - 1n
  const unscaled = range(decimals, -limit, limit)
  const values: Row = {
    n: BigInt(n),
    f_sum: n === 0 ? null : exact.round(),
    f_mean: exactMean(exact, n),
    f_std: exactStddev(exact, squares, n, 'sample'),
    f_min: n === 0 ? null : least,
    f_max: n === 0 ? null : greatest,
    a_sum: range(longs, -(2n ** 63n), 2n ** 63n - 1n),
    a_mean: meanOfBigIntegers(n, longSum),
    a_var: varianceOfBigIntegers(n, longSum, longSquares, 'sample'),
    a_min: leastLong ?? null,
    a_max: greatestLong ?? null,
    d_sum: typeof unscaled === 'bigint' ? formatDecimal(unscaled, 4) : unscaled,
    d_mean: meanOfDecimals(decimals.length, decimalSum, 4),
    d_std: stddevOfDecimals(decimals.length, decimalSum, decimalSquares, 4, 'population'),
    e_mean: meanOfDecimals(n, smallSum, 15),
    e_std: stddevOfDecimals(n, smallSum, smallSquares, 15, 'sample'),
  }
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name + suffix, value]))
}

const finisher = new ViewFinisher(plan)

function rowOf({ state, entity: own }: Twin, asOfMs: number, knownAsOfMs: number): Row {
  const builders = finisher.builders(1)
  expect(finisher.finish({ state, entity: own }, { asOfMs, knownAsOfMs }, builders, 0)).toBe(true)
  return Object.fromEntries(
    builders.map((builder) => {
      const column = builder.build()
      const status = column.statuses[0] as number
      return [
        column.name.replace('folds:', ''),
        status === Status.OVERFLOW ? 'OVERFLOW' : hasValue(status) ? valueAt(column, 0) : null,
      ]
    }),
  )
}

function eventOf(random: Prng, time: number, known: number, large: boolean): Event {
  const sign = random.chance(0.5) ? -1n : 1n
  const wide = random.chance(large ? 0.001 : 0)
  return {
    time,
    known,
    until: random.chance(large ? 0.01 : 0) ? known + random.integer(0, 5_000) : Infinity,
    f: wide ? random.pick([1e300, 2 ** -70, -1e300]) : random.integer(-1_000_000, 1_000_000) / 100,
    a: large ? sign * BigInt(random.integer(0, 2 ** 31 - 1)) * BigInt(random.integer(1, 2 ** 31)) : sign * 7n,
    d: random.chance(0.1) ? null : sign * BigInt(random.integer(0, 10_000_000)),
    e: sign * BigInt(random.integer(0, 1_000)),
  }
}

it.each([
  [3_000, false, 60],
  [3_000, true, 60],
  [9_000, true, 60],
  [80_000, false, 150],
  [80_000, true, 150],
])(
  'windows over %d events folded together are those folded alone, values large or taken back: %s',
  (size, large, share) => {
    fc.assert(
      fc.property(fc.integer(), (seed) => {
        const random = new Prng(seed)
        const twin = new Twin()
        // Even times at first; odd ones are left for what comes late.
        for (let index = 0; index < size; index++) twin.add(eventOf(random, index * 2, index * 2, large))
        const end = size * 2
        for (let round = 0; round < 4; round++) {
          for (const asOfMs of [end, random.integer(1, end), end - random.integer(1, Math.min(end, 300)), end + 50])
            for (const known of [Infinity, asOfMs, end - random.integer(0, end)]) {
              const expected = expectedOf(twin.events, asOfMs, known)
              if (
                Object.keys(expected).length > 0 &&
                twin.events.some(({ time, known: at, until }) => time < asOfMs && at <= known && until > known)
              )
                expect(rowOf(twin, asOfMs, known)).toEqual(expected)
            }
          for (let change = 0; change < 3; change++) {
            const time = Math.floor(random.integer(0, end) / 2) * 2 + 1
            if (!twin.events.some((event) => event.time === time)) twin.add(eventOf(random, time, end + round, large))
            twin.takeBack(random.pick(twin.events), end + round)
          }
        }
      }),
      { numRuns: Math.ceil(histories / share) },
    )
  },
)
