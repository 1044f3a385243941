import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, describe, expect, it } from 'vitest'
import { valueAt } from '../../core/engine/feature-column.ts'
import type { Scalar } from '../../core/event/types.ts'
import { connectFeatureClient } from '../../serving/grpc/client.ts'
import { writeReadings } from './generated.ts'
import { clock, readingsProject, type AppendJson, type AuditJson, type StatusJson } from './readings.ts'
import {
  dataFile,
  eventually,
  holderOf,
  isAlive,
  isThere,
  json,
  refusal,
  removeFolders,
  run,
  start,
  type Running,
} from './support.ts'

const limit = 60_000

interface Up {
  readonly running: Running
  /** The process that holds the log: the one behind the starter that a user calls. */
  readonly pid: number
  readonly address: string
}

const started: { readonly running: Running; readonly folder: string }[] = []

async function up(folder: string): Promise<Up> {
  const running = start(folder, ['up', '--port', '0', '--json'])
  started.push({ running, folder })
  const line = await eventually('up says where it serves', 30_000, () => {
    if (running.child.exitCode !== null) throw new Error(`up ended: ${running.stderr}`)
    return running.stdout.split('\n').find((text) => text.startsWith('{'))
  })
  const { serving } = JSON.parse(line) as { readonly serving: string }
  return { running, pid: holderOf(folder, 'log/writer.lock') as number, address: serving }
}

const workerOf = (folder: string): Promise<number> =>
  eventually('a worker runs', 20_000, () => {
    const pid = holderOf(folder, 'worker.lock')
    return pid !== null && isAlive(pid) ? pid : null
  })

afterEach(async () => {
  for (const { running, folder } of started.splice(0)) {
    if (running.child.exitCode === null && running.child.signalCode === null) running.interrupt()
    await running.finished
    for (const lock of ['log/writer.lock', 'worker.lock']) {
      const pid = holderOf(folder, lock)
      if (pid !== null && isAlive(pid)) process.kill(pid, 'SIGKILL')
    }
  }
}, limit)
afterAll(removeFolders, limit)

/** `by_sensor:n` through a real client, no older than the token. */
async function countOf(address: string, sensor: string, minPosition: string): Promise<unknown> {
  await using client = connectFeatureClient(address)
  const entities: Record<string, readonly Scalar[]> = { sensor: [sensor] }
  const reply = await client.getFeatures({
    features: ['by_sensor:n'],
    entities,
    request: {},
    asOfMs: Date.parse(clock('23:00:00')),
    knownAsOfMs: Date.parse('2100-01-01T00:00:00Z'),
    minPosition,
    deadlineMs: 5_000,
  })
  const [column] = reply.columns
  return column === undefined ? undefined : valueAt(column, 0)
}

const event = (sensor: string): string => JSON.stringify({ at: clock('08:00:00'), sensor, site: 1, delay: 0 })

