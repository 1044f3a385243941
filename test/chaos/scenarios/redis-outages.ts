import { setTimeout as sleep } from 'node:timers/promises'
import { adminOf, type RedisServer } from '../../support/services.ts'
import type { Prng } from '../../support/prng.ts'
import type { Scenario } from '../scenario.ts'
import { startServers } from '../servers.ts'

const awayMs = (random: Prng): number => random.integer(200, 4_000)

/** Every command is in the file before it is answered: what a kill leaves is all that was acknowledged. */
export const redisWithData = (rounds: number): Scenario => ({
  name: 'Redis restart, all kept',
  what: 'Redis with an append-only file is stopped in order, or killed, and comes back with all that it had',
  open: () => startServers({ redis: { args: ['--appendonly', 'yes'] } }),
  async run(arena, random) {
    const { redis } = arena.servers
    for (let round = 0; round < rounds; round++) {
      const isKill = round % 2 === 1
      await sleep(random.integer(0, 1_000))
      await arena.fault(isKill ? 'Redis kill -9, kept' : 'Redis stop, kept', async (mark) => {
        await (isKill ? redis.kill() : redis.stop())
        await sleep(awayMs(random))
        await redis.restart()
        mark()
      })
    }
  },
})

/** As after a failover to a replica that was behind: the rows are good, and of some seconds ago. */
export const redisRolledBack = (rounds: number): Scenario => ({
  name: 'Redis restart, rolled back',
  what: 'Redis is killed and comes back with a snapshot of some seconds before',
  async run(arena, random) {
    const { redis } = arena.servers
    for (let round = 0; round < rounds; round++) {
      await save(redis)
      await sleep(random.integer(500, 4_000))
      await arena.fault('Redis kill -9, rolled back', async (mark) => {
        await redis.kill()
        await sleep(awayMs(random))
        await redis.restart()
        mark()
      })
    }
  },
})

/** What remains is nothing: shards are taken anew, and the topic is read from its beginning. */
export const redisWithoutData = (rounds: number): Scenario => ({
  name: 'Redis without data',
  what: 'Redis comes back empty, or is told FLUSHALL while workers write',
  async run(arena, random) {
    const { redis } = arena.servers
    for (let round = 0; round < rounds; round++) {
      await sleep(random.integer(0, 1_000))
      if (round % 2 === 0) await arena.fault('FLUSHALL', () => admin(redis, (client) => client.flushall()))
      else
        await arena.fault('Redis restart, empty', async (mark) => {
          await redis.kill()
          await sleep(awayMs(random))
          await redis.restart({ keepData: false })
          mark()
        })
    }
  },
})

const save = (redis: RedisServer): Promise<void> => admin(redis, (client) => client.save())

async function admin(
  redis: RedisServer,
  tell: (client: ReturnType<typeof adminOf>) => Promise<unknown>,
): Promise<void> {
  const client = adminOf(redis.port)
  try {
    await tell(client)
  } finally {
    client.disconnect()
  }
}
