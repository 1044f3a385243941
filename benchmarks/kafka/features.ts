/** The definitions of the suite's project: those of the suite `engine`, on four partitions. */
import { stream } from '../../core/definition/stream.ts'
import { view } from '../../core/definition/view.ts'
import { card, cardFields, fourOverEach, viewName } from '../engine/cards.ts'

export const partitions = 4

/** `knownAt`: of topics that are filled with history, or with what happens. */
export function definitionsOf(knownAt: 'createTime' | 'logAppendTime') {
  const cards = stream('cards', { fields: cardFields, eventTime: 'time', partitions, knownAt })
  return { card, cards, cardAmounts: view(viewName, { from: cards, entity: card, features: fourOverEach }) }
}
