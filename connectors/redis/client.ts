import type { ConnectionOptions } from 'node:tls'
import { Cluster, Pipeline, Redis, type ClusterOptions, type CommonRedisOptions } from 'ioredis'
import { FeatureStoreError } from '../../core/errors.ts'
import type { Logger } from '../../core/ports/environment.ts'
import { isRedirection, onlineError } from './errors.ts'
import type { FramedCommand } from './frame.ts'
import { checkServer } from './server-check.ts'

export interface Address {
  readonly host: string
  readonly port: number
}

/** Where Redis is. `database` is 0 in a cluster. */
export type RedisTarget =
  | { readonly kind: 'standalone'; readonly address: Address; readonly database?: number }
  | {
      readonly kind: 'sentinel'
      readonly sentinels: readonly Address[]
      /** The name under which the Sentinels know the master. */
      readonly name: string
      readonly database?: number
      readonly sentinelUsername?: string
      readonly sentinelPassword?: string
    }
  /** Some of the nodes: they name the others. */
  | { readonly kind: 'cluster'; readonly nodes: readonly Address[] }

export interface ConnectOptions {
  readonly target: RedisTarget
  readonly username?: string
  readonly password?: string
  readonly tls?: ConnectionOptions
  /** How long a call may wait for the server, and one attempt to connect. Default 5,000. */
  readonly timeoutMs?: number
  readonly logger: Logger
}

export const timeoutMsDefault = 5_000

/** What became of one command: an error stands for this command alone. */
export type Answer = { readonly error: null; readonly value: unknown } | { readonly error: Error }

const connectionOptions = ({ username, password, tls, timeoutMs = timeoutMsDefault }: ConnectOptions) =>
  ({
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    ...(tls === undefined ? {} : { tls }),
    connectionName: 'tidemark',
    connectTimeout: timeoutMs,
    // Not `commandTimeout`: a timer for each of the fifty commands of a lookup costs as much as the commands. `#whileOpen`
    // has one for the call.
    // A connection that is half open takes bytes and answers nothing, for a quarter of an hour if TCP alone decides.
    socketTimeout: timeoutMs,
    keepAlive: 10_000,
    // Commands that were under way when a connection broke go again over the next one: each is harmless when it comes
    // twice. After two attempts to connect they fail, so that their caller knows.
    autoResendUnfulfilledCommands: true,
    maxRetriesPerRequest: 2,
    // Pipelines are made by hand, by shard: a queue of ioredis's own would mix reads of other callers into a flush.
    enableAutoPipelining: false,
    lazyConnect: true,
  }) satisfies CommonRedisOptions

const reviveMs = 100

/** Tries for as long as the store is open. */
const retryStrategy = (attempt: number): number => Math.min(1_000, 50 * 2 ** Math.min(attempt - 1, 10))

function openSingle(options: ConnectOptions, target: Exclude<RedisTarget, { kind: 'cluster' }>): Redis {
  const common = {
    ...connectionOptions(options),
    db: target.database ?? 0,
    // Nothing waits for a connection that is not there: memory stays bounded, and the caller decides how long to try.
    enableOfflineQueue: false,
    retryStrategy,
    // A master that became a replica: look for the new one. The command itself fails, and its caller sends it again.
    reconnectOnError: (error: Error): boolean => /\bREADONLY\b/.test(error.message),
  }
  if (target.kind === 'standalone') return new Redis({ ...common, ...target.address })
  return new Redis({
    ...common,
    role: 'master',
    name: target.name,
    sentinels: [...target.sentinels],
    // Leaves the old master as soon as a Sentinel has chosen another one.
    failoverDetector: true,
    sentinelRetryStrategy: retryStrategy,
    sentinelCommandTimeout: options.timeoutMs ?? timeoutMsDefault,
    ...(options.tls === undefined ? {} : { enableTLSForSentinelMode: true }),
    ...(target.sentinelUsername === undefined ? {} : { sentinelUsername: target.sentinelUsername }),
    ...(target.sentinelPassword === undefined ? {} : { sentinelPassword: target.sentinelPassword }),
  })
}

