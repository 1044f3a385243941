/** A whole project on a topic that is written in transactions: its offsets have gaps, and nothing of it may stumble. */
import { afterAll, expect, it } from 'vitest'
import { kafkajsOf, settingsOf } from '../../connectors/kafka/index.ts'
import { float64, string, timestamp } from '../../core/definition/fields.ts'
import { compileEncoder, streamSchema } from '../../schemas/avro/index.ts'
import { json, projectOf, removeFolders } from '../cli/support.ts'
import { serverOfFile, startKafka } from '../support/services.ts'
import { random } from './support/random.ts'

const kafka = await serverOfFile('kafka', () => startKafka())
const limit = 240_000
afterAll(removeFolders, limit)

const features = `
import { count, days, entity, float64, service, stream, string, sum, timestamp, view } from 'tidemark'
export const orders = stream('orders', {
  fields: { at: timestamp(), shop: string(), amount: float64() }, eventTime: 'at', key: ['shop'], partitions: 2,
})
export const shop = entity('shop', { key: { shop: string() } })
export const byShop = view('by_shop', {
  from: orders, entity: shop, ttl: days(30),
  features: ({ amount }) => ({ n_7d: count().over(days(7)), spent_7d: sum(amount).over(days(7)) }),
})
export const risk = service('risk', { features: [byShop.all()], clock: 'newestEvent' })
`

interface Got {
  readonly rows: readonly { readonly values: Readonly<Record<string, unknown>> }[]
}

it('committed events count, aborted ones do not, also after the worker began again', { timeout: limit }, async () => {
  const brokers = kafka().addresses
  const folder = projectOf({
    'tidemark.config.ts': `export default { log: { kind: 'kafka', brokers: ${JSON.stringify(brokers)}, topicPrefix: 'tx.' } }`,
    'features.ts': features,
  })
  await json(folder, ['apply'])
  const now = Date.now()
  // One that Tidemark writes itself, so that the schema is known.
  await json(folder, ['append', 'orders'], JSON.stringify({ at: now, shop: 'a', amount: 1, _partition: 0 }))
  const encoder = compileEncoder(streamSchema('orders', { at: timestamp(), shop: string(), amount: float64() }))
  const producer = kafkajsOf(settingsOf({ brokers, random })).producer({
    transactionalId: 'tx',
    idempotent: true,
    maxInFlightRequests: 1,
  })
  await producer.connect()
  const transaction = async (amounts: readonly number[], end: 'commit' | 'abort'): Promise<void> => {
    const open = await producer.transaction()
    const messages = amounts.map((amount) => ({
      value: Buffer.from(encoder.encode({ at: now + amount, shop: 'a', amount })),
      partition: 0,
    }))
    await open.send({ topic: 'tx.orders', messages })
    await open[end]()
  }
  const asked = async (): Promise<unknown> => {
    const { rows } = await json<Got>(folder, ['get', 'risk', '--entity', 'shop=a'])
    return rows[0]?.values['by_shop:spent_7d']
  }
  await transaction([2, 3], 'commit')
  await transaction([100], 'abort')
  await json(folder, ['worker', '--once'])
  expect(await asked()).toBe(6)
  await transaction([200], 'abort')
  await transaction([4], 'commit')
  await transaction([300], 'abort')
  await json(folder, ['worker', '--once'])
  expect(await asked()).toBe(10)
  await producer.disconnect()
  expect(await json(folder, ['audit', '--rows', '50', '--seed', '1'])).toMatchObject({ mismatched: 0 })
  expect(await json(folder, ['rebuild', '--verify'])).toMatchObject({ matches: true })
})
