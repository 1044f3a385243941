import type { FlushOutcome, ShardFlush, ShardLease, ShardPosition } from '../../core/ports/online-store.ts'
import type { Answer, RedisClient } from './client.ts'
import { isNoScript, onlineError } from './errors.ts'
import { frame, framed, type FramedCommand } from './frame.ts'
import {
  deadLetterId,
  partName,
  partPrefix,
  positionField,
  positionName,
  unsealJson,
  viewPrefix,
  type ShardKeys,
} from './layout.ts'
import { acquireScript, fieldsScript, flushScript, type Script } from './scripts.ts'

/** A script by its name, or, where the server has forgotten it (restart, failover, SCRIPT FLUSH), by its text. */
type How = 'evalsha' | 'eval'
export type ScriptCall = (how: How) => FramedCommand

function scriptCall(script: Script, keys: readonly string[], argumentCount: number, body: () => void): ScriptCall {
  return (how) =>
    framed(how, keys[0] as string, 3 + keys.length + argumentCount, () => {
      frame.text(how)
      frame.text(how === 'eval' ? script.lua : script.sha)
      frame.text(String(keys.length))
      for (const key of keys) frame.text(key)
      body()
    })
}

/** Runs scripts of different shards; one that the server does not know goes again with its text. */
export async function runScripts(client: RedisClient, calls: readonly ScriptCall[]): Promise<readonly Answer[]> {
  const answers = [...(await client.send(calls.map((call) => call('evalsha'))))]
  const unknown = answers.flatMap(({ error }, index) => (isNoScript(error) ? [index] : []))
  if (unknown.length === 0) return answers
  const again = await client.send(unknown.map((index) => (calls[index] as ScriptCall)('eval')))
  unknown.forEach((index, at) => (answers[index] = again[at] as Answer))
  return answers
}

/** Errors: those of `onlineError`. */
export function valueOf(answer: Answer): unknown {
  if (answer.error !== null) throw onlineError(answer.error)
  return answer.value
}

const allKeys = ({ rows, parts, dead, none }: ShardKeys): readonly string[] => [rows, parts, dead, none]

/** The position of a shard, and the rows of these keys: one command, hence one moment. */
export function readCommand(key: string, prefix: Buffer, keys: readonly Uint8Array[]): FramedCommand {
  return framed('hmget', key, 3 + keys.length, () => {
    frame.text('hmget')
    frame.text(key)
    frame.text(positionField)
    for (const key of keys) frame.joined(prefix, key)
  })
}

export function readPartsCommand(
  parts: string,
  view: string,
  key: Uint8Array,
  names: readonly number[],
): FramedCommand {
  const prefix = partPrefix(view, key)
  return framed('hmget', parts, 2 + names.length, () => {
    frame.text('hmget')
    frame.text(parts)
    for (const name of names) frame.joined(prefix, partName(name))
  })
}

export const acquireCall = (keys: ShardKeys, nonce: string): ScriptCall =>
  scriptCall(acquireScript, allKeys(keys), 1, () => frame.text(nonce))

export const fieldsCall = (rows: string, cursor: Buffer | string, pattern: Buffer, count: number): ScriptCall =>
  scriptCall(fieldsScript, [rows], 3, () => {
    if (typeof cursor === 'string') frame.text(cursor)
    else frame.bytes(cursor)
    frame.bytes(pattern)
    frame.text(String(count))
  })

const ownerText = ({ epoch, nonce }: ShardLease): string => `${epoch}:${nonce}`

/** Positions by their objects: all shards of one `apply` mostly share them. */
export class PositionTexts {
  readonly #names = new Map<ShardPosition, string>()
  readonly #bytes = new Map<ShardPosition, Buffer>()

  name(position: ShardPosition | null): string {
    if (position === null) return positionName(null)
    let name = this.#names.get(position)
    if (name === undefined) this.#names.set(position, (name = positionName(position)))
    return name
  }

  bytes(position: ShardPosition): Buffer {
    let bytes = this.#bytes.get(position)
    if (bytes === undefined) this.#bytes.set(position, (bytes = Buffer.from(JSON.stringify(position))))
    return bytes
  }
}

export function flushCall(keys: ShardKeys, flush: ShardFlush, texts: PositionTexts): ScriptCall {
  const { rows, deadLetters } = flush
  const rowArguments = 2 * rows.length
  const put = 2 * rows.reduce((sum, { parts }) => sum + (parts?.put.length ?? 0), 0)
  const drop = rows.reduce((sum, { parts }) => sum + (parts?.drop.length ?? 0), 0)
  const dead = 2 * deadLetters.length
  return scriptCall(flushScript, allKeys(keys), 8 + rowArguments + put + drop + dead, () => {
    frame.text(ownerText(flush.lease))
    frame.text(texts.name(flush.from))
    frame.text(texts.name(flush.to))
    frame.sealed(texts.bytes(flush.to))
    for (const size of [rowArguments, put, drop, dead]) frame.text(String(size))
    writeRows(flush)
    if (put + drop > 0) writeParts(flush)
    for (const letter of deadLetters) {
      frame.text(deadLetterId(letter))
      frame.sealed(Buffer.from(JSON.stringify(letter)))
    }
  })
}

function writeRows({ rows }: ShardFlush): void {
  let view: string | null = null
  let prefix: Buffer = Buffer.of()
  for (const write of rows) {
    if (write.view !== view) prefix = viewPrefix((view = write.view))
    frame.joined(prefix, write.key)
    frame.sealed(write.row)
  }
}

function writeParts({ rows }: ShardFlush): void {
  for (const { view, key, parts } of rows) {
    if (parts === undefined || parts.put.length === 0) continue
    const prefix = partPrefix(view, key)
    for (const { name, bytes } of parts.put) {
      frame.joined(prefix, partName(name))
      frame.sealed(bytes)
    }
  }
  for (const { view, key, parts } of rows) {
    if (parts === undefined || parts.drop.length === 0) continue
    const prefix = partPrefix(view, key)
    for (const name of parts.drop) frame.joined(prefix, partName(name))
  }
}

/** What a flush puts into the store: rows, parts and dead letters with their keys. */
export function bytesOf({ rows, deadLetters }: ShardFlush): number {
  let bytes = 0
  for (const { key, row, parts } of rows) {
    bytes += key.length + row.length
    if (parts !== undefined) for (const part of parts.put) bytes += key.length + part.bytes.length
  }
  // Dead letters hold names and a reason: a bound that need not be exact.
  for (const { scope, stream, reason } of deadLetters) bytes += 200 + 2 * (scope.length + stream.length) + reason.length
  return bytes
}

/** Errors: FS_ROW_CORRUPT where the position that stands there fails its checksum. */
export function outcomeOf(reply: unknown): FlushOutcome {
  const [kind, detail] = reply as readonly [Buffer, Buffer | null | undefined]
  switch (kind.toString()) {
    case 'applied':
      return { kind: 'applied' }
    case 'already-applied':
      return { kind: 'already-applied' }
    case 'gap':
      return { kind: 'gap', found: parsePosition(detail ?? null) }
    default:
      // An owner that cannot be read is no owner; so is one that FLUSHALL took.
      return { kind: 'fenced', byEpoch: Number.parseInt(String(detail ?? '0'), 10) || 0 }
  }
}

/** Errors: FS_ROW_CORRUPT. */
export const parsePosition = (value: Buffer | null): ShardPosition | null =>
  value === null ? null : (unsealJson(value) as ShardPosition)
