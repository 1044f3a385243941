import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { open } from 'lmdb'
import { afterAll, describe, expect, it } from 'vitest'
import { clock, events, readingsProject, type AuditJson, type GetJson, type StatusJson } from './readings.ts'
import { dataFile, json, refusal, removeFolders, run } from './support.ts'

const limit = 60_000
afterAll(removeFolders, limit)

/** A project with its events applied. */
async function applied(): Promise<string> {
  const folder = readingsProject()
  await json(folder, ['apply'])
  await json(folder, ['append', 'readings'], events)
  await json(folder, ['worker', '--once'])
  return folder
}

const countOf = async (folder: string, sensor = 'a'): Promise<unknown> => {
  const reply = await json<GetJson>(folder, [
    ...['get', 'by_sensor:n', '--entity', `sensor=${sensor}`],
    ...['--as-of', clock('23:00:00')],
  ])
  return reply.rows[0]?.values['by_sensor:n']
}

const audited = (folder: string): Promise<AuditJson> =>
  json<AuditJson>(folder, ['audit', '--rows', '60', '--seed', '3'])

const allApplied = async (folder: string, records: number): Promise<void> => {
  const { streams } = await json<StatusJson>(folder, ['status'])
  expect(streams).toMatchObject([{ records, online: records, offline: records }])
}

/** The last segment of the fullest partition. */
function lastSegment(folder: string): string {
  const stream = dataFile(folder, 'log', 'readings')
  const segments = readdirSync(stream, { recursive: true, withFileTypes: true })
    .filter(({ name }) => name.endsWith('.log'))
    .map(({ parentPath, name }) => join(parentPath, name))
  return segments.toSorted((a, b) => statSync(a).size - statSync(b).size).at(-1) as string
}

describe('a torn tail of the log under projections that are ahead of it', () => {
  const again = JSON.stringify({
    at: clock('11:00:00'),
    sensor: 'a',
    site: 3,
    level: 5,
    delay: 0,
    _knownAt: clock('11:00:01'),
  })
  it(
    'a writer cuts it in a new epoch, and the next worker builds both stores again',
    async () => {
      const folder = await applied()
      // One more append, so that the tear takes one event and not all of them.
      await json(folder, ['append', 'readings'], again)
      await json(folder, ['worker', '--once'])
      expect(await countOf(folder)).toBe('5')
      const segment = lastSegment(folder)
      truncateSync(segment, statSync(segment).size - 3)
      const appended = await json<{
        readonly position: {
          readonly streams: Record<string, readonly { readonly epoch: number; readonly next: number }[]>
        }
      }>(folder, ['append', 'readings'], [again, again].join('\n'))
      expect(appended.position.streams['readings']?.map(({ epoch }) => epoch)).toContain(1)
      await json(folder, ['worker', '--once'])
      expect(await countOf(folder)).toBe('6')
      await allApplied(folder, 7)
      expect(await audited(folder)).toMatchObject({ mismatched: 0 })
    },
    limit,
  )

  it(
    'a worker that comes first builds both stores again from what is left',
    async () => {
      const folder = await applied()
      await json(folder, ['append', 'readings'], again)
      await json(folder, ['worker', '--once'])
      const segment = lastSegment(folder)
      truncateSync(segment, statSync(segment).size - 1)
      await json(folder, ['worker', '--once'])
      expect(await countOf(folder)).toBe('4')
      await allApplied(folder, 5)
      expect(await audited(folder)).toMatchObject({ mismatched: 0 })
      await json(folder, ['append', 'readings'], again)
      await json(folder, ['worker', '--once'])
      expect(await countOf(folder)).toBe('5')
      await allApplied(folder, 6)
    },
    limit,
  )
})

describe('formats', () => {
  it(
    'a log of another version is refused and left as it is',
    async () => {
      const folder = await applied()
      const file = dataFile(folder, 'log', 'log.json')
      writeFileSync(file, JSON.stringify({ ...(JSON.parse(readFileSync(file, 'utf8')) as object), format: 99 }))
      const before = contentsOf(dataFile(folder))
      for (const args of [
        ['append', 'readings'],
        ['worker', '--once'],
        ['get', 'by_sensor:n', '--entity', 'sensor=a'],
        ['apply'],
        ['rebuild'],
        ['status'],
        ['up', '--port', '0'],
      ]) {
        const refused = await refusal(folder, args, events)
        expect({ args, code: refused.code, exit: refused.exit }).toEqual({ args, code: 'FS_LOG_FORMAT', exit: 2 })
        expect(refused.message).toContain('99')
      }
      expect(contentsOf(dataFile(folder))).toEqual(before)
    },
    limit,
  )

  it(
    'online state of another version, and a file that is none, are built again by the next worker',
    async () => {
      const folder = await applied()
      await changeRecords(
        folder,
        (key) => key.toString('latin1') === '\0format',
        () => Buffer.from('\0\0\0\0"99"'),
      )
      expect(await refusal(folder, ['get', 'by_sensor:n', '--entity', 'sensor=a'])).toMatchObject({
        code: 'FS_NOT_READY',
        exit: 3,
      })
      await json(folder, ['worker', '--once'])
      expect(await countOf(folder)).toBe('4')

      writeFileSync(dataFile(folder, 'online', 'data.mdb'), Buffer.alloc(40_000, 'garbage '))
      expect(await refusal(folder, ['get', 'by_sensor:n', '--entity', 'sensor=a'])).toMatchObject({
        code: 'FS_NOT_READY',
        exit: 3,
      })
      await json(folder, ['worker', '--once'])
      expect(await countOf(folder)).toBe('4')
      await allApplied(folder, 5)
      expect(await audited(folder)).toMatchObject({ mismatched: 0 })
    },
    limit,
  )
})

