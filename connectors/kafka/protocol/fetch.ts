import { type Api } from './api.ts'

export interface FetchPartition {
  /** Of the topic, 32 hex digits. */
  readonly topicId: string
  readonly partition: number
  readonly offset: number
  readonly maxBytes: number
}

export interface FetchRequest {
  readonly partitions: readonly FetchPartition[]
  readonly maxBytes: number
  /** How long the broker waits for `minBytes`. */
  readonly maxWaitMs: number
  readonly minBytes: number
}

export interface AbortedTransaction {
  /** Producer id, its two halves as int32: ids are compared, never reckoned with. */
  readonly high: number
  readonly low: number
  readonly firstOffset: number
}

export interface FetchedPartition {
  readonly topicId: string
  readonly partition: number
  readonly code: number
  readonly highWatermark: number
  readonly lastStableOffset: number
  readonly logStartOffset: number
  readonly aborted: readonly AbortedTransaction[]
  /** Where the record batches lie in the response; empty where `from` = `to`. */
  readonly from: number
  readonly to: number
}

export interface FetchResponse {
  readonly throttleMs: number
  readonly code: number
  readonly partitions: readonly FetchedPartition[]
  /** The response itself, into which the partitions point. */
  readonly bytes: Uint8Array
}

/**
 * Fetch v13 (KIP-516, Kafka 3.1): topics by their ids, so that a broker refuses to read on in a topic that was made
 * again; v12 with names would answer from the new topic as if it were the old one. No fetch session. Committed data only:
 * up to the last stable offset, with the aborted transactions named.
 *
 *     request    replica i32 = -1 | max wait i32 | min bytes i32 | max bytes i32 | isolation i8 | session i32 = 0 | epoch i32 = -1
 *                | topics: [id uuid, [partition, tags], tags] | forgotten: [] | rack "" | tags
 *     partition  index i32 | leader epoch i32 | offset i64 | last fetched epoch i32 | log start i64 | max bytes i32
 *     response   throttle i32 | error i16 | session i32 | topics: [id uuid, [partition, tags], tags] | tags
 *     partition  index i32 | error i16 | high watermark i64 | last stable offset i64 | log start i64
 *                | aborted: [producer id i64, first offset i64, tags] | preferred replica i32 | record batches: compact bytes
 */
export const fetch: Api<FetchRequest, FetchResponse> = {
  name: 'Fetch',
  key: 1,
  version: 13,
  flexible: true,
  write(writer, { partitions, maxBytes, maxWaitMs, minBytes }) {
    writer.int32(-1).int32(maxWaitMs).int32(minBytes).int32(maxBytes)
    writer.int8(1).int32(0).int32(-1)
    writer.compactArray([...byTopic(partitions)], ([topicId, asked]) => {
      writer.uuid(topicId)
      writer.compactArray(asked, (each) => {
        writer.int32(each.partition).int32(-1).int64(each.offset).int32(-1).int64(-1).int32(each.maxBytes).tags()
      })
      writer.tags()
    })
    writer.compactArray([], () => {})
    writer.compactString('').tags()
  },
  read(reader) {
    const throttleMs = reader.int32()
    const code = reader.int16()
    reader.int32()
    const topics = reader.compactArray((topic) => {
      const topicId = topic.uuid()
      const partitions = topic.compactArray((each): FetchedPartition => {
        const partition = each.int32()
        const code = each.int16()
        const [highWatermark, lastStableOffset, logStartOffset] = [each.int64(), each.int64(), each.int64()]
        const aborted = each.compactArray((transaction) => {
          const [high, low, firstOffset] = [transaction.int32(), transaction.int32(), transaction.int64()]
          transaction.tags()
          return { high, low, firstOffset }
        })
        each.int32()
        const records = each.compactBytes()
        const to = each.at
        const from = to - (records?.length ?? 0)
        each.tags()
        return { topicId, partition, code, highWatermark, lastStableOffset, logStartOffset, aborted, from, to }
      })
      topic.tags()
      return partitions
    })
    return { throttleMs, code, partitions: topics.flat(), bytes: reader.bytes }
  },
}

/** Topics in the order in which they are first asked for; so are the partitions of each. */
function byTopic(partitions: readonly FetchPartition[]): Map<string, FetchPartition[]> {
  const topics = new Map<string, FetchPartition[]>()
  for (const each of partitions) {
    const there = topics.get(each.topicId)
    if (there === undefined) topics.set(each.topicId, [each])
    else there.push(each)
  }
  return topics
}
