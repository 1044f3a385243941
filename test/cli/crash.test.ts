import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, expect, it } from 'vitest'
import { writeReadings } from './generated.ts'
import { offlineText } from './offline-contents.ts'
import { readingsProject, type AuditJson, type RebuildJson, type StatusJson } from './readings.ts'
import { eventually, holderOf, isAlive, json, removeFolders, start } from './support.ts'

const limit = 170_000
afterAll(removeFolders, limit)

/** More than a worker applies between two kills, so that most of them strike while it catches up. */
const rows = 300_000
const kills = 8

it(
  'a worker killed again and again while it catches up loses nothing and counts nothing twice',
  async () => {
    const folder = readingsProject()
    const file = join(folder, 'many.csv')
    writeReadings(file, rows)
    await json(folder, ['apply'])
    await json(folder, ['import', 'readings', file])
    const delays = Array.from({ length: kills }, () => Math.floor(Math.random() * 450))
    for (const delay of delays) {
      const worker = start(folder, ['worker'], '')
      const pid = await eventually('a worker holds the lock', 20_000, () => {
        const holder = holderOf(folder, 'worker.lock')
        return holder !== null && isAlive(holder) ? holder : null
      })
      await sleep(delay)
      process.kill(pid, 'SIGKILL')
      expect((await worker.finished).code, `killed after ${delays.join(', ')} ms`).not.toBe(0)
    }
    expect(await json(folder, ['worker', '--once'])).toMatchObject({ applied: rows, total: rows })
    const { streams, histories, deadLetters } = await json<StatusJson>(folder, ['status'])
    expect(streams).toMatchObject([{ records: rows, online: rows, offline: rows }])
    expect(histories).toMatchObject([
      { view: 'by_sensor', covered: rows, lag: 0 },
      { view: 'by_site', covered: rows, lag: 0 },
    ])
    expect(deadLetters).toBe(0)
    expect(
      await offlineText(
        folder,
        "SELECT concat(toString(count()), ' ', toString(uniqExact(_partition, _offset))) FROM events_readings",
      ),
    ).toBe(`${rows} ${rows}`)
    const audit = await json<AuditJson>(folder, ['audit', '--rows', '90'])
    expect(audit.checked).toBeGreaterThan(500)
    expect(audit.mismatched).toBe(0)
    const rebuilt = await json<RebuildJson>(folder, ['rebuild', '--verify'])
    expect(rebuilt.after.history).toMatch(/^by_sensor:\d{4,}:\w+ by_site:\d{2,}:\w+$/)
    expect(rebuilt.after).toEqual(rebuilt.before)
  },
  limit,
)