describe('up', () => {
  it(
    'takes append and import of other processes, serves them at their token, and keeps second writers out',
    async () => {
      const folder = readingsProject()
      expect(await refusal(folder, ['up', '--port', '0'])).toMatchObject({ code: 'FS_NOT_APPLIED', exit: 3 })
      await json(folder, ['apply'])
      const { running, pid, address } = await up(folder)
      expect(address).toMatch(/^127\.0\.0\.1:\d+$/)
      expect(pid).not.toBe(running.pid)

      const appended = await json<AppendJson>(folder, ['append', 'readings'], [event('a'), event('a')].join('\n'))
      expect(appended).toMatchObject({ appended: 2, through: pid })
      expect(await countOf(address, 'a', appended.token)).toBe(2n)
      expect((await run(folder, ['append', 'readings'], event('a'))).stdout).toContain(`through up (process ${pid})`)
      const bad = await refusal(folder, ['append', 'readings'], [event('b'), '{"at":1}'].join('\n'))
      expect(bad).toMatchObject({ code: 'FS_EVENT_INVALID', exit: 2 })
      expect(bad.message).toContain('line 2')
      expect(bad.remedy).not.toBe('')
      // Far more behind the bad line than what a connection buffers: the answer comes all the same.
      const long = [...Array.from({ length: 100_000 }, () => event('d')), '']
      const early = await refusal(folder, ['append', 'readings'], ['{}', ...long].join('\n'))
      expect(early).toMatchObject({ code: 'FS_EVENT_INVALID', exit: 2 })
      expect(early.message).toContain('line 1')

      const file = join(folder, 'few.csv')
      writeFileSync(
        file,
        `at,sensor,site,delay\n${[1, 2, 3, 4].map((minute) => `${clock(`09:0${minute}:00`)},imported,1,0`).join('\n')}\n`,
      )
      expect(await json(folder, ['import', 'readings', file])).toMatchObject({ appended: 4, through: pid })
      const { token } = await json<AppendJson>(folder, ['append', 'readings'], event('c'))
      expect(await countOf(address, 'imported', token)).toBe(4n)
      expect(await countOf(address, 'a', token)).toBe(3n)
      expect(await countOf(address, 'b', token)).toBe(1n)

      for (const args of [['up', '--port', '0'], ['worker', '--once'], ['rebuild']]) {
        const refused = await refusal(folder, args)
        expect({ args, code: refused.code, exit: refused.exit }).toEqual({ args, code: 'FS_LOCKED', exit: 3 })
        expect(refused.message).toMatch(/process \d+ \(tidemark (up|worker)\)/)
      }
      expect(await json<StatusJson>(folder, ['status'])).toMatchObject({ up: { pid }, streams: [{ records: 9 }] })

      const worker = await workerOf(folder)
      running.interrupt()
      expect([0, 130]).toContain((await running.finished).code)
      expect(running.stderr).toBe('')
      for (const process of [pid, worker]) expect(isAlive(process)).toBe(false)
      expect(isThere(dataFile(folder, 'up.json'))).toBe(false)
      expect(await json<StatusJson>(folder, ['status'])).toMatchObject({ up: null })
      expect(await json<AuditJson>(folder, ['audit', '--rows', '30', '--seed', '1'])).toMatchObject({ mismatched: 0 })
      expect(await json<AppendJson>(folder, ['append', 'readings'], event('a'))).toMatchObject({ through: null })
    },
    limit,
  )

  it(
    'starts a killed worker again, which goes on',
    async () => {
      const folder = readingsProject()
      await json(folder, ['apply'])
      const { address } = await up(folder)
      const file = join(folder, 'many.csv')
      writeReadings(file, 50_000)
      const importing = json(folder, ['import', 'readings', file])
      for (let kill = 0; kill < 2; kill++) process.kill(await workerOf(folder), 'SIGKILL')
      await importing
      const first = await workerOf(folder)
      process.kill(first, 'SIGKILL')
      const { token } = await json<AppendJson>(folder, ['append', 'readings'], event('late'))
      const count = await eventually('the next worker has applied it', 20_000, () =>
        countOf(address, 'late', token).catch(() => null),
      )
      expect(count).toBe(1n)
      expect(await workerOf(folder)).not.toBe(first)
    },
    limit,
  )

  it(
    'killed itself, its children end, and the next one has everything',
    async () => {
      const folder = readingsProject()
      await json(folder, ['apply'])
      const first = await up(folder)
      const { token } = await json<AppendJson>(folder, ['append', 'readings'], [event('a'), event('a')].join('\n'))
      expect(await countOf(first.address, 'a', token)).toBe(2n)
      const worker = await workerOf(folder)
      process.kill(first.pid, 'SIGKILL')
      await first.running.finished
      await eventually('the worker ends', 10_000, () => !isAlive(worker))
      await eventually('the server ends', 10_000, () =>
        countOf(first.address, 'a', token).then(
          () => false,
          () => true,
        ),
      )
      expect(await json<StatusJson>(folder, ['status'])).toMatchObject({ up: null })
      const { token: alone } = await json<AppendJson>(folder, ['append', 'readings'], event('a'))

      const second = await up(folder)
      expect(await countOf(second.address, 'a', alone)).toBe(3n)
      expect(await json<AppendJson>(folder, ['append', 'readings'], event('a'))).toMatchObject({ through: second.pid })
    },
    limit,
  )

  it(
    'starts a worker that failed again',
    async () => {
      const folder = readingsProject()
      await json(folder, ['apply'])
      const other = start(folder, ['worker'])
      started.push({ running: other, folder })
      const holder = await workerOf(folder)
      const running = start(folder, ['up', '--port', '0', '--json'])
      started.push({ running, folder })
      await eventually('the worker of up is refused', 30_000, () => running.stderr.includes('FS_LOCKED') || null)
      other.interrupt()
      await other.finished
      const next = await eventually('up has a worker', 30_000, () => {
        const pid = holderOf(folder, 'worker.lock')
        return pid !== null && pid !== holder && isAlive(pid) ? pid : null
      })
      expect(next).not.toBe(running.pid)
      await eventually('up serves', 30_000, () => running.stdout.includes('serving') || null)
    },
    limit * 2,
  )
})
