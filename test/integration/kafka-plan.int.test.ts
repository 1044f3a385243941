/** What plan, apply and workers say about topics as others made them; and topics that bear their producers' time. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import type { Admin } from 'kafkajs'
import { kafkajsOf, openKafkaLog, setKnownAt, settingsOf } from '../../connectors/kafka/index.ts'
import { string, timestamp, float64 } from '../../core/definition/fields.ts'
import { FeatureStoreError } from '../../core/errors.ts'
import { compileEncoder, streamSchema } from '../../schemas/avro/index.ts'
import { eventually, json, projectOf, refusal, removeFolders, run, start } from '../cli/support.ts'
import { serverOfFile, startKafka } from '../support/services.ts'
import { random } from './support/random.ts'

const kafka = await serverOfFile('kafka', () => startKafka())
const limit = 240_000
afterAll(removeFolders, limit)

const fields = `{ at: timestamp(), shop: string(), amount: float64() }`
const featuresOf = (options: string): string => `
import { count, days, entity, float64, hours, service, stream, string, sum, timestamp, view } from 'tidemark'
export const orders = stream('orders', { fields: ${fields}, eventTime: 'at', key: ['shop'], partitions: 2, ${options} })
export const shop = entity('shop', { key: { shop: string() } })
export const byShop = view('by_shop', {
  from: orders, entity: shop, ttl: days(30), maxAhead: hours(1),
  features: ({ amount }) => ({ n_7d: count().over(days(7)), spent_7d: sum(amount).over(days(7)) }),
})
export const risk = service('risk', { features: [byShop.all()], clock: 'newestEvent' })
`
const projectAt = (topicPrefix: string, options = ''): string =>
  projectOf({
    'tidemark.config.ts': `export default { log: { kind: 'kafka', brokers: ${JSON.stringify(kafka().addresses)}, topicPrefix: '${topicPrefix}' }, worker: { pollMs: 5 } }`,
    'features.ts': featuresOf(options),
  })
const optionsAt = (topicPrefix: string) => ({ brokers: kafka().addresses, random, topicPrefix })

async function asAdmin<T>(act: (admin: Admin) => Promise<T>): Promise<T> {
  const admin = kafkajsOf(settingsOf(optionsAt(''))).admin()
  await admin.connect()
  try {
    return await act(admin)
  } finally {
    await admin.disconnect()
  }
}

const makeTopic = (topic: string, numPartitions: number, config: Readonly<Record<string, string>>) =>
  asAdmin((admin) =>
    admin.createTopics({
      topics: [
        { topic, numPartitions, configEntries: Object.entries(config).map(([name, value]) => ({ name, value })) },
      ],
    }),
  )

interface PlanJson {
  readonly log: {
    readonly findings: readonly { readonly severity: string; readonly code: string; readonly remedy: string }[]
    readonly made: readonly unknown[]
  }
}

/** What plan prints, and with which code it ends. */
async function planned(folder: string) {
  const { code, stdout } = await run(folder, ['plan', '--json'])
  const { log } = JSON.parse(stdout) as PlanJson
  return { exit: code, made: log.made, findings: log.findings.map(({ severity, code: of }) => `${severity} ${of}`) }
}

const topicsAt = (topicPrefix: string): Promise<string[]> =>
  asAdmin(async (admin) => (await admin.listTopics()).filter((topic) => topic.startsWith(topicPrefix)).sort())

it('plan says which topics apply makes and how; apply makes them so', { timeout: limit }, async () => {
  const folder = projectAt('made.', "knownAt: 'createTime'")
  const made = { stream: 'orders', place: 'topic made.orders', partitions: 2, knownAt: 'createTime' }
  expect(await planned(folder)).toEqual({ exit: 0, made: [{ ...made, batchBytesMax: 8_389_632 }], findings: [] })
  expect((await run(folder, ['plan'])).stdout).toContain(
    '\n+ topic made.orders (2 partitions, knownAt createTime, kept for ever, batches of 8389632 bytes at most)\n',
  )
  expect(await topicsAt('made.')).toEqual([])
  await json(folder, ['apply'])
  expect(await topicsAt('made.')).toEqual(['made._registry', 'made.orders'])
  expect(await planned(folder)).toEqual({ exit: 0, made: [], findings: [] })
  await using log = await openKafkaLog(optionsAt('made.'))
  const [kept] = await log.inspect([{ stream: 'orders', partitions: 1 }])
  expect(kept).toMatchObject({ isThere: true, knownAt: 'createTime', retentionMs: null, partitions: 2 })
})

