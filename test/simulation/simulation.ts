/** One seed: a log that grows, workers and readers, faults; then quiet, and what must be true at the end. */
import { planView, type RowSplit, type ViewPlan } from '../../core/engine/plan.ts'
import type { NaiveEvent } from '../../core/engine/naive.ts'
import type { FeatureStoreError } from '../../core/errors.ts'
import { nextOffset } from '../../core/event/position.ts'
import { FeatureStoreError as StoreError } from '../../core/errors.ts'
import type { WorkerSettings } from '../../worker/run.ts'
import { checkEnd } from './at-the-end.ts'
import { Route, SimNetwork } from './fakes/network.ts'
import { SimProcess } from './fakes/process.ts'
import { SimLogServer } from './fakes/sim-log.ts'
import { SimOfflineServer } from './fakes/sim-offline-store.ts'
import { SimShardGroup } from './fakes/sim-shard-group.ts'
import { SimOnlineStore } from './fakes/sim-online-store.ts'
import { SimStoreNode } from './fakes/sim-store-node.ts'
import { faultPlan, faultText, type Fault } from './faults.ts'
import { Finding } from './finding.ts'
import { Checker, readEntity, type Checks } from './reader.ts'
import { Scheduler } from './scheduler.ts'
import { ProductWorker, type SimWorker, type World } from './sim-worker.ts'
import { Twin } from './twin.ts'
import { catalogs, deadCodeOf, partitionsOf, recordOf, speed, startMs, Workload, type Draft } from './workload.ts'

export interface SeedResult {
  readonly seed: number
  /** What went wrong, null where nothing did. */
  readonly finding: string | null
  readonly events: number
  readonly steps: number
  /** By kind; those that a command met are among them. */
  readonly faults: Readonly<Record<string, number>>
  readonly checks: Checks
  /** How workers ended, by code. */
  readonly endings: Readonly<Record<string, number>>
  /** Of the whole trace: the same seed gives the same one. */
  readonly digest: string
  /** Its last lines. */
  readonly trace: readonly string[]
}

export const eventsMin = 2_000
const shards = 8
/** Share of the runs with an embedded store: one node, one command a flush. */
const embeddedShare = 0.3
/** Share of the runs whose log goes on after the last fault. */
const lastWritesShare = 0.3
/** Share of the runs in which a store loses something when all is quiet. */
const lastLossShare = 0.3
/** Of readers that read all the time. */
const readerCount = 2
/** Faults come until then; the log stops growing a little before. */
const faultsUntilMs = 10_000
/** After the faults, for the workers to catch up; and then for what is still on its way. */
const catchUpMs = 40_000
const lingerMs = 2_000
const stepsMax = 400_000
/** Parts of rows are small here, so that busy entities have many. */
const split: RowSplit = { splitEvents: 20, partEvents: 8 }
const historyMs = 4_000

export async function runSeed(seed: number): Promise<SeedResult> {
  const simulation = new Simulation(seed)
  await simulation.run()
  return simulation.result
}

class Simulation {
  readonly #seed: number
  readonly #scheduler: Scheduler
  readonly #world: World
  readonly #plans: readonly ViewPlan[]
  readonly #twin: Twin
  readonly #checker: Checker
  readonly #faults: Record<string, number> = {}
  readonly #endings: Record<string, number> = {}
  /** By place: a place that is empty is filled by a supervisor. */
  readonly #current: (SimWorker | null)[]
  #workers = 0
  #events = 0
  /** When the store last lost something. */
  #lossMs = Number.NEGATIVE_INFINITY
  #isOver = false

