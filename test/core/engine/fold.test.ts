import { describe, expect, it } from 'vitest'
import { buildCatalog } from '../../../core/definition/catalog.ts'
import { float64, string, timestamp } from '../../../core/definition/fields.ts'
import { mean, stddev, sum } from '../../../core/definition/functions.ts'
import { entity, stream } from '../../../core/definition/stream.ts'
import { view } from '../../../core/definition/view.ts'
import { valueAt } from '../../../core/engine/feature-column.ts'
import { ViewFinisher } from '../../../core/engine/finish.ts'
import { planView } from '../../../core/engine/plan.ts'
import { ViewState } from '../../../core/engine/state/view-state.ts'
import { ExactSquares, ExactSum, exactMean, exactStddev } from '../../../core/number/exact-sum.ts'

const taps = stream('taps', { fields: { at: timestamp(), card: string(), amount: float64() }, eventTime: 'at' })
const card = entity('card', { key: { card: string() } })
const amounts = view('amounts', {
  from: taps,
  entity: card,
  features: ({ amount }) => ({ sum: sum(amount), mean: mean(amount), stddev: stddev(amount) }),
})
const plan = planView(buildCatalog([taps, card, amounts]), 'amounts', 0)

describe('the first fold over a state', () => {
  // Lanes have an anchor that the first summary chooses: what is added before it must lie on the same grids.
  it('is exact, whatever its values tell about where they lie', () => {
    for (let round = 0; round < 300; round++) {
      const state = new ViewState(plan)
      const own = state.events.addEntity()
      const { layout } = state.events
      const total = new ExactSum()
      const squares = new ExactSquares()
      const count = 65 + round
      for (let index = 0; index < count; index++) {
        const value = ((index * 7_919 + round * 104_729) % 4_000) / 100
        const record = state.events.insert(own, index, index, 0)
        state.events.floats[record * (layout.stride >> 1) + (layout.inputs[0] as number)] = value
        total.add(value)
        squares.add(value)
      }
      const finisher = new ViewFinisher(plan)
      const builders = finisher.builders(1)
      finisher.finish({ state, entity: own }, { asOfMs: 10_000, knownAsOfMs: Infinity }, builders, 0)
      expect(builders.map((builder) => valueAt(builder.build(), 0))).toEqual([
        total.round(),
        exactMean(total, count),
        exactStddev(total, squares, count, 'sample'),
      ])
    }
  })
})
