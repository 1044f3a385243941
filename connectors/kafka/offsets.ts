import { type Cluster, type Topic } from './cluster.ts'
import { answerError, TransientAnswer } from './errors.ts'
import { earliest, latest, listOffsets } from './protocol/list-offsets.ts'
import { type PinnedTopics } from './topics.ts'

export interface OffsetRange {
  /** Log start offset. */
  readonly start: number
  /** Last stable offset. */
  readonly end: number
}

/** Where partitions begin and end, as their leaders say. */
export class Offsets {
  private readonly cluster: Cluster
  private readonly topics: PinnedTopics

  constructor(cluster: Cluster, topics: PinnedTopics) {
    this.cluster = cluster
    this.topics = topics
  }

  /** Null when there is no such topic. */
  async describe(stream: string): Promise<{ readonly topic: Topic; readonly ranges: readonly OffsetRange[] } | null> {
    return this.cluster.retrying(`offsets of ${stream}`, this.topics.nameOf(stream), async () => {
      const topic = await this.topics.describe(stream)
      return topic === null ? null : { topic, ranges: await this.ranges(topic) }
    })
  }

  async range(stream: string, partition: number): Promise<OffsetRange> {
    const described = await this.describe(stream)
    return described?.ranges[partition] ?? { start: 0, end: 0 }
  }

  private async ranges(topic: Topic): Promise<readonly OffsetRange[]> {
    const byLeader = new Map<number, number[]>()
    topic.leaders.forEach((leader, partition) => {
      if (leader < 0) throw new TransientAnswer(5, `partition ${topic.name}/${partition}`)
      const there = byLeader.get(leader)
      if (there === undefined) byLeader.set(leader, [partition])
      else there.push(partition)
    })
    const starts = new Array<number>(topic.leaders.length).fill(0)
    const ends = new Array<number>(topic.leaders.length).fill(0)
    await Promise.all(
      [...byLeader].flatMap(([leader, partitions]) => [
        this.list(topic.name, leader, partitions, earliest, starts),
        this.list(topic.name, leader, partitions, latest, ends),
      ]),
    )
    // A start that moves between the two answers must not pass the end.
    return starts.map((start, index) => ({ start, end: Math.max(start, ends[index] as number) }))
  }

  private async list(
    topic: string,
    leader: number,
    partitions: readonly number[],
    timestamp: typeof earliest | typeof latest,
    into: number[],
  ): Promise<void> {
    const connection = await this.cluster.connection(leader, 'control')
    const listed = await connection.request(listOffsets, { topic, partitions, timestamp, committed: true })
    for (const { partition, code, offset } of listed) {
      if (code !== 0) throw answerError(code, `ListOffsets of ${topic}/${partition}`)
      into[partition] = offset
    }
  }
}
