import { setTimeout as sleep } from 'node:timers/promises'
import { FaultProxy, type Fault } from '../../support/fault-proxy.ts'
import { adminOf } from '../../support/services.ts'
import type { Arena } from '../arena.ts'
import type { Scenario } from '../scenario.ts'
import { startServers, type Servers } from '../servers.ts'
import { canFillDisk, fillDisk } from './broker-outages.ts'
import { cutOff, inSync, pairOf, replace } from './redis-failover.ts'

interface Brief {
  readonly kafka: FaultProxy
  /** Of the workers, and of the harness, which meets no faults. */
  readonly redis: FaultProxy
  readonly calm: FaultProxy
}

/** So many faults there are at least: a disk is filled only where that can be done. */
export const outagesInBriefMin = 16

/** One of each that can happen to the servers and on the way to them, one after the other: what every check runs. */
export const outagesInBrief = (): Scenario => {
  let brief: Brief | null = null
  return {
    name: 'outages in brief',
    what: 'lost replies, cuts, held and half-open wires; broker killed, disk full; FLUSHALL; a failover that loses its tail',
    async open() {
      const opened = await openBrief()
      brief = opened.brief
      return opened.servers
    },
    async run(arena) {
      if (brief === null) throw new Error('not open')
      await wires(arena, brief)
      await broker(arena)
      await redis(arena, brief)
    },
  }
}

async function openBrief(): Promise<{ readonly brief: Brief; readonly servers: Servers }> {
  const fronts: FaultProxy[] = []
  const servers = await startServers({
    kafka: { proxied: true },
    redis: { replicas: 1 },
    async between(kafka, redis) {
      await using stack = new AsyncDisposableStack()
      for (let count = 0; count < 2; count++) fronts.push(stack.use(await FaultProxy.start(redis.port, 'redis')))
      const brokers = kafka.proxies.map(({ address }) => address)
      const places = { log: { brokers }, online: { address: fronts[0]?.address } }
      const owned = stack.move()
      return { places, [Symbol.asyncDispose]: () => owned.disposeAsync() }
    },
  })
  const [front, calm] = fronts
  const [kafka] = servers.kafka.proxies
  if (front === undefined || calm === undefined || kafka === undefined) throw new Error('no wires')
  const direct = { ...servers.direct, online: { address: calm.address } }
  return { brief: { kafka, redis: front, calm }, servers: { ...servers, direct } }
}

async function wires(arena: Arena, { kafka, redis }: Brief): Promise<void> {
  const lost = async (proxy: FaultProxy, of: string): Promise<void> => {
    await arena.fault(`reply of ${of} lost`, async () => {
      if ((await proxy.breakReply({ of, nth: 2 })) === null) throw new Error(`nobody asked ${of}`)
    })
  }
  const lasting = async (proxy: FaultProxy, fault: Fault, ms: number): Promise<void> => {
    await arena.fault(fault.kind, async (mark) => {
      proxy.inflict(fault)
      await sleep(ms)
      proxy.heal()
      mark()
    })
  }
  for (const name of ['EVALSHA', 'HMGET']) await lost(redis, name)
  for (const name of ['Fetch', 'Heartbeat']) await lost(kafka, name)
  for (const proxy of [kafka, redis]) {
    await lasting(proxy, { kind: 'delay', toServerMs: 30, toClientMs: 30 }, 500)
    await lasting(proxy, { kind: 'hold', way: 'both' }, 1_000)
    await lasting(proxy, { kind: 'cut' }, 0)
    await lasting(proxy, { kind: 'down' }, 500)
  }
  // A worker waits half a minute for a broker that says nothing: that is for `npm run chaos`.
  await lasting(redis, { kind: 'swallow', way: 'to-client' }, 500)
}

async function broker(arena: Arena): Promise<void> {
  const { kafka } = arena.servers
  await arena.fault('broker kill -9', async (mark) => {
    await kafka.kill()
    await sleep(500)
    await kafka.restart()
    mark()
  })
  if (!canFillDisk()) return
  await arena.fault('broker disk full', async (mark) => {
    await fillDisk(arena)
    await kafka.restart()
    mark()
  })
}

async function redis(arena: Arena, { redis, calm }: Brief): Promise<void> {
  const [primary, replica] = pairOf(arena.servers.redis)
  await arena.fault('FLUSHALL', async () => {
    const admin = adminOf(primary.port)
    await admin.flushall().finally(() => admin.disconnect())
  })
  await inSync(replica)
  await cutOff(replica)
  await sleep(1_000)
  await arena.fault('Redis failover, tail lost', () => replace(primary, replica, [redis, calm]))
}
