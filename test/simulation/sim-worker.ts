/** A worker process of the simulation: the worker as it is, its ports being fakes. */
import type { Catalog } from '../../core/definition/catalog.ts'
import { FeatureStoreError } from '../../core/errors.ts'
import { silentLogger } from '../../core/ports/environment.ts'
import { runWorker, type WorkerSettings } from '../../worker/run.ts'
import type { SimNetwork, Route } from './fakes/network.ts'
import { SimProcess } from './fakes/process.ts'
import { SimLog, type SimLogServer } from './fakes/sim-log.ts'
import { SimOfflineStore, type SimOfflineServer } from './fakes/sim-offline-store.ts'
import type { SimShardGroup } from './fakes/sim-shard-group.ts'
import { SimOnlineStore } from './fakes/sim-online-store.ts'
import type { SimStoreNode } from './fakes/sim-store-node.ts'
import type { Scheduler } from './scheduler.ts'
import { writerSchemas } from './workload.ts'

/** Servers and settings that all workers of a run share. */
export interface World {
  readonly scheduler: Scheduler
  readonly network: SimNetwork
  readonly catalog: Catalog
  readonly log: SimLogServer
  readonly logRoute: Route
  readonly batchesMax: number
  readonly nodes: readonly SimStoreNode[]
  /** One for each place of a worker: of two workers that fill one table, one is told that it does not stand there. */
  readonly offline: readonly SimOfflineServer[]
  readonly offlineRoute: Route
  readonly settings: WorkerSettings
  /** Null: one worker has all shards. */
  readonly group: SimShardGroup | null
  readonly flushBytesMax: number | undefined
  /** Workers too read rows where they may be old. */
  readonly staleReads: boolean
}

export type Ending = { readonly kind: 'stopped' } | { readonly kind: 'failed'; readonly error: FeatureStoreError }

/** What a run does to a worker. Its steps are the scheduler's: a worker moves when something reaches it. */
export interface SimWorker {
  readonly name: string
  readonly isAlive: boolean
  /** Once it has ended by itself. */
  readonly ending: Ending | null
  start(onEnding: () => void): void
  /** It flushes and ends. */
  stop(): void
  crash(): void
  pause(): void
  wake(): void
}

/** The worker of worker/run.ts, with all shards or with those that a group gives it. */
export class ProductWorker implements SimWorker {
  readonly name: string
  ending: Ending | null = null
  readonly #world: World
  readonly #process: SimProcess
  readonly #offline: SimOfflineServer
  readonly #stopping = new AbortController()

  constructor(world: World, name: string, place: number) {
    this.#offline = world.offline[place] as SimOfflineServer
    this.#world = world
    this.name = name
    this.#process = new SimProcess(world.scheduler, name)
  }

  get isAlive(): boolean {
    return this.#process.isAlive && this.ending === null
  }

  start(onEnding: () => void): void {
    const { scheduler, network, catalog, log, logRoute, batchesMax, nodes, offlineRoute, settings } = this.#world
    const { group, flushBytesMax, staleReads } = this.#world
    const process = this.#process
    const end = (ending: Ending): void => {
      this.ending = ending
      scheduler.note(this.name, ending.kind === 'failed' ? `ends: ${ending.error.message}` : 'ends')
      onEnding()
    }
    runWorker({
      catalog,
      log: new SimLog(scheduler, log, network, logRoute, process, batchesMax),
      schemas: writerSchemas,
      online: new SimOnlineStore(nodes, network, process, staleReads, flushBytesMax),
      offline: new SimOfflineStore(this.#offline, network, offlineRoute, process),
      settings,
      ...(group === null ? {} : { ownership: group.ownership(process) }),
      clock: { nowMs: () => Math.floor(scheduler.nowMs) },
      logger: silentLogger,
      sleep: (ms) => process.sleep(ms),
      signal: this.#stopping.signal,
      until: 'aborted',
    }).then(
      () => end({ kind: 'stopped' }),
      (error: unknown) => {
        if (!(error instanceof FeatureStoreError)) scheduler.fail(error)
        else end({ kind: 'failed', error })
      },
    )
  }

  stop(): void {
    this.#stopping.abort()
  }
  crash(): void {
    this.#process.crash()
    this.#world.group?.giveUp(this.name)
  }
  pause(): void {
    this.#process.pause()
  }
  wake(): void {
    this.#process.wake()
  }
}
