/**
 * One check for every property of the engine: a history goes through an engine in batches, with flushes, evictions,
 * restarts and several owners of shards, and what it finishes must equal the plain twin bit for bit.
 */
import fc from 'fast-check'
import { expect } from 'vitest'
import { buildCatalog } from '../../../core/definition/catalog.ts'
import type { BoolExpr, NumericExpr, StringExpr } from '../../../core/definition/expressions.ts'
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
  type FeatureBuilder,
} from '../../../core/definition/functions.ts'
import { entity, stream } from '../../../core/definition/stream.ts'
import type { ViewDefinition } from '../../../core/definition/types.ts'
import { view } from '../../../core/definition/view.ts'
import { statusName, valueAt } from '../../../core/engine/feature-column.ts'
import { ViewFinisher } from '../../../core/engine/finish.ts'
import { acceptedEvents, countingEvents, naiveValue, type NaiveEvent } from '../../../core/engine/naive.ts'
import { planView, type ViewPlan } from '../../../core/engine/plan.ts'
import type { AsOf } from '../../../core/asof/visible.ts'
import { PartedRow, stretchOf, type Stretch } from '../../../core/engine/parted-row.ts'
import { canonicalRow, directoryOf, isHead, type Directory } from '../../../core/engine/row-parts.ts'
import type { EntityEvents } from '../../../core/engine/state/view-state.ts'
import { ViewEngine, type ChangedRow, type MissingRow } from '../../../core/engine/view-engine.ts'
import { encodeKey } from '../../../core/event/key.ts'
import type { ScalarType } from '../../../core/event/types.ts'
import { batchOf, correctedFields, fields } from '../../support/history.ts'
import { declared, declaredCorrected } from '../../support/declared.ts'

/** The same fields, as a stream of events that stand, as one whose events can be retracted, and as a changelog. */
const streams = {
  plain: stream('events', { fields: declared, eventTime: 'at', key: ['who'], partitions: 3 }),
  id: stream('events', {
    fields: declaredCorrected,
    eventTime: 'at',
    id: 'id',
    dedupeSpan: 400,
    key: ['who'],
    partitions: 3,
  }),
  changelog: stream('events', {
    fields: declaredCorrected,
    eventTime: 'at',
    changelog: true,
    primaryKey: ['id', 'line'],
    partitions: 3,
  }),
}
export type StreamKind = keyof typeof streams

const who = entity('who', { key: { who: string(), region: int32() } })

export type AnyFeature = FeatureBuilder<ScalarType | `list<${ScalarType}>`>

/** A condition that is true, false and null, of fields that features also aggregate. */
export type Condition = (fields: {
  readonly i: NumericExpr<'int32'>
  readonly ok: BoolExpr
  readonly s: StringExpr
}) => BoolExpr

export const everyFunction = (kind: StreamKind, over: (feature: AnyFeature) => AnyFeature, where?: Condition) =>
  view('every', {
    from: streams[kind] as unknown as (typeof streams)['plain'],
    entity: who,
    ttl: 4_000,
    lateness: 1_500,
    maxAhead: 40,
    features: ({ i, b, f, s, ok, at, d }) => {
      const all = {
        n: count(),
        i_sum: sum(i),
        i_mean: mean(i),
        i_min: min(i),
        i_max: max(i),
        i_var: variance(i),
        i_std: stddev(i),
        i_stdp: stddev(i, { divisor: 'population' }),
        big: share(i.gt(3)),
        ratio: mean(i.div(3)),
        b_sum: sum(b),
        b_mean: mean(b),
        b_max: max(b),
        b_min: min(b),
        b_std: stddev(b),
        f_sum: sum(f),
        f_mean: mean(f),
        f_std: stddev(f),
        f_var: variance(f, { divisor: 'population' }),
        f_max: max(f),
        f_min: min(f),
        f_distinct: distinctCount(f),
        s_distinct: distinctCount(s),
        s_last: last(s),
        s_first: first(s),
        s_last3: lastN(s, 3),
        i_last2: lastN(i, 2),
        ok_share: share(ok),
        ok_last: last(ok),
        newest: max(at),
        b_last: last(b),
        d_sum: sum(d),
        d_mean: mean(d),
        d_min: min(d),
        d_max: max(d),
        d_var: variance(d),
        d_std: stddev(d, { divisor: 'population' }),
        d_first: first(d),
        d_last: last(d),
        d_last2: lastN(d, 2),
        d_distinct: distinctCount(d),
        d_share: share(d.gt(0.5).or(d.eq('-0.1'))),
      }
      const features: [string, AnyFeature][] = Object.entries(all)
      if (where !== undefined)
        for (const [name, feature] of Object.entries(all))
          features.push([`${name}_if`, feature.where(where({ i, ok, s }))])
      return Object.fromEntries(features.map(([name, feature]) => [name, over(feature)]))
    },
  })

