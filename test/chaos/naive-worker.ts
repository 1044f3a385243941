/**
 * What one would write without Tidemark, as the pages of both libraries show it: a consumer of kafkajs that commits by
 * itself, and one HINCRBY for each event, awaited. Counts and sums the payments of each card.
 *
 *     node naive-worker.ts PROJECT
 */
import avsc from 'avsc'
import { Redis } from 'ioredis'
import { Kafka, logLevel } from 'kafkajs'
import { fieldsWritten } from '../../core/definition/corrections.ts'
import { streamOf } from '../../core/definition/catalog.ts'
import { singleObjectHeader, streamSchema } from '../../schemas/avro/index.ts'
import { addressOf } from '../../cli/server-config.ts'
import { loadProject } from '../../cli/project.ts'

export const naiveGroup = 'naive'
export const countsKey = 'naive:counts'
export const centsKey = 'naive:cents'

async function work(folder: string): Promise<void> {
  const { catalog, config } = await loadProject(folder)
  if (config.log.kind !== 'kafka' || config.online.kind !== 'redis') throw new Error('needs Kafka and Redis')
  const stream = streamOf(catalog, 'payments')
  const schema = streamSchema(stream.name, fieldsWritten(stream))
  const type = avsc.Type.forSchema(schema as avsc.Schema)
  const headerBytes = singleObjectHeader(schema).length
  const redis = new Redis(addressOf(config.online.address ?? ''))
  const kafka = new Kafka({ brokers: [...config.log.brokers], logLevel: logLevel.NOTHING })
  const consumer = kafka.consumer({ groupId: naiveGroup, sessionTimeout: 6_000, heartbeatInterval: 1_500 })
  await consumer.connect()
  await consumer.subscribe({ topic: `${config.log.topicPrefix}${stream.name}`, fromBeginning: true })
  await consumer.run({
    eachMessage: async ({ message }) => {
      const payment = type.fromBuffer((message.value as Buffer).subarray(headerBytes)) as Payment
      if (payment._op === 'retract') return
      await redis.hincrby(countsKey, payment.card, 1)
      await redis.hincrby(centsKey, payment.card, Number(payment.cents))
    },
  })
  process.once('SIGTERM', () => {
    void consumer.disconnect().then(() => process.exit(0))
  })
}

interface Payment {
  readonly card: string
  readonly cents: number
  readonly _op: string
}

if (process.argv[1] === import.meta.filename) await work(process.argv[2] ?? '')
