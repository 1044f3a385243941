import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { scalarAt } from '../../core/event/column.ts'
import type { Column } from '../../core/event/types.ts'
import { readArrowFile } from '../../schemas/arrow/read.ts'
import { readCsv } from '../../schemas/csv/read.ts'
import {
  clock,
  config,
  events,
  features,
  readingsProject,
  type AppendJson,
  type AuditJson,
  type GetJson,
  type RebuildJson,
  type StatusJson,
} from './readings.ts'
import { json, projectOf, refusal, removeFolders, run, testFolder, type Finished } from './support.ts'

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
      // `init` has no --project: the folder is its argument.
      expect(init.code).toBe(2)
      expect(init.stderr).toContain('FS_USAGE')
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
            below_limit: 100 - 2147483647,
          },
          statuses: expect.objectContaining({ 'by_sensor:total_sum': 'OVERFLOW', 'by_sensor:n': 'PRESENT' }) as unknown,
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
      expect(csv).toMatchObject({ rows: 5, columns: 13 })
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
    'takes Arrow labels with the same result as CSV',
    async () => {
      writeFileSync(join(folder, 'few.csv'), `sensor,site,as_of,limit\na,1,${clock('09:15:00')},3\n`)
      const slim = features
        .replace('features: [bySensor.all(), bySite.all()]', "features: [bySite.select('n_1d')]")
        .replace(/\n {2}derive:.*\n/, '\n')
        .replace("service('plant'", "service('site_only'")
      const other = projectOf({ 'tidemark.config.ts': config, 'features.ts': slim })
      await json(other, ['apply'])
      await json(other, ['append', 'readings'], events)
      // A set of another service is a label file: its features are columns that are handed on.
      writeFileSync(join(other, 'labels.csv'), `sensor,site,as_of,limit\na,1,${clock('09:15:00')},3\n`)
      await json(other, [
        'dataset',
        'build',
        '--service',
        'site_only',
        '--labels',
        join(other, 'labels.csv'),
        '--out',
        join(folder, 'labels.arrow'),
      ])
      const arrow = await refusal(folder, [
        'dataset',
        'build',
        '--service',
        'plant',
        '--labels',
        join(folder, 'labels.arrow'),
        '--out',
        join(folder, 'from-arrow.csv'),
      ])
      expect(arrow.message).toContain('by_site__n_1d')
      const own = features.replace("by_site'", "site_view'").replaceAll('by_site', 'site_view')
      const third = projectOf({ 'tidemark.config.ts': config, 'features.ts': own })
      await json(third, ['apply'])
      await json(third, ['append', 'readings'], events)
      const build = (labels: string, out: string): Promise<DatasetJson> =>
        json<DatasetJson>(third, [
          'dataset',
          'build',
          '--service',
          'plant',
          '--labels',
          labels,
          '--out',
          join(third, out),
        ])
      await build(join(folder, 'few.csv'), 'csv.csv')
      await build(join(folder, 'labels.arrow'), 'arrow.csv')
      const [fromCsv, fromArrow] = ['csv.csv', 'arrow.csv'].map((name) => readCsv(readFileSync(join(third, name)))) as [
        ReturnType<typeof readCsv>,
        ReturnType<typeof readCsv>,
      ]
      for (const name of fromCsv.header)
        expect([name, fromArrow.rows[0]?.[fromArrow.header.indexOf(name)]]).toEqual([
          name,
          fromCsv.rows[0]?.[fromCsv.header.indexOf(name)],
        ])
      expect(fromArrow.rows[0]?.[fromArrow.header.indexOf('by_site__n_1d')]).toBe('3')
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
        [['import', 'readings', join(folder, 'none.csv')], 'FS_FILE_INVALID', 'none.csv'],
        [['dataset', 'build', '--service', 'plant', '--labels', 'labels.txt', '--out', 'x.csv'], 'FS_USAGE', '.csv'],
        [['audit', '--rows', 'many'], 'FS_USAGE', '--rows'],
        [['serve', '--port', 'seven'], 'FS_USAGE', '--port'],
        [['explain', 'by_sensor:n', '--entity', 'sensor=a', '--limit', 'x'], 'FS_USAGE', '--limit'],
        [['audit', '--seed', 'x'], 'FS_USAGE', '--seed'],
      ]
      for (const [args, code, says] of cases) {
        const refused = await refusal(folder, args)
        expect({ args, code: refused.code, exit: refused.exit }).toEqual({ args, code, exit: 2 })
        expect(refused.message).toContain(says)
        expect(refused.remedy).not.toBe('')
      }
    },
    limit,
  )
})

