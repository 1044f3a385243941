/** Apache Kafka from Maven Central: one broker in KRaft mode, no scripts and no Docker around it. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { lastLines, runCommand } from './command.ts'
import type { Say } from './debian.ts'
import { findJava, findOrInstallJava, type Java } from './java.ts'
import {
  formatArguments,
  jvmFlags,
  log4j,
  propertiesOf,
  propertiesText,
  randomId,
  type BrokerConfig,
} from './kafka-config.ts'
import { brokerCount, checkApiVersions } from './kafka-wire.ts'
import { downloadJars } from './maven.ts'
import { freePorts } from './ports.ts'
import { Problem } from './problem.ts'
import { isAlive, startDetached, stopProcess } from './process.ts'
import type { Launch, Service } from './service.ts'
import { versions, type Settings } from './settings.ts'
import { until } from './wait.ts'

export interface KafkaFiles {
  readonly java: Java
  /** The folder with libs/ and log4j2.xml. */
  readonly home: string
}

const readyMs = 60_000
const stopMs = 20_000

const homeIn = (folder: string): string => join(folder, `kafka-${versions.kafka}`)

export async function findKafka(folder: string): Promise<KafkaFiles | Problem> {
  const home = homeIn(folder)
  if (!existsSync(home))
    return new Problem(`Kafka ${versions.kafka} is not in ${folder}`, 'run: npm run services -- install kafka')
  const java = await findJava(folder)
  return java instanceof Problem ? java : { java, home }
}

async function install(folder: string, say: Say): Promise<void> {
  const java = await findOrInstallJava(folder, say)
  const home = homeIn(folder)
  if (!existsSync(home)) {
    say(`downloading Kafka ${versions.kafka} (52 MB)`)
    // Under another name until it is whole: a folder of the right name is complete.
    const work = `${home}.${process.pid}.part`
    const { kafka, log4j: logging } = versions
    const artifacts = [
      { group: 'org.apache.kafka', name: 'kafka_2.13', version: kafka },
      { group: 'org.apache.logging.log4j', name: 'log4j-core', version: logging },
      { group: 'org.apache.logging.log4j', name: 'log4j-slf4j-impl', version: logging },
    ]
    try {
      await downloadJars(folder, work, artifacts, java, say)
      writeFileSync(join(work, 'log4j2.xml'), log4j)
      renameSync(work, home)
    } finally {
      rmSync(work, { recursive: true, force: true })
    }
  }
  if (!existsSync(archiveOf({ java, home }))) await dumpArchive({ java, home }, say)
}

/** Class data of the broker as the JVM maps it (AppCDS): a start takes half the time. Good for one version of Java. */
const archiveOf = ({ java, home }: KafkaFiles): string =>
  join(home, `classes-${java.version.replaceAll(/[^\w.]/g, '_')}.jsa`)

/** Starts a broker on nothing, and stops it: the JVM writes the archive at its end. Also tells whether brokers run here. */
async function dumpArchive(files: KafkaFiles, say: Say): Promise<void> {
  say('first start, which writes the class archive')
  const folder = mkdtempSync(join(tmpdir(), 'tidemark-kafka-'))
  const archive = archiveOf(files)
  const part = `${archive}.${process.pid}.part`
  try {
    const [port = 0, controllerPort = 0] = await freePorts(2)
    const config = standalone(port, controllerPort, join(folder, 'data'))
    await formatBroker(files, config, randomId(), folder)
    const { command, args, env, cwd } = brokerLaunch(files, null, folder, [`-XX:ArchiveClassesAtExit=${part}`])
    const logFile = join(folder, 'server.log')
    const started = await startDetached(command, args, { env, cwd, logFile })
    try {
      const stillWorth = (): void => {
        if (isAlive(started)) return
        throw new Problem(`the broker ended:\n${lastLines(readFileSync(logFile, 'utf8'), 8)}`, 'see the lines above')
      }
      await until('the first broker', () => checkBroker(port), { deadlineMs: readyMs, stillWorth })
    } finally {
      // Writing the archive takes seconds, after the broker has stopped.
      await stopProcess(started, 60_000)
    }
    // Without an archive everything works, only slower.
    if (existsSync(part)) renameSync(part, archive)
  } finally {
    rmSync(part, { force: true })
    rmSync(folder, { recursive: true, force: true })
  }
}

export const standalone = (port: number, controllerPort: number, dataFolder: string): BrokerConfig => ({
  nodeId: 1,
  port,
  internalPort: null,
  controllers: [{ nodeId: 1, port: controllerPort, directoryId: '' }],
  dataFolder,
  protocol: 'PLAINTEXT',
})

const propertiesFileIn = (folder: string): string => join(folder, 'server.properties')

export const writeProperties = (config: BrokerConfig, folder: string): void => {
  mkdirSync(folder, { recursive: true })
  writeFileSync(propertiesFileIn(folder), propertiesText(propertiesOf(config)), { mode: 0o600 })
}

/** Writes server.properties into the folder and an empty log into the data folder. */
export async function formatBroker(files: KafkaFiles, config: BrokerConfig, clusterId: string, folder: string) {
  writeProperties(config, folder)
  const args = [...javaArguments(files, null), ...formatArguments(config, clusterId, propertiesFileIn(folder))]
  const { code, output } = await runCommand(files.java.program, args, { cwd: folder, env: files.java.env })
  if (code !== 0)
    throw new Problem(`Kafka cannot format ${config.dataFolder}:\n${lastLines(output, 5)}`, 'see the lines above')
}

export const isFormatted = (dataFolder: string): boolean => existsSync(join(dataFolder, 'meta.properties'))

/** A broker on the server.properties of the folder. */
export const brokerLaunch = (
  files: KafkaFiles,
  heapMb: number | null,
  folder: string,
  flags: readonly string[] = [],
): Launch => ({
  command: files.java.program,
  args: [...flags, ...javaArguments(files, heapMb), 'kafka.Kafka', propertiesFileIn(folder)],
  env: files.java.env,
  cwd: folder,
})

const javaArguments = (files: KafkaFiles, heapMb: number | null): string[] => [
  ...jvmFlags(heapMb),
  ...(existsSync(archiveOf(files)) ? [`-XX:SharedArchiveFile=${archiveOf(files)}`] : []),
  `-Dlog4j2.configurationFile=${join(files.home, 'log4j2.xml')}`,
  '-cp',
  // The JVM expands it, in the order of the folder: the same for each start, as the archive requires.
  join(files.home, 'libs', '*'),
]

/** Answers, and is a member of its cluster: it takes requests of clients. For plain-text listeners. */
export async function checkBroker(port: number, brokers = 1): Promise<void> {
  await checkApiVersions({ port })
  const count = await brokerCount({ port })
  if (count < brokers) throw new Error(`${count} of ${brokers} brokers are there`)
}

export const kafka: Service = {
  name: 'kafka',
  readyMs,
  stopMs,
  async find(folder) {
    const files = await findKafka(folder)
    return files instanceof Problem ? files : versions.kafka
  },
  install,
  ports: ({ ports }) => [ports.kafka, ports.kafkaController],
  address: (port) => `127.0.0.1:${port}`,
  async prepare({ folder, ports, heapMb }: Settings, dataFolder) {
    const files = await findKafka(folder)
    if (files instanceof Problem) throw files
    const config = standalone(ports.kafka, ports.kafkaController, join(dataFolder, 'data'))
    if (isFormatted(config.dataFolder)) writeProperties(config, dataFolder)
    else await formatBroker(files, config, randomId(), dataFolder)
    return brokerLaunch(files, heapMb, dataFolder)
  },
  check: (port) => checkBroker(port),
}
