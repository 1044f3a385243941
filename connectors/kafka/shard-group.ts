/**
 * Ownership of shards by a consumer group of kafkajs over a topic with one partition per shard and nothing in it. The
 * group protocol finds out who lives (session timeout) and gives each partition to one member; its leader shares them out
 * by balance.ts, so that what is kept need not be flushed or read again.
 *
 *     rebalance begins ─► all members flush at once ─► join ─► shares ─► lost shards are forgotten, new ones taken
 *
 * A member that is cut off from the group goes on until another takes its shards: the lease of the online store decides.
 */
import { AssignerProtocol, type Consumer, type Kafka, type PartitionAssigner } from 'kafkajs'
import type { Logger } from '../../core/ports/environment.ts'
import type { OwnershipListener, ShardOwnership } from '../../core/ports/shard-ownership.ts'
import { balance, type Member } from './balance.ts'

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
}

const assignerName = 'tidemark-shards'
const assignerVersion = 1

export class KafkaShardGroup implements ShardOwnership {
  readonly shared = true
  readonly #options: ShardGroupOptions

  constructor(options: ShardGroupOptions) {
    this.#options = options
  }

  /** Resolves when the group has given its first shares. Errors: those of kafkajs. */
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
  #owned: readonly number[] = []
  /** Called back by the group, which still knew us: what we own is nobody else's. */
  #called = false
  /** What the listener is told, one thing at a time. */
  #telling: Promise<void> = Promise.resolve()
  #left = false

  constructor(options: ShardGroupOptions, listener: OwnershipListener) {
    this.#options = options
    this.#listener = listener
    const { kafka, groupId, sessionTimeoutMs = 6_000, rebalanceTimeoutMs = 6_000 } = options
    this.#consumer = kafka.consumer({
      groupId,
      sessionTimeout: sessionTimeoutMs,
      rebalanceTimeout: rebalanceTimeoutMs,
      heartbeatInterval: Math.floor(sessionTimeoutMs / 4),
      // Heartbeats go out between two fetches of the empty topic.
      maxWaitTimeInMs: Math.floor(sessionTimeoutMs / 8),
      partitionAssigners: [this.#assigner],
      // A broker that is away is no reason to end: leases keep two owners apart meanwhile.
      retry: { initialRetryTime: 100, maxRetryTime: 2_000, retries: 8, restartOnFailure: async () => true },
    })
  }

  async start(): Promise<void> {
    const { GROUP_JOIN, REBALANCING, CRASH } = this.#consumer.events
    const joined = Promise.withResolvers<void>()
    this.#consumer.on(REBALANCING, () => {
      this.#called = true
      this.#options.logger.info('shards.rebalancing', {})
    })
    this.#consumer.on(CRASH, ({ payload: { error, restart } }) => {
      this.#options.logger.warn('shards.group', { reason: error.message, restart })
      if (!restart) joined.reject(error)
    })
    this.#consumer.on(GROUP_JOIN, ({ payload: { memberAssignment } }) => {
      this.#called = false
      this.#tell(memberAssignment[this.#options.topic] ?? [])
      joined.resolve()
    })
    await this.#consumer.connect()
    await this.#consumer.subscribe({ topic: this.#options.topic, fromBeginning: true })
    await this.#consumer.run({ autoCommit: false, eachBatch: async () => {} })
    await joined.promise
  }

  /** What the group says we have from now on. */
  #tell(shards: readonly number[]): void {
    const before = new Set(this.#owned)
    const now = new Set(shards)
    this.#owned = [...shards]
    const lost = [...before].filter((shard) => !now.has(shard))
    const gained = shards.filter((shard) => !before.has(shard))
    this.#options.logger.info('shards.shared', { owned: shards.length, lost: lost.length, gained: gained.length })
    this.#telling = this.#telling.then(async () => {
      if (lost.length > 0 && !this.#left) await this.#listener.revoked(lost)
      if (gained.length > 0 && !this.#left) await this.#listener.assigned(gained)
    })
    this.#telling.catch((error: unknown) =>
      this.#options.logger.error('shards.listener', { reason: error instanceof Error ? error.message : String(error) }),
    )
  }

  readonly #assigner: PartitionAssigner = ({ cluster: _ }) => ({
    name: assignerName,
    version: assignerVersion,
    assign: async ({ members }) => {
      const { shards, topic } = this.#options
      const shares = balance(
        members.map(({ memberId, memberMetadata }): Member => ({ id: memberId, owned: ownedOf(memberMetadata) })),
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
    // Asked for before each join: what we have goes with it, unless we were given up for dead and others have it.
    protocol: ({ topics }) => ({
      name: assignerName,
      metadata: AssignerProtocol.MemberMetadata.encode({
        version: assignerVersion,
        topics,
        userData: Buffer.from(JSON.stringify(this.#called ? this.#owned : [])),
      }),
    }),
  })

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#left) return
    this.#left = true
    await this.#telling.catch(() => {})
    await this.#consumer.disconnect()
  }
}

/** Nothing where a member says it in a way that is not ours. */
function ownedOf(metadata: Buffer): readonly number[] {
  try {
    const said: unknown = JSON.parse(AssignerProtocol.MemberMetadata.decode(metadata)?.userData.toString() ?? '')
    return Array.isArray(said) && said.every((shard) => Number.isSafeInteger(shard)) ? (said as number[]) : []
  } catch {
    return []
  }
}
