import { FeatureStoreError } from '../../../core/errors.ts'
import { offset, offsetZero, type Offset } from '../../../core/event/position.ts'
import type { AppendResult, EventLog, LogChunk, LogRecord, PartitionInfo } from '../../../core/ports/event-log.ts'
import { decideAppend } from '../../../connectors/log/append.ts'
import type { Scheduler } from '../scheduler.ts'
import type { Route, SimNetwork } from './network.ts'
import type { SimProcess } from './process.ts'

interface Batch {
  readonly bytes: Uint8Array
  readonly from: number
  readonly next: number
}

interface Partition {
  readonly batches: Batch[]
  end: number
  newestTimestampMs: number
}

/** The log itself: record batches as a broker holds them. It loses nothing. */
export class SimLogServer {
  readonly logId = 'simulated'
  readonly streams: ReadonlyMap<string, readonly Partition[]>

  constructor(partitions: Readonly<Record<string, number>>) {
    const fresh = (): Partition => ({ batches: [], end: 0, newestTimestampMs: -Infinity })
    this.streams = new Map(
      Object.entries(partitions).map(([stream, count]) => [stream, Array.from({ length: count }, fresh)]),
    )
  }

  /** One batch; returns its first offset and when its records became known. */
  append(stream: string, partition: number, records: readonly LogRecord[]): AppendResult {
    const there = this.#partition(stream, partition)
    const { end, newestTimestampMs } = there
    const decision = decideAppend({ epoch: 0, end, newestTimestampMs }, records)
    there.end += records.length
    there.newestTimestampMs = decision.newestTimestampMs
    there.batches.push({ bytes: decision.bytes.slice(), from: end, next: there.end })
    return { epoch: 0, firstOffset: offset(end), nextOffset: offset(there.end), clamped: decision.clamped }
  }

  describe(stream: string): readonly PartitionInfo[] | null {
    const partitions = this.streams.get(stream)
    if (partitions === undefined) return null
    return partitions.map(({ end }) => ({
      epochs: [{ epoch: 0, firstOffset: offsetZero }],
      start: offsetZero,
      end: offset(end),
    }))
  }

  /** At most `batchesMax` whole batches. */
  fetch(stream: string, partition: number, from: Offset, batchesMax: number): LogChunk {
    const { batches, end } = this.#partition(stream, partition)
    if (from > end) throw new FeatureStoreError('FS_REQUEST_INVALID', `${from} lies beyond the end, ${end}`)
    const first = batches.findIndex(({ next }) => next > from)
    const taken = first < 0 ? [] : batches.slice(first, first + batchesMax)
    return {
      bytes: Buffer.concat(taken.map(({ bytes }) => bytes)),
      baseOffset: offset(taken[0]?.from ?? from),
      nextOffset: offset(taken.at(-1)?.next ?? from),
    }
  }

  #partition(stream: string, index: number): Partition {
    const partition = this.streams.get(stream)?.[index]
    if (partition === undefined) throw new FeatureStoreError('FS_STREAM_UNKNOWN', `no partition ${stream}/${index}`)
    return partition
  }
}

/** The log as one process sees it, over the network. Nothing is written through it. */
export class SimLog implements EventLog {
  readonly logId: string
  readonly #server: SimLogServer
  readonly #network: SimNetwork
  readonly #route: Route
  readonly #process: SimProcess
  readonly #scheduler: Scheduler
  /** Batches of one fetch, at most. */
  readonly #batchesMax: number

  constructor(
    scheduler: Scheduler,
    server: SimLogServer,
    network: SimNetwork,
    route: Route,
    process: SimProcess,
    batchesMax: number,
  ) {
    this.logId = server.logId
    this.#scheduler = scheduler
    this.#server = server
    this.#network = network
    this.#route = route
    this.#process = process
    this.#batchesMax = batchesMax
  }

  create(): Promise<void> {
    return Promise.reject(new FeatureStoreError('FS_INTERNAL', 'nobody makes streams here'))
  }

  append(): Promise<AppendResult> {
    return Promise.reject(new FeatureStoreError('FS_INTERNAL', 'nobody appends here'))
  }

  nextSequence(): Promise<number> {
    return Promise.reject(new FeatureStoreError('FS_INTERNAL', 'nobody appends here'))
  }

  describe(stream: string): Promise<readonly PartitionInfo[] | null> {
    return this.#send(`describe ${stream}`, () => this.#server.describe(stream))
  }

  fetch(stream: string, partition: number, from: Offset): Promise<LogChunk> {
    const batches = this.#scheduler.random.integer(1, this.#batchesMax)
    return this.#send(`fetch ${stream}/${partition} from ${from}`, () =>
      this.#server.fetch(stream, partition, from, batches),
    )
  }

  #send<T>(label: string, run: () => T): Promise<T> {
    return this.#network.send({
      process: this.#process,
      route: this.#route,
      connection: 'log',
      label,
      run,
      code: 'FS_LOG_UNAVAILABLE',
    })
  }
}