const seriesOf =
  (spanMs: number, stepMs: number) =>
  (feature: AnyFeature): AnyFeature =>
    feature.aggregation.function === 'lastN' ? feature.over(spanMs) : feature.over(series(spanMs, stepMs))

export const windows: readonly (readonly [string, (feature: AnyFeature) => AnyFeature, Condition?])[] = [
  ['over 1 ms', (feature) => feature.over(1)],
  ['over 700 ms', (feature) => feature.over(700)],
  ['over 4000 ms', (feature) => feature.over(4_000)],
  ['over lifetime', (feature) => feature],
  ['over 700 ms ending 900 ms before', (feature) => feature.over(700, { endsBefore: 900 })],
  ['over 3000 ms ending 1000 ms before', (feature) => feature.over(3_000, { endsBefore: 1_000 })],
  ['over 2000 ms where ok', (feature) => feature.over(2_000), ({ ok }) => ok],
  ['over rows(1)', (feature) => feature.over(rows(1))],
  ['over rows(5) where ok', (feature) => feature.over(rows(5)), ({ ok }) => ok],
  ['over rows(150)', (feature) => feature.over(rows(150))],
  ['over tumbling 700 ms, current', (feature) => feature.over(tumbling(700, { take: 'current' }))],
  ['over tumbling 2000 ms, last', (feature) => feature.over(tumbling(2_000, { take: 'last' })), ({ ok }) => ok],
  ['over sessions of 1 ms', (feature) => feature.over(session(1))],
  ['over sessions of 60 ms', (feature) => feature.over(session(60)), ({ ok }) => ok],
  ['over sessions of 900 ms', (feature) => feature.over(session(900))],
  ['over 2000 ms to 700 ms', (feature) => feature.over(2_000, { resolution: 700 }), ({ ok }) => ok],
  [
    'over 3000 ms ending 1000 ms before to 3000 ms',
    (feature) => feature.over(3_000, { endsBefore: 1_000, resolution: 3_000 }),
  ],
  ['over 4 parts of 1000 ms', seriesOf(4_000, 1_000)],
  ['over 7 parts of 300 ms where ok', seriesOf(2_100, 300), ({ ok }) => ok],
  ['over 1 part of 900 ms', seriesOf(900, 900)],
  ['over 40 parts of 1 ms', seriesOf(40, 1)],
  ['over lifetime where i > 0 or s is x', (feature) => feature, ({ i, s }) => i.gt(0).or(s.eq('x'))],
]

export interface Subject {
  readonly kind: StreamKind
  readonly definition: ViewDefinition
  readonly plan: ViewPlan
  readonly finisher: ViewFinisher
  /** Told of each entity and moment that is asked for. */
  readonly onAsked?: (events: EntityEvents | null, asOf: AsOf, answered: boolean) => void
}

