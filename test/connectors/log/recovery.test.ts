import { cpSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { readAll, recordsFrom } from '../../../connectors/kit/event-log-suite.ts'
import { offset, offsetZero } from '../../../core/event/position.ts'
import { logOf, read, segmentPath, stream, testFolder, write } from './support.ts'

const failing = (code: string) => expect.objectContaining({ code })
const epochsOf = (firstOffset: number) => [
  { epoch: 0, firstOffset: 0 },
  { epoch: 1, firstOffset },
]

/** Names, sizes and contents below a folder. */
const contents = (folder: string): Record<string, string> =>
  Object.fromEntries(
    readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => [join(entry.parentPath, entry.name), readFileSync(join(entry.parentPath, entry.name), 'hex')]),
  )

describe('a torn tail', () => {
  it('is cut at the last whole batch, wherever it was torn, and begins an epoch; a reader only stops there', async () => {
    const original = testFolder()
    const [, , last = 0, end = 0] = await logOf(original, [3, 2, 4])
    const root = join(testFolder(), 'log')
    for (let size = last; size < end; size++) {
      rmSync(root, { recursive: true, force: true })
      cpSync(original, root, { recursive: true })
      truncateSync(segmentPath(root), size)
      {
        await using reader = await read(root)
        expect((await reader.describe(stream))?.[0], `size ${size}`).toMatchObject({ end: 5, epochs: [{ epoch: 0 }] })
        expect(await readAll(reader, 0, offsetZero, 10_000)).toEqual(recordsFrom(0, 5))
        expect(statSync(segmentPath(root)).size).toBe(size)
      }
      await using log = await write(root)
      expect((await log.describe(stream))?.[0], `size ${size}`).toEqual({ start: 0, end: 5, epochs: epochsOf(5) })
      expect(statSync(segmentPath(root)).size).toBe(last)
      expect(await log.append(stream, 0, recordsFrom(5, 1))).toMatchObject({ epoch: 1, firstOffset: 5 })
      expect(await readAll(log, 0, offsetZero, 10_000)).toEqual(recordsFrom(0, 6))
    }
  })

  it('of zeros or of garbage is cut as well', async () => {
    for (const tail of [new Uint8Array(5000), Uint8Array.from({ length: 5000 }, (_, index) => (index * 7919) % 251)]) {
      const root = testFolder()
      await logOf(root, [3, 2])
      writeFileSync(segmentPath(root), tail, { flag: 'a' })
      await using log = await write(root)
      expect((await log.describe(stream))?.[0]).toMatchObject({ end: 5, epochs: epochsOf(5) })
      expect(await readAll(log, 0, offsetZero, 10_000)).toEqual(recordsFrom(0, 5))
    }
  })

  it('of the only batch leaves an empty partition in a new epoch', async () => {
    const root = testFolder()
    await logOf(root, [3])
    truncateSync(segmentPath(root), 70)
    await using log = await write(root)
    expect((await log.describe(stream))?.[0]).toEqual({ start: 0, end: 0, epochs: epochsOf(0) })
  })

  it('that is cut twice begins two epochs; a clean end begins none', async () => {
    const root = testFolder()
    const [, first = 0] = await logOf(root, [3, 2, 4])
    await (await write(root))[Symbol.asyncDispose]()
    {
      await using log = await write(root)
      expect((await log.describe(stream))?.[0]?.epochs).toHaveLength(1)
    }
    truncateSync(segmentPath(root), statSync(segmentPath(root)).size - 1)
    await (await write(root))[Symbol.asyncDispose]()
    truncateSync(segmentPath(root), first + 5)
    await using log = await write(root)
    expect((await log.describe(stream))?.[0]?.epochs).toEqual([...epochsOf(5), { epoch: 2, firstOffset: 3 }])
    await log.append(stream, 0, recordsFrom(3, 1))
    expect((await log.fetch(stream, 0, offset(3), 0)).bytes[15]).toBe(2)
  })
})

