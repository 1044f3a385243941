import { mkdtempSync, readdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type EmbeddedClickHouse, openEmbeddedClickHouse } from '../../../connectors/chdb/index.ts'
import {
  type ClickHouseClient,
  type ClickHouseOfflineStore,
  openClickHouseClient,
  openOfflineStore,
} from '../../../connectors/clickhouse/index.ts'
import { batchOf } from '../../../connectors/kit/offline-store-suite.ts'
import type { EventBatch } from '../../../core/event/batch.ts'
import { offset } from '../../../core/event/position.ts'
import type { EventTable } from '../../../core/ports/offline-store.ts'
import { discardEmbedded } from '../chdb/embedded.ts'

const folder = mkdtempSync(join(tmpdir(), 'tidemark-offline-'))
const journalFolder = join(folder, 'journal')
let embedded: EmbeddedClickHouse
let client: ClickHouseClient

beforeAll(async () => {
  embedded = await openEmbeddedClickHouse(folder, { idleMs: 200 })
  client = openClickHouseClient({ endpoint: () => embedded.endpoint() })
})
afterAll(async () => {
  await client.close()
  await discardEmbedded(embedded, folder)
})

const open = (logId = 'log'): ClickHouseOfflineStore => openOfflineStore(client, { journalFolder, logId })
const clicks = (stream: string): EventTable => ({
  stream,
  fields: { who: { type: 'string' }, value: { type: 'int32' } },
})

/** Records [first, next) of a partition, always the same ones. */
function range(table: EventTable, partition: number, first: number, next: number): EventBatch {
  const count = next - first
  const numbers = Float64Array.from({ length: count }, (_, index) => first + index)
  return {
    stream: table.stream,
    partition,
    epoch: 1,
    firstOffset: offset(first),
    nextOffset: offset(next),
    count,
    offsets: numbers,
    eventTimes: numbers.map((at) => at * 7 + partition),
    knownAts: numbers,
    columns: {
      who: {
        type: 'string',
        values: Int32Array.from(numbers, (at) => at % 3),
        table: { strings: ['a', 'b', 'c'] },
        nulls: null,
      },
      value: { type: 'int32', values: Int32Array.from(numbers, (at) => at % 1000), nulls: null },
    },
    ops: null,
    dead: [],
  }
}

interface Held {
  readonly rows: number
  readonly distinct: number
  readonly next: number
}

async function heldOf(stream: string, partition: number): Promise<Held> {
  const block = await client.query(
    `SELECT toFloat64(count()) AS r, toFloat64(uniqExact(_offset)) AS d, toFloat64(max(_offset) + 1) AS n
FROM events_${stream} WHERE _partition = {partition:Int32}`,
    { params: { partition } },
  )
  const [rows, distinct, next] = block.columns.map((column) => (column.data as Float64Array)[0] as number)
  return { rows: rows as number, distinct: distinct as number, next: next as number }
}

/** As a worker does: what is pending first, then on from the position. */
async function resume(store: ClickHouseOfflineStore, table: EventTable): Promise<void> {
  for (const { partition, first, next } of store.pending(table.stream))
    expect(await store.insert(range(table, partition, first, next))).toEqual({ kind: 'applied' })
}

