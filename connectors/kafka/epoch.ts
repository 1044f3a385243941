/**
 * The epoch of a partition, from the id of its topic: 31 of its random bits, so that a topic which is deleted and made
 * again is another epoch. Never 0, the epoch of a partition of which nothing was read.
 */
export const epochOf = (topicId: string): number => Number.parseInt(topicId.slice(0, 8), 16) & 0x7fff_ffff || 1
