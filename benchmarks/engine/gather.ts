/** engine/gather: 1,000 entities x 10 features into one float32 matrix, as time goes on. */
import { seeded } from '../../cli/audit.ts'
import { valueAt } from '../../core/engine/feature-column.ts'
import { ensure, interleaved, microseconds, timed, type BenchOptions, type Reading } from '../harness.ts'
import { gatherRows } from '../limits/gather.ts'
import { hourMs, mainCatalog, mainFeatures } from './cards.ts'
import { endMs, makeDataset, startMs } from './dataset.ts'
import { ensureExpected, expectedOf, sampledCards } from './expected.ts'
import { ingestAll } from './ingest.ts'

const bench = 'engine/gather'
const rows = 1_000
const features = mainFeatures.slice(0, 10)
const width = features.length
const secondsPerRound = 0.2
const limitCalls = 500
const askedSets = 8

export async function benchGather(options: BenchOptions, sizes: { events: number; keys: number }): Promise<void> {
  const dataset = makeDataset({ name: bench, events: sizes.events, entities: sizes.keys })
  const subject = ingestAll(dataset)
  const cards = sampledCards(dataset)
  ensureExpected(bench, expectedOf(mainCatalog, dataset, cards), (card, asOf) =>
    subject.finish(subject.entityOf(card), asOf),
  )
  const random = seeded(11)
  const known = [...dataset.perEntity.keys()].filter((card) => (dataset.perEntity[card] as number) > 0)
  // As many different ones as the limit copies: what is asked for again was not asked for just before.
  const sets = Array.from({ length: askedSets }, () => {
    const set = Int32Array.from({ length: rows }, () =>
      subject.entityOf(known[Math.floor(random() * known.length)] as number),
    )
    cards.forEach((card, row) => (set[row] = subject.entityOf(card)))
    return set
  })
  const asked = sets[0] as Int32Array
  const gather = subject.gather(features)
  const out = new Float32Array(rows * width)
  const calls = callsPerRound(() => gather(asked, endMs - 2 * hourMs, out))
  let nowMs = endMs - hourMs
  let jumps = 0
  // Half a day on and a little more each time, around the second half of the week: something has entered or left every window.
  const farMs = (): number => startMs + 84 * hourMs + ((jumps * 13 * hourMs) % (84 * hourMs)) + jumps
  const table = Float32Array.from({ length: subject.entityCount * width }, (_, cell) => cell % 1_000)
  const many = Array.from({ length: askedSets }, () =>
    Int32Array.from({ length: rows }, () => Math.floor(random() * subject.entityCount)),
  )
  for (let call = 0; call < limitCalls; call++) gatherRows(table, width, many[call % askedSets] as Int32Array, out)
  await interleaved(
    options,
    async () => {
      for (const set of sets) gather(set, nowMs, out)
      const hits = await timed(() => {
        for (let call = 0; call < calls; call++) gather(sets[call % askedSets] as Int32Array, ++nowMs, out)
      })
      ensureRows(sets[(calls - 1) % askedSets] as Int32Array, out, nowMs)
      const misses = await timed(() => {
        for (let call = 0; call < calls; call++) {
          jumps++
          gather(asked, farMs(), out)
        }
      })
      ensureRows(asked, out, farMs())
      return [microseconds(bench, calls, hits), microseconds(`${bench}-miss`, calls, misses)]
    },
    async () => {
      const copied = new Float32Array(rows * width)
      const cost = await timed(() => {
        for (let call = 0; call < limitCalls; call++)
          gatherRows(table, width, many[call % askedSets] as Int32Array, copied)
      })
      const last = many[(limitCalls - 1) % askedSets] as Int32Array
      ensure(copied[width] === table[(last[1] as number) * width], `${bench}: the limit copied something else`)
      return [bench, `${bench}-miss`].map((name): Reading => microseconds(name, limitCalls, cost))
    },
  )

  /** What was gathered is what finishing says, which the naive twin has been asked about. */
  function ensureRows(entities: Int32Array, matrix: Float32Array, asOfMs: number): void {
    const columns = subject.finishMany(entities, { asOfMs, knownAsOfMs: Number.POSITIVE_INFINITY }, features)
    columns.forEach((column, at) => {
      for (let row = 0; row < rows; row++) {
        const value = valueAt(column, row)
        const expected = value === null ? Number.NaN : Math.fround(Number(value))
        const got = matrix[row * width + at] as number
        ensure(Object.is(got, expected), `${bench}: ${column.name} of row ${row} is ${got}, not ${expected}`)
      }
    })
  }
}

function callsPerRound(once: () => void): number {
  once()
  const started = performance.now()
  once()
  const seconds = (performance.now() - started) / 1000
  return Math.max(3, Math.min(2_000, Math.round(secondsPerRound / seconds)))
}
