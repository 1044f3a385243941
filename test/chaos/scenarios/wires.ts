import { setTimeout as sleep } from 'node:timers/promises'
import { drawFault, FaultProxy, type Fault, type FaultKind } from '../../support/fault-proxy.ts'
import type { Prng } from '../../support/prng.ts'
import type { Arena } from '../arena.ts'
import type { Scenario } from '../scenario.ts'
import { startServers, type Servers } from '../servers.ts'

/** Each in turn, replies more often: they leave who asked in doubt. */
const kinds: readonly FaultKind[] = ['reply', 'delay', 'reply', 'hold', 'reply', 'cut', 'swallow', 'reply', 'down']
const requestsOf = {
  kafka: ['Fetch', 'Heartbeat', 'JoinGroup', 'SyncGroup', 'Metadata', 'ListOffsets', 'FindCoordinator'],
  redis: ['EVALSHA', 'EVALSHA', 'EVALSHA', 'HMGET'],
}
/** A fault lasts, milliseconds: shorter and longer than a session of the group's, and than a call of Redis may take. */
const lastsMs = [200, 9_000] as const
/** For a reply that is to be broken: it may be asked for in a rebalance only. */
const replyMsMax = 3_000
const delayMsMax = 300

interface Wires {
  kafka: FaultProxy | null
  redis: FaultProxy | null
}

type Side = 'kafka' | 'redis'

const titles: Readonly<Record<Side, string>> = { kafka: 'the broker', redis: 'Redis' }

/** Workers meet the servers over wires that break; the harness does not. */
async function openWires(wires: Wires): Promise<Servers> {
  return await startServers({
    kafka: { proxied: true },
    async between(kafka, redis) {
      const front = await FaultProxy.start(redis.port, 'redis')
      wires.kafka = kafka.proxies[0] ?? null
      wires.redis = front
      const brokers = kafka.proxies.map(({ address }) => address)
      const places = { log: { brokers }, online: { address: front.address } }
      return { places, [Symbol.asyncDispose]: () => front[Symbol.asyncDispose]() }
    },
  })
}

export const wireBreaks = (side: Side, faults: number): Scenario => {
  const wires: Wires = { kafka: null, redis: null }
  return {
    name: `wire to ${titles[side]}`,
    what: `delay, hold, half open, cut, down, replies dropped after they were carried out or cut, to ${titles[side]}`,
    open: () => openWires(wires),
    async run(arena, random) {
      for (let index = 0; index < faults; index++) {
        const kind = kinds[index % kinds.length] ?? 'cut'
        await sleep(random.integer(0, 500))
        await arena.fault(`${kind} (${titles[side]})`, async (mark) => {
          await inflict(arena, wires[side], drawn(random, side, kind), random)
          mark()
        })
      }
    },
  }
}

/** Both at once, and the next fault before the last one is over. */
export const bothWiresBreak = (bursts: number): Scenario => {
  const wires: Wires = { kafka: null, redis: null }
  return {
    name: 'wires to both',
    what: 'faults of every kind on both wires at once, several in quick succession, then they are given time',
    open: () => openWires(wires),
    async run(arena, random) {
      for (let burst = 0; burst < bursts; burst++)
        await arena.fault('both wires', async (mark) => {
          for (let index = 0; index < 6; index++) {
            for (const side of ['kafka', 'redis'] as const)
              await arena.strike(() => wires[side]?.inflict(drawn(random, side, random.pick(kinds))))
            await sleep(random.integer(50, 1_500))
          }
          wires.kafka?.heal()
          wires.redis?.heal()
          mark()
        })
    },
  }
}

const drawn = (random: Prng, side: Side, kind: FaultKind): Fault =>
  drawFault(random, { kinds: [kind], delayMsMax, requests: requestsOf[side] })

/** Until it is over. */
async function inflict(arena: Arena, proxy: FaultProxy | null, fault: Fault, random: Prng): Promise<void> {
  if (proxy === null) throw new Error('no wire')
  if (fault.kind === 'reply') {
    const broken = proxy.breakReply(fault)
    await Promise.race([broken, sleep(replyMsMax)])
  } else {
    proxy.inflict(fault)
    if (fault.kind !== 'cut') await sleep(random.integer(...lastsMs))
  }
  proxy.heal()
  if (arena.findings.length > 0) throw new Error(`after ${JSON.stringify(fault)}`)
}