it(
  'a topic that does not keep what is needed is refused by plan and apply, and told by code',
  { timeout: limit },
  async () => {
    const folder = projectAt('bad.')
    await makeTopic('bad.orders', 1, {
      'retention.ms': String(20 * 86_400_000),
      'retention.bytes': '1000000000',
      'cleanup.policy': 'compact,delete',
      'message.timestamp.type': 'CreateTime',
    })
    expect(await planned(folder)).toEqual({
      exit: 2,
      made: [],
      findings: [
        'error FS_LOG_KNOWN_AT',
        'error FS_LOG_COMPACTED',
        'error FS_LOG_PARTITIONS',
        'error FS_LOG_RETENTION',
        'warning FS_LOG_RETENTION',
        'warning FS_LOG_BATCH_BYTES',
      ],
    })
    const { stdout } = await run(folder, ['plan'])
    expect(stdout).toContain(
      'error FS_LOG_RETENTION: topic bad.orders keeps records for 20d (retention.ms), and view by_shop reaches 30d back with its ttl (known up to 1h before: maxAhead)\n    Set retention.ms=-1 of topic bad.orders',
    )
    expect(await refusal(folder, ['apply'])).toMatchObject({ code: 'FS_LOG_KNOWN_AT', exit: 2 })
    expect(await topicsAt('bad.')).toEqual(['bad.orders'])

    // As its remedies say.
    await asAdmin(async (admin) => {
      await admin.createPartitions({ topicPartitions: [{ topic: 'bad.orders', count: 3 }] })
      const set = {
        'message.timestamp.type': 'LogAppendTime',
        'retention.ms': '2595600000',
        'cleanup.policy': 'delete',
      }
      const configEntries = Object.entries(set).map(([name, value]) => ({ name, value }))
      await admin.alterConfigs({ validateOnly: false, resources: [{ type: 2, name: 'bad.orders', configEntries }] })
    })
    expect(
      await eventually('the topic is mended', 20_000, async () => {
        const now = await planned(folder)
        return now.exit === 0 ? now.findings : null
      }),
    ).toEqual(['warning FS_LOG_RETENTION', 'warning FS_LOG_BATCH_BYTES'])
    await json(folder, ['apply'])
    // Definitions that went would never be found again.
    await asAdmin((admin) =>
      admin.alterConfigs({
        validateOnly: false,
        resources: [{ type: 2, name: 'bad._registry', configEntries: [{ name: 'retention.ms', value: '86400000' }] }],
      }),
    )
    await eventually('the registry is refused', 20_000, async () => (await planned(folder)).exit === 2)
  },
)

it(
  'a worker does not begin on a topic with other times than declared; nor does an import',
  { timeout: limit },
  async () => {
    const folder = projectAt('turned.', "knownAt: 'createTime'")
    await json(folder, ['apply'])
    const day = Date.UTC(2026, 0, 5)
    const line = JSON.stringify({ at: day, shop: 'a', amount: 1, _knownAt: day })
    await json(folder, ['append', 'orders'], line)
    const turn = async (to: 'createTime' | 'logAppendTime'): Promise<void> => {
      const options = optionsAt('turned.')
      await setKnownAt(settingsOf(options), 'orders', to)
      await using log = await openKafkaLog(options)
      await eventually(`topics bear ${to}`, 20_000, async () => {
        const [kept] = await log.inspect([{ stream: 'orders', partitions: 2 }])
        return kept?.knownAt === to
      })
    }
    await turn('logAppendTime')
    const refused = await refusal(folder, ['worker', '--once'])
    expect(refused).toMatchObject({
      code: 'FS_LOG_KNOWN_AT',
      exit: 2,
      remedy:
        "Leave out knownAt: 'createTime' of stream orders, or set message.timestamp.type=CreateTime of topic turned.orders.",
    })
    expect(await refusal(folder, ['append', 'orders'], line)).toMatchObject({ code: 'FS_LOG_KNOWN_AT' })
    await turn('createTime')
    await json(folder, ['append', 'orders'], line)
    await json(folder, ['worker', '--once'])

    // The other way round: a stream that declares nothing, on the same topic.
    writeFileSync(join(folder, 'features.ts'), featuresOf(''))
    expect(await refusal(folder, ['apply'])).toMatchObject({ code: 'FS_LOG_KNOWN_AT' })
  },
)

