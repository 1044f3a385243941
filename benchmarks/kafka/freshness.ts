/**
 * kafka/freshness-10k, -50k: from handing an event to the producer until an answer over gRPC has it, at so many events a
 * second. The worker and the server are processes of their own; who produces and who asks are this one.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { systemRandom } from '../../cli/environment.ts'
import type { Project } from '../../cli/project.ts'
import { makeDataFolder } from '../../cli/project.ts'
import { endChild, endedEarly, startChild } from '../../cli/up.ts'
import { openConnection } from '../../connectors/kafka/handshake.ts'
import { settingsOf } from '../../connectors/kafka/index.ts'
import { produce } from '../../connectors/kafka/protocol/produce.ts'
import { FileLock } from '../../connectors/kit/file-lock.ts'
import { compileEncoder } from '../../schemas/avro/index.ts'
import { encodeBatch } from '../../schemas/recordbatch/index.ts'
import { connectFeatureClient, type FeatureClient } from '../../serving/grpc/client.ts'
import { cardsSchema, cardText, viewName } from '../engine/cards.ts'
import { cpuSecondsOf, ensure, median, quantile, rounded, type BenchOptions } from '../harness.ts'
import { topicOf, type KafkaBench } from './context.ts'
import { partitions } from './features.ts'

/** As often an event is made that is looked for. */
const probeMs = 4
/** Batches that are not acknowledged, at most; each goes to the next partition. */
const depth = 4
const batchMax = 5_000
const produceTimeoutMs = 30_000
/** The reader rests so long between an answer and the next question. */
const askMs = 1
/** Given: what the design asks of p99, milliseconds. */
const boundMs = 50
const graceMs = 15_000
const foundMsMax = 20_000
/** Cards of the load, and those whose events are looked for: rows of theirs are there before. */
const cardsOfLoad = 50_000
const cardsOfProbes = 1_000
const feature = `${viewName}:count_7d`

export interface FreshnessSizes {
  readonly seconds: number
  readonly warmSeconds: number
}

export async function benchFreshness(
  options: BenchOptions,
  on: KafkaBench,
  project: Project,
  rates: readonly number[],
  sizes: FreshnessSizes,
): Promise<void> {
  makeDataFolder(project)
  await using _lock = FileLock.acquire(project.paths.workerLock, 'kafka/freshness')
  const pids: Record<string, number> = { broker: on.brokerPid, Redis: on.redisPid }
  const worker = startChild(project, ['worker'], () => {})
  pids['worker'] = worker.pid ?? 0
  const server = await startServer(project, on)
  pids['serve'] = server.child.pid ?? 0
  try {
    await using client = connectFeatureClient(server.address)
    const load = await Load.open(on, project, client)
    await load.touchProbes()
    for (const perSecond of rates) {
      const bench = `kafka/freshness-${perSecond / 1_000}k`
      await load.run(perSecond, sizes.warmSeconds)
      const before = cpuOf(pids)
      const started = performance.now()
      const rounds: Float64Array[] = []
      load.acknowledgedMs = []
      for (let round = 0; round < options.rounds; round++) rounds.push(await load.run(perSecond, sizes.seconds))
      const seconds = (performance.now() - started) / 1000
      const busy = Object.entries(cpuOf(pids)).map(
        ([name, cpu]) => `${name} ${Math.round((100 * (cpu - (before[name] ?? 0))) / seconds)} %`,
      )
      await load.check(bench)
      emit(options, bench, rounds)
      const acknowledged = Float64Array.from(load.acknowledgedMs).sort()
      options.note(
        `${bench}: busy of a core: ${busy.join(', ')}; a batch of ${Math.round((perSecond * seconds) / acknowledged.length)} ` +
          `events is acknowledged after ${quantile(acknowledged, 0.5).toFixed(1)} ms, p99 ${quantile(acknowledged, 0.99).toFixed(1)} ms`,
      )
    }
    load.close()
  } finally {
    await endChild(server.child, graceMs)
    await endChild(worker, graceMs)
  }
}

const cpuOf = (pids: Readonly<Record<string, number>>): Record<string, number> =>
  Object.fromEntries(Object.entries(pids).map(([name, pid]) => [name, cpuSecondsOf(pid)]))

