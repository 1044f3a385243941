/** Whatever comes in by a topic: dead letters with cause and position, and the rest flows; a topic made again is refused. */
import { afterAll, describe, expect, it } from 'vitest'
import type { Admin, Producer } from 'kafkajs'
import { kafkajsOf, settingsOf } from '../../connectors/kafka/index.ts'
import { float64, string, timestamp } from '../../core/definition/fields.ts'
import { compileEncoder, streamSchema } from '../../schemas/avro/index.ts'
import { eventually, json, projectOf, refusal, removeFolders, start, type ErrorJson } from '../cli/support.ts'
import { serverOfFile, startKafka } from '../support/services.ts'
import { random } from './support/random.ts'

/** What a broker has to allow for records of 100 MB; its defaults stop at 1 MB. */
const large = { 'message.max.bytes': 120_000_000, 'socket.request.max.bytes': 130_000_000 }
const kafka = await serverOfFile('kafka', () => startKafka({ heapMb: 1_024, properties: large }))
const limit = 240_000
afterAll(removeFolders, limit)

const features = `
import { count, days, entity, float64, service, stream, string, sum, timestamp, view } from 'tidemark'
export const orders = stream('orders', { fields: { at: timestamp(), shop: string(), amount: float64() }, eventTime: 'at' })
export const shop = entity('shop', { key: { shop: string() } })
export const byShop = view('by_shop', {
  from: orders, entity: shop, ttl: days(30), features: ({ amount }) => ({ spent: sum(amount).over(days(7)) }),
})
export const risk = service('risk', { features: [byShop.all()], clock: 'newestEvent' })
`
const encoder = compileEncoder(streamSchema('orders', { at: timestamp(), shop: string(), amount: float64() }))
const at = Date.UTC(2026, 0, 5)
const good = (amount: number): Buffer => Buffer.from(encoder.encode({ at: Date.now() - 1_000, shop: 'a', amount }))

async function withClient<T>(act: (admin: Admin, producer: Producer) => Promise<T>): Promise<T> {
  const client = kafkajsOf(settingsOf({ brokers: kafka().addresses, random, requestTimeoutMs: 60_000 }))
  const [admin, producer] = [client.admin(), client.producer()]
  await Promise.all([admin.connect(), producer.connect()])
  try {
    return await act(admin, producer)
  } finally {
    await Promise.all([admin.disconnect(), producer.disconnect()])
  }
}

const send = (topic: string, messages: Parameters<Producer['send']>[0]['messages']) =>
  withClient((_, producer) => producer.send({ topic, messages }))

async function appliedProject(topicPrefix: string): Promise<string> {
  const folder = projectOf({
    'tidemark.config.ts': `export default { log: { kind: 'kafka', brokers: ${JSON.stringify(kafka().addresses)}, topicPrefix: '${topicPrefix}' } }`,
    'features.ts': features,
  })
  await json(folder, ['apply'])
  await json(folder, ['append', 'orders'], JSON.stringify({ at: Date.now() - 1_000, shop: 'a', amount: 1 }))
  return folder
}

interface Status {
  readonly streams: readonly { readonly offline: number | null }[]
  readonly deadLetterList: readonly { readonly code: string; readonly offset: number }[]
}
interface Got {
  readonly rows: readonly { readonly values: Readonly<Record<string, unknown>> }[]
}
const spent = async (folder: string): Promise<unknown> =>
  (await json<Got>(folder, ['get', 'risk', '--entity', 'shop=a'])).rows[0]?.values['by_shop:spent']
const deadOf = async (folder: string): Promise<string[]> =>
  (await json<Status>(folder, ['status', '--dead-letters'])).deadLetterList
    .map(({ code, offset }) => `${offset} ${code}`)
    .sort()

