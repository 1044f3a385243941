import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Cluster, Redis } from 'ioredis'
import { Kafka, logLevel, type KafkaConfig, type SASLOptions } from 'kafkajs'
import { describe, expect, it } from 'vitest'
import { runCommand } from '../../scripts/services/command.ts'
import { freePorts } from '../../scripts/services/ports.ts'
import { identityOf } from '../../scripts/services/process.ts'
import { redisCommand } from '../../scripts/services/resp.ts'
import { settingsOf, versions } from '../../scripts/services/settings.ts'
import {
  requireService,
  serverOfFile,
  startKafka,
  startRedis,
  startRegistry,
  type KafkaServer,
  type ServerNode,
} from '../support/services.ts'
import { makeTopic } from '../support/services/topics.ts'

const limit = 120_000

const client = (server: KafkaServer, config: Partial<KafkaConfig> = {}): Kafka =>
  new Kafka({ brokers: [...server.addresses], logLevel: logLevel.NOTHING, connectionTimeout: 5_000, ...config })

const users = [{ name: 'alice', password: 'secret-1' }]
const login = (mechanism: 'plain' | 'scram-sha-256' | 'scram-sha-512', password = 'secret-1'): SASLOptions => ({
  mechanism,
  username: 'alice',
  password,
})

/** Creates the topic if need be; `null`: it is there, and whoever makes topics may be away. */
async function produce(
  kafka: Kafka,
  topic: string,
  values: readonly string[],
  replicationFactor: number | null = 1,
): Promise<void> {
  const admin = kafka.admin()
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 })
  try {
    if (replicationFactor !== null) {
      await admin.connect()
      await makeTopic(admin, { topic, numPartitions: 1, replicationFactor })
    }
    await producer.connect()
    await producer.send({ topic, acks: -1, messages: values.map((value) => ({ value })) })
  } finally {
    await producer.disconnect()
    await admin.disconnect()
  }
}

/** The first `count` values from the beginning of the topic. */
async function consume(kafka: Kafka, topic: string, count: number): Promise<string[]> {
  const consumer = kafka.consumer({ groupId: `readers-of-${topic}-${Math.random()}` })
  const values: string[] = []
  try {
    await consumer.connect()
    await consumer.subscribe({ topics: [topic], fromBeginning: true })
    await new Promise<void>((resolve, reject) => {
      const eachMessage = async ({ message }: { message: { value: Buffer | null } }): Promise<void> => {
        values.push(String(message.value))
        if (values.length >= count) resolve()
      }
      // It tries again by itself while the broker is still making the topic of the groups.
      consumer.on('consumer.crash', ({ payload }) => (payload.restart ? null : reject(payload.error)))
      consumer.run({ eachMessage }).catch(reject)
    })
  } finally {
    await consumer.disconnect()
  }
  return values
}

async function topicsOf(kafka: Kafka): Promise<string[]> {
  const admin = kafka.admin()
  try {
    await admin.connect()
    return (await admin.listTopics()).filter((topic) => !topic.startsWith('__'))
  } finally {
    await admin.disconnect()
  }
}

describe('the command', async () => {
  await requireService('kafka', 'redis')

  it(
    'starts servers, finds them again, keeps what they store, and ends them',
    async () => {
      const folder = mkdtempSync(join(tmpdir(), 'tidemark-services-'))
      const name = `kafka-${versions.kafka}`
      for (const shared of [name, 'debian']) symlinkSync(join(settingsOf().folder, shared), join(folder, shared))
      const [kafka = '', controller = '', redis = '', registry = ''] = (await freePorts(4)).map(String)
      const env = {
        TIDEMARK_SERVICES: folder,
        TIDEMARK_KAFKA_PORT: kafka,
        TIDEMARK_KAFKA_CONTROLLER_PORT: controller,
        TIDEMARK_REDIS_PORT: redis,
        TIDEMARK_REGISTRY_PORT: registry,
      }
      const main = join(import.meta.dirname, '../../scripts/services/main.ts')
      const run = async (command: string, ...names: string[]): Promise<unknown> => {
        const args = ['--no-warnings', main, command, 'kafka', 'redis', '--json', ...names]
        const { code, output } = await runCommand(process.execPath, args, { env, timeoutMs: limit })
        return { code, ...(JSON.parse(output.trim().split('\n').at(-1) ?? '') as object) }
      }
      const up = (started: boolean) => ({
        code: 0,
        kafka: { state: 'up', started, address: `127.0.0.1:${kafka}` },
        redis: { state: 'up', started, address: `127.0.0.1:${redis}` },
      })
      try {
        expect(await run('status')).toMatchObject({ code: 1, kafka: { state: 'down' }, redis: { state: 'down' } })
        expect(await run('up')).toMatchObject(up(true))
        const broker = new Kafka({ brokers: [`127.0.0.1:${kafka}`], logLevel: logLevel.NOTHING })
        await produce(broker, 'kept', ['a'])
        await redisCommand(Number(redis), ['SET', 'a', '1'])
        expect(await run('up')).toMatchObject(up(false))
        expect(await run('status')).toMatchObject({ code: 0, kafka: { state: 'up' }, redis: { state: 'up' } })
        expect(await run('down')).toMatchObject({ code: 0, kafka: { outcome: 'ended' }, redis: { outcome: 'ended' } })
        await expect(redisCommand(Number(redis), ['PING'])).rejects.toMatchObject({ code: 'ECONNREFUSED' })
        expect(await run('up')).toMatchObject(up(true))
        expect(await consume(broker, 'kept', 1)).toEqual(['a'])
        expect(await redisCommand(Number(redis), ['GET', 'a'])).toBe('1')
      } finally {
        await run('down')
        rmSync(folder, { recursive: true, force: true })
      }
    },
    limit,
  )
})

