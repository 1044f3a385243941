import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { open } from 'lmdb'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { formatKey, sealJson } from '../../../connectors/lmdb/layout.ts'
import { openOnlineStore, type LmdbOnlineStore } from '../../../connectors/lmdb/online-store.ts'
import { silentLogger } from '../../../core/ports/environment.ts'
import type { ShardFlush, ShardLease } from '../../../core/ports/online-store.ts'
import { keysPerShard, loopKey, loopPosition, loopRow, loopShards } from './loop-rows.ts'

const random = { bytes: (length: number): Uint8Array => randomBytes(length) }
const view = 'v'
let folder = ''

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tidemark-lmdb-'))
})
afterEach(async () => {
  await rm(folder, { recursive: true, force: true })
})

const openStore = (mode: 'read' | 'write' = 'write', generation = 'loop'): Promise<LmdbOnlineStore> =>
  openOnlineStore(folder, { mode, generation, logger: silentLogger, random })

async function lease(store: LmdbOnlineStore, shard: number): Promise<ShardLease> {
  const [taken] = await store.acquire([shard])
  if (taken === undefined) throw new Error('no lease')
  return taken.lease
}

const flush = (held: ShardLease, from: number | null, to: number, rows: readonly [string, string][]): ShardFlush => ({
  lease: held,
  from: from === null ? null : loopPosition(from),
  to: loopPosition(to),
  rows: rows.map(([key, row]) => ({ view, key: Buffer.from(key), row: Buffer.from(row) })),
  deadLetters: [],
})

/** Starts the loop; `reached` waits until it has committed so many flushes since its start. */
function startLoop(): { reached(flushes: number): Promise<number>; kill(): Promise<void> } {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'flush-loop.ts'), folder], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  return {
    async reached(flushes) {
      let last = 0
      for (let count = 0; count < flushes; count++) {
        const line = await lines.next()
        if (line.done === true) throw new Error('the loop ended by itself')
        last = Number(line.value)
      }
      return last
    },
    async kill() {
      const gone = once(child, 'exit')
      child.kill('SIGKILL')
      await gone
    },
  }
}

/** The offset that all four shards and all their rows agree on. */
async function agreedOffset(store: LmdbOnlineStore): Promise<number> {
  const shards = loopShards.flatMap((shard) => Array.from({ length: keysPerShard }, () => shard))
  const keys = shards.map((_, index) => loopKey(index % keysPerShard))
  const read = await store.read(view, shards, keys)
  expect(read.corrupt).toBeUndefined()
  const next = read.positions[0]?.position.streams['s']?.[0]?.next ?? 0
  expect(read.positions).toEqual(shards.map(() => loopPosition(next)))
  read.rows.forEach((row, index) => {
    expect(Buffer.compare(row ?? Buffer.of(), loopRow(next, index % keysPerShard))).toBe(0)
  })
  return next
}

test('after kill -9 in the middle of flushing, rows and positions agree and nothing committed is lost', async () => {
  let before = 0
  for (let kills = 0; kills < 6; kills++) {
    const loop = startLoop()
    const committed = await loop.reached(5 + 7 * kills)
    await new Promise((resolve) => setTimeout(resolve, kills * 3))
    await loop.kill()
    await using store = await openStore()
    const found = await agreedOffset(store)
    expect(found).toBeGreaterThanOrEqual(committed)
    expect(committed).toBeGreaterThan(before)
    before = found
  }
}, 60_000)

test('a reader in another process sees each commit at once, whole, while the file grows', async () => {
  const loop = startLoop()
  try {
    await loop.reached(1)
    await using reader = await openStore('read')
    for (let round = 0; round < 40; round++) {
      const committed = await loop.reached(3)
      expect(await agreedOffset(reader)).toBeGreaterThanOrEqual(committed)
    }
  } finally {
    await loop.kill()
  }
}, 60_000)

test('a flipped bit in a stored row is found at that row alone', async () => {
  {
    await using store = await openStore()
    await store.apply([
      flush(await lease(store, 0), null, 1, [
        ['a', 'first row'],
        ['b', 'the row to be hurt'],
      ]),
    ])
  }
  const file = join(folder, 'data.mdb')
  const bytes = await readFile(file)
  for (let at = bytes.indexOf('to be hurt'); at >= 0; at = bytes.indexOf('to be hurt', at + 1)) bytes[at]! ^= 0x10
  await writeFile(file, bytes)
  await using store = await openStore()
  const read = await store.read(view, [0, 0], [Buffer.from('a'), Buffer.from('b')])
  expect(read.corrupt).toEqual([1])
  expect(read.rows.map((row) => (row === null ? null : Buffer.from(row).toString()))).toEqual(['first row', null])
  expect(read.positions).toEqual([loopPosition(1), loopPosition(1)])
  await expect(async () => {
    for await (const _ of store.scan(view));
  }).rejects.toMatchObject({ code: 'FS_ROW_CORRUPT' })
})

test('state of another format is cleared by a writer and not ready for a reader', async () => {
  {
    await using store = await openStore()
    expect(store.wasReset).toBe(false)
    await store.apply([flush(await lease(store, 0), null, 1, [['a', 'old']])])
  }
  const environment = open<Buffer, Buffer>({ path: folder, encoding: 'binary', keyEncoding: 'binary' })
  await environment.put(formatKey, Buffer.from(sealJson(0)))
  await environment.close()
  await expect(openStore('read')).rejects.toMatchObject({ code: 'FS_NOT_READY' })
  {
    await using store = await openStore()
    expect(store.wasReset).toBe(true)
    expect(await store.generations()).toEqual([])
    expect((await store.acquire([0]))[0]?.position).toBeNull()
  }
  await using again = await openStore()
  expect(again.wasReset).toBe(false)
})