describe('a flipped bit in the online store', () => {
  it(
    'in a row: an error for that row alone, a mismatch in the audit, healed by the next worker that reads it',
    async () => {
      const folder = await applied()
      await changeRecords(folder, isRowOf('by_sensor', 'a'), flip)
      const get = (): Promise<GetJson> =>
        json<GetJson>(folder, [
          'get',
          'by_sensor:n',
          'by_sensor:last_note',
          '--entity',
          'sensor=a',
          '--entity',
          'sensor=b',
          '--as-of',
          clock('23:00:00'),
        ])
      const { rows } = await get()
      expect(rows).toMatchObject([
        {
          values: { 'by_sensor:n': null, 'by_sensor:last_note': null },
          statuses: { 'by_sensor:n': 'ERROR', 'by_sensor:last_note': 'ERROR' },
          errors: { 'by_sensor:n': 'FS_ROW_CORRUPT', 'by_sensor:last_note': 'FS_ROW_CORRUPT' },
        },
        { values: { 'by_sensor:n': '1' }, statuses: { 'by_sensor:n': 'PRESENT' }, errors: {} },
      ])
      const audit = await run(folder, ['audit', '--rows', '60', '--seed', '3', '--json'])
      expect(audit.code).toBe(1)
      expect((JSON.parse(audit.stdout) as AuditJson).mismatched).toBeGreaterThan(0)
      await json(
        folder,
        ['append', 'readings'],
        JSON.stringify({ at: clock('12:00:00'), sensor: 'a', site: 1, delay: 0, _knownAt: clock('12:00:00') }),
      )
      await json(folder, ['worker', '--once'])
      expect((await get()).rows[0]?.values['by_sensor:n']).toBe('5')
      expect(await audited(folder)).toMatchObject({ mismatched: 0 })

      await changeRecords(folder, isRowOf('by_sensor', 'b'), flip)
      expect((await get()).rows[1]?.errors).toEqual({
        'by_sensor:n': 'FS_ROW_CORRUPT',
        'by_sensor:last_note': 'FS_ROW_CORRUPT',
      })
      await json(folder, ['rebuild'])
      expect((await get()).rows[1]?.values['by_sensor:n']).toBe('1')
      await allApplied(folder, 6)
    },
    limit,
  )

  it(
    'in what the store says about itself: the next worker builds it again',
    async () => {
      const folder = await applied()
      const positions = (key: Buffer): boolean => key[0] === 1
      const generations = (key: Buffer): boolean => key.toString('latin1') === '\0generations'
      const format = (key: Buffer): boolean => key.toString('latin1') === '\0format'
      for (const chosen of [positions, generations, format]) {
        await changeRecords(folder, chosen, flip)
        expect((await run(folder, ['get', 'by_sensor:n', '--entity', 'sensor=a'])).code).not.toBe(0)
        await json(folder, ['worker', '--once'])
        expect(await countOf(folder)).toBe('4')
        await allApplied(folder, 5)
      }
    },
    limit,
  )
})

const isRowOf =
  (view: string, key: string) =>
  (record: Buffer): boolean => {
    const name = Buffer.from(`${view}\0`)
    return (
      record[0] === 3 &&
      record.subarray(5, 5 + name.length).equals(name) &&
      record.subarray(5 + name.length).includes(key)
    )
  }

function flip(value: Buffer): Buffer {
  const changed = Buffer.from(value)
  const at = changed.length >> 1
  changed[at] = (changed[at] as number) ^ 4
  return changed
}

/** Changes records of the project's LMDB file behind its back. */
async function changeRecords(
  folder: string,
  chosen: (key: Buffer) => boolean,
  change: (value: Buffer) => Buffer,
): Promise<void> {
  const store = open<Buffer, Buffer>({
    path: dataFile(folder, 'online'),
    noSubdir: false,
    encoding: 'binary',
    keyEncoding: 'binary',
  })
  const found = [...store.getRange({ start: Buffer.of(0) })]
    .map(({ key, value }) => ({ key: Buffer.from(key), value: Buffer.from(value) }))
    .filter(({ key }) => chosen(key))
  expect(found.length).toBeGreaterThan(0)
  await store.transaction(() => {
    for (const { key, value } of found) void store.put(key, change(value))
  })
  await store.close()
}

/** Digest by path of every file, but for locks: taking one may make its file. */
function contentsOf(folder: string): Record<string, string> {
  const files = readdirSync(join(folder, 'log'), { recursive: true, withFileTypes: true }).filter(
    (entry) => entry.isFile() && !entry.name.includes('.lock'),
  )
  return Object.fromEntries(
    files.map(({ parentPath, name }) => [
      join(parentPath, name),
      createHash('sha256')
        .update(readFileSync(join(parentPath, name)))
        .digest('hex'),
    ]),
  )
}
