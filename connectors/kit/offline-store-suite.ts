/** The laws of OfflineStore, for every connector that fills it. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { EventBatch } from '../../core/event/batch.ts'
import { Op, type OpCode } from '../../core/event/operation.ts'
import { offset, type Position } from '../../core/event/position.ts'
import type { Column, FieldType, Scalar } from '../../core/event/types.ts'
import type { EventHistory, EventQuery, EventTable, OfflineStore } from '../../core/ports/offline-store.ts'
import { scalarAt } from '../../core/event/column.ts'
import { columnOf } from '../memory/offline-store.ts'

export interface OpenedOfflineStore {
  readonly store: OfflineStore
  close(): Promise<void>
}

/** A log record as a test writes it: an event, or the reason why it is none. */
export type TestRecord =
  | {
      readonly eventTime: number
      readonly knownAt: number
      readonly fields: Readonly<Record<string, Scalar>>
      /** Default: insert. */
      readonly op?: OpCode
    }
  | { readonly dead: string; readonly knownAt: number }

/** The batch of `records` from offset `first` on. */
export function batchOf(
  { stream, fields }: EventTable,
  partition: number,
  first: number,
  records: readonly TestRecord[],
  epoch = 1,
): EventBatch {
  const numbered = records.map((record, index) => ({ record, at: offset(first + index) }))
  const good = numbered.flatMap(({ record, at }) => ('dead' in record ? [] : [{ ...record, at }]))
  const dead = numbered.flatMap(({ record, at }) => ('dead' in record ? [{ ...record, at }] : []))
  const columns = Object.entries(fields).map(([name, field]): [string, Column] => [
    name,
    columnOf(
      field,
      good.map((event) => event.fields[name] ?? null),
    ),
  ])
  return {
    stream,
    partition,
    epoch,
    firstOffset: offset(first),
    nextOffset: offset(first + records.length),
    count: good.length,
    offsets: Float64Array.from(good, (event) => event.at),
    eventTimes: Float64Array.from(good, (event) => event.eventTime),
    knownAts: Float64Array.from(good, (event) => event.knownAt),
    columns: Object.fromEntries(columns),
    ops: good.some(({ op }) => op !== undefined) ? Uint8Array.from(good, ({ op }) => op ?? Op.insert) : null,
    dead: dead.map(({ at, knownAt, dead: reason }) => ({
      offset: at,
      knownAt,
      code: 'FS_DEAD_RANGE',
      reason,
      payload: Uint8Array.of(0, 10, 10, 255),
    })),
  }
}

/** One line per event: `partition/offset eventTime knownAt values`. */
export function linesOf(history: EventHistory): string[] {
  return Array.from({ length: history.count }, (_, row) => {
    const values = Object.entries(history.columns).map(([name, column]) => `${name}=${String(scalarAt(column, row))}`)
    return `${history.partitions[row]}/${history.offsets[row]} ${history.eventTimes[row]} ${history.knownAts[row]} ${values.join(' ')}`
  })
}

const placesOf = (history: EventHistory): string[] => linesOf(history).map((line) => line.split(' ')[0] as string)

const allTypes: Readonly<Record<string, FieldType>> = {
  who: { type: 'string' },
  flag: { type: 'bool' },
  small: { type: 'int32' },
  large: { type: 'int64' },
  ratio: { type: 'float64' },
  when: { type: 'timestamp' },
  amount: { type: 'decimal', precision: 9, scale: 2 },
  maybe_text: { type: 'string', nullable: true },
  maybe_flag: { type: 'bool', nullable: true },
  maybe_small: { type: 'int32', nullable: true },
  maybe_large: { type: 'int64', nullable: true },
  maybe_ratio: { type: 'float64', nullable: true, allowNonFinite: true },
  maybe_when: { type: 'timestamp', nullable: true },
  maybe_amount: { type: 'decimal', precision: 18, scale: 18, nullable: true },
}

const simple: Readonly<Record<string, FieldType>> = { who: { type: 'string' }, value: { type: 'int32' } }

const upTo = (stream: string, ...nexts: readonly number[]): Position => ({
  logId: 'log',
  streams: { [stream]: nexts.map((next) => ({ epoch: 1, next: offset(next) })) },
})