function openCluster(options: ConnectOptions, nodes: readonly Address[]): Cluster {
  const settings = {
    redisOptions: connectionOptions(options),
    // As for a single server; a node that is being connected to refuses, and is asked again after the delay below.
    enableOfflineQueue: false,
    // A replica's rows may be older than the position that a caller has seen.
    scaleReads: 'master' as const,
    lazyConnect: true,
    // A command follows a slot that moves, and waits for a failover, for a second and a half at most.
    maxRedirections: 16,
    retryDelayOnFailover: 100,
    retryDelayOnClusterDown: 100,
    retryDelayOnTryAgain: 100,
    slotsRefreshTimeout: options.timeoutMs ?? timeoutMsDefault,
    clusterRetryStrategy: retryStrategy,
  } satisfies ClusterOptions
  return new Cluster([...nodes], settings)
}

/**
 * One connection to each node. Commands of one call go in one pipeline per node.
 *
 * Errors of every method: FS_ONLINE_UNAVAILABLE, FS_ONLINE_FULL (unavailable: send it again), FS_ONLINE_DENIED,
 * FS_ONLINE_SERVER, FS_CLOSED.
 */
export class RedisClient {
  readonly #client: Redis | Cluster
  readonly #logger: Logger
  readonly #timeoutMs: number
  /** What is wrong with servers that were met after opening, by connection. */
  readonly #refused = new Map<Redis, FeatureStoreError>()
  #lastError: unknown = null
  /** Calls under way, which closing waits for; each ends by the timeout of its commands. */
  readonly #pending = new Set<Promise<unknown>>()
  #closing: Promise<void> | null = null
  #revival: NodeJS.Timeout | undefined

  private constructor(options: ConnectOptions) {
    const { target } = options
    this.#logger = options.logger
    this.#timeoutMs = options.timeoutMs ?? timeoutMsDefault
    this.#client = target.kind === 'cluster' ? openCluster(options, target.nodes) : openSingle(options, target)
    this.#client.on('error', (error: unknown) => {
      this.#lastError = error
      this.#logger.debug('online.connection', { reason: onlineError(error).message })
    })
  }

  /** Errors: FS_ONLINE_UNAVAILABLE, FS_ONLINE_DENIED, FS_ONLINE_SERVER. */
  static async connect(options: ConnectOptions): Promise<RedisClient> {
    const client = new RedisClient(options)
    try {
      await withDeadline(client.#connect(), client.#timeoutMs)
      return client
    } catch (error) {
      await client.close()
      throw error
    }
  }

  /** Answers by the order of the commands. A node that cannot be reached is an error of each of its commands. */
  send(commands: readonly FramedCommand[]): Promise<readonly Answer[]> {
    return this.#whileOpen(() => this.#send(commands))
  }

  async #send(commands: readonly FramedCommand[]): Promise<readonly Answer[]> {
    const client = this.#client
    const answers: Answer[] = []
    await Promise.all(
      this.#byNode(commands).map(async (indexes) => {
        const found = await sendPipeline(
          client,
          indexes.map((index) => commands[index] as FramedCommand),
        )
        indexes.forEach((index, at) => (answers[index] = found[at] as Answer))
      }),
    )
    if (client instanceof Cluster) await redirect(client, commands, answers)
    return answers
  }

  /** One command; replies are buffers. */
  call(name: string, ...args: readonly (string | Buffer)[]): Promise<unknown> {
    return this.#whileOpen(async () => {
      try {
        return await this.#client.callBuffer(name, ...args)
      } catch (error) {
        throw onlineError(error)
      }
    })
  }

  /** Waits for what is under way. Closing twice is safe. */
  close(): Promise<void> {
    this.#closing ??= (async () => {
      clearTimeout(this.#revival)
      await Promise.allSettled(this.#pending)
      this.#client.disconnect()
    })()
    return this.#closing
  }

  /** An answer counts only if its server was found fit, before and after: it may have been replaced meanwhile. */
  async #whileOpen<T>(body: () => Promise<T>): Promise<T> {
    if (this.#closing !== null) throw new FeatureStoreError('FS_CLOSED', 'the online store is closed')
    this.#assertFit()
    const running = withDeadline(body(), this.#timeoutMs)
    this.#pending.add(running)
    try {
      const result = await running
      this.#assertFit()
      return result
    } finally {
      this.#pending.delete(running)
    }
  }

  async #connect(): Promise<void> {
    const client = this.#client
    const isCluster = client instanceof Cluster
    try {
      await client.connect()
    } catch (error) {
      throw this.#connectError(error)
    }
    for (const node of isCluster ? client.nodes('master') : [client]) await checkServer(node, isCluster)
    // From here on every server that is met, a promoted replica for one, is asked the same.
    if (isCluster) client.on('+node', (node: Redis) => this.#watch(node, isCluster))
    else this.#watch(client, isCluster)
    client.on('end', () => this.#revive())
  }

  /**
   * ioredis gives up for good where a Sentinel announces a new master while it is being looked for: the connector that is
   * told to leave the old one leaves its search. So whatever ends by itself is begun anew.
   */
  #revive(): void {
    if (this.#closing !== null) return
    this.#revival = setTimeout(() => {
      this.#client.connect().catch(() => {})
    }, reviveMs)
  }

  #watch(node: Redis, isCluster: boolean): void {
    node.on('ready', () => {
      // A cluster's replicas are connected to only for the map of slots.
      if (isCluster && node.options.readOnly === true) return
      checkServer(node, isCluster).then(
        () => this.#refused.delete(node),
        (error: unknown) => {
          if (!(error instanceof FeatureStoreError) || error.code !== 'FS_ONLINE_SERVER') return
          this.#logger.error('online.server', { reason: error.message })
          this.#refused.set(node, error)
        },
      )
    })
    node.on('end', () => this.#refused.delete(node))
  }

  /** ioredis says only that the connection is closed; why, it said before. */
  #connectError(error: unknown): FeatureStoreError {
    const last = this.#lastError ?? error
    const node = (last as { readonly lastNodeError?: unknown }).lastNodeError ?? last
    if (node instanceof Error && /cluster support disabled/.test(node.message))
      return new FeatureStoreError('FS_ONLINE_SERVER', 'this Redis is no cluster', {
        remedy: 'Name it as a standalone server, or start it with cluster-enabled yes.',
      })
    return onlineError(node)
  }

  #assertFit(): void {
    for (const error of this.#refused.values()) throw error
  }

  /** Indexes of commands that go to the same node. */
  #byNode(commands: readonly FramedCommand[]): readonly (readonly number[])[] {
    const client = this.#client
    if (commands.length === 0) return []
    if (!(client instanceof Cluster)) return [commands.map((_, index) => index)]
    const groups = new Map<string, number[]>()
    commands.forEach((command, index) => {
      const nodes = client.slots[command.getSlot()]?.join(';') ?? ''
      const group = groups.get(nodes)
      if (group === undefined) groups.set(nodes, [index])
      else group.push(index)
    })
    return [...groups.values()]
  }
}