export function subjectOf(kind: StreamKind, over: (feature: AnyFeature) => AnyFeature, where?: Condition): Subject {
  const definition = everyFunction(kind, over, where)
  const plan = planView(buildCatalog([streams[kind], who, definition]), 'every', historyMs)
  return { kind, definition, plan, finisher: new ViewFinisher(plan) }
}

/** Online history of the subjects here. */
export const historyMs = 300

/**
 * A view that makes tiles of old events, two of a span being enough: features over windows with resolutions, and `exact`
 * ones over all functions.
 */
export function tiledSubject(
  bounds: { readonly ttl?: number; readonly lateness?: number; readonly maxAhead?: number },
  exact: ((feature: AnyFeature) => AnyFeature) | null,
  where?: Condition,
): Subject {
  const definition = view('every', {
    from: streams.plain,
    entity: who,
    ...bounds,
    features: ({ i, b, f, s, ok, at }) => {
      const coarse = (name: string, over: (feature: AnyFeature) => AnyFeature): [string, AnyFeature][] =>
        Object.entries<AnyFeature>({
          n: count(),
          i_sum: sum(i),
          i_mean: mean(i),
          i_var: variance(i),
          i_stdp: stddev(i, { divisor: 'population' }),
          i_min: min(i),
          i_max: max(i),
          f_sum: sum(f),
          f_mean: mean(f),
          f_std: stddev(f),
          f_var: variance(f, { divisor: 'population' }),
          f_min: min(f),
          f_max: max(f),
          third: sum(i.div(3)),
          share: share(ok),
          big: share(i.gt(3)),
          newest: max(at),
          oldest: min(at),
        }).flatMap(([of, feature]): [string, AnyFeature][] => [
          [`${name}_${of}`, over(feature)],
          ...(where === undefined
            ? []
            : ([[`${name}_${of}_if`, over(feature.where(where({ i, ok, s })))]] as [string, AnyFeature][])),
        ])
      const all: [string, AnyFeature][] = [
        ...coarse('two', (feature) => feature.over(2_000, { resolution: 500 })),
        ...coarse('three', (feature) => feature.over(3_000, { resolution: 1_000 })),
        ...coarse('shifted', (feature) => feature.over(1_300, { resolution: 500, endsBefore: 150 })),
      ]
      if (exact !== null)
        for (const [name, feature] of Object.entries<AnyFeature>({
          n: count(),
          i: sum(i),
          b: sum(b),
          b_min: min(b),
          f: stddev(f),
          f_distinct: distinctCount(f),
          s: last(s),
          s_first: first(s),
          s3: lastN(s, 3),
          big: share(i.gt(3)),
          at: max(at),
        }))
          all.push([name, exact(feature)])
      return Object.fromEntries(all)
    },
  })
  const plan = planView(buildCatalog([streams.plain, who, definition]), 'every', historyMs, undefined, {
    tileEventsMin: 2,
  })
  return { kind: 'plain', definition, plan, finisher: new ViewFinisher(plan) }
}

/** How a history is driven, and what is asked. */
export interface Drive {
  /** Records of a batch, in turn. */
  readonly sizes: readonly number[]
  /** Batches between two flushes, less one. */
  readonly flushEvery: number
  /** Batches after which what is not flushed is lost, and the rest is read again. */
  readonly restarts: readonly number[]
  /** Two workers own half of the shards each; a changelog has one. */
  readonly halves: boolean
  /** Rows are split into tiny parts. */
  readonly split: boolean
  /** Share of the batches after which is asked once more, beside the end. */
  readonly pause: number
  readonly asOfs: readonly { readonly at: number; readonly knownAfter: number | null }[]
}

