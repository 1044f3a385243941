/** A broker and a Redis of the suite's own, projects on them, and topics that are filled beforehand. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { applyProject } from '../../cli/commands/definitions.ts'
import { systemRandom } from '../../cli/environment.ts'
import { loadProject, type Project } from '../../cli/project.ts'
import { openLogToRead, openOnline } from '../../cli/stores.ts'
import { openConnection } from '../../connectors/kafka/handshake.ts'
import { settingsOf } from '../../connectors/kafka/index.ts'
import { isTransient } from '../../connectors/kafka/protocol/codes.ts'
import { produce } from '../../connectors/kafka/protocol/produce.ts'
import { isHead } from '../../core/engine/row-parts.ts'
import type { ServerNode } from '../../test/support/services/node.ts'
import { startKafka, type KafkaServer } from '../../test/support/services/kafka.ts'
import { startRedis, type RedisServer } from '../../test/support/services/redis.ts'
import { cardsSchema, cardText, viewName } from '../engine/cards.ts'
import { endMs, type Dataset } from '../engine/dataset.ts'
import type { Expected } from '../engine/expected.ts'
import { ensureStored } from '../engine/ingest.ts'
import { rowFinisher, wholeRow } from '../engine/subject.ts'
import { cpuSecondsOf, ensure, rounded, type BenchOptions } from '../harness.ts'
import { partitions } from './features.ts'

/** A broker of throughput runs; one for tests has less. */
const heapMb = 1024
/** Batches on the way at a time while a topic is filled. */
const depth = 8
const produceTimeoutMs = 30_000

export interface ProjectOptions {
  readonly name: string
  readonly flushMs?: number
  readonly pollMs?: number
  /** Whose time the records bear. */
  readonly knownAt: 'createTime' | 'logAppendTime'
}

/** Processor seconds by process. */
export interface Costs {
  readonly worker: number
  readonly broker: number
  readonly redis: number
}

export class KafkaBench implements AsyncDisposable {
  readonly kafka: KafkaServer
  readonly redis: RedisServer
  readonly client: Redis
  readonly folder: string

  private constructor(kafka: KafkaServer, redis: RedisServer) {
    this.kafka = kafka
    this.redis = redis
    this.client = new Redis({ host: '127.0.0.1', port: redis.port })
    this.folder = mkdtempSync(join(tmpdir(), 'tidemark-bench-'))
  }

  static async open(): Promise<KafkaBench> {
    const [kafka, redis] = await Promise.all([startKafka({ heapMb }), startRedis()])
    return new KafkaBench(kafka, redis)
  }

  get brokerPid(): number {
    return (this.kafka.nodes[0] as ServerNode).pid
  }

  get redisPid(): number {
    return (this.redis.nodes[0] as ServerNode).pid
  }

  get brokers(): readonly string[] {
    return this.kafka.addresses
  }

  /** A project on the two servers, applied, with topics of its own. */
  async project({ name, knownAt, flushMs = 1_000, pollMs = 20 }: ProjectOptions): Promise<Project> {
    const folder = join(this.folder, name)
    mkdirSync(folder)
    const config = {
      definitions: ['features.ts'],
      log: { kind: 'kafka', brokers: this.brokers, topicPrefix: `${name}.` },
      online: { kind: 'redis', address: this.redis.address },
      worker: { flushMs, pollMs, memoryMb: 4_096 },
      serving: { port: 0 },
    }
    const features = resolve(import.meta.dirname, 'features.ts')
    const definitions = `import { definitionsOf } from ${JSON.stringify(features)}
export const { card, cards, cardAmounts } = definitionsOf('${knownAt}')
`
    writeFileSync(join(folder, 'features.ts'), definitions)
    writeFileSync(join(folder, 'package.json'), '{ "type": "module" }\n')
    writeFileSync(join(folder, 'tidemark.config.js'), `export default ${JSON.stringify(config)}\n`)
    const project = await loadProject(folder)
    await applyProject(project)
    await using open = await openLogToRead(project)
    await open.putSchema('cards', cardsSchema)
    return project
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.client.disconnect()
    await Promise.all([this.kafka[Symbol.asyncDispose](), this.redis[Symbol.asyncDispose]()])
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 })
  }
}

