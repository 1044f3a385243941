/** Columns of records in, `until` of each out: what histories (offline rows, training) do about corrections. */
import { untilsById, untilsByPrimaryKey, type CorrectionRecords } from '../asof/corrections.ts'
import { refusal, type Acceptance } from '../asof/visible.ts'
import { isChangelog } from '../definition/corrections.ts'
import type { StreamDefinition } from '../definition/types.ts'
import { FeatureStoreError } from '../errors.ts'
import { Op } from '../event/operation.ts'
import type { Column } from '../event/types.ts'
import { Interner } from './interner.ts'

/** Codes of parts are below it, so two of them make one exact number. */
const codesMax = 2 ** 26

interface Records {
  readonly count: number
  readonly eventTimes: Float64Array
  readonly columns: Readonly<Record<string, Column>>
}

/**
 * Names records by what says which one they are: id and event time, or the primary key. Codes are dense from 0 and mean
 * the same in every batch.
 */
export class RecordIdentities {
  readonly #stream: StreamDefinition
  readonly #strings = new Interner()
  readonly #numbers = new Map<number | bigint, number>()
  readonly #pairs: Map<number, number>[] = []

  constructor(stream: StreamDefinition) {
    this.#stream = stream
  }

  /** The code of each record; -1 where a part is null, which no record that decoded has. */
  codes({ count, eventTimes, columns }: Records): Int32Array {
    const { id, primaryKey = [] } = this.#stream
    const parts: readonly Column[] =
      id === undefined
        ? primaryKey.map((name) => columns[name] as Column)
        : [columns[id] as Column, { type: 'timestamp', values: eventTimes, nulls: null }]
    const codes = new Int32Array(count)
    parts.forEach((column, part) => {
      const pairs = (this.#pairs[part] ??= new Map())
      const translation = column.type === 'string' ? this.#strings.translation(column.table) : null
      for (let row = 0; row < count; row++) {
        const prefix = codes[row] as number
        if (prefix < 0) continue
        if (column.nulls?.[row] === 1) {
          codes[row] = -1
          continue
        }
        const value = column.values[row] as number | bigint
        const code = translation === null ? this.#numberCode(value) : (translation[value as number] as number)
        codes[row] = pairCode(pairs, prefix, code)
      }
    })
    return codes
  }

  #numberCode(value: number | bigint): number {
    let code = this.#numbers.get(value)
    if (code === undefined) this.#numbers.set(value, (code = this.#numbers.size))
    return code
  }
}

function pairCode(pairs: Map<number, number>, prefix: number, part: number): number {
  if (prefix >= codesMax || part >= codesMax)
    throw new FeatureStoreError('FS_LIMIT_EXCEEDED', `more than ${codesMax} distinct records at once`)
  const pair = prefix * codesMax + part
  let code = pairs.get(pair)
  if (code === undefined) pairs.set(pair, (code = pairs.size))
  return code
}

/**
 * `until` of each record for one view (core/asof/corrections.ts), -Infinity where it never counts. Given are the records
 * below P of a stream with corrections, in any order, with what identifies them (`identities`, of RecordIdentities) and
 * their entities (`owners`, -1 for a key that is null or too long).
 */
export function untilsOf(
  stream: StreamDefinition,
  view: Acceptance,
  records: Omit<CorrectionRecords, 'groups'> & { readonly eventTimes: Float64Array },
  identities: Int32Array,
  owners: Int32Array,
): Float64Array {
  const changelog = isChangelog(stream)
  const groups = new Int32Array(identities.length)
  const pairs = new Map<number, number>()
  for (let row = 0; row < groups.length; row++) {
    const identity = identities[row] as number
    const owner = owners[row] as number
    const needsOwner = records.ops?.[row] !== Op.delete
    groups[row] =
      identity < 0 ||
      (needsOwner && owner < 0) ||
      refusal(records.eventTimes[row] as number, records.knownAts[row] as number, view) !== null
        ? -1
        : changelog
          ? identity
          : pairCode(pairs, identity, owner)
  }
  return changelog
    ? untilsByPrimaryKey({ ...records, groups })
    : untilsById({ ...records, groups }, stream.dedupeSpanMs as number)
}
