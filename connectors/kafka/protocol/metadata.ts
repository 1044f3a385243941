import { type Api } from './api.ts'

export interface BrokerAddress {
  readonly nodeId: number
  readonly host: string
  readonly port: number
}

export interface PartitionMetadata {
  readonly code: number
  readonly index: number
  /** -1 while there is none. */
  readonly leaderId: number
  readonly leaderEpoch: number
}

export interface TopicMetadata {
  readonly code: number
  readonly name: string | null
  /** 32 hex digits; zeros on a topic without one. */
  readonly topicId: string
  readonly partitions: readonly PartitionMetadata[]
}

export interface MetadataResponse {
  readonly throttleMs: number
  readonly brokers: readonly BrokerAddress[]
  readonly clusterId: string | null
  readonly topics: readonly TopicMetadata[]
}

/**
 * Metadata v12 (Kafka 3.1): topics by name, answered with their ids.
 *
 *     request    topics: [id uuid, name, tags] | auto-create bool | authorized operations bool | tags
 *     response   throttle i32 | brokers: [id i32, host, port i32, rack, tags] | cluster id | controller i32
 *                | topics: [error i16, name, id uuid, internal bool, partitions, operations i32, tags] | tags
 *     partition  error i16 | index i32 | leader i32 | leader epoch i32 | replicas, isr, offline: [i32] | tags
 */
export const metadata: Api<readonly string[], MetadataResponse> = {
  name: 'Metadata',
  key: 3,
  version: 12,
  flexible: true,
  write(writer, topics) {
    writer.compactArray(topics, (name) => writer.uuid('00'.repeat(16)).compactString(name).tags())
    writer.boolean(false).boolean(false).tags()
  },
  read(reader) {
    const throttleMs = reader.int32()
    const brokers = reader.compactArray((each) => {
      const broker = { nodeId: each.int32(), host: each.compactName(), port: each.int32() }
      each.compactString()
      each.tags()
      return broker
    })
    const clusterId = reader.compactString()
    reader.int32()
    const topics = reader.compactArray((each) => {
      const code = each.int16()
      const name = each.compactString()
      const topicId = each.uuid()
      each.boolean()
      const partitions = each.compactArray((partition) => {
        const [code, index, leaderId, leaderEpoch] = [
          partition.int16(),
          partition.int32(),
          partition.int32(),
          partition.int32(),
        ]
        for (let list = 0; list < 3; list++) partition.compactArray((replica) => replica.int32())
        partition.tags()
        return { code, index, leaderId, leaderEpoch }
      })
      each.int32()
      each.tags()
      return { code, name, topicId, partitions }
    })
    return { throttleMs, brokers, clusterId, topics }
  },
}
