/** The suite `kafka`: a broker, Redis and our processes on the same machine. See README.md. */
import { makeDataset } from '../engine/dataset.ts'
import { exposeCollector, type Suite } from '../harness.ts'
import { fillWith, KafkaBench } from './context.ts'
import { benchFetch } from './fetch.ts'
import { benchFreshness } from './freshness.ts'
import { benchToRedis } from './to-redis.ts'
import { benchTwoWorkers } from './two-workers.ts'

const small = { records: 500_000, events: 500_000, entities: 50_000 }
const full = { records: 3_000_000, events: 3_000_000, entities: 50_000 }

export const kafkaSuite: Suite = async (options) => {
  exposeCollector()
  const sizes = options.full ? full : small
  await using bench = await KafkaBench.open()
  const only = process.env['KB']
  const fresh = async () => {
    const project = await bench.project({ name: 'fresh', knownAt: 'logAppendTime', flushMs: 10, pollMs: 5 })
    await benchFreshness(
      options,
      bench,
      project,
      [10_000, 50_000],
      options.full ? { seconds: 10, warmSeconds: 5 } : { seconds: 2, warmSeconds: 2 },
    )
  }
  if (only === 'fresh') return await fresh()
  if (only === 'fetch') return await benchFetch(options, bench, sizes.records)
  if (only !== 'two') await benchFetch(options, bench, sizes.records)
  const project = await bench.project({ name: 'cards', knownAt: 'createTime' })
  const dataset = makeDataset({ name: 'kafka', events: sizes.events, entities: sizes.entities })
  await fillWith(bench, project, dataset)
  if (only !== 'two') await benchToRedis(options, bench, project, dataset)
  await benchTwoWorkers(options, bench, project, dataset)
}
