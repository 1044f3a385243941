import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { AsOf } from '../../../../core/asof/visible.ts'
import type { ColumnBuilder } from '../../../../core/engine/column-builder.ts'
import { eventsOf, type InputColumn, type ViewColumns } from '../../../../core/engine/columnar/columns.ts'
import { ColumnarFinisher } from '../../../../core/engine/columnar/finish.ts'
import { Status, statusName, valueAt } from '../../../../core/engine/feature-column.ts'
import { acceptedEvents, countingEvents, naiveValue, type NaiveEvent } from '../../../../core/engine/naive.ts'
import { Staging } from '../../../../core/engine/state/staging.ts'
import { ViewState, type EntityEvents } from '../../../../core/engine/state/view-state.ts'
import { stringColumn } from '../../../../schemas/arrow/columns.ts'
import { inTotalOrder } from '../../../../training/total-order.ts'
import { ViewHistory } from '../../../../training/view-history.ts'
import {
  batchOf,
  correctedFields,
  fields,
  generatedCorrections,
  generatedEvent,
  logged,
} from '../../../support/history.ts'
import { Prng } from '../../../support/prng.ts'
import {
  sameBits,
  subjectOf,
  windows,
  type AnyFeature,
  type Condition,
  type StreamKind,
  type Subject,
} from '../harness.ts'
import { columnsOf, profiles } from './generated.ts'

const runs = Number(process.env['TIDEMARK_PROPERTY_RUNS'] ?? 60)
const kinds = ['plain', 'id', 'changelog'] as const
/** Features of one input over windows of every kind in turn, side by side in one view. */
const mixed = [0, 5, 11].map((first) => {
  let at = first
  const over = (feature: AnyFeature): AnyFeature =>
    (windows[at++ % windows.length] as (typeof windows)[number])[1](feature)
  const where: Condition = ({ ok }) => ok
  return [`over all windows from ${first} on`, over, where] as const
})
const cases = kinds.flatMap((kind) =>
  [...windows, ...mixed].map(([name, over, where]) => [kind, name, over, where] as const),
)

const historyOf = (kind: StreamKind): fc.Arbitrary<NaiveEvent[]> =>
  kind === 'plain'
    ? fc
        .boolean()
        .chain((hot) => fc.array(generatedEvent(9_000, 2_000, hot), { minLength: 20, maxLength: 160, size: 'max' }))
        .map(logged)
    : generatedCorrections({ kind, records: [30, 160], ids: 12, spanMs: 4_000, delayMs: 1_500 })

const asked = fc.array(
  fc.record({
    event: fc.nat(),
    shift: fc.oneof(fc.constantFrom(0, 1, 60, 700, 701, 4_000, 4_001), fc.integer({ min: -500, max: 3_000 })),
    known: fc.oneof(fc.constant(0), fc.constant(Number.POSITIVE_INFINITY), fc.integer({ min: -2_000, max: 2_000 })),
  }),
  { minLength: 3, maxLength: 8 },
)

describe('features finished from columns', () => {
  test.each(cases)('%s, %s: equal the naive twin', (kind, _, over, where) => {
    const subject = subjectOf(kind, over, where)
    fc.assert(
      fc.property(historyOf(kind), asked, fc.integer({ min: 1, max: 60 }), (history, wanted, size) => {
        const asOfs = wanted.map(({ event, shift, known }): AsOf => {
          const asOfMs = (history[event % history.length] as NaiveEvent).eventTimeMs + shift
          return { asOfMs, knownAsOfMs: asOfMs + known }
        })
        checkNaive(subject, history, asOfs, size)
      }),
      { numRuns: Math.ceil(runs / 20) },
    )
  })

  test.each(cases)('%s, %s: of many events equal those from state', (kind, _, over, where) => {
    const { plan, finisher } = subjectOf(kind, over, where)
    let present = 0
    fc.assert(
      fc.property(fc.integer(), fc.constantFrom(...profiles), fc.boolean(), (seed, profile, ascends) => {
        const random = new Prng(seed)
        const columns = columnsOf(plan, random, profile, kind !== 'plain')
        const columnar = new ColumnarFinisher(plan)
        const entities = columns.starts.length - 1
        for (let entity = 0; entity < entities; entity++) {
          const asOfs = momentsOf(columns, entity, random, 12)
          if (ascends) asOfs.sort((a, b) => a.asOfMs - b.asOfMs)
          const events = stateOf(columns, entity)
          const [got, expected] = [columnar.builders(asOfs.length), finisher.builders(asOfs.length)]
          columnar.begin(columns, entity)
          asOfs.forEach((asOf, row) => {
            columnar.finish(asOf, got, row)
            expect(finisher.finish(events, asOf, expected, row)).toBe(true)
          })
          present += same(got, expected, asOfs, entity)
        }
      }),
      { numRuns: Math.ceil(runs / 20) },
    )
    // Windows of a millisecond are mostly empty: still some are not.
    expect(present).toBeGreaterThan(100)
  })
})

