import { type Api } from './api.ts'

export interface DescribeProducersRequest {
  readonly topic: string
  readonly partition: number
}

export interface DescribeProducersResponse {
  readonly code: number
  readonly producers: readonly { readonly producerId: bigint; readonly lastSequence: number }[]
}

/**
 * DescribeProducers v0 (KIP-664, Kafka 2.8): who has written to a partition, and up to which sequence, as far as the
 * leader remembers (`producer.id.expiration.ms`, a day by default).
 *
 *     request    topics: [name, [partition i32], tags] | tags
 *     response   throttle i32 | topics: [name, [partition i32, error i16, message, producers, tags], tags] | tags
 *     producer   id i64 | epoch i32 | last sequence i32 | last time i64 | coordinator epoch i32 | transaction start i64 | tags
 */
export const describeProducers: Api<DescribeProducersRequest, DescribeProducersResponse> = {
  name: 'DescribeProducers',
  key: 61,
  version: 0,
  flexible: true,
  write(writer, { topic, partition }) {
    writer.compactArray([topic], (name) => {
      writer.compactString(name)
      writer.compactArray([partition], (index) => writer.int32(index))
      writer.tags()
    })
    writer.tags()
  },
  read(reader) {
    reader.int32()
    const topics = reader.compactArray((topic) => {
      topic.compactName()
      const partitions = topic.compactArray((each) => {
        each.int32()
        const code = each.int16()
        each.compactString()
        const producers = each.compactArray((producer) => {
          const producerId = producer.bigint64()
          producer.int32()
          const lastSequence = producer.int32()
          producer.int64()
          producer.int32()
          producer.int64()
          producer.tags()
          return { producerId, lastSequence }
        })
        each.tags()
        return { code, producers }
      })
      topic.tags()
      return partitions
    })
    return topics.flat()[0] ?? { code: -1, producers: [] }
  },
}
