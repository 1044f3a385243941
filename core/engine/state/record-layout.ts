import type { ScalarType } from '../../event/types.ts'
import type { InputPlan } from '../plan.ts'

/**
 * One event of one entity in memory, 32-bit words; what is not needed is not there.
 *
 *     word 0   event time - base of its run, ms           | always
 *     word 1   knownAt - known base of its run, ms        | always
 *     f64      partition x 2^42 + offset                  | `order`: where ties matter
 *     f64      known until: +Infinity stands, -Infinity   | `until`: streams that can correct
 *              never counted, else the knownAt that ended it
 *     f64      id, hashed to 53 bits                      | `id`: streams with an id
 *     i32 i32  content hash, Op code                      | `id`
 *     f64 …    float64, timestamp, int64 and decimal inputs
 *     i32 …    int32, bool and string (code) inputs
 *     i32 …    bit i of word i / 32: input i is null      | `nulls`: where an input can be null
 *
 * 16 bytes for the commonest: one float64 and nothing else. Records of a run need not lie side by side (event-store.ts).
 */
export interface RecordLayout {
  /** Words of a record: even, so that a record begins on 8 bytes. */
  readonly stride: number
  /** In units of 8 bytes from the record's start, -1 when absent. */
  readonly order: number
  readonly until: number
  readonly id: number
  /** In words; -1 when absent. The Op code is the word behind it. */
  readonly hash: number
  readonly nulls: number
  readonly nullWords: number
  /** By input: in units of 8 bytes for wide ones, of words for narrow ones. */
  readonly inputs: readonly number[]
}

export const isWide = (type: ScalarType): boolean =>
  type === 'float64' || type === 'timestamp' || type === 'int64' || type === 'decimal'

export interface RecordNeeds {
  readonly inputs: readonly Pick<InputPlan, 'type' | 'nullable'>[]
  readonly ordered: boolean
  readonly corrected: boolean
  readonly identified: boolean
}

export function recordLayout({ inputs, ordered, corrected, identified }: RecordNeeds): RecordLayout {
  let words = 2
  const take = (count: number, wanted: boolean): number => {
    if (!wanted) return -1
    const at = words
    words += count
    return at
  }
  const order = take(2, ordered) / 2
  const until = take(2, corrected) / 2
  const id = take(2, identified) / 2
  const hash = take(2, identified)
  const offsets = new Array<number>(inputs.length)
  inputs.forEach(({ type }, index) => {
    if (isWide(type)) offsets[index] = take(2, true) / 2
  })
  inputs.forEach(({ type }, index) => {
    if (!isWide(type)) offsets[index] = take(1, true)
  })
  const nullWords = inputs.some(({ nullable }) => nullable) ? Math.ceil(inputs.length / 32) : 0
  const nulls = take(nullWords, nullWords > 0)
  return {
    stride: words + (words & 1),
    order: ordered ? order : -1,
    until: corrected ? until : -1,
    id: identified ? id : -1,
    hash,
    nulls,
    nullWords,
    inputs: offsets,
  }
}

const offsetSpan = 2 ** 42

/** Partition and offset as one number that sorts as the pair. Exact for partitions below 2^11 and offsets below 2^42. */
export const orderOf = (partition: number, offset: number): number => partition * offsetSpan + offset
export const partitionOfOrder = (order: number): number => Math.floor(order / offsetSpan)
export const offsetOfOrder = (order: number): number => order % offsetSpan