/**
 * What is given up may still be carried out, and can be sent again. It does not pile up: a connection that is silent for as
 * long is closed, and with it goes what waits on it.
 */
async function withDeadline<T>(work: Promise<T>, timeoutMs: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const deadline = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new FeatureStoreError('FS_ONLINE_UNAVAILABLE', `Redis did not answer within ${timeoutMs} ms`)),
      timeoutMs,
    )
  })
  try {
    return await Promise.race([work, deadline])
  } finally {
    clearTimeout(timer)
  }
}

async function sendPipeline(client: Redis | Cluster, commands: readonly FramedCommand[]): Promise<readonly Answer[]> {
  try {
    const pipeline = new Pipeline(client)
    for (const command of commands) pipeline.sendCommand(command)
    const replies = (await pipeline.exec()) ?? []
    return commands.map((_, index) => {
      const [error, value] = replies[index] ?? [new Error('no reply')]
      return error === null ? { error, value } : { error }
    })
  } catch (error) {
    return commands.map(() => ({ error: error instanceof Error ? error : new Error(String(error)) }))
  }
}

/** Commands whose slot moved, one by one: ioredis leads those where they belong, and learns it. */
async function redirect(client: Cluster, commands: readonly FramedCommand[], answers: Answer[]): Promise<void> {
  await Promise.all(
    commands.map(async (command, index) => {
      const answer = answers[index]
      if (answer === undefined || answer.error === null || !isRedirection(answer.error)) return
      try {
        answers[index] = { error: null, value: (await client.sendCommand(command.again())) as unknown }
      } catch (error) {
        answers[index] = { error: error instanceof Error ? error : new Error(String(error)) }
      }
    }),
  )
}
