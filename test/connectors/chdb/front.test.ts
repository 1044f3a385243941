import { existsSync, mkdtempSync, readdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'
import { ClickHouseLogLevel, createClient, type ClickHouseClient } from '@clickhouse/client'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type EmbeddedClickHouse, openEmbeddedClickHouse } from '../../../connectors/chdb/index.ts'
import { encodeNativeBlock, NativeDecoder } from '../../../schemas/sql/native.ts'
import { discardEmbedded } from './embedded.ts'

const folder = mkdtempSync(join(tmpdir(), 'tidemark-front-'))
let embedded: EmbeddedClickHouse
let client: ClickHouseClient

beforeAll(async () => {
  embedded = await openEmbeddedClickHouse(folder, { idleMs: 200 })
  client = createClient({ url: embedded.url, password: embedded.password, log: { level: ClickHouseLogLevel.OFF } })
})
beforeEach(async () => {
  await client.command({ query: 'CREATE OR REPLACE TABLE t (a Int64, s String) ENGINE = MergeTree ORDER BY a' })
})
afterAll(async () => {
  await client.close()
  await discardEmbedded(embedded, folder)
})

interface Sent {
  readonly status: number
  readonly text: string
  readonly headers: Headers
}

async function send(
  path: string,
  body: string | Uint8Array | null = null,
  headers: Readonly<Record<string, string>> = { 'x-clickhouse-key': embedded.password },
): Promise<Sent> {
  const response = await fetch(embedded.url + path, { method: body === null ? 'GET' : 'POST', body, headers })
  return { status: response.status, text: await response.text(), headers: response.headers }
}

const post = (body: string | Uint8Array, path = '/'): Promise<Sent> => send(path, body)
const rows = async (): Promise<string> => (await post('SELECT a, s FROM t ORDER BY a FORMAT JSONCompactEachRow')).text
const inUrl = (sql: string, more = ''): string => `/?query=${encodeURIComponent(sql)}${more}`

/** No body under way leaves a file behind. */
function spooled(): string[] {
  const of = (parent: string): string => join(parent, `tidemark-spool-${embedded.pid}`)
  return ['/dev/shm', tmpdir()]
    .map(of)
    .filter(existsSync)
    .flatMap((path) => readdirSync(path))
}