/** What happened between two looks at the processes. */
export function costsSince(bench: KafkaBench, workerPids: readonly number[]): () => Costs {
  const now = (): Costs => ({
    worker: workerPids.reduce((sum, pid) => sum + cpuSecondsOf(pid), 0),
    broker: cpuSecondsOf(bench.brokerPid),
    redis: cpuSecondsOf(bench.redisPid),
  })
  const before = now()
  return () => {
    const after = now()
    return {
      worker: after.worker - before.worker,
      broker: after.broker - before.broker,
      redis: after.redis - before.redis,
    }
  }
}

/** Puts batches into a topic as they are, the next one into the next partition; an empty one leaves its partition out. */
export async function fillTopic(brokers: readonly string[], topic: string, batches: readonly Uint8Array[]) {
  const settings = settingsOf({ brokers, random: systemRandom })
  const [host, port] = (brokers[0] as string).split(':') as [string, string]
  using connection = await openConnection(host, Number(port), settings)
  let next = 0
  const loop = async (): Promise<void> => {
    for (let index = next++; index < batches.length; index = next++) {
      const request = {
        topic,
        partition: index % partitions,
        batch: batches[index] as Uint8Array,
        timeoutMs: produceTimeoutMs,
      }
      if (request.batch.length === 0) continue
      let answer = await connection.request(produce, request)
      // The broker has not heard yet that it leads a topic that was just made.
      for (const until = performance.now() + produceTimeoutMs; isTransient(answer.code) && performance.now() < until;) {
        await sleep(20)
        answer = await connection.request(produce, request)
      }
      const { code, message } = answer
      ensure(code === 0, `${topic} takes no batch: code ${code} ${message ?? ''}`)
    }
  }
  await Promise.all(Array.from({ length: depth }, loop))
}

/** Where the events of a project are. */
export const topicOf = ({ config }: Project): string =>
  `${config.log.kind === 'kafka' ? config.log.topicPrefix : ''}cards`

/** The dataset's batches, round the partitions. */
export const fillWith = (on: KafkaBench, project: Project, dataset: Dataset): Promise<void> =>
  fillTopic(on.brokers, topicOf(project), [...batchesOf(dataset.log)])

/** The batches of a log, one by one, each at offset 0, as a producer sends them: the checksum does not cover that. */
export function* batchesOf({ bytes }: Pick<Dataset['log'], 'bytes'>): Generator<Uint8Array> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  for (let at = 0; at < bytes.length;) {
    const end = at + 12 + view.getInt32(at + 8)
    const batch = bytes.slice(at, end)
    batch.fill(0, 0, 8)
    yield batch
    at = end
  }
}

/** The lines of a bench with what a peer made of the same, once it is known. */
export const withPeer = (options: BenchOptions, peer: string, valueOf: () => number): BenchOptions => ({
  ...options,
  emit: (line) => options.emit({ ...line, peer, peerValue: rounded(valueOf()) }),
})

/** Sampled cards with all features against the naive twin; where `all`, the count of events of every card. */
export async function ensureRows(
  what: string,
  project: Project,
  dataset: Dataset,
  expected: readonly Expected[],
  all: boolean,
): Promise<void> {
  await using store = await openOnline(project, 'read')
  const { catalog } = project
  await ensureStored({ bench: what, expected }, store, catalog)
  if (!all) return
  const numbers = new Map(dataset.perEntity.entries().map(([card]) => [cardText(card), card]))
  const asOf = { asOfMs: endMs, knownAsOfMs: Number.POSITIVE_INFINITY }
  const countOf = rowFinisher(catalog, 'count_7d')
  let events = 0
  for await (const { shard, key, row } of store.scan(viewName)) {
    const card = numbers.get(Buffer.from(key).toString())
    ensure(card !== undefined, `${what}: there is a row of a card that has no events`)
    const whole = isHead(row) ? await wholeRow(store, catalog, shard, key, row) : row
    const count = Number(countOf(whole, asOf))
    ensure(
      count === dataset.perEntity[card],
      `${what}: ${cardText(card)} has ${count} events of ${dataset.perEntity[card]}`,
    )
    events += count
  }
  ensure(events === dataset.events, `${what}: ${events} of ${dataset.events} events are in the rows`)
}
