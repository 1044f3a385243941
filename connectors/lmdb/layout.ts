import { crc32 } from 'node:zlib'
import { FeatureStoreError } from '../../core/errors.ts'
import type { DeadLetter } from '../../core/event/batch.ts'
import { keyBytesMax } from '../../core/event/key.ts'

/*
 * Keys and values of the embedded online store. All numbers big-endian, so that bytes sort as they mean.
 *
 *     00 "format" | 00 "generations"                                    JSON
 *     01 generation:u16 shard:u16                                       JSON: owner and position of the shard
 *     02 generation:u16 scope 00 stream 00 partition:u32 offset:u64     JSON: a dead letter
 *     03 generation:u16 shard:u16 view 00 entity key                    row
 *     04 generation:u16 shard:u16 view 00 length:u16 entity key name:u32   part of a row; length is that of the entity key
 *
 *     value = CRC-32 of the bytes behind it:u32, bytes
 */
export const formatVersion = 2

const shardKind = 1
const deadLetterKind = 2
const rowKind = 3
const partKind = 4

export const formatKey = Buffer.from('\0format')
export const generationsKey = Buffer.from('\0generations')

/** LMDB takes keys up to 1978 bytes: names leave room for the longest entity key. */
const nameBytesMax = 255
export const keySizeMax = 1 + 2 + 2 + nameBytesMax + 1 + 2 + keyBytesMax + 4

function nameBytes(name: string): Buffer {
  const bytes = Buffer.from(name)
  if (bytes.length > nameBytesMax || bytes.includes(0))
    throw new FeatureStoreError('FS_INTERNAL', `a name of ${bytes.length} bytes does not fit a key`)
  return bytes
}

function u16(value: number): Buffer {
  const bytes = Buffer.alloc(2)
  bytes.writeUInt16BE(value)
  return bytes
}

export const shardKey = (generation: number, shard: number): Buffer =>
  Buffer.concat([Buffer.of(shardKind), u16(generation), u16(shard)])

export const shardOfKey = (key: Uint8Array): number => ((key[3] as number) << 8) | (key[4] as number)

/** What stands before the entity key in every row of a view in a shard. */
export const rowPrefix = (generation: number, shard: number, view: string): Buffer =>
  Buffer.concat([Buffer.of(rowKind), u16(generation), u16(shard), nameBytes(view), Buffer.of(0)])

/** What stands before the name in every part of a row: the parts of one row lie side by side. */
export const partPrefix = (generation: number, shard: number, view: string, key: Uint8Array): Buffer =>
  Buffer.concat([Buffer.of(partKind), u16(generation), u16(shard), nameBytes(view), Buffer.of(0), u16(key.length), key])

export function partKey(prefix: Buffer, name: number): Buffer {
  const key = Buffer.alloc(prefix.length + 4)
  key.set(prefix)
  key.writeUInt32BE(name, prefix.length)
  return key
}

export function deadLetterKey(generation: number, { scope, stream, partition, offset }: DeadLetter): Buffer {
  const source = Buffer.alloc(12)
  source.writeUInt32BE(partition)
  source.writeBigUInt64BE(BigInt(offset), 4)
  const zero = Buffer.of(0)
  return Buffer.concat([
    Buffer.of(deadLetterKind),
    u16(generation),
    nameBytes(scope),
    zero,
    nameBytes(stream),
    zero,
    source,
  ])
}

/** Half-open ranges of keys. */
export interface KeyRange {
  readonly start: Buffer
  readonly end: Buffer
}

/** Every key that begins with these bytes; they must not be all 0xff. */
export function startingWith(prefix: Buffer): KeyRange {
  let length = prefix.length
  while (prefix[length - 1] === 0xff) length--
  const end = Buffer.from(prefix.subarray(0, length))
  end[length - 1] = (end[length - 1] as number) + 1
  return { start: prefix, end }
}

const ofKind = (kind: number, generation: number): KeyRange =>
  startingWith(Buffer.concat([Buffer.of(kind), u16(generation)]))

export const shardRange = (generation: number): KeyRange => ofKind(shardKind, generation)
export const deadLetterRange = (generation: number): KeyRange => ofKind(deadLetterKind, generation)

/** All that a generation holds. */
export const generationRanges = (generation: number): readonly KeyRange[] =>
  [shardKind, deadLetterKind, rowKind, partKind].map((kind) => ofKind(kind, generation))

let scratch = Buffer.allocUnsafeSlow(64 * 1024)

/** The checked value of these bytes; valid until the next call: LMDB copies it at once inside a transaction. */
export function seal(bytes: Uint8Array): Buffer {
  const size = bytes.length + 4
  if (scratch.length < size) scratch = Buffer.allocUnsafeSlow(2 * size)
  scratch.writeUInt32BE(crc32(bytes))
  scratch.set(bytes, 4)
  return scratch.subarray(0, size)
}

export const sealJson = (value: unknown): Buffer => seal(Buffer.from(JSON.stringify(value)))

/** The bytes of a value, or null if its checksum does not fit them. */
export function unseal(value: Buffer): Buffer | null {
  if (value.length < 4) return null
  const bytes = value.subarray(4)
  return value.readUInt32BE() === crc32(bytes) ? bytes : null
}

/** A JSON record; the caller knows its type from the key. Errors: FS_ROW_CORRUPT. */
export function unsealJson(value: Buffer): unknown {
  const bytes = unseal(value)
  if (bytes === null) throw new FeatureStoreError('FS_ROW_CORRUPT', 'a record of the online store fails its checksum')
  return JSON.parse(bytes.toString())
}
