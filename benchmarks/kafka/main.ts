/** The suite `kafka`: a broker, Redis and our processes on the same machine. See README.md. */
import { makeDataset } from '../engine/dataset.ts'
import { exposeCollector, type Suite } from '../harness.ts'
import { fillWith, KafkaBench } from './context.ts'
import { benchFetch } from './fetch.ts'
import { benchFreshness } from './freshness.ts'
import { benchStreamsPeer } from './streams-peer.ts'
import { benchToRedis } from './to-redis.ts'
import { benchTwoWorkers } from './two-workers.ts'

const entities = 50_000
const small = { records: 300_000, events: 500_000, freshness: { seconds: 1.5, warmSeconds: 1 } }
const full = { records: 3_000_000, events: 3_000_000, freshness: { seconds: 10, warmSeconds: 5 } }
/** Kafka Streams takes a minute and more for these. */
const peerEvents = 1_000_000

export const kafkaSuite: Suite = async (options) => {
  exposeCollector()
  const sizes = options.full ? full : small
  await using bench = await KafkaBench.open()
  const { wants } = options
  if (wants('kafka/fetch')) await benchFetch(options, bench, sizes.records)
  if (wants('kafka/freshness')) {
    const fresh = await bench.project({ name: 'fresh', knownAt: 'logAppendTime', flushMs: 10 })
    await benchFreshness(options, bench, fresh, [10_000, 50_000], sizes.freshness)
  }
  if (!['kafka/to-redis', 'kafka/two-workers', 'kafka/streams-peer'].some(wants)) return

  const project = await bench.project({ name: 'cards', knownAt: 'createTime' })
  const dataset = makeDataset({ name: 'kafka', events: sizes.events, entities })
  await fillWith(bench, project, dataset)
  const ours = await benchToRedis(options, bench, project, dataset)
  if (wants('kafka/two-workers')) await benchTwoWorkers(options, bench, project, dataset)
  if (!wants('kafka/streams-peer')) return
  if (!options.full) return options.note('kafka/streams-peer takes minutes: only with --full')
  await benchStreamsPeer(options, bench, makeDataset({ name: 'peer', events: peerEvents, entities }), ours)
}
