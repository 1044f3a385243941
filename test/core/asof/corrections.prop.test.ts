import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { entity, stream, type Stream } from '../../../core/definition/stream.ts'
import { count } from '../../../core/definition/functions.ts'
import { view } from '../../../core/definition/view.ts'
import type { FieldMap } from '../../../core/definition/stream.ts'
import type { StreamDefinition, ViewDefinition } from '../../../core/definition/types.ts'
import {
  acceptedEvents,
  correctionsAt,
  countingEvents,
  differingDuplicates,
  type NaiveEvent,
} from '../../../core/engine/naive.ts'
import { RecordIdentities, untilsOf } from '../../../core/engine/record-untils.ts'
import { ViewEngine } from '../../../core/engine/view-engine.ts'
import { planView } from '../../../core/engine/plan.ts'
import { buildCatalog } from '../../../core/definition/catalog.ts'
import { Op, type OpCode } from '../../../core/event/operation.ts'
import { batchOf, correctedFields, generatedCorrections } from '../../support/history.ts'

const who = entity('who', { key: { who: { type: 'string' }, region: { type: 'int32' } } })
const dedupeSpanMs = 250

const streams = {
  id: stream('events', { fields: correctedFields, eventTime: 'at', id: 'id', dedupeSpan: dedupeSpanMs } as never),
  changelog: stream('events', {
    fields: correctedFields,
    eventTime: 'at',
    changelog: true,
    primaryKey: ['id', 'line'],
  } as never),
} as unknown as Readonly<Record<'id' | 'changelog', Stream<FieldMap>>>

const viewOver = (from: StreamDefinition, options: object): ViewDefinition =>
  view('v', { from, entity: who, features: () => ({ n: count() }), ...options } as never)

/** `until` of each event, by the columns of batches of one partition each. */
function untilsByColumns(from: StreamDefinition, definition: ViewDefinition, events: readonly NaiveEvent[]) {
  const engine = new ViewEngine(planView(buildCatalog([from, who, definition]), 'v', 0), 1, new Set([0]))
  const identities = new RecordIdentities(from)
  const parts = [0, 1, 2].map((partition) => {
    const own = events.filter((event) => event.partition === partition)
    const batch = batchOf('events', partition, own, correctedFields)
    return { own, batch, codes: identities.codes(batch), owners: engine.resolve(batch) }
  })
  const joined = <T>(pick: (part: (typeof parts)[number]) => Iterable<T>): T[] =>
    parts.flatMap((part) => [...pick(part)])
  const untils = untilsOf(
    from,
    definition,
    {
      eventTimes: Float64Array.from(joined(({ batch }) => batch.eventTimes)),
      knownAts: Float64Array.from(joined(({ batch }) => batch.knownAts)),
      partitions: Int32Array.from(joined(({ own }) => own.map(({ partition }) => partition))),
      offsets: Float64Array.from(joined(({ batch }) => batch.offsets)),
      ops: Uint8Array.from(joined(({ own }) => own.map(({ op }) => op ?? 0))),
    },
    Int32Array.from(joined(({ codes }) => codes)),
    Int32Array.from(joined(({ owners }) => owners)),
  )
  return new Map(joined(({ own }) => own).map((event, index) => [event, untils[index] as number]))
}

const name = ({ partition, offset }: NaiveEvent): string => `${partition}/${offset}`

describe.each(['id', 'changelog'] as const)('corrections by %s', (kind) => {
  const from = streams[kind]

  test('an event counts from its knownAt until its until, for every K and P', () => {
    let counted = 0
    let corrected = 0
    fc.assert(
      fc.property(
        generatedCorrections({ kind }),
        fc.constantFrom({}, { lateness: 700, maxAhead: 0 }),
        fc.array(fc.nat({ max: 30 }), { minLength: 3, maxLength: 3 }),
        fc.boolean(),
        (events, options, cuts, whole) => {
          const definition = viewOver(from, options)
          const below = (partition: number): number => (whole ? Infinity : (cuts[partition] as number))
          const kept = events.filter(({ partition, offset }) => offset < below(partition))
          const untils = untilsByColumns(from, definition, kept)
          const accepted = acceptedEvents(definition, events, below)
          const moments = new Set(events.map(({ knownAtMs }) => knownAtMs))
          for (const knownAsOfMs of [...moments].flatMap((at) => [at - 1, at]).concat(Infinity)) {
            const expected = countingEvents(from, definition, accepted, knownAsOfMs).map(name)
            const got = kept.filter(
              (event) => event.knownAtMs <= knownAsOfMs && knownAsOfMs < (untils.get(event) as number),
            )
            // +Infinity is a K at which everything is known, what stands included.
            const standing = kept.filter((event) => untils.get(event) === Infinity)
            expect((knownAsOfMs === Infinity ? standing : got).map(name).sort()).toEqual(expected.sort())
            counted += expected.length
            corrected += correctionsAt(from, definition, accepted, knownAsOfMs).size
          }
        },
      ),
      { numRuns: 150 },
    )
    expect(counted).toBeGreaterThan(10_000)
    expect(corrected).toBeGreaterThan(10_000)
  })
})