describe('a machine that went down under a writer', () => {
  it('begins an epoch at the end, since what was not synced may be gone; a killed process does not', async () => {
    const root = testFolder()
    await logOf(root, [3])
    const state = join(root, 'writer.json')
    const { bootId } = JSON.parse(readFileSync(state, 'utf8')) as { bootId: string | null }
    writeFileSync(state, JSON.stringify({ clean: false, bootId, ends: {} }))
    if (bootId !== null) {
      await using log = await write(root)
      expect((await log.describe(stream))?.[0]?.epochs).toHaveLength(1)
    }
    writeFileSync(state, JSON.stringify({ clean: false, bootId: 'an earlier start', ends: {} }))
    await using log = await write(root)
    expect((await log.describe(stream))?.[0]).toMatchObject({ end: 3, epochs: epochsOf(3) })
  })
})

describe('damage in the middle', () => {
  it('of any bit is never cut: writing is refused, nothing is touched', async () => {
    const root = testFolder()
    const [, from = 0, to = 0] = await logOf(root, [3, 2, 4, 1])
    const good = readFileSync(segmentPath(root))
    for (let at = from; at < to; at++) {
      if (at >= from + 12 && at < from + 16) continue // the epoch: under no checksum, decides nothing
      const damaged = Uint8Array.from(good)
      damaged[at] = (damaged[at] as number) ^ (1 << (at % 8))
      writeFileSync(segmentPath(root), damaged)
      await expect(write(root), `byte ${at}`).rejects.toThrow(failing('FS_LOG_CORRUPT'))
      expect(readFileSync(segmentPath(root)).equals(damaged)).toBe(true)
    }
    await expect(write(root)).rejects.toThrow(`byte ${from}`)
    {
      await using reader = await read(root)
      expect((await reader.describe(stream))?.[0]?.end).toBe(3)
      expect((await reader.fetch(stream, 0, offsetZero, 10_000)).nextOffset).toBe(3)
      await expect(reader.fetch(stream, 0, offset(3), 10_000)).rejects.toThrow(failing('FS_LOG_CORRUPT'))
    }
    writeFileSync(segmentPath(root), good)
    await using log = await write(root)
    expect(await readAll(log, 0, offsetZero, 10_000)).toEqual(recordsFrom(0, 10))
  })

  it('of an earlier segment is found where it is read', async () => {
    const root = testFolder()
    {
      await using log = await write(root, { segmentBytesMax: 500 })
      await log.create(stream, { partitions: 1 })
      for (let index = 0; index < 20; index++) await log.append(stream, 0, recordsFrom(index * 5, 5))
    }
    const segments = readdirSync(join(root, stream, '0')).filter((name) => name.endsWith('.log'))
    expect(segments.length).toBeGreaterThan(3)
    truncateSync(segmentPath(root), 100)
    await using log = await write(root, { segmentBytesMax: 500 })
    await expect(readAll(log, 0, offsetZero, 1000)).rejects.toThrow(failing('FS_LOG_CORRUPT'))
    expect(await readAll(log, 0, offset(90), 1000)).toEqual(recordsFrom(90, 10))
    expect(statSync(segmentPath(root)).size).toBe(100)
  })
})

describe('a folder of another version', () => {
  it('is refused, for reading and writing, and left as it is', async () => {
    const root = testFolder()
    await logOf(root, [3])
    const path = join(root, 'log.json')
    writeFileSync(path, readFileSync(path, 'utf8').replace('"format":1', '"format":2'))
    truncateSync(segmentPath(root), 100)
    const before = contents(root)
    await expect(write(root)).rejects.toThrow(failing('FS_LOG_FORMAT'))
    await expect(read(root)).rejects.toThrow(failing('FS_LOG_FORMAT'))
    expect(contents(root)).toEqual(before)
  })

  it('is not begun over streams whose log.json is gone; and nothing is no log to read', async () => {
    const root = testFolder()
    await logOf(root, [3])
    const { logId } = JSON.parse(readFileSync(join(root, 'log.json'), 'utf8')) as { logId: string }
    expect(logId).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
    rmSync(join(root, 'log.json'))
    await expect(write(root)).rejects.toThrow(failing('FS_LOG_FORMAT'))
    await expect(read(root)).rejects.toThrow(failing('FS_FILE_INVALID'))
  })
})
