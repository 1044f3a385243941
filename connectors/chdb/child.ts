/**
 * The process that owns one embedded data directory. Started by supervise.ts as `node child.ts FOLDER IDLE_MS`; says
 * where it listens in FOLDER/server.json and ends itself when nobody has held it for IDLE_MS.
 */
import { randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type EngineConnection, openEngine } from './engine.ts'
import { createFront } from './front.ts'
import { ConnectionPool } from './pool.ts'
import { formatVersion, type ServerFile, serverFileName } from './server-file.ts'
import { Spool } from './spool.ts'

const mebibyte = 1 << 20
/** The engine's own ceiling; with Node and the libraries the process stays below 1.5 GiB. */
const engineArgs = [
  `--max_server_memory_usage=${1000 * mebibyte}`,
  `--mark_cache_size=${64 * mebibyte}`,
  '--uncompressed_cache_size=0',
  '--background_pool_size=2',
]
/** Sorts and groups go to disk well before the ceiling, so that a large question is slow instead of refused. */
const defaults = new Map([
  ['max_memory_usage', String(800 * mebibyte)],
  ['max_bytes_before_external_sort', String(250 * mebibyte)],
  ['max_bytes_before_external_group_by', String(250 * mebibyte)],
  ['max_threads', '2'],
])
const openAttemptsMs = 15_000
/** How long a fresh child waits for its first holder. */
const firstHolderMs = 10_000

async function main(folder: string, idleMs: number): Promise<void> {
  const data = join(folder, 'data')
  mkdirSync(data, { recursive: true, mode: 0o700 })
  const engine = openEngine(data, engineArgs)
  const first = await connectWhenFree(() => engine.connect())
  const spool = new Spool(1024 * mebibyte)
  const pool = new ConnectionPool({ connect: () => engine.connect(), defaults, idleMax: 16 })
  const engineVersion = (await first.query('SELECT version()', 'TabSeparated')).bytes.toString().trim()

  const password = randomBytes(24).toString('base64url')
  let timer: NodeJS.Timeout | null = null
  let ending = false
  const front = createFront({
    pool,
    spool,
    password,
    engineVersion,
    requestsMax: 256,
    selectsAtOnce: 4,
    writesAtOnce: 4,
    onActivity: () => endWhenIdle(idleMs),
  })

  function endWhenIdle(afterMs: number): void {
    if (timer !== null) clearTimeout(timer)
    timer = null
    if (ending || front.holderCount() > 0 || front.requestCount() > 0) return
    timer = setTimeout(() => void end(), afterMs)
  }

  async function end(): Promise<void> {
    if (ending) return
    ending = true
    const file = join(folder, serverFileName)
    if (pidIn(file) === process.pid) rmSync(file, { force: true })
    front.server.close()
    front.server.closeAllConnections()
    await pool.close()
    await first.close()
    spool.close()
    process.exit(0)
  }

  process.on('SIGTERM', () => void end())
  process.on('SIGINT', () => void end())
  await new Promise<void>((resolve) => front.server.listen(0, '127.0.0.1', resolve))
  const { port } = front.server.address() as AddressInfo
  publish(folder, { format: formatVersion, url: `http://127.0.0.1:${port}`, password, pid: process.pid })
  endWhenIdle(firstHolderMs)
  process.send?.('ready')
  if (process.connected) process.disconnect()
}

/** A predecessor that is just ending still locks the directory for a moment. */
async function connectWhenFree(connect: () => EngineConnection): Promise<EngineConnection> {
  for (let waitedMs = 0; ; waitedMs += 100) {
    try {
      return connect()
    } catch (error) {
      if (waitedMs >= openAttemptsMs) throw error
      await sleep(100)
    }
  }
}

/** Whole or not at all, and readable by its owner alone. */
function publish(folder: string, server: ServerFile): void {
  const path = join(folder, serverFileName)
  writeFileSync(`${path}.new`, JSON.stringify(server), { mode: 0o600 })
  renameSync(`${path}.new`, path)
}

function pidIn(path: string): number | null {
  try {
    return (JSON.parse(readFileSync(path, 'utf8')) as ServerFile).pid
  } catch {
    return null
  }
}

const [folder, idleMs] = process.argv.slice(2)
if (folder === undefined || idleMs === undefined) throw new Error('usage: child.ts FOLDER IDLE_MS')
await main(folder, Number(idleMs))
