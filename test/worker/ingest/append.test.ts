import { describe, expect, it } from 'vitest'
import { MemoryLog } from '../../../connectors/memory/log.ts'
import { bool, decimal, float64, int32, int64, nullable, string, timestamp } from '../../../core/definition/fields.ts'
import { stream } from '../../../core/definition/stream.ts'
import type { ErrorCode } from '../../../core/errors.ts'
import { StreamReader } from '../../../schemas/stream-reader.ts'
import { streamSchema, type AvroSchema } from '../../../schemas/avro/index.ts'
import { Op } from '../../../core/event/operation.ts'
import { scalarAt } from '../../../core/event/column.ts'
import { offset } from '../../../core/event/position.ts'
import type { Column } from '../../../core/event/types.ts'
import { appendLines, parseEvent } from '../../../worker/ingest/append.ts'

const events = stream('events', {
  fields: {
    at: timestamp(),
    who: string(),
    small: int32(),
    big: nullable(int64()),
    exact: nullable(float64()),
    loose: nullable(float64({ allowNonFinite: true })),
    ok: nullable(bool()),
    money: nullable(decimal(7, 2)),
  },
  eventTime: 'at',
  key: ['who'],
  partitions: 3,
})
const base = { at: '2026-01-05T08:00:00Z', who: 'a', small: 1 }
const nowMs = 1_767_600_000_000

describe('an event as a line of JSON', () => {
  const bad: readonly (readonly [line: unknown, code: ErrorCode, says: string])[] = [
    [{ ...base, colour: 'red' }, 'FS_EVENT_INVALID', 'no field colour'],
    [{ at: base.at, small: 1 }, 'FS_EVENT_INVALID', 'who is missing'],
    [{ ...base, who: null }, 'FS_EVENT_INVALID', 'who is null'],
    [{ ...base, who: 5 }, 'FS_EVENT_INVALID', 'who is 5, not string'],
    [{ ...base, small: 2147483648 }, 'FS_EVENT_INVALID', 'small is 2147483648, not int32'],
    [{ ...base, small: 1.5 }, 'FS_EVENT_INVALID', 'small'],
    [{ ...base, small: '1' }, 'FS_EVENT_INVALID', 'small'],
    [{ ...base, big: '9223372036854775808' }, 'FS_EVENT_INVALID', 'big'],
    [{ ...base, big: 2 ** 53 }, 'FS_EVENT_INVALID', 'big'],
    [{ ...base, exact: 'NaN' }, 'FS_EVENT_INVALID', 'exact'],
    [{ ...base, ok: 1 }, 'FS_EVENT_INVALID', 'ok'],
    [{ ...base, money: '1.234' }, 'FS_EVENT_INVALID', 'field money is "1.234", not decimal(7, 2) or null'],
    [{ ...base, money: 1.234 }, 'FS_EVENT_INVALID', 'money'],
    [{ ...base, money: '100000' }, 'FS_EVENT_INVALID', 'money'],
    [{ ...base, money: 1e5 }, 'FS_EVENT_INVALID', 'money'],
    [{ ...base, money: '1e2' }, 'FS_EVENT_INVALID', 'money'],
    [{ ...base, money: '' }, 'FS_EVENT_INVALID', 'money'],
    [{ ...base, money: true }, 'FS_EVENT_INVALID', 'money'],
    [{ ...base, at: '2026-01-05T08:00:00' }, 'FS_TIME_INVALID', 'at'],
    [{ ...base, at: '2026-02-30T08:00:00Z' }, 'FS_TIME_INVALID', 'at'],
    [{ ...base, _knownAt: 'yesterday' }, 'FS_TIME_INVALID', '_knownAt'],
    [{ ...base, _op: 'retract' }, 'FS_EVENT_INVALID', '_op is "retract": stream events takes insert'],
    [{ ...base, _op: 'upsert' }, 'FS_EVENT_INVALID', 'takes insert'],
    [{ ...base, _op: 'remove' }, 'FS_EVENT_INVALID', '_op'],
    [{ ...base, _op: 1 }, 'FS_EVENT_INVALID', '_op is 1'],
    [{ ...base, _partition: 3 }, 'FS_EVENT_INVALID', 'from 0 to 2'],
    [{ ...base, _partition: -1 }, 'FS_EVENT_INVALID', '_partition'],
    [{ ...base, _partition: '1' }, 'FS_EVENT_INVALID', '_partition'],
    [{ ...base, _other: 1 }, 'FS_EVENT_INVALID', '_other'],
    [{ ...base, who: 'x'.repeat(2_000) }, 'FS_ENTITY_INVALID', '1024'],
    [[base], 'FS_EVENT_INVALID', 'object'],
    [null, 'FS_EVENT_INVALID', 'object'],
  ]
  it.each(bad.map(([line, code, says]) => ({ line, code, says })))('$code: $says', ({ line, code, says }) => {
    expect(() => parseEvent(events, JSON.stringify(line), nowMs)).toThrow(
      expect.objectContaining({ code, message: expect.stringContaining(says) as unknown }),
    )
  })

  it('a key given twice is refused by name: parsing would keep the last one in silence', () => {
    const line = (more: string): string => `{"at":"2026-01-05T08:00:00Z","who":"a","small":1${more}}`
    for (const [more, name] of [
      [',"who":"b"', 'who'],
      [',"who":"a"', 'who'],
      [', "small" : 1', 'small'],
      [',"\\u0077ho":"b"', 'who'],
      [',"_partition":1,"_partition":1', '_partition'],
    ] as const)
      expect(() => parseEvent(events, line(more), nowMs)).toThrow(
        expect.objectContaining({ code: 'FS_EVENT_INVALID', message: `"${name}" is there twice` }),
      )
    const odd = '{"at":"2026-01-05T08:00:00Z","who":"\\"who\\":\\\\","small":1,"big":null}'
    expect(parseEvent(events, odd, nowMs).fields['who']).toBe('"who":\\')
  })

  it('refuses what is no JSON', () => {
    expect(() => parseEvent(events, '{"at":', nowMs)).toThrow(expect.objectContaining({ code: 'FS_EVENT_INVALID' }))
  })

  it('takes a decimal as text, or as a number with as few digits, and gives it all of its own', () => {
    const money = (value: unknown) =>
      parseEvent(events, JSON.stringify({ ...base, money: value }), nowMs).fields['money']
    expect(['12.34', '-99999.99', '1.500', 0.1, -7, 1e4, '-0', '.5', null].map(money)).toEqual([
      ...['12.34', '-99999.99', '1.50', '0.10', '-7.00', '10000.00', '0.00', '0.50', null],
    ])
  })

  it('takes the extremes of every type, and now where no _knownAt is given', () => {
    const fields = {
      ...base,
      small: -(2 ** 31),
      big: '-9223372036854775808',
      exact: 5e-324,
      loose: '-Infinity',
      ok: false,
    }
    expect(parseEvent(events, JSON.stringify(fields), nowMs)).toMatchObject({
      fields: {
        at: 1_767_600_000_000,
        small: -(2 ** 31),
        big: -(2n ** 63n),
        exact: 5e-324,
        loose: Number.NEGATIVE_INFINITY,
        ok: false,
      },
      knownAtMs: nowMs,
    })
    expect(parseEvent(events, JSON.stringify({ ...base, _knownAt: 5, _partition: 2 }), nowMs)).toMatchObject({
      fields: { big: null, exact: null, loose: null, ok: null },
      knownAtMs: 5,
      partition: 2,
    })
  })
})

