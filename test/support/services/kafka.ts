/** Private Kafka brokers. */
import { appendFileSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { runCommand } from '../../../scripts/services/command.ts'
import { brokerLaunch, checkBroker, findKafka, formatBroker, kafka } from '../../../scripts/services/kafka.ts'
import { randomId, type BrokerConfig, type Protocol, type User } from '../../../scripts/services/kafka-config.ts'
import { checkApiVersions } from '../../../scripts/services/kafka-wire.ts'
import { freePorts } from '../../../scripts/services/ports.ts'
import { Problem } from '../../../scripts/services/problem.ts'
import { settingsOf } from '../../../scripts/services/settings.ts'
import { until } from '../../../scripts/services/wait.ts'
import { FaultProxy } from '../fault-proxy.ts'
import { ServerNode } from './node.ts'
import { serverOf, temporaryFolder, withRetry, type Server } from './server.ts'

export interface KafkaOptions {
  /** Each is broker and controller; default: 1. */
  readonly brokers?: 1 | 3
  /** Clients must speak TLS; `ca` of the result is what they trust. */
  readonly tls?: boolean
  /** Clients must be one of these, by PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512. */
  readonly sasl?: readonly User[]
  /** A fault proxy stands before each broker, and is what the broker calls its address. Only in plain text. */
  readonly proxied?: boolean
  /** Of server.properties, over ours. */
  readonly properties?: Readonly<Record<string, string | number>>
  /** Default: 256 MiB and a quick start. */
  readonly heapMb?: number
}

export interface KafkaServer extends Server {
  /** One per broker, in the order of `nodes`; node ids count from 1. With proxies: past them. */
  readonly addresses: readonly string[]
  /** One per broker, where they were asked for: clients that begin at one of them stay with them. */
  readonly proxies: readonly FaultProxy[]
  /** Certificate in PEM that signed the brokers', or null without TLS. For `localhost` and 127.0.0.1. */
  readonly ca: string | null
}

export async function startKafka(options: KafkaOptions = {}): Promise<KafkaServer> {
  const files = await findKafka(settingsOf().folder)
  if (files instanceof Problem) throw files
  return await withRetry(async () => {
    const folder = temporaryFolder('kafka')
    const key = options.tls === true ? await selfSigned(folder) : null
    const proxies = await proxiesOf(options)
    const configs = await configsOf(options, folder, key?.file ?? null, proxies)
    for (const [index, proxy] of proxies.entries()) proxy.target = configs[index]?.port ?? 0
    const folderOf = ({ nodeId }: BrokerConfig): string => join(folder, String(nodeId))
    const nodes = configs.map((config) => {
      const { nodeId, port, internalPort, protocol } = config
      return new ServerNode({
        title: `Kafka broker ${nodeId}`,
        port,
        folder,
        logFile: join(folderOf(config), 'server.log'),
        launch: () => brokerLaunch(files, options.heapMb ?? null, folderOf(config)),
        async check() {
          await checkApiVersions({ port, tls: protocol.endsWith('SSL') })
          await checkBroker(internalPort ?? port)
        },
        readyMs: kafka.readyMs,
        stopMs: kafka.stopMs,
      })
    })
    const format = async (): Promise<void> => {
      const clusterId = randomId()
      await Promise.all(configs.map((config) => formatBroker(files, config, clusterId, folderOf(config))))
    }
    const start = async (): Promise<void> => {
      await Promise.all(nodes.map((node) => node.start()))
      const all = configs.map(({ port, internalPort }) => internalPort ?? port)
      await Promise.all(all.map((port) => checkAll(port, configs.length)))
    }
    const wipe = async (): Promise<void> => {
      for (const { dataFolder } of configs) rmSync(dataFolder, { recursive: true, force: true })
      await format()
    }
    const isProxied = proxies.length > 0
    const addresses = configs.map(({ port, internalPort }) => `127.0.0.1:${isProxied ? internalPort : port}`)
    const server = serverOf({ folder, address: addresses.join(','), nodes, start, wipe })
    const close = async (): Promise<void> => {
      for (const proxy of proxies) await proxy[Symbol.asyncDispose]()
      await server[Symbol.asyncDispose]()
    }
    const first = async (): Promise<void> => {
      await format()
      await start()
    }
    const ca = key?.certificate ?? null
    return { server: { ...server, addresses, proxies, ca, [Symbol.asyncDispose]: close }, start: first }
  })
}

/** One for each broker; brokers are told of them before they have ports. */
async function proxiesOf({ brokers = 1, proxied = false, tls, sasl }: KafkaOptions): Promise<readonly FaultProxy[]> {
  if (!proxied) return []
  if (tls === true || sasl !== undefined) throw new Error('a proxy before a broker understands plain text only')
  return await Promise.all(Array.from({ length: brokers }, () => FaultProxy.start(0, 'kafka')))
}

async function configsOf(
  { brokers = 1, tls, sasl, properties }: KafkaOptions,
  folder: string,
  keyFile: string | null,
  proxies: readonly FaultProxy[],
) {
  const protocol: Protocol = sasl === undefined ? (tls ? 'SSL' : 'PLAINTEXT') : tls ? 'SASL_SSL' : 'SASL_PLAINTEXT'
  const ports = await freePorts(brokers * 3)
  const port = (index: number): number => ports[index] as number
  const ids = Array.from({ length: brokers }, (_, index) => index)
  const controllers = ids.map((id) => ({ nodeId: id + 1, port: port(3 * id), directoryId: randomId() }))
  return ids.map((id): BrokerConfig => ({
    nodeId: id + 1,
    port: port(3 * id + 1),
    internalPort: protocol === 'PLAINTEXT' && proxies.length === 0 ? null : port(3 * id + 2),
    controllers,
    dataFolder: join(folder, String(id + 1), 'data'),
    protocol,
    ...(keyFile !== null && { keyFile }),
    ...(sasl !== undefined && { users: sasl }),
    ...(proxies[id] !== undefined && { advertisedPort: proxies[id].port }),
    ...(properties !== undefined && { properties }),
  }))
}

/** Each broker must have heard of all others: a topic created before would lack replicas. */
const checkAll = (port: number, brokers: number): Promise<void> =>
  until('all brokers know each other', () => checkBroker(port, brokers), { deadlineMs: kafka.readyMs })

export interface SelfSigned {
  /** PEM: private key and certificate. */
  readonly file: string
  readonly certificate: string
}

/** A key whose certificate trusts itself, for two days. */
export async function selfSigned(folder: string): Promise<SelfSigned> {
  const file = join(folder, 'key.pem')
  const { code, output } = await runCommand('openssl', [
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'],
    ...['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'],
    ...['-keyout', file, '-out', `${file}.cert`],
  ])
  if (code !== 0) throw new Problem(`openssl makes no certificate: ${output}`, 'install openssl 1.1.1 or newer')
  const certificate = readFileSync(`${file}.cert`, 'utf8')
  appendFileSync(file, certificate)
  return { file, certificate }
}
