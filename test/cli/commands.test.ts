import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { scalarAt } from '../../core/event/column.ts'
import type { Column } from '../../core/event/types.ts'
import { readArrowFile } from '../../schemas/arrow/read.ts'
import { writeArrowFile } from '../../schemas/arrow/write.ts'
import { readCsv } from '../../schemas/csv/read.ts'
import {
  clock,
  events,
  readingsProject,
  type AppendJson,
  type AuditJson,
  type GetJson,
  type RebuildJson,
  type StatusJson,
} from './readings.ts'
import { inParallel, json, refusal, removeFolders, run, testFolder } from './support.ts'

interface PlanJson {
  readonly changes: readonly { readonly change: string; readonly kind: string; readonly name: string }[]
  readonly builds: readonly string[]
}
interface ExplainJson {
  readonly status: string
  readonly value: unknown
  readonly window: readonly [number, number]
  readonly events: readonly {
    readonly stream: string
    readonly partition: number
    readonly offset: number
    readonly eventTimeMs: number
  }[]
  readonly excluded: Readonly<Record<string, number>>
}
interface DatasetJson {
  readonly rows: number
  readonly columns: number
  readonly digest: string
}

const limit = 60_000
afterAll(removeFolders, limit)

describe('the project that init writes', () => {
  it(
    'runs from apply to a lookup with the numbers of its events',
    async () => {
      const folder = testFolder()
      const project = join(folder, 'shop')
      const init = await run(folder, ['init', project])
      expect(init.code).toBe(0)
      // It prints what to type next; that works as it stands.
      const steps = [...init.stdout.matchAll(/^ {2}tidemark (.+)$/gm)].map(([, step]) => (step as string).split(' '))
      expect(steps.map(([command]) => command)).toEqual(['apply', 'append', 'worker', 'get'])
      for (const step of steps.slice(0, 3)) {
        const there = step.map((word) => (word === 'events.ndjson' ? join(project, word) : word))
        expect((await run(project, there)).code).toBe(0)
      }
      const { rows } = await json<GetJson>(project, steps[3] as string[])
      expect(rows[0]?.values).toEqual({
        'card_spending:payments_1h': '2',
        'card_spending:spent_1d': 1008.1,
        'card_spending:mean_amount_7d': 336.03333333333336,
        'card_spending:max_amount_7d': 980,
        'card_spending:last_merchant': 'jeweller',
        times_usual: 500 / 336.03333333333336,
      })
      expect(await refusal(folder, ['init', project])).toMatchObject({ code: 'FS_USAGE', exit: 2 })
    },
    limit,
  )
})

