import type { DeadRecord, EventBatch } from '../../core/event/batch.ts'
import { offset } from '../../core/event/position.ts'

const noPayload = new Uint8Array(0)

/**
 * The batch with a dead record where its log has none, so that a table has one row per offset: what it holds is then read
 * from its rows alone, as of a log without gaps.
 *
 *     offset   0    1    2    3    4    5    6         C, A marks of transactions, x aborted
 *     log      r    r    C    x    x    A    r
 *     table    r    r    -    -    -    -    r         next 7
 */
export function dense(batch: EventBatch): EventBatch {
  const { firstOffset, nextOffset, count, offsets, dead } = batch
  if (count + dead.length === nextOffset - firstOffset) return batch
  const there = new Set(dead.map((record) => record.offset as number))
  for (let row = 0; row < count; row++) there.add(offsets[row] as number)
  const missing: DeadRecord[] = []
  for (let at: number = firstOffset; at < nextOffset; at++)
    if (!there.has(at))
      missing.push({
        offset: offset(at),
        // The same however the log is cut into batches.
        knownAt: 0,
        code: 'FS_NO_RECORD',
        reason: 'the log has no record here',
        payload: noPayload,
      })
  return { ...batch, dead: [...dead, ...missing].sort((a, b) => a.offset - b.offset) }
}