const everything = (stream: string, key: EventQuery['key'], ...nexts: readonly number[]): EventQuery => ({
  stream,
  key,
  fromMs: -Infinity,
  toMs: Infinity,
  knownAtMsMax: Infinity,
  position: upTo(stream, ...nexts),
})

const event = (who: string, eventTime: number, knownAt: number = eventTime, value = 0): TestRecord => ({
  eventTime,
  knownAt,
  fields: { who, value },
})

/** `open` answers a store of log `log`; streams of earlier tests may be there. */
export function offlineStoreSuite(name: string, open: () => Promise<OpenedOfflineStore>): void {
  let streams = 0
  const withTable = async (
    fields: EventTable['fields'],
    body: (store: OfflineStore, table: EventTable) => Promise<void>,
  ): Promise<void> => {
    const { store, close } = await open()
    const table = { stream: `suite_${++streams}`, fields }
    try {
      await store.prepare([table])
      await body(store, table)
      await store.drop(table.stream)
    } finally {
      await close()
    }
  }

  describe(`offline store: ${name}`, () => {
    test('a new table covers nothing', () =>
      withTable(simple, async (store, { stream }) => {
        expect(await store.positions(stream, 3)).toEqual([0, 1, 2].map(() => ({ epoch: 0, next: 0 })))
      }))

    test('an insert moves the position of its partition alone', () =>
      withTable(simple, async (store, table) => {
        expect(await store.insert(batchOf(table, 1, 0, [event('a', 5), event('b', 6)], 3))).toEqual({ kind: 'applied' })
        expect(await store.positions(table.stream, 1)).toEqual(await store.positions(table.stream, 2))
        expect(await store.positions(table.stream, 2)).toEqual([
          { epoch: 0, next: 0 },
          { epoch: 3, next: 2 },
        ])
      }))

    test('offsets that belong to no record are covered all the same', () =>
      withTable(simple, async (store, table) => {
        const [a, b, dead] = [event('a', 5), event('a', 6), { dead: 'bad', knownAt: 7 } as const]
        const whole = batchOf(table, 0, 0, [a, b, dead])
        const gappy: EventBatch = {
          ...whole,
          nextOffset: offset(6),
          offsets: Float64Array.of(1, 3),
          dead: whole.dead.map((record) => ({ ...record, offset: offset(4) })),
        }
        const none: EventBatch = { ...batchOf(table, 0, 6, []), nextOffset: offset(9) }
        for (const batch of [gappy, none, batchOf(table, 0, 9, [event('a', 8)])]) {
          expect(await store.insert(batch)).toEqual({ kind: 'applied' })
          expect(await store.insert(batch)).toEqual({ kind: 'already-applied' })
          expect((await store.positions(table.stream, 1))[0]?.next).toBe(batch.nextOffset)
        }
        expect(placesOf(await store.events(everything(table.stream, { who: 'a' }, 99)))).toEqual(['0/1', '0/3', '0/9'])
      }))

    test('the same batch again, and what lies below the position, changes nothing', () =>
      withTable(simple, async (store, table) => {
        const batch = batchOf(table, 0, 0, [event('a', 1), event('a', 2), event('a', 3)])
        await store.insert(batch)
        expect(await store.insert(batch)).toEqual({ kind: 'already-applied' })
        expect(await store.insert(batchOf(table, 0, 1, [event('a', 2)]))).toEqual({ kind: 'already-applied' })
        expect(placesOf(await store.events(everything(table.stream, { who: 'a' }, 9)))).toEqual(['0/0', '0/1', '0/2'])
      }))

    test('equal records at other offsets are records of their own', () =>
      withTable(simple, async (store, table) => {
        await store.insert(batchOf(table, 0, 0, [event('a', 1)]))
        await store.insert(batchOf(table, 0, 1, [event('a', 1)]))
        await store.insert(batchOf(table, 1, 0, [event('a', 1)]))
        expect(placesOf(await store.events(everything(table.stream, { who: 'a' }, 9, 9)))).toEqual([
          '0/0',
          '0/1',
          '1/0',
        ])
      }))

    test('a batch that leaves a hole or overlaps is a gap, and the answer says where to go on', () =>
      withTable(simple, async (store, table) => {
        await store.insert(batchOf(table, 0, 0, [event('a', 1), event('a', 2)], 2))
        const gap = { kind: 'gap', expected: { epoch: 2, next: 2 } }
        expect(await store.insert(batchOf(table, 0, 3, [event('a', 4)]))).toEqual(gap)
        expect(await store.insert(batchOf(table, 0, 1, [event('a', 2), event('a', 3)]))).toEqual(gap)
        expect(await store.positions(table.stream, 1)).toEqual([{ epoch: 2, next: 2 }])
      }))

    test('dead records count for the position and are no events', () =>
      withTable(allTypes, async (store, table) => {
        await store.insert(
          batchOf(table, 0, 0, [{ dead: 'delay is too large', knownAt: 4 }, full('a'), { dead: '', knownAt: 6 }]),
        )
        await store.insert(batchOf(table, 0, 3, [{ dead: "it's \\ dead\n\nINSERT", knownAt: 7 }]))
        expect(await store.positions(table.stream, 1)).toEqual([{ epoch: 1, next: 4 }])
        expect(placesOf(await store.events(everything(table.stream, { who: 'a' }, 9)))).toEqual(['0/1'])
        expect((await store.events(everything(table.stream, { who: '' }, 9))).count).toBe(0)
      }))

    test('an empty batch changes nothing', () =>
      withTable(simple, async (store, table) => {
        expect(await store.insert(batchOf(table, 0, 0, []))).toEqual({ kind: 'already-applied' })
        expect(await store.positions(table.stream, 1)).toEqual([{ epoch: 0, next: 0 }])
      }))

    test('events come in total order: event time, known-at, partition, offset', () =>
      withTable(simple, async (store, table) => {
        await store.insert(batchOf(table, 1, 0, [event('a', 20, 30), event('a', 10, 31), event('a', 20, 31)]))
        await store.insert(batchOf(table, 0, 0, [event('a', 20, 31), event('a', 20, 31), event('a', 5, 40)]))
        expect(placesOf(await store.events(everything(table.stream, { who: 'a' }, 9, 9)))).toEqual([
          '0/2',
          '1/1',
          '1/0',
          '0/0',
          '0/1',
          '1/2',
        ])
      }))

    test('from is included, to is not, known-at is included, the position is not', () =>
      withTable(simple, async (store, table) => {
        const records = [10, 20, 30, 40, 50].map((time, index) => event('a', time, 100 + index))
        await store.insert(batchOf(table, 0, 0, records))
        const all = everything(table.stream, { who: 'a' }, 5)
        const asked = async (change: Partial<EventQuery>): Promise<string[]> =>
          placesOf(await store.events({ ...all, ...change }))
        expect(await asked({ fromMs: 20, toMs: 40 })).toEqual(['0/1', '0/2'])
        expect(await asked({ knownAtMsMax: 102 })).toEqual(['0/0', '0/1', '0/2'])
        expect(await asked({ position: upTo(table.stream, 2) })).toEqual(['0/0', '0/1'])
        expect(await asked({ position: upTo('another', 2) })).toEqual([])
        expect(await asked({ fromMs: 40, toMs: 20 })).toEqual([])
      }))

    test('partitions that the position does not name do not count', () =>
      withTable(simple, async (store, table) => {
        await store.insert(batchOf(table, 0, 0, [event('a', 1)]))
        await store.insert(batchOf(table, 2, 0, [event('a', 2)]))
        expect(placesOf(await store.events(everything(table.stream, { who: 'a' }, 1)))).toEqual(['0/0'])
        expect(placesOf(await store.events(everything(table.stream, { who: 'a' }, 0, 0, 1)))).toEqual(['2/0'])
      }))

    test('what a record does comes back with it; inserts alone are none', () =>
      withTable(simple, async (store, table) => {
        const does = (who: string, at: number, op: OpCode): TestRecord => ({ ...event(who, at), op }) as TestRecord
        const codes = [Op.insert, Op.retract, Op.upsert, Op.delete, Op.insert]
        const records = codes.map((op, at) => does('a', at, op))
        await store.insert(batchOf(table, 0, 0, [...records, { dead: 'no', knownAt: 9 }, does('b', 9, Op.insert)]))
        const asked = async (who: string): Promise<readonly number[] | null> => {
          const { ops } = await store.events(everything(table.stream, { who }, 9))
          return ops === null ? null : [...ops]
        }
        expect(await asked('a')).toEqual(codes)
        expect(await asked('b')).toBeNull()
        expect(await asked('nobody')).toBeNull()
      }))

    test('with a primary key: every record of the rows, of any entity and event time, below the position', () =>
      withTable(allTypes, async (store, table) => {
        const version = (who: string, small: number, eventTime: number, knownAt: number, flag = true): TestRecord => ({
          eventTime,
          knownAt,
          fields: { ...required(who), small, flag },
        })
        const records = [
          version('a', 1, 10, 10),
          version('a', 2, 20, 11),
          version('b', 1, 90, 12),
          version('b', 3, 20, 13),
          version('c', 1, 20, 14, false),
          version('c', 1, 5, 15),
          version('c', 2, 5, 16),
        ]
        await store.insert(batchOf(table, 0, 0, records))
        const primaryKey = ['small', 'flag', 'large', 'when']
        const all = { ...everything(table.stream, { who: 'a' }, 9), primaryKey }
        const asked = async (change: Partial<EventQuery>): Promise<string[]> =>
          placesOf(await store.events({ ...all, ...change }))
        expect(await asked({})).toEqual(['0/5', '0/6', '0/0', '0/1', '0/2'])
        expect(await asked({ primaryKey: ['small'] })).toEqual(['0/5', '0/6', '0/0', '0/1', '0/4', '0/2'])
        expect(await asked({ toMs: 20 })).toEqual(['0/5', '0/0', '0/2'])
        expect(await asked({ toMs: 20, knownAtMsMax: 12 })).toEqual(['0/0', '0/2'])
        expect(await asked({ toMs: 20, position: upTo(table.stream, 2) })).toEqual(['0/0'])
        expect(await asked({ key: { who: 'nobody' } })).toEqual([])
      }))

    test('every type comes back as it went in, extremes and nulls included', () =>
      withTable(allTypes, async (store, table) => {
        const records = [full('a'), extremes('a', 1), extremes('a', -1), nothing('a'), nonFinite('a')]
        await store.insert(batchOf(table, 0, 0, records))
        const found = await store.events(everything(table.stream, { who: 'a' }, 9))
        const values = Array.from({ length: found.count }, (_, row) =>
          Object.fromEntries(Object.entries(found.columns).map(([field, column]) => [field, scalarAt(column, row)])),
        )
        expect(values).toEqual(records.map((record) => ('dead' in record ? null : { ...allNull, ...record.fields })))
        expect(Object.fromEntries(Object.entries(found.columns).map(([field, { type }]) => [field, { type }]))).toEqual(
          Object.fromEntries(Object.entries(allTypes).map(([field, { type }]) => [field, { type }])),
        )
      }))

    test('no rows: columns of every field, of length 0', () =>
      withTable(allTypes, async (store, table) => {
        const found = await store.events(everything(table.stream, { who: 'a' }, 9))
        expect(found.count).toBe(0)
        expect(Object.keys(found.columns)).toEqual(Object.keys(allTypes))
        for (const column of Object.values(found.columns)) expect(column.values.length).toBe(0)
      }))

    test('keys of every type, of several fields, and with any character', () =>
      withTable(allTypes, async (store, table) => {
        const names = ['', "o'hara", 'a\\', '\\N', 'tab\tline\nline\r', '\0', "' OR 1=1 --", '{k:String}', 'ü𝄞', 'a;b']
        await store.insert(
          batchOf(
            table,
            0,
            0,
            names.map((who) => full(who)),
          ),
        )
        for (const [index, who] of names.entries())
          expect(placesOf(await store.events(everything(table.stream, { who }, 99)))).toEqual([`0/${index}`])
        const first = { who: '', flag: true, small: -5, large: 2n ** 60n, when: -1 }
        expect(placesOf(await store.events(everything(table.stream, first, 99)))).toEqual(['0/0'])
        expect((await store.events(everything(table.stream, { ...first, flag: false }, 99))).count).toBe(0)
        expect((await store.events(everything(table.stream, { ...first, large: 2n ** 60n + 1n }, 99))).count).toBe(0)
        expect((await store.events(everything(table.stream, { ...first, when: 0 }, 99))).count).toBe(0)
      }))

    test('a key that no entity can have is refused', () =>
      withTable(allTypes, async (store, { stream }) => {
        for (const key of [{ who: null }, { who: 3 }, { small: 'x' }, { ratio: 1.5 }, { nobody: 'x' }])
          await expect(store.events(everything(stream, key, 1))).rejects.toMatchObject({ code: 'FS_ENTITY_INVALID' })
      }))

    test('an unknown stream is refused', () =>
      withTable(simple, async (store) => {
        await expect(store.events(everything('nobody', {}, 1))).rejects.toMatchObject({ code: 'FS_STREAM_UNKNOWN' })
        await expect(store.positions('nobody', 1)).rejects.toMatchObject({ code: 'FS_STREAM_UNKNOWN' })
      }))

    test('preparing again keeps the rows; other fields, or another reading, make the table anew', () =>
      withTable(simple, async (store, table) => {
        await store.insert(batchOf(table, 0, 0, [event('a', 1)]))
        await store.prepare([table])
        expect(await store.positions(table.stream, 1)).toEqual([{ epoch: 1, next: 1 }])
        const wider = { ...table, fields: { ...table.fields, more: { type: 'string', nullable: true } } } as const
        await store.prepare([wider])
        expect(await store.positions(table.stream, 1)).toEqual([{ epoch: 0, next: 0 }])
        expect(await store.insert(batchOf(wider, 0, 0, [event('a', 1)]))).toEqual({ kind: 'applied' })
        expect(linesOf(await store.events(everything(table.stream, { who: 'a' }, 9)))).toEqual([
          '0/0 1 1 who=a value=0 more=null',
        ])
        await store.prepare([{ ...wider, reading: 'by id' }])
        expect(await store.positions(table.stream, 1)).toEqual([{ epoch: 0, next: 0 }])
        expect(await store.insert(batchOf(wider, 0, 0, [event('a', 1)]))).toEqual({ kind: 'applied' })
        await store.prepare([{ ...wider, reading: 'by id' }])
        expect(await store.positions(table.stream, 1)).toEqual([{ epoch: 1, next: 1 }])
      }))

    test('a dropped stream is gone, and can be made again and filled with the same batches', () =>
      withTable(simple, async (store, table) => {
        const batch = batchOf(table, 0, 0, [event('a', 1)])
        await store.insert(batch)
        await store.drop(table.stream)
        await store.drop(table.stream)
        await expect(store.positions(table.stream, 1)).rejects.toMatchObject({ code: 'FS_STREAM_UNKNOWN' })
        await store.prepare([table])
        expect(await store.insert(batch)).toEqual({ kind: 'applied' })
        expect((await store.events(everything(table.stream, { who: 'a' }, 9))).count).toBe(1)
      }))

    test('inserts at the same time end as if they came one after the other', () =>
      withTable(simple, async (store, table) => {
        const batch = (partition: number): EventBatch => batchOf(table, partition, 0, [event('a', 1), event('a', 2)])
        const outcomes = await Promise.all([0, 1, 2, 0, 1, 2].map((partition) => store.insert(batch(partition))))
        expect(outcomes.map(({ kind }) => kind).sort()).toEqual(
          [1, 1, 1]
            .flatMap(() => ['applied'])
            .concat([1, 1, 1].flatMap(() => ['already-applied']))
            .sort(),
        )
        expect((await store.events(everything(table.stream, { who: 'a' }, 9, 9, 9))).count).toBe(6)
      }))

    test('any history, any question: the rows that a plain filter finds', () =>
      withTable(simple, async (store, table) => {
        await fc.assert(
          fc.asyncProperty(histories, questions, async (partitions, asked) => {
            await store.drop(table.stream)
            await store.prepare([table])
            for (const [partition, batches] of partitions.entries()) {
              let first = 0
              for (const records of batches) {
                await store.insert(batchOf(table, partition, first, records))
                first += records.length
              }
            }
            for (const question of asked) {
              const query = { ...question, stream: table.stream, position: upTo(table.stream, ...question.nexts) }
              expect(placesOf(await store.events(query))).toEqual(naive(partitions, query))
            }
          }),
          { numRuns: 12 },
        )
      }))
  })
}