test('a file that is no store is thrown away and built again', async () => {
  await writeFile(join(folder, 'data.mdb'), Buffer.alloc(64 * 1024, 'x'))
  await using store = await openStore()
  expect(store.wasReset).toBe(true)
  expect(await store.generations()).toEqual([])
})

test('a reader before the first writer is told to wait', async () => {
  await expect(openStore('read')).rejects.toMatchObject({ code: 'FS_NOT_READY', kind: 'unavailable' })
})

test('generations are apart, one is current, and a dropped one is forgotten', async () => {
  await using old = await openStore('write', 'old')
  const stale = await lease(old, 0)
  await old.apply([flush(stale, null, 3, [['a', 'old row']])])
  await old.markCurrent('old')
  await using reader = await openStore('read', 'old')
  {
    await using next = await openStore('write', 'new')
    expect((await next.read(view, [0], [Buffer.from('a')])).rows).toEqual([null])
    await next.apply([flush(await lease(next, 0), null, 9, [['a', 'new row']])])
    expect(await next.generations()).toEqual(['new', 'old'])
    expect(await reader.current()).toBe('old')
    await next.markCurrent('new')
    expect(await reader.current()).toBe('new')
    expect(await reader.positions([0])).toEqual([loopPosition(3)])
    await next.dropGeneration('old')
    expect(await next.generations()).toEqual(['new'])
    expect((await next.positions([0]))[0]).toEqual(loopPosition(9))
    await expect(next.markCurrent('old')).rejects.toMatchObject({ code: 'FS_INTERNAL' })
  }
  expect(await reader.positions([0])).toEqual([null])
  expect(await old.apply([flush(stale, 3, 4, [])])).toEqual([{ kind: 'fenced', byEpoch: 0 }])
  const again = await lease(old, 0)
  expect(await old.positions([0])).toEqual([null])
  expect(await old.apply([flush(again, null, 1, [])])).toEqual([{ kind: 'applied' }])
})

test('a dropped generation leaves no row and no part behind, and a damaged part is none', async () => {
  const key = Buffer.from('a')
  {
    await using old = await openStore('write', 'old')
    await using kept = await openStore('write', 'kept')
    for (const store of [old, kept]) {
      const rows = ['a', 'b'].map((name) => ({
        view,
        key: Buffer.from(name),
        row: Buffer.from('head'),
        parts: { put: [1, 2, 3].map((part) => ({ name: part, bytes: Buffer.from(`part ${part}`) })), drop: [] },
      }))
      await store.apply([{ ...flush(await lease(store, 0), null, 1, []), rows }])
    }
    await old.dropGeneration('old')
    expect(await old.readParts(view, 0, key, [1])).toEqual([null])
    expect((await kept.readParts(view, 0, key, [3])).map(String)).toEqual(['part 3'])
  }
  const environment = open<Buffer, Buffer>({ path: folder, encoding: 'binary', keyEncoding: 'binary' })
  try {
    const keys = [...environment.getKeys({})].filter((found) => found[0] === 3 || found[0] === 4)
    expect(keys.length).toBe(2 + 6)
    const part = keys.find((found) => found.at(-1) === 2) as Buffer
    await environment.put(part, Buffer.from('\0\0\0\0part 2'))
  } finally {
    await environment.close()
  }
  await using kept = await openStore('write', 'kept')
  expect((await kept.readParts(view, 0, key, [1, 2])).map((found) => found?.toString())).toEqual(['part 1', undefined])
})

test('clearing forgets rows and owners', async () => {
  await using store = await openStore()
  const stale = await lease(store, 0)
  await store.apply([flush(stale, null, 3, [['a', 'row']])])
  await store.clear()
  expect(await store.positions([0])).toEqual([null])
  expect(await store.apply([flush(stale, null, 1, [])])).toEqual([{ kind: 'fenced', byEpoch: 0 }])
  const owner = await lease(store, 0)
  expect(await store.apply([flush(stale, null, 1, [])])).toEqual([{ kind: 'fenced', byEpoch: owner.epoch }])
})

test('a flush that cannot be written whole is not written at all', async () => {
  await using store = await openStore()
  const held = await lease(store, 0)
  const tooLong = { view, key: new Uint8Array(2000), row: Buffer.from('x') }
  const sent = flush(held, null, 1, [['a', 'row']])
  await expect(store.apply([{ ...sent, rows: [...sent.rows, tooLong] }])).rejects.toMatchObject({
    code: 'FS_ONLINE_UNAVAILABLE',
  })
  expect((await store.read(view, [0], [Buffer.from('a')])).rows).toEqual([null])
  expect(await store.positions([0])).toEqual([null])
  expect(await store.apply([sent])).toEqual([{ kind: 'applied' }])
})

test('a closed store refuses, and closing twice is safe', async () => {
  const store = await openStore()
  await store[Symbol.asyncDispose]()
  await store[Symbol.asyncDispose]()
  await expect(store.positions([0])).rejects.toMatchObject({ code: 'FS_CLOSED' })
  await expect(store.acquire([0])).rejects.toMatchObject({ code: 'FS_CLOSED' })
})

test('a store opened for reading does not write', async () => {
  await using _writer = await openStore()
  await using reader = await openStore('read')
  await expect(reader.acquire([0])).rejects.toMatchObject({ code: 'FS_INTERNAL' })
})