/** A server finds no rows before the first worker was there. */
async function startServer(project: Project, { client }: KafkaBench) {
  const until = performance.now() + foundMsMax
  while ((await client.dbsize()) === 0 && performance.now() < until) await sleep(20)
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  const child = startChild(project, ['serve', '--port', '0'], (message) => {
    if (message.kind === 'serving') resolve(message.address)
  })
  child.once('exit', (code) => reject(endedEarly('the server', code ?? 1)))
  return { child, address: await promise }
}

function emit(options: BenchOptions, bench: string, rounds: readonly Float64Array[]): void {
  const sorted = rounds.map((round) => round.toSorted())
  for (const [name, share] of [
    [bench, 0.99],
    [`${bench}-p50`, 0.5],
    [`${bench}-p999`, 0.999],
  ] as const) {
    const values = sorted.map((round) => quantile(round, share))
    const value = median(values)
    options.emit({
      bench: name,
      value: rounded(value),
      unit: 'ms',
      limit: boundMs,
      ratio: rounded(boundMs / value),
      cpuSecondsPerMillion: null,
      spread: [rounded(Math.min(...values)), rounded(Math.max(...values))],
      rounds: rounds.length,
    })
  }
}

interface Probe {
  readonly card: number
  /** Events that the card has with this one. */
  readonly count: number
  readonly sentMs: number
}

/** Events at a steady rate; cards of the load come first, those of the probes behind them. */
class Load {
  readonly #encoder = compileEncoder(cardsSchema)
  readonly #connection: Awaited<ReturnType<typeof openConnection>>
  readonly #client: FeatureClient
  readonly #topic: string
  readonly #counts = new Int32Array(cardsOfLoad + cardsOfProbes)
  /** How long the broker took for each batch, milliseconds. */
  acknowledgedMs: number[] = []
  #probe = 0
  #batch = 0
  #drawn = 1
  #failure: unknown = null

  private constructor(connection: Awaited<ReturnType<typeof openConnection>>, client: FeatureClient, topic: string) {
    this.#connection = connection
    this.#client = client
    this.#topic = topic
  }

  static async open(on: KafkaBench, project: Project, client: FeatureClient): Promise<Load> {
    const [host, port] = (on.brokers[0] as string).split(':') as [string, string]
    const settings = settingsOf({ brokers: on.brokers, random: systemRandom })
    return new Load(await openConnection(host, Number(port), settings), client, topicOf(project))
  }

  close(): void {
    this.#connection[Symbol.dispose]()
  }

