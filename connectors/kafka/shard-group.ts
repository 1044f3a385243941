/**
 * Ownership of shards by a consumer group of kafkajs over a topic with one partition per shard and nothing in it. The
 * group protocol finds out who lives (session timeout) and carries what members say to the one that leads, which shares
 * the shards out by balance.ts. What is kept is never given up; what changes hands takes two rounds:
 *
 *     join, saying what one has ─► shares, without what another still has ─► lost shards are flushed and forgotten
 *              ▲                                                                          │
 *              └───────────── once more, where something was given up ◄───────────────────┘
 *
 * A member that is cut off from the group goes on until another takes its shards: the lease of the online store decides.
 */
import { AssignerProtocol, type Consumer, type Kafka, type PartitionAssigner } from 'kafkajs'
import { FeatureStoreError } from '../../core/errors.ts'
import type { Logger } from '../../core/ports/environment.ts'
import type { OwnershipListener, ShardOwnership } from '../../core/ports/shard-ownership.ts'
import { nextShares } from './balance.ts'
import { claimOf, encodeClaim } from './claim.ts'

export interface ShardGroupOptions {
  readonly kafka: Kafka
  readonly groupId: string
  /** The empty topic; made by the caller, with one partition per shard. */
  readonly topic: string
  readonly shards: number
  readonly logger: Logger
  /** After so long without a heartbeat a member is given up for dead, milliseconds. Default 6,000. */
  readonly sessionTimeoutMs?: number
  /** How long members have to come back when a rebalance begins, milliseconds. Default 6,000. */
  readonly rebalanceTimeoutMs?: number
  /** How long a group without a coordinator is waited for at first, milliseconds. Default 60,000. */
  readonly joinMsMax?: number
}

const assignerName = 'tidemark-shards'
const assignerVersion = 1
/** A heartbeat's answer says that a round begins: also where sessions are long, nobody waits longer for us. */
const heartbeatMsMax = 1_500
/** Before a group that could not be joined is joined again. */
const reviveMs = 1_000

export class KafkaShardGroup implements ShardOwnership {
  readonly shared = true
  readonly #options: ShardGroupOptions

  constructor(options: ShardGroupOptions) {
    this.#options = options
  }

  /**
   * Resolves when the group has given its first shares; ours has none where others have all, until they gave up some.
   * Errors: FS_KAFKA_UNAVAILABLE where the group gets no coordinator, as on a new cluster that cannot keep its offsets;
   * those of kafkajs.
   */
  async join(listener: OwnershipListener): Promise<AsyncDisposable> {
    const membership = new Membership(this.#options, listener)
    await membership.start()
    return membership
  }
}

class Membership implements AsyncDisposable {
  readonly #options: ShardGroupOptions
  readonly #listener: OwnershipListener
  readonly #consumer: Consumer
  /** By the last round. */
  #owned: ReadonlySet<number> = new Set()
  /** What the listener believes to have: what we lost stays here until it has given it up. */
  readonly #told = new Set<number>()
  /** What we said at the last round. */
  #claimed: ReadonlySet<number> = new Set()
  /** Of the last round, as far as we know: heartbeats tell. */
  #generation = 0
  /** What the listener is told, one thing at a time. */
  #telling: Promise<void> = Promise.resolve()
  #left: Promise<void> | null = null
  #revival: NodeJS.Timeout | null = null

  constructor(options: ShardGroupOptions, listener: OwnershipListener) {
    this.#options = options
    this.#listener = listener
    const { kafka, groupId, sessionTimeoutMs = 6_000, rebalanceTimeoutMs = 6_000 } = options
    const heartbeatMs = Math.min(heartbeatMsMax, Math.floor(sessionTimeoutMs / 4))
    this.#consumer = kafka.consumer({
      groupId,
      sessionTimeout: sessionTimeoutMs,
      rebalanceTimeout: rebalanceTimeoutMs,
      heartbeatInterval: heartbeatMs,
      // Heartbeats go out between two fetches of the empty topic.
      maxWaitTimeInMs: Math.floor(heartbeatMs / 2),
      partitionAssigners: [this.#assigner],
      // A broker that is away is no reason to end: leases keep two owners apart meanwhile.
      retry: {
        initialRetryTime: 100,
        maxRetryTime: 2_000,
        retries: 8,
        restartOnFailure: async () => this.#left === null,
      },
    })
  }