describe('a private Kafka broker', async () => {
  const kafka = await serverOfFile('kafka', () => startKafka({ properties: { 'message.max.bytes': 123_456 } }))

  it(
    'takes records and gives them back, also after kill -9 and a new start on the same port',
    async () => {
      await produce(client(kafka()), 'kept', ['a', 'b', 'c'])
      expect(await consume(client(kafka()), 'kept', 3)).toEqual(['a', 'b', 'c'])
      const { pid } = kafka().nodes[0] ?? {}
      await kafka().kill()
      expect(kafka().nodes[0]?.isRunning).toBe(false)
      await kafka().restart()
      expect(kafka().nodes[0]?.pid).not.toBe(pid)
      expect(await consume(client(kafka()), 'kept', 3)).toEqual(['a', 'b', 'c'])
    },
    limit,
  )

  it(
    'obeys the properties that were given',
    async () => {
      const tooLarge = produce(client(kafka()), 'large', ['x'.repeat(200_000)])
      await expect(tooLarge).rejects.toMatchObject({ type: 'MESSAGE_TOO_LARGE' })
    },
    limit,
  )

  it(
    'answers nothing while it is paused, and goes on afterwards',
    async () => {
      await produce(client(kafka()), 'paused', ['a'])
      kafka().pause()
      const impatient = client(kafka(), { requestTimeout: 500, connectionTimeout: 500, retry: { retries: 0 } })
      await expect(topicsOf(impatient)).rejects.toThrow()
      kafka().resume()
      expect(await topicsOf(client(kafka()))).toContain('paused')
    },
    limit,
  )

  it(
    'restarted without its data has no topic',
    async () => {
      await produce(client(kafka()), 'lost', ['a'])
      await kafka().restart({ keepData: false })
      expect(await topicsOf(client(kafka()))).toEqual([])
    },
    limit,
  )
})

describe('a private Kafka broker that asks who comes', async () => {
  const kafka = await serverOfFile('kafka', () => startKafka({ tls: true, sasl: users }))
  const tls = () => ({ ca: [kafka().ca ?? ''], servername: 'localhost' })

  it.each(['plain', 'scram-sha-256', 'scram-sha-512'] as const)(
    'lets a user in by %s over TLS, and nobody with another password',
    async (mechanism) => {
      const good = client(kafka(), { ssl: tls(), sasl: login(mechanism) })
      await produce(good, mechanism, ['a'])
      expect(await consume(good, mechanism, 1)).toEqual(['a'])
      const bad = client(kafka(), { ssl: tls(), sasl: login(mechanism, 'wrong'), retry: { retries: 0 } })
      await expect(topicsOf(bad)).rejects.toThrow(/authentication|Authentication/)
    },
    limit,
  )

  it(
    'shows a certificate that only its own authority vouches for',
    async () => {
      const stranger = client(kafka(), { ssl: true, sasl: login('plain'), retry: { retries: 0 } })
      await expect(topicsOf(stranger)).rejects.toThrow(/self-signed/)
    },
    limit,
  )
})

describe('three private Kafka brokers', async () => {
  const kafka = await serverOfFile('kafka', () =>
    startKafka({ brokers: 3, properties: { 'broker.session.timeout.ms': 3_000, 'broker.heartbeat.interval.ms': 500 } }),
  )

  it(
    'keep what was acknowledged when one of them is killed, and take more',
    async () => {
      await produce(client(kafka()), 'replicated', ['a', 'b'], 3)
      const admin = client(kafka()).admin()
      await admin.connect()
      const { topics } = await admin.fetchTopicMetadata({ topics: ['replicated'] })
      await admin.disconnect()
      const leader = topics[0]?.partitions[0]?.leader ?? 0
      expect(topics[0]?.partitions[0]?.replicas.length).toBe(3)
      await kafka().nodes[leader - 1]?.kill()
      const patient = client(kafka(), { retry: { retries: 60, initialRetryTime: 200, maxRetryTime: 500 } })
      await produce(patient, 'replicated', ['c'], null)
      expect(await consume(patient, 'replicated', 3)).toEqual(['a', 'b', 'c'])
      await kafka().nodes[leader - 1]?.start()
      expect(kafka().nodes.every((node) => node.isRunning)).toBe(true)
    },
    limit,
  )
})

