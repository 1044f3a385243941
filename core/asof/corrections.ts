/**
 * Which records of a stream count when others take them back. A record counts for K in [knownAt, until): `until` is
 * +Infinity for one that stands, and -Infinity here for one that never counts. What of them is visible at (T, K, P) is
 * decided as for any event (visible.ts).
 *
 * Only records that the view takes have an effect, and it takes each by itself, whatever its operation: a retraction
 * that is too late is a dead letter and retracts nothing. A record whose entity key is null or too long is one as well,
 * but for a delete, which needs no entity.
 *
 * With an `id`, records of the same id, entity key and event time are one group. In order of (knownAt, partition, offset):
 *
 *     insert    i0 d d …  i1 …  i2        d   a duplicate: known at most dedupeSpan after the first of its incarnation
 *     retract       r0    r1 d …          in the same way a second retract within the span is the first once more
 *     counts    i0 [i0, r0)   i1 [i1, r1)   i2 [i2, ∞)
 *
 * The k-th retract takes back the k-th incarnation, from the later of their knownAts on. So one that comes first waits
 * and takes its event back on arrival: that event never counts. Duplicates and retracts never count.
 *
 * In a changelog, records of the same primary key are the versions of one row. In the same order, each upsert counts
 * until the next record of its primary key is known; deletes never count. Entity and event time are the version's own.
 *
 * Either way a record's part is settled by those before it in that order, and what takes it back comes at its `until`: so
 * an `until` computed from all records below P is right for every K.
 */
import { Op } from '../event/operation.ts'

/** Records below P as columns, in any order. */
export interface CorrectionRecords {
  readonly knownAts: Float64Array
  readonly partitions: Int32Array
  readonly offsets: Float64Array
  /** Op codes; null where all are the stream's default. */
  readonly ops: Uint8Array | null
  /** Equal exactly for records of one group (id) or one row (changelog), from 0, dense; -1 where the view does not take it. */
  readonly groups: Int32Array
}

/** `until` by record, of a stream with an id. Linear but for groups that come out of order. */
export function untilsById(records: CorrectionRecords, dedupeSpanMs: number): Float64Array {
  const { knownAts, ops } = records
  const untils = new Float64Array(records.groups.length).fill(Number.NEGATIVE_INFINITY)
  const incarnations: number[] = []
  const retractions: number[] = []
  eachGroup(records, (rows) => {
    incarnations.length = retractions.length = 0
    for (const row of rows) {
      const firsts = ops?.[row] === Op.retract ? retractions : incarnations
      const first = firsts.at(-1)
      const isDuplicate = first !== undefined && (knownAts[row] as number) - (knownAts[first] as number) <= dedupeSpanMs
      if (!isDuplicate) firsts.push(row)
    }
    incarnations.forEach((row, index) => {
      const retraction = retractions[index]
      const end = retraction === undefined ? Number.POSITIVE_INFINITY : (knownAts[retraction] as number)
      if (end > (knownAts[row] as number)) untils[row] = end
    })
  })
  return untils
}

/** `until` by record, of a changelog. */
export function untilsByPrimaryKey(records: CorrectionRecords): Float64Array {
  const { knownAts, ops } = records
  const untils = new Float64Array(records.groups.length).fill(Number.NEGATIVE_INFINITY)
  eachGroup(records, (rows) => {
    rows.forEach((row, index) => {
      if (ops?.[row] === Op.delete) return
      const next = rows[index + 1]
      const end = next === undefined ? Number.POSITIVE_INFINITY : (knownAts[next] as number)
      if (end > (knownAts[row] as number)) untils[row] = end
    })
  })
  return untils
}

/** Visits the rows of each group in order of (knownAt, partition, offset). */
function eachGroup(records: CorrectionRecords, visit: (rows: Int32Array) => void): void {
  const { groups, knownAts, partitions, offsets } = records
  const before = (a: number, b: number): number =>
    (knownAts[a] as number) - (knownAts[b] as number) ||
    (partitions[a] as number) - (partitions[b] as number) ||
    (offsets[a] as number) - (offsets[b] as number)
  let most = -1
  for (const group of groups) if (group > most) most = group
  const ends = new Int32Array(most + 2)
  for (const group of groups) if (group >= 0) ends[group + 1] = (ends[group + 1] as number) + 1
  for (let group = 0; group <= most; group++) ends[group + 1] = (ends[group + 1] as number) + (ends[group] as number)
  const rows = new Int32Array(ends[most + 1] as number)
  for (let row = 0; row < groups.length; row++) {
    const group = groups[row] as number
    if (group < 0) continue
    rows[ends[group] as number] = row
    ends[group] = (ends[group] as number) + 1
  }
  // ends[group] is now one past its rows.
  let start = 0
  for (let group = 0; group <= most; group++) {
    const end = ends[group] as number
    const own = rows.subarray(start, end)
    for (let at = 1; at < own.length; at++) {
      if (before(own[at - 1] as number, own[at] as number) <= 0) continue
      own.sort(before)
      break
    }
    if (own.length > 0) visit(own)
    start = end
  }
}
