import { FeatureStoreError } from '../../core/errors.ts'
import { type Cluster, type Topic } from './cluster.ts'

export interface Leader {
  readonly topicId: string
  readonly leader: number
}

/**
 * Streams as topics, each pinned to the topic id that was met first. A topic that is made again under the same name is
 * another log: offsets of the old one mean nothing in it, so it is refused for as long as this object lives, and whoever
 * opens the log anew sees another epoch.
 */
export class PinnedTopics {
  private readonly cluster: Cluster
  private readonly pinned = new Map<string, Topic>()

  constructor(cluster: Cluster) {
    this.cluster = cluster
  }

  nameOf(stream: string): string {
    return this.cluster.settings.topicPrefix + stream
  }

  /** The topic as the cluster has it now; null when there is none. Does not refuse another one: it shows it. */
  async describe(stream: string): Promise<Topic | null> {
    const topic = await this.cluster.freshTopic(this.nameOf(stream))
    if (topic !== null && this.pinned.get(stream)?.topicId === undefined) this.pinned.set(stream, topic)
    if (topic !== null && this.pinned.get(stream)?.topicId === topic.topicId) this.pinned.set(stream, topic)
    return topic
  }

  /** Errors: FS_STREAM_UNKNOWN, FS_KAFKA_TOPIC_CHANGED. */
  async leaderOf(stream: string, partition: number): Promise<Leader> {
    const name = this.nameOf(stream)
    let topic = await this.cluster.topic(name)
    // Partitions may have been added since.
    if (topic !== null && topic.leaders[partition] === undefined) topic = await this.cluster.freshTopic(name)
    const pinned = this.pinned.get(stream)
    if (pinned !== undefined && topic?.topicId !== pinned.topicId) throw changed(stream, topic)
    const leader = topic?.leaders[partition]
    if (topic === null || leader === undefined)
      throw new FeatureStoreError('FS_STREAM_UNKNOWN', `the log has no partition ${stream}/${partition}`)
    this.pinned.set(stream, topic)
    return { topicId: topic.topicId, leader }
  }

  /** Without asking anybody; null when it is not known. */
  knownLeader(stream: string, partition: number): Leader | null {
    const topic = this.pinned.get(stream)
    const leader = topic?.leaders[partition]
    return topic === undefined || leader === undefined ? null : { topicId: topic.topicId, leader }
  }
}

function changed(stream: string, topic: Topic | null): FeatureStoreError {
  const what = topic === null ? 'was deleted' : 'was made again: its topic id is another one'
  return new FeatureStoreError('FS_KAFKA_TOPIC_CHANGED', `the topic of stream ${stream} ${what}`)
}
