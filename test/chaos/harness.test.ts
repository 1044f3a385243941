/** What the harness relies on, without servers. */
import { expect, it } from 'vitest'
import { MemoryLog } from '../../connectors/memory/log.ts'
import { fieldsWritten } from '../../core/definition/corrections.ts'
import { buildCatalog, streamOf } from '../../core/definition/catalog.ts'
import type { StreamDefinition } from '../../core/definition/types.ts'
import { FeatureStoreError } from '../../core/errors.ts'
import { scalarAt } from '../../core/event/column.ts'
import { Op } from '../../core/event/operation.ts'
import type { Column, Scalar } from '../../core/event/types.ts'
import type { AppendResult, LogRecord, ProducerIdentity } from '../../core/ports/event-log.ts'
import { streamSchema } from '../../schemas/avro/index.ts'
import { StreamReader } from '../../schemas/stream-reader.ts'
import { Prng } from '../support/prng.ts'
import { killSteps } from './kill-steps.ts'
import { cards, type CardTotals } from './payments.ts'
import { Producer } from './producer.ts'
import { card, payments, totals, visits, visitTotals } from './project/features.ts'
import { percentile } from './table.ts'

const catalog = buildCatalog([payments, visits, card, totals, visitTotals])
const streams = { payments: streamOf(catalog, 'payments'), visits: streamOf(catalog, 'visits') }

/** Half of the appends are not answered, half of those are made all the same; what is asked of it fails now and then. */
class UncertainLog extends MemoryLog {
  readonly #random = new Prng(7)
  unanswered = 0

  override async append(
    name: string,
    partition: number,
    records: readonly LogRecord[],
    producer?: ProducerIdentity,
  ): Promise<AppendResult> {
    const isAnswered = this.#random.chance(0.5)
    const isMade = isAnswered || this.#random.chance(0.5)
    const result = isMade ? await super.append(name, partition, records, producer) : null
    if (isAnswered && result !== null) return result
    this.unanswered++
    throw new FeatureStoreError('FS_KAFKA_UNAVAILABLE', 'no answer')
  }

  override nextSequence(name: string, partition: number, producerId: bigint): Promise<number> {
    if (this.#random.chance(0.3)) throw new FeatureStoreError('FS_KAFKA_UNAVAILABLE', 'no answer')
    return super.nextSequence(name, partition, producerId)
  }
}

it('a producer whose appends are not answered knows what the log has, each record once and in order', async () => {
  const log = new UncertainLog()
  const producer = await Producer.start({
    log,
    putSchema: async () => {},
    streams,
    random: new Prng(1),
    everyMs: 0,
    retryMs: 1,
  })
  const ends = await producer.appended()
  for (let tick = 0; tick < 40; tick++) await producer.appended()
  await producer.stop()
  expect(log.unanswered).toBeGreaterThan(20)
  let records = 0
  for (const stream of Object.keys(streams)) {
    const partitions = (await log.describe(stream)) ?? []
    expect(partitions.every(({ end }, partition) => (ends[stream]?.[partition] ?? Infinity) <= end)).toBe(true)
    records += partitions.reduce((sum, { end }) => sum + end, 0)
  }
  expect(records).toBe(producer.records)
  expect(await totalsOf(log)).toEqual(producer.payments.totals)
})

/** Once more from the log: the first copy of each id counts, unless it is taken back. */
async function totalsOf(log: MemoryLog): Promise<ReadonlyMap<string, CardTotals>> {
  const totals = new Map<string, CardTotals>(
    cards.map((name) => [name, { n: 0, cents: 0n, records: 0, visits: 0, seconds: 0n }]),
  )
  const of = (name: Scalar): CardTotals => totals.get(String(name)) as CardTotals
  const counting = new Map<Scalar, readonly [card: Scalar, cents: Scalar]>()
  for await (const { op, cell } of rowsOf(log, streams.payments)) {
    if (op !== Op.retract) of(cell('card')).records++
    if (op === Op.retract) counting.delete(cell('id'))
    else counting.set(cell('id'), [cell('card'), cell('cents')])
  }
  for (const [name, cents] of counting.values()) {
    of(name).n++
    of(name).cents += cents as bigint
  }
  for await (const { cell } of rowsOf(log, streams.visits)) {
    of(cell('card')).visits++
    of(cell('card')).seconds += cell('seconds') as bigint
  }
  return totals
}

async function* rowsOf(log: MemoryLog, stream: StreamDefinition) {
  const schema = streamSchema(stream.name, fieldsWritten(stream))
  const reader = new StreamReader({ log, stream, schemas: () => schema })
  const partitions = (await log.describe(stream.name)) ?? []
  for await (const batch of reader.scan(partitions.map(({ end }) => ({ epoch: 0, next: end }))))
    for (let row = 0; row < batch.count; row++)
      yield {
        op: batch.ops?.[row] ?? Op.insert,
        cell: (name: string): Scalar => scalarAt(batch.columns[name] as Column, row),
      }
}

it('a producer whose log has lost what it acknowledged says so', async () => {
  const log = new MemoryLog()
  const producer = await Producer.start({ log, putSchema: async () => {}, streams, random: new Prng(1), retryMs: 1 })
  await producer.appended()
  log.append = () => Promise.reject(new FeatureStoreError('FS_KAFKA_UNAVAILABLE', 'no answer'))
  log.nextSequence = () => Promise.resolve(0)
  await expect(producer.appended()).rejects.toThrow(/the log had \d+ records of (payments|visits)\/\d and has 0/)
  await expect(producer.stop()).rejects.toThrow(/the log had/)
})

it('each step of the table is a method that the product has', async () => {
  for (const { watch } of killSteps) await expect(watch(() => {})).resolves.toBeUndefined()
  expect(new Set(killSteps.map(({ name }) => name)).size).toBe(killSteps.length)
})

it('percentiles are nearest ranks', () => {
  const ms = Array.from({ length: 200 }, (_, index) => 200 - index)
  expect([0.5, 0.99, 1].map((share) => percentile(ms, share))).toEqual([100, 198, 200])
  expect(percentile([], 0.5)).toBeNaN()
})
