/** The Kafka connector over a wire that breaks: what was appended is in the log once, and is read once. */
import { setTimeout as sleep } from 'node:timers/promises'
import { beforeEach, describe, expect, it } from 'vitest'
import { openKafkaLog, type KafkaEventLog, type KafkaOptions } from '../../connectors/kafka/index.ts'
import { recordsFrom } from '../../connectors/kit/event-log-suite.ts'
import { FeatureStoreError } from '../../core/errors.ts'
import { offset } from '../../core/event/position.ts'
import { drawFault, type FaultProxy } from '../support/fault-proxy.ts'
import { Prng } from '../support/prng.ts'
import { serverOfFile, startKafka } from '../support/services.ts'
import { random } from './support/random.ts'
import { readRecords } from './support/read-records.ts'

const broker = await serverOfFile('kafka', () => startKafka({ proxied: true }))
const producerId = 2n ** 61n + 7n
const faults = Math.ceil(Number(process.env['TIDEMARK_PROPERTY_RUNS'] ?? 300) / 5)

let topics = 0
let stream: string
beforeEach(() => {
  stream = `clicks-${topics++}`
})

const proxyOf = (): FaultProxy => broker().proxies[0] as FaultProxy

/** By way of the proxy; a request that is not answered is given up soon. */
const open = (more: Partial<KafkaOptions> = {}): Promise<KafkaEventLog> =>
  openKafkaLog({
    brokers: [proxyOf().address],
    random,
    requestTimeoutMs: 500,
    connectTimeoutMs: 500,
    retryMs: 60_000,
    ...more,
  })

const append = (log: KafkaEventLog, from: number, count: number) =>
  log.append(stream, 0, recordsFrom(from, count), { producerId, baseSequence: from })

/** What is in the log, asked past the proxy: every record once and in order, as offsets say. */
async function expectOnce(records: number): Promise<void> {
  await using log = await open({ brokers: broker().addresses })
  const there = await readRecords(log, stream, 0, 0, 1 << 20)
  const wanted = recordsFrom(0, records).map(({ timestampMs }, index) => ({ offset: index, timestampMs }))
  expect(there.map(({ offset, timestampMs }) => ({ offset, timestampMs }))).toEqual(wanted)
}