describe('the command line', () => {
  it(
    'prints usage for every command and exits 0',
    async () => {
      const folder = testFolder()
      const help = await run(folder, ['--help'])
      expect(help.code).toBe(0)
      const names = [...help.stdout.matchAll(/^ {2}([a-z]+)[ [<]/gm)]
        .map(([, name]) => name as string)
        .filter((name) => name !== 'help')
      expect(names).toEqual(
        expect.arrayContaining(
          'init plan apply import append worker serve up get dataset audit explain status rebuild'.split(' '),
        ),
      )
      const commands = [...names.map((name) => [name]), ['dataset', 'build']]
      const runs: [string, Finished][] = []
      for (let at = 0; at < commands.length; at += 3) {
        runs.push(
          ...(await Promise.all(
            commands
              .slice(at, at + 3)
              .map(async (command): Promise<[string, Finished]> => [
                command.join(' '),
                await run(folder, [...command, '--help']),
              ]),
          )),
        )
      }
      for (const [name, { code, stdout }] of runs) {
        expect({ name, code }).toEqual({ name, code: 0 })
        expect(stdout).toContain(`Usage: tidemark ${name}`)
      }
    },
    limit,
  )

  it(
    'answers what it does not know with FS_USAGE and exit code 2',
    async () => {
      const folder = readingsProject()
      for (const args of [
        ['frobnicate'],
        ['plan', '--frobnicate'],
        ['dataset', 'build', '--service', 'plant'],
        ['get'],
      ]) {
        const asJson = await refusal(folder, args)
        expect({ args, exit: asJson.exit, code: asJson.code, kind: asJson.kind }).toEqual({
          args,
          exit: 2,
          code: 'FS_USAGE',
          kind: 'invalid',
        })
        const text = await run(folder, args)
        expect(text.code).toBe(2)
        expect(text.stderr).toMatch(/^FS_USAGE: .+\nRemedy: .*--help/)
      }
    },
    limit,
  )

  it(
    'refuses definitions with file and line, and configs by option',
    async () => {
      const wrongField = features.replace('sum(total)', 'sum(totl)').replace('({ level, total,', '({ level, totl,')
      const line = wrongField.split('\n').findIndex((text) => text.includes('({ level, totl,')) + 1
      const withConfig = (text: string): string =>
        projectOf({ 'tidemark.config.ts': `export default ${text}\n`, 'features.ts': features })
      const withFeatures = (text: string): string => projectOf({ 'tidemark.config.ts': config, 'features.ts': text })
      const cases: readonly (readonly [folder: string, code: string, says: readonly string[]])[] = [
        [withFeatures(wrongField), 'FS_DEFINITION_INVALID', [`features.ts:${line}`, 'totl']],
        [
          withFeatures(features.replace('ttl: days(7)', 'ttl: hours(1)')),
          'FS_DEFINITION_INVALID',
          ['by_sensor', 'ttl'],
        ],
        [withFeatures(features.replace('over(hours(1))', 'over(-5)')), 'FS_DEFINITION_INVALID', ['features.ts:', '-5']],
        [
          withFeatures(
            features
              .replace('n: count(),', 'n: count().over(series(days(1))),')
              .replace('import { count,', 'import { count, series,'),
          ),
          'FS_NOT_YET',
          ['series'],
        ],
        [withFeatures(features.replace("key: ['sensor'],", "key: ['sensor'], id: 'note',")), 'FS_NOT_YET', ['id']],
        [
          withFeatures(features.replace('export const plant', 'export const plant =')),
          'FS_DEFINITION_INVALID',
          ['features.ts'],
        ],
        [withConfig('{ workers: 3 }'), 'FS_CONFIG_INVALID', ['tidemark.config.ts', 'workers']],
        [withConfig('{ worker: { flushMs: 0.5 } }'), 'FS_CONFIG_INVALID', ['worker.flushMs']],
        [withConfig("{ log: { kind: 'kafka' } }"), 'FS_NOT_YET', ['log.kind', 'kafka']],
        [withConfig("{ online: { kind: 'redis' } }"), 'FS_NOT_YET', ['online.kind', 'redis']],
        [withConfig("{ log: { kind: 'pulsar' } }"), 'FS_CONFIG_INVALID', ['log.kind', 'pulsar']],
        [withConfig("{ definitions: ['other.ts'] }"), 'FS_CONFIG_INVALID', ['definitions', 'other.ts']],
        [testFolder(), 'FS_PROJECT_NOT_FOUND', ['tidemark.config.ts']],
      ]
      for (const [folder, code, says] of cases) {
        const refused = await refusal(folder, ['plan'])
        expect({ says, code: refused.code, exit: refused.exit }).toEqual({ says, code, exit: 2 })
        for (const part of says) expect(refused.message).toContain(part)
      }
    },
    limit,
  )
})
