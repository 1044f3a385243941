import { LoggedSchemas } from '../schemas/schema-log.ts'
import { kafkajsOf, KafkaShardGroup, openKafkaLog, settingsOf, type KafkaOptions } from '../connectors/kafka/index.ts'
import { RegistrySchemas } from '../connectors/registry/schemas.ts'
import type { ShardOwnership } from '../core/ports/shard-ownership.ts'
import { FeatureStoreError } from '../core/errors.ts'
import { registryIdOf } from '../schemas/avro/index.ts'
import type { WriterSchemas } from '../schemas/stream-reader.ts'
import { createLogger, systemClock, systemRandom } from './environment.ts'
import type { Project } from './project.ts'
import { readSecret, readTls, type KafkaConfig } from './server-config.ts'
import type { OpenLog } from './stores.ts'

/** How to reach the brokers of the config. Errors: FS_CONFIG_INVALID for a secret or a file that is not there. */
export function kafkaOptions(config: KafkaConfig, folder: string): KafkaOptions {
  const { brokers, topicPrefix, replicationFactor, sasl } = config
  const tls = readTls('log.tls', config.tls, folder)
  return {
    brokers,
    topicPrefix,
    random: systemRandom,
    logger: createLogger('kafka'),
    ...(replicationFactor === undefined ? {} : { replicationFactor }),
    ...(tls === null ? {} : { tls }),
    ...(sasl === undefined
      ? {}
      : { sasl: { ...sasl, password: readSecret('log.sasl.password', sasl.password, folder) } }),
  }
}

/** The log on Kafka, for reading and writing alike. Errors: those of `openKafkaLog`; FS_CONFIG_INVALID. */
export async function openKafka(config: KafkaConfig, project: Project): Promise<OpenLog> {
  const log = await openKafkaLog(kafkaOptions(config, project.folder))
  try {
    const kept = new LoggedSchemas(log)
    await kept.load()
    return {
      log,
      putSchema: (stream, schema) => kept.putSchema(stream, schema, systemClock.nowMs()),
      writerSchemas: writerSchemas(kept, registryOf(config, project.folder)),
      [Symbol.asyncDispose]: () => log[Symbol.asyncDispose](),
    }
  } catch (error) {
    await log[Symbol.asyncDispose]()
    throw error
  }
}

/** The topic whose partitions stand for shards: nothing is ever written to it. */
export const shardStream = '_shards'

/** Shares the shards of the rows of one generation among the workers that join. */
export async function shardGroup(
  config: KafkaConfig,
  { log }: OpenLog,
  { generation, shards }: { readonly generation: string; readonly shards: number },
  folder: string,
): Promise<ShardOwnership> {
  await log.create(shardStream, { partitions: shards })
  const settings = settingsOf(kafkaOptions(config, folder))
  return new KafkaShardGroup({
    kafka: kafkajsOf(settings),
    groupId: `${config.topicPrefix}tidemark-${generation}`,
    topic: `${config.topicPrefix}${shardStream}`,
    shards,
    logger: createLogger('shards'),
  })
}

function registryOf({ registry }: KafkaConfig, folder: string): RegistrySchemas | null {
  if (registry === undefined) return null
  const { url, username, password } = registry
  return new RegistrySchemas({
    url,
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password: readSecret('log.registry.password', password, folder) }),
  })
}

/** Fingerprints are looked up in the log, ids in the registry. */
function writerSchemas(kept: LoggedSchemas, registry: RegistrySchemas | null): WriterSchemas {
  const find = (stream: string, ref: string) => {
    const id = registryIdOf(ref)
    return id === null ? kept.schema(stream, ref) : registry?.schema(id)
  }
  const load = async (_stream: string, refs: readonly string[]): Promise<void> => {
    const ids = refs.map(registryIdOf).filter((id) => id !== null)
    if (ids.length < refs.length) await kept.load()
    if (ids.length === 0) return
    // Without a registry nobody can say what these records are: they wait for the operator, rather than being given up.
    if (registry === null)
      throw new FeatureStoreError(
        'FS_CONFIG_INVALID',
        'log.registry: records name schemas of a registry, and none is set',
      )
    await registry.load(ids)
  }
  return Object.assign(find, { load })
}
