import { createHash } from 'node:crypto'
import { FeatureStoreError } from '../errors.ts'
import type { Scalar, ScalarType } from './types.ts'

/** Encoded entity keys are at most this long. */
export const keyBytesMax = 1024

const utf8 = new TextEncoder()
const scratch = new DataView(new ArrayBuffer(8))

/**
 * The canonical bytes of a key: fields in declared order, each self-delimiting, so that two keys are equal exactly
 * when their bytes are.
 *
 *     string          utf-8 bytes, 0x00 escaped as 0x00 0xff, then 0x00 0x01   (one string alone: the utf-8 bytes as they are)
 *     int32, int64, timestamp   8 bytes, big-endian, sign bit flipped (so bytes sort as numbers do)
 *     bool            1 byte
 *
 * A single string is its plain utf-8, which is what other tools write as a Kafka record key.
 * Errors: FS_ENTITY_INVALID for null, a wrong type, a float64, an integer outside of int64, a string that has no utf-8
 * (a lone surrogate), or more than 1,024 bytes.
 */
export function encodeKey(values: readonly Scalar[], types: readonly ScalarType[]): Uint8Array {
  const key = encodeFields(values, types)
  if (key.length > keyBytesMax)
    throw new FeatureStoreError('FS_ENTITY_INVALID', `a key of ${key.length} bytes is longer than ${keyBytesMax}`)
  return key
}

const digestBytes = 32

/**
 * The bytes that name a row of a changelog, however long its primary key is: those of `encodeKey` below 1,024 bytes, else
 * exactly 1,024, of which the last are the SHA-256 of the whole. So no short key has the bytes of a long one.
 *
 * Errors: FS_ENTITY_INVALID as `encodeKey`, but for the length.
 */
export function encodeRowKey(values: readonly Scalar[], types: readonly ScalarType[]): Uint8Array {
  const key = encodeFields(values, types)
  if (key.length < keyBytesMax) return key
  return concat([key.subarray(0, keyBytesMax - digestBytes), createHash('sha256').update(key).digest()])
}

function encodeFields(values: readonly Scalar[], types: readonly ScalarType[]): Uint8Array {
  const parts = types.map((type, index) => encodeField(values[index] ?? null, type, types.length === 1))
  return parts.length === 1 ? (parts[0] as Uint8Array) : concat(parts)
}

function encodeField(value: Scalar, type: ScalarType, alone: boolean): Uint8Array {
  const wrong = (): FeatureStoreError =>
    new FeatureStoreError(
      'FS_ENTITY_INVALID',
      `a key field of type ${type} has a ${value === null ? 'null' : typeof value}`,
    )
  switch (type) {
    case 'string': {
      // A lone surrogate would become U+FFFD, and two keys one.
      if (typeof value !== 'string' || !value.isWellFormed()) throw wrong()
      const bytes = utf8.encode(value)
      return alone ? bytes : escape(bytes)
    }
    case 'bool':
      if (typeof value !== 'boolean') throw wrong()
      return Uint8Array.of(value ? 1 : 0)
    case 'int32':
    case 'int64':
    case 'timestamp': {
      if (typeof value !== 'bigint' && !(typeof value === 'number' && Number.isSafeInteger(value))) throw wrong()
      if (typeof value === 'bigint' && BigInt.asIntN(64, value) !== value) throw wrong()
      scratch.setBigUint64(0, BigInt.asUintN(64, BigInt(value)) ^ (1n << 63n))
      return new Uint8Array(scratch.buffer.slice(0))
    }
    default:
      throw wrong()
  }
}

function escape(bytes: Uint8Array): Uint8Array {
  let zeros = 0
  for (const byte of bytes) if (byte === 0) zeros++
  const out = new Uint8Array(bytes.length + zeros + 2)
  let at = 0
  for (const byte of bytes) {
    out[at++] = byte
    if (byte === 0) out[at++] = 0xff
  }
  out[at + 1] = 1
  return out
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    out.set(part, at)
    at += part.length
  }
  return out
}

/** Murmur2 as Kafka's default partitioner has it (seed 0x9747b28c), so producers in other languages agree. Signed 32 bits. */
export function murmur2(data: Uint8Array): number {
  const m = 0x5bd1e995
  let h = 0x9747b28c ^ data.length
  let i = 0
  for (; i + 4 <= data.length; i += 4) {
    let k =
      (data[i] as number) |
      ((data[i + 1] as number) << 8) |
      ((data[i + 2] as number) << 16) |
      ((data[i + 3] as number) << 24)
    k = Math.imul(k, m)
    k ^= k >>> 24
    h = Math.imul(h, m) ^ Math.imul(k, m)
  }
  const tail = data.length - i
  if (tail === 3) h ^= (data[i + 2] as number) << 16
  if (tail >= 2) h ^= (data[i + 1] as number) << 8
  if (tail >= 1) h = Math.imul(h ^ (data[i] as number), m)
  h = Math.imul(h ^ (h >>> 13), m)
  return h ^ (h >>> 15)
}

/** Kafka's partition of a record key. */
export const partitionOf = (key: Uint8Array, partitions: number): number => (murmur2(key) & 0x7fffffff) % partitions

/** The shard that owns an entity, whatever partition its events lie in. */
export const shardOf = (key: Uint8Array, shards: number): number => (murmur2(key) & 0x7fffffff) % shards
