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
import type { Route, SimNetwork } from './network.ts'
import type { SimProcess } from './process.ts'

/** The offline store itself. What is applied to it is done when the command arrives. */
export class SimOfflineServer {
  readonly store = openMemoryOfflineStore()
  /** Of the records of each insert that was applied: stream, partition, first, next. */
  inserted: (readonly [stream: string, partition: number, first: number, next: number])[] = []
}

/** The offline store as one process sees it. A server of null never answers: nobody may wait for it but who needs it. */
export class SimOfflineStore implements OfflineStore {
  readonly #server: SimOfflineServer | null
  readonly #network: SimNetwork
  readonly #route: Route
  readonly #process: SimProcess

  constructor(server: SimOfflineServer | null, network: SimNetwork, route: Route, process: SimProcess) {
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

  drop(stream: string): Promise<void> {
    return this.#send(`drop ${stream}`, (server) => {
      server.inserted = server.inserted.filter(([of]) => of !== stream)
      return server.store.drop(stream)
    })
  }

  /** The server does it at once, in jobs that end before the next step. */
  async #send<T>(label: string, run: (server: SimOfflineServer) => Promise<T>): Promise<T> {
    const server = this.#server
    if (server === null) return new Promise<never>(() => {})
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
