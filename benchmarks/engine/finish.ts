/** engine/finish: 12 features of one entity at a new T, against sorted columns with prefix sums. */
import { hasValue, type FeatureColumn } from '../../core/engine/feature-column.ts'
import type { AsOf } from '../../core/asof/visible.ts'
import { ensure, interleaved, microseconds, timed, type BenchOptions } from '../harness.ts'
import { SortedWindows } from '../limits/sorted-windows.ts'
import { hourMs, mainCatalog, windows } from './cards.ts'
import { endMs, makeDataset, startMs } from './dataset.ts'
import { ensureExpected, eventsOf, expectedOf } from './expected.ts'
import { ingestAll } from './ingest.ts'
import type { Subject } from './subject.ts'

const only = 0
const secondsPerRound = 0.12
/** The limit takes more of them: one is too short to be timed. */
const limitTimes = 20_000
/** Up to this many events the naive twin answers at the end of the week, where the windows are full. */
const naiveEventsMax = 20_000

/** New moments of the last hour, so that all windows have something that enters and leaves. */
const momentsOf = (count: number, round: number): Float64Array =>
  Float64Array.from(
    { length: count },
    (_, index) => endMs - hourMs + Math.floor(((index + round / 8) * hourMs) / count),
  )

export async function benchFinish(options: BenchOptions, bench: string, events: number): Promise<void> {
  const dataset = makeDataset({ name: bench, events, entities: 1, draw: 'in-turn' })
  const subject = ingestAll(dataset)
  // Where there are many, windows near the beginning of the week hold few of them, and the twin ends in our lifetime.
  const moments = (): AsOf[] => {
    const at = events <= naiveEventsMax ? [endMs - 17 * 60_000, endMs] : [startMs + hourMs, startMs + 2 * hourMs]
    return at.map((asOfMs) => ({ asOfMs, knownAsOfMs: Number.POSITIVE_INFINITY }))
  }
  const expected = expectedOf(mainCatalog, dataset, [only], moments)
  const entity = subject.entityOf(only)
  ensure(dataset.perEntity[only] === events, `${bench}: the entity has ${dataset.perEntity[only]} events`)
  ensureExpected(bench, expected, (_card, asOf) => subject.finish(entity, asOf))

  const sorted = eventsOf(dataset, [only]).get(only) ?? []
  sorted.sort((a, b) => a.eventTimeMs - b.eventTimeMs)
  const limit = new SortedWindows(
    Float64Array.from(sorted, ({ eventTimeMs }) => eventTimeMs),
    Float64Array.from(sorted, ({ fields }) => Number(fields['amount'])),
  )
  const finish = subject.finisher()
  const count = timesPerRound(subject, entity)
  const spans = Object.values(windows)
  let round = 0
  await interleaved(
    options,
    async () => {
      const asOf = momentsOf(count, ++round)
      const { result, ...cost } = await timed(() => finish(entity, asOf))
      ensureNear(bench, result, asOf, limit, spans)
      return [microseconds(bench, count, cost)]
    },
    async () => {
      const asOf = momentsOf(limitTimes, round)
      const out = new Float64Array(spans.length * 4)
      let sum = 0
      const { result: _, ...cost } = await timed(() => {
        for (const time of asOf) {
          limit.finish(time, spans, out)
          sum += out[8] as number
        }
      })
      ensure(sum > 0, `${bench}: the limit counted nothing`)
      return [microseconds(bench, limitTimes, cost)]
    },
  )
}

/** As many as fit into a round, of at least three. */
function timesPerRound(subject: Subject, entity: number): number {
  const finish = subject.finisher()
  // The first read makes what is missing of summaries and nodes: of a million events it takes as long as thousands of others.
  finish(entity, momentsOf(1, 0))
  for (let count = 3; ; count *= 4) {
    const started = performance.now()
    finish(entity, momentsOf(count, 0))
    const seconds = (performance.now() - started) / 1000
    if (seconds > secondsPerRound / 8 || count > 50_000)
      return Math.max(3, Math.min(50_000, Math.round((count * secondsPerRound) / seconds)))
  }
}

/** Counts and maxima are the same; the sums of the limit are those of plain float64, so they are only near. */
function ensureNear(
  bench: string,
  columns: readonly FeatureColumn[],
  asOf: Float64Array,
  limit: SortedWindows,
  spans: readonly number[],
): void {
  const out = new Float64Array(columns.length)
  const rows = [...new Set([0, 1, asOf.length >> 1, asOf.length - 1])]
  for (const row of rows) {
    limit.finish(asOf[row] as number, spans, out)
    columns.forEach(({ name, statuses, values }, index) => {
      const expected = out[index] as number
      const there = hasValue(statuses[row] as number)
      const got = values.type === 'list' || values.type === 'string' || !there ? Number.NaN : Number(values.values[row])
      const exact = name.includes('count') || name.includes('max')
      const tolerance = exact ? 0 : Math.max(Math.abs(expected), 1) * (name.includes('stddev') ? 1e-5 : 1e-9)
      const same = Number.isFinite(expected) ? Math.abs(got - expected) <= tolerance : !there
      ensure(same, `${bench}: ${name} at ${asOf[row]} is ${got}, by the limit ${expected}`)
    })
  }
}
