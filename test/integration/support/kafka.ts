/** A real Kafka broker (KRaft, one node) for a test: on free ports of loopback, its data in a folder that goes with it. */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect, createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openKafkaLog } from '../../../connectors/kafka/index.ts'
import { randomBytes } from 'node:crypto'

export interface KafkaBroker extends AsyncDisposable {
  readonly brokers: readonly string[]
  /** Ends it in good order. */
  stop(): Promise<void>
  /** kill -9. */
  kill(): Promise<void>
  /** Starts it again on the same port and data. */
  restart(): Promise<void>
}

export interface StartOptions {
  /** Further lines of server.properties; `PORT` stands for the port. */
  readonly properties?: Readonly<Record<string, string>>
  /** Arguments of the format command, such as SCRAM users. */
  readonly formatArguments?: readonly string[]
  /** Protocol of the listener for clients; default PLAINTEXT. */
  readonly protocol?: 'PLAINTEXT' | 'SSL' | 'SASL_PLAINTEXT' | 'SASL_SSL'
  readonly env?: Readonly<Record<string, string>>
}

export const libs = process.env['TIDEMARK_KAFKA_LIBS'] ?? ''
export const random = { bytes: (length: number) => randomBytes(length) }

/** Why there can be no broker here, or null. */
export const kafkaMissing = missing()
if (kafkaMissing !== null) console.warn(`Kafka tests are skipped: ${kafkaMissing}`)

function missing(): string | null {
  if (libs === '' || !existsSync(libs)) return 'TIDEMARK_KAFKA_LIBS names no folder with the jars of Kafka'
  try {
    execFileSync('java', ['-version'], { stdio: 'ignore' })
    return null
  } catch {
    return 'there is no Java'
  }
}

export async function startKafka(options: StartOptions = {}): Promise<KafkaBroker> {
  const folder = await mkdtemp(join(tmpdir(), 'tidemark-kafka-'))
  const [port, controllerPort] = [await freePort(), await freePort()]
  const config = join(folder, 'server.properties')
  await writeFile(config, properties(folder, port, controllerPort, options))
  await writeFile(join(folder, 'log4j2.xml'), log4j)
  const java = (...args: string[]): string[] => [`-Dlog4j2.configurationFile=${join(folder, 'log4j2.xml')}`, ...args]
  const classPath = ['-cp', `${libs}/*`]
  const format = ['kafka.tools.StorageTool', 'format', '--standalone', '-t', clusterId(), '-c', config]
  execFileSync('java', java(...classPath, ...format, ...(options.formatArguments ?? [])), { stdio: 'pipe' })
  let child: ChildProcess | null = null
  const start = async (): Promise<void> => {
    const small = ['-Xms256m', '-Xmx256m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1']
    const env = { ...process.env, ...options.env }
    child = spawn('java', java(...small, ...classPath, 'kafka.Kafka', config), { stdio: 'ignore', env })
    await ready(port, child)
  }
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    const ending = child
    child = null
    if (ending === null || ending.exitCode !== null) return
    const exited = new Promise((resolve) => ending.once('exit', resolve))
    ending.kill(signal)
    await exited
  }
  const broker: KafkaBroker = {
    brokers: [`127.0.0.1:${port}`],
    stop: () => end('SIGTERM'),
    kill: () => end('SIGKILL'),
    restart: start,
    async [Symbol.asyncDispose]() {
      await end('SIGKILL')
      await rm(folder, { recursive: true, force: true })
    },
  }
  try {
    await start()
    return broker
  } catch (error) {
    await broker[Symbol.asyncDispose]()
    throw error
  }

  async function ready(port: number, child: ChildProcess): Promise<void> {
    const deadline = Date.now() + 50_000
    for (;;) {
      if (child.exitCode !== null || Date.now() > deadline) throw new Error('the broker did not start')
      if (options.protocol === undefined) {
        try {
          await using log = await openKafkaLog({ brokers: [`127.0.0.1:${port}`], random, retryMs: 0 })
          if (log.logId !== '') return
        } catch {
          // not yet
        }
        // Who has secrets asks later, and tries again until the broker knows them.
      } else if (await accepts(port)) return
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
  }
}

/** 16 random bytes, as Kafka writes a UUID. */
const clusterId = (): string => `A${randomBytes(16).toString('base64url').slice(1)}`

async function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

function properties(folder: string, port: number, controllerPort: number, options: StartOptions): string {
  const protocol = options.protocol ?? 'PLAINTEXT'
  return Object.entries({
    'process.roles': 'broker,controller',
    'node.id': '1',
    'controller.quorum.bootstrap.servers': `127.0.0.1:${controllerPort}`,
    listeners: `CLIENT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controllerPort}`,
    'advertised.listeners': `CLIENT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controllerPort}`,
    'controller.listener.names': 'CONTROLLER',
    'inter.broker.listener.name': 'CLIENT',
    'listener.security.protocol.map': `CLIENT:${protocol},CONTROLLER:PLAINTEXT`,
    'log.dirs': join(folder, 'data'),
    'offsets.topic.replication.factor': '1',
    'offsets.topic.num.partitions': '1',
    'transaction.state.log.replication.factor': '1',
    'transaction.state.log.min.isr': '1',
    'transaction.state.log.num.partitions': '1',
    'share.coordinator.state.topic.replication.factor': '1',
    'share.coordinator.state.topic.min.isr': '1',
    'group.initial.rebalance.delay.ms': '0',
    'auto.create.topics.enable': 'false',
    'num.network.threads': '2',
    'num.io.threads': '2',
    'log.cleaner.threads': '1',
    ...options.properties,
  })
    .map(([name, value]) => `${name}=${value}\n`)
    .join('')
}

const log4j = '<Configuration status="off"><Appenders/><Loggers><Root level="off"/></Loggers></Configuration>\n'
