/**
 * One entity of a million events, whose values lie at the ends of what the lanes of a sum hold, far beyond them, and cancel:
 * against plain loops and sums of BigInts, at moments in the middle of the history, as they were known then, from memory and
 * from its row.
 */
import { expect, it } from 'vitest'
import { buildCatalog } from '../../../core/definition/catalog.ts'
import { float64, int32, string, timestamp } from '../../../core/definition/fields.ts'
import {
  count,
  first,
  last,
  lastN,
  max,
  mean,
  min,
  rows,
  stddev,
  sum,
  variance,
} from '../../../core/definition/functions.ts'
import { entity, stream } from '../../../core/definition/stream.ts'
import type { ViewDefinition } from '../../../core/definition/types.ts'
import { view } from '../../../core/definition/view.ts'
import { valueAt } from '../../../core/engine/feature-column.ts'
import { ViewFinisher } from '../../../core/engine/finish.ts'
import { planView, type ViewPlan } from '../../../core/engine/plan.ts'
import { decodeRow, encodeRow } from '../../../core/engine/row.ts'
import type { EntityEvents } from '../../../core/engine/state/view-state.ts'
import { ViewEngine } from '../../../core/engine/view-engine.ts'
import { Op } from '../../../core/event/operation.ts'
import { offset } from '../../../core/event/position.ts'
import {
  leastExponent,
  roundRational,
  roundScaled,
  roundSqrtRational,
  toScaledBigInt,
} from '../../../core/number/rational.ts'
import { Prng } from '../../support/prng.ts'
import type { AnyFeature } from './harness.ts'

const spanMs = 400_000
const rowsBack = 1_000
const one = { type: 'int32', values: new Int32Array(0), nulls: null } as const
const fields = { at: timestamp(), one: int32(), f: float64(), i: int32() }
const only = entity('only', { key: { one: int32() } })

function planOf(kind: 'plain' | 'id'): ViewPlan {
  const from =
    kind === 'plain'
      ? stream('events', { fields, eventTime: 'at', partitions: 3 })
      : (stream('events', {
          fields: { id: string(), ...fields },
          eventTime: 'at',
          id: 'id',
          key: ['one'],
          partitions: 3,
        }) as never)
  // What a function without an inverse may be asked for, where events can be taken back, needs a bound.
  const ttl = 10 ** 12
  const definition: ViewDefinition = view('v', {
    from: from as ReturnType<typeof stream<typeof fields>>,
    entity: only,
    ttl,
    features: ({ f, i }) => {
      const functions: Record<string, AnyFeature> = {
        n: count(),
        sum: sum(f),
        mean: mean(f),
        variance: variance(f),
        std: stddev(f, { divisor: 'population' }),
        min: min(f),
        max: max(f),
        first: first(f),
        last: last(f),
        last5: lastN(f, 5),
        i_sum: sum(i),
        i_mean: mean(i),
        i_std: stddev(i),
        i_min: min(i),
      }
      const over = (suffix: string, window: (feature: AnyFeature) => AnyFeature) =>
        Object.entries(functions).map(([name, feature]) => [`${name}_${suffix}`, window(feature)])
      return Object.fromEntries([
        ...over('all', (feature) => feature),
        ...over('span', (feature) => feature.over(spanMs)),
        ...over('rows', (feature) => feature.over(rows(rowsBack))),
      ]) as Record<string, AnyFeature>
    },
  })
  return planView(buildCatalog([from, only, definition]), 'v', 0)
}

/** Records in order of arrival. */
interface Log {
  readonly times: Float64Array
  readonly knowns: Float64Array
  readonly partitions: Int32Array
  readonly offsets: Float64Array
  readonly f: Float64Array
  readonly i: Int32Array
  /** Of a stream with an id; -Infinity of a retraction. */
  readonly untils: Float64Array
  readonly ids: Int32Array | null
  readonly ops: Uint8Array | null
}