describe('a line that takes back another', () => {
  const fields = { id: string(), at: timestamp(), who: string(), amount: float64(), note: nullable(string()) }
  const payments = stream('payments', { fields, eventTime: 'at', id: 'id', key: ['who'] })
  const rows = stream('rows', { fields, eventTime: 'at', changelog: true, primaryKey: ['id'] })
  const kinds = stream('kinds', { fields: { ...fields, kind: string() }, eventTime: 'at', id: 'id', op: 'kind' })
  const full = { id: 'x', at: 5, who: 'a', amount: 1 }
  const parse = (of: Parameters<typeof parseEvent>[0], line: object) =>
    parseEvent(of, JSON.stringify(line), nowMs).fields

  it('needs what says which record it is, and the record key', () => {
    const empty = { amount: null, note: null }
    expect(parse(payments, full)).toEqual({ ...full, note: null, _op: 'insert' })
    expect(parse(payments, { _op: 'retract', id: 'x', at: 5, who: 'a' })).toEqual({
      ...empty,
      id: 'x',
      at: 5,
      who: 'a',
      _op: 'retract',
    })
    expect(parse(rows, { _op: 'delete', id: 'x', at: 5 })).toEqual({
      ...empty,
      id: 'x',
      at: 5,
      who: null,
      _op: 'delete',
    })
    expect(parse(rows, full)).toMatchObject({ _op: 'upsert' })
    expect(parse(rows, { ...full, _op: 'insert' })).toMatchObject({ _op: 'upsert' })
    expect(parse(kinds, { id: 'x', at: 5, kind: 'retract' })).toMatchObject({ kind: 'retract', who: null })
    expect(parse(kinds, { id: 'x', at: 5, _op: 'retract' })).toMatchObject({ kind: 'retract' })
    expect(parse(kinds, full)).toEqual({ ...full, note: null, kind: 'insert' })
  })
  const bad: readonly (readonly [of: Parameters<typeof parseEvent>[0], line: object, says: string])[] = [
    [payments, { ...full, id: undefined }, 'id is missing'],
    [payments, { _op: 'retract', at: 5, who: 'a' }, 'id is missing'],
    [payments, { _op: 'retract', id: 'x', who: 'a' }, 'at is missing'],
    [payments, { _op: 'retract', id: 'x', at: 5 }, 'who is missing'],
    [payments, { _op: 'insert', id: 'x', at: 5, who: 'a' }, 'amount is missing'],
    [payments, { ...full, _op: 'upsert' }, '_op is "upsert": stream payments takes insert, retract'],
    [rows, { ...full, _op: 'retract' }, '_op is "retract": stream rows takes upsert, delete, insert'],
    [rows, { _op: 'delete', at: 5 }, 'id is missing'],
    [rows, { _op: 'delete', id: 'x' }, 'at is missing'],
    [rows, { id: 'x', at: 5 }, 'who is missing'],
    [kinds, { ...full, kind: 'Insert' }, 'kind is "Insert": stream kinds takes insert, retract'],
    [kinds, { ...full, kind: 'insert', _op: 'retract' }, '_op is "retract", field kind is "insert"'],
  ]
  it.each(bad.map(([of, line, says]) => ({ of, line, says })))('is refused: $says', ({ of, line, says }) => {
    expect(() => parse(of, line)).toThrow(
      expect.objectContaining({ code: 'FS_EVENT_INVALID', message: expect.stringContaining(says) as unknown }),
    )
  })

  it.each([payments, rows, kinds])('comes back from the log as it was said: $name', async (of) => {
    const log = new MemoryLog('log')
    await log.create(of.name, { partitions: 1 })
    const schemas: AvroSchema[] = []
    const back = of === rows ? 'delete' : 'retract'
    const lines = [full, { id: 'x', at: 5, who: 'a', _op: back }].map((line) => JSON.stringify(line))
    await appendLines({
      log,
      putSchema: (_, schema) => schemas.push(schema),
      stream: of,
      clock: { nowMs: () => nowMs },
      lines,
    })
    const reader = new StreamReader({ log, stream: of, schemas: () => schemas[0] })
    await reader.refresh()
    const batch = await reader.read(0, offset(0), 1_000_000)
    expect(batch).toMatchObject({ count: 2, dead: [] })
    expect([...(batch?.ops ?? [])]).toEqual(of === rows ? [Op.upsert, Op.delete] : [Op.insert, Op.retract])
    expect([0, 1].map((row) => scalarAt(batch?.columns['amount'] as Column, row))).toEqual([1, null])
  })
})

