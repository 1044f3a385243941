/** kafka/to-redis: a topic that is filled beforehand into Redis, by one worker as users run it. */
import type { ChildProcess } from 'node:child_process'
import { endedEarly, exitOf, startChild } from '../../cli/up.ts'
import type { ChildMessage } from '../../cli/commands/processes.ts'
import { FileLock } from '../../connectors/kit/file-lock.ts'
import { makeDataFolder, type Project } from '../../cli/project.ts'
import { mainCatalog } from '../engine/cards.ts'
import { batchRecords, type Dataset } from '../engine/dataset.ts'
import { expectedOf, sampledCards } from '../engine/expected.ts'
import { ensure, interleaved, median, rate, type BenchOptions } from '../harness.ts'
import { RawFetch } from '../limits/kafka-fetch.ts'
import { BareIngest } from '../limits/engine.ts'
import { costsSince, ensureRows, topicOf, type Costs, type KafkaBench } from './context.ts'
import { partitions } from './features.ts'

const bench = 'kafka/to-redis'
/** A worker that takes longer for its events has failed. */
const stillMsMax = 120_000

interface Round {
  readonly seconds: number
  readonly costs: Costs
  readonly bytes: number
  /** Flushes of single shards. */
  readonly flushes: number
}

/** Returns the worker's CPU-seconds per million. */
export async function benchToRedis(
  options: BenchOptions,
  on: KafkaBench,
  project: Project,
  dataset: Dataset,
): Promise<number> {
  const expected = expectedOf(mainCatalog, dataset, sampledCards(dataset))
  const rounds: Round[] = []
  const topic = topicOf(project)
  const bare = new BareIngest(dataset.perEntity.length, 8 + (1.6 * dataset.events) / dataset.perEntity.length + 40)
  const raw = await RawFetch.open(on.brokers, topic, partitions)
  try {
    await interleaved(
      options,
      async () => {
        await on.client.flushall()
        const round = await oneWorker(on, project, dataset.events)
        rounds.push(round)
        await ensureRows(bench, project, dataset, expected, rounds.length === options.rounds)
        return [rate(bench, 'events/s', dataset.events, { seconds: round.seconds, cpuSeconds: round.costs.worker })]
      },
      async () => {
        bare.reset()
        const cost = await raw.timed(dataset.events, (bytes) => bare.run(bytes))
        ensure(bare.entities === dataset.entities, `the limit has ${bare.entities} entities`)
        return [rate(bench, 'events/s', dataset.events, cost)]
      },
    )
  } finally {
    raw.close()
  }
  noteRounds(options, dataset, rounds, project.config.online.shards)
  return median(rounds.map(({ costs }) => (costs.worker / dataset.events) * 1e6))
}

/**
 * `tidemark worker --once`. It stands still after its first reads, so that starting it is not counted, and ends when all
 * is in Redis. The offline tables are another worker's, for which their lock is held here.
 */
async function oneWorker(on: KafkaBench, project: Project, events: number): Promise<Round> {
  makeDataFolder(project)
  await using _lock = FileLock.acquire(project.paths.workerLock, bench)
  const stops = new Stops()
  const child = startChild(project, ['worker', '--once', '--stop-at', `1,${events}`], (message) => stops.told(message))
  stops.watch(child)
  using _child = { [Symbol.dispose]: () => void child.kill('SIGKILL') }
  const first = await stops.next()
  ensure(first > 0 && first <= events, `${bench}: the worker stood still at ${first} of ${events} events`)
  const cost = costsSince(on, [child.pid ?? 0])
  const before = await counters(on)
  const started = performance.now()
  child.send({})
  const applied = await stops.next()
  const seconds = (performance.now() - started) / 1000
  const costs = cost()
  const after = await counters(on)
  ensure(applied === events, `${bench}: the worker applied ${applied} of ${events} events`)
  child.send({})
  const code = await exitOf(child)
  if (code !== 0) throw endedEarly('the worker', code)
  // What it had when the clock began is not counted.
  const share = events / (events - first)
  return {
    seconds: seconds * share,
    costs: { worker: costs.worker * share, broker: costs.broker * share, redis: costs.redis * share },
    bytes: after.bytes - before.bytes,
    flushes: after.flushes - before.flushes,
  }
}

async function counters({ client }: KafkaBench): Promise<{ readonly bytes: number; readonly flushes: number }> {
  const bytes = /total_net_input_bytes:(\d+)/.exec(await client.info('stats'))?.[1]
  // Absent until there was one.
  const flushes = /cmdstat_evalsha:calls=(\d+)/.exec(await client.info('commandstats'))?.[1] ?? 0
  return { bytes: Number(bytes), flushes: Number(flushes) }
}

/** The places at which a worker stands still. */
class Stops {
  readonly #applied: number[] = []
  #wake = Promise.withResolvers<void>()
  #exit: number | null = null

  watch(child: ChildProcess): void {
    child.once('exit', (code) => {
      this.#exit = code ?? 1
      this.#wake.resolve()
    })
  }

  told(message: ChildMessage): void {
    if (message.kind !== 'stopped') return
    this.#applied.push(message.applied)
    this.#wake.resolve()
  }

  async next(): Promise<number> {
    for (;;) {
      const applied = this.#applied.shift()
      if (applied !== undefined) return applied
      if (this.#exit !== null) throw endedEarly('the worker', this.#exit)
      const late = setTimeout(() => this.#wake.reject(new Error('the worker does not go on')), stillMsMax)
      await this.#wake.promise.finally(() => clearTimeout(late))
      this.#wake = Promise.withResolvers()
    }
  }
}

function noteRounds(
  { note }: BenchOptions,
  { events, entities }: Dataset,
  rounds: readonly Round[],
  shards: number,
): void {
  const each = (of: (round: Round) => number): number => median(rounds.map(of))
  const million = (of: (costs: Costs) => number): string => each(({ costs }) => (of(costs) / events) * 1e6).toFixed(2)
  const seconds = each((round) => round.seconds)
  const busy = (of: (costs: Costs) => number): string =>
    `${Math.round((100 * each(({ costs }) => of(costs))) / seconds)} %`
  note(
    `${bench}: ${events} events of ${entities} cards in batches of ${batchRecords}: CPU-s per million: ` +
      `worker ${million(({ worker }) => worker)}, broker ${million(({ broker }) => broker)}, Redis ${million(({ redis }) => redis)}`,
  )
  const apart = each(({ seconds, flushes }) => (1000 * seconds * shards) / flushes)
  note(
    `${bench}: busy of a core: worker ${busy(({ worker }) => worker)}, broker ${busy(({ broker }) => broker)}, ` +
      `Redis ${busy(({ redis }) => redis)}; ${(each(({ bytes }) => bytes) / events).toFixed(0)} bytes an event sent to Redis; ` +
      `a shard is flushed every ${apart.toFixed(0)} ms, which is how old its rows get`,
  )
}
