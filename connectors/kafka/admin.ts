import kafkajs, { type Admin, type Kafka, type KafkaConfig } from 'kafkajs'
import { FeatureStoreError } from '../../core/errors.ts'
import {
  type ForeignStream,
  type KnownAtSource,
  type NewStream,
  type StreamKeeping,
} from '../../core/ports/event-log.ts'
import { appendBytesMax } from '../log/append.ts'
import { unavailable } from './errors.ts'
import { type Settings } from './options.ts'
import { wholeReplies } from './whole-replies.ts'

/** kafkajs with our settings: for what happens now and then (topics, groups), and for the plain twin. */
export function kafkajsOf(settings: Settings): Kafka {
  const { tls, sasl } = settings
  return new kafkajs.Kafka({
    brokers: [...settings.brokers],
    clientId: settings.clientId,
    socketFactory: wholeReplies,
    connectionTimeout: settings.connectTimeoutMs,
    requestTimeout: settings.requestTimeoutMs,
    logLevel: kafkajs.logLevel.NOTHING,
    retry: { initialRetryTime: 100, maxRetryTime: 1_000, retries: 8 },
    ...(tls === undefined ? {} : { ssl: { ...tls } }),
    ...(sasl === undefined ? {} : { sasl: { ...sasl } as NonNullable<KafkaConfig['sasl']> }),
  })
}

/**
 * Makes the topic of a stream: kept for ever, batches as large as an append, timestamps as the stream declares.
 * Does nothing when it is there. Errors: FS_KAFKA_AUTH, FS_KAFKA_UNAVAILABLE, FS_KAFKA_PROTOCOL.
 */
export async function createTopic(settings: Settings, topic: string, options: NewStream): Promise<void> {
  await asAdmin(settings, `creating topic ${topic}`, async (admin) => {
    await admin.createTopics({
      // The caller waits for them: kafkajs gives up where a broker has not heard of the topic yet.
      waitForLeaders: false,
      topics: [
        {
          topic,
          numPartitions: options.partitions,
          replicationFactor: settings.replicationFactor ?? -1,
          configEntries: Object.entries(topicConfig(options.knownAt)).map(([name, value]) => ({ name, value })),
        },
      ],
    })
  })
}

/** With their headers. */
const appendBytes = appendBytesMax + 1024

const topicConfig = (knownAt: KnownAtSource = 'logAppendTime'): Readonly<Record<string, string>> => ({
  'message.timestamp.type': knownAt === 'createTime' ? 'CreateTime' : 'LogAppendTime',
  'retention.ms': '-1',
  'retention.bytes': '-1',
  'cleanup.policy': 'delete',
  'max.message.bytes': String(appendBytes),
  // Otherwise a broker refuses a producer's time that lies an hour ahead; such events are judged by their views.
  ...(knownAt === 'createTime' ? { 'message.timestamp.after.max.ms': '9223372036854775807' } : {}),
})

/**
 * Says whose time the records of a topic bear from now on; those that are there keep theirs. Its other settings stay.
 * Errors: FS_KAFKA_AUTH, FS_KAFKA_UNAVAILABLE, FS_KAFKA_PROTOCOL.
 */
export async function setKnownAt(settings: Settings, stream: string, knownAt: KnownAtSource): Promise<void> {
  const name = `${settings.topicPrefix}${stream}`
  await asAdmin(settings, `settings of topic ${name}`, async (admin) => {
    const { resources } = await admin.describeConfigs({
      includeSynonyms: false,
      resources: [{ type: topicResource, name }],
    })
    const own = (resources[0]?.configEntries ?? []).filter(({ configSource }) => Number(configSource) === setOnTopic)
    const entries = new Map(own.map(({ configName, configValue }) => [configName, configValue]))
    for (const key of ['message.timestamp.type', 'message.timestamp.after.max.ms']) entries.delete(key)
    for (const [key, value] of Object.entries(topicConfig(knownAt)))
      if (key.startsWith('message.timestamp.')) entries.set(key, value)
    await admin.alterConfigs({
      validateOnly: false,
      resources: [
        { type: topicResource, name, configEntries: [...entries].map(([key, value]) => ({ name: key, value })) },
      ],
    })
  })
}

export interface AskedTopic extends NewStream {
  readonly topic: string
  /** Partitions that it has; null where there is no such topic. */
  readonly there: number | null
}

/**
 * How topics are kept, or would be. Errors: FS_KAFKA_AUTH (also without the right to describe their settings),
 * FS_KAFKA_UNAVAILABLE, FS_KAFKA_PROTOCOL.
 */
export async function keepingOf(settings: Settings, topics: readonly AskedTopic[]): Promise<StreamKeeping[]> {
  const names = topics.flatMap(({ topic, there }) => (there === null ? [] : [topic]))
  const held = await configsOf(settings, names)
  return topics.map(({ topic, there, partitions, knownAt }): StreamKeeping => {
    const config = there === null ? topicConfig(knownAt) : (held.get(topic) ?? {})
    const policies = (config['cleanup.policy'] ?? '').split(',').map((policy) => policy.trim())
    const drops = policies.includes('delete')
    return {
      isThere: there !== null,
      system: { place: `topic ${topic}`, appendBytes, names: settingNames },
      partitions: there ?? partitions,
      knownAt: config['message.timestamp.type'] === 'LogAppendTime' ? 'logAppendTime' : 'createTime',
      retentionMs: drops ? boundOf(config['retention.ms']) : null,
      retentionBytes: drops ? boundOf(config['retention.bytes']) : null,
      isCompacted: policies.includes('compact'),
      batchBytesMax: boundOf(config['max.message.bytes']),
    }
  })
}

const settingNames: ForeignStream['names'] = {
  knownAt: { createTime: 'message.timestamp.type=CreateTime', logAppendTime: 'message.timestamp.type=LogAppendTime' },
  uncompacted: 'cleanup.policy=delete',
  keepForever: 'retention.ms=-1',
  keepAllBytes: 'retention.bytes=-1',
  retentionMs: 'retention.ms',
  retentionBytes: 'retention.bytes',
  batchBytes: 'max.message.bytes',
}

/** -1 is none, and what is beyond counting as well. */
function boundOf(text: string | undefined): number | null {
  const value = Number(text ?? '-1')
  return value < 0 || value > Number.MAX_SAFE_INTEGER ? null : value
}

/** What holds for topics, whoever set it. */
async function configsOf(
  settings: Settings,
  topics: readonly string[],
): Promise<ReadonlyMap<string, Readonly<Record<string, string>>>> {
  if (topics.length === 0) return new Map()
  return asAdmin(settings, `settings of ${topics.map((topic) => `topic ${topic}`).join(', ')}`, async (admin) => {
    const { resources } = await admin.describeConfigs({
      includeSynonyms: false,
      resources: topics.map((name) => ({ type: topicResource, name })),
    })
    return new Map(
      resources.map(({ resourceName, configEntries }) => [
        resourceName,
        Object.fromEntries(configEntries.map(({ configName, configValue }) => [configName, configValue])),
      ]),
    )
  })
}

async function asAdmin<T>(settings: Settings, what: string, run: (admin: Admin) => Promise<T>): Promise<T> {
  const admin = kafkajsOf(settings).admin()
  try {
    await admin.connect()
    return await run(admin)
  } catch (error) {
    throw adminError(error, what)
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
