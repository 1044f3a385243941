import { createHash } from 'node:crypto'
import { crc32 } from 'node:zlib'
import { FeatureStoreError } from '../../core/errors.ts'
import type { DeadLetter } from '../../core/event/batch.ts'
import type { ShardPosition } from '../../core/ports/online-store.ts'

/*
 * Keys and values; README.md draws them for readers from outside. All that a shard has lies under one hash tag, so on one
 * node of a cluster:
 *
 *     {prefix:generation:shard}:rows    hash   owner             epoch:nonce
 *                                              at                which position this is (positionName)
 *                                              position          sealed JSON of ShardPosition
 *                                              view 00 key       sealed row
 *     {prefix:generation:shard}:parts   hash   view 00 length:u16 key name:u32      sealed part; length is that of the key
 *     {prefix:generation:shard}:dead    hash   JSON [scope, stream, partition, offset]   sealed JSON of the dead letter
 *     {prefix:generation:shard}:none    never there: a write of nothing to it shows that the server takes writes
 *     prefix:generations                hash   generation        JSON: format and shards
 *     prefix:current                    string generation
 *
 *     sealed = CRC-32 of the bytes behind it:u32 big-endian, bytes
 *
 * A name of a view has no zero byte, so a row never has the name of one of the three fields that are none.
 */
export const formatVersion = 1

export const ownerField = 'owner'
export const atField = 'at'
export const positionField = 'position'

export interface ShardKeys {
  readonly rows: string
  readonly parts: string
  readonly dead: string
  readonly none: string
}

const shardsMax = 65_536

/** Errors: FS_CONFIG_INVALID: a brace or a zero byte would move the hash tag. */
export function checkedName(what: string, name: string): string {
  if (name.length === 0 || /[{}\0]/.test(name))
    throw new FeatureStoreError('FS_CONFIG_INVALID', `${what} of the online store is empty or has a brace in it`)
  return name
}

export function keysOfShard(prefix: string, generation: string, shard: number): ShardKeys {
  if (!Number.isInteger(shard) || shard < 0 || shard >= shardsMax)
    throw new FeatureStoreError('FS_INTERNAL', `${shard} is no shard`)
  const tag = `{${prefix}:${generation}:${shard}}`
  return { rows: `${tag}:rows`, parts: `${tag}:parts`, dead: `${tag}:dead`, none: `${tag}:none` }
}

export const generationsKey = (prefix: string): string => `${prefix}:generations`
export const currentKey = (prefix: string): string => `${prefix}:current`

/** What stands before the entity key in every row of a view. */
export function viewPrefix(view: string): Buffer {
  const bytes = Buffer.from(`${view}\0`)
  if (bytes.indexOf(0) !== bytes.length - 1)
    throw new FeatureStoreError('FS_INTERNAL', 'the name of a view has a zero byte')
  return bytes
}

/** A glob that the rows of a view match, and nothing else. */
export const viewPattern = (view: string): Buffer => Buffer.from(`${view.replaceAll(/[\\*?[\]]/g, '\\$&')}\0*`)

/** What stands before the name in every part of a row. */
export function partPrefix(view: string, key: Uint8Array): Buffer {
  const length = Buffer.alloc(2)
  length.writeUInt16BE(key.length)
  return Buffer.concat([viewPrefix(view), length, key])
}

export function partName(name: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(name)
  return bytes
}

export const deadLetterId = ({ scope, stream, partition, offset }: DeadLetter): string =>
  JSON.stringify([scope, stream, partition, offset])

/**
 * The name of a position, for the script to compare: equal exactly where `sameShardPosition` (connectors/kit) says that two
 * positions are the same. It is the SHA-256, in base64url, of the JSON of
 *
 *     [logId, [stream, [epoch, next], …], …]      streams with partitions only, sorted by UTF-16 units
 *
 * so 43 bytes, however many partitions there are. The empty text is the name of no position.
 */
export function positionName(position: ShardPosition | null): string {
  if (position === null) return ''
  const { logId, streams } = position.position
  const parts = Object.entries(streams)
    .filter(([, partitions]) => partitions.length > 0)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([stream, partitions]) => [stream, ...partitions.map(({ epoch, next }) => [epoch, next])])
  return createHash('sha256')
    .update(JSON.stringify([logId, ...parts]))
    .digest('base64url')
}

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
