import { join } from 'node:path'
import { Kafka, logLevel } from 'kafkajs'
import { eventually } from '../../cli/support.ts'
import { adminOf } from '../../support/services.ts'
import type { Arena } from '../arena.ts'
import { countsKey, naiveGroup } from '../naive-worker.ts'
import { cards } from '../payments.ts'
import type { Scenario } from '../scenario.ts'
import type { Verdict } from '../verify.ts'
import { killing, manyPerTick } from './random-kills.ts'

const consumedMsMax = 120_000

/** The same kills, and what one would write without Tidemark: how many cards end up with another count than they have. */
export const naive = (kills: number): Scenario => ({
  name: 'naive kafkajs + HINCRBY + auto-commit',
  what: 'for comparison: two plain consumers, killed as the workers are under load',
  program: join(import.meta.dirname, '..', 'naive-worker.ts'),
  paymentsPerTick: manyPerTick,
  run: (arena, random) => killing(arena, random, { kills, atOnce: 1, measured: false }),
  compare,
})

async function compare(arena: Arena): Promise<Verdict> {
  const { producer, servers } = arena
  await producer.stop()
  const problem = await consumed(arena).then(
    () => null,
    (error: unknown) => String(error),
  )
  await arena.dismiss()
  const redis = adminOf(servers.redis.port)
  const counts = await redis.hgetall(countsKey).finally(() => redis.disconnect())
  const counted = (card: string): number => Number(counts[card] ?? 0)
  const appended = (card: string): number => producer.payments.totals.get(card)?.records ?? 0
  const wrong = cards.filter((card) => counted(card) !== appended(card))
  return {
    events: cards.reduce((sum, card) => sum + appended(card), 0),
    applied: cards.reduce((sum, card) => sum + counted(card), 0),
    mismatches: [
      ...(problem === null ? [] : [problem]),
      ...wrong.map((card) => `${card}: counted ${counted(card)}, in the topic ${appended(card)}`),
    ],
  }
}

/** The group has committed the end of every partition. */
async function consumed({ servers, project, producer }: Arena): Promise<void> {
  const prefix = project.config.log.kind === 'kafka' ? project.config.log.topicPrefix : ''
  const topic = `${prefix}payments`
  const kafka = new Kafka({ brokers: [...servers.kafka.addresses], logLevel: logLevel.NOTHING })
  const admin = kafka.admin()
  await admin.connect()
  try {
    await eventually('all messages are consumed', consumedMsMax, async () => {
      const [found] = await admin.fetchOffsets({ groupId: naiveGroup, topics: [topic] })
      const committed = (found?.partitions ?? []).reduce((sum, { offset }) => sum + Math.max(0, Number(offset)), 0)
      return committed === producer.recordsOf('payments')
    })
  } finally {
    await admin.disconnect()
  }
}