describe('exactly once, whatever is killed', () => {
  test(
    'kill -9 of the engine in the middle of inserts: nothing is lost and nothing is double',
    { timeout: 60_000 },
    async () => {
      const table = clicks('killed')
      const batchRows = 120_000
      await open().prepare([table])
      let begun = 0
      for (let round = 0; round < 8; round++) {
        // Another store each time, as after a kill of the worker too: it knows only the journal and the table.
        const store = open()
        await resume(store, table)
        const before = await store.positions(table.stream, 2)
        const victim = embedded.pid
        const inserts = [0, 1].map((partition) => {
          const first = before[partition]?.next ?? 0
          return store.insert(range(table, partition, first, first + batchRows))
        })
        await sleep(10 + round * 12)
        process.kill(victim, 'SIGKILL')
        const outcomes = await Promise.allSettled(inserts)
        begun += outcomes.filter(({ status }) => status === 'rejected').length
        for (const outcome of outcomes)
          if (outcome.status === 'rejected') expect(outcome.reason).toMatchObject({ code: 'FS_OFFLINE_UNAVAILABLE' })
        await sleep(30)
      }
      const store = open()
      await resume(store, table)
      expect(store.pending(table.stream)).toEqual([])
      const positions = await store.positions(table.stream, 2)
      for (const [partition, { next }] of positions.entries()) {
        expect(next % batchRows).toBe(0)
        expect(await heldOf(table.stream, partition)).toEqual({ rows: next, distinct: next, next })
      }
      expect(begun).toBeGreaterThan(0)
      await store.drop(table.stream)
    },
  )

  test('a range under way must come again, exactly, before anything else of its partition', async () => {
    const table = clicks('pending')
    const store = open()
    await store.prepare([table])
    await store.insert(range(table, 0, 0, 100))
    const failing = openOfflineStore(
      { ...delegating(client), insert: () => Promise.reject(new Error('cut')) },
      { journalFolder, logId: 'log' },
    )
    await failing.prepare([table])
    await expect(failing.insert(range(table, 0, 100, 150))).rejects.toThrow('cut')

    const next = open()
    const expected = { epoch: 1, next: 100 }
    expect(next.pending(table.stream)).toEqual([{ stream: 'pending', partition: 0, epoch: 1, first: 100, next: 150 }])
    expect(await next.positions(table.stream, 1)).toEqual([expected])
    for (const [first, end] of [
      [100, 151],
      [100, 149],
      [150, 160],
      [0, 100],
    ] as const)
      expect(await next.insert(range(table, 0, first, end))).toEqual({ kind: 'gap', expected })
    expect(await next.insert(range(table, 1, 0, 5))).toEqual({ kind: 'applied' })
    expect(await next.insert(range(table, 0, 100, 150))).toEqual({ kind: 'applied' })
    expect(await next.insert(range(table, 0, 150, 160))).toEqual({ kind: 'applied' })
    expect(await heldOf(table.stream, 0)).toEqual({ rows: 160, distinct: 160, next: 160 })
    await next.drop(table.stream)
  })

  test('a range whose acknowledgement was lost is not doubled', async () => {
    const table = clicks('unacknowledged')
    await open().prepare([table])
    const cut = openOfflineStore(
      {
        ...delegating(client),
        insert: async (insert, options) => {
          await client.insert(insert, options)
          throw new Error('cut')
        },
      },
      { journalFolder, logId: 'log' },
    )
    await expect(cut.insert(range(table, 0, 0, 1000))).rejects.toThrow('cut')
    const store = open()
    expect(await store.positions(table.stream, 1)).toEqual([{ epoch: 0, next: 0 }])
    await resume(store, table)
    expect(await heldOf(table.stream, 0)).toEqual({ rows: 1000, distinct: 1000, next: 1000 })
    expect(await store.positions(table.stream, 1)).toEqual([{ epoch: 1, next: 1000 }])
    expect(readdirSync(journalFolder).filter((name) => name.startsWith('unacknowledged'))).toEqual([])
    await store.drop(table.stream)
  })

  test('rows that contradict the position are named, not hidden', async () => {
    const table = clicks('torn')
    const store = open()
    await store.prepare([table])
    await store.insert(range(table, 0, 0, 10))
    await client.exec('DELETE FROM events_torn WHERE _offset = 4')
    await expect(store.positions('torn', 1)).rejects.toMatchObject({
      code: 'FS_INTERNAL',
      message: 'events_torn holds 9 rows of partition 0 up to offset 10',
    })
    await store.drop(table.stream)
  })
})