export const drives: fc.Arbitrary<Drive> = fc.record({
  sizes: fc.array(fc.integer({ min: 1, max: 90 }), { minLength: 1, maxLength: 6 }),
  flushEvery: fc.nat({ max: 3 }),
  restarts: fc.array(fc.integer({ min: 1, max: 12 }), { maxLength: 2 }),
  halves: fc.boolean(),
  split: fc.boolean(),
  pause: fc.double({ min: 0, max: 1, noNaN: true }),
  asOfs: fc.array(
    fc.record({
      at: fc.integer({ min: 999_000, max: 1_015_000 }),
      knownAfter: fc.oneof(fc.constant(null), fc.integer({ min: -2_000, max: 2_000 })),
    }),
    { minLength: 5, maxLength: 12 },
  ),
})

const shards = 4
/** Events of a part where rows are split into tiny ones. */
const tiny = { splitEvents: 8, partEvents: 4 }

export interface StoredRow {
  readonly row: Uint8Array
  readonly parts: Map<number, Uint8Array>
}
type Rows = ReadonlyMap<string, StoredRow>

const nameOf = (table: string, key: Uint8Array): string => `${table}/${Buffer.from(key).toString('hex')}`

/** Brings what the engine asks for into memory. */
export function loadFrom(engine: ViewEngine, store: Rows): void {
  for (let missing = engine.unloaded(); missing.length > 0; missing = engine.unloaded())
    engine.load(
      missing,
      missing.map(({ table, key, part }: MissingRow) => {
        const stored = store.get(nameOf(table, key))
        return (part === null ? stored?.row : stored?.parts.get(part)) ?? null
      }),
    )
}

/** A row as a store keeps it: with the parts that were written and not dropped. */
export function storedAfter(before: StoredRow | undefined, { row, parts: changed }: ChangedRow): StoredRow {
  const parts = new Map(before?.parts)
  for (const { name, bytes } of changed?.put ?? []) parts.set(name, bytes)
  for (const name of changed?.drop ?? []) parts.delete(name)
  return { row, parts }
}

/** Writes what changed. A flush writes the parts of a row and drops those of the row before the last, and no others. */
function flushInto(engine: ViewEngine, store: Map<string, StoredRow>): void {
  for (const { table, key, row, parts: changed } of engine.takeChanged()) {
    const name = nameOf(table, key)
    const before = store.get(name)
    const parts = new Map(before?.parts)
    for (const { name: part, bytes } of changed?.put ?? []) {
      expect(parts.has(part), 'a name is given twice').toBe(false)
      parts.set(part, bytes)
    }
    for (const part of changed?.drop ?? []) expect(parts.delete(part), 'a part is dropped twice').toBe(true)
    store.set(name, { row, parts })
    if (table.includes('#')) continue
    // Nothing is left behind, and the parts of the head before are still there.
    const held = namesOf(engine.plan, row)
    for (const part of parts.keys()) expect(held.has(part), 'a part is left behind').toBe(true)
    if (before === undefined || !isHead(before.row) || !isHead(row)) continue
    for (const { name: part } of directoryOf(engine.plan, before.row).parts)
      expect(parts.has(part), 'a part is dropped with its head').toBe(true)
  }
}

function namesOf(plan: ViewPlan, row: Uint8Array): ReadonlySet<number> {
  if (!isHead(row)) return new Set()
  const { parts, gone } = directoryOf(plan, row)
  return new Set([...gone, ...parts.map(({ name }) => name)])
}

/** The whole row that a stored one stands for. */
function canonical(plan: ViewPlan, name: string, { row, parts }: StoredRow): Uint8Array {
  if (name.includes('#') || !isHead(row)) return row
  return canonicalRow(plan, row, (part) => parts.get(part) ?? null) as Uint8Array
}

/** Splits the log into batches of consecutive records of one partition, in an interleaving that keeps each partition's order. */
function cut(history: readonly NaiveEvent[], sizes: readonly number[]): NaiveEvent[][] {
  const queues = [0, 1, 2].map((partition) => history.filter((event) => event.partition === partition))
  const batches: NaiveEvent[][] = []
  for (let turn = 0; queues.some((queue) => queue.length > 0); turn++) {
    const queue = queues[turn % 3] as NaiveEvent[]
    const batch = queue.splice(0, sizes[turn % sizes.length] as number)
    if (batch.length > 0) batches.push(batch)
  }
  return batches
}

