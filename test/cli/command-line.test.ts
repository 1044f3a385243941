import { afterAll, describe, expect, it } from 'vitest'
import { config, features, readingsProject } from './readings.ts'
import { inParallel, projectOf, refusal, removeFolders, run, testFolder } from './support.ts'

const limit = 60_000
afterAll(removeFolders, limit)

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
      await inParallel(commands, async (command) => {
        const { code, stdout } = await run(folder, [...command, '--help'])
        expect({ command, code }).toEqual({ command, code: 0 })
        expect(stdout).toContain(`Usage: tidemark ${command.join(' ')}`)
      })
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
            features.replace('n: count(),', 'n: topN(total, 3),').replace('import { count,', 'import { count, topN,'),
          ),
          'FS_NOT_YET',
          ['topN'],
        ],
        [
          withFeatures(features.replace("key: ['sensor'],", "key: ['sensor'], id: 'note',")),
          'FS_DEFINITION_INVALID',
          ['id names note, which is nullable'],
        ],
        [
          withFeatures(features.replace("key: ['sensor'],", "key: ['sensor'], knownAt: 'at',")),
          'FS_DEFINITION_INVALID',
          ['knownAt', 'createTime'],
        ],
        [
          withFeatures(features.replace('export const plant', 'export const plant =')),
          'FS_DEFINITION_INVALID',
          ['features.ts'],
        ],
        [withConfig('{ workers: 3 }'), 'FS_CONFIG_INVALID', ['tidemark.config.ts', 'workers']],
        [withConfig('{ worker: { flushMs: 0.5 } }'), 'FS_CONFIG_INVALID', ['worker.flushMs']],
        [withConfig("{ log: { kind: 'kafka' } }"), 'FS_CONFIG_INVALID', ['log.brokers']],
        [withConfig("{ online: { kind: 'redis' } }"), 'FS_CONFIG_INVALID', ['address, sentinel and cluster']],
        [withConfig("{ offline: { kind: 'clickhouse' } }"), 'FS_NOT_YET', ['offline.kind', 'clickhouse']],
        [withConfig("{ log: { kind: 'pulsar' } }"), 'FS_CONFIG_INVALID', ['log.kind', 'pulsar']],
        [withConfig("{ definitions: ['other.ts'] }"), 'FS_CONFIG_INVALID', ['definitions', 'other.ts']],
        [testFolder(), 'FS_PROJECT_NOT_FOUND', ['tidemark.config.ts']],
      ]
      await inParallel(cases, async ([folder, code, says]) => {
        const refused = await refusal(folder, ['plan'])
        expect({ says, code: refused.code, exit: refused.exit }).toEqual({ says, code, exit: 2 })
        for (const part of says) expect(refused.message).toContain(part)
      })
    },
    limit,
  )
})