/** 64 of them may make a run of which the lanes are full, another of which they are not, and one that they do not hold. */
function valueOf(random: Prng, stretch: number): number {
  const sign = random.chance(0.5) ? -1 : 1
  switch (stretch) {
    case 0:
      // The top: Σx² of 64 is just below 2^56.
      return sign * (2 ** 25 - random.integer(1, 8) * 2 ** -27)
    case 1:
      // The bottom.
      return sign * random.integer(1, 7) * 2 ** -62
    case 2:
      return sign * random.pick([2 ** 25 - 2 ** -27, 2 ** -62, 3 * 2 ** -62, 1, 0.1, 0])
    case 3:
      // One that is too large, or too small, among those that are not.
      return random.chance(0.01)
        ? sign * random.pick([1e300, 2 ** 26, 2 ** 60, 5e-324, 2 ** -63])
        : sign * random.unit() * 2 ** 24
    case 4:
      return sign * random.pick([1e300, 1, 2 ** -1000])
    default:
      return sign * (random.integer(1, 100_000_000) / 100)
  }
}

const batchLength = 10_000

/** Of every three events `taken` are taken back. */
function logOf(random: Prng, count: number, taken: number): Log {
  // Events in order of time, each with its moment of arrival; a tenth is late, some by far.
  interface Arrival {
    readonly time: number
    readonly arrival: number
    readonly f: number
    readonly i: number
    readonly id: number
    readonly retracts: boolean
  }
  const arrivals: Arrival[] = []
  let time = 1_700_000_000_000
  let cancels: number[] = []
  for (let id = 0; id < count; id++) {
    // Ties; and now and then a gap of more than 31 bits.
    time += random.chance(0.3) ? 0 : random.integer(1, 6)
    if (id % 300_000 === 299_999) time += 2 ** 31 + 5
    const late = random.chance(0.1) ? random.integer(0, random.chance(0.05) ? 500_000 : 3_000) : 0
    const stretch = (Math.floor(id / 3_000) + 5) % 6
    const back = random.chance(0.3) ? cancels.pop() : undefined
    const f = back === undefined ? valueOf(random, stretch) : -back
    if (back === undefined && random.chance(0.4)) cancels.push(f)
    if (cancels.length > 10_000) cancels = []
    const i = random.pick([2 ** 31 - 1, -(2 ** 31), random.integer(-1_000, 1_000)])
    arrivals.push({ time, arrival: time + late, f, i, id, retracts: false })
    if (id % 3 < taken)
      arrivals.push({ time, arrival: time + random.integer(-200, 5_000), f: 0, i: 0, id, retracts: true })
  }
  const order = Uint32Array.from(arrivals.keys())
  order.sort((a, b) => (arrivals[a] as Arrival).arrival - (arrivals[b] as Arrival).arrival || a - b)
  const length = arrivals.length
  const log = {
    times: new Float64Array(length),
    knowns: new Float64Array(length),
    partitions: new Int32Array(length),
    offsets: new Float64Array(length),
    f: new Float64Array(length),
    i: new Int32Array(length),
    untils: new Float64Array(length).fill(Number.POSITIVE_INFINITY),
    ids: taken > 0 ? new Int32Array(length) : null,
    ops: taken > 0 ? new Uint8Array(length) : null,
  }
  const next = [0, 0, 0]
  const endedMs = new Float64Array(count).fill(Number.POSITIVE_INFINITY)
  order.forEach((of, at) => {
    const { time: eventTime, arrival, f, i, id, retracts } = arrivals[of] as Arrival
    const partition = Math.floor(at / batchLength) % 3
    log.times[at] = eventTime
    log.knowns[at] = arrival
    log.partitions[at] = partition
    log.offsets[at] = next[partition] as number
    next[partition] = (next[partition] as number) + 1
    log.f[at] = f
    log.i[at] = i
    if (log.ids === null || log.ops === null) return
    log.ids[at] = id
    log.ops[at] = retracts ? Op.retract : Op.insert
    if (retracts) endedMs[id] = arrival
  })
  if (log.ids !== null && log.ops !== null)
    for (let at = 0; at < length; at++) {
      const until = endedMs[log.ids[at] as number] as number
      const never = log.ops[at] === Op.retract || until <= (log.knowns[at] as number)
      log.untils[at] = never ? Number.NEGATIVE_INFINITY : until
    }
  return log
}

