import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { planView } from '../../core/engine/plan.ts'
import { stringColumn } from '../../schemas/arrow/columns.ts'
import { inTotalOrder } from '../../training/total-order.ts'
import { ViewHistory } from '../../training/view-history.ts'
import { corrected, countingOf } from '../support/corrected.ts'
import { batchOf, correctedFields, generatedCorrections } from '../support/history.ts'

const keys = ['a', 'b', 'ü\0', '', 'nobody'].flatMap((who) => [0, 1].map((region) => ({ who, region })))
const keyColumns = {
  who: stringColumn(
    keys.map(({ who }) => who),
    null,
  ),
  region: { type: 'int32' as const, values: Int32Array.from(keys, ({ region }) => region), nulls: null },
}

describe.each(['id', 'changelog'] as const)('the history of a view with corrections by %s', (kind) => {
  const project = corrected[kind]
  const { catalog, stream, views } = project

  test('has the events that ever count, and until when', () => {
    let finite = 0
    fc.assert(
      fc.property(generatedCorrections({ kind }), fc.integer({ min: 1, max: 20 }), (history, size) => {
        const batches = [0, 1, 2].flatMap((partition) => {
          const own = history.filter((event) => event.partition === partition)
          const parts = Array.from({ length: Math.ceil(own.length / size) }, (_, at) =>
            own.slice(at * size, at * size + size),
          )
          return parts.map((part) => batchOf(stream.name, partition, part, correctedFields))
        })
        for (const view of views) {
          const of = new ViewHistory(planView(catalog, view.name, 0), inTotalOrder(batches))
          const owners = of.resolve(keyColumns, keys.length)
          const moments = [...new Set(history.map(({ knownAtMs }) => knownAtMs)), Infinity]
          keys.forEach((key, row) => {
            const events = eventsOf(of, owners[row] as number)
            expect(events.every(({ known, until }) => until > known)).toBe(true)
            finite += events.filter(({ until }) => until < Infinity).length
            for (const k of moments) {
              const expected = countingOf(project, view, history, key, k)
              const got = events.filter(({ known, until }) => known <= k && (k < until || until === Infinity))
              expect(got.map(({ time, known }) => `${time} ${known}`)).toEqual(
                expected.map(({ eventTimeMs, knownAtMs }) => `${eventTimeMs} ${knownAtMs}`),
              )
            }
          })
        }
      }),
      { numRuns: 40 },
    )
    expect(finite).toBeGreaterThan(100)
  })
})

function eventsOf({ columns }: ViewHistory, entity: number): { time: number; known: number; until: number }[] {
  const { starts, times, knowns, untils } = columns
  const places = (starts[entity + 1] ?? 0) - (starts[entity] ?? 0)
  return Array.from({ length: Math.max(0, places) }, (_, index) => {
    const place = (starts[entity] as number) + index
    return { time: times[place] as number, known: knowns[place] as number, until: untils?.[place] as number }
  })
}
