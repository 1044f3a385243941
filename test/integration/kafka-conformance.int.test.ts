import { afterAll, beforeAll, describe, it } from 'vitest'
import { openKafkajsLog, openKafkaLog } from '../../connectors/kafka/index.ts'
import { eventLogSuite } from '../../connectors/kit/event-log-suite.ts'
import { type KafkaBroker, kafkaMissing, random, startKafka } from './support/kafka.ts'

describe.skipIf(kafkaMissing !== null)('Kafka', () => {
  let broker: KafkaBroker
  beforeAll(async () => {
    broker = await startKafka()
  })
  afterAll(() => broker[Symbol.asyncDispose]())

  let logs = 0
  const options = (knownAt: 'createTime' | 'logAppendTime') => ({
    brokers: broker.brokers,
    random,
    knownAt,
    topicPrefix: `log-${logs++}.`,
  })
  const runner = { describe, it }
  eventLogSuite('Kafka, producers say the time', async () => openKafkaLog(options('createTime')), runner)
  eventLogSuite('Kafka, brokers say the time', async () => openKafkaLog(options('logAppendTime')), runner)
  eventLogSuite('Kafka by kafkajs', async () => openKafkajsLog(options('createTime')), runner)
})