/** Everything that a history may meet between the log and a value. Fails where the engine and the plain twin differ. */
export function check(subject: Subject, history: readonly NaiveEvent[], drive: Drive): void {
  const { kind } = subject
  const plan = drive.split ? { ...subject.plan, split: tiny } : subject.plan
  const owners = drive.halves && kind !== 'changelog' ? [new Set([0, 1]), new Set([2, 3])] : [new Set([0, 1, 2, 3])]
  const start = (): ViewEngine[] => owners.map((owned) => new ViewEngine(plan, shards, owned))
  const batches = cut(history, drive.sizes)
  const store = new Map<string, StoredRow>()
  const restarts = [...drive.restarts]
  const pauseAfter = Math.floor(drive.pause * batches.length)
  // Kept from the pause to the end: what has not changed is not read again.
  const parted = new Map<string, PartedRow>()
  let engines = start()
  let flushed = { batch: 0, below: [0, 0, 0] }
  let below = [0, 0, 0]
  const flush = (batch: number): void => {
    for (const engine of engines) flushInto(engine, store)
    flushed = { batch, below: [...below] }
  }
  for (let at = 0; at < batches.length; at++) {
    const own = batches[at] as NaiveEvent[]
    const batch = batchOf('events', own[0]?.partition as number, own, kind === 'plain' ? fields : correctedFields)
    for (const engine of engines) {
      const resolved = engine.resolve(batch)
      loadFrom(engine, store)
      engine.apply(
        batch,
        resolved,
        () => flushed.below[batch.partition] as number,
        () => {},
      )
    }
    below[batch.partition] = batch.nextOffset
    if (at % (drive.flushEvery + 1) === 0) {
      flush(at + 1)
      if (at % 2 === 0) for (const engine of engines) engine.evictClean()
    }
    if (restarts[0] === at + 1) {
      restarts.shift()
      engines = start()
      below = [...flushed.below]
      at = flushed.batch - 1
      continue
    }
    if (at === pauseAfter) {
      flush(at + 1)
      compare({ ...subject, plan }, history, below, { rows: store, parted }, drive.asOfs)
    }
  }
  flush(batches.length)
  compare({ ...subject, plan }, history, below, { rows: store, parted }, drive.asOfs)
  // Canonical form: one batch a partition, flushed once, gives the same rows.
  const whole = new ViewEngine(plan, shards, new Set([0, 1, 2, 3]))
  for (const own of cut(history, [10_000])) {
    const batch = batchOf('events', own[0]?.partition as number, own, kind === 'plain' ? fields : correctedFields)
    const resolved = whole.resolve(batch)
    loadFrom(whole, new Map())
    whole.apply(
      batch,
      resolved,
      () => 0,
      () => {},
    )
  }
  const rebuilt = new Map<string, StoredRow>()
  flushInto(whole, rebuilt)
  expect([...store.keys()].sort()).toEqual([...rebuilt.keys()].sort())
  for (const [name, stored] of rebuilt) {
    const kept = canonical(plan, name, store.get(name) as StoredRow)
    expect(Buffer.from(kept).equals(canonical(plan, name, stored)), name).toBe(true)
  }
}

