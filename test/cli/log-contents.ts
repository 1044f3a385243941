import { createHash } from 'node:crypto'
import { openLog } from '../../connectors/log/index.ts'
import { offset } from '../../core/event/position.ts'
import { RecordCursor } from '../../schemas/recordbatch/index.ts'
import { dataFile } from './support.ts'

export interface PartitionContents {
  readonly records: number
  /** SHA-256 over offset, timestamp, key and value of every record, in order. */
  readonly digest: string
}

/** What a reader finds in each partition of a stream. Batch borders are not part of it: an import may be cut anywhere. */
export async function logContents(folder: string, stream: string): Promise<PartitionContents[]> {
  await using log = await openLog(dataFile(folder, 'log'), { mode: 'read' })
  const cursor = new RecordCursor()
  const contents: PartitionContents[] = []
  for (const [partition, { end }] of ((await log.describe(stream)) ?? []).entries()) {
    const hash = createHash('sha256')
    let records = 0
    for (let next = 0; next < end;) {
      const chunk = await log.fetch(stream, partition, offset(next), 1 << 20)
      cursor.reset(chunk.bytes)
      while (cursor.next()) {
        if (cursor.offset < next) continue
        const { bytes, keyStart, keyEnd, valueStart, valueEnd } = cursor
        hash.update(`${cursor.offset} ${cursor.timestampMs} ${keyEnd - keyStart} ${valueEnd - valueStart} `)
        hash.update(bytes.subarray(keyStart, keyEnd)).update(bytes.subarray(valueStart, valueEnd))
        records++
      }
      next = chunk.nextOffset
    }
    contents.push({ records, digest: hash.digest('hex') })
  }
  return contents
}

/** Records in the log, over all partitions. */
export const recordsOf = async (folder: string, stream: string): Promise<number> =>
  (await logContents(folder, stream)).reduce((sum, { records }) => sum + records, 0)
