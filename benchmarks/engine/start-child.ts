/**
 * A process of engine/start: `write` fills a store and goes on until it is killed; `start` takes it over and says when the
 * first events were applied; `limit` reads the positions and decodes the same events, and no more; `finish` takes it over
 * and applies the rest.
 */
import { setInterval } from 'node:timers'
import { systemRandom } from '../../cli/environment.ts'
import { openOnlineStore } from '../../connectors/lmdb/online-store.ts'
import { nextOffset } from '../../core/event/position.ts'
import { silentLogger } from '../../core/ports/environment.ts'
import type { OnlineStore } from '../../core/ports/online-store.ts'
import { timed, type Cost } from '../harness.ts'
import { cards, mainCatalog } from './cards.ts'
import { readBytes, type CardLog } from './dataset.ts'
import { PacedFlushes, startProjecting } from './projection.ts'
import { startDataset, type StartChildMessage, type StartMode } from './start.ts'
import { newDecoder, settings } from './subject.ts'

const [mode, folder = '', entities = ''] = process.argv.slice(2)
const { log } = startDataset(Number(entities))
const say = (message: StartChildMessage): void => void process.send?.(message)

const store = await openOnlineStore(folder, {
  mode: 'write',
  generation: 'bench',
  logger: silentLogger,
  random: systemRandom,
})
switch (mode as StartMode) {
  case 'write':
    await write(store, log)
    break
  case 'start': {
    const { result, ...cost } = await timed(async () => {
      const projecting = await startProjecting(mainCatalog, store, log)
      const from = projecting.projection.next(cards.name, 0)
      await projecting.step()
      return { from, next: projecting.projection.next(cards.name, 0) }
    })
    end({ ...result, cost })
    break
  }
  case 'limit': {
    const shards = Array.from({ length: settings.shards }, (_, shard) => shard)
    const { result, ...cost } = await timed(async () => {
      const positions = await store.positions(shards)
      const from = Math.min(...positions.map((held) => (held === null ? 0 : nextOffset(held.position, cards.name, 0))))
      const chunk = log.chunk(from, readBytes)
      return { from, next: newDecoder().decode(chunk, 0, 0, chunk.baseOffset).nextOffset as number }
    })
    end({ ...result, cost })
    break
  }
  case 'finish': {
    const projecting = await startProjecting(mainCatalog, store, log)
    const from = projecting.projection.next(cards.name, 0)
    while (await projecting.step());
    await projecting.projection.flush()
    await store[Symbol.asyncDispose]()
    say({ kind: 'done', from, next: log.records, cost: { seconds: 0, cpuSeconds: 0 } })
  }
}

/** Tells how far it is as it flushes, and is in the middle of it when the end comes. The last eighth is left for whoever comes next. */
async function write(into: OnlineStore, whole: CardLog): Promise<void> {
  const projecting = await startProjecting(mainCatalog, into, whole)
  const flushes = new PacedFlushes(projecting.projection)
  const until = (whole.records * 7) / 8
  while (projecting.projection.applied < until && (await projecting.step())) {
    await flushes.offer()
    say({ kind: 'wrote', applied: projecting.projection.applied, stored: flushes.stored })
  }
  await flushes.drain()
  say({ kind: 'wrote', applied: projecting.projection.applied, stored: flushes.stored })
  setInterval(() => {}, 1_000)
}

/** What was timed is said; the store stays as it was but for the owner of its shards. */
function end(what: { readonly from: number; readonly next: number; readonly cost: Cost }): void {
  process.send?.({ kind: 'done', ...what } satisfies StartChildMessage, () => process.exit(0))
}
