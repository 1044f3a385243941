import { FeatureStoreError } from '../../core/errors.ts'
import { silentLogger } from '../../core/ports/environment.ts'
import { type Connection } from './connection.ts'
import { answerError, mayPass, TransientAnswer, unavailable } from './errors.ts'
import { openConnection } from './handshake.ts'
import { type KafkaOptions, type Settings } from './options.ts'
import { KafkaCode } from './protocol/codes.ts'
import { type BrokerAddress, metadata, type MetadataResponse } from './protocol/metadata.ts'

export interface Topic {
  readonly name: string
  /** 32 hex digits: a topic that is made again has another one. */
  readonly topicId: string
  /** Broker by partition; -1 while there is no leader. */
  readonly leaders: readonly number[]
}

const backoffMsMin = 20
const backoffMsMax = 1_000

/** Errors: FS_CONFIG_INVALID. */
export function settingsOf(options: KafkaOptions): Settings {
  if (options.brokers.length === 0) throw new FeatureStoreError('FS_CONFIG_INVALID', 'brokers: name one at least')
  options.brokers.forEach(parseAddress)
  return {
    ...options,
    logger: options.logger ?? silentLogger,
    clientId: options.clientId ?? 'tidemark',
    topicPrefix: options.topicPrefix ?? '',
    connectTimeoutMs: options.connectTimeoutMs ?? 10_000,
    requestTimeoutMs: options.requestTimeoutMs ?? 30_000,
    retryMs: options.retryMs ?? 15_000,
    responseBytesMax: options.responseBytesMax ?? 128 * 1024 * 1024,
  }
}

function parseAddress(text: string): { readonly host: string; readonly port: number } {
  const match = /^\[?([^\]]+?)\]?:(\d{1,5})$/.exec(text)
  if (match === null)
    throw new FeatureStoreError('FS_CONFIG_INVALID', `brokers: ${JSON.stringify(text)} is no host:port`)
  return { host: match[1] as string, port: Number(match[2]) }
}

/**
 * The brokers: who leads what, and the connections to them. A connection is made when it is first needed and again when
 * it broke; a broker answers the requests of one connection one after the other, so who waits for data has its own.
 */
export class Cluster implements Disposable {
  readonly settings: Settings
  private readonly connections = new Map<string, Promise<Connection>>()
  private readonly topics = new Map<string, Topic>()
  private brokers: readonly BrokerAddress[] = []
  /** The broker that last answered what any of them can. */
  private lastGood: { readonly host: string; readonly port: number } | null = null
  private closed = false

  constructor(options: KafkaOptions) {
    this.settings = settingsOf(options)
  }

  /** To one broker; those of another `purpose` are other connections. */
  async connection(nodeId: number, purpose: string): Promise<Connection> {
    const broker = this.brokers.find((each) => each.nodeId === nodeId)
    if (broker === undefined) throw unavailable(`the cluster names no address of broker ${nodeId}`)
    return this.connect(broker.host, broker.port, purpose)
  }

  /** Leaders as far as they are known; asks when they are not. Null when there is no such topic. */
  async topic(name: string): Promise<Topic | null> {
    return this.topics.get(name) ?? (await this.freshTopic(name))
  }

  /** As the cluster has it now. Errors: FS_KAFKA_AUTH; a TransientAnswer while it cannot say. */
  async freshTopic(name: string): Promise<Topic | null> {
    const { topics } = await this.askMetadata([name])
    const topic = topics.find((each) => each.name === name)
    this.topics.delete(name)
    if (
      topic === undefined ||
      topic.code === KafkaCode.unknownTopicOrPartition ||
      topic.code === KafkaCode.invalidTopic
    )
      return null
    if (topic.code !== 0) throw answerError(topic.code, `the metadata of topic ${name}`)
    const leaders = new Array<number>(topic.partitions.length).fill(-1)
    for (const { index, leaderId } of topic.partitions) if (index < leaders.length) leaders[index] = leaderId
    const known = { name, topicId: topic.topicId, leaders }
    this.topics.set(name, known)
    return known
  }

  /** What was known of a topic is doubtful: its leader moved, or does not answer. */
  forget(name: string): void {
    this.topics.delete(name)
  }

