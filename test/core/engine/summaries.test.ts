import { expect, it } from 'vitest'
import { buildCatalog } from '../../../core/definition/catalog.ts'
import { float64, int32, timestamp } from '../../../core/definition/fields.ts'
import { count, max, sum } from '../../../core/definition/functions.ts'
import { entity, stream } from '../../../core/definition/stream.ts'
import { view } from '../../../core/definition/view.ts'
import { valueAt } from '../../../core/engine/feature-column.ts'
import { ViewFinisher } from '../../../core/engine/finish.ts'
import { planView } from '../../../core/engine/plan.ts'
import { decodeInto, encodeRow } from '../../../core/engine/row.ts'
import { ViewState } from '../../../core/engine/state/view-state.ts'
import { ViewEngine } from '../../../core/engine/view-engine.ts'
import type { EventBatch } from '../../../core/event/batch.ts'
import { Op } from '../../../core/event/operation.ts'
import { offset } from '../../../core/event/position.ts'

const ticks = stream('ticks', { fields: { at: timestamp(), one: int32(), i: int32(), f: float64() }, eventTime: 'at' })
const only = entity('only', { key: { one: int32() } })
const totals = view('totals', {
  from: ticks,
  entity: only,
  features: ({ i, f }) => ({ n: count(), i: sum(i), f: sum(f), most: max(f) }),
})
const plan = planView(buildCatalog([ticks, only, totals]), 'totals', 0)
const finisher = new ViewFinisher(plan)

/** Summaries of runs that are not full are made by reading: each read here comes between two events. */
it.each<[string, (index: number) => number]>([
  ['newest last', (index) => index],
  ['newest first', (index) => -index],
  ['from both ends', (index) => (index % 2 === 0 ? index : -index)],
  ['in the middle', (index) => (index % 2 === 0 ? index : 1_000 - index)],
  ['all at once', () => 0],
  ['two at once, every third far away', (index) => (index >> 1) + (index % 3) * 2 ** 32],
])('what is read between two events is read anew after the next: %s', (_, timeOf) => {
  const state = new ViewState(plan)
  const own = state.events.addEntity()
  // Another entity takes what the first one frees, and the other way round.
  const other = state.events.addEntity()
  let n = 0
  let total = 0
  let most = Number.NEGATIVE_INFINITY
  for (let index = 0; index < 300; index++) {
    const { layout } = state.events
    const record = state.events.insert(own, timeOf(index), timeOf(index), index)
    const value = (index * 37) % 101
    plan.inputs.forEach(({ type }, input) => {
      const at = layout.inputs[input] as number
      if (type === 'float64') state.events.floats[record * (layout.stride >> 1) + at] = value
      else state.events.words[record * layout.stride + at] = value
    })
    n++
    total += value
    most = Math.max(most, value)
    const builders = finisher.builders(1)
    const asOf = { asOfMs: Number.MAX_SAFE_INTEGER, knownAsOfMs: Number.POSITIVE_INFINITY }
    expect(finisher.finish({ state, entity: own }, asOf, builders, 0)).toBe(true)
    expect(builders.map((builder) => valueAt(builder.build(), 0))).toEqual([BigInt(n), BigInt(total), total, most])
    if (index % 23 !== 22) continue
    const row = encodeRow({ state, entity: own })
    state.events.clear(other)
    decodeInto(state, other, row)
    expect(Buffer.compare(encodeRow({ state, entity: other }), row)).toBe(0)
    state.events.clear(own)
    decodeInto(state, own, row)
  }
})

it('what is read between two events is read anew after the oldest are pruned', () => {
  const spanMs = 150
  const spans = view('spans', {
    from: ticks,
    entity: only,
    features: ({ i }) => ({ n: count().over(spanMs), i: sum(i).over(spanMs) }),
  })
  const spansPlan = planView(buildCatalog([ticks, only, spans]), 'spans', 0)
  const spansFinisher = new ViewFinisher(spansPlan)
  const state = new ViewState(spansPlan)
  const { events } = state
  const own = events.addEntity()
  for (let time = 0; time < 1_000; time++) {
    const record = events.insert(own, time, time, time)
    events.words[record * events.layout.stride + (events.layout.inputs[0] as number)] = time
    const read = (): unknown[] => {
      const builders = spansFinisher.builders(1)
      const asOf = { asOfMs: time + 1, knownAsOfMs: Number.POSITIVE_INFINITY }
      expect(spansFinisher.finish({ state, entity: own }, asOf, builders, 0)).toBe(true)
      return builders.map((builder) => valueAt(builder.build(), 0))
    }
    const n = Math.min(time + 1, spanMs)
    const wanted = [BigInt(n), BigInt((n * (2 * time - n + 1)) / 2)]
    expect(read()).toEqual(wanted)
    // What is left lies in the window whole, the run that was cut too.
    if (time % 3 === 0) events.prune(own, time + 1 - spanMs)
    expect(read()).toEqual(wanted)
    if (time % 3 === 0) expect(events.count(own)).toBe(n)
  }
})

