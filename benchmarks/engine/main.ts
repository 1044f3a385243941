/** The suite `engine`: the hot path alone, from record-batch bytes to features. See README.md. */
import { exposeCollector, type Suite } from '../harness.ts'
import { benchBytes } from './bytes.ts'
import { benchFinish } from './finish.ts'
import { benchGather } from './gather.ts'
import { benchGrowth } from './growth.ts'
import { benchIngest, probe } from './ingest.ts'
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
  storeEvents: 2_000_000,
  startEntities: 1_000_000,
  bytesEntities: 50_000,
  gatherEvents: 5_000_000,
}
const keys = 50_000
const manyKeys = 1_000_000
/** A slower engine gets a quarter of the events, or the small sizes would take minutes. */
const slowBelow = 1_000_000

export const engineSuite: Suite = async (options) => {
  exposeCollector()
  const sizes = { ...(options.full ? full : small) }
  if (!options.full && probe(keys) < slowBelow) {
    sizes.events /= 4
    sizes.storeEvents /= 4
    options.note(
      `engine: fewer than ${slowBelow} events/s when tried, so ${sizes.events} events instead of ${small.events}`,
    )
  }
  const { wants } = options
  if (wants('engine/ingest') || wants('engine/replay'))
    await benchIngest(options, { events: sizes.events, storeEvents: sizes.storeEvents, keys, manyKeys })
  if (wants('engine/finish')) await benchFinish(options, 'engine/finish', 10_000)
  if (wants('engine/finish-100')) await benchFinish(options, 'engine/finish-100', 100)
  if (wants('engine/finish-1m')) await benchFinish(options, 'engine/finish-1m', 1_000_000)
  if (wants('engine/gather')) await benchGather(options, { events: sizes.gatherEvents, keys })
  if (wants('engine/bytes')) benchBytes(options, sizes.bytesEntities)
  if (wants('engine/start')) await benchStart(options, sizes.startEntities)
  if (options.full && wants('engine/growth')) await benchGrowth(options, keys)
}