  async clusterId(): Promise<string> {
    const { clusterId } = await this.askMetadata([])
    if (clusterId === null || clusterId === '')
      throw new FeatureStoreError('FS_KAFKA_PROTOCOL', 'the brokers name no cluster id')
    return clusterId
  }

  /**
   * Runs again what may pass (no connection, no leader, a leader that moved), after a wait that doubles, with jitter, until
   * `retryMs` are over. Errors: what `run` throws that does not pass; FS_KAFKA_UNAVAILABLE when time is over; FS_CLOSED.
   */
  async retrying<T>(what: string, topic: string | null, run: () => Promise<T>): Promise<T> {
    const deadline = performance.now() + this.settings.retryMs
    for (let attempt = 0; ; attempt++) {
      this.checkOpen()
      try {
        return await run()
      } catch (error) {
        this.checkOpen()
        if (!mayPass(error)) throw error
        if (topic !== null) this.forget(topic)
        const waitMs = this.backoffMs(attempt)
        if (performance.now() + waitMs > deadline) throw gaveUp(what, error)
        this.settings.logger.debug('kafka.retry', { what, attempt, error: String(error) })
        await new Promise((resolve) => setTimeout(resolve, waitMs))
      }
    }
  }

  [Symbol.dispose](): void {
    this.closed = true
    for (const opening of this.connections.values()) opening.then((each) => each[Symbol.dispose]()).catch(() => {})
    this.connections.clear()
  }

  checkOpen(): void {
    if (this.closed) throw new FeatureStoreError('FS_CLOSED', 'the log is closed')
  }

  private async askMetadata(topics: readonly string[]): Promise<MetadataResponse> {
    const response = await (await this.anyConnection()).request(metadata, topics)
    if (response.brokers.length > 0) this.brokers = response.brokers
    return response
  }

  /** To whatever broker answers: one that is connected, one that is known, one of the configuration. */
  private async anyConnection(): Promise<Connection> {
    const { lastGood } = this
    const candidates = [...this.shuffled(this.brokers), ...this.settings.brokers.map(parseAddress)]
    let failure: unknown = null
    // One that says nothing costs the whole of connectTimeoutMs: once, though it is known from several places.
    const tried = new Set<string>()
    for (const { host, port } of lastGood === null ? candidates : [lastGood, ...candidates]) {
      const address = `${host}:${port}`
      if (tried.has(address)) continue
      tried.add(address)
      try {
        const connection = await this.connect(host, port, 'control')
        this.lastGood = { host, port }
        return connection
      } catch (error) {
        this.lastGood = null
        if (!mayPass(error)) throw error
        failure = error
      }
    }
    throw failure instanceof Error ? failure : unavailable('no broker answers')
  }

  private connect(host: string, port: number, purpose: string): Promise<Connection> {
    this.checkOpen()
    const name = `${purpose} ${host}:${port}`
    const there = this.connections.get(name)
    const opening = (there ?? Promise.reject(new Error('none')))
      .catch(() => null)
      .then((connection) => {
        if (connection?.open === true) return connection
        connection?.[Symbol.dispose]()
        this.checkOpen()
        return openConnection(host, port, this.settings)
      })
      .then((connection) => {
        if (this.closed) connection[Symbol.dispose]()
        return connection
      })
    opening.catch(() => {})
    this.connections.set(name, opening)
    return opening
  }

  private backoffMs(attempt: number): number {
    const most = Math.min(backoffMsMin * 2 ** attempt, backoffMsMax)
    return most * (0.5 + this.draw() / 2)
  }

  /** From a random one on, so that not every client leans on the first. */
  private shuffled(brokers: readonly BrokerAddress[]): readonly BrokerAddress[] {
    const first = Math.floor(this.draw() * brokers.length)
    return [...brokers.slice(first), ...brokers.slice(0, first)]
  }

  /** In [0, 1). */
  private draw(): number {
    const [a = 0, b = 0] = this.settings.random.bytes(2)
    return (a * 256 + b) / 65_536
  }
}

function gaveUp(what: string, error: unknown): Error {
  if (error instanceof TransientAnswer) return unavailable(`${what}: the cluster still answers ${error.message}`, error)
  return error instanceof FeatureStoreError ? error : unavailable(`${what}: ${String(error)}`, error)
}
