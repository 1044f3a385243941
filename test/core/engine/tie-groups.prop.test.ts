import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { EventStore } from '../../../core/engine/state/event-store.ts'
import { orderOf, recordLayout } from '../../../core/engine/state/record-layout.ts'
import { TieGroups } from '../../../core/engine/state/tie-groups.ts'
import { generatedCorrections } from '../../support/history.ts'
import { check, drives, subjectOf } from './harness.ts'

const size = Number(process.env['TIDEMARK_PROPERTY_RUNS'] ?? 150)
const layout = recordLayout({ inputs: [], ordered: true, corrected: true, identified: true })
const half = layout.stride >> 1

/** All cursors of an entity in order, and those of them with a time and an id: the plain twin of a group. */
function scanned(store: EventStore, entity: number, timeMs: number, id: number): number[] {
  const found: number[] = []
  for (let cursor = 0; cursor < store.end(entity); cursor = store.next(entity, cursor)) {
    const at = store.recordAt(entity, cursor) * half + layout.id
    if (store.timeAt(entity, cursor) === timeMs && store.floats[at] === id) found.push(cursor)
  }
  return found
}

describe('records of one entity, millisecond and id', () => {
  it('are found among few ties and among many, whatever was pruned or forgotten in between', () => {
    const step = fc.record({
      entity: fc.nat({ max: 1 }),
      timeMs: fc.nat({ max: 2 }),
      knownMs: fc.nat({ max: 50 }),
      // Equal in their low words and in their high ones too.
      id: fc.oneof(
        fc.nat({ max: 5 }),
        fc.nat({ max: 3_000 }),
        fc.nat({ max: 400 }).map((high) => high * 2 ** 32 - 7),
      ),
      act: fc.nat({ max: 399 }),
    })
    let kept = 0
    fc.assert(
      fc.property(fc.array(step, { minLength: 300, maxLength: 2_500, size: 'max' }), (steps) => {
        const store = new EventStore(layout, 0)
        store.addEntity()
        store.addEntity()
        const ties = new TieGroups()
        steps.forEach(({ entity, timeMs, knownMs, id, act }, index) => {
          if (act === 0) store.prune(entity, timeMs)
          if (act === 1) ties.clear()
          const order = orderOf(index % 3, index)
          const record = store.insert(entity, timeMs, knownMs, order)
          store.floats[record * half + layout.order] = order
          store.floats[record * half + layout.id] = id
          const group = ties.group(store, { entity, timeMs, knownMs, order, id })
          expect(group).toEqual(scanned(store, entity, timeMs, id))
        })
        if (ties.bytes > 0) kept++
      }),
      { numRuns: Math.ceil(size / 10) },
    )
    expect(kept).toBeGreaterThan(0)
  })

  it('settle what counts as the naive twin says', () => {
    const subject = subjectOf('id', (feature) => feature.over(700))
    const histories = generatedCorrections({
      kind: 'id',
      hot: true,
      records: [500, 900],
      ids: 120,
      spanMs: 1,
      delayMs: 1_000,
    })
    fc.assert(
      fc.property(histories, drives, (history, drive) => check(subject, history, drive)),
      { numRuns: Math.ceil(size / 15) },
    )
  }, 120_000)
})