it.each(['id', 'changelog'])(
  'what is read between two records is read anew when one of another run of the same moment is taken back: %s',
  (kind) => {
    const takenFields = { id: int32(), at: timestamp(), one: int32(), i: int32() }
    const byId = stream('taken', { fields: takenFields, eventTime: 'at', id: 'id', key: ['one'] })
    const changelog = stream('taken', { fields: takenFields, eventTime: 'at', changelog: true, primaryKey: ['id'] })
    const taken = kind === 'id' ? byId : (changelog as unknown as typeof byId)
    const left = view('left', { from: taken, entity: only, features: ({ i }) => ({ n: count(), i: sum(i) }) })
    const leftPlan = planView(buildCatalog([taken, only, left]), 'left', 0)
    const leftFinisher = new ViewFinisher(leftPlan)
    const engine = new ViewEngine(leftPlan, 1, new Set([0]))
    const ids = 200
    let total = 0
    for (let at = 0; at < 2 * ids; at++) {
      // All at one moment: the retractions lie behind the events, in other runs.
      const retracts = at >= ids
      const id = retracts ? (at * 77) % ids : at
      const ints = (value: number) => ({ type: 'int32', values: Int32Array.of(value), nulls: null }) as const
      const batch: EventBatch = {
        stream: 'taken',
        partition: 0,
        epoch: 0,
        firstOffset: offset(at),
        nextOffset: offset(at + 1),
        count: 1,
        offsets: Float64Array.of(at),
        eventTimes: Float64Array.of(5),
        knownAts: Float64Array.of(at),
        columns: {
          id: ints(id),
          at: { type: 'timestamp', values: Float64Array.of(5), nulls: null },
          one: ints(1),
          i: ints(id),
        },
        ops: Uint8Array.of(kind === 'id' ? (retracts ? Op.retract : Op.insert) : retracts ? Op.delete : Op.upsert),
        dead: [],
      }
      const entities = engine.resolve(batch)
      for (let missing = engine.unloaded(); missing.length > 0; missing = engine.unloaded()) engine.load(missing, [])
      engine.apply(
        batch,
        entities,
        () => 0,
        () => {},
      )
      total += retracts ? -id : id
      const n = retracts ? 2 * ids - at - 1 : at + 1
      const builders = leftFinisher.builders(1)
      const asOf = { asOfMs: 6, knownAsOfMs: Number.POSITIVE_INFINITY }
      expect(leftFinisher.finish({ state: engine.state, entity: 0 }, asOf, builders, 0)).toBe(true)
      const values = builders.map((builder) => valueAt(builder.build(), 0))
      expect(values).toEqual(n === 0 ? [0n, null] : [BigInt(n), BigInt(total)])
    }
  },
)

it.each([40, 150])(
  'a summary is used from the moment on when all of its %d events were known, and not before',
  (length) => {
    const state = new ViewState(plan)
    const own = state.events.addEntity()
    const { layout } = state.events
    // Any place of a run may be the one that was known last, its first too.
    const knownOf = (time: number): number => (length - 1 + time * 17) % length
    for (let time = 0; time < length; time++) {
      const record = state.events.insert(own, time, knownOf(time), time)
      plan.inputs.forEach(({ type }, input) => {
        const at = layout.inputs[input] as number
        if (type === 'float64') state.events.floats[record * (layout.stride >> 1) + at] = time
        else state.events.words[record * layout.stride + at] = time
      })
    }
    for (let knownAsOfMs = length; knownAsOfMs >= 0; knownAsOfMs--) {
      const times = Array.from({ length }, (_, time) => time).filter((time) => knownOf(time) <= knownAsOfMs)
      const total = times.reduce((before, time) => before + time, 0)
      const builders = finisher.builders(1)
      finisher.finish({ state, entity: own }, { asOfMs: length, knownAsOfMs }, builders, 0)
      const values = builders.map((builder) => valueAt(builder.build(), 0))
      expect(values).toEqual([BigInt(times.length), BigInt(total), total, times.at(-1)])
    }
  },
)