describe('the front', () => {
  test('ping needs no password, everything else does', async () => {
    expect(await send('/ping', null, {})).toMatchObject({ status: 200, text: 'Ok.\n' })
    for (const headers of [{}, { 'x-clickhouse-key': 'wrong' }, { authorization: `Basic ${btoa('default:wrong')}` }]) {
      const refused = await send('/?query=SELECT+1', null, headers as Record<string, string>)
      expect(refused.status).toBe(403)
      expect(refused.headers.get('x-clickhouse-exception-code')).toBe('516')
      expect((await send('/hold', null, headers as Record<string, string>)).status).toBe(403)
    }
    const basic = { authorization: `Basic ${btoa(`default:${embedded.password}`)}` }
    expect(await send('/?query=SELECT+1', null, basic)).toMatchObject({ status: 200, text: '1\n' })
  })

  test('@clickhouse/client: ping, parameters, settings, JSON', async () => {
    expect(await client.ping()).toEqual({ success: true })
    const asked = await client.query({
      query: "SELECT {text:String} AS text, {list:Array(Int64)}[2] AS second, getSetting('max_block_size') AS size",
      query_params: { text: "x'\n\\\t{;}", list: [1, 2, 3] },
      clickhouse_settings: { max_block_size: '777', output_format_json_quote_64bit_integers: 1 },
    })
    expect((await asked.json()).data).toEqual([{ text: "x'\n\\\t{;}", second: '2', size: 777 }])
  })

  test('a parameter or setting of one request is unknown to the next', async () => {
    expect((await post('SELECT {x:Int64}', '/?param_x=5')).text).toBe('5\n')
    expect((await post('SELECT {x:Int64}', '/?param_x=6')).text).toBe('6\n')
    expect((await post('SELECT {x:Int64}')).text).toContain('x')
    expect((await post('SELECT {x:Int64}')).status).not.toBe(200)
    await post('SET max_block_size = 5')
    expect((await post("SELECT getSetting('max_block_size') = 5")).text).toBe('0\n')
  })

  test('many requests at a time keep their parameters apart', async () => {
    const answers = await Promise.all(
      Array.from({ length: 120 }, (_, index) => post('SELECT {x:Int64} + 1', `/?param_x=${index}`)),
    )
    expect(answers.map(({ text }) => Number(text))).toEqual(Array.from({ length: 120 }, (_, index) => index + 1))
  })

  test('insert bytes are never SQL, whatever they hold', async () => {
    const hostile = '{"a":1,"s":"x"}\n\nINSERT INTO t VALUES (99,\'INJECTED\')'
    const refused = await post(hostile, inUrl('INSERT INTO t FORMAT JSONEachRow'))
    expect(refused.status).not.toBe(200)
    expect(await rows()).toBe('')
    await client.insert({ table: 't', values: [{ a: 2, s: 'y\n\n; DROP TABLE t' }], format: 'JSONEachRow' })
    expect((await post("INSERT INTO t VALUES (3, 'in; line')")).status).toBe(200)
    expect(await rows()).toBe('[2, "y\\n\\n; DROP TABLE t"]\n[3, "in; line"]\n')
    expect(spooled()).toEqual([])
  })

  test('binary bodies with blank lines inside, in the body alone or behind a query in the URL', async () => {
    const block = (first: bigint): Buffer =>
      encodeNativeBlock(
        [
          { name: 'a', type: 'Int64', data: BigInt64Array.of(first, 0x0a0a0a0a0a0a0a0an) },
          { name: 's', type: 'String', data: ['\n\n', "'; DROP TABLE t; --"] },
        ],
        2,
      )
    const inserted = await post(block(1n), inUrl('INSERT INTO t FORMAT Native', '&async_insert=0'))
    expect(inserted.status).toBe(200)
    expect(JSON.parse(inserted.headers.get('x-clickhouse-summary') ?? '')).toMatchObject({ written_rows: '2' })
    const head = Buffer.from('INSERT INTO t (a, s) SETTINGS async_insert = 0 FORMAT Native\n')
    expect((await post(Buffer.concat([head, block(2n)]))).status).toBe(200)
    expect((await post('SELECT count(), uniqExact(a), max(a) FROM t')).text).toBe('4\t3\t723401728380766730\n')
  })

  test('an insert token in the URL or in the SQL makes a second insert do nothing', async () => {
    await post('ALTER TABLE t MODIFY SETTING non_replicated_deduplication_window = 100')
    const settings = '&async_insert=0&insert_deduplication_token=one'
    for (const value of ['(1, 1)', '(2, 2)']) await post(value, inUrl('INSERT INTO t FORMAT Values', settings))
    await post("INSERT INTO t SETTINGS async_insert = 0, insert_deduplication_token = 'one' VALUES (3, '')")
    await post("(4, '')", inUrl("INSERT INTO t FORMAT Values SETTINGS insert_deduplication_token = 'two'", settings))
    expect(await rows()).toBe('[1, "1"]\n[4, ""]\n')
  })

  test('compressed bodies and answers', async () => {
    const headers = { 'x-clickhouse-key': embedded.password, 'content-encoding': 'gzip' }
    await send(inUrl('INSERT INTO t FORMAT CSV'), gzipSync('1,"a\n\nb"\n'), headers)
    expect((await send('/', gzipSync('SELECT s FROM t FORMAT JSONEachRow'), headers)).text).toBe('{"s":"a\\n\\nb"}\n')
    expect((await send('/', 'x', { ...headers, 'content-encoding': 'lz4' })).status).toBe(501)
    const zipped = await send('/?enable_http_compression=1', 'SELECT number FROM numbers(1000)', {
      'x-clickhouse-key': embedded.password,
      'accept-encoding': 'gzip',
    })
    expect(zipped.headers.get('content-encoding')).toBe('gzip')
    expect(zipped.text.split('\n')).toHaveLength(1001)
  })

  test('Native comes as blocks, in all lengths', async () => {
    for (const count of [0, 1, 300_000]) {
      const response = await fetch(embedded.url, {
        method: 'POST',
        headers: { 'x-clickhouse-key': embedded.password },
        body: `SELECT number, toString(number) FROM numbers(${count}) FORMAT Native`,
      })
      const decoder = new NativeDecoder()
      const blocks = decoder.push(new Uint8Array(await response.arrayBuffer()))
      decoder.end()
      expect(blocks.reduce((sum, block) => sum + block.rows, 0)).toBe(count)
    }
  })

  test('several statements in one request are refused and none runs', async () => {
    for (const sql of ['SELECT 1; DROP TABLE t', 'DROP TABLE t; SELECT 1', "SELECT ';'; ; DROP TABLE t"]) {
      const refused = await post(sql)
      expect(refused.headers.get('x-clickhouse-exception-code')).toBe('62')
    }
    expect((await post("SELECT ';', $$;$$ /* ; */ AS `;` -- ;\n;")).text).toBe(';\t;\n')
    expect((await post('SELECT count() FROM t')).text).toBe('0\n')
  })

  test('files of the machine are no input and no output', async () => {
    expect((await post("INSERT INTO t FROM INFILE '/etc/passwd' FORMAT CSV")).status).toBe(501)
    expect((await post(`SELECT 1 INTO OUTFILE '${folder}/out' FORMAT CSV`)).status).toBe(501)
  })

  test('a GET changes nothing', async () => {
    expect((await send(inUrl('DROP TABLE t'))).headers.get('x-clickhouse-exception-code')).toBe('164')
    expect((await send(inUrl('SELECT count() FROM t'))).text).toBe('0\n')
  })

  test("errors have the engine's code, a status and its words", async () => {
    const unknown = await post('SELECT * FROM nobody')
    expect(unknown).toMatchObject({ status: 404 })
    expect(unknown.text).toMatch(/^Code: 60\. DB::Exception: .*\(UNKNOWN_TABLE\)/)
    await expect(client.query({ query: 'SELECT * FROM nobody' })).rejects.toMatchObject({ code: '60' })
    expect((await post('SELECT 1', '/?no_such_setting=1')).headers.get('x-clickhouse-exception-code')).toBe('115')
    expect((await post('')).status).toBe(400)
    expect((await post(`SELECT 1 /* ${'x'.repeat(300_000)} */`)).text).toContain('Max query size')
    expect((await post('SELECT 1', '/?session_id=x')).status).toBe(501)
  })

  test('an error in the middle of an answer ends it, and the client hears of it', async () => {
    const sql = 'SELECT throwIf(number = 3000000), number FROM numbers(5000000)'
    const asked = await client.query({ query: sql, format: 'JSONEachRow' })
    await expect(asked.json()).rejects.toMatchObject({ code: '395' })
    const rowBinary = await client.exec({ query: `${sql} FORMAT RowBinary` })
    await expect(rowBinary.stream.toArray()).rejects.toThrow('aborted')
    expect((await post('SELECT 1')).text).toBe('1\n')
  })

  test('what a client leaves is killed', async () => {
    const running =
      "SELECT count() FROM system.processes WHERE query LIKE '%sleepEachRow%' AND query NOT LIKE '%processes%'"
    const controller = new AbortController()
    const asked = client.query({
      query: 'SELECT sleepEachRow(1) FROM numbers(60) SETTINGS max_block_size = 1',
      abort_signal: controller.signal,
    })
    asked.catch(() => {})
    await expect.poll(async () => (await post(running)).text, { timeout: 3_000 }).toBe('1\n')
    controller.abort()
    await expect(asked).rejects.toThrow()
    await expect.poll(async () => (await post(running)).text, { timeout: 5_000 }).toBe('0\n')
  })

  test('a body that breaks off inserts nothing and leaves nothing', async () => {
    const controller = new AbortController()
    async function* body(): AsyncGenerator<Uint8Array> {
      for (let row = 0; row < 20; row++) {
        yield Buffer.from(`${row},x\n`.repeat(10_000))
        if (row === 10) controller.abort()
        await sleep(5)
      }
    }
    const sent = fetch(embedded.url + inUrl('INSERT INTO t FORMAT CSV'), {
      method: 'POST',
      headers: { 'x-clickhouse-key': embedded.password },
      body: ReadableStream.from(body()),
      duplex: 'half',
      signal: controller.signal,
    })
    await expect(sent).rejects.toThrow()
    await expect.poll(spooled).toEqual([])
    expect((await post('SELECT count() FROM t')).text).toBe('0\n')
  })
})
