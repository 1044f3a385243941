import { refusal } from '../asof/visible.ts'
import type { EventHistory } from '../ports/offline-store.ts'
import { compileInput } from './compile-input.ts'
import { EntityColumns, newTables, setInput, type InputColumn } from './entity-columns.ts'
import type { Interner } from './interner.ts'
import type { ViewPlan } from './plan.ts'

/**
 * The columns of one entity from its events in the offline store: the same F as online, from the full history.
 */
export function columnsFromHistory(plan: ViewPlan, history: EventHistory): EntityColumns {
  const tables = newTables(plan.inputs)
  const entity = new EntityColumns(plan.inputs, history.count, tables)
  const columns = plan.inputs.map((input) => compileInput(input, plan.fields)(history.columns, history.count))
  const translations = columns.map((column, index) =>
    column.type === 'string' ? (tables[index] as Interner).translation(column.table) : null,
  )
  for (let row = 0; row < history.count; row++) {
    const time = history.eventTimes[row] as number
    const known = history.knownAts[row] as number
    if (refusal(time, known, plan.view) !== null) continue
    const at = entity.insert(time, known, history.partitions[row] as number, history.offsets[row] as number)
    columns.forEach((column, index) =>
      setInput(entity, entity.inputs[index] as InputColumn, at, column, translations[index] ?? null, row),
    )
  }
  return entity
}
