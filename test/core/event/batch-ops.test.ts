import { expect, test } from 'vitest'
import { concatBatches, takeBelow } from '../../../core/event/batch-ops.ts'
import { Op, type OpCode } from '../../../core/event/operation.ts'
import { batchOf } from '../../support/history.ts'

const batch = (first: number, ops: readonly (OpCode | undefined)[]) =>
  batchOf(
    'events',
    0,
    ops.map((op, index) => ({
      partition: 0,
      offset: first + index,
      eventTimeMs: index,
      knownAtMs: index,
      fields: {},
      ...(op === undefined ? {} : { op }),
    })),
  )

test('operations stay with their records when batches are cut and joined', () => {
  const joined = concatBatches([batch(0, [Op.insert, Op.retract]), batch(2, [Op.retract]), batch(3, [Op.insert])])
  expect(joined.ops).toEqual(Uint8Array.of(0, 1, 1, 0))
  expect(takeBelow(joined, 2).ops).toEqual(Uint8Array.of(0, 1))
  expect(concatBatches([batch(0, [undefined]), batch(1, [undefined])]).ops).toBeNull()
})