type Partitions = readonly (readonly (readonly TestRecord[])[])[]

function naive(partitions: Partitions, query: EventQuery & { readonly nexts: readonly number[] }): string[] {
  const readable = partitions
    .flatMap((batches, partition) => batches.flat().map((record, at) => ({ record, partition, at })))
    .flatMap(({ record, partition, at }) => ('dead' in record ? [] : [{ ...record, partition, at }]))
    .filter(({ knownAt, partition, at }) => knownAt <= query.knownAtMsMax && at < (query.nexts[partition] ?? 0))
  const own = readable.filter(
    ({ fields, eventTime }) =>
      fields['who'] === query.key['who'] && eventTime >= query.fromMs && eventTime < query.toMs,
  )
  const [row] = query.primaryKey ?? []
  const found =
    row === undefined
      ? own
      : readable.filter(({ fields }) => own.some((version) => version.fields[row] === fields[row]))
  return found
    .sort((a, b) => a.eventTime - b.eventTime || a.knownAt - b.knownAt || a.partition - b.partition || a.at - b.at)
    .map(({ partition, at }) => `${partition}/${at}`)
}

const times = fc.integer({ min: 0, max: 8 })
const record: fc.Arbitrary<TestRecord> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc
      .tuple(fc.constantFrom('a', 'b'), times, times, fc.nat({ max: 3 }))
      .map(([who, t, k, value]) => event(who, t, k, value)),
  },
  { weight: 1, arbitrary: times.map((knownAt) => ({ dead: 'no', knownAt })) },
)
const histories: fc.Arbitrary<Partitions> = fc.array(
  fc.array(fc.array(record, { minLength: 1, maxLength: 6 }), { maxLength: 3 }),
  { minLength: 1, maxLength: 3 },
)
const questions = fc.array(
  fc
    .record({
      key: fc.record({ who: fc.constantFrom('a', 'b') }),
      fromMs: fc.oneof(times, fc.constant(-Infinity)),
      toMs: fc.oneof(times, fc.constant(Infinity)),
      knownAtMsMax: fc.oneof(times, fc.constant(Infinity)),
      nexts: fc.array(fc.integer({ min: 0, max: 20 }), { maxLength: 3 }),
      primaryKey: fc.constantFrom(null, ['value']),
    })
    .map(({ primaryKey, ...asked }) => (primaryKey === null ? asked : { ...asked, primaryKey })),
  { minLength: 1, maxLength: 4 },
)

