/** Where the servers live, which ports they take and which versions they have. */
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { Problem } from './problem.ts'

export const serviceNames = ['kafka', 'redis', 'registry'] as const
export type ServiceName = (typeof serviceNames)[number]

/** Pinned: what Maven Central resolves whole, on Java 17. Redis is the machine's or Debian's. */
export const versions = { kafka: '4.3.1', log4j: '2.25.1', registry: '3.0.9' } as const
export const javaMin = 17

/** Each port by the variable that overrides it. All of them listen on 127.0.0.1 only. */
export const portVariables = {
  kafka: ['TIDEMARK_KAFKA_PORT', 19092],
  kafkaController: ['TIDEMARK_KAFKA_CONTROLLER_PORT', 19093],
  redis: ['TIDEMARK_REDIS_PORT', 16379],
  registry: ['TIDEMARK_REGISTRY_PORT', 28081],
} as const satisfies Readonly<Record<string, readonly [variable: string, port: number]>>
export type PortName = keyof typeof portVariables

export interface Settings {
  readonly folder: string
  readonly ports: Readonly<Record<PortName, number>>
  /** Of the Kafka broker. Null: 256 MiB and flags for a quick start; a number: flags for throughput. */
  readonly heapMb: number | null
}

type Environment = Readonly<Record<string, string | undefined>>

export function settingsOf(environment: Environment = process.env, heapMb: number | null = null): Settings {
  const { kafka, kafkaController, redis, registry } = portVariables
  const ports = {
    kafka: portOf(environment, ...kafka),
    kafkaController: portOf(environment, ...kafkaController),
    redis: portOf(environment, ...redis),
    registry: portOf(environment, ...registry),
  }
  if (new Set(Object.values(ports)).size < Object.keys(ports).length) {
    const given = Object.entries(ports).map(([name, port]) => `${name} ${port}`)
    throw new Problem(`two servers have the same port: ${given.join(', ')}`, 'give each a port of its own')
  }
  return { folder: folderOf(environment), ports, heapMb }
}

function folderOf(environment: Environment): string {
  // As the XDG specification says, a relative path there counts as none.
  const xdg = environment['XDG_CACHE_HOME']
  const cache = xdg !== undefined && xdg.startsWith('/') ? xdg : join(environment['HOME'] ?? homedir(), '.cache')
  return resolve(environment['TIDEMARK_SERVICES'] || join(cache, 'tidemark', 'services'))
}

function portOf(environment: Environment, variable: string, port: number): number {
  const given = environment[variable]
  if (given === undefined || given === '') return port
  const value = Number(given)
  if (!/^\d+$/.test(given) || value < 1 || value > 65_535)
    throw new Problem(`${variable} is ${JSON.stringify(given)}, no port`, 'give a number from 1 to 65535')
  return value
}

/** `256m`, `2g`: MiB. */
export function heapOf(text: string): number {
  const match = /^(\d+)([mg])$/i.exec(text)
  const mb = match === null ? Number.NaN : Number(match[1]) * (match[2]?.toLowerCase() === 'g' ? 1024 : 1)
  // Measured: with 96 MiB the broker dies while it starts.
  if (!(mb >= 128 && mb <= 65_536))
    throw new Problem(`--heap ${text} is no heap size`, 'give MiB or GiB from 128m to 64g, such as 1g')
  return mb
}