describe('from a topic that others write to', () => {
  it('what is no event is a dead letter with its position, and the rest flows', { timeout: limit }, async () => {
    const folder = await appliedProject('odd.')
    const stranger = good(7)
    // The fingerprint of a schema that nobody wrote.
    stranger.fill(0xab, 2, 10)
    await send('odd.orders', [
      { key: null, value: good(2) }, // 1
      { key: 'tombstone', value: null }, // 2
      { value: Buffer.alloc(0) },
      { value: Buffer.from('{"at":1}') },
      { value: stranger },
      { value: good(7).subarray(0, 15) }, // 6
      { key: '', value: good(4), headers: { trace: 'x' } },
      { value: good(8), timestamp: String(at) },
    ])
    await json(folder, ['worker', '--once'])
    expect(await deadOf(folder)).toEqual([2, 3, 4, 5, 6].map((offset) => `${offset} FS_DEAD_UNDECODABLE`))
    expect(await spent(folder)).toBe(15)
    expect(await json(folder, ['audit', '--rows', '50', '--seed', '1'])).toMatchObject({ mismatched: 0 })
  })

  it('a record of 100 MB is one dead letter', { timeout: limit }, async () => {
    const folder = await appliedProject('large.')
    await withClient((admin) =>
      admin.alterConfigs({
        validateOnly: false,
        resources: [
          // What is not named goes back to the broker's default.
          {
            type: 2,
            name: 'large.orders',
            configEntries: [
              { name: 'max.message.bytes', value: '115000000' },
              { name: 'message.timestamp.type', value: 'LogAppendTime' },
            ],
          },
        ],
      }),
    )
    const huge = Buffer.alloc(100_000_000, 0x41)
    await eventually('the topic takes it', 60_000, () =>
      send('large.orders', [{ value: huge }]).catch((error: unknown) => {
        if (String(error).includes('larger')) return null
        throw error
      }),
    )
    await send('large.orders', [{ value: good(5) }])
    await json(folder, ['worker', '--once'])
    expect(await deadOf(folder)).toEqual(['1 FS_DEAD_UNDECODABLE'])
    expect(await spent(folder)).toBe(6)
    expect((await json<Status>(folder, ['status'])).streams[0]?.offline).toBe(3)
  })

  it('a topic that is made again is refused until the operator orders a rebuild', { timeout: limit }, async () => {
    const folder = await appliedProject('again.')
    await send('again.orders', [{ value: good(2) }, { value: good(3) }])
    const worker = start(folder, ['worker', '--json'])
    await eventually('three events are applied', 60_000, async () => {
      const { streams } = await json<Status>(folder, ['status'])
      return streams[0]?.offline === 3
    })
    await withClient((admin) => admin.deleteTopics({ topics: ['again.orders'] }))
    const { code, stderr } = await worker.finished
    const line = stderr.split('\n').find((text) => text.startsWith('{"error"')) ?? '{}'
    const { error } = JSON.parse(line) as { readonly error?: ErrorJson }
    expect([code !== 0, error?.code]).toEqual([true, 'FS_KAFKA_TOPIC_CHANGED'])

    await eventually('the topic is there again', 30_000, () =>
      withClient((admin) =>
        admin.createTopics({
          topics: [
            {
              topic: 'again.orders',
              numPartitions: 1,
              configEntries: [{ name: 'message.timestamp.type', value: 'LogAppendTime' }],
            },
          ],
        }),
      ),
    )
    await send('again.orders', [{ value: good(10) }, { value: good(20) }, { value: good(30) }, { value: good(40) }])
    for (let attempt = 0; attempt < 2; attempt++)
      expect(await refusal(folder, ['worker', '--once'])).toMatchObject({ code: 'FS_STATE_FORMAT' })
    await json(folder, ['rebuild'])
    expect(await spent(folder)).toBe(100)
    await json(folder, ['worker', '--once'])
    expect(await json(folder, ['audit', '--rows', '50', '--seed', '1'])).toMatchObject({ mismatched: 0 })
  })
})