const allNull = Object.fromEntries(Object.keys(allTypes).map((field) => [field, null]))
const required = (who: string): Record<string, Scalar> => ({
  who,
  flag: true,
  small: -5,
  large: 2n ** 60n,
  ratio: 0.1,
  when: -1,
  amount: '-0.01',
})

function full(who: string): TestRecord {
  const maybe = {
    maybe_text: '\n\n',
    maybe_flag: false,
    maybe_small: 0,
    maybe_large: 0n,
    maybe_ratio: 0,
    maybe_when: 0,
    maybe_amount: '0.000000000000000001',
  }
  return { eventTime: 5, knownAt: 5, fields: { ...required(who), ...maybe } }
}

const nothing = (who: string): TestRecord => ({ eventTime: 5, knownAt: 5, fields: required(who) })

function nonFinite(who: string): TestRecord {
  return { eventTime: 6, knownAt: 6, fields: { ...required(who), maybe_ratio: Number.NaN, maybe_text: '' } }
}

/** The first and last values that the types hold; event times of the years 1 and 9999. */
function extremes(who: string, side: 1 | -1): TestRecord {
  const when = side === 1 ? 253_402_300_799_999 : -62_135_596_800_000
  const large = side === 1 ? 2n ** 63n - 1n : -(2n ** 63n)
  const small = side === 1 ? 2 ** 31 - 1 : -(2 ** 31)
  const ratio = side * Number.MAX_VALUE
  const amount = side === 1 ? '9999999.99' : '-9999999.99'
  const maybe = {
    maybe_small: small,
    maybe_large: large,
    maybe_ratio: side * Infinity,
    maybe_when: when,
    maybe_amount: `${side === 1 ? '' : '-'}0.${'9'.repeat(18)}`,
  }
  return { eventTime: 5, knownAt: 5, fields: { ...required(who), small, large, ratio, when, amount, ...maybe } }
}
