/** What a broker is told: server.properties, the arguments of `format`, the flags of the JVM. Pure. */
import { randomBytes } from 'node:crypto'

export type Protocol = 'PLAINTEXT' | 'SSL' | 'SASL_PLAINTEXT' | 'SASL_SSL'

export interface User {
  readonly name: string
  readonly password: string
}

export interface Controller {
  readonly nodeId: number
  readonly port: number
  /** Kafka's id of the data folder; only needed where there are several controllers. */
  readonly directoryId: string
}

export interface BrokerConfig {
  readonly nodeId: number
  readonly port: number
  /** Where brokers talk to each other in plain text, when clients do not or are sent elsewhere. */
  readonly internalPort: number | null
  /** What clients are told to connect to in place of `port`; needs an internal port. */
  readonly advertisedPort?: number
  /** All of them, this one's included. Every broker is a controller too. */
  readonly controllers: readonly Controller[]
  readonly dataFolder: string
  readonly protocol: Protocol
  /** PEM file with private key and certificate, for SSL. */
  readonly keyFile?: string
  readonly users?: readonly User[]
  readonly properties?: Readonly<Record<string, string | number>>
}

/** Kafka's own notation of a random UUID; one that begins with `-` would be read as an option. */
export function randomId(): string {
  for (;;) {
    const id = randomBytes(16).toString('base64url')
    if (!id.startsWith('-')) return id
  }
}

export function propertiesOf(config: BrokerConfig): Readonly<Record<string, string | number>> {
  const { nodeId, port, internalPort, controllers, dataFolder, protocol } = config
  const own = controllers.find((controller) => controller.nodeId === nodeId)
  const brokers = controllers.length
  const replicas = Math.min(3, brokers)
  const inSync = Math.max(1, replicas - 1)
  const host = '127.0.0.1'
  const listenersAt = (clientPort: number): string =>
    [
      `CLIENT://${host}:${clientPort}`,
      ...(internalPort === null ? [] : [`INTERNAL://${host}:${internalPort}`]),
      `CONTROLLER://${host}:${own?.port}`,
    ].join(',')
  return {
    'process.roles': 'broker,controller',
    'node.id': nodeId,
    'controller.quorum.bootstrap.servers': controllers.map((controller) => `${host}:${controller.port}`).join(','),
    listeners: listenersAt(port),
    'advertised.listeners': listenersAt(config.advertisedPort ?? port),
    'controller.listener.names': 'CONTROLLER',
    'inter.broker.listener.name': internalPort === null ? 'CLIENT' : 'INTERNAL',
    'listener.security.protocol.map': `CLIENT:${protocol},INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT`,
    'log.dirs': dataFolder,
    'default.replication.factor': replicas,
    'min.insync.replicas': inSync,
    'offsets.topic.replication.factor': replicas,
    'offsets.topic.num.partitions': 1,
    'transaction.state.log.replication.factor': replicas,
    'transaction.state.log.min.isr': inSync,
    'transaction.state.log.num.partitions': 1,
    'share.coordinator.state.topic.replication.factor': replicas,
    'share.coordinator.state.topic.min.isr': inSync,
    'group.initial.rebalance.delay.ms': 0,
    'auto.create.topics.enable': 'false',
    'num.network.threads': 2,
    'num.io.threads': 2,
    'log.cleaner.threads': 1,
    ...securityOf(config),
    ...config.properties,
  }
}

function securityOf({ protocol, keyFile, users = [] }: BrokerConfig): Readonly<Record<string, string>> {
  const login = 'org.apache.kafka.common.security'
  const plainUsers = users.map(({ name, password }) => `user_${plainWord(name)}="${plainWord(password)}"`)
  return {
    ...(protocol.endsWith('SSL') &&
      keyFile !== undefined && { 'ssl.keystore.type': 'PEM', 'ssl.keystore.location': keyFile }),
    ...(protocol.startsWith('SASL') && {
      'sasl.enabled.mechanisms': 'PLAIN,SCRAM-SHA-256,SCRAM-SHA-512',
      'listener.name.client.plain.sasl.jaas.config': `${login}.plain.PlainLoginModule required ${plainUsers.join(' ')};`,
      'listener.name.client.scram-sha-256.sasl.jaas.config': `${login}.scram.ScramLoginModule required;`,
      'listener.name.client.scram-sha-512.sasl.jaas.config': `${login}.scram.ScramLoginModule required;`,
    }),
  }
}

/** Names and passwords go through three notations (JAAS, properties, kafka-storage): only what all read alike. */
function plainWord(text: string): string {
  if (!/^[\w.-]+$/.test(text)) throw new Error(`${JSON.stringify(text)}: only letters, digits, and . _ - can be used`)
  return text
}

export const propertiesText = (properties: Readonly<Record<string, string | number>>): string =>
  Object.entries(properties)
    // Leading blanks would be dropped, and a backslash begins an escape.
    .map(([name, value]) => `${name}=${String(value).replaceAll('\\', '\\\\').replace(/^ /, '\\ ')}\n`)
    .join('')

export function formatArguments(config: BrokerConfig, clusterId: string, propertiesFile: string): string[] {
  const { controllers, users = [] } = config
  const quorum =
    controllers.length === 1
      ? ['--standalone']
      : [
          '--initial-controllers',
          controllers.map(({ nodeId, port, directoryId }) => `${nodeId}@127.0.0.1:${port}:${directoryId}`).join(','),
        ]
  const scram = users.flatMap(({ name, password }) =>
    ['SCRAM-SHA-256', 'SCRAM-SHA-512'].flatMap((mechanism) => [
      '--add-scram',
      `${mechanism}=[name=${plainWord(name)},password=${plainWord(password)}]`,
    ]),
  )
  return ['kafka.tools.StorageTool', 'format', ...quorum, ...scram, '-t', clusterId, '-c', propertiesFile]
}

/**
 * Null: a small heap and flags for a quick start (the first compiler only, the plainest collector). A number: MiB, and the
 * JVM's own choices, for throughput.
 */
export const jvmFlags = (heapMb: number | null): string[] =>
  heapMb === null
    ? ['-Xms256m', '-Xmx256m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1']
    : [`-Xms${heapMb}m`, `-Xmx${heapMb}m`]

export const log4j = `<Configuration status="WARN">
  <Appenders>
    <Console name="out"><PatternLayout pattern="%d{ISO8601} %p %c{1}: %m%n"/></Console>
  </Appenders>
  <Loggers>
    <Root level="WARN"><AppenderRef ref="out"/></Root>
  </Loggers>
</Configuration>
`
