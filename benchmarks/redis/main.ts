/** The suite `redis`: the online store on a Redis server of its own, on the same machine. See README.md. */
import { exposeCollector, type Suite } from '../harness.ts'
import { benchApply } from './apply.ts'
import { benchBytes } from './bytes.ts'
import { Loader, openBench } from './context.ts'
import { noteLayouts } from './layouts.ts'
import { benchRead } from './read.ts'

const small = { entities: 50_000, batches: 1_000, flushes: 6 }
const full = { entities: 500_000, batches: 10_000, flushes: 40 }

export const redisSuite: Suite = async (options) => {
  exposeCollector()
  const sizes = options.full ? full : small
  const bench = await openBench()
  try {
    const loader = await Loader.open(bench.store)
    await benchBytes(options, bench, loader, sizes.entities)
    await benchRead(options, bench, loader, { entities: sizes.entities, rounds: sizes.batches })
    await benchApply(options, bench, loader, { entities: sizes.entities, flushes: sizes.flushes })
    if (options.full) await noteLayouts(options, bench, small.entities)
  } finally {
    await bench.close()
  }
}
