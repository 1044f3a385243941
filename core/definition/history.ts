/** How often a view writes its values down in the offline store, and who asks for it by which word. */
import { FeatureStoreError } from '../errors.ts'
import { minutes } from './functions.ts'
import type { HistoryDefinition, ViewDefinition } from './types.ts'

/** The values at every multiple of `stepMs` (UTC, from the epoch) with an event in the interval that it ends. */
export function every(stepMs: number): HistoryDefinition {
  if (!Number.isSafeInteger(stepMs) || stepMs <= 0)
    throw new FeatureStoreError(
      'FS_DEFINITION_INVALID',
      `history every ${String(stepMs)} ms: a positive number of milliseconds, such as minutes(15)`,
    )
  return { kind: 'every', stepMs }
}

/** The values 1 ms after each event: the boundaries of one millisecond. */
export const everyEvent: HistoryDefinition = { kind: 'every', stepMs: 1 }

/** No history. */
export const none: HistoryDefinition = { kind: 'none' }

const defaultStepMs = minutes(15)

/** Milliseconds between two boundaries of a view; null where it keeps no history. */
export const historyStepOf = ({ history }: Pick<ViewDefinition, 'history'>): number | null =>
  history === undefined ? defaultStepMs : history.kind === 'none' ? null : history.stepMs

/** Errors: FS_DEFINITION_INVALID for what is none of the three. */
export function checkHistory(owner: string, history: HistoryDefinition): HistoryDefinition {
  if (history?.kind === 'none') return none
  if (history?.kind === 'every') return every(history.stepMs)
  throw new FeatureStoreError(
    'FS_DEFINITION_INVALID',
    `${owner}: history is every(minutes(15)), which is the default, everyEvent or none`,
  )
}
