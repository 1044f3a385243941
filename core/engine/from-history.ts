import { refusal } from '../asof/visible.ts'
import type { EventHistory } from '../ports/offline-store.ts'
import { compileInput } from './compile-input.ts'
import type { ViewPlan } from './plan.ts'
import { orderOf } from './state/record-layout.ts'
import { Staging } from './state/staging.ts'
import { ViewState, type EntityEvents } from './state/view-state.ts'

/**
 * The events of one entity from the offline store: the same F as online, from the full history.
 */
export function eventsFromHistory(plan: ViewPlan, history: EventHistory): EntityEvents {
  const state = new ViewState(plan, undefined, { entities: 1, events: history.count })
  const store = state.events
  const entity = store.addEntity()
  const staging = new Staging(plan.layout)
  staging.begin(history.count)
  plan.inputs.forEach((input, index) => {
    const column = compileInput(input, plan.fields)(history.columns, history.count)
    staging.setInput(index, input, column, history.count, state.tables[index] ?? null)
  })
  for (let row = 0; row < history.count; row++) {
    const time = history.eventTimes[row] as number
    const known = history.knownAts[row] as number
    if (refusal(time, known, plan.view) !== null) continue
    const order = orderOf(history.partitions[row] as number, history.offsets[row] as number)
    staging.copyTo(store.words, store.insert(entity, time, known, order), row)
  }
  return { state, entity }
}