  /** One event of each card, and waits until those of the probes are there. */
  async touchProbes(): Promise<void> {
    for (let card = 0; card < this.#counts.length; card += 500)
      await this.#send(Array.from({ length: 500 }, (_, index) => card + index))
    await this.check('kafka/freshness')
  }

  /** How long each probe took, milliseconds. */
  async run(perSecond: number, seconds: number): Promise<Float64Array> {
    const latencies: number[] = []
    const open = new Map<number, Probe>()
    const producing = this.#produce(perSecond, seconds, open)
    let isOver = false
    void producing.finally(() => (isOver = true)).catch(() => {})
    let overMs = Number.POSITIVE_INFINITY
    while (!isOver || open.size > 0) {
      if (this.#failure !== null) throw this.#failure
      if (isOver && overMs === Number.POSITIVE_INFINITY) overMs = performance.now()
      ensure(performance.now() - overMs < foundMsMax, `an event was not to be read ${foundMsMax} ms after it was sent`)
      if (open.size > 0) await this.#ask(open, latencies)
      await sleep(askMs)
    }
    await producing
    return Float64Array.from(latencies)
  }

  /**
   * What is due goes out as soon as fewer than `depth` requests are unanswered, all of it in one batch: slower brokers get
   * larger batches, as from any producer. A probe's time begins when it is due, whatever waits before it.
   */
  async #produce(perSecond: number, seconds: number, open: Map<number, Probe>): Promise<void> {
    const started = performance.now()
    const events = Math.round(perSecond * seconds)
    const perProbe = Math.round((perSecond * probeMs) / 1000)
    const underWay = new Set<Promise<void>>()
    for (let made = 0; made < events;) {
      while (underWay.size >= depth) await Promise.race(underWay)
      const due = Math.min(events, Math.floor(((performance.now() - started) / 1000) * perSecond))
      const cards: number[] = []
      for (; made < due && cards.length < batchMax; made++) {
        const probe = cardsOfLoad + (this.#probe % cardsOfProbes)
        if (made % perProbe > 0 || open.has(probe)) cards.push(this.#draw())
        else {
          this.#probe++
          cards.push(probe)
          const sentMs = started + (made / perSecond) * 1000
          open.set(probe, { card: probe, count: (this.#counts[probe] as number) + 1, sentMs })
        }
      }
      if (cards.length > 0) {
        const sending = this.#send(cards)
          .catch((error: unknown) => void (this.#failure = error))
          .finally(() => underWay.delete(sending))
        underWay.add(sending)
      }
      if (made >= due) await sleep(1)
    }
    await Promise.all(underWay)
  }

  async #ask(open: Map<number, Probe>, latencies: number[]): Promise<void> {
    const probes = [...open.values()]
    const counts = await this.#read(probes.map(({ card }) => card))
    const nowMs = performance.now()
    for (const [index, { card, count, sentMs }] of probes.entries()) {
      if ((counts[index] as number) < count) continue
      ensure(counts[index] === count, `${cardText(card)} has ${counts[index]} events, not ${count}`)
      open.delete(card)
      latencies.push(nowMs - sentMs)
    }
  }

  async #read(cards: readonly number[]): Promise<readonly number[]> {
    const reply = await this.#client.getFeatures({
      features: [feature],
      entities: { card: cards.map(cardText) },
      request: {},
    })
    const [column] = reply.columns
    ensure(column !== undefined && column.values.type !== 'list', 'the reply has no count')
    const { values } = column.values
    return cards.map((_, row) => Number(values[row]))
  }

  /** Every probe's card, and every hundredth of the others, has as many events as were sent. */
  async check(bench: string): Promise<void> {
    const cards = [...this.#counts.keys()].filter((card) => card >= cardsOfLoad || card % 100 === 0)
    const until = performance.now() + foundMsMax
    for (;;) {
      const counts = await this.#read(cards)
      const wrong = cards.findIndex((card, index) => counts[index] !== this.#counts[card])
      if (wrong < 0) return
      const card = cards[wrong] as number
      ensure(
        performance.now() < until && (counts[wrong] as number) <= (this.#counts[card] as number),
        `${bench}: ${cardText(card)} has ${counts[wrong]} events of ${this.#counts[card]}`,
      )
      await sleep(20)
    }
  }

  #draw(): number {
    this.#drawn = (Math.imul(this.#drawn, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((this.#drawn / 2 ** 32) * cardsOfLoad)
  }

  /** One batch to the next partition, each event with the time of now. */
  async #send(cards: readonly number[]): Promise<void> {
    const nowMs = Date.now()
    const template = Buffer.from(this.#encoder.encode(eventOf(0, nowMs)))
    const at = template.indexOf(cardText(0))
    const records = cards.map((card) => {
      this.#counts[card] = (this.#counts[card] as number) + 1
      const value = Buffer.from(template)
      value.write(cardText(card), at, 'latin1')
      return { key: null, value, timestampMs: nowMs }
    })
    const batch = encodeBatch(records, { baseOffset: 0 })
    const partition = this.#batch++ % partitions
    const started = performance.now()
    const request = { topic: this.#topic, partition, batch, timeoutMs: produceTimeoutMs }
    const { code } = await this.#connection.request(produce, request)
    ensure(code === 0, `${this.#topic}/${partition} takes no batch: code ${code}`)
    this.acknowledgedMs.push(performance.now() - started)
  }
}

const eventOf = (card: number, nowMs: number) => ({
  card: cardText(card),
  merchant: 9_000,
  country: 7,
  time: nowMs,
  category: 100,
  amount: 12.5,
  terminal: 9_000,
  present: true,
  attempt: 1,
  auth: 9_000,
})
