/**
 * Flushes for ever: `node flush-loop.ts FOLDER`. Each flush rewrites 40 rows over four shards, each row holding the next
 * offset of its shard, and says the offset when the flush is committed.
 */
import { randomBytes } from 'node:crypto'
import { openOnlineStore } from '../../../connectors/lmdb/online-store.ts'
import { silentLogger } from '../../../core/ports/environment.ts'
import { keysPerShard, loopKey, loopPosition, loopRow, loopShards } from './loop-rows.ts'

const folder = process.argv[2]
if (folder === undefined) throw new Error('no folder')
const store = await openOnlineStore(folder, {
  mode: 'write',
  generation: 'loop',
  logger: silentLogger,
  random: { bytes: (length) => randomBytes(length) },
})
const taken = await store.acquire(loopShards)
let from = taken[0]?.position ?? null
for (;;) {
  const next = (from?.position.streams['s']?.[0]?.next ?? 0) + 1
  const to = loopPosition(next)
  const outcomes = await store.apply(
    taken.map(({ lease }) => ({
      lease,
      from,
      to,
      rows: Array.from({ length: keysPerShard }, (_, index) => ({
        view: 'v',
        key: loopKey(index),
        row: loopRow(next, index),
      })),
      deadLetters: [],
    })),
  )
  if (outcomes.some(({ kind }) => kind !== 'applied')) throw new Error(`refused: ${JSON.stringify(outcomes)}`)
  process.stdout.write(`${next}\n`)
  from = to
}