describe('tables', () => {
  test('are made anew for another log or other fields, and the report says so', async () => {
    const table = clicks('remade')
    const store = open()
    expect(await store.prepareTables([table])).toEqual({ created: ['remade'], reset: [] })
    await store.insert(range(table, 0, 0, 10))
    expect(await store.prepareTables([table])).toEqual({ created: [], reset: [] })
    expect(await open('another').prepareTables([table])).toEqual({ created: [], reset: ['remade'] })
    const renamed = { ...table, fields: { who: { type: 'string' }, worth: { type: 'int32' } } } as const
    expect(await open('another').prepareTables([renamed])).toEqual({ created: [], reset: ['remade'] })
    await store.drop('remade')
  })

  test('a view under the name of the stream shows good rows only; another process reads without preparing', async () => {
    const table = clicks('shown')
    const store = open()
    await store.prepare([table])
    await store.insert(
      batchOf(table, 0, 0, [
        { dead: 'no', knownAt: 1 },
        { eventTime: 2, knownAt: 2, fields: { who: 'a', value: 1 } },
      ]),
    )
    const shown = await client.query('SELECT * FROM shown')
    expect(shown.rows).toBe(1)
    expect(shown.columns.map(({ name }) => name)).toEqual([
      '_partition',
      '_offset',
      '_epoch',
      '_event_time',
      '_known_at',
      '_op',
      'who',
      'value',
    ])
    const dead = await client.query("SELECT _dead, _reason, hex(_payload) AS p FROM events_shown WHERE _dead != ''")
    expect(dead.columns.map(({ data }) => ('codes' in data ? data.strings[data.codes[0] as number] : null))).toEqual([
      'FS_DEAD_RANGE',
      'no',
      '000A0AFF',
    ])
    const found = await open().events({
      stream: 'shown',
      key: { who: 'a' },
      fromMs: 0,
      toMs: 9,
      knownAtMsMax: Infinity,
      position: { logId: 'log', streams: { shown: [{ epoch: 1, next: offset(2) }] } },
    })
    expect([found.count, Object.keys(found.columns)]).toEqual([1, ['who', 'value']])
    await store.drop('shown')
  })

  test('reserved names are refused', async () => {
    const reserved: EventTable = { stream: 'bad', fields: { _offset: { type: 'int32' } } }
    await expect(open().prepare([reserved])).rejects.toMatchObject({ code: 'FS_DEFINITION_INVALID' })
    await expect(open().prepare([clicks('x'), clicks('events_x')])).rejects.toMatchObject({
      code: 'FS_DEFINITION_INVALID',
    })
  })
})

describe('the client', () => {
  test('says what the engine said', async () => {
    await expect(client.query('SELECT * FROM nobody')).rejects.toMatchObject({
      code: 'FS_OFFLINE_QUERY',
      cause: { code: '60' },
    })
    await expect(client.exec('SELEC')).rejects.toMatchObject({ code: 'FS_OFFLINE_QUERY' })
    await expect(client.query('SELECT throwIf(number = 3000000) FROM numbers(5000000)')).rejects.toMatchObject({
      code: 'FS_OFFLINE_QUERY',
      cause: { code: '395' },
    })
    const nowhere = openClickHouseClient({
      endpoint: () => Promise.resolve({ url: 'http://127.0.0.1:1', username: 'default', password: '' }),
    })
    await expect(nowhere.exec('SELECT 1')).rejects.toMatchObject({ code: 'FS_OFFLINE_UNAVAILABLE' })
    await nowhere.close()
    await expect(nowhere.exec('SELECT 1')).rejects.toMatchObject({ code: 'FS_CLOSED' })
  })

  test('answers block by block, and a loop that is left ends the query', async () => {
    let rows = 0
    for await (const block of client.blocks('SELECT number FROM numbers(100000000)')) {
      rows += block.rows
      if (rows > 100_000) break
    }
    expect(rows).toBeGreaterThan(100_000)
    const running =
      "SELECT 1 FROM system.processes WHERE query LIKE '%numbers(100000000)%' AND query NOT LIKE '%processes%'"
    await expect.poll(async () => (await client.query(running)).rows, { timeout: 5_000 }).toBe(0)
  })
})

/** The client's methods as plain functions, to be replaced one by one. */
function delegating(to: ClickHouseClient): ClickHouseClient {
  return {
    database: to.database,
    query: (sql, options) => to.query(sql, options),
    blocks: (sql, options) => to.blocks(sql, options),
    exec: (sql, options) => to.exec(sql, options),
    insert: (insert, options) => to.insert(insert, options),
    close: () => to.close(),
    [Symbol.asyncDispose]: () => to.close(),
  }
}
