/** kafka/streams-peer: what Kafka Streams takes for three tumbling windows over the same events. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { systemRandom } from '../../cli/environment.ts'
import { openKafkaLog } from '../../connectors/kafka/index.ts'
import { encodeBatch, RecordCursor } from '../../schemas/recordbatch/index.ts'
import { findJava, type Java } from '../../scripts/services/java.ts'
import { downloadJarsOf } from '../../scripts/services/maven.ts'
import { Problem } from '../../scripts/services/problem.ts'
import { settingsOf } from '../../scripts/services/settings.ts'
import { cardText } from '../engine/cards.ts'
import { batchRecords, type Dataset } from '../engine/dataset.ts'
import { ensure, rounded, type BenchOptions } from '../harness.ts'
import { fillTopic, type KafkaBench } from './context.ts'
import { partitions } from './features.ts'

const bench = 'kafka/streams-peer'
const peer = 'Kafka Streams 4.3.1'
const topic = 'keyed'
/** We want to need so much less. */
const goal = 20
const windows = 3
const limitMs = 1_200_000
const home = resolve(import.meta.dirname, '../peers/kafka-streams')

interface PeerResult {
  readonly seconds: number
  /** From the first event until it is closed. */
  readonly cpuSeconds: number
  /** From the start of the process. */
  readonly wholeCpuSeconds: number
  readonly windows: readonly { readonly count: number; readonly cents: number }[]
}

/** Once: it takes minutes. `ours`: CPU-seconds per million of our worker in the same run. */
export async function benchStreamsPeer(
  options: BenchOptions,
  on: KafkaBench,
  dataset: Dataset,
  ours: number,
): Promise<void> {
  const files = await peerFiles(options)
  if (files instanceof Problem) return options.note(`${bench} skipped: ${files.message}`)
  await fillKeyed(on, dataset)
  const result = await run(on, files, dataset.events)
  ensure(result.windows.length === windows, `${bench}: ${result.windows.length} windows`)
  for (const { count, cents } of result.windows)
    ensure(
      count === dataset.events && cents === result.windows[0]?.cents,
      `${bench}: a window counts ${count} of ${dataset.events} events, ${cents} cents`,
    )
  const theirs = (result.cpuSeconds / dataset.events) * 1e6
  options.note(
    `${bench}: ${Math.round(dataset.events / result.seconds).toLocaleString('en-US')} events/s, ` +
      `${theirs.toFixed(1)} CPU-s per million, ${((result.wholeCpuSeconds / dataset.events) * 1e6).toFixed(1)} with its start; ` +
      `${(theirs / ours).toFixed(0)} times ours`,
  )
  options.emit({
    bench,
    value: rounded(ours),
    unit: 'CPU-s/M',
    limit: rounded(theirs / goal),
    ratio: rounded(theirs / goal / ours),
    cpuSecondsPerMillion: rounded(ours),
    spread: [rounded(ours), rounded(ours)],
    rounds: 1,
    peer,
    peerValue: rounded(theirs),
  })
}

interface PeerFiles {
  readonly java: Java
  readonly libs: string
}

/** The jars, from Maven Central into the folder of the services; a compiler, since the source is compiled on the way. */
async function peerFiles({ note }: BenchOptions): Promise<PeerFiles | Problem> {
  const { folder } = settingsOf()
  const java = await findJava(folder)
  if (java instanceof Problem) return java
  const there = join(folder, 'kafka-streams-4.3.1')
  if (existsSync(there)) return { java, libs: join(there, 'libs') }
  const work = `${there}.${process.pid}.part`
  try {
    await downloadJarsOf(folder, work, readFileSync(join(home, 'pom.xml'), 'utf8'), java, note)
    renameSync(work, there)
    return { java, libs: join(there, 'libs') }
  } catch (error) {
    if (error instanceof Problem) return error
    throw error
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

async function run(on: KafkaBench, { java, libs }: PeerFiles, events: number): Promise<PeerResult> {
  const source = join(home, 'StreamsPeer.java')
  const args = ['-Xmx4g', '-cp', join(libs, '*'), source, on.brokers.join(','), topic, String(events)]
  const child = spawn(java.program, [...args, join(on.folder, 'streams')], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, ...java.env },
  })
  const late = setTimeout(() => child.kill('SIGKILL'), limitMs)
  let output = ''
  child.stdout.on('data', (bytes: Buffer) => (output += bytes.toString()))
  const [code] = (await once(child, 'exit')) as [number | null]
  clearTimeout(late)
  const line = output.split('\n').find((text) => text.startsWith('{'))
  ensure(code === 0 && line !== undefined, `${bench}: it ended with ${code}: ${output}`)
  return JSON.parse(line) as PeerResult
}

/** The same events under their card, all of one card in one partition: so it needs no topic to share them out anew. */
async function fillKeyed(on: KafkaBench, dataset: Dataset): Promise<void> {
  await using log = await openKafkaLog({ brokers: on.brokers, random: systemRandom })
  await log.create(topic, { partitions, knownAt: 'createTime' })
  const cursor = new RecordCursor()
  const waiting = Array.from({ length: partitions }, (): Parameters<typeof encodeBatch>[0][number][] => [])
  /** Batch i goes to partition i mod 4. */
  const batches: Uint8Array[] = []
  const queues = Array.from({ length: partitions }, (): Uint8Array[] => [])
  const send = (partition: number): void => {
    const records = waiting[partition] ?? []
    if (records.length > 0) queues[partition]?.push(encodeBatch(records, { baseOffset: 0 }))
    waiting[partition] = []
  }
  for (const chunk of dataset.log.chunks()) {
    cursor.reset(chunk.bytes)
    while (cursor.next()) {
      const card = dataset.owners[cursor.offset] as number
      const partition = card % partitions
      waiting[partition]?.push({
        key: Buffer.from(cardText(card)),
        value: cursor.bytes.slice(cursor.valueStart, cursor.valueEnd),
        timestampMs: cursor.timestampMs,
      })
      if (waiting[partition]?.length === batchRecords) send(partition)
    }
  }
  for (let partition = 0; partition < partitions; partition++) send(partition)
  const longest = Math.max(...queues.map(({ length }) => length))
  for (let index = 0; index < longest; index++)
    for (const queue of queues) batches.push(queue[index] ?? new Uint8Array(0))
  await fillTopic(on.brokers, topic, batches)
}
