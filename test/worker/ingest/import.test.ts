import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { MemoryLog } from '../../../connectors/memory/log.ts'
import { decimal, int32, nullable, string, timestamp } from '../../../core/definition/fields.ts'
import { stream } from '../../../core/definition/stream.ts'
import { scalarAt } from '../../../core/event/column.ts'
import type { Column } from '../../../core/event/types.ts'
import { offset } from '../../../core/event/position.ts'
import type { AvroSchema } from '../../../schemas/avro/index.ts'
import { StreamReader } from '../../../schemas/stream-reader.ts'
import { importTable, sortByTime, type ImportOptions } from '../../../worker/ingest/import.ts'

const events = stream('events', {
  fields: { at: timestamp(), who: string(), level: nullable(int32()), delay: int32() },
  eventTime: 'at',
  key: ['who'],
  partitions: 2,
  importKnownAt: ({ at, delay }) => at.add(delay),
})

const times = (values: readonly number[]): Column => ({
  type: 'timestamp',
  values: Float64Array.from(values),
  nulls: null,
})
const longs = (values: readonly bigint[]): Column => ({
  type: 'int64',
  values: BigInt64Array.from(values),
  nulls: null,
})
const texts = (values: readonly string[]): Column => ({
  type: 'string',
  values: Int32Array.from(values, (_, index) => index),
  table: { strings: [...values] },
  nulls: null,
})

const columns: Readonly<Record<string, Column>> = {
  at: times([100, 200, 300, 400]),
  who: texts(['a', 'a', 'a', 'a']),
  level: longs([1n, 2n ** 31n, -(2n ** 31n), 4n]),
  delay: longs([350n, 0n, 10n, 0n]),
}

async function importOf(given: Partial<ImportOptions> = {}) {
  const log = new MemoryLog('log')
  await log.create('events', { partitions: 2 })
  let schema: AvroSchema | undefined
  const options: ImportOptions = {
    log,
    putSchema: (_, written) => (schema = written),
    stream: events,
    table: { rowCount: 4, columns },
    digest: 'ab',
    ...given,
  }
  return { log, options, schemas: () => schema }
}

describe('operations of a file', () => {
  const fields = { id: string(), at: timestamp(), who: string() }
  const withId = stream('events', { fields, eventTime: 'at', id: 'id' })
  const withOp = stream('events', { fields: { ...fields, kind: string() }, eventTime: 'at', id: 'id', op: 'kind' })
  const plain = stream('events', { fields, eventTime: 'at' })
  const named = (values: readonly (string | null)[]): Column => ({
    ...(texts(values.map((value) => value ?? '')) as Column & { type: 'string' }),
    nulls: values.includes(null) ? Uint8Array.from(values, (value) => (value === null ? 1 : 0)) : null,
  })
  const base = { id: texts(['x', 'y', 'x']), at: times([1, 2, 1]), who: named(['a', 'b', null]) }
  const read = async (of: ImportOptions['stream'], more: Readonly<Record<string, Column>>) => {
    const { log, options, schemas } = await importOf({
      stream: of,
      table: { rowCount: 3, columns: { ...base, ...more } },
    })
    const report = await importTable(options)
    const reader = new StreamReader({ log, stream: of, schemas })
    await reader.refresh()
    const batch = await reader.read(0, offset(0), 1_000_000)
    return {
      ops: batch?.ops === null ? null : [...(batch?.ops ?? [])],
      dead: batch?.dead.map(({ offset: at, code }) => `${at} ${code}`),
      ignored: report.ignoredColumns,
    }
  }
  // In (knownAt, row) order the rows are 0, 2, 1.
  it('are the column _op, or that of the declared field, or inserts', async () => {
    const ops = named(['insert', null, 'retract'])
    expect(await read(withId, { _op: ops })).toEqual({ ops: [0, 1, 0], dead: [], ignored: [] })
    expect(await read(withId, {})).toEqual({ ops: [0, 0], dead: ['1 FS_DEAD_NULL'], ignored: [] })
    const kinds = named(['insert', 'insert', 'retract'])
    expect(await read(withOp, { kind: kinds })).toEqual({ ops: [0, 1, 0], dead: [], ignored: [] })
    expect(await read(withOp, { _op: kinds })).toEqual({ ops: [0, 1, 0], dead: [], ignored: [] })
    expect(await read(withOp, {})).toEqual({ ops: [0, 0], dead: ['1 FS_DEAD_NULL'], ignored: [] })
  })
  it('that the stream does not take become dead letters', async () => {
    const ops = named(['insert', 'upsert', 'retract'])
    const who = texts(['a', 'b', 'c'])
    expect(await read(withId, { _op: ops, who })).toMatchObject({ ops: [0, 1], dead: ['2 FS_DEAD_OP'] })
    expect(await read(plain, { _op: ops, who })).toMatchObject({ ops: null, dead: ['1 FS_DEAD_OP', '2 FS_DEAD_OP'] })
  })
  it('that only take back need no more than what says which record', async () => {
    const { who: _, ...identity } = base
    const bare = async (ops: Column, more: Readonly<Record<string, Column>> = {}): Promise<unknown> => {
      const { log, options, schemas } = await importOf({
        stream: withId,
        table: { rowCount: 3, columns: { ...identity, ...more, _op: ops } },
      })
      const report = await importTable(options)
      const reader = new StreamReader({ log, stream: withId, schemas })
      await reader.refresh()
      const batch = await reader.read(0, offset(0), 1_000_000)
      return [...(batch?.ops ?? []), batch?.dead.length, report.ignoredColumns]
    }
    const nothing: Column = { type: 'int32', values: new Int32Array(3), nulls: new Uint8Array(3).fill(1) }
    expect(await bare(named(['retract', 'retract', 'retract']))).toEqual([1, 1, 1, 0, []])
    expect(await bare(named(['retract', 'retract', 'retract']), { who: nothing })).toEqual([1, 1, 1, 0, []])
    for (const ops of [
      ['retract', 'insert', 'retract'],
      ['retract', null, 'retract'],
      ['retract', 'delete', 'retract'],
    ])
      await expect(bare(named(ops))).rejects.toMatchObject({ code: 'FS_FILE_INVALID' })
  })
  it('are text', async () => {
    await expect(read(withId, { _op: times([1, 2, 3]) })).rejects.toMatchObject({
      code: 'FS_FILE_INVALID',
      message: 'column _op is timestamp, not string',
    })
  })
})

