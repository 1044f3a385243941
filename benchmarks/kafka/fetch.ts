/** kafka/fetch: our fetch loop with checksums, beside the bare loop and kafkajs. */
import { systemRandom } from '../../cli/environment.ts'
import { kafkajsOf, openKafkaLog, settingsOf, type KafkaEventLog } from '../../connectors/kafka/index.ts'
import { offset } from '../../core/event/position.ts'
import { encodeBatch, RecordCursor } from '../../schemas/recordbatch/index.ts'
import { ensure, interleaved, median, rate, timed, type BenchOptions, type Cost } from '../harness.ts'
import { RawFetch, RecordSums } from '../limits/kafka-fetch.ts'
import { fillTopic, withPeer, type KafkaBench } from './context.ts'
import { partitions } from './features.ts'

const bench = 'kafka/fetch'
const topic = 'values'
const valueBytes = 100
const batchRecords = 500
/** As the worker reads. */
const readBytes = 256 * 1024
/** So many batches differ; then they come again. */
const distinctBatches = 64
const peerMsMax = 120_000

export async function benchFetch(options: BenchOptions, on: KafkaBench, records: number): Promise<void> {
  const batches = await fill(on, records)
  const expected = new RecordSums()
  for (const batch of batches) expected.walk(Buffer.from(batch))
  await using log = await openKafkaLog({ brokers: on.brokers, random: systemRandom })
  const raw = await RawFetch.open(on.brokers, topic, partitions)
  const peers: number[] = []
  const peerCpu: number[] = []
  const check = (who: string, { records, bytes, heads }: RecordSums): void =>
    ensure(
      records === expected.records && bytes === expected.bytes && heads === expected.heads,
      `${bench}: ${who} read ${records} records, ${bytes} bytes, ${heads}; written were ${expected.records}, ${expected.bytes}, ${expected.heads}`,
    )
  const ours = async (): Promise<Cost> => {
    const { result, ...cost } = await timed(() => readAll(log.reader(), records))
    check('our reader', result)
    return cost
  }
  const bare = async (): Promise<Cost> => {
    const sums = new RecordSums()
    const cost = await raw.timed(records, sums.walk)
    check('the limit', sums)
    return cost
  }
  try {
    await ours()
    await bare()
    await interleaved(
      withPeer(options, 'kafkajs eachBatch', () => median(peers)),
      async () => [rate(bench, 'records/s', records, await ours())],
      async () => {
        const cost = await bare()
        const { sums, ...peer } = await byKafkajs(on, records)
        check('kafkajs', sums)
        peers.push(records / peer.seconds)
        peerCpu.push((peer.cpuSeconds / records) * 1e6)
        return [rate(bench, 'records/s', records, cost)]
      },
    )
  } finally {
    raw.close()
  }
  options.note(
    `${bench}: kafkajs eachBatch ${Math.round(median(peers)).toLocaleString('en-US')} records/s, ` +
      `${median(peerCpu).toFixed(2)} CPU-s per million`,
  )
}

/** Values of 100 bytes, keys of 9. */
async function fill(on: KafkaBench, records: number): Promise<readonly Uint8Array[]> {
  await using log = await openKafkaLog({ brokers: on.brokers, random: systemRandom })
  await log.create(topic, { partitions, knownAt: 'createTime' })
  const distinct = Array.from({ length: distinctBatches }, (_, batch) =>
    encodeBatch(
      Array.from({ length: batchRecords }, (_, row) => ({
        key: Buffer.from(`k${String(batch * batchRecords + row).padStart(8, '0')}`),
        value: Buffer.alloc(valueBytes, (batch * batchRecords + row) % 251),
        timestampMs: 1_700_000_000_000 + batch * batchRecords + row,
      })),
      { baseOffset: 0 },
    ),
  )
  const batches = Array.from(
    { length: records / batchRecords },
    (_, index) => distinct[index % distinctBatches] as Uint8Array,
  )
  await fillTopic(on.brokers, topic, batches)
  return batches
}

/** Through the partitions by turns, as the worker goes; every record is looked at. */
async function readAll(log: KafkaEventLog, records: number): Promise<RecordSums> {
  const sums = new RecordSums()
  const next = new Float64Array(partitions)
  const cursor = new RecordCursor()
  while (sums.records < records) {
    const before = sums.records
    for (let partition = 0; partition < partitions; partition++) {
      const chunk = await log.fetch(topic, partition, offset(next[partition] as number), readBytes)
      next[partition] = chunk.nextOffset
      cursor.reset(chunk.bytes)
      let { records, bytes, heads } = sums
      while (cursor.next()) {
        records++
        bytes += cursor.valueEnd - cursor.valueStart
        heads += cursor.bytes[cursor.valueStart] as number
      }
      Object.assign(sums, { records, bytes, heads })
    }
    ensure(sums.records > before, `${bench}: our reader stands still at ${sums.records} of ${records} records`)
  }
  return sums
}

let groups = 0

/** A group of its own each time. The clock runs from the first batch on: joining is not counted. */
async function byKafkajs(on: KafkaBench, records: number): Promise<Cost & { readonly sums: RecordSums }> {
  const kafka = kafkajsOf(settingsOf({ brokers: on.brokers, random: systemRandom }))
  const consumer = kafka.consumer({ groupId: `bench-${process.pid}-${groups++}`, maxBytesPerPartition: readBytes })
  const sums = new RecordSums()
  const done = Promise.withResolvers<void>()
  let started = 0
  let cpu = process.cpuUsage()
  await consumer.connect()
  try {
    await consumer.subscribe({ topics: [topic], fromBeginning: true })
    await consumer.run({
      autoCommit: false,
      eachBatchAutoResolve: true,
      eachBatch: ({ batch }) => {
        if (started === 0) {
          started = performance.now()
          cpu = process.cpuUsage()
        }
        for (const { value } of batch.messages) {
          sums.records++
          sums.bytes += value?.length ?? 0
          sums.heads += value?.[0] ?? 0
        }
        if (sums.records >= records) done.resolve()
        return Promise.resolve()
      },
    })
    const late = setTimeout(() => done.reject(new Error(`kafkajs read ${sums.records} records`)), peerMsMax)
    await done.promise
    clearTimeout(late)
    const { user, system } = process.cpuUsage(cpu)
    return { sums, seconds: (performance.now() - started) / 1000, cpuSeconds: (user + system) / 1e6 }
  } finally {
    await consumer.disconnect()
  }
}