test('more integers than sums of doubles hold are added up one by one', () => {
  const { plan } = subjectOf('plain', (feature) => feature)
  const count = 2 ** 22 + 1
  const input = plan.features.find(({ definition }) => definition.name === 'i_sum')?.input as number
  const empty = columnsOf(plan, new Prng(1), 'tame', false).inputs.map((column) =>
    eventsOf({ ...nothing, inputs: [column] }, 0, 0),
  )
  const inputs = empty.map(({ inputs: [column] }, index): InputColumn =>
    index === input
      ? { type: 'int32', values: new Int32Array(count).fill(-(2 ** 31)), nulls: null }
      : (column as InputColumn),
  )
  const times = new Float64Array(count).fill(1_000)
  const columns = { plan, starts: Int32Array.of(0, count), times, knowns: times, untils: null, inputs }
  const finisher = new ColumnarFinisher(plan, ['i_sum', 'i_mean', 'i_min', 'n'])
  const builders = finisher.builders(1)
  finisher.begin(columns, 0)
  finisher.finish({ asOfMs: 1_001, knownAsOfMs: 1_001 }, builders, 0)
  expect(builders.map((builder) => valueAt(builder.build(), 0))).toEqual([
    -(2n ** 31n) * BigInt(count),
    -(2 ** 31),
    -(2 ** 31),
    BigInt(count),
  ])
})

const nothing = { times: new Float64Array(0), knowns: new Float64Array(0), untils: null }

function checkNaive({ kind, plan, definition }: Subject, history: NaiveEvent[], asOfs: AsOf[], size: number): void {
  const batches = [0, 1, 2].flatMap((partition) => {
    const own = history.filter((event) => event.partition === partition)
    return Array.from({ length: Math.ceil(own.length / size) }, (_, at) =>
      batchOf('events', partition, own.slice(at * size, at * size + size), kind === 'plain' ? fields : correctedFields),
    )
  })
  const of = new ViewHistory(plan, inTotalOrder(batches))
  const keys = ['a', 'b', 'ü\0', '', 'nobody'].flatMap((name) => [0, 1].map((region) => ({ name, region })))
  const names = keys.map(({ name }) => name)
  const regions = Int32Array.from(keys, ({ region }) => region)
  const entities = { who: stringColumn(names, null), region: { type: 'int32' as const, values: regions, nulls: null } }
  const owners = of.resolve(entities, keys.length)
  const accepted = acceptedEvents(definition, history, () => Number.POSITIVE_INFINITY)
  const finisher = new ColumnarFinisher(plan)
  keys.forEach(({ name, region }, key) => {
    finisher.begin(of.columns, owners[key] as number)
    const own = (event: NaiveEvent): boolean => event.fields['who'] === name && event.fields['region'] === region
    const builders = finisher.builders(asOfs.length)
    asOfs.forEach((asOf, row) => finisher.finish(asOf, builders, row))
    const columns = builders.map((builder) => builder.build())
    asOfs.forEach((asOf, row) => {
      const counting = countingEvents(plan.stream, definition, accepted, asOf.knownAsOfMs).filter(own)
      plan.features.forEach((feature, at) => {
        const column = columns[at] as (typeof columns)[number]
        const expected = naiveValue(definition, plan.stream.fields, feature.definition, counting, asOf)
        const got = [statusName(column.statuses[row] as number), valueAt(column, row)]
        const right = sameBits(got, [statusName(expected.status), expected.value])
        if (!right) expect([feature.reference, asOf, ...got]).toEqual([feature.reference, asOf, expected])
      })
    })
  })
}

/** The same events in the state that a worker has, inserted one by one. */
function stateOf(columns: ViewColumns, entity: number): EntityEvents | null {
  const { plan, starts } = columns
  const events = eventsOf(columns, starts[entity] as number, starts[entity + 1] as number)
  const count = events.times.length
  if (count === 0) return null
  const state = new ViewState(plan)
  const staging = new Staging(plan.layout)
  staging.begin(count)
  plan.inputs.forEach((input, index) =>
    staging.setInput(index, input, events.inputs[index] as never, count, state.tables[index] ?? null),
  )
  if (events.untils !== null) staging.setUntils(events.untils)
  const own = state.events.addEntity()
  for (let row = 0; row < count; row++) {
    const record = state.events.insert(own, events.times[row] as number, events.knowns[row] as number, row)
    staging.copyTo(state.events.words, record, row)
  }
  return { state, entity: own }
}

function momentsOf({ starts, times, knowns }: ViewColumns, entity: number, random: Prng, count: number): AsOf[] {
  const [from, to] = [starts[entity] as number, starts[entity + 1] as number]
  return Array.from({ length: count }, () => {
    const place = from === to ? 0 : random.integer(from, to - 1)
    const asOfMs = (times[place] ?? 0) + random.pick([0, 1, 1, 700, 4_000, random.integer(-100, 5_000)])
    const known = random.pick([asOfMs, asOfMs, knowns[place] ?? 0, (knowns[place] ?? 0) - 1, asOfMs + 3_000])
    return { asOfMs, knownAsOfMs: random.chance(0.1) ? Number.POSITIVE_INFINITY : known }
  })
}

/** Fails where a value differs; how many there are. */
function same(got: ColumnBuilder[], expected: ColumnBuilder[], asOfs: readonly AsOf[], entity: number): number {
  let present = 0
  got.forEach((builder, index) => {
    const [left, right] = [builder.build(), (expected[index] as ColumnBuilder).build()]
    asOfs.forEach((asOf, row) => {
      const values = [left, right].map((column) => [column.statuses[row], valueAt(column, row)])
      if (left.statuses[row] === Status.PRESENT) present++
      if (!sameBits(values[0], values[1]))
        expect([entity, left.name, asOf, values[0]]).toEqual([entity, left.name, asOf, values[1]])
    })
  })
  return present
}