describe('an import', () => {
  it('takes a column of nulls alone, whatever its type, for a field that may be null', async () => {
    const nothing: Column = { ...texts(['', '', '', '']), nulls: new Uint8Array(4).fill(1) }
    const { options } = await importOf({ table: { rowCount: 4, columns: { ...columns, level: nothing } } })
    expect(await importTable(options)).toMatchObject({ appended: 4, ignoredColumns: [] })
    const { options: needed } = await importOf({ table: { rowCount: 4, columns: { ...columns, delay: nothing } } })
    await expect(importTable(needed)).rejects.toMatchObject({ code: 'FS_FILE_INVALID' })
  })

  it('writes rows in (knownAt, row) order and leaves what does not fit to the reader', async () => {
    const { log, options, schemas } = await importOf()
    expect(await importTable(options)).toEqual({
      rows: 4,
      appended: 4,
      alreadyThere: 0,
      clamped: 0,
      ignoredColumns: [],
    })
    const ends = (await log.describe('events'))?.map(({ end }) => end) ?? []
    const partition = ends.findIndex((end) => end === 4)
    const reader = new StreamReader({ log, stream: events, schemas })
    await reader.refresh()
    const batch = await reader.read(partition, offset(0), 1_000_000)
    expect([...(batch?.eventTimes ?? [])]).toEqual([300, 400, 100])
    expect([...(batch?.knownAts ?? [])]).toEqual([310, 400, 450])
    expect(batch?.dead).toMatchObject([{ offset: 0, knownAt: 200, code: 'FS_DEAD_RANGE' }])
  })

  it('takes decimals of any digits and integers; what does not fit exactly is a dead letter', async () => {
    const amounts = stream('events', { fields: { at: timestamp(), d: nullable(decimal(5, 2)) }, eventTime: 'at' })
    const decimals = (scale: number, ...values: bigint[]): Column => ({
      type: 'decimal',
      precision: 18,
      scale,
      values: BigInt64Array.from(values),
      nulls: null,
    })
    const read = async (d: Column) => {
      const table = { rowCount: 4, columns: { at: times([1, 2, 3, 4]), d } }
      const { log, options, schemas } = await importOf({ stream: amounts, table })
      await importTable(options)
      const reader = new StreamReader({ log, stream: amounts, schemas })
      await reader.refresh()
      const batch = await reader.read(0, offset(0), 1_000_000)
      const column = batch?.columns['d'] as Column
      return {
        values: Array.from({ length: batch?.count ?? 0 }, (_, row) => scalarAt(column, row)),
        dead: batch?.dead.map(({ offset: at, code }) => `${at} ${code}`),
        schema: schemas()?.fields[1]?.type,
      }
    }
    const own = { type: 'bytes', logicalType: 'decimal', precision: 5, scale: 2 }
    expect(await read({ ...decimals(2, 1n, -99_999n, 0n, 5n), precision: 5 } as Column)).toEqual({
      values: ['0.01', '-999.99', '0.00', '0.05'],
      dead: [],
      schema: ['null', own],
    })
    const finer = await read(decimals(4, 100n, 101n, -9_999_900n, 10_000_000n))
    expect(finer).toMatchObject({ values: ['0.01', '-999.99'], dead: ['1 FS_DEAD_RANGE', '3 FS_DEAD_RANGE'] })
    expect(finer.schema).toEqual([
      'null',
      { ...own, type: 'fixed', name: 'd_decimal_18_4', size: 8, precision: 18, scale: 4 },
    ])
    const coarser = await read(decimals(0, 7n, 1_000n, -999n, 10n ** 17n))
    expect(coarser).toMatchObject({ values: ['7.00', '-999.00'], dead: ['1 FS_DEAD_RANGE', '3 FS_DEAD_RANGE'] })
    expect(await read(longs([7n, 1_000n, -999n, 2n ** 62n]))).toMatchObject({
      values: ['7.00', '-999.00'],
      dead: ['1 FS_DEAD_RANGE', '3 FS_DEAD_RANGE'],
    })
    const doubles: Column = { type: 'float64', values: new Float64Array(4), nulls: null }
    await expect(read(doubles)).rejects.toThrow('column d is float64; field d of stream events is decimal')
  })

  it('adds nothing a second time, and is another import by another file or another mapping', async () => {
    const { options } = await importOf()
    await importTable(options)
    expect(await importTable(options)).toMatchObject({ appended: 0, alreadyThere: 4 })
    expect(await importTable({ ...options, knownAtColumn: 'at' })).toMatchObject({ appended: 4, alreadyThere: 0 })
    expect(await importTable({ ...options, digest: 'cd' })).toMatchObject({ appended: 4, alreadyThere: 0 })
  })

  it('refuses a table that is not of the stream', async () => {
    const without = (name: string): Record<string, Column> =>
      Object.fromEntries(Object.entries(columns).filter(([key]) => key !== name))
    const { options } = await importOf()
    const cases: readonly (readonly [given: Partial<ImportOptions>, says: string])[] = [
      [{ table: { rowCount: 4, columns: without('who') } }, 'who'],
      [{ table: { rowCount: 4, columns: { ...columns, delay: texts(['a', 'b', 'c', 'd']) } } }, 'delay is string'],
      [
        {
          table: {
            rowCount: 4,
            columns: { ...columns, at: { ...times([1, 2, 3, 4]), nulls: Uint8Array.of(0, 0, 1, 0) } },
          },
        },
        'row 3',
      ],
      [{ knownAtColumn: 'landed' }, '--known-at landed'],
      [{ knownAtColumn: 'who' }, '--known-at who'],
    ]
    for (const [given, says] of cases) {
      await expect(importTable({ ...options, ...given })).rejects.toMatchObject({
        code: 'FS_FILE_INVALID',
        message: expect.stringContaining(says) as unknown,
      })
    }
    expect(await importTable({ ...options, table: { rowCount: 4, columns: without('level') } })).toMatchObject({
      appended: 4,
    })
  })
})

describe('the order of an import', () => {
  it('is that of a stable sort by time', () => {
    const time = fc.oneof(
      fc.integer({ min: -3, max: 3 }),
      fc.integer({ min: -62_135_596_800_000, max: 253_370_764_799_999 }),
      fc.integer({ min: 1_577_836_800_000, max: 1_577_836_900_000 }),
    )
    fc.assert(
      fc.property(fc.array(time, { maxLength: 60 }), (values) => {
        const expected = values
          .map((value, row) => ({ value, row }))
          .toSorted((a, b) => a.value - b.value || a.row - b.row)
        expect([...sortByTime(Float64Array.from(values))]).toEqual(expected.map(({ row }) => row))
      }),
    )
  })
})
