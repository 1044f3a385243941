import { describe, it } from 'vitest'
import { openKafkajsLog, openKafkaLog } from '../../connectors/kafka/index.ts'
import { eventLogSuite } from '../../connectors/kit/event-log-suite.ts'
import { serverOfFile, startKafka } from '../support/services.ts'
import { random } from './support/random.ts'

describe('Kafka', async () => {
  const broker = await serverOfFile('kafka', () => startKafka())

  let logs = 0
  const options = () => ({
    brokers: broker().addresses,
    random,
    topicPrefix: `log-${logs++}.`,
  })
  const runner = { describe, it }
  eventLogSuite('Kafka, producers say the time', async () => openKafkaLog(options()), runner)
  eventLogSuite('Kafka, brokers say the time', async () => openKafkaLog(options()), runner, 'logAppendTime')
  eventLogSuite('Kafka by kafkajs', async () => openKafkajsLog(options()), runner)
})
