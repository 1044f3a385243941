/** engine/bytes: what one retained event takes in memory, at 100 events an entity. */
import { againstBound, collect, ensure, type BenchOptions } from '../harness.ts'
import { mainCatalog } from './cards.ts'
import { makeDataset } from './dataset.ts'
import { ensureExpected, expectedOf, sampledCards } from './expected.ts'
import { ingestAll } from './ingest.ts'

const bench = 'engine/bytes'
/** Bytes of a retained event, of which its time and amount are 12. */
const bound = 20
const eventsPerEntity = 100

/** What the process knows to be held once garbage is gone; a second collection, because array buffers go with the one after their owner. */
export function held(): { readonly heap: number; readonly total: number } {
  collect()
  collect()
  const { heapUsed, arrayBuffers } = process.memoryUsage()
  return { heap: heapUsed, total: heapUsed + arrayBuffers }
}

/** The decoder's table of keys is part of it: a worker holds one beside its engine. */
export function benchBytes(options: BenchOptions, entities: number): void {
  const events = entities * eventsPerEntity
  const dataset = makeDataset({ name: bench, events, entities, draw: 'in-turn' })
  const expected = expectedOf(mainCatalog, dataset, sampledCards(dataset, 1))
  ingestAll(makeDataset({ name: 'warm-up', events: 5_000, entities: 50, draw: 'in-turn' }))
  const before = held().total
  const subject = ingestAll(dataset)
  const bytes = (held().total + subject.unseenBytes - before) / events
  options.note(`${bench}: the engine itself says ${(subject.memoryBytes / events).toFixed(1)} bytes an event`)
  ensureExpected(bench, expected, (card, asOf) => subject.finish(subject.entityOf(card), asOf))
  ensure(bytes > 12, `${bench}: ${bytes} bytes cannot hold a time and an amount`)
  options.emit(againstBound(bench, 'bytes', bytes, bound))
}
