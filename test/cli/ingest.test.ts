import { readdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { writeReadings } from './generated.ts'
import { logContents, recordsOf } from './log-contents.ts'
import { offlineText } from './offline-contents.ts'
import {
  clock,
  readingsProject,
  type AppendJson,
  type AuditJson,
  type GetJson,
  type ImportJson,
  type StatusJson,
} from './readings.ts'
import { dataFile, eventually, holderOf, isAlive, json, refusal, removeFolders, run, start } from './support.ts'

const limit = 60_000
afterAll(removeFolders, limit)

const line = (fields: Readonly<Record<string, unknown>>): string =>
  JSON.stringify({ at: clock('08:00:00'), sensor: 'a', site: 1, delay: 0, ...fields })

describe('append', () => {
  it(
    'keeps what came before a bad line and nothing after it',
    async () => {
      const folder = readingsProject()
      await json(folder, ['apply'])
      const good = line({ _knownAt: clock('08:00:01') })
      const bad = await refusal(
        folder,
        ['append', 'readings'],
        [good, '', good, line({ level: 3_000_000_000 }), good].join('\n'),
      )
      expect(bad).toMatchObject({ code: 'FS_EVENT_INVALID', exit: 2 })
      expect(bad.message).toMatch(/^line 4: field level .*int32.*\(2 events before it/)
      expect(await recordsOf(folder, 'readings')).toBe(2)
      // Beyond one write of the log: lines of earlier writes are there as well.
      const many = [...Array.from({ length: 1_500 }, () => good), line({ _op: 'retract' }), good].join('\n')
      const later = await refusal(folder, ['append', 'readings'], many)
      expect(later).toMatchObject({ code: 'FS_EVENT_INVALID', exit: 2 })
      expect(later.message).toMatch(/^line 1501: .*retract.*\(1500 events before it/)
      expect(await recordsOf(folder, 'readings')).toBe(1_502)
    },
    limit,
  )

  it(
    'raises a knownAt below that of the log, and counts it',
    async () => {
      const folder = readingsProject()
      await json(folder, ['apply'])
      const times = ['10:00:00', '09:00:00', '09:59:59.999', '10:00:00', '10:00:01']
      writeFileSync(
        join(folder, 'late.ndjson'),
        times
          .map((time, index) =>
            line({ at: clock(`08:0${index}:00`), level: index, _knownAt: clock(time), _partition: 1 }),
          )
          .join('\r\n'),
      )
      const appended = await json<AppendJson>(folder, ['append', 'readings', join(folder, 'late.ndjson')])
      expect(appended).toMatchObject({ appended: 5, clamped: 2 })
      expect(appended.position.streams['readings']).toEqual([
        { epoch: 0, next: 0 },
        { epoch: 0, next: 5 },
        { epoch: 0, next: 0 },
      ])
      await json(folder, ['worker', '--once'])
      const known = async (knownAs: string): Promise<unknown> => {
        const reply = await json<GetJson>(folder, [
          ...['get', 'by_sensor:n', '--entity', 'sensor=a'],
          ...['--as-of', clock('12:00:00'), '--known-as-of', clock(knownAs)],
        ])
        return reply.rows[0]?.values['by_sensor:n']
      }
      expect(await known('09:59:59.999')).toBe('0')
      expect(await known('10:00:00')).toBe('4')
      expect(await known('10:00:01')).toBe('5')
    },
    limit,
  )
})

describe('import', () => {
  it(
    'writes in the order in which rows became known, once, with a dead letter for what does not fit',
    async () => {
      const folder = readingsProject()
      await json(folder, ['apply'])
      const file = join(folder, 'history.csv')
      writeFileSync(
        file,
        [
          'at,sensor,site,level,total,temperature,note,delay,extra',
          `${clock('08:00:00')},a,1,5,9007199254740993,1.5,"first, one",7200,e1`,
          `${clock('08:10:00')},a,1,3000000000,1,,,60,e2`,
          `${clock('08:20:00')},a,1,-2147483648,,2.5,third,1200,e3`,
          `${clock('08:30:00')},a,1,,2,,"",0,e4`,
        ].join('\n'),
      )
      const first = await json<ImportJson>(folder, ['import', 'readings', file])
      expect(first).toEqual({
        rows: 4,
        appended: 4,
        alreadyThere: 0,
        clamped: 0,
        ignoredColumns: ['extra'],
        through: null,
      })
      const before = await logContents(folder, 'readings')
      expect(await json<ImportJson>(folder, ['import', 'readings', file])).toMatchObject({
        appended: 0,
        alreadyThere: 4,
      })
      expect(await logContents(folder, 'readings')).toEqual(before)

      await json(folder, ['worker', '--once'])
      const status = await json<StatusJson>(folder, ['status', '--dead-letters'])
      expect(status.streams).toMatchObject([{ records: 4, online: 4, offline: 4 }])
      expect(status.deadLetters).toBe(1)
      expect(status.deadLettersByCode).toEqual({ FS_DEAD_RANGE: 1 })
      const partition = before.findIndex(({ records }) => records > 0)
      expect(status.deadLetterList).toMatchObject([
        { scope: 'stream:readings', stream: 'readings', partition, offset: 0, code: 'FS_DEAD_RANGE' },
      ])
      expect(status.deadLetterList?.[0]?.reason).toContain('level')
      // Known: 08:11, then 08:30 and 08:40, and the first row at 10:00.
      expect(
        await offlineText(
          folder,
          "SELECT toString(groupArray((_offset, _dead, formatDateTime(fromUnixTimestamp64Milli(_known_at, 'UTC'), '%T')))) FROM (SELECT * FROM events_readings ORDER BY _offset)",
        ),
      ).toBe("[(0,'FS_DEAD_RANGE','08:11:00'),(1,'','08:30:00'),(2,'','08:40:00'),(3,'','10:00:00')]")
      const reply = await json<GetJson>(folder, [
        ...['get', 'by_sensor:n', 'by_sensor:level_sum_1d', 'by_sensor:total_sum', 'by_sensor:last_note'],
        ...['--entity', 'sensor=a', '--as-of', clock('12:00:00')],
      ])
      expect(reply.rows[0]?.values).toEqual({
        'by_sensor:n': '3',
        'by_sensor:level_sum_1d': String(5 - 2147483648),
        'by_sensor:total_sum': '9007199254740995',
        'by_sensor:last_note': '',
      })
      expect(await json<AuditJson>(folder, ['audit', '--rows', '60', '--seed', '1'])).toMatchObject({ mismatched: 0 })
    },
    limit,
  )

  it(
    'takes known-at from a column that is no field of the stream',
    async () => {
      const folder = readingsProject()
      await json(folder, ['apply'])
      const file = join(folder, 'landed.csv')
      const write = (landed: string): void =>
        writeFileSync(file, `at,sensor,site,delay,landed\n${clock('08:00:00')},a,1,0,${landed}\n`)
      write('soon')
      const bad = await refusal(folder, ['import', 'readings', file, '--known-at', 'landed'])
      expect(bad).toMatchObject({ code: 'FS_FILE_INVALID', exit: 2 })
      expect(bad.message).toContain('row 1, column landed')
      write(clock('09:30:00'))
      expect(await json(folder, ['import', 'readings', file, '--known-at', 'landed'])).toMatchObject({ appended: 1 })
      const explained = await json<{ readonly events: readonly { readonly knownAtMs: number }[] }>(folder, [
        ...['explain', 'by_sensor:n', '--entity', 'sensor=a', '--as-of', clock('10:00:00')],
      ])
      expect(explained.events).toMatchObject([{ knownAtMs: Date.parse(clock('09:30:00')) }])
    },
    limit,
  )

  it(
    'refuses a file that cannot be of the stream, and writes nothing',
    async () => {
      const folder = readingsProject()
      await json(folder, ['apply'])
      const head = 'at,sensor,site,delay'
      const cases: readonly (readonly [text: string, says: string])[] = [
        [`at,sensor,site\n${clock('08:00:00')},a,1\n`, 'delay'],
        [`${head}\n2026-01-05T08:00:00,a,1,0\n`, 'row 1, column at'],
        [`${head}\n${clock('08:00:00')},a,1,0\n${clock('08:00:00')},a,one,0\n`, 'row 2, column site'],
        [`${head}\n${clock('08:00:00')},a,1\n`, 'row 1'],
        [`${head}\n,a,1,0\n`, 'row 1'],
      ]
      for (const [index, [text, says]] of cases.entries()) {
        const file = join(folder, `bad-${index}.csv`)
        writeFileSync(file, text)
        const refused = await refusal(folder, ['import', 'readings', file])
        expect({ says, code: refused.code, exit: refused.exit }).toEqual({ says, code: 'FS_FILE_INVALID', exit: 2 })
        expect(refused.message).toContain(says)
      }
      expect(await recordsOf(folder, 'readings')).toBe(0)
    },
    limit,
  )

  it(
    'goes on after kill -9 as if it had not been cut',
    async () => {
      const rows = 200_000
      const [whole, cut] = [readingsProject(), readingsProject()]
      const file = join(whole, 'many.csv')
      writeReadings(file, rows)
      await Promise.all([json(whole, ['apply']), json(cut, ['apply'])])
      expect(await json(whole, ['import', 'readings', file])).toMatchObject({ rows, appended: rows })
      const expected = await logContents(whole, 'readings')
      const size = bytesIn(dataFile(whole, 'log', 'readings'))

      let survived = 0
      for (const part of [0.2, 0.6]) {
        const importing = start(cut, ['import', 'readings', file], '')
        await eventually('the log grows', 20_000, () => bytesIn(dataFile(cut, 'log', 'readings')) > size * part)
        const pid = holderOf(cut, 'log/writer.lock')
        if (pid !== null && isAlive(pid)) process.kill(pid, 'SIGKILL')
        expect((await importing.finished).code).not.toBe(0)
        const there = await recordsOf(cut, 'readings')
        expect(there).toBeGreaterThanOrEqual(survived)
        expect(there).toBeLessThan(rows)
        survived = there
      }
      expect(survived).toBeGreaterThan(0)
      expect(await json(cut, ['import', 'readings', file])).toMatchObject({
        rows,
        appended: rows - survived,
        alreadyThere: survived,
      })
      expect(await logContents(cut, 'readings')).toEqual(expected)
      expect((await run(cut, ['import', 'readings', file])).stdout).toContain('already')
    },
    limit,
  )
})

function bytesIn(folder: string): number {
  let bytes = 0
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (entry.isFile() && entry.name.endsWith('.log')) bytes += statSync(join(entry.parentPath, entry.name)).size
  }
  return bytes
}