describe('by hand', () => {
  let next = 0
  const at = (knownAtMs: number, op: OpCode, fields: object = {}): NaiveEvent => ({
    eventTimeMs: 1_000,
    knownAtMs,
    partition: 0,
    offset: next++,
    op,
    fields: { id: 'x', line: 0, who: 'a', region: 0, i: 1, ...fields } as NaiveEvent['fields'],
  })
  const untils = (kind: 'id' | 'changelog', ...events: readonly NaiveEvent[]): number[] => {
    const of = untilsByColumns(streams[kind], viewOver(streams[kind], { maxAhead: 10_000 }), events)
    return events.map((event) => of.get(event) as number)
  }
  const never = Number.NEGATIVE_INFINITY
  const { insert, retract, upsert, delete: remove } = Op

  test('a retract ends its event', () => {
    expect(untils('id', at(1, insert), at(5, retract))).toEqual([5, never])
  })
  test('a retract that comes first takes its event back on arrival', () => {
    expect(untils('id', at(1, retract), at(5, insert))).toEqual([never, never])
  })
  test('both known at the same moment: it never counts', () => {
    expect(untils('id', at(5, insert), at(5, retract))).toEqual([never, never])
  })
  test('a duplicate does not count, also when the first one is retracted', () => {
    expect(untils('id', at(1, insert), at(2, insert), at(3, retract), at(4, insert))).toEqual([3, never, never, never])
  })
  test('a duplicate that says something else is named', () => {
    const events = [at(1, insert), at(2, insert), at(3, insert, { i: 2 }), at(4, retract, { i: 3 }), at(5, retract)]
    const of = streams.id
    const accepted = acceptedEvents(viewOver(of, { maxAhead: 10_000 }), events, () => Infinity)
    expect(differingDuplicates(of, viewOver(of, {}), accepted)).toEqual([events[2]])
  })
  test('an insert beyond the span is another one, and is retracted by another retract', () => {
    const events = [at(0, insert), at(250, insert), at(251, insert), at(300, retract), at(551, retract)]
    expect(untils('id', ...events)).toEqual([300, never, 551, never, never])
  })
  test('two retracts within the span are one', () => {
    expect(untils('id', at(0, insert), at(10, retract), at(20, retract), at(300, insert))).toEqual([
      10,
      never,
      never,
      Infinity,
    ])
  })
  test('another id, entity or event time is another event', () => {
    const others = [at(2, retract, { id: 'y' }), at(2, retract, { who: 'b' }), { ...at(2, retract), eventTimeMs: 999 }]
    expect(untils('id', at(1, insert), ...others)).toEqual([Infinity, never, never, never])
  })
  test('a retract without an entity key takes nothing back', () => {
    expect(untils('id', at(1, insert), at(2, retract, { who: null }))).toEqual([Infinity, never])
  })
  test('a version counts until the next one is known, a delete ends the last', () => {
    const events = [at(1, upsert), at(5, upsert, { who: 'b' }), at(9, remove, { who: null }), at(12, remove)]
    expect(untils('changelog', ...events)).toEqual([5, 9, never, never])
  })
  test('a version without an entity is none', () => {
    expect(untils('changelog', at(1, upsert), at(5, upsert, { who: null }))).toEqual([Infinity, never])
  })
  test('another row of the primary key is another row', () => {
    expect(untils('changelog', at(1, upsert), at(5, upsert, { line: 1 }), at(6, remove))).toEqual([6, Infinity, never])
  })
})
