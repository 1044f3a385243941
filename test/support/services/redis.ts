/** Private Redis servers: alone, with replicas, watched by sentinels, or as a cluster. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { freePorts } from '../../../scripts/services/ports.ts'
import { Problem } from '../../../scripts/services/problem.ts'
import { checkRedis, findRedis, redis, redisLaunch, type RedisFiles } from '../../../scripts/services/redis.ts'
import { infoOf, redisCommand } from '../../../scripts/services/resp.ts'
import { settingsOf } from '../../../scripts/services/settings.ts'
import { until } from '../../../scripts/services/wait.ts'
import { formCluster } from './redis-cluster.ts'
import { ServerNode } from './node.ts'
import { serverOf, temporaryFolder, withRetry, type Server } from './server.ts'

export interface RedisOptions {
  /** Of the one primary, or of each of a cluster's; default: 0. */
  readonly replicas?: number
  /** Three sentinels watch the primary, which they call `tidemark`; one that is silent for a second is replaced. */
  readonly sentinel?: boolean
  /** This many primaries (3 or more) share the slots. */
  readonly cluster?: number
  /** Of redis-server, for every node but sentinels. Nothing goes to disk by default: `['--appendonly', 'yes']`. */
  readonly args?: readonly string[]
}

export interface RedisServer extends Server {
  /** Of the first one that holds data. */
  readonly port: number
  /** All that hold data. Alone and with sentinels, the first one is the primary at the start; of a cluster, the primaries. */
  readonly dataNodes: readonly ServerNode[]
  readonly sentinels: readonly ServerNode[]
  /** What the sentinels call the primary. */
  readonly primaryName: string
}

const primaryName = 'tidemark'
/** A node of a cluster, or a primary under sentinels, is held for down after this. */
const downAfterMs = 1_000
const togetherMs = 30_000

export async function startRedis(options: RedisOptions = {}): Promise<RedisServer> {
  const files = await findRedis(settingsOf().folder)
  if (files instanceof Problem) throw files
  const { replicas = 0, cluster = 0, sentinel = false, args = [] } = options
  if (cluster > 0 && sentinel) throw new Error('a cluster has no sentinels')
  return await withRetry(async () => {
    const folder = temporaryFolder('redis')
    const primaries = Math.max(1, cluster)
    const size = primaries * (1 + replicas)
    const ports = await freePorts(2 * size + (sentinel ? 3 : 0))
    const port = (index: number): number => ports[index] as number
    const clusterArgs = (index: number): string[] =>
      cluster === 0
        ? []
        : [
            ...['--cluster-enabled', 'yes', '--cluster-port', String(port(size + index))],
            ...['--cluster-node-timeout', String(downAfterMs)],
          ]
    const replicaArgs = (index: number): string[] =>
      cluster > 0 || index === 0 ? [] : ['--replicaof', `127.0.0.1 ${port(0)}`]
    const dataNodes = Array.from({ length: size }, (_, index) =>
      dataNode(files, port(index), join(folder, `node-${index}`), [
        ...clusterArgs(index),
        ...replicaArgs(index),
        // A primary would wait 5 s for more replicas before it sends its data.
        ...['--repl-diskless-sync-delay', '0', ...args],
      ]),
    )
    const sentinels = sentinel
      ? [0, 1, 2].map((index) => sentinelNode(files, port(2 * size + index), join(folder, `sentinel-${index}`)))
      : []
    const nodes = [...dataNodes, ...sentinels]

    const configure = (): void => {
      for (const node of sentinels) writeSentinelConfig(dirname(node.logFile), node.port, port(0))
    }
    const start = async (): Promise<void> => {
      await Promise.all(dataNodes.map((node) => node.start()))
      if (cluster > 0) {
        await formCluster(ports.slice(0, size), ports.slice(size, 2 * size), cluster, togetherMs)
      } else if (replicas > 0 && !sentinel) await waitForReplicas(port(0), replicas)
      await Promise.all(sentinels.map((node) => node.start()))
      await Promise.all(sentinels.map((node) => waitForSentinel(node.port, replicas)))
    }
    const wipe = async (): Promise<void> => {
      for (const node of nodes) rmSync(dirname(node.logFile), { recursive: true, force: true })
      configure()
    }
    const address = dataNodes
      .slice(0, primaries)
      .map((node) => node.address)
      .join(',')
    const server = serverOf({ folder, address, nodes, start, wipe })
    configure()
    return { server: { ...server, port: port(0), dataNodes, sentinels, primaryName }, start }
  })
}

const dataNode = (files: RedisFiles, port: number, folder: string, args: readonly string[]): ServerNode =>
  new ServerNode({
    title: `Redis on port ${port}`,
    port,
    folder: dirname(folder),
    logFile: join(folder, 'server.log'),
    launch: () => redisLaunch(files, port, folder, args),
    check: () => checkRedis(port),
    readyMs: redis.readyMs,
    stopMs: redis.stopMs,
  })

const sentinelNode = (files: RedisFiles, port: number, folder: string): ServerNode =>
  new ServerNode({
    title: `Redis sentinel on port ${port}`,
    port,
    folder: dirname(folder),
    logFile: join(folder, 'server.log'),
    launch: () => ({
      command: files.program,
      args: [join(folder, 'sentinel.conf'), '--sentinel'],
      env: files.env,
      cwd: folder,
    }),
    check: () => checkRedis(port),
    readyMs: redis.readyMs,
    stopMs: redis.stopMs,
  })

/** Sentinels write what they learn into this file: restarted, they go on from it. */
function writeSentinelConfig(folder: string, port: number, primaryPort: number): void {
  mkdirSync(folder, { recursive: true })
  const lines = [
    `port ${port}`,
    'bind 127.0.0.1',
    `dir ${folder}`,
    `sentinel monitor ${primaryName} 127.0.0.1 ${primaryPort} 2`,
    `sentinel down-after-milliseconds ${primaryName} ${downAfterMs}`,
    `sentinel failover-timeout ${primaryName} 5000`,
  ]
  writeFileSync(join(folder, 'sentinel.conf'), `${lines.join('\n')}\n`)
}

/** Until it has found its replicas and the two other sentinels: before that, there is no failover. */
const waitForSentinel = (port: number, replicas: number): Promise<void> =>
  until(
    `the sentinel on port ${port} knows the others`,
    async () => {
      const reply = await redisCommand(port, ['SENTINEL', 'MASTER', primaryName])
      if (!Array.isArray(reply)) throw new Error('no answer of a sentinel')
      const field = (name: string): string => String(reply[reply.indexOf(name) + 1])
      const others = field('num-other-sentinels')
      const slaves = field('num-slaves')
      if (others !== '2' || Number(slaves) < replicas || field('flags') !== 'master')
        throw new Error(`${others} other sentinels, ${slaves} replicas, flags ${field('flags')}`)
    },
    { deadlineMs: togetherMs, everyMs: 100 },
  )

/** Until each has had the whole of the data and follows. */
const waitForReplicas = (port: number, replicas: number): Promise<void> =>
  until(
    `${replicas} replicas follow`,
    async () => {
      const info = infoOf(await redisCommand(port, ['INFO', 'replication']))
      const online = [...info].filter(([name, value]) => /^slave\d+$/.test(name) && value.includes('state=online'))
      if (online.length < replicas) throw new Error(`${online.length} of ${replicas}`)
    },
    { deadlineMs: togetherMs, everyMs: 50 },
  )
