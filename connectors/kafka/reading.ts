import { FeatureStoreError } from '../../core/errors.ts'
import { offset, type Offset } from '../../core/event/position.ts'
import { type LogChunk } from '../../core/ports/event-log.ts'
import { BufferPool, freshBuffers, type ResponseBuffers } from './buffers.ts'
import { type Cluster } from './cluster.ts'
import { TransientAnswer } from './errors.ts'
import { BrokerFetcher, type FetchAnswer } from './fetch.ts'
import { type Offsets } from './offsets.ts'
import { type PinnedTopics } from './topics.ts'

type Batches = Extract<FetchAnswer, { kind: 'batches' }>

interface Ahead {
  readonly from: number
  readonly answer: Promise<Batches | null>
}

interface PartitionState {
  /** What was asked for before anybody wanted it. */
  ahead: Ahead | null
  /** What the caller looks at. */
  held: Batches | null
}

export interface ReadingOptions {
  readonly cluster: Cluster
  readonly topics: PinnedTopics
  readonly offsets: Offsets
  /** Names the connections, so that one reader's responses do not wait for another's. */
  readonly purpose: string
  /** Ask ahead, and use buffers again: the bytes of a chunk are then good until the next fetch of its partition. */
  readonly ahead: boolean
}

/**
 * Fetching with leaders that move, and one chunk ahead.
 *
 *     fetch(p, 0)  ─► ask 0                         ─► chunk [0, 90)   and ask 90 before the caller walks it
 *     fetch(p, 90) ─► there or on the way           ─► chunk [90, 200) and ask 200; the buffer of [0, 90) is free
 *     (no fetch)      one chunk lies ready, nothing is asked
 *
 * So each partition holds two chunks at most: the one looked at and the one ahead.
 */
export class Reading {
  private readonly options: ReadingOptions
  private readonly buffers: ResponseBuffers
  private readonly fetchers = new Map<number, BrokerFetcher>()
  private readonly states = new Map<string, PartitionState>()

  constructor(options: ReadingOptions) {
    this.options = options
    this.buffers = options.ahead ? new BufferPool() : freshBuffers
  }

  async fetch(stream: string, partition: number, from: Offset, maxBytes: number): Promise<LogChunk> {
    if (!this.options.ahead) return chunkOf(await this.now(stream, partition, from, maxBytes))
    const name = `${stream}/${partition}`
    const state = this.states.get(name) ?? { ahead: null, held: null }
    this.states.set(name, state)
    state.held?.release()
    state.held = null
    const batches = (await this.fromAhead(state, from)) ?? (await this.now(stream, partition, from, maxBytes))
    state.held = batches
    if (batches.bytes.length > 0) this.askAhead(state, stream, partition, batches.nextOffset, maxBytes)
    return chunkOf(batches)
  }

  /** What lies ready, when it is what is wanted. An empty answer may be out of date: the log goes on. */
  private async fromAhead(state: PartitionState, from: number): Promise<Batches | null> {
    const { ahead } = state
    state.ahead = null
    if (ahead === null) return null
    if (ahead.from !== from) {
      void ahead.answer.then((batches) => batches?.release())
      return null
    }
    const batches = await ahead.answer
    return batches === null || batches.nextOffset === from ? null : batches
  }

  /** A failure says nothing: whoever wants the offset asks for it again, and meets it. */
  private askAhead(state: PartitionState, stream: string, partition: number, from: number, maxBytes: number): void {
    const answer = this.attempt(stream, partition, from, maxBytes, true).catch(() => null)
    state.ahead = { from, answer: answer.then((each) => (each?.kind === 'batches' ? each : null)) }
  }

  private async now(stream: string, partition: number, from: Offset, maxBytes: number): Promise<Batches> {
    const { cluster, topics } = this.options
    const name = `${stream}/${partition}`
    const answer = await cluster.retrying(`fetch of ${name}`, topics.nameOf(stream), () =>
      this.attempt(stream, partition, from, maxBytes, false),
    )
    if (answer.kind === 'batches') return answer
    const { start, end } = await this.options.offsets.range(stream, partition)
    if (from < start && from >= 0)
      throw new FeatureStoreError(
        'FS_HISTORY_TRIMMED',
        `${name} begins at offset ${start} by now; ${from} was asked for`,
      )
    throw new FeatureStoreError('FS_REQUEST_INVALID', `offset ${from} of ${name} is not within ${start} to ${end}`)
  }

  private async attempt(
    stream: string,
    partition: number,
    from: number,
    maxBytes: number,
    known: boolean,
  ): Promise<FetchAnswer> {
    const { topics } = this.options
    // No await where all is known: a request ahead goes out before the caller walks.
    const { topicId, leader } =
      (known ? topics.knownLeader(stream, partition) : null) ?? (await topics.leaderOf(stream, partition))
    return this.fetcherOf(leader).ask({ name: `${stream}/${partition}`, topicId, partition, offset: from, maxBytes })
  }

  private fetcherOf(leader: number): BrokerFetcher {
    if (leader < 0) throw new TransientAnswer(5, 'the metadata')
    const { cluster, purpose } = this.options
    const there = this.fetchers.get(leader)
    if (there !== undefined) return there
    const connect = () => cluster.connection(leader, purpose)
    const fetcher = new BrokerFetcher({ connect, buffers: this.buffers, settings: cluster.settings })
    this.fetchers.set(leader, fetcher)
    return fetcher
  }
}

const chunkOf = ({ bytes, baseOffset, nextOffset }: Batches): LogChunk => ({
  bytes,
  baseOffset: offset(baseOffset),
  nextOffset: offset(nextOffset),
})
