/**
 * Bugs of the product that the simulation has found and that are not mended yet: mended here, in every process that runs
 * seeds, so that what lies behind them can be found as well. The list is empty when all is well; a mend that the code has
 * outgrown fails loudly.
 */
import type { Change } from './bugs.ts'

export const mends: readonly Change[] = [
  {
    // A flush that makes room before every partition was begun with forgets the positions of the others.
    file: 'worker/online-projection.ts',
    find: `        Object.entries(streams).map(([stream, partitions]) => [
          stream,
          partitions.map((applied, partition) => {
            const held = stored.position.streams[stream]?.[partition]
            return held !== undefined && held.next > applied.next ? held : applied
          }),
        ]),`,
    replace: `        [...new Set([...Object.keys(stored.position.streams), ...Object.keys(streams)])].map((stream) => {
          const before = stored.position.streams[stream] ?? []
          const now = streams[stream] ?? []
          const both = Array.from({ length: Math.max(before.length, now.length) }, (_, partition) => {
            const [held, applied] = [before[partition], now[partition]]
            return applied === undefined || (held !== undefined && held.next > applied.next) ? held : applied
          })
          return [stream, both as PartitionPosition[]]
        }),`,
  },
]
