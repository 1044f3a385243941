import { offset } from '../../../core/event/position.ts'
import type { ShardPosition } from '../../../core/ports/online-store.ts'

export const loopShards = [0, 1, 2, 3]
export const keysPerShard = 10

export const loopKey = (index: number): Uint8Array => Buffer.from(`key ${index}`)
/** Rows of 1 to 5 KB, so that pages split and overflow. */
export const loopRow = (next: number, index: number): Uint8Array =>
  Buffer.alloc(1000 + 400 * ((next + index) % 10), `${next} `)
export const loopPosition = (next: number): ShardPosition => ({
  position: { logId: 'log', streams: { s: [{ epoch: 1, next: offset(next) }] } },
  newestEventTimeMs: {},
})
