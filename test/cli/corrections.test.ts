import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { clock, config, type AppendJson, type ImportJson, type StatusJson } from './readings.ts'
import { offlineText } from './offline-contents.ts'
import { json, projectOf, refusal, removeFolders } from './support.ts'

const limit = 60_000
afterAll(removeFolders, limit)

const definitions = (
  more = '',
): string => `import { count, days, entity, float64, max, nullable, stream, string, sum, timestamp, view } from 'tidemark'

export const clicks = stream('clicks', { fields: { at: timestamp(), card: string() }, eventTime: 'at' })
export const payments = stream('payments', {
  fields: { id: string(), at: timestamp(), card: string(), amount: float64() },
  eventTime: 'at',
  id: 'id',
  key: ['card'],
})
export const limits = stream('limits', {
  fields: { account: string(), at: timestamp(), card: string(), amount: float64() },
  eventTime: 'at',
  changelog: true,
  primaryKey: ['account'],
})
export const card = entity('card', { key: { card: string() } })
export const byCard = view('by_card', {
  from: payments,
  entity: card,
  features: ({ amount }) => ({ n: count().over(days(1)), spent: sum(amount).over(days(1)) }),
})
${more}`

const project = (more?: string): string => projectOf({ 'tidemark.config.ts': config, 'features.ts': definitions(more) })
const at = clock('08:00:00')
const payment = { id: 'p1', at, card: 'c1', amount: 5 }

describe('append', () => {
  it(
    'refuses what the stream does not take, and what a line lacks, with its line',
    async () => {
      const folder = project()
      await json(folder, ['apply'])
      const bad: readonly (readonly [stream: string, line: object, says: string])[] = [
        ['clicks', { at, card: 'c1', _op: 'retract' }, '_op is "retract": stream clicks takes insert'],
        ['payments', { ...payment, _op: 'undo' }, '_op is "undo": stream payments takes insert, retract'],
        ['payments', { at, card: 'c1', _op: 'retract' }, 'field id is missing'],
        ['payments', { id: 'p1', at, _op: 'retract' }, 'field card is missing'],
        ['limits', { at, _op: 'delete' }, 'field account is missing'],
        ['limits', { account: 'a', _op: 'delete' }, 'field at is missing'],
        ['limits', { account: 'a', at, card: 'c1' }, 'field amount is missing'],
      ]
      for (const [stream, line, says] of bad) {
        const refused = await refusal(folder, ['append', stream], JSON.stringify(line))
        expect(refused).toMatchObject({ code: 'FS_EVENT_INVALID', exit: 2 })
        expect(refused.message).toContain(`line 1: ${says}`)
      }
      expect(await refusal(folder, ['audit'])).toMatchObject({ code: 'FS_SERVICE_UNKNOWN', exit: 2 })
      const lines = [payment, { id: 'p1', at, card: 'c1', _op: 'retract' }].map((line) => JSON.stringify(line))
      expect(await json<AppendJson>(folder, ['append', 'payments'], lines.join('\n'))).toMatchObject({ appended: 2 })
    },
    limit,
  )
})

describe('import', () => {
  it(
    'takes the column _op; what the stream does not take is a dead letter, the rest is in the table with its operation',
    async () => {
      const folder = project()
      await json(folder, ['apply'])
      const file = join(folder, 'payments.csv')
      writeFileSync(
        file,
        [
          '_op,id,at,card,amount',
          `insert,p1,${clock('08:00:00')},c1,5`,
          `,p2,${clock('08:01:00')},c1,7`,
          `upsert,p3,${clock('08:02:00')},c1,9`,
          `retract,p1,${clock('08:03:00')},c1,`,
          `insert,p4,${clock('08:04:00')},c1,`,
        ].join('\n'),
      )
      expect(await json<ImportJson>(folder, ['import', 'payments', file])).toMatchObject({
        appended: 5,
        ignoredColumns: [],
      })
      await json(folder, ['worker', '--once'])
      const status = await json<StatusJson>(folder, ['status', '--dead-letters'])
      const dead = (status.deadLetterList ?? []).filter(({ scope }) => scope === 'stream:payments')
      expect(dead.map(({ offset, code }) => [offset, code])).toEqual([
        [2, 'FS_DEAD_OP'],
        [4, 'FS_DEAD_NULL'],
      ])
      expect(
        await offlineText(
          folder,
          'SELECT toString(groupArray((id, _op, amount))) FROM (SELECT * FROM payments ORDER BY _offset)',
        ),
      ).toBe("[('p1','insert',5),('p2','insert',7),('p1','retract',NULL)]")
    },
    limit,
  )
})

describe('definitions', () => {
  it.each([
    [
      'a maximum for ever of what can be taken back',
      `export const v = view('v', { from: payments, entity: card, features: ({ amount }) => ({ most: max(amount) }) })`,
      /view v: feature most: max has no inverse/,
    ],
    [
      'an id that may be null',
      `export const s = stream('s', { fields: { id: nullable(string()), at: timestamp() }, eventTime: 'at', id: 'id' })`,
      /stream s: id names id, which is nullable/,
    ],
    [
      'a changelog without a primary key',
      `export const s = stream('s', { fields: { id: string(), at: timestamp() }, eventTime: 'at', changelog: true })`,
      /stream s: a changelog needs a primaryKey/,
    ],
  ])(
    'refuse %s',
    async (_, more, message) => {
      const refused = await refusal(project(more), ['plan'])
      expect(refused).toMatchObject({ code: 'FS_DEFINITION_INVALID', exit: 2 })
      expect(refused.message).toMatch(message)
    },
    limit,
  )
})