const connect = (port: number): Redis => new Redis({ port, host: '127.0.0.1', lazyConnect: true })

describe('private Redis servers', async () => {
  await requireService('redis')

  it(
    'one alone never evicts, forgets with a kill, and keeps with an append-only file',
    async () => {
      for (const appendonly of ['no', 'yes']) {
        await using redis = await startRedis({ args: ['--appendonly', appendonly, '--appendfsync', 'always'] })
        const [node] = redis.dataNodes
        const port = node?.port ?? 0
        expect(await redisCommand(port, ['PING'])).toBe('PONG')
        expect(await redisCommand(port, ['CONFIG', 'GET', 'maxmemory-policy'])).toEqual([
          'maxmemory-policy',
          'noeviction',
        ])
        await redisCommand(port, ['SET', 'a', '1'])
        await redis.kill()
        await expect(redisCommand(port, ['PING'])).rejects.toMatchObject({ code: 'ECONNREFUSED' })
        await redis.restart()
        expect(await redisCommand(port, ['GET', 'a'])).toBe(appendonly === 'yes' ? '1' : null)
        await redisCommand(port, ['SET', 'a', '2'])
        await redis.restart({ keepData: false })
        expect(await redisCommand(port, ['GET', 'a'])).toBe(null)
      }
    },
    limit,
  )

  it(
    'a paused one keeps its connections and answers nothing',
    async () => {
      await using redis = await startRedis()
      const port = redis.dataNodes[0]?.port ?? 0
      redis.pause()
      await expect(redisCommand(port, ['PING'], 300)).rejects.toThrow('no answer in 300 ms')
      redis.resume()
      expect(await redisCommand(port, ['PING'])).toBe('PONG')
    },
    limit,
  )

  it(
    'a replica has what its primary acknowledged to WAIT, and is read-only',
    async () => {
      await using redis = await startRedis({ replicas: 1 })
      const [primary = 0, replica = 0] = redis.dataNodes.map((node) => node.port)
      const writer = connect(primary)
      await writer.set('a', '1')
      expect(await writer.wait(1, 5_000)).toBe(1)
      writer.disconnect()
      expect(await redisCommand(replica, ['GET', 'a'])).toBe('1')
      await expect(redisCommand(replica, ['SET', 'a', '2'])).rejects.toThrow(/^READONLY/)
    },
    limit,
  )

  it(
    'sentinels replace a killed primary by its replica, and clients follow',
    async () => {
      await using redis = await startRedis({ replicas: 1, sentinel: true })
      const [primary, replica] = redis.dataNodes
      const sentinels = redis.sentinels.map(({ port }) => ({ port, host: '127.0.0.1' }))
      const user = new Redis({
        sentinels,
        name: redis.primaryName,
        sentinelRetryStrategy: () => 100,
        maxRetriesPerRequest: null,
      })
      user.on('error', () => {})
      await user.set('a', '1')
      expect(await user.wait(1, 5_000)).toBe(1)
      await primary?.kill()
      await user.set('b', '2')
      expect(await user.mget('a', 'b')).toEqual(['1', '2'])
      expect(await roleOf(replica)).toBe('master')
      user.disconnect()
      await primary?.start()
    },
    limit,
  )

  it(
    'a cluster of three shares the slots, redirects, and survives a restart',
    async () => {
      await using redis = await startRedis({ cluster: 3, args: ['--appendonly', 'yes'] })
      const ports = redis.dataNodes.map((node) => node.port)
      expect(ports.length).toBe(3)
      const keys = Array.from({ length: 60 }, (_, index) => `key-${index}`)
      const open = () => new Cluster([{ port: ports[0] ?? 0, host: '127.0.0.1' }])
      const before = open()
      await Promise.all(keys.map((key) => before.set(key, key)))
      before.disconnect()
      const sizes = await Promise.all(ports.map((port) => redisCommand(port, ['DBSIZE'])))
      expect(sizes.reduce<number>((sum, size) => sum + Number(size), 0)).toBe(60)
      for (const size of sizes) expect(size).toBeGreaterThan(0)
      await redis.restart()
      const after = open()
      expect(await Promise.all(keys.map((key) => after.get(key)))).toEqual(keys)
      after.disconnect()
    },
    limit,
  )

  it(
    'a replica takes the slots of a killed primary of its cluster',
    async () => {
      await using redis = await startRedis({ cluster: 3, replicas: 1 })
      const user = new Cluster([{ port: redis.dataNodes[1]?.port ?? 0, host: '127.0.0.1' }], {
        clusterRetryStrategy: () => 100,
        retryDelayOnClusterDown: 100,
        retryDelayOnFailover: 100,
        maxRedirections: 600,
        redisOptions: { maxRetriesPerRequest: null },
      })
      user.on('error', () => {})
      const keys = Array.from({ length: 30 }, (_, index) => `key-${index}`)
      await Promise.all(keys.map((key) => user.set(key, key)))
      for (const { port } of redis.dataNodes.slice(0, 3)) expect(await waitFor(port)).toBe(1)
      await redis.dataNodes[0]?.kill()
      expect(await Promise.all(keys.map((key) => user.get(key)))).toEqual(keys)
      expect(await roleOf(redis.dataNodes[3])).toBe('master')
      user.disconnect()
    },
    limit,
  )

  it(
    'ends with the test process, also when that is killed, and when it was paused before',
    async () => {
      const script = `const { startRedis } = await import(process.argv[1])
const redis = await startRedis()
redis.pause()
console.log(JSON.stringify([redis.nodes[0].pid, redis.folder]))
setInterval(() => {}, 1000)`
      const module = join(import.meta.dirname, '../support/services/redis.ts')
      const user = spawn(process.execPath, ['--no-warnings', '--input-type=module', '-e', script, module], {
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      const [line] = (await once(user.stdout, 'data')) as [Buffer]
      const [pid, folder] = JSON.parse(line.toString()) as [number, string]
      expect(identityOf(pid)).not.toBeNull()
      expect(existsSync(folder)).toBe(true)
      user.kill('SIGKILL')
      await expect.poll(() => identityOf(pid), { timeout: 10_000 }).toBeNull()
      expect(existsSync(folder)).toBe(false)
    },
    limit,
  )

  it(
    'is waited for by a process that has nothing else to do',
    async () => {
      const script = `const { startRedis } = await import(process.argv[1])
const redis = await startRedis()
await redis.stop()
await redis.restart()
await redis[Symbol.asyncDispose]()
console.log('gone')`
      const module = join(import.meta.dirname, '../support/services/redis.ts')
      const { code, output } = await runCommand(process.execPath, [
        ...['--no-warnings', '--input-type=module', '-e', script, module],
      ])
      expect([code, output.trim()]).toEqual([0, 'gone'])
    },
    limit,
  )

  it(
    'leaves nothing behind when it is disposed of',
    async () => {
      const redis = await startRedis({ replicas: 1 })
      const pids = redis.nodes.map((node) => node.pid)
      expect(existsSync(redis.folder)).toBe(true)
      await redis[Symbol.asyncDispose]()
      await redis[Symbol.asyncDispose]()
      expect(existsSync(redis.folder)).toBe(false)
      expect(pids.map(identityOf)).toEqual([null, null])
    },
    limit,
  )
})

async function roleOf(node: ServerNode | undefined): Promise<unknown> {
  const role = await redisCommand(node?.port ?? 0, ['ROLE'])
  return Array.isArray(role) ? role[0] : role
}

/** Replicas that have all that this one wrote: the connection that asks must have written. */
async function waitFor(port: number): Promise<number> {
  const writer = connect(port)
  await writer.publish('nothing', '')
  const replicas = await writer.wait(1, 5_000)
  writer.disconnect()
  return replicas
}

describe('a private schema registry', async () => {
  const registry = await serverOfFile('registry', startRegistry)
  const send = async (method: string, path: string, body?: object): Promise<{ status: number; body: unknown }> => {
    const response = await fetch(`${registry().address}${path}`, {
      method,
      headers: { 'content-type': 'application/vnd.schemaregistry.v1+json' },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    })
    return { status: response.status, body: await response.json() }
  }
  const schema = JSON.stringify({ type: 'record', name: 'R', fields: [{ name: 'a', type: 'int' }] })

  it(
    'gives a schema back by its id, keeps it over a restart, and forgets it with its data',
    async () => {
      const posted = await send('POST', '/subjects/cards-value/versions', { schema })
      expect(posted).toMatchObject({ status: 200, body: { id: expect.any(Number) } })
      const { id } = posted.body as { readonly id: number }
      const got = await send('GET', `/schemas/ids/${id}`)
      expect(got.status).toBe(200)
      expect(JSON.parse((got.body as { readonly schema: string }).schema)).toEqual(JSON.parse(schema))
      // In order: its store writes a while after it has answered.
      await registry().restart()
      expect((await send('GET', `/schemas/ids/${id}`)).status).toBe(200)
      await registry().restart({ keepData: false })
      expect(await send('GET', '/subjects')).toEqual({ status: 200, body: [] })
    },
    limit,
  )
})
