import { type Offset } from '../../core/event/position.ts'
import { type Cluster } from './cluster.ts'
import { fetch, type FetchPartition } from './protocol/fetch.ts'
import { type PinnedTopics } from './topics.ts'

/** Who waits comes back no sooner after a failure: the next fetch meets it, and has a backoff of its own. */
const failedMs = 20

/**
 * Waiting for the ends of partitions to move: a Fetch that the broker holds back until there is a byte (KIP-41, "long
 * poll"), on connections of its own, since a broker answers those of one connection one after the other. What it brings
 * is thrown away: of each request one batch at most (KIP-74).
 *
 *     more([40, 17]) ─► Fetch {p0 from 40, p1 from 17}, held back … a record is appended … ─► answered ─► whoever waits fetches
 */
export class Waiting {
  private readonly cluster: Cluster
  private readonly topics: PinnedTopics
  private readonly purpose: string
  /** Requests that are held back, by stream and leader: one at a time, whoever waits for it. */
  private readonly held = new Map<string, Promise<void>>()

  constructor(cluster: Cluster, topics: PinnedTopics, purpose: string) {
    this.cluster = cluster
    this.topics = topics
    this.purpose = purpose
  }

  /** See `EventLog.awaitMore`. One that still waits from other offsets counts too: it is answered at once if they are behind. */
  async more(stream: string, from: readonly Offset[], ms: number): Promise<void> {
    try {
      const waits = [...(await this.byLeader(stream, from))].map(([leader, partitions]) => {
        const name = `${stream}/${leader}`
        const wait = this.held.get(name) ?? this.hold(name, leader, partitions, ms)
        return wait
      })
      await Promise.race(waits)
    } catch {
      await new Promise((resolve) => setTimeout(resolve, failedMs))
    }
  }

  private hold(name: string, leader: number, partitions: readonly FetchPartition[], ms: number): Promise<void> {
    const wait = this.request(name, leader, partitions, ms).finally(() => this.held.delete(name))
    // Whoever waits meets it; maybe nobody does any more.
    wait.catch(() => {})
    this.held.set(name, wait)
    return wait
  }

  private async request(
    name: string,
    leader: number,
    partitions: readonly FetchPartition[],
    ms: number,
  ): Promise<void> {
    const connection = await this.cluster.connection(leader, `${this.purpose} awaits ${name}`)
    const request = { partitions, maxBytes: 1, maxWaitMs: ms, minBytes: 1 }
    const timeoutMs = ms + this.cluster.settings.requestTimeoutMs
    const response = await connection.request(fetch, request, { timeoutMs })
    const failed = response.code !== 0 || response.partitions.some(({ code }) => code !== 0)
    if (failed) throw new Error(`error ${response.code}`)
  }

  private async byLeader(stream: string, from: readonly Offset[]): Promise<Map<number, FetchPartition[]>> {
    const byLeader = new Map<number, FetchPartition[]>()
    for (const [partition, offset] of from.entries()) {
      const known = this.topics.knownLeader(stream, partition)
      const { topicId, leader } = known ?? (await this.topics.leaderOf(stream, partition))
      const there = byLeader.get(leader) ?? []
      there.push({ topicId, partition, offset, maxBytes: 1 })
      byLeader.set(leader, there)
    }
    return byLeader
  }
}