/** Finishes every entity from its row, at every (T, K), and the same by the plain twin. */
function compare(
  { kind, definition, plan, finisher, onAsked }: Subject,
  history: readonly NaiveEvent[],
  below: readonly number[],
  { rows: store, parted: readers }: { readonly rows: Rows; readonly parted: Map<string, PartedRow> },
  asOfs: Drive['asOfs'],
): void {
  const accepted = acceptedEvents(definition, history, (partition) => below[partition] as number)
  const counting = new Map<number, NaiveEvent[]>()
  const keys = new Map<string, readonly [string, number]>()
  for (const { fields: values } of history) {
    const [name, region] = [values['who'] as string | null, values['region'] as number | null]
    if (name !== null && region !== null && name.length < 1_000) keys.set(`${name}/${region}`, [name, region])
  }
  const engine = new ViewEngine(plan, shards, new Set([0, 1, 2, 3]))
  const all = batchOf('events', 0, history, kind === 'plain' ? fields : correctedFields)
  engine.resolve(all)
  loadFrom(engine, store)
  for (const [name, region] of keys.values()) {
    const key = encodeKey([name, region], ['string', 'int32'])
    const found = engine.find(key)
    const whole = found === null ? null : { state: engine.state, entity: found }
    const stored = store.get(nameOf('every', key))
    const parted = readers.get(`${name}/${region}`) ?? new PartedRow(plan)
    readers.set(`${name}/${region}`, parted)
    // The first once more at the end: the next time begins where this one ends.
    for (const { at, knownAfter } of [...asOfs, asOfs[0] as (typeof asOfs)[number]]) {
      const asOf = { asOfMs: at, knownAsOfMs: knownAfter === null ? Number.POSITIVE_INFINITY : at + knownAfter }
      let builders = finisher.builders(1)
      const isAnswered = finisher.finish(whole, asOf, builders, 0)
      if (stored !== undefined && isHead(stored.row)) {
        // What serving reads: the parts that T needs, and all of them when those do not tell.
        const directory = parted.setHead(stored.row)
        const fromStretch = finisher.builders(1)
        let stretch = stretchOf(directory, at, plan.reachMs)
        let isToldByStretch = finisher.finish(assembled(parted, stored, directory, stretch), asOf, fromStretch, 0)
        if (!isToldByStretch && stretch.from > 0) {
          stretch = { ...stretch, from: 0 }
          isToldByStretch = finisher.finish(assembled(parted, stored, directory, stretch), asOf, fromStretch, 0)
        }
        if (isAnswered) expect(isToldByStretch).toBe(true)
        if (isToldByStretch) builders = fromStretch
        else continue
        onAsked?.(whole, asOf, isAnswered)
      } else {
        onAsked?.(whole, asOf, isAnswered)
        if (!isAnswered) continue
      }
      let seen = accepted
      if (kind !== 'plain') {
        seen = counting.get(asOf.knownAsOfMs) ?? countingEvents(plan.stream, definition, accepted, asOf.knownAsOfMs)
        counting.set(asOf.knownAsOfMs, seen)
      }
      const own = seen.filter(({ fields: values }) => values['who'] === name && values['region'] === region)
      builders.forEach((builder, index) => {
        const column = builder.build()
        const feature = finisher.features[index]?.definition as ViewDefinition['features'][number]
        const naive = naiveValue(definition, plan.fields, feature, own, asOf)
        const got = [statusName(column.statuses[0] as number), valueAt(column, 0)]
        if (!sameBits(got, [statusName(naive.status), naive.value]))
          expect([feature.name, ...got]).toEqual([feature.name, statusName(naive.status), naive.value])
      })
    }
  }
}

function assembled(row: PartedRow, { parts }: StoredRow, directory: Directory, stretch: Stretch): EntityEvents | null {
  for (const name of row.missing(directory, stretch)) {
    const part = directory.parts.find((known) => known.name === name) as Directory['parts'][number]
    expect(row.add(part, parts.get(name) as Uint8Array)).toBe(true)
  }
  const events = row.assemble(stretch)
  expect(events).not.toBe(null)
  return events
}

/** Equal to the bit: NaN is NaN, and 0 is not -0. */
export function sameBits(a: unknown, b: unknown): boolean {
  if (Array.isArray(a) && Array.isArray(b))
    return a.length === b.length && a.every((item, index) => sameBits(item, b[index]))
  return Object.is(a, b)
}