describe('appending lines', () => {
  const options = (log: MemoryLog, lines: readonly string[]) => ({
    log,
    putSchema: () => {},
    stream: events,
    clock: { nowMs: () => nowMs },
    lines,
  })
  const openLog = async (): Promise<MemoryLog> => {
    const log = new MemoryLog('log')
    await log.create('events', { partitions: events.partitions })
    return log
  }

  it('names the line, keeps what came before it and nothing after', async () => {
    const log = await openLog()
    const good = JSON.stringify({ ...base, _partition: 1 })
    const lines = [good, '', good, JSON.stringify({ ...base, at: '2026-01-05 08:00' }), good]
    await expect(appendLines(options(log, lines))).rejects.toMatchObject({
      code: 'FS_EVENT_INVALID',
      message: expect.stringMatching(/^line 4: .*\(2 events before it/) as unknown,
    })
    expect((await log.describe('events'))?.map(({ end }) => end)).toEqual([0, 2, 0])
  })

  it('counts clamped timestamps and answers where every partition stands', async () => {
    const log = await openLog()
    const lines = [30, 10, 20, 30, 40].map((_knownAt) => JSON.stringify({ ...base, _knownAt, _partition: 2 }))
    expect(await appendLines(options(log, lines))).toEqual({
      appended: 5,
      clamped: 2,
      position: {
        logId: 'log',
        streams: {
          events: [
            { epoch: 0, next: 0 },
            { epoch: 0, next: 0 },
            { epoch: 0, next: 5 },
          ],
        },
      },
    })
    const schema = streamSchema('events', events.fields)
    const reader = new StreamReader({ log, stream: events, schemas: () => schema })
    await reader.refresh()
    const batch = await reader.read(2, offset(0), 1_000_000)
    expect([...(batch?.knownAts ?? [])]).toEqual([30, 30, 30, 30, 40])
    expect(scalarAt(batch?.columns['who'] as Column, 4)).toBe('a')
  })
})
