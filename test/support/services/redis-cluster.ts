/** Making a cluster out of single nodes, by the commands that `redis-cli --cluster create` sends. */
import { infoOf, redisCommand } from '../../../scripts/services/resp.ts'
import { until } from '../../../scripts/services/wait.ts'

const slotCount = 16_384

/** The slots of each primary: a range each, together all of them. */
export const slotRanges = (primaries: number): readonly (readonly [first: number, last: number])[] =>
  Array.from({ length: primaries }, (_, index) => [
    Math.floor((index * slotCount) / primaries),
    Math.floor(((index + 1) * slotCount) / primaries) - 1,
  ])

/** `ports`: the primaries, then their replicas, in turn for each. Nodes that are a cluster already are only waited for. */
export async function formCluster(
  ports: readonly number[],
  busPorts: readonly number[],
  primaries: number,
  deadlineMs: number,
): Promise<void> {
  const wait = { deadlineMs, everyMs: 100 }
  const [first = 0] = ports
  const known = Number((await clusterInfo(first)).get('cluster_known_nodes'))
  if (known < ports.length) {
    for (const [index, [from, to]] of slotRanges(primaries).entries()) {
      const port = ports[index] ?? 0
      await redisCommand(port, ['CLUSTER', 'SET-CONFIG-EPOCH', String(index + 1)])
      await redisCommand(port, ['CLUSTER', 'ADDSLOTSRANGE', String(from), String(to)])
    }
    for (const [index, port] of ports.entries()) {
      if (index > 0) await redisCommand(first, ['CLUSTER', 'MEET', '127.0.0.1', String(port), String(busPorts[index])])
    }
    await until('all nodes of the cluster know each other', () => everyNode(ports, (info) => knows(info, ports)), wait)
    for (const [index, port] of ports.entries()) {
      if (index < primaries) continue
      const primary = String(await redisCommand(ports[index % primaries] ?? 0, ['CLUSTER', 'MYID']))
      await redisCommand(port, ['CLUSTER', 'REPLICATE', primary])
    }
  }
  await until('the cluster is ok', () => everyNode(ports, (info) => info.get('cluster_state') === 'ok'), wait)
  await until('its replicas follow', () => everyReplica(ports.slice(primaries)), wait)
}

type Info = ReadonlyMap<string, string>

const clusterInfo = async (port: number): Promise<Info> => infoOf(await redisCommand(port, ['CLUSTER', 'INFO']))

const knows = (info: Info, ports: readonly number[]): boolean =>
  info.get('cluster_known_nodes') === String(ports.length)

async function everyNode(ports: readonly number[], isGood: (info: Info) => boolean): Promise<void> {
  for (const port of ports) {
    const info = await clusterInfo(port)
    if (!isGood(info))
      throw new Error(`node on port ${port}: ${info.get('cluster_state')}, knows ${info.get('cluster_known_nodes')}`)
  }
}

async function everyReplica(ports: readonly number[]): Promise<void> {
  for (const port of ports) {
    const info = infoOf(await redisCommand(port, ['INFO', 'replication']))
    const follows = info.get('role') !== 'slave' || info.get('master_link_status') === 'up'
    if (!follows) throw new Error(`the node on port ${port} does not follow`)
  }
}
