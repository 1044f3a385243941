import { type Api } from './api.ts'

export interface ProduceRequest {
  readonly topic: string
  readonly partition: number
  /** One record batch. */
  readonly batch: Uint8Array
  readonly timeoutMs: number
}

export interface ProduceResponse {
  readonly throttleMs: number
  readonly code: number
  readonly baseOffset: number
  /** -1 where the topic keeps the producer's time. */
  readonly logAppendTimeMs: number
  readonly message: string | null
}

/**
 * Produce v9, one batch to one partition, acknowledged by all in-sync replicas.
 *
 *     request    transactional id = null | acks i16 = -1 | timeout i32 | topics: [name, [partition i32, batch, tags], tags] | tags
 *     response   topics: [name, [partition, tags], tags] | throttle i32 | tags
 *     partition  index i32 | error i16 | base offset i64 | append time i64 | log start i64 | record errors: [i32, message, tags] | message
 */
export const produce: Api<ProduceRequest, ProduceResponse> = {
  name: 'Produce',
  key: 0,
  version: 9,
  flexible: true,
  write(writer, { topic, partition, batch, timeoutMs }) {
    writer.compactString(null).int16(-1).int32(timeoutMs)
    writer.compactArray([topic], (name) => {
      writer.compactString(name)
      writer.compactArray([partition], (index) => writer.int32(index).compactBytes(batch).tags())
      writer.tags()
    })
    writer.tags()
  },
  read(reader) {
    const topics = reader.compactArray((topic) => {
      topic.compactName()
      const partitions = topic.compactArray((each) => {
        each.int32()
        const [code, baseOffset, logAppendTimeMs] = [each.int16(), each.int64(), each.int64()]
        each.int64()
        const errors = each.compactArray((error) => {
          error.int32()
          const message = error.compactString()
          error.tags()
          return message
        })
        const message = each.compactString() ?? errors.find((each) => each !== null) ?? null
        each.tags()
        return { code, baseOffset, logAppendTimeMs, message }
      })
      topic.tags()
      return partitions
    })
    const throttleMs = reader.int32()
    const partition = topics.flat()[0]
    return {
      throttleMs,
      ...(partition ?? { code: -1, baseOffset: -1, logAppendTimeMs: -1, message: 'an empty answer' }),
    }
  },
}