function applied(plan: ViewPlan, log: Log): EntityEvents {
  const engine = new ViewEngine(plan, 1, new Set([0]))
  const ids = log.ids === null ? null : Array.from(log.ids, String)
  for (let from = 0; from < log.times.length; from += batchLength) {
    const to = Math.min(from + batchLength, log.times.length)
    const length = to - from
    const batch = {
      stream: 'events',
      partition: log.partitions[from] as number,
      epoch: 0,
      firstOffset: offset(log.offsets[from] as number),
      nextOffset: offset((log.offsets[to - 1] as number) + 1),
      count: length,
      offsets: log.offsets.subarray(from, to),
      eventTimes: log.times.subarray(from, to),
      knownAts: log.knowns.subarray(from, to),
      columns: {
        at: { type: 'timestamp' as const, values: log.times.subarray(from, to), nulls: null },
        one: { ...one, values: new Int32Array(length).fill(1) },
        f: { type: 'float64' as const, values: log.f.subarray(from, to), nulls: null },
        i: { type: 'int32' as const, values: log.i.subarray(from, to), nulls: null },
        ...(ids === null
          ? {}
          : {
              id: {
                type: 'string' as const,
                values: Int32Array.from({ length }, (_, row) => row),
                table: { strings: ids.slice(from, to) },
                nulls: null,
              },
            }),
      },
      ops: log.ops === null ? null : log.ops.subarray(from, to),
      dead: [],
    }
    const entities = engine.resolve(batch)
    engine.load(engine.unloaded(), [null])
    engine.apply(
      batch,
      entities,
      () => 0,
      () => {},
    )
    // Summaries that later events must make void.
    if ((from / batchLength) % 7 === 0) engine.summarise()
  }
  return { state: engine.state, entity: 0 }
}

