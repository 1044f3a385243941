import { type Api } from './api.ts'

/** Instead of a time: the log start offset, or the end. */
export const earliest = -2
export const latest = -1

export interface ListOffsetsRequest {
  readonly topic: string
  readonly partitions: readonly number[]
  readonly timestamp: typeof earliest | typeof latest
  /** The end is then the last stable offset, otherwise the high watermark. */
  readonly committed: boolean
}

export interface ListedOffset {
  readonly partition: number
  readonly code: number
  readonly offset: number
}

/**
 * ListOffsets v6, one topic.
 *
 *     request    replica i32 = -1 | isolation i8 | topics: [name, [partition i32, leader epoch i32, time i64, tags], tags] | tags
 *     response   throttle i32 | topics: [name, [partition i32, error i16, time i64, offset i64, epoch i32, tags], tags] | tags
 */
export const listOffsets: Api<ListOffsetsRequest, readonly ListedOffset[]> = {
  name: 'ListOffsets',
  key: 2,
  version: 6,
  flexible: true,
  write(writer, { topic, partitions, timestamp, committed }) {
    writer.int32(-1).int8(committed ? 1 : 0)
    writer.compactArray([topic], (name) => {
      writer.compactString(name)
      writer.compactArray(partitions, (partition) => writer.int32(partition).int32(-1).int64(timestamp).tags())
      writer.tags()
    })
    writer.tags()
  },
  read(reader) {
    reader.int32()
    const topics = reader.compactArray((topic) => {
      topic.compactName()
      const listed = topic.compactArray((each) => {
        const [partition, code] = [each.int32(), each.int16()]
        each.int64()
        const offset = each.int64()
        each.int32()
        each.tags()
        return { partition, code, offset }
      })
      topic.tags()
      return listed
    })
    return topics.flat()
  },
}
