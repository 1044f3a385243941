/** Chunks of one partition that a reader of a log may hold: the one looked at, and one ahead. */
const chunksHeld = 2
const readBytesMin = 16 * 1024

/**
 * How much to read of a partition at a time, so that the chunks of all partitions stay below `totalBytesMax`, bytes. A batch
 * of the log that is longer comes whole.
 */
export const readBytesFor = (partitions: number, readBytes: number, totalBytesMax: number): number =>
  Math.max(
    Math.min(readBytes, readBytesMin),
    Math.min(readBytes, Math.floor(totalBytesMax / (chunksHeld * Math.max(1, partitions)))),
  )