describe('a project of three partitions', () => {
  let folder: string
  let token: string
  const get = (args: readonly string[]): Promise<GetJson> =>
    json<GetJson>(folder, [
      'get',
      'plant',
      '--entity',
      'sensor=a',
      '--entity',
      'site=1',
      '--request',
      'limit=100',
      ...args,
    ])

  beforeAll(async () => {
    folder = readingsProject()
    expect(
      (await json<PlanJson>(folder, ['plan'])).changes.map(({ change, kind, name }) => `${change} ${kind} ${name}`),
    ).toEqual([
      'added stream readings',
      'added entity sensor',
      'added entity site',
      'added view by_sensor',
      'added view by_site',
      'added service plant',
    ])
    expect((await json<PlanJson>(folder, ['apply'])).builds).toEqual(['by_sensor', 'by_site'])
    expect((await json<PlanJson>(folder, ['plan'])).changes).toEqual([])
    expect((await refusal(folder, ['get', 'plant'])).code).toBe('FS_NOT_READY')
    const appended = await json<AppendJson>(folder, ['append', 'readings'], events)
    expect(appended).toMatchObject({ appended: 5, clamped: 0 })
    expect(appended.position.streams['readings']?.map(({ next }) => next).toSorted()).toEqual([0, 1, 4])
    expect(appended.position.streams['readings']?.[2]?.next).not.toBe(0)
    token = appended.token
    expect(await json(folder, ['worker', '--once'])).toMatchObject({ projection: 'online', applied: 5, total: 5 })
  }, limit)

  it(
    'gives the newest values, by hand',
    async () => {
      const reply = await get([])
      expect(reply.asOfMs).toBe(Date.parse(clock('09:20:00')) + 1)
      expect(reply.knownAsOfMs).toBeNull()
      expect(reply.token).toBe(token)
      expect(reply.rows).toEqual([
        {
          values: {
            'by_sensor:n': '4',
            'by_sensor:n_1h': '3',
            'by_sensor:level_sum_1d': '2147483653',
            'by_sensor:level_max_1d': 2147483647,
            'by_sensor:temperature_mean_1d': 20,
            'by_sensor:last_note': 'z',
            'by_sensor:last_2_levels': [-4, 2147483647],
            'by_sensor:total_sum': null,
            'by_sensor:warm_share_1d': 2 / 3,
            'by_sensor:sites_1d': '2',
            'by_site:n_1d': '3',
            'by_site:temperature_stddev_1d': 1,
            'by_site:temperature_max_each': [null, 20.5, 21.5, 19.5],
            'by_site:n_each': ['0', '1', '1', '1'],
            'by_site:n_today': '3',
            below_limit: 100 - 2147483647,
          },
          statuses: expect.objectContaining({ 'by_sensor:total_sum': 'OVERFLOW', 'by_sensor:n': 'PRESENT' }) as unknown,
          errors: {},
        },
      ])
    },
    limit,
  )

  it(
    'hides what was not known at K, and K is T when it is not given',
    async () => {
      const at = clock('09:15:00')
      const [asServed, asKnownThen, justBefore, corrected] = await Promise.all([
        get(['--as-of', at]),
        get(['--as-of', at, '--known-as-of', at]),
        get(['--as-of', at, '--known-as-of', clock('09:59:59.999')]),
        get(['--as-of', at, '--known-as-of', clock('10:00:00')]),
      ])
      expect(asServed.knownAsOfMs).toBe(Date.parse(at))
      expect(asServed.rows[0]?.values).toEqual({
        'by_sensor:n': '2',
        'by_sensor:n_1h': '1',
        'by_sensor:level_sum_1d': '10',
        'by_sensor:level_max_1d': 10,
        'by_sensor:temperature_mean_1d': 21,
        'by_sensor:last_note': 'x',
        'by_sensor:last_2_levels': [10],
        'by_sensor:total_sum': '9000000000000000000',
        'by_sensor:warm_share_1d': 1,
        'by_sensor:sites_1d': '1',
        'by_site:n_1d': '3',
        'by_site:temperature_stddev_1d': 1,
        'by_site:temperature_max_each': [null, 20.5, 21.5, 19.5],
        'by_site:n_each': ['0', '1', '1', '1'],
        'by_site:n_today': '3',
        below_limit: 90,
      })
      expect(asKnownThen.rows).toEqual(asServed.rows)
      expect(justBefore.rows).toEqual(asServed.rows)
      expect(corrected.rows[0]?.values).toMatchObject({
        'by_sensor:n': '3',
        'by_sensor:n_1h': '2',
        'by_sensor:level_sum_1d': '6',
        'by_sensor:last_note': 'y, "quoted"',
        'by_sensor:last_2_levels': [10, -4],
        'by_sensor:total_sum': '9000000000000000100',
        'by_sensor:sites_1d': '2',
      })
    },
    limit,
  )

  it(
    'knows nothing strictly before the first event, and says EXPIRED behind the ttl',
    async () => {
      const [before, after] = await Promise.all([
        get(['--as-of', clock('08:00:00'), '--known-as-of', clock('23:00:00')]),
        get(['--as-of', '2026-01-13T00:00:00Z']),
      ])
      expect(before.rows[0]?.values).toMatchObject({
        'by_sensor:n': '0',
        'by_sensor:last_note': null,
        'by_site:n_1d': '0',
      })
      expect(new Set(Object.values(before.rows[0]?.statuses ?? {}))).toEqual(new Set(['NOT_FOUND', 'NULL']))
      expect(after.rows[0]).toMatchObject({
        values: { 'by_sensor:n': null, 'by_site:n_1d': '0', 'by_site:temperature_stddev_1d': null },
        statuses: { 'by_sensor:n': 'EXPIRED', 'by_site:n_1d': 'PRESENT', 'by_site:temperature_stddev_1d': 'NULL' },
      })
    },
    limit,
  )

  it(
    'answers several rows at once, and a key that nobody has as not found',
    async () => {
      const reply = await json<GetJson>(folder, [
        'get',
        'by_sensor:n',
        'by_sensor:level_max_1d',
        '--as-of',
        clock('12:00:00'),
        ...['b', 'nobody', 'a'].flatMap((sensor) => ['--entity', `sensor=${sensor}`]),
      ])
      expect(reply.rows.map(({ values }) => values)).toEqual([
        { 'by_sensor:n': '1', 'by_sensor:level_max_1d': 7 },
        { 'by_sensor:n': '0', 'by_sensor:level_max_1d': null },
        { 'by_sensor:n': '4', 'by_sensor:level_max_1d': 2147483647 },
      ])
      expect(reply.rows[1]?.statuses).toEqual({ 'by_sensor:n': 'NOT_FOUND', 'by_sensor:level_max_1d': 'NOT_FOUND' })
    },
    limit,
  )

  it(
    'counts in status what every projection has',
    async () => {
      const status = await json<StatusJson>(folder, ['status', '--dead-letters'])
      expect(status).toMatchObject({ applied: true, up: null, deadLetters: 0, deadLetterList: [] })
      expect(status.streams).toMatchObject([
        { stream: 'readings', records: 5, online: 5, offline: 5, newestEventTime: '2026-01-05T09:20:00.000Z' },
      ])
    },
    limit,
  )

  it(
    'explains a value by its events',
    async () => {
      const explained = await json<ExplainJson>(folder, [
        'explain',
        'by_sensor:level_sum_1d',
        '--entity',
        'sensor=a',
        '--as-of',
        clock('09:15:00'),
        '--known-as-of',
        clock('10:00:00'),
      ])
      expect(explained).toMatchObject({
        status: 'PRESENT',
        value: '6',
        window: [Date.parse(clock('09:15:00')) - 86_400_000, Date.parse(clock('09:15:00'))],
        excluded: {
          atOrAfterAsOf: 1,
          notKnown: 0,
          nullInput: 1,
          refused: 0,
          beforeWindow: 0,
          afterWindow: 0,
          notWhere: 0,
        },
      })
      const partition = explained.events[0]?.partition
      expect(explained.events.map(({ stream, offset, eventTimeMs }) => ({ stream, offset, eventTimeMs }))).toEqual([
        { stream: 'readings', offset: 0, eventTimeMs: Date.parse(clock('08:00:00')) },
        { stream: 'readings', offset: partition === 2 ? 3 : 2, eventTimeMs: Date.parse(clock('09:00:00')) },
      ])
    },
    limit,
  )

  it(
    'builds training sets whose values are those of get and explain at the same moment',
    async () => {
      const rows = [
        ['a', '1', clock('09:15:00'), '', '5', 'first'],
        ['a', '1', clock('09:15:00'), clock('10:00:00'), '5', 'second, later'],
        ['a', '2', clock('09:20:00'), clock('11:00:00'), '-1', ''],
        ['b', '1', String(Date.parse(clock('09:10:01'))), '', '0', 'epoch'],
        ['nobody', '7', clock('09:15:00'), '', '0', 'none'],
      ]
      const quoted = (cell: string): string => (cell.includes(',') ? `"${cell}"` : cell)
      writeFileSync(
        join(folder, 'labels.csv'),
        ['sensor,site,as_of,known_as_of,limit,tag', ...rows.map((row) => row.map(quoted).join(','))].join('\n'),
      )
      const build = (out: string, labels = 'labels.csv'): Promise<DatasetJson> =>
        json<DatasetJson>(folder, [
          'dataset',
          'build',
          '--service',
          'plant',
          '--labels',
          join(folder, labels),
          '--out',
          join(folder, out),
        ])
      const [csv, arrow, again] = [await build('set.csv'), await build('set.arrow'), await build('again.arrow')]
      expect(csv).toMatchObject({ rows: 5, columns: 16 })
      expect(arrow.digest).toBe(csv.digest)
      expect(readFileSync(join(folder, 'again.arrow')).equals(readFileSync(join(folder, 'set.arrow')))).toBe(true)
      expect(again.digest).toBe(arrow.digest)

      const table = readCsv(readFileSync(join(folder, 'set.csv')))
      expect(table.header.slice(0, 6).toSorted()).toEqual(['as_of', 'known_as_of', 'limit', 'sensor', 'site', 'tag'])
      const file = readArrowFile(readFileSync(join(folder, 'set.arrow')))
      for (const [index, [sensor, site, asOf, knownAsOf, wanted]] of rows.entries()) {
        const reply = await json<GetJson>(folder, [
          ...[
            'get',
            'plant',
            '--entity',
            `sensor=${sensor}`,
            '--entity',
            `site=${site}`,
            '--request',
            `limit=${wanted}`,
          ],
          ...['--as-of', asOf as string, ...(knownAsOf === '' ? [] : ['--known-as-of', knownAsOf as string])],
        ])
        for (const [feature, served] of Object.entries(reply.rows[0]?.values ?? {})) {
          const column = feature.replace(':', '__')
          const cell = table.rows[index]?.[table.header.indexOf(column)]
          expect({ row: index, column, cell }).toEqual({
            row: index,
            column,
            cell: served === null ? null : typeof served === 'string' ? served : JSON.stringify(served),
          })
          const arrowColumn = file.columns[column]
          if (arrowColumn === undefined) throw new Error(`the Arrow file has no column ${column}`)
          if (arrowColumn.type === 'list') continue
          const value = scalarAt(arrowColumn as Column, index)
          expect({ row: index, column, value: typeof value === 'bigint' ? String(value) : value }).toEqual({
            row: index,
            column,
            value: served,
          })
        }
      }

      const explained = await json<ExplainJson>(folder, [
        'explain',
        'by_sensor:total_sum',
        '--entity',
        'sensor=a',
        '--as-of',
        clock('09:15:00'),
      ])
      expect(explained.value).toBe(table.rows[0]?.[table.header.indexOf('by_sensor__total_sum')])

      const missing = await refusal(folder, [
        'dataset',
        'build',
        '--service',
        'plant',
        '--labels',
        join(folder, 'set.csv'),
        '--out',
        'x.csv',
      ])
      expect(missing).toMatchObject({ code: 'FS_LABELS_INVALID', exit: 2 })
      expect(missing.message).toContain('by_sensor__n')
    },
    limit,
  )

  it(
    'keeps label rows whose key no event can have, without features, and counts them',
    async () => {
      const at = Date.parse(clock('09:15:00'))
      const labels = join(folder, 'odd.csv')
      writeFileSync(
        labels,
        `sensor,site,as_of,limit\na,1,${at},3\n${'x'.repeat(1_025)},1,${at},3\n,1,${at},3\na,,${at},3\n`,
      )
      const out = join(folder, 'odd.out.csv')
      const build = ['dataset', 'build', '--service', 'plant', '--labels', labels, '--out', out]
      expect(await json(folder, build)).toMatchObject({ rows: 4, errorRows: 3 })
      const { header, rows } = readCsv(readFileSync(out))
      const column = (name: string) => rows.map((row) => row[header.indexOf(name)])
      expect(column('by_sensor__n')).toEqual(['2', null, null, '2'])
      expect(column('by_site__n_1d')).toEqual(['3', '3', '3', null])
      expect((await run(folder, build)).stdout).toContain('3 of the rows have a key that no event can have')
    },
    limit,
  )

  it(
    'takes Arrow labels with the same result as CSV',
    async () => {
      const at = Date.parse(clock('09:15:00'))
      writeFileSync(join(folder, 'few.csv'), `sensor,site,as_of,limit\na,1,${at},3\nb,2,${at},4\n`)
      const column = (name: string, values: Column): { readonly name: string; readonly column: Column } => ({
        name,
        column: values,
      })
      writeFileSync(
        join(folder, 'few.arrow'),
        writeArrowFile(
          [
            column('sensor', {
              type: 'string',
              values: Int32Array.of(0, 1),
              table: { strings: ['a', 'b'] },
              nulls: null,
            }),
            column('site', { type: 'int64', values: BigInt64Array.of(1n, 2n), nulls: null }),
            column('as_of', { type: 'timestamp', values: Float64Array.of(at, at), nulls: null }),
            column('limit', { type: 'int32', values: Int32Array.of(3, 4), nulls: null }),
          ],
          {},
        ),
      )
      const digests = await Promise.all(
        ['few.csv', 'few.arrow'].map((labels) =>
          json<DatasetJson>(folder, [
            ...['dataset', 'build', '--service', 'plant', '--labels', join(folder, labels)],
            ...['--out', join(folder, `${labels}.csv`)],
          ]),
        ),
      )
      expect(digests[0]?.digest).toBe(digests[1]?.digest)
      expect(readFileSync(join(folder, 'few.arrow.csv'), 'utf8')).toBe(
        readFileSync(join(folder, 'few.csv.csv'), 'utf8'),
      )
    },
    limit,
  )

  it(
    'audits without a mismatch and rebuilds to the same digests',
    async () => {
      const audit = await json<AuditJson>(folder, ['audit', '--rows', '150', '--seed', '7'])
      expect(audit.mismatched).toBe(0)
      expect(audit.checked).toBeGreaterThan(1000)
      const rebuilt = await json<RebuildJson>(folder, ['rebuild', '--verify'])
      expect(rebuilt.matches).toBe(true)
      expect(rebuilt.after).toEqual(rebuilt.before)
      expect((await get([])).token).toBe(token)
    },
    limit,
  )

  it(
    'refuses requests that it cannot answer, and says what it can',
    async () => {
      const cases: readonly (readonly [args: readonly string[], code: string, says: string])[] = [
        [['get', 'plants'], 'FS_SERVICE_UNKNOWN', 'plant'],
        [['get', 'by_sensor:nn', '--entity', 'sensor=a'], 'FS_FEATURE_UNKNOWN', 'n_1h'],
        [['get', 'by_sensors:n', '--entity', 'sensor=a'], 'FS_VIEW_UNKNOWN', 'by_sensor'],
        [['get', 'by_sensor@3:n', '--entity', 'sensor=a'], 'FS_NOT_YET', 'version'],
        [['get', 'by_sensor:n', '--entity', 'sensr=a'], 'FS_USAGE', 'sensor'],
        [['get', 'by_sensor:n', '--entity', 'sensor'], 'FS_USAGE', 'key=value'],
        [['get', 'by_site:n_1d', '--entity', 'site=one'], 'FS_USAGE', 'int32'],
        [
          ['get', 'by_sensor:n', '--entity', 'sensor=a', '--as-of', '2026-01-05T09:15:00'],
          'FS_TIME_INVALID',
          '--as-of',
        ],
        [['explain', 'by_sensor:n'], 'FS_USAGE', '--entity sensor='],
        [['append', 'reading'], 'FS_STREAM_UNKNOWN', 'readings'],
        [['dataset', 'build', '--service', 'plant', '--labels', 'labels.txt', '--out', 'x.csv'], 'FS_USAGE', '.csv'],
        [['audit', '--rows', 'many'], 'FS_USAGE', '--rows'],
        [['serve', '--port', 'seven'], 'FS_USAGE', '--port'],
        [['explain', 'by_sensor:n', '--entity', 'sensor=a', '--limit', 'x'], 'FS_USAGE', '--limit'],
        [['audit', '--seed', 'x'], 'FS_USAGE', '--seed'],
      ]
      const check = async ([args, code, says]: (typeof cases)[number]): Promise<void> => {
        const refused = await refusal(folder, args)
        expect({ args, code: refused.code, exit: refused.exit }).toEqual({ args, code, exit: 2 })
        expect(refused.message).toContain(says)
        expect(refused.remedy).not.toBe('')
      }
      await inParallel(cases, check)
      // Each holds the log's lock for a moment: one after the other.
      await check([['import', 'readings', join(folder, 'none.csv')], 'FS_FILE_INVALID', 'none.csv'])
      await check([['append', 'readings', join(folder, 'none.ndjson')], 'FS_FILE_INVALID', 'none.ndjson'])
    },
    limit,
  )
})
