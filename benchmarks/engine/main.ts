/** The suite `engine`: the hot path alone, from record-batch bytes to features. See README.md. */
import { exposeCollector, type Suite } from '../harness.ts'
import { benchBytes } from './bytes.ts'
import { benchFinish } from './finish.ts'
import { benchGather } from './gather.ts'
import { benchIngest } from './ingest.ts'
import { benchStart } from './start.ts'

const small = {
  events: 1_000_000,
  storeEvents: 300_000,
  startEntities: 100_000,
  bytesEntities: 5_000,
  gatherEvents: 500_000,
}
const full = {
  events: 5_000_000,
  storeEvents: 5_000_000,
  startEntities: 1_000_000,
  bytesEntities: 50_000,
  gatherEvents: 5_000_000,
}
const keys = 50_000

export const engineSuite: Suite = async (options) => {
  exposeCollector()
  const sizes = options.full ? full : small
  await benchIngest(options, { events: sizes.events, storeEvents: sizes.storeEvents, keys, manyKeys: 1_000_000 })
  await benchFinish(options, 'engine/finish', 10_000)
  await benchFinish(options, 'engine/finish-100', 100)
  await benchFinish(options, 'engine/finish-1m', 1_000_000)
  await benchGather(options, { events: sizes.gatherEvents, keys })
  benchBytes(options, sizes.bytesEntities)
  await benchStart(options, sizes.startEntities)
}
