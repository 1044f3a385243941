import { openMemoryOfflineStore } from '../../../connectors/memory/offline-store.ts'
import { FeatureStoreError } from '../../../core/errors.ts'
import type { EventBatch } from '../../../core/event/batch.ts'
import type { PartitionPosition } from '../../../core/event/position.ts'
import type {
  EventHistory,
  EventQuery,
  EventTable,
  InsertOutcome,
  OfflineStore,
} from '../../../core/ports/offline-store.ts'
import { Finding } from '../finding.ts'
import type { Route, SimNetwork } from './network.ts'
import type { SimProcess } from './process.ts'

/** The offline store itself. What is applied to it is done when the command arrives. */
export class SimOfflineServer {
  readonly store = openMemoryOfflineStore()
  /** Of the records of each insert that was applied: stream, partition, first, next. */
  readonly inserted: (readonly [stream: string, partition: number, first: number, next: number])[] = []

  /** How many records the tables hold. */
  get records(): number {
    return this.inserted.reduce((total, [, , first, next]) => total + next - first, 0)
  }
}

/** The offline store as one process sees it. */
export class SimOfflineStore implements OfflineStore {
  readonly #server: SimOfflineServer
  readonly #network: SimNetwork
  readonly #route: Route
  readonly #process: SimProcess

  constructor(server: SimOfflineServer, network: SimNetwork, route: Route, process: SimProcess) {
    this.#server = server
    this.#network = network
    this.#route = route
    this.#process = process
  }

  prepare(tables: readonly EventTable[]): Promise<void> {
    return this.#send('prepare', ({ store }) => store.prepare(tables))
  }

  pending(): readonly [] {
    return []
  }

  positions(stream: string, partitions: number): Promise<readonly PartitionPosition[]> {
    return this.#send(`positions of ${stream}`, ({ store }) => store.positions(stream, partitions))
  }

  insert(batch: EventBatch): Promise<InsertOutcome> {
    return this.#send(`insert ${batch.stream}/${batch.partition} from ${batch.firstOffset}`, async (server) => {
      const outcome = await server.store.insert(batch)
      if (outcome.kind === 'applied')
        server.inserted.push([batch.stream, batch.partition, batch.firstOffset, batch.nextOffset])
      return outcome
    })
  }

  events(_query: EventQuery): Promise<EventHistory> {
    return Promise.reject(new FeatureStoreError('FS_INTERNAL', 'nobody asks for history here'))
  }

  /** A table is dropped when the log has lost records that it holds: here it never does. */
  drop(stream: string): Promise<void> {
    return this.#send(`drop ${stream}`, () => {
      throw new Finding(`the table of ${stream} is dropped, though the log has lost nothing`)
    })
  }

  /** The server does it at once, in jobs that end before the next step. */
  async #send<T>(label: string, run: (server: SimOfflineServer) => Promise<T>): Promise<T> {
    const server = this.#server
    return await this.#network.send({
      process: this.#process,
      route: this.#route,
      connection: 'offline',
      label: `offline ${label}`,
      run: () => {
        const done = run(server)
        // Of one that nobody waits for any more.
        done.catch(() => {})
        return done
      },
      code: 'FS_OFFLINE_UNAVAILABLE',
    })
  }
}