  constructor(seed: number) {
    this.#seed = seed
    const scheduler = new Scheduler(seed)
    const { random } = scheduler
    const isEmbedded = random.chance(embeddedShare)
    const places = isEmbedded ? 1 : random.integer(1, 3)
    const catalog = isEmbedded ? catalogs.alone : catalogs.shared
    this.#scheduler = scheduler
    this.#plans = [...catalog.views.keys()].map((name) => planView(catalog, name, historyMs, split))
    const settings: WorkerSettings = {
      shards,
      historyMs,
      split,
      // None held longer than a batch, some, all.
      memoryBytesMax: random.pick([25_000, 45_000, 1e9]),
      flushMs: random.pick([50, 300, 1_500]),
      pollMs: random.pick([100, 300]),
      checkMs: random.pick([200, 1_000]),
    }
    this.#world = {
      scheduler,
      network: new SimNetwork(scheduler, (fate) => this.#count(fate)),
      catalog,
      log: new SimLogServer(partitionsOf(catalog)),
      logRoute: new Route(),
      batchesMax: random.pick([2, 5, 12]),
      nodes: Array.from(
        { length: isEmbedded ? 1 : 2 },
        (_, index) => new SimStoreNode(scheduler, `node ${index}`, this.#plans),
      ),
      offline: Array.from({ length: places }, () => new SimOfflineServer()),
      offlineRoute: new Route(),
      settings,
      group: isEmbedded ? null : new SimShardGroup(scheduler, shards),
      flushBytesMax: isEmbedded ? undefined : random.pick([undefined, 6_000, 60_000]),
      staleReads: !isEmbedded && random.chance(0.3),
    }
    this.#current = new Array<null>(places).fill(null)
    this.#twin = new Twin(this.#plans, shards)
    this.#checker = new Checker(this.#plans, this.#twin)
  }

  get result(): SeedResult {
    const { finding, steps, digest, trace } = this.#scheduler
    return {
      seed: this.#seed,
      finding: finding?.message ?? null,
      events: this.#events,
      steps,
      faults: this.#faults,
      checks: this.#checker.counts,
      endings: this.#endings,
      digest,
      trace,
    }
  }

  async run(): Promise<void> {
    const scheduler = this.#scheduler
    this.#write()
    this.#planFaults()
    for (let reader = 0; reader < readerCount; reader++) this.#startReader(`reader ${reader}`)
    for (const place of this.#current.keys()) this.#startWorker(place)
    await scheduler.run(() => scheduler.nowMs >= faultsUntilMs, stepsMax)
    this.#world.network.fateShare = 0
    if (scheduler.random.chance(lastWritesShare)) this.#writeLast()
    await this.#catchUp()
    if (scheduler.random.chance(lastLossShare)) {
      this.#loseLast()
      await this.#catchUp()
    }
    const lingerUntilMs = scheduler.nowMs + lingerMs
    await scheduler.run(() => scheduler.nowMs >= lingerUntilMs, stepsMax)
    this.#isOver = true
    if (scheduler.finding !== null) return
    try {
      await checkEnd(this.#world, this.#plans, this.#twin, this.#checker)
    } catch (error) {
      scheduler.fail(error)
    }
  }

  /** All that is ever written, each batch at its moment; the first ones are there before a worker is. */
  #write(): void {
    const { scheduler, catalog } = this.#world
    const { random } = scheduler
    const workload = new Workload(random)
    for (let left = eventsMin + random.integer(0, 300); left > 0;) {
      const stream = random.pick(['taps', 'taps', 'taps', 'orders', 'orders', 'accounts', 'seats'])
      if (!catalog.streams.has(stream)) continue
      const size = Math.min(left, random.integer(1, 34))
      left -= size
      const atMs = Math.max(0, (random.unit() * 1.15 - 0.15) * (faultsUntilMs - 1_000))
      scheduler.after(atMs, () => this.#append(workload, stream, size))
    }
  }

  /** Sometimes the log goes on a little when all is well again: else it is for the workers to see what a store has lost. */
  #writeLast(): void {
    const workload = new Workload(this.#scheduler.random)
    for (const stream of this.#world.catalog.streams.keys())
      this.#scheduler.after(500, () => this.#append(workload, stream, 8))
  }

  /** Nobody writes any more: what is lost now is seen by who looks. */
  #loseLast(): void {
    const { scheduler, nodes } = this.#world
    const fault = {
      kind: 'failover',
      node: scheduler.random.integer(0, nodes.length - 1),
      lost: scheduler.random.integer(1, 6),
    } as const
    this.#count(fault.kind)
    scheduler.note('fault', faultText(fault))
    this.#inject(fault)
  }

  async #catchUp(): Promise<void> {
    const scheduler = this.#scheduler
    const untilMs = scheduler.nowMs + catchUpMs
    await scheduler.run(() => this.#isCaughtUp() || scheduler.nowMs >= untilMs, stepsMax)
    if (scheduler.finding === null && !this.#isCaughtUp())
      scheduler.fail(new Finding('the workers do not catch up once nothing goes wrong any more'))
  }

  #append(workload: Workload, stream: string, size: number): void {
    const { scheduler, log } = this.#world
    const nowMs = startMs + Math.floor(scheduler.nowMs * speed)
    const byPartition = Map.groupBy(
      Array.from({ length: size }, () => workload.draft(stream, nowMs)),
      ({ partition }) => partition,
    )
    for (const [partition, drafts] of byPartition) {
      const records = drafts.map((draft) => recordOf(stream, draft, nowMs))
      const { firstOffset } = log.append(stream, partition, records)
      drafts.forEach((draft, index) => this.#tell(stream, draft, firstOffset + index, nowMs))
      scheduler.note('producer', `${drafts.length} to ${stream}/${partition} from ${firstOffset}`)
    }
    this.#events += size
  }

  #tell(stream: string, draft: Draft, offset: number, knownAtMs: number): void {
    const { partition, event } = draft
    const code = deadCodeOf(draft)
    if (event === null || code !== null) return this.#twin.addDead(stream, partition, offset, code ?? '')
    const naive: NaiveEvent = { ...event, partition, offset, knownAtMs }
    this.#twin.add(stream, naive)
  }

  #startReader(name: string): void {
    const { scheduler, network, nodes } = this.#world
    const { random } = scheduler
    const process = new SimProcess(scheduler, name)
    const store = new SimOnlineStore(nodes, network, process, true)
    const loop = async (): Promise<void> => {
      while (!this.#isOver) {
        await process.sleep(20 + random.unit() * 300)
        const { entities } = random.pick(this.#twin.views)
        if (entities.length === 0) continue
        const entity = random.pick(entities)
        try {
          const read = await readEntity(store, entity)
          if (read === null) this.#checker.counts.unreadable++
          else this.#checker.check(entity, read, this.#checker.asOf(random, entity))
        } catch (error) {
          if (!(error instanceof StoreError) || error.kind !== 'unavailable') throw error
        }
      }
    }
    loop().catch((error: unknown) => scheduler.fail(error))
  }

  #startWorker(place: number): void {
    const worker = new ProductWorker(this.#world, `worker ${++this.#workers}`, place)
    this.#current[place] = worker
    this.#scheduler.note(worker.name, 'starts')
    worker.start(() => this.#onEnding(worker, place))
  }

  #onEnding(worker: SimWorker, place: number): void {
    if (worker.ending?.kind === 'failed') this.#checkEnding(worker, worker.ending.error)
    else this.#endings['stopped'] = (this.#endings['stopped'] ?? 0) + 1
    if (this.#current[place] === worker) this.#replace(place)
  }

  /** A worker may end when it cannot go on; never because something is broken. */
  #checkEnding(worker: SimWorker, error: FeatureStoreError): void {
    const { code, kind } = error
    this.#endings[code] = (this.#endings[code] ?? 0) + 1
    if (kind === 'unavailable' || code === 'FS_FENCED' || code === 'FS_POSITION_GAP') return
    // Between a head and its parts the store may have lost both, or the successor of a zombie replaced them.
    const isExcused = this.#scheduler.nowMs - this.#lossMs < 5_000 || !this.#current.includes(worker)
    if (code === 'FS_ROW_CORRUPT' && isExcused) return
    // An embedded store's shards go together: one that the store lost, or that a successor wrote, ends the worker.
    const isElsewhere = Number.isFinite(this.#lossMs) || !this.#current.includes(worker)
    if (code === 'FS_STATE_FORMAT' && this.#world.group === null && isElsewhere) return
    this.#scheduler.fail(new Finding(`${worker.name} ends with ${code}: ${error.message}`))
  }

  /** Another worker, as a supervisor starts one. */
  #replace(place: number): void {
    this.#current[place] = null
    this.#scheduler.after(5 + this.#scheduler.random.unit() ** 2 * 400, () => {
      if (this.#current[place] !== null || this.#isOver) return false
      this.#startWorker(place)
      return true
    })
  }

  #planFaults(): void {
    const { scheduler, nodes, network } = this.#world
    network.fateShare = scheduler.random.pick([0, 0.002, 0.01])
    const plan = faultPlan(scheduler.random, {
      untilMs: faultsUntilMs - 200,
      nodes: nodes.length,
      servers: nodes.length + 2,
    })
    for (const { atMs, fault } of plan)
      scheduler.after(atMs, () => {
        this.#count(fault.kind)
        scheduler.note('fault', faultText(fault))
        this.#inject(fault)
        return true
      })
  }

  #inject(fault: Fault): void {
    const { scheduler, nodes, logRoute, offlineRoute, group } = this.#world
    const routes = [...nodes.map(({ route }) => route), logRoute, offlineRoute]
    const untilMs = Math.min(scheduler.nowMs + ('forMs' in fault ? fault.forMs : 0), faultsUntilMs)
    switch (fault.kind) {
      case 'crash':
        return this.#crash()
      case 'burst':
        for (let time = 0; time < fault.times; time++) scheduler.after(time * fault.everyMs, () => this.#crash())
        return
      case 'stop':
        return this.#any()[1]?.stop()
      case 'pause':
      case 'zombie': {
        const [place, worker] = this.#any()
        if (worker === null) return
        worker.pause()
        const isZombie = fault.kind === 'zombie'
        if (isZombie) {
          group?.giveUp(worker.name)
          this.#replace(place)
        }
        scheduler.after(untilMs - scheduler.nowMs, () => {
          scheduler.note(worker.name, 'is woken')
          worker.wake()
          // It goes on for a while as if nothing had been, then it is told.
          if (isZombie && group !== null) scheduler.after(600, () => (worker.stop(), true))
        })
        return
      }
      case 'rebalance':
        for (let time = 0; time < fault.times; time++) scheduler.after(time * fault.everyMs, () => group?.deal())
        return
      case 'failover':
        this.#lossMs = scheduler.nowMs
        return nodes[fault.node]?.failOver(fault.lost)
      case 'flushall':
        this.#lossMs = scheduler.nowMs
        return nodes[fault.node]?.clear()
      case 'stale': {
        const node = nodes[fault.node] as SimStoreNode
        node.staleUntilMs = untilMs
        node.staleWrites = fault.writes
        return
      }
      case 'cut':
        return void Object.assign(routes[fault.server] as Route, { cutUntilMs: untilMs })
      case 'slow':
        return void Object.assign(routes[fault.server] as Route, { slowUntilMs: untilMs })
      case 'noise':
        return void Object.assign(routes[fault.server] as Route, { noisyUntilMs: untilMs })
    }
  }

  /** A worker that runs, and its place. */
  #any(): readonly [number, SimWorker | null] {
    const place = this.#scheduler.random.integer(0, this.#current.length - 1)
    return [place, this.#current[place] ?? null]
  }

  #crash(): void {
    const [place, worker] = this.#any()
    if (worker === null) return
    this.#scheduler.note(worker.name, 'dies')
    worker.crash()
    this.#replace(place)
  }

  #isCaughtUp(): boolean {
    const { log, nodes, offline } = this.#world
    if (this.#scheduler.nowMs < faultsUntilMs + 1_000) return false
    if (offline.some(({ records }) => records < this.#events)) return false
    for (let shard = 0; shard < shards; shard++) {
      const position = nodes[shard % nodes.length]?.position(shard)?.position
      if (position === undefined) return false
      for (const [stream, partitions] of log.streams)
        for (const [partition, { end }] of partitions.entries())
          if (nextOffset(position, stream, partition) < end) return false
    }
    return true
  }

  #count(fault: string): void {
    this.#faults[fault] = (this.#faults[fault] ?? 0) + 1
  }
}
