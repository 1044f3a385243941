import { offset } from '../../../core/event/position.ts'
import { type EventLog } from '../../../core/ports/event-log.ts'
import { RecordCursor } from '../../../schemas/recordbatch/index.ts'

export interface ReadRecord {
  readonly offset: number
  readonly timestampMs: number
  readonly key: string | null
  readonly value: string | null
}

/** Every record from `from` to the end, by as many fetches of `maxBytes` as it takes. */
export async function readRecords(
  log: EventLog,
  stream: string,
  partition: number,
  from: number,
  maxBytes: number,
): Promise<ReadRecord[]> {
  const records: ReadRecord[] = []
  const cursor = new RecordCursor()
  for (let next = offset(from); ;) {
    const chunk = await log.fetch(stream, partition, next, maxBytes)
    if (chunk.nextOffset === next) return records
    cursor.reset(chunk.bytes)
    while (cursor.next()) {
      if (cursor.offset < next) continue
      if (cursor.offset >= chunk.nextOffset) throw new Error('a record lies behind nextOffset')
      const piece = (start: number, end: number): string | null =>
        start < 0 ? null : Buffer.from(cursor.bytes.subarray(start, end)).toString('latin1')
      records.push({
        offset: cursor.offset,
        timestampMs: cursor.timestampMs,
        key: piece(cursor.keyStart, cursor.keyEnd),
        value: piece(cursor.valueStart, cursor.valueEnd),
      })
    }
    next = chunk.nextOffset
  }
}
