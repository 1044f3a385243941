import type { StreamDefinition } from '../../core/definition/types.ts'
import { FeatureStoreError } from '../../core/errors.ts'
import { encodeKey, partitionOf } from '../../core/event/key.ts'
import type { Scalar } from '../../core/event/types.ts'

/** The record key of an event: the canonical bytes of the stream's key fields, null for a stream without a key. */
export function recordKey(stream: StreamDefinition, field: (name: string) => Scalar): Uint8Array | null {
  if (stream.key.length === 0) return null
  return encodeKey(
    stream.key.map(field),
    stream.key.map((name) => (stream.fields[name] as { type: 'string' }).type),
  )
}

/** Kafka's partition of the key; partition 0 without one. */
export const recordPartition = (stream: StreamDefinition, key: Uint8Array | null): number =>
  key === null ? 0 : partitionOf(key, stream.partitions)

/** As `recordKey`, with null where the key cannot be encoded: such an event becomes a dead letter of its views. */
export function recordKeyOrNull(stream: StreamDefinition, field: (name: string) => Scalar): Uint8Array | null {
  try {
    return recordKey(stream, field)
  } catch (error) {
    if (error instanceof FeatureStoreError && error.code === 'FS_ENTITY_INVALID') return null
    throw error
  }
}
