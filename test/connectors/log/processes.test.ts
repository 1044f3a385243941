import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { appendFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { type Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, it, onTestFinished } from 'vitest'
import { FileLock, lockHolder } from '../../../connectors/kit/file-lock.ts'
import { readAll, recordsFrom } from '../../../connectors/kit/event-log-suite.ts'
import { offset, offsetZero } from '../../../core/event/position.ts'
import { read, segmentPath, stream, testFolder, write } from './support.ts'

interface Appender {
  readonly pid: number
  /** The highest offset that it said was acknowledged. */
  acknowledged(): number
  until(offset: number): Promise<void>
  /** kill -9, and wait until it is gone. */
  kill(): Promise<void>
}

function startAppender(root: string, fsync: string): Appender {
  const child: ChildProcessByStdio<null, Readable, null> = spawn(
    process.execPath,
    [join(import.meta.dirname, 'appender.ts'), root, fsync],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  )
  onTestFinished(() => void child.kill('SIGKILL'))
  let acknowledged = -1
  const gone = new Promise<void>((resolve) => child.once('close', () => resolve()))
  createInterface(child.stdout).on('line', (line) => (acknowledged = Number(line.split(' ')[1])))
  return {
    pid: child.pid as number,
    acknowledged: () => acknowledged,
    async until(wanted) {
      for (const start = Date.now(); acknowledged < wanted; await sleep(5))
        if (child.exitCode !== null || Date.now() - start > 20_000) throw new Error('the appender does not append')
    },
    async kill() {
      child.kill('SIGKILL')
      await gone
    },
  }
}

describe('a writer that is killed', () => {
  it(
    'leaves everything that it acknowledged, and its successor goes on in the same epoch',
    { timeout: 60_000 },
    async () => {
      const root = testFolder()
      let before = 0
      for (const [round, fsync] of ['always', 'interval', 'never'].entries()) {
        const appender = startAppender(root, fsync)
        await appender.until(before + 500 + round * 137)
        await appender.kill()
        const acknowledged = appender.acknowledged()
        await using log = await write(root)
        const info = (await log.describe(stream))?.[0]
        const end = info?.end as number
        expect(end).toBeGreaterThanOrEqual(acknowledged)
        // A kill between two writes tears nothing.
        expect(info?.epochs).toEqual([{ epoch: 0, firstOffset: 0 }])
        expect(await log.nextSequence(stream, 0, 7n)).toBe(end)
        expect(await readAll(log, 0, offsetZero, 64 * 1024)).toEqual(recordsFrom(0, end))
        before = end
      }
    },
  )

  it('in the middle of a write leaves a tear, which is cut in a new epoch', { timeout: 30_000 }, async () => {
    const root = testFolder()
    const appender = startAppender(root, 'never')
    await appender.until(100)
    await appender.kill()
    const segments = readdirSync(join(root, stream, '0')).filter((name) => name.endsWith('.log'))
    appendFileSync(segmentPath(root, Number.parseInt(segments.sort().at(-1) as string, 10)), new Uint8Array(30))
    await using log = await write(root)
    const info = (await log.describe(stream))?.[0]
    expect(info?.end).toBeGreaterThanOrEqual(appender.acknowledged())
    expect(info?.epochs).toEqual([
      { epoch: 0, firstOffset: 0 },
      { epoch: 1, firstOffset: info?.end },
    ])
    expect(await readAll(log, 0, offsetZero, 64 * 1024)).toEqual(recordsFrom(0, info?.end as number))
  })
})

describe('two processes', () => {
  it('do not both write: the second is told who does, and a kill frees the lock', { timeout: 30_000 }, async () => {
    const root = testFolder()
    const appender = startAppender(root, 'never')
    await appender.until(1)
    await expect(write(root)).rejects.toThrow(
      expect.objectContaining({
        code: 'FS_LOCKED',
        message: expect.stringContaining(`process ${appender.pid} (the appender)`),
      }),
    )
    await appender.kill()
    await using log = await write(root, { holder: 'the successor' })
    expect(lockHolder(join(root, 'writer.lock'))).toEqual({ pid: process.pid, what: 'the successor' })
    await expect(write(root)).rejects.toThrow(/the successor/)
    expect((await log.describe(stream))?.[0]?.end).toBeGreaterThan(0)
  })

  it('read while one writes, over segments, whole batches only', { timeout: 30_000 }, async () => {
    const root = testFolder()
    await (await write(root))[Symbol.asyncDispose]()
    await using reader = await read(root)
    expect(await reader.describe(stream)).toBeNull()
    const appender = startAppender(root, 'never')
    await appender.until(1)
    let next = offsetZero
    while (next < 5000) {
      const acknowledged = appender.acknowledged()
      const end = (await reader.describe(stream))?.[0]?.end ?? offsetZero
      expect(end).toBeGreaterThanOrEqual(acknowledged)
      const records = await readAll(reader, 0, next, 20_000)
      expect(records).toEqual(recordsFrom(next, records.length))
      next = offset(next + records.length)
      expect(next).toBeGreaterThanOrEqual(end)
      await sleep(1)
    }
    await appender.kill()
    expect(readdirSync(join(root, stream, '0')).length).toBeGreaterThan(3)
    await expect(reader.append(stream, 0, recordsFrom(0, 1))).rejects.toThrow(
      expect.objectContaining({ code: 'FS_LOCKED' }),
    )
  })
})

describe('a reader', () => {
  it('sees appends, segments, streams and epochs as they come', async () => {
    const root = testFolder()
    const log = await write(root, { segmentBytesMax: 1000 })
    await using reader = await read(root)
    await log.create(stream, { partitions: 2 })
    for (let next = 0; next < 200; next += 10) {
      await log.append(stream, 1, recordsFrom(next, 10))
      expect(await readAll(reader, 1, offset(next), 10_000)).toEqual(recordsFrom(next, 10))
      expect(await reader.describe(stream)).toEqual(await log.describe(stream))
    }
    expect(await reader.nextSequence(stream, 1, 7n)).toBe(0)
    await log.append(stream, 1, recordsFrom(200, 5), { producerId: 7n, baseSequence: 0 })
    expect(await reader.nextSequence(stream, 1, 7n)).toBe(5)
    await log[Symbol.asyncDispose]()
    const files = readdirSync(join(root, stream, '1')).filter((name) => name.endsWith('.log'))
    appendFileSync(join(root, stream, '1', files.sort().at(-1) as string), Uint8Array.of(1, 2, 3))
    await using successor = await write(root)
    await successor.append(stream, 1, recordsFrom(205, 2))
    expect((await reader.describe(stream))?.[1]?.epochs).toEqual([
      { epoch: 0, firstOffset: 0 },
      { epoch: 1, firstOffset: 205 },
    ])
    expect(await readAll(reader, 1, offset(195), 10_000)).toEqual(recordsFrom(195, 12))
  })
})

describe('a file lock', () => {
  it('keeps out others until it is released, in one process too', async () => {
    const path = join(testFolder(), 'some.lock')
    const lock = FileLock.acquire(path, 'first')
    expect(() => FileLock.acquire(path, 'second')).toThrow(/held by process \d+ \(first\)/)
    lock.release()
    lock.release()
    await using again = FileLock.acquire(path, 'third')
    expect(lockHolder(path)).toEqual({ pid: process.pid, what: 'third' })
    expect(again.path).toBe(path)
    expect(readdirSync(join(path, '..')).sort()).toEqual(['some.lock', 'some.lock.json'])
  })
})
