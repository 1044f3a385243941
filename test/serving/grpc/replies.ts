/** Generated replies: every type of column, lists, every status, errors. */
import fc from 'fast-check'
import { type ErrorCode } from '../../../core/errors.ts'
import { unscaledMax } from '../../../core/number/decimal.ts'
import {
  listOf,
  scalarOf,
  Status,
  type FeatureColumn,
  type ScalarValues,
  type ValueType,
} from '../../../core/engine/feature-column.ts'
import { encodeToken, offset, type Position } from '../../../core/event/position.ts'
import { earliestMs, latestMs } from '../../../core/time/time.ts'
import { type LookupReply } from '../../../serving/lookup/types.ts'

const exactly = (length: number) => ({ minLength: length, maxLength: length })

function scalars(length: number): fc.Arbitrary<ScalarValues> {
  const bounds = exactly(length)
  const millis = fc.oneof(fc.integer({ min: earliestMs, max: latestMs }), fc.constantFrom(-1, 0, 2 ** 32, -(2 ** 32)))
  return fc.oneof(
    fc.array(fc.double(), bounds).map((v) => ({ type: 'float64' as const, values: Float64Array.from(v) })),
    fc.array(fc.integer(), bounds).map((v) => ({ type: 'int32' as const, values: Int32Array.from(v) })),
    fc
      .array(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), bounds)
      .map((v) => ({ type: 'int64' as const, values: BigInt64Array.from(v) })),
    fc
      .array(fc.string({ unit: 'binary', maxLength: 6 }), bounds)
      .map((values) => ({ type: 'string' as const, values: values.map((text) => text.toWellFormed()) })),
    fc
      .record({
        unscaled: fc.array(fc.bigInt({ min: -unscaledMax, max: unscaledMax }), bounds),
        precision: fc.integer({ min: 1, max: 18 }),
        scale: fc.nat({ max: 18 }),
      })
      .map(({ unscaled, precision, scale }) => ({
        type: 'decimal' as const,
        precision,
        scale: Math.min(precision, scale),
        values: BigInt64Array.from(unscaled),
      })),
    fc.array(fc.boolean(), bounds).map((v) => ({ type: 'bool' as const, values: Uint8Array.from(v, Number) })),
    fc.array(millis, bounds).map((v) => ({ type: 'timestamp' as const, values: Float64Array.from(v) })),
  )
}

const values = (rows: number): fc.Arbitrary<FeatureColumn['values']> =>
  fc.oneof(
    { weight: 2, arbitrary: scalars(rows) },
    fc.array(fc.nat({ max: 3 }), exactly(rows)).chain((counts) => {
      let end = 0
      const ends = Int32Array.from(counts, (count) => (end += count))
      // No item, no mask: on the wire they are one.
      const masks = end === 0 ? fc.constant(null) : fc.option(fc.array(fc.nat({ max: 1 }), exactly(end)))
      return fc.tuple(scalars(end), masks).map(([items, mask]) => ({
        type: 'list' as const,
        ends,
        items,
        itemNulls: mask && Uint8Array.from(mask),
      }))
    }),
  )

const codes: readonly ErrorCode[] = ['FS_HISTORY_TRIMMED', 'FS_ROW_CORRUPT']

const column = (rows: number): fc.Arbitrary<FeatureColumn> =>
  fc
    .record({
      name: fc.constantFrom('v:a', 'v:b', 'größe'),
      fingerprint: fc.constantFrom('', 'ab'.repeat(32)),
      statuses: fc.array(fc.constantFrom(...Object.values(Status)), exactly(rows)),
      counts: fc.boolean(),
      values: values(rows),
      code: fc.constantFrom(...codes),
    })
    .map(({ name, fingerprint, statuses, counts, values, code }) => {
      const type: ValueType = values.type === 'list' ? listOf(values.items) : scalarOf(values)
      const errors = statuses.flatMap((status, row) => (status === Status.ERROR ? [{ row, code }] : []))
      const counting = counts ? { counts: true as const } : {}
      return { name, type, fingerprint, statuses: Uint8Array.from(statuses), values, ...counting, errors }
    })

const position: fc.Arbitrary<Position> = fc
  .dictionary(
    fc.constantFrom('flights', 'weather'),
    fc.array(fc.tuple(fc.nat({ max: 3 }), fc.maxSafeNat()), { maxLength: 3 }),
    { noNullPrototype: true },
  )
  .map((streams) => ({
    logId: 'log',
    streams: Object.fromEntries(
      Object.entries(streams).map(([name, partitions]) => [
        name,
        partitions.map(([epoch, next]) => ({ epoch, next: offset(next) })),
      ]),
    ),
  }))

export const replies = (): fc.Arbitrary<LookupReply> =>
  fc
    .nat({ max: 5 })
    .chain((rows) =>
      fc.record({
        asOfMs: fc.oneof(fc.constant(0), fc.integer({ min: earliestMs, max: latestMs })),
        knownAsOfMs: fc.option(fc.integer({ min: earliestMs, max: latestMs })),
        rows: fc.constant(rows),
        columns: fc.array(column(rows), { maxLength: 4 }),
        position,
      }),
    )
    .map((reply) => ({ ...reply, token: encodeToken(reply.position) }))
