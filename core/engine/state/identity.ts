import { Op } from '../../event/operation.ts'
import { tableText, type Column } from '../../event/types.ts'
import type { EventStore } from './event-store.ts'
import type { Arrival, TieGroups } from './tie-groups.ts'

/**
 * Identities of records of a stream with an id, and what they do to each other inside one entity. Records of one group
 * have the same event time, so they lie side by side among the ties (tie-groups.ts).
 *
 * Ids are compared as 53-bit hashes (integers as they are, where they fit), and only among events of one entity and one
 * millisecond.
 */

/** The id of each row as a number. */
export function idsOf(column: Column, rows: number): Float64Array {
  const ids = new Float64Array(rows)
  if (column.type === 'string') {
    for (let row = 0; row < rows; row++) ids[row] = hash53(tableText(column.table, column.values[row] as number))
  } else if (column.type === 'int64') {
    for (let row = 0; row < rows; row++) {
      const value = column.values[row] as bigint
      const number = Number(value)
      ids[row] = Number.isSafeInteger(number) ? number : hash53(value.toString())
    }
  } else for (let row = 0; row < rows; row++) ids[row] = column.values[row] as number
  return ids
}

/** Two multiplicative hashes over UTF-16 units, 53 bits of them. */
function hash53(text: string): number {
  let low = 0x811c9dc5 | 0
  let high = 0x41c6ce57 | 0
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at)
    low = Math.imul(low ^ unit, 0x01000193)
    high = Math.imul(high ^ unit, 0x5f356495)
  }
  low ^= high >>> 15
  high ^= low >>> 13
  return (high & 0x1fffff) * 2 ** 32 + (low >>> 0)
}

/** A 32-bit hash of what each row says, of every field but those named: equal rows have equal ones. */
export function contentHashes(
  columns: Readonly<Record<string, Column>>,
  except: ReadonlySet<string>,
  rows: number,
): Int32Array {
  const hashes = new Int32Array(rows)
  const mix = (row: number, word: number): void => {
    hashes[row] = Math.imul((hashes[row] as number) ^ word, 0x5bd1e995) ^ ((hashes[row] as number) >>> 13)
  }
  for (const name of Object.keys(columns).sort()) {
    if (except.has(name)) continue
    const column = columns[name] as Column
    const { values, nulls } = column
    const wide =
      column.type === 'string' || values.BYTES_PER_ELEMENT < 8
        ? null
        : new Int32Array(values.buffer, values.byteOffset, rows * 2)
    for (let row = 0; row < rows; row++) {
      if (nulls !== null && nulls[row] === 1) mix(row, 0x9e3779b9 | 0)
      else if (column.type === 'string') {
        const id = hash53(tableText(column.table, column.values[row] as number))
        mix(row, id | 0)
        mix(row, Math.floor(id / 2 ** 32))
      } else if (wide === null) mix(row, values[row] as number)
      else {
        mix(row, wide[row * 2] as number)
        mix(row, wide[row * 2 + 1] as number)
      }
    }
  }
  return hashes
}

/** A record of a group, as `settle` names it. */
interface Member {
  readonly cursor: number
  readonly record: number
}

/** A duplicate that says something else than the record it repeats. */
export type OnDiffering = (knownMs: number, order: number) => void

/**
 * Says anew until when the records of one group count, after `arrival` came among them: core/asof/corrections.ts has the
 * rule. `differing` is told of each duplicate that differs from the first of its incarnation, if the new record is one of
 * the two.
 */
export function settle(
  store: EventStore,
  ties: TieGroups,
  arrival: Arrival,
  dedupeSpanMs: number,
  differing: OnDiffering,
): void {
  const { layout } = store
  const { entity } = arrival
  const half = layout.stride >> 1
  const incarnations: Member[] = []
  const retractions: Member[] = []
  const others: Member[] = []
  const known = ({ cursor }: Member): number => store.knownAt(entity, cursor)
  const orderOf = ({ record }: Member): number => store.floats[record * half + layout.order] as number
  const isNew = (member: Member): boolean => orderOf(member) === arrival.order && known(member) === arrival.knownMs
  const hash = ({ record }: Member): number => store.words[record * layout.stride + layout.hash] as number
  for (const cursor of ties.group(store, arrival)) {
    const record = store.recordAt(entity, cursor)
    const member = { cursor, record }
    const isRetract = store.words[record * layout.stride + layout.hash + 1] === Op.retract
    const firsts = isRetract ? retractions : incarnations
    const first = firsts.at(-1)
    if (first === undefined || known(member) - known(first) > dedupeSpanMs) firsts.push(member)
    else {
      others.push(member)
      if (!isRetract && (isNew(member) || isNew(first)) && hash(member) !== hash(first))
        differing(known(member), orderOf(member))
    }
  }
  const set = ({ cursor, record }: Member, untilMs: number): void => {
    if (store.floats[record * half + layout.until] === untilMs) return
    store.floats[record * half + layout.until] = untilMs
    store.touch(entity, cursor)
  }
  incarnations.forEach((member, index) => {
    const retraction = retractions[index]
    const untilMs = retraction === undefined ? Number.POSITIVE_INFINITY : known(retraction)
    set(member, untilMs > known(member) ? untilMs : Number.NEGATIVE_INFINITY)
  })
  for (const member of [...retractions, ...others]) set(member, Number.NEGATIVE_INFINITY)
}
