import type { Brand } from '../brand.ts'
import { FeatureStoreError } from '../errors.ts'

/** Index of a record in its partition, from 0. */
export type Offset = Brand<number, 'Offset'>
export const offset = (index: number): Offset => index as Offset
export const offsetZero = offset(0)

/** How far one partition is covered: everything below `next`, in log epoch `epoch`. */
export interface PartitionPosition {
  readonly epoch: number
  readonly next: Offset
}

/**
 * The source offsets that a state covers, per stream and partition (index = partition). Written in the same atomic
 * write as the state. A stream that is absent is covered up to 0.
 */
export interface Position {
  readonly logId: string
  readonly streams: Readonly<Record<string, readonly PartitionPosition[]>>
}

export const emptyPosition = (logId: string): Position => ({ logId, streams: {} })

export const nextOffset = (position: Position, stream: string, partition: number): Offset =>
  position.streams[stream]?.[partition]?.next ?? offsetZero

/** Offsets covered, over all streams or one: records, where offsets are dense from 0 (EventLogTraits.offsets). */
export function recordCount(position: Position, stream?: string): number {
  let total = 0
  for (const [name, partitions] of Object.entries(position.streams)) {
    if (stream === undefined || name === stream) for (const partition of partitions) total += partition.next
  }
  return total
}

/** The greatest position that both cover: the minimum per partition. Commutative, associative, idempotent. */
export function meet(a: Position, b: Position): Position {
  const streams: Record<string, PartitionPosition[]> = {}
  for (const name of Object.keys(a.streams)
    .filter((stream) => Object.hasOwn(b.streams, stream))
    .sort()) {
    const left = a.streams[name] ?? []
    const right = b.streams[name] ?? []
    const partitions: PartitionPosition[] = []
    for (let index = 0; index < Math.min(left.length, right.length); index++) {
      const l = left[index] as PartitionPosition
      const r = right[index] as PartitionPosition
      // The epoch settles a tie, so that the order of the arguments does not.
      partitions.push(l.next < r.next || (l.next === r.next && l.epoch <= r.epoch) ? l : r)
    }
    streams[name] = partitions
  }
  return { logId: a.logId, streams }
}

/** True when `a` covers all that `b` covers. */
export function covers(a: Position, b: Position): boolean {
  return Object.entries(b.streams).every(([stream, partitions]) =>
    partitions.every((wanted, partition) => nextOffset(a, stream, partition) >= wanted.next),
  )
}

export const samePosition = (a: Position, b: Position): boolean => a.logId === b.logId && covers(a, b) && covers(b, a)

/** Equal in every partition, epochs included; a stream that is absent is one with no partitions. */
export function identicalPosition(a: Position, b: Position): boolean {
  if (a === b) return true
  if (a.logId !== b.logId) return false
  const streams = new Set([...Object.keys(a.streams), ...Object.keys(b.streams)])
  for (const stream of streams) if (!identicalPartitions(a.streams[stream] ?? [], b.streams[stream] ?? [])) return false
  return true
}

const identicalPartitions = (a: readonly PartitionPosition[], b: readonly PartitionPosition[]): boolean =>
  a.length === b.length &&
  a.every((partition, index) => partition.next === b[index]?.next && partition.epoch === b[index].epoch)

/** The part of a position that concerns these streams. */
export const ofStreams = ({ logId, streams }: Position, names: readonly string[]): Position => ({
  logId,
  streams: Object.fromEntries(Object.entries(streams).filter(([stream]) => names.includes(stream))),
})

/** The opaque token of a reply: base64url of the position. */
export const encodeToken = (position: Position): string => Buffer.from(JSON.stringify(position)).toString('base64url')

/** Errors: FS_REQUEST_INVALID. */
export function decodeToken(token: string): Position {
  try {
    const parsed = JSON.parse(Buffer.from(token, 'base64url').toString()) as Partial<Position> | null
    const streams = Object.entries(parsed?.streams ?? {})
    if (
      typeof parsed?.logId === 'string' &&
      typeof parsed.streams === 'object' &&
      streams.every(([, partitions]) => Array.isArray(partitions) && partitions.every(isPartitionPosition))
    )
      return { logId: parsed.logId, streams: Object.fromEntries(streams) }
  } catch {
    // falls through to the one error
  }
  throw new FeatureStoreError('FS_REQUEST_INVALID', 'that is no token of a reply')
}

const isPartitionPosition = (value: unknown): value is PartitionPosition => {
  const { epoch, next } = (value ?? {}) as Partial<PartitionPosition>
  return Number.isSafeInteger(epoch) && Number.isSafeInteger(next) && (next as number) >= 0
}
