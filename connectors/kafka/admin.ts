import kafkajs, { type Kafka, type KafkaConfig } from 'kafkajs'
import { FeatureStoreError } from '../../core/errors.ts'
import { appendBytesMax } from '../log/append.ts'
import { unavailable } from './errors.ts'
import { type Settings } from './options.ts'

/** kafkajs with our settings: for what happens now and then (topics, groups), and for the plain twin. */
export function kafkajsOf(settings: Settings): Kafka {
  const { tls, sasl } = settings
  return new kafkajs.Kafka({
    brokers: [...settings.brokers],
    clientId: settings.clientId,
    connectionTimeout: settings.connectTimeoutMs,
    requestTimeout: settings.requestTimeoutMs,
    logLevel: kafkajs.logLevel.NOTHING,
    retry: { initialRetryTime: 100, maxRetryTime: 1_000, retries: 8 },
    ...(tls === undefined ? {} : { ssl: { ...tls } }),
    ...(sasl === undefined ? {} : { sasl: { ...sasl } as NonNullable<KafkaConfig['sasl']> }),
  })
}

/**
 * Makes the topic of a stream: kept for ever, batches as large as an append, timestamps as the settings say.
 * Does nothing when it is there. Errors: FS_KAFKA_AUTH, FS_KAFKA_UNAVAILABLE, FS_KAFKA_PROTOCOL.
 */
export async function createTopic(settings: Settings, topic: string, partitions: number): Promise<void> {
  const admin = kafkajsOf(settings).admin()
  try {
    await admin.connect()
    await admin.createTopics({
      // The caller waits for them: kafkajs gives up where a broker has not heard of the topic yet.
      waitForLeaders: false,
      topics: [
        {
          topic,
          numPartitions: partitions,
          replicationFactor: settings.replicationFactor ?? -1,
          configEntries: Object.entries(topicConfig(settings)).map(([name, value]) => ({ name, value })),
        },
      ],
    })
  } catch (error) {
    throw adminError(error, `creating topic ${topic}`)
  } finally {
    await admin.disconnect().catch(() => {})
  }
}

const topicConfig = ({ knownAt }: Settings): Readonly<Record<string, string>> => ({
  'message.timestamp.type': knownAt === 'createTime' ? 'CreateTime' : 'LogAppendTime',
  'retention.ms': '-1',
  'retention.bytes': '-1',
  'cleanup.policy': 'delete',
  'max.message.bytes': String(appendBytesMax + 1024),
  // Otherwise a broker refuses a producer's time that lies an hour ahead; such events are judged by their views.
  ...(knownAt === 'createTime' ? { 'message.timestamp.after.max.ms': '9223372036854775807' } : {}),
})

/**
 * Says whose time the records of a topic bear from now on; those that are there keep theirs. Its other settings stay.
 * Errors: FS_KAFKA_AUTH, FS_KAFKA_UNAVAILABLE, FS_KAFKA_PROTOCOL.
 */
export async function setKnownAt(settings: Settings, stream: string): Promise<void> {
  const name = `${settings.topicPrefix}${stream}`
  const admin = kafkajsOf(settings).admin()
  try {
    await admin.connect()
    const { resources } = await admin.describeConfigs({
      includeSynonyms: false,
      resources: [{ type: topicResource, name }],
    })
    const own = (resources[0]?.configEntries ?? []).filter(({ configSource }) => Number(configSource) === setOnTopic)
    const entries = new Map(own.map(({ configName, configValue }) => [configName, configValue]))
    for (const key of ['message.timestamp.type', 'message.timestamp.after.max.ms']) entries.delete(key)
    for (const [key, value] of Object.entries(topicConfig(settings)))
      if (key.startsWith('message.timestamp.')) entries.set(key, value)
    await admin.alterConfigs({
      validateOnly: false,
      resources: [
        { type: topicResource, name, configEntries: [...entries].map(([key, value]) => ({ name: key, value })) },
      ],
    })
  } catch (error) {
    throw adminError(error, `settings of topic ${name}`)
  } finally {
    await admin.disconnect().catch(() => {})
  }
}

/** Of the protocol: a topic among resources, and the source of a setting that was made on the topic itself. */
const topicResource = 2
const setOnTopic = 1

const rightsTypes = /AUTHORIZATION|AUTHENTICATION|SASL/

function adminError(error: unknown, what: string): FeatureStoreError {
  if (error instanceof FeatureStoreError) return error
  if (!(error instanceof Error) || !('retriable' in error)) return unavailable(`${what}: ${String(error)}`, error)
  const type = 'type' in error && typeof error.type === 'string' ? error.type : error.name
  const message = `${what}: ${error.message} (${type})`
  if (rightsTypes.test(type.toUpperCase())) return new FeatureStoreError('FS_KAFKA_AUTH', message, { cause: error })
  return error.retriable === true
    ? unavailable(message, error)
    : new FeatureStoreError('FS_KAFKA_PROTOCOL', message, { cause: error })
}
