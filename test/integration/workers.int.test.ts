/** Workers as processes on a real Kafka and a real Redis, killed again and again: what is left is what the log says. */
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, expect, it } from 'vitest'
import { eventually, json, projectOf, removeFolders, start, type Running } from '../cli/support.ts'
import { serverOfFile, startKafka, startRedis } from '../support/services.ts'
import { Prng } from '../support/prng.ts'

const kafka = await serverOfFile('kafka', () => startKafka())
const redis = await serverOfFile('redis', () => startRedis())
const limit = 400_000
const workers: Running[] = []
afterAll(async () => {
  for (const { child, pid } of workers)
    if (child.exitCode === null && child.signalCode === null) process.kill(-pid, 'SIGKILL')
  await removeFolders()
}, limit)

const kills = Number(process.env['TIDEMARK_KILLS'] ?? 20)
const rounds = 30
const eventsPerRound = 400

const features = `import { count, days, entity, float64, hours, lastN, max, mean, service, stddev, stream, string, sum, timestamp, view } from 'tidemark'
export const payments = stream('payments', {
  fields: { id: string(), at: timestamp(), card: string(), shop: string(), amount: float64() },
  eventTime: 'at', id: 'id', key: ['shop'], partitions: 4,
})
export const card = entity('card', { key: { card: string() } })
export const shop = entity('shop', { key: { shop: string() } })
export const byCard = view('by_card', {
  from: payments, entity: card, ttl: days(30), lateness: days(20),
  features: ({ amount }) => ({
    n_1h: count().over(hours(1)), spent_1d: sum(amount).over(days(1)), max_7d: max(amount).over(days(7)),
    stddev_7d: stddev(amount).over(days(7)), last_3: lastN(amount, 3),
  }),
})
export const byShop = view('by_shop', {
  from: payments, entity: shop, ttl: days(30),
  features: ({ amount }) => ({ n_7d: count().over(days(7)), mean_7d: mean(amount).over(days(7)) }),
})
export const risk = service('risk', { features: [byCard.all(), byShop.all()] })
`

const config = (): string => `export default {
  log: { kind: 'kafka', brokers: ${JSON.stringify(kafka().addresses)}, topicPrefix: 'shop.' },
  online: { kind: 'redis', address: ${JSON.stringify(redis().address)} },
  worker: { flushMs: 100, pollMs: 5 },
}`

interface Status {
  readonly streams: readonly { readonly stream: string; readonly records: number; readonly offline: number | null }[]
  readonly deadLetters: number
}

/** In [0, n). */
const upTo = (random: Prng, n: number): number => random.integer(0, n - 1)

/** Some late, some too late, some twice, some taken back. */
function linesOf(random: Prng, from: number, nowMs: number): string {
  const lines: string[] = []
  for (let index = from; index < from + eventsPerRound; index++) {
    const payment = {
      id: `p${index}`,
      at: nowMs - upTo(random, upTo(random, 10) === 0 ? 30 * 86_400_000 : 3_600_000),
      card: `card ${upTo(random, 60)}`,
      shop: `shop ${upTo(random, 9)}`,
      amount: (upTo(random, 200_000) - 50_000) / 100,
    }
    lines.push(JSON.stringify(payment))
    if (upTo(random, 10) === 0) lines.push(JSON.stringify(payment))
    if (upTo(random, 10) === 0) lines.push(JSON.stringify({ ...payment, _op: 'retract' }))
  }
  return lines.join('\n')
}

it(
  `after ${kills} kills of workers that share the shards, state and values are those of the log`,
  { timeout: limit },
  async () => {
    const folder = projectOf({ 'tidemark.config.ts': config(), 'features.ts': features })
    await json(folder, ['apply'])
    const random = new Prng(5)
    const worker = (): Running => start(folder, ['worker'])
    workers.push(worker(), worker())
    let killed = 0
    const killing = (async () => {
      while (killed < kills) {
        await sleep(300 + upTo(random, 1_500))
        const index = upTo(random, workers.length)
        process.kill(-(workers[index] as Running).pid, 'SIGKILL')
        await (workers[index] as Running).finished
        killed++
        workers[index] = worker()
      }
    })()
    let appended = 0
    for (let round = 0; round < rounds || killed < kills; round++) {
      const lines = linesOf(random, round * eventsPerRound, Date.now())
      appended += (await json<{ readonly appended: number }>(folder, ['append', 'payments'], lines)).appended
    }
    await killing
    const status = await eventually('the offline tables hold every record', 90_000, async () => {
      const now = await json<Status>(folder, ['status'])
      return now.streams[0]?.offline === appended ? now : null
    })
    expect(status.streams[0]?.records).toBe(appended)
    expect(status.deadLetters).toBeGreaterThan(0)
    for (const running of workers) running.interrupt()
    for (const running of workers) expect((await running.finished).code).toBe(0)

    const audit = await json<{ readonly checked: number; readonly mismatched: number }>(folder, [
      'audit',
      '--rows',
      '300',
      '--seed',
      '3',
    ])
    expect([audit.mismatched, audit.checked > 1_000]).toEqual([0, true])
    const rebuilt = await json<{ readonly matches: boolean }>(folder, ['rebuild', '--verify'])
    expect(rebuilt).toMatchObject({ matches: true })
  },
)