  async start(): Promise<void> {
    const { GROUP_JOIN, REBALANCING, CRASH, HEARTBEAT, FETCH_START } = this.#consumer.events
    const joined = Promise.withResolvers<void>()
    const untilMs = performance.now() + (this.#options.joinMsMax ?? 60_000)
    let isIn = false
    this.#consumer.on(REBALANCING, () => this.#options.logger.info('shards.rebalancing', {}))
    this.#consumer.on(HEARTBEAT, ({ payload }) => {
      this.#generation = payload.groupGenerationId
    })
    this.#consumer.on(FETCH_START, () => {
      if (this.#left === null && this.#claimed.difference(this.#held).size > 0) throw new CallForRound()
    })
    this.#consumer.on(CRASH, ({ payload: { error, restart } }) => {
      if (this.#left !== null) return
      this.#options.logger.warn('shards.group', { reason: error.message, restart })
      if (restart) return
      const isLate = lacksCoordinator(error)
      if (isIn || (isLate && performance.now() < untilMs)) this.#reviveLater()
      else joined.reject(isLate ? unavailable(error) : error)
    })
    this.#consumer.on(GROUP_JOIN, ({ payload: { memberAssignment } }) => {
      // Called off while it joined, kafkajs joins all the same; this ends it (see CallForRound).
      if (this.#left !== null) throw new Error('the membership is over')
      isIn = true
      this.#generation++
      this.#share(memberAssignment[this.#options.topic] ?? [])
      joined.resolve()
    })
    try {
      await this.#run()
      await joined.promise
    } catch (error) {
      await this[Symbol.asyncDispose]()
      throw error
    }
  }

  async #run(): Promise<void> {
    await this.#consumer.connect()
    await this.#consumer.subscribe({ topic: this.#options.topic, fromBeginning: true })
    await this.#consumer.run({ autoCommit: false, eachBatch: async () => {} })
  }

  /** After what kafkajs gives up on: an answer that is final for it is not for us, who have shards. */
  #reviveLater(): void {
    this.#revival = setTimeout(() => {
      if (this.#left !== null) return
      this.#run().catch((error: unknown) => {
        this.#options.logger.warn('shards.group', { reason: reasonOf(error), restart: true })
        this.#reviveLater()
      })
    }, reviveMs)
  }

  /** Nobody else may have these yet. */
  get #held(): ReadonlySet<number> {
    return this.#told.union(this.#owned)
  }

  /** What the group says we have from now on. */
  #share(shards: readonly number[]): void {
    // kafkajs gives them in the order of their digits.
    this.#owned = new Set([...shards].sort((a, b) => a - b))
    this.#options.logger.info('shards.shared', { owned: shards.length })
    this.#telling = this.#telling.then(() => this.#tell())
  }

  /** Until the listener has been told all. What changes meanwhile, and back, it is not told. */
  async #tell(): Promise<void> {
    while (this.#left === null) {
      const lost = [...this.#told.difference(this.#owned)]
      const gained = [...this.#owned.difference(this.#told)]
      if (lost.length > 0) {
        await this.#say(() => this.#listener.revoked(lost))
        for (const shard of lost) this.#told.delete(shard)
      } else if (gained.length > 0) {
        for (const shard of gained) this.#told.add(shard)
        await this.#say(() => this.#listener.assigned(gained))
      } else return
    }
  }

  /** A listener that fails does not end the membership: it is told what comes next. */
  async #say(what: () => Promise<void>): Promise<void> {
    try {
      await what()
    } catch (error) {
      this.#options.logger.error('shards.listener', { reason: reasonOf(error) })
    }
  }

  readonly #assigner: PartitionAssigner = () => ({
    name: assignerName,
    version: assignerVersion,
    assign: async ({ members }) => {
      const { shards, topic } = this.#options
      const shares = nextShares(
        members.map(({ memberId, memberMetadata }) => ({ id: memberId, ...claimOf(memberMetadata) })),
        shards,
      )
      return [...shares].map(([memberId, partitions]) => ({
        memberId,
        memberAssignment: AssignerProtocol.MemberAssignment.encode({
          version: assignerVersion,
          assignment: { [topic]: [...partitions] },
          userData: Buffer.alloc(0),
        }),
      }))
    },
    // Asked for before each join.
    protocol: ({ topics }) => {
      this.#claimed = this.#held
      return {
        name: assignerName,
        metadata: AssignerProtocol.MemberMetadata.encode({
          version: assignerVersion,
          topics,
          userData: encodeClaim({ owned: [...this.#claimed], generation: this.#generation }),
        }),
      }
    },
  })

  async #leave(): Promise<void> {
    if (this.#revival !== null) clearTimeout(this.#revival)
    await this.#telling
    await this.#consumer.disconnect()
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#left ??= this.#leave()
    return this.#left
  }
}

/**
 * kafkajs has no call that joins again. What a listener throws while a fetch begins comes out of that fetch, and of this
 * type it is what a broker's "rebalance in progress" would be.
 */
class CallForRound extends Error {
  readonly type = 'REBALANCE_IN_PROGRESS'

  constructor() {
    super('shards were given up: the group shares them out anew')
  }
}

/**
 * Brokers say for a while that they do not know yet who coordinates a group: the first one of a new cluster makes the topic
 * of offsets. kafkajs asks for some seconds, and then calls it final.
 */
const lacksCoordinator = (error: Error): boolean => error.name === 'KafkaJSGroupCoordinatorNotFound'

const unavailable = (cause: Error): FeatureStoreError =>
  new FeatureStoreError('FS_KAFKA_UNAVAILABLE', 'the group that shares the shards gets no coordinator', { cause })

const reasonOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))
