import { setTimeout as sleep } from 'node:timers/promises'
import { infoOf, redisCommand } from '../../../scripts/services/resp.ts'
import { until } from '../../../scripts/services/wait.ts'
import { FaultProxy } from '../../support/fault-proxy.ts'
import type { RedisServer, ServerNode } from '../../support/services.ts'
import type { Scenario } from '../scenario.ts'
import { startServers, type Servers } from '../servers.ts'

const syncMsMax = 60_000

/**
 * A primary, and a replica that takes its place under the same address. Cut off a while before, it lacks what the primary
 * acknowledged meanwhile: rows, positions, and owners of shards.
 *
 *     primary   a b c d e ✗               kill -9
 *     replica   a b c                     promoted; the topic is read again from c
 */
export const failoverByHand = (rounds: number): Scenario => {
  const fronts: FaultProxy[] = []
  return {
    name: 'Redis failover, tail lost',
    what: 'a replica that was cut off some seconds ago takes the place of the primary, which is killed',
    open: () => openPair(fronts),
    async run(arena, random) {
      const { redis } = arena.servers
      let [primary, replica] = pairOf(redis)
      for (let round = 0; round < rounds; round++) {
        await follow(replica, primary)
        await cutOff(replica)
        // Now and then workers come or go meanwhile: then it is their taking of shards that is lost.
        if (round % 2 === 1) arena.spawn()
        await sleep(random.integer(500, 4_000))
        await arena.fault('Redis failover, tail lost', () => replace(primary, replica, fronts))
        if (round % 2 === 1) await arena.workers[0]?.leave()
        ;[primary, replica] = [replica, primary]
        await replica.start()
      }
    },
  }
}

/** It keeps what it has, and learns no more. */
export async function cutOff(replica: ServerNode): Promise<void> {
  await redisCommand(replica.port, ['REPLICAOF', '127.0.0.1', '1'])
}

export async function replace(primary: ServerNode, replica: ServerNode, fronts: readonly FaultProxy[]): Promise<void> {
  await redisCommand(replica.port, ['REPLICAOF', 'NO', 'ONE'])
  for (const front of fronts) front.target = replica.port
  await primary.kill()
  for (const front of fronts) front.cut()
}

/** Workers and harness see one address, whoever stands behind it. */
async function openPair(fronts: FaultProxy[]): Promise<Servers> {
  const servers = await startServers({
    redis: { replicas: 1 },
    async between(kafka, redis) {
      const front = await FaultProxy.start(redis.port, 'redis')
      fronts.splice(0, fronts.length, front)
      const places = { log: { brokers: kafka.addresses }, online: { address: front.address } }
      return { places, [Symbol.asyncDispose]: () => front[Symbol.asyncDispose]() }
    },
  })
  return { ...servers, direct: servers.forWorkers ?? servers.direct }
}

export function pairOf({ dataNodes }: RedisServer): [primary: ServerNode, replica: ServerNode] {
  const [primary, replica] = dataNodes
  if (primary === undefined || replica === undefined) throw new Error('no pair')
  return [primary, replica]
}

/** Until the one has all that the other has, and goes on after it. */
async function follow(replica: ServerNode, primary: ServerNode): Promise<void> {
  await redisCommand(replica.port, ['REPLICAOF', '127.0.0.1', String(primary.port)])
  await inSync(replica)
}

export const inSync = (replica: ServerNode): Promise<void> =>
  until(
    'the replica follows',
    async () => {
      const info = infoOf(await redisCommand(replica.port, ['INFO', 'replication']))
      const [role, link] = [info.get('role'), info.get('master_link_status')]
      if (role !== 'slave' || link !== 'up') throw new Error(`role ${role}, link ${link}`)
    },
    { deadlineMs: syncMsMax },
  )

/** Three sentinels find that the primary is gone, or are told to replace it. What it had not passed on yet is lost. */
export const failoverBySentinel = (rounds: number): Scenario => ({
  name: 'Redis failover by Sentinel',
  what: 'Sentinels replace the primary, which is killed, or is there and told to give way',
  open: () => startServers({ redis: { replicas: 1, sentinel: true } }),
  async run(arena, random) {
    const { redis } = arena.servers
    for (let round = 0; round < rounds; round++) {
      const [primary, replica] = await sortedPair(redis)
      await inSync(replica)
      await sleep(random.integer(0, 1_000))
      const isKill = round % 2 === 0
      if (isKill) await arena.fault('Redis primary kill -9', () => primary.kill())
      else await arena.fault('Redis failover in order', () => giveWay(redis))
      // A failover that began is given up by a sentinel that hears nothing of the replica; one in order must be asked again.
      await replaced(redis, primary, isKill ? null : () => askToGiveWay(redis))
      await primary.start()
    }
  },
})

async function primaryPort({ sentinels, primaryName }: RedisServer): Promise<number> {
  const port = sentinels[0]?.port ?? 0
  const reply = await redisCommand(port, ['SENTINEL', 'GET-MASTER-ADDR-BY-NAME', primaryName])
  return Array.isArray(reply) ? Number(reply[1]) : 0
}

async function sortedPair(redis: RedisServer): Promise<[primary: ServerNode, replica: ServerNode]> {
  const [one, other] = pairOf(redis)
  return (await primaryPort(redis)) === one.port ? [one, other] : [other, one]
}

/** Refused until the sentinel has heard from the replica, and while it is at it. */
const askToGiveWay = ({ sentinels, primaryName }: RedisServer): Promise<unknown> =>
  redisCommand(sentinels[0]?.port ?? 0, ['SENTINEL', 'FAILOVER', primaryName])

const giveWay = async (redis: RedisServer): Promise<void> =>
  void (await until('a failover begins', () => askToGiveWay(redis), { deadlineMs: syncMsMax }))

const replaced = (redis: RedisServer, primary: ServerNode, again: (() => Promise<unknown>) | null): Promise<void> =>
  until(
    'the sentinels name another primary',
    async () => {
      if ((await primaryPort(redis)) !== primary.port) return
      await again?.().catch(() => null)
      throw new Error('the one of before')
    },
    { deadlineMs: syncMsMax },
  )