interface Status {
  readonly streams: readonly { readonly records: number; readonly offline: number | null }[]
  readonly deadLetterList: readonly { readonly code: string; readonly partition: number; readonly offset: number }[]
}
interface Got {
  readonly rows: readonly { readonly values: Readonly<Record<string, unknown>> }[]
}

it(
  "producers' times, with a clock that jumps, and partitions that are added under a worker",
  { timeout: limit },
  async () => {
    const folder = projectAt('jump.', "knownAt: 'createTime', maxKnownAtJump: days(2)")
    await json(folder, ['apply'])
    const day = 86_400_000
    const begin = Date.UTC(2026, 0, 5)
    const event = (days: number, knownDays = days, shop = 'a') => ({
      at: begin + days * day,
      shop,
      amount: 10,
      _knownAt: begin + knownDays * day,
      _partition: 0,
    })
    const append = (events: readonly object[]) =>
      json(folder, ['append', 'orders'], events.map((one) => JSON.stringify(one)).join('\n'))
    // Offsets 0 to 4: the third is from a clock that is 70 years ahead, the fourth is known when the second was.
    await append([event(0), event(1), event(1.5, 25_000), event(0.5), event(3)])
    const worker = start(folder, ['worker'])
    const status = (): Promise<Status> => json(folder, ['status', '--dead-letters'])
    const held = (records: number) =>
      eventually(`the tables hold ${records} records`, 60_000, async () => {
        const now = await status()
        return now.streams[0]?.offline === records ? now : null
      })
    try {
      expect((await held(5)).deadLetterList).toMatchObject([{ code: 'FS_DEAD_KNOWN_AT', partition: 0, offset: 2 }])
      const asked = async (days: number, knownDays: number): Promise<unknown> => {
        const at = (of: number): string => new Date(begin + of * day).toISOString()
        const args = ['get', 'risk', '--entity', 'shop=a', '--as-of', at(days), '--known-as-of', at(knownDays)]
        return (await json<Got>(folder, args)).rows[0]?.values['by_shop:n_7d']
      }
      // Before and after the correction is known, and after the jump: it is in none of them.
      expect([await asked(2, 0.9), await asked(2, 1), await asked(4, 26_000)]).toEqual(['1', '3', '4'])

      await asAdmin((admin) => admin.createPartitions({ topicPartitions: [{ topic: 'jump.orders', count: 4 }] }))
      const encoder = compileEncoder(streamSchema('orders', { at: timestamp(), shop: string(), amount: float64() }))
      await using log = await openKafkaLog(optionsAt('jump.'))
      const value = encoder.encode({ at: begin + 3.5 * day, shop: 'a', amount: 5 })
      await eventually('the new partition has a leader', 30_000, () =>
        log.append('orders', 3, [{ key: null, value, timestampMs: begin + 3.5 * day }]).catch((error: unknown) => {
          if (error instanceof FeatureStoreError && error.code === 'FS_STREAM_UNKNOWN') return null
          throw error
        }),
      )
      await held(6)
      expect(await asked(4, 26_000)).toBe('5')
      expect(await planned(folder)).toEqual({ exit: 0, made: [], findings: [] })
    } finally {
      worker.interrupt()
      await worker.finished
    }
    expect((await worker.finished).code).toBe(0)
    expect(await json(folder, ['audit', '--rows', '100', '--seed', '1'])).toMatchObject({ mismatched: 0 })
    expect(await json(folder, ['rebuild', '--verify'])).toMatchObject({ matches: true })
  },
)
