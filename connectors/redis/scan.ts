import { FeatureStoreError } from '../../core/errors.ts'
import type { DeadLetter } from '../../core/event/batch.ts'
import type { RedisClient } from './client.ts'
import { fieldsCall, readCommand, runScripts, valueOf } from './commands.ts'
import { unseal, unsealJson, viewPattern, viewPrefix, type ShardKeys } from './layout.ts'

/** Fields that the server walks over in one step: it answers nobody else meanwhile, and their values pass through Lua. */
const fieldsPerStep = 128
/** Rows fetched at a time, at first; then as many as are likely to be this many bytes. */
const rowsAtFirst = 64
const rowsMax = 1024
const chunkBytes = 2 ** 22

/**
 * Rows of a view in one shard by key bytes. A hash has no order: its keys are collected first (in memory: one shard's, of
 * one view), sorted, and their rows fetched in turn.
 *
 * Errors: FS_ROW_CORRUPT.
 */
export async function* scanShard(
  client: RedisClient,
  { rows: name }: ShardKeys,
  view: string,
): AsyncGenerator<{ readonly key: Uint8Array; readonly row: Uint8Array }> {
  const keys = await keysOf(client, name, view)
  const prefix = viewPrefix(view)
  let size = rowsAtFirst
  for (let from = 0; from < keys.length;) {
    const chunk = keys.slice(from, from + size)
    from += chunk.length
    const [answer] = await client.send([readCommand(name, prefix, chunk)])
    const [, ...values] = answer === undefined ? [] : (valueOf(answer) as readonly (Buffer | null)[])
    let bytes = 0
    for (const [index, value] of values.entries()) {
      // Null: the generation was dropped meanwhile.
      if (value === null) continue
      bytes += value.length
      const row = unseal(value)
      if (row === null) throw new FeatureStoreError('FS_ROW_CORRUPT', `a row of ${view} fails its checksum`)
      yield { key: chunk[index] as Buffer, row }
    }
    size = Math.max(1, Math.min(rowsMax, Math.floor((chunkBytes * chunk.length) / Math.max(1, bytes))))
  }
}

/** HSCAN gives every field that is there all the time, some of them twice. */
async function keysOf(client: RedisClient, name: string, view: string): Promise<readonly Buffer[]> {
  const pattern = viewPattern(view)
  const start = viewPrefix(view).length
  const keys: Buffer[] = []
  let cursor: Buffer | string = '0'
  do {
    const [answer] = await runScripts(client, [fieldsCall(name, cursor, pattern, fieldsPerStep)])
    const [next, fields] = valueOf(answer as NonNullable<typeof answer>) as readonly [Buffer, readonly Buffer[]]
    // Copied, for a reply is a piece of a larger buffer that would be kept.
    for (const field of fields) keys.push(Buffer.from(field.subarray(start)))
    cursor = next
  } while (String(cursor) !== '0')
  keys.sort(Buffer.compare)
  return keys.filter((key, index) => index === 0 || !key.equals(keys[index - 1] as Buffer))
}

/** Dead letters of one shard, each once. Errors: FS_ROW_CORRUPT. */
export async function* deadLettersOf(client: RedisClient, { dead }: ShardKeys): AsyncGenerator<[string, DeadLetter]> {
  let cursor = '0'
  do {
    const reply = await client.call('hscan', dead, cursor, 'COUNT', String(fieldsPerStep))
    const [next, entries] = reply as readonly [Buffer, readonly Buffer[]]
    for (let index = 0; index + 1 < entries.length; index += 2)
      yield [String(entries[index]), unsealJson(entries[index + 1] as Buffer) as DeadLetter]
    cursor = String(next)
  } while (cursor !== '0')
}
