import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type EmbeddedClickHouse, openEmbeddedClickHouse } from '../../../connectors/chdb/index.ts'
import { openClickHouseClient } from '../../../connectors/clickhouse/index.ts'
import { eventually, isRunning } from './embedded.ts'

let folder: string
const opened: EmbeddedClickHouse[] = []
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'tidemark-supervise-'))
})
afterEach(async () => {
  const pids = opened.map(({ pid }) => pid)
  for (const embedded of opened.splice(0)) await embedded.close()
  for (const pid of pids) await eventually(() => !isRunning(pid))
  rmSync(folder, { recursive: true, force: true })
})

async function open(): Promise<EmbeddedClickHouse> {
  const embedded = await openEmbeddedClickHouse(folder, { idleMs: 200 })
  opened.push(embedded)
  return embedded
}

/** Another process that opens the folder, says the child's pid and stays until killed. */
function otherUser(): { readonly childPid: Promise<number>; kill(): void } {
  const supervise = join(import.meta.dirname, '../../../connectors/chdb/index.ts')
  const script = `const { openEmbeddedClickHouse } = await import(process.argv[1])
const embedded = await openEmbeddedClickHouse(process.argv[2], { idleMs: 200 })
console.log(embedded.pid)
setInterval(() => {}, 1000)`
  const user = spawn(process.execPath, ['--no-warnings', '--input-type=module', '-e', script, supervise, folder], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const childPid = new Promise<number>((resolve, reject) => {
    user.stdout.once('data', (line: Buffer) => resolve(Number(line.toString())))
    user.once('exit', () => reject(new Error('the other user ended')))
  })
  return { childPid, kill: () => user.kill('SIGKILL') }
}

describe('the embedded ClickHouse of a folder', () => {
  test('users that start together share one child, over processes; its address is for its owner alone', async () => {
    const others = [otherUser(), otherUser()]
    try {
      const [first, second] = await Promise.all([open(), open()])
      const pids = await Promise.all(others.map((other) => other.childPid))
      expect(new Set([first.pid, second.pid, ...pids]).size).toBe(1)
      expect(statSync(join(folder, 'server.json')).mode & 0o777).toBe(0o600)
      expect(readFileSync(join(folder, 'server.json'), 'utf8')).toContain(first.password)
    } finally {
      for (const other of others) other.kill()
    }
  })

  test('the child ends after its last user, also when the users were killed', async () => {
    const other = otherUser()
    const pid = await other.childPid
    const embedded = await open()
    await embedded.close()
    await expect(embedded.endpoint()).rejects.toMatchObject({ code: 'FS_CLOSED' })
    expect(await eventually(() => !isRunning(pid), 600)).toBe(false)
    other.kill()
    expect(await eventually(() => !isRunning(pid))).toBe(true)
    expect(() => statSync(join(folder, 'server.json'))).toThrow()
  })

  test('a child that was killed is started again by the next call, with what was acknowledged', async () => {
    const embedded = await open()
    await using client = openClickHouseClient({ endpoint: () => embedded.endpoint() })
    await client.exec('CREATE TABLE t (a Int64) ENGINE = MergeTree ORDER BY a')
    for (let round = 0; round < 3; round++) {
      await client.exec(`INSERT INTO t VALUES (${round})`)
      const { pid } = embedded
      process.kill(pid, 'SIGKILL')
      await eventually(() => !isRunning(pid))
      await expect.poll(async () => (await client.query('SELECT a FROM t').catch(() => null))?.rows).toBe(round + 1)
      expect(embedded.pid).not.toBe(pid)
    }
  })

  test('a user that comes while the last child is ending gets a new one', async () => {
    const first = await open()
    await first.close()
    const { pid } = first
    process.kill(pid, 'SIGTERM')
    const second = await open()
    // It may have caught the last one alive; the next call then finds it gone.
    await expect.poll(() => second.endpoint().then(() => second.pid)).not.toBe(pid)
  })
})