describe('a Kafka log whose wire breaks', () => {
  it('clients that begin at the proxy stay with it, and others go past it', async () => {
    const before = proxyOf().connections
    await using log = await open()
    await log.create(stream, { partitions: 1, knownAt: 'createTime' })
    await append(log, 0, 3)
    const [produced, connections] = [proxyOf().requests('Produce'), proxyOf().connections]
    expect([produced > 0, connections > before]).toEqual([true, true])
    await expectOnce(3)
    expect([proxyOf().requests('Produce'), proxyOf().connections]).toEqual([produced, connections])
  })

  it('an append whose reply is lost goes again by itself, and is in the log once', async () => {
    await using log = await open()
    await log.create(stream, { partitions: 1, knownAt: 'createTime' })
    await append(log, 0, 10)
    const produced = proxyOf().requests('Produce')
    const broken = proxyOf().breakReply({ of: 'Produce' })
    const appended = await append(log, 10, 10)
    expect(await broken).toMatchObject({ of: 'Produce', arrived: 0 })
    expect([appended.firstOffset, appended.nextOffset]).toEqual([10, 20])
    expect(proxyOf().requests('Produce')).toBe(produced + 2)
    // A part of a reply is no reply; so it is for one without an identity of the caller's.
    const cut = proxyOf().breakReply({ of: 'Produce', keep: 0.5 })
    await log.append(stream, 0, recordsFrom(20, 5))
    expect(await cut).toMatchObject({ of: 'Produce' })
    await expectOnce(25)
  })

  it('an append that comes late, after it was sent again, changes nothing', async () => {
    await using log = await open()
    await log.create(stream, { partitions: 1, knownAt: 'createTime' })
    await append(log, 0, 10)
    const produced = proxyOf().requests('Produce')
    proxyOf().inflict({ kind: 'hold', way: 'to-server' })
    const appended = append(log, 10, 10)
    // Whoever gave up is past the proxy now, as another process would be; then what it sent first arrives.
    while (proxyOf().requests('Produce') === produced) await sleep(10)
    await using other = await open({ brokers: broker().addresses })
    await append(other, 10, 10)
    await append(other, 20, 10)
    proxyOf().heal()
    expect(await appended).toMatchObject({ firstOffset: 10, nextOffset: 20 })
    await expectOnce(30)
  })

  it('an append that nobody answers says that the broker is away; what is there is asked of the leader', async () => {
    await using log = await open({ retryMs: 1_000 })
    await log.create(stream, { partitions: 1, knownAt: 'createTime' })
    await append(log, 0, 10)
    proxyOf().inflict({ kind: 'swallow', way: 'to-client' })
    await expect(append(log, 10, 10)).rejects.toMatchObject({ code: 'FS_KAFKA_UNAVAILABLE', kind: 'unavailable' })
    proxyOf().heal()
    expect(await log.nextSequence(stream, 0, producerId)).toBe(20)
    await append(log, 20, 10)
    await expectOnce(30)
  })

  it('an append by who asked for the sequence is taken, also where another process appended meanwhile', async () => {
    await using log = await open()
    await log.create(stream, { partitions: 1, knownAt: 'createTime' })
    await append(log, 0, 10)
    await using other = await open()
    await append(other, 10, 10)
    await append(other, 20, 10)
    expect(await log.nextSequence(stream, 0, producerId)).toBe(30)
    await append(log, 30, 10)
    await append(other, 40, 10)
    await expectOnce(50)
  })

  it.each(['to-server', 'to-client', 'both'] as const)('a fetch over a half-open wire (%s) goes on', async (way) => {
    await using log = await open()
    await log.create(stream, { partitions: 1, knownAt: 'createTime' })
    for (let index = 0; index < 10; index++) await append(log, index * 10, 10)
    const reader = log.reader()
    const first = await reader.fetch(stream, 0, offset(0), 300)
    proxyOf().inflict({ kind: 'swallow', way })
    const fetched = proxyOf().requests('Fetch')
    const rest = readRecords(reader, stream, 0, first.nextOffset, 300)
    while (proxyOf().requests('Fetch') === fetched) await sleep(10)
    proxyOf().heal()
    expect((await rest).map(({ offset }) => offset)).toEqual(
      Array.from({ length: 100 - first.nextOffset }, (_, index) => first.nextOffset + index),
    )
  })

  it(`reads and appends go on through ${faults} faults of every kind, and each record is there once`, async () => {
    await using log = await open()
    await log.create(stream, { partitions: 1, knownAt: 'createTime' })
    const reader = log.reader()
    const draws = new Prng(61)
    const sizes = new Prng(62)
    let [appended, isOver] = [0, false]
    const appending = (async () => {
      while (!isOver) {
        const count = sizes.integer(1, 20)
        await append(log, appended, count)
        appended += count
      }
    })()
    const seen: number[] = []
    const read = async (): Promise<void> => {
      for (const record of await readRecords(reader, stream, 0, seen.length, 2_000)) seen.push(record.offset)
    }
    const reading = (async () => {
      while (!isOver) await read()
    })()
    const requests = ['Produce', 'Fetch', 'Metadata', 'ListOffsets', 'ApiVersions']
    const kinds = ['delay', 'hold', 'swallow', 'cut', 'down', 'reply', 'reply', 'reply'] as const
    for (let index = 0; index < faults; index++) {
      proxyOf().inflict(drawFault(draws, { kinds, delayMsMax: 40, requests, nthMax: 8 }))
      await sleep(draws.integer(5, 60))
      if (index % 3 === 2) proxyOf().heal()
      // A few get long enough for requests to be given up.
      if (index % 20 === 10) await sleep(600)
    }
    proxyOf().heal()
    proxyOf().cut()
    isOver = true
    await Promise.all([appending, reading])
    await read()
    expect(seen).toEqual(Array.from({ length: appended }, (_, index) => index))
    await expectOnce(appended)
  }, 120_000)
})

describe('the errors of a wire', () => {
  it('an address that does not answer is waited for once a try, by however many names it is known', async () => {
    await using maker = await open()
    await maker.create(stream, { partitions: 1, knownAt: 'createTime' })
    await using log = await open({ retryMs: 0 })
    await log.describe(stream)
    proxyOf().inflict({ kind: 'swallow', way: 'both' })
    proxyOf().cut()
    const isAway = { code: 'FS_KAFKA_UNAVAILABLE' }
    // The first one meets the connection that was cut.
    await expect(log.describe(stream)).rejects.toMatchObject(isAway)
    const before = proxyOf().connections
    await expect(log.describe(stream)).rejects.toMatchObject(isAway)
    expect(proxyOf().connections - before).toBe(1)
    proxyOf().heal()
    proxyOf().cut()
  })

  it('a broker that takes connections and says nothing is unavailable, not waited for without end', async () => {
    proxyOf().inflict({ kind: 'swallow', way: 'both' })
    const opened = open({ retryMs: 0 })
    const code = await opened.then(
      async (log) => (await log[Symbol.asyncDispose](), 'opened'),
      (error: unknown) => (error instanceof FeatureStoreError ? error.code : String(error)),
    )
    proxyOf().heal()
    proxyOf().cut()
    expect(code).toBe('FS_KAFKA_UNAVAILABLE')
  })
})
