/** The definitions of the suite's project: those of the suite `engine`, on four partitions. */
import { stream } from '../../core/definition/stream.ts'
import { view } from '../../core/definition/view.ts'
import { card, cardFields, fourOverEach, viewName } from '../engine/cards.ts'

export const partitions = 4

export const cards = stream('cards', { fields: cardFields, eventTime: 'time', partitions })
export const cardAmounts = view(viewName, { from: cards, entity: card, features: fourOverEach })
export { card } from '../engine/cards.ts'
