import { batchHeaderBytes, lengthPrefixBytes } from '../../schemas/recordbatch/layout.ts'
import { offset } from '../../core/event/position.ts'
import { type Cluster } from './cluster.ts'
import { answerError } from './errors.ts'
import { type Offsets } from './offsets.ts'
import { describeProducers } from './protocol/describe-producers.ts'
import { Reading } from './reading.ts'
import { type PinnedTopics } from './topics.ts'

export interface SequenceQuestion {
  readonly cluster: Cluster
  readonly topics: PinnedTopics
  readonly offsets: Offsets
  readonly stream: string
  readonly partition: number
  readonly producerId: bigint
}

const scanBytes = 8 * 1024 * 1024

/**
 * The sequence after the last one of a producer: as the leader remembers it, else from the headers of every batch of the
 * partition (at about a gigabyte a second). What a leader has forgotten is a day old, so no open transaction hides it
 * from the scan. What retention has trimmed does not count: such a producer begins anew.
 */
export async function producerSequence(question: SequenceQuestion): Promise<number> {
  return (await remembered(question)) ?? (await scanned(question))
}

async function remembered({
  cluster,
  topics,
  stream,
  partition,
  producerId,
}: SequenceQuestion): Promise<number | null> {
  const topic = topics.nameOf(stream)
  return cluster.retrying(`producers of ${stream}/${partition}`, topic, async () => {
    const { leader } = await topics.leaderOf(stream, partition)
    const connection = await cluster.connection(leader, 'control')
    const { code, producers } = await connection.request(describeProducers, { topic, partition })
    if (code !== 0) throw answerError(code, `DescribeProducers of ${stream}/${partition}`)
    const found = producers.find((each) => each.producerId === producerId)
    return found === undefined || found.lastSequence < 0 ? null : found.lastSequence + 1
  })
}

async function scanned({ cluster, topics, offsets, stream, partition, producerId }: SequenceQuestion): Promise<number> {
  const reading = new Reading({ cluster, topics, offsets, purpose: 'scan', ahead: true })
  const high = Number(BigInt.asIntN(32, producerId >> 32n))
  const low = Number(BigInt.asIntN(32, producerId))
  let next = 0
  for (let from = (await offsets.range(stream, partition)).start; ;) {
    const chunk = await reading.fetch(stream, partition, offset(from), scanBytes)
    if (chunk.nextOffset === from) return next
    const view = new DataView(chunk.bytes.buffer, chunk.bytes.byteOffset, chunk.bytes.byteLength)
    for (let at = 0; view.byteLength - at >= batchHeaderBytes; at += lengthPrefixBytes + view.getInt32(at + 8))
      if (view.getInt32(at + 43) === high && view.getInt32(at + 47) === low)
        next = view.getInt32(at + 53) + view.getInt32(at + 23) + 1
    from = chunk.nextOffset
  }
}