/** Σx and Σx² of doubles, by exponent: exact. */
class PlainSums {
  readonly #sums = new Map<number, bigint>()
  readonly #squares = new Map<number, bigint>()
  n = 0n
  add(x: number): void {
    this.n++
    const { mantissa, exponent } = toScaledBigInt(x)
    this.#sums.set(exponent, (this.#sums.get(exponent) ?? 0n) + mantissa)
    this.#squares.set(exponent, (this.#squares.get(exponent) ?? 0n) + mantissa * mantissa)
  }
  /** In units of 2^-1074 and 2^-2148. */
  total(): { sum: bigint; squares: bigint } {
    let sum = 0n
    let squares = 0n
    for (const [exponent, mantissa] of this.#sums) sum += mantissa << BigInt(exponent - leastExponent)
    for (const [exponent, mantissa] of this.#squares) squares += mantissa << BigInt(2 * (exponent - leastExponent))
    return { sum, squares }
  }
}

/** What the features must be over the given records, in total order. */
function expected(log: Log, taken: readonly number[], suffix: string): [string, unknown][] {
  const floats = new PlainSums()
  const integers = { sum: 0n, squares: 0n }
  let least = Number.POSITIVE_INFINITY
  let most = Number.NEGATIVE_INFINITY
  let least32 = Number.POSITIVE_INFINITY
  for (const at of taken) {
    const f = log.f[at] as number
    floats.add(f)
    if (f < least) least = f
    if (f > most) most = f
    const i = log.i[at] as number
    if (i < least32) least32 = i
    integers.sum += BigInt(i)
    integers.squares += BigInt(i) * BigInt(i)
  }
  const { sum: exact, squares } = floats.total()
  const { n } = floats
  const unit = 1n << BigInt(-leastExponent)
  const last5 = taken.slice(-5).map((at) => log.f[at] as number)
  const values: Record<string, unknown> = {
    n,
    sum: roundScaled(exact, leastExponent),
    mean: roundRational(exact, n * unit),
    variance: n < 2n ? null : roundRational(n * squares - exact * exact, n * (n - 1n) * unit * unit),
    std: roundSqrtRational(n * squares - exact * exact, n * n * unit * unit),
    min: least + 0,
    max: most + 0,
    first: (log.f[taken[0] as number] as number) + 0,
    last: (last5.at(-1) as number) + 0,
    last5: last5.map((f) => f + 0),
    i_sum: integers.sum,
    i_mean: roundRational(integers.sum, n),
    i_std: n < 2n ? null : roundSqrtRational(n * integers.squares - integers.sum * integers.sum, n * (n - 1n)),
    i_min: least32,
  }
  return Object.entries(values).map(([name, value]) => [`${name}_${suffix}`, value])
}

function check(plan: ViewPlan, log: Log, random: Prng, moments: number): void {
  const events = applied(plan, log)
  // The lanes lie where the values were put: their top, their bottom and what is beyond are met.
  expect(events.state.anchors).toContain(0)
  const row = encodeRow(events)
  const decoded = decodeRow(plan, row)
  expect(Buffer.compare(encodeRow(decoded), row)).toBe(0)

  const order = Uint32Array.from(log.times.keys())
  const by = (values: Float64Array | Int32Array, a: number, b: number): number =>
    (values[a] as number) - (values[b] as number)
  order.sort((a, b) => by(log.times, a, b) || by(log.knowns, a, b) || by(log.partitions, a, b) || by(log.offsets, a, b))
  const finisher = new ViewFinisher(plan)
  const length = order.length
  const answer = (of: EntityEvents, asOfMs: number, knownAsOfMs: number) => {
    const builders = finisher.builders(1)
    expect(finisher.finish(of, { asOfMs, knownAsOfMs }, builders, 0)).toBe(true)
    return new Map(
      builders.map((builder, at) => [finisher.features[at]?.definition.name as string, valueAt(builder.build(), 0)]),
    )
  }
  for (let moment = 0; moment < moments; moment++) {
    const last = log.times[order[length - 1] as number] as number
    const asOfMs =
      moment === 0
        ? last + 1
        : (log.times[order[random.integer(length >> 3, length - 1)] as number] as number) + random.integer(0, 1)
    // As it was known then, before, or now: runs are cut by it.
    const knownAsOfMs = moment % 3 === 0 ? Number.POSITIVE_INFINITY : asOfMs + random.integer(-2_000, 2_000)
    const visible: number[] = []
    for (const at of order)
      if (
        (log.times[at] as number) < asOfMs &&
        (log.knowns[at] as number) <= knownAsOfMs &&
        ((log.untils[at] as number) > knownAsOfMs || log.untils[at] === Number.POSITIVE_INFINITY)
      )
        visible.push(at)
    const wanted = [
      ...expected(log, visible, 'all'),
      ...expected(
        log,
        visible.filter((at) => (log.times[at] as number) >= asOfMs - spanMs),
        'span',
      ),
      ...expected(log, visible.slice(-rowsBack), 'rows'),
    ]
    for (const of of [events, decoded]) {
      const got = answer(of, asOfMs, knownAsOfMs)
      expect(wanted.map(([name]) => [name, got.get(name)])).toEqual(wanted)
    }
  }
}

it(
  'a million events: every value is that of exact arithmetic, from memory and from the row',
  { timeout: 300_000 },
  () => {
    const random = new Prng(1_000_000)
    check(planOf('plain'), logOf(random, 1_000_000, 0), random, 4)
  },
)

it('a hundred thousand events of which a third is taken back', { timeout: 120_000 }, () => {
  const random = new Prng(100_000)
  check(planOf('id'), logOf(random, 75_000, 1), random, 6)
})
