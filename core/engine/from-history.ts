import { refusal } from '../asof/visible.ts'
import { FeatureStoreError } from '../errors.ts'
import { scalarAt } from '../event/column.ts'
import { encodeKey } from '../event/key.ts'
import type { Column } from '../event/types.ts'
import type { EventHistory, EventQuery } from '../ports/offline-store.ts'
import { compileInput } from './compile-input.ts'
import type { ViewPlan } from './plan.ts'
import { RecordIdentities, untilsOf } from './record-untils.ts'
import { orderOf } from './state/record-layout.ts'
import { Staging } from './state/staging.ts'
import { ViewState, type EntityEvents } from './state/view-state.ts'

/** What was asked of the offline store: whose events, and when they happened. */
export type HistoryAsked = Pick<EventQuery, 'key' | 'fromMs' | 'toMs'>

/**
 * The events of one entity from the offline store: the same F as online, from the full history. Of records that others
 * take back, `history` holds only what was known by K, so what counts at K is what stands.
 */
export function eventsFromHistory(plan: ViewPlan, history: EventHistory, asked: HistoryAsked): EntityEvents {
  const state = new ViewState(plan, undefined, { entities: 1, events: history.count })
  const store = state.events
  const entity = store.addEntity()
  const staging = new Staging(plan.layout)
  staging.begin(history.count)
  plan.inputs.forEach((input, index) => {
    const column = compileInput(input, plan.fields)(history.columns, history.count)
    staging.setInput(index, input, column, history.count, state.tables[index] ?? null)
  })
  const stands = plan.corrected ? standing(plan, history, asked) : null
  if (stands !== null) staging.setUntils(new Float64Array(history.count).fill(Number.POSITIVE_INFINITY))
  for (let row = 0; row < history.count; row++) {
    const time = history.eventTimes[row] as number
    const known = history.knownAts[row] as number
    if (stands === null ? refusal(time, known, plan.view) !== null : stands[row] === 0) continue
    const order = orderOf(history.partitions[row] as number, history.offsets[row] as number)
    // In two steps: making room may move the records.
    const record = store.insert(entity, time, known, order)
    staging.copyTo(store.words, record, row)
  }
  return { state, entity }
}

/** 1 for the records of the entity that nothing in the history takes back. */
function standing(plan: ViewPlan, history: EventHistory, { key, fromMs, toMs }: HistoryAsked): Uint8Array {
  const owners = ownersOf(plan, history, key)
  const untils = untilsOf(plan.stream, plan.view, history, new RecordIdentities(plan.stream).codes(history), owners)
  return Uint8Array.from(untils, (until, row) => {
    const time = history.eventTimes[row] as number
    return until === Number.POSITIVE_INFINITY && owners[row] === 0 && fromMs <= time && time < toMs ? 1 : 0
  })
}

/** By record: 0 of the entity asked for, 1 of another one (a changelog's row may have moved), -1 of none. */
function ownersOf(plan: ViewPlan, history: EventHistory, key: EventQuery['key']): Int32Array {
  const { view, keyTypes } = plan
  const encoded = (value: (field: string) => ReturnType<typeof scalarAt>): string =>
    Buffer.from(encodeKey(view.keyFields.map(value), keyTypes)).toString('hex')
  const own = encoded((field) => key[field] ?? null)
  const owners = new Int32Array(history.count)
  for (let row = 0; row < history.count; row++) {
    try {
      owners[row] = encoded((field) => scalarAt(history.columns[field] as Column, row)) === own ? 0 : 1
    } catch (error) {
      if (!(error instanceof FeatureStoreError && error.code === 'FS_ENTITY_INVALID')) throw error
      owners[row] = -1
    }
  }
  return owners
}
