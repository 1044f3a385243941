import {
  startKafka,
  startRedis,
  type KafkaOptions,
  type KafkaServer,
  type RedisOptions,
  type RedisServer,
} from '../support/services.ts'

/** Where log and online store are: parts of the config of a project, plain JSON. */
export interface Places {
  readonly log: Readonly<Record<string, unknown>>
  readonly online: Readonly<Record<string, unknown>>
}

export interface Servers extends AsyncDisposable {
  readonly kafka: KafkaServer
  readonly redis: RedisServer
  /** Where the harness finds them, and the commands that say at the end whether all is well. */
  readonly direct: Places
  /** Where workers that start now find them: proxies, for instance. Absent: as `direct`. */
  readonly forWorkers?: Places | undefined
}

export interface ServerOptions {
  readonly kafka?: KafkaOptions
  readonly redis?: RedisOptions
  /** What is put between the workers and the servers; who opens it closes it. */
  readonly between?: (kafka: KafkaServer, redis: RedisServer) => Promise<AsyncDisposable & { readonly places: Places }>
}

/** A broker and a Redis, or as many as the options say. */
export async function startServers({ kafka, redis, between }: ServerOptions = {}): Promise<Servers> {
  await using stack = new AsyncDisposableStack()
  const broker = stack.use(await startKafka(kafka))
  const store = stack.use(await startRedis(redis))
  const wire = between === undefined ? null : stack.use(await between(broker, store))
  const owned = stack.move()
  const { sentinels, primaryName, address } = store
  const online =
    sentinels.length > 0
      ? { sentinel: { name: primaryName, addresses: sentinels.map((node) => node.address) } }
      : redis?.cluster === undefined
        ? { address: store.dataNodes[0]?.address }
        : { cluster: address.split(',') }
  return {
    kafka: broker,
    redis: store,
    direct: { log: { brokers: broker.addresses }, online },
    get forWorkers() {
      return wire?.places
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  }
}
