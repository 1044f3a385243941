/** A process of its own that appends until it is killed, and says what was acknowledged. Arguments: folder, fsync policy. */
import { randomBytes } from 'node:crypto'
import { writeSync } from 'node:fs'
import { recordsFrom } from '../../../connectors/kit/event-log-suite.ts'
import { type FsyncPolicy, openLog } from '../../../connectors/log/index.ts'

const [root = '', fsync = 'always'] = process.argv.slice(2)

const log = await openLog(root, {
  mode: 'write',
  fsync: fsync as FsyncPolicy,
  random: { bytes: (length) => randomBytes(length) },
  segmentBytesMax: 50_000,
  holder: 'the appender',
})
await log.create('clicks', { partitions: 1 })
const producerId = 7n
let sequence = await log.nextSequence('clicks', 0, producerId)
const say = (line: string): void => void writeSync(1, `${line}\n`)
say(`open ${sequence}`)
for (;;) {
  const count = 1 + (sequence % 50)
  const batch = log.append('clicks', 0, recordsFrom(sequence, count), { producerId, baseSequence: sequence })
  const { nextOffset } = await batch
  sequence += count
  say(`acknowledged ${nextOffset}`)
}
