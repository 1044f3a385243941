import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'

/** Why tests that need a server cannot run here; null where they can. On CI a server must be there. */
export const redisMissing: string | null = (() => {
  if (spawnSync('redis-server', ['--version']).status === 0) return null
  const reason = 'no redis-server on this machine (apt-get install redis-server)'
  if (process.env['CI'] === 'true') throw new Error(reason)
  console.warn(`skipped: ${reason}`)
  return reason
})()

export interface RedisServer {
  readonly port: number
  readonly pid: number
  /** Ends it and removes its data. */
  stop(): Promise<void>
  /** SIGKILL; its data stays. */
  kill(): Promise<void>
  /** Starts it again on its port, with the data that lies there. */
  restart(): Promise<void>
}

export interface RedisServerOptions {
  /** Further arguments, such as `['--maxmemory', '8mb']`. */
  readonly args?: readonly string[]
  /** Runs it as a Sentinel. Its configuration lies in its folder. */
  readonly sentinelOf?: { readonly name: string; readonly port: number }
}

export async function freePort(): Promise<number> {
  // A cluster node listens on its port + 10,000 as well.
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 20_000)
    const server = createServer()
    const isFree = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false))
      server.listen(port, '127.0.0.1', () => resolve(true))
    })
    if (!isFree) continue
    server.close()
    await once(server, 'close')
    return port
  }
}

export async function startRedis({ args = [], sentinelOf }: RedisServerOptions = {}): Promise<RedisServer> {
  const folder = await mkdtemp(join(tmpdir(), 'tidemark-redis-'))
  const port = await freePort()
  const fixed = ['--port', String(port), '--bind', '127.0.0.1', '--dir', folder, '--loglevel', 'warning']
  const config = join(folder, 'server.conf')
  if (sentinelOf !== undefined) {
    const { writeFile } = await import('node:fs/promises')
    await writeFile(
      config,
      [
        `sentinel monitor ${sentinelOf.name} 127.0.0.1 ${sentinelOf.port} 1`,
        `sentinel down-after-milliseconds ${sentinelOf.name} 500`,
        `sentinel failover-timeout ${sentinelOf.name} 2000`,
        '',
      ].join('\n'),
    )
  }
  let child: ChildProcess | null = null

  const start = async (): Promise<void> => {
    const all =
      sentinelOf === undefined
        ? [...fixed, '--save', '', '--repl-diskless-sync-delay', '0', ...args]
        : [config, '--sentinel', ...fixed, ...args]
    child = spawn('redis-server', all, { stdio: 'ignore' })
    await untilReady(port)
  }
  const kill = async (): Promise<void> => {
    if (child === null) return
    const gone = once(child, 'exit')
    child.kill('SIGKILL')
    child = null
    await gone
  }
  await start()
  return {
    port,
    get pid() {
      return child?.pid ?? 0
    },
    kill,
    restart: start,
    async stop() {
      await kill()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

async function untilReady(port: number): Promise<void> {
  const client = adminOf(port)
  try {
    for (let attempt = 0; ; attempt++) {
      try {
        await client.ping()
        return
      } catch (error) {
        if (attempt === 200) throw error
        await new Promise((resolve) => setTimeout(resolve, 25))
      }
    }
  } finally {
    client.disconnect()
  }
}

/** A plain connection, for what tests do to a server from outside. */
export function adminOf(port: number): Redis {
  const client = new Redis({ host: '127.0.0.1', port, retryStrategy: () => 25, maxRetriesPerRequest: 400 })
  client.on('error', () => {})
  return client
}

export interface RedisCluster {
  readonly ports: readonly number[]
  readonly nodes: readonly RedisServer[]
  stop(): Promise<void>
}

/** A cluster of masters, the slots divided evenly among them. */
export async function startCluster(masters: number): Promise<RedisCluster> {
  const args = ['--cluster-enabled', 'yes', '--cluster-node-timeout', '2000', '--appendonly', 'no']
  const nodes = await Promise.all(Array.from({ length: masters }, () => startRedis({ args })))
  const admins = nodes.map(({ port }) => adminOf(port))
  try {
    const share = Math.ceil(16_384 / masters)
    for (const [index, admin] of admins.entries()) {
      const last = Math.min(16_384, (index + 1) * share) - 1
      await admin.cluster('ADDSLOTSRANGE', index * share, last)
      await admin.call('CLUSTER', 'SET-CONFIG-EPOCH', String(index + 1))
    }
    for (const { port } of nodes.slice(1)) await admins[0]?.cluster('MEET', '127.0.0.1', port)
    for (const admin of admins) {
      for (;;) {
        const info = String(await admin.call('CLUSTER', 'INFO'))
        if (info.includes('cluster_state:ok') && info.includes(`cluster_known_nodes:${masters}`)) break
        await new Promise((resolve) => setTimeout(resolve, 50))
      }
    }
  } finally {
    for (const admin of admins) admin.disconnect()
  }
  return {
    ports: nodes.map(({ port }) => port),
    nodes,
    async stop() {
      await Promise.all(nodes.map((node) => node.stop()))
    },
  }
}
