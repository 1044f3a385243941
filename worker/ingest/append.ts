import {
  defaultOp,
  fieldsWritten,
  isCorrectable,
  opField,
  opOf,
  opsTaken,
  takesBack,
} from '../../core/definition/corrections.ts'
import type { StreamDefinition } from '../../core/definition/types.ts'
import { FeatureStoreError } from '../../core/errors.ts'
import { opNames, type OpCode, type OpName } from '../../core/event/operation.ts'
import type { PartitionPosition, Position } from '../../core/event/position.ts'
import { scalarText, shapeOf, type FieldType, type Scalar } from '../../core/event/types.ts'
import { formatDecimal, unscaledOfGiven } from '../../core/number/decimal.ts'
import type { Clock } from '../../core/ports/environment.ts'
import type { EventLog, LogRecord } from '../../core/ports/event-log.ts'
import { parseInstant } from '../../core/time/time.ts'
import { compileEncoder, streamSchema, type AvroSchema } from '../../schemas/avro/index.ts'
import { checkKeepsKnownAt, JumpGuard } from './known-at.ts'
import { recordKey, recordPartition } from './stream-writer.ts'

export interface AppendOptions {
  readonly log: EventLog
  readonly putSchema: (stream: string, schema: AvroSchema) => unknown
  readonly stream: StreamDefinition
  readonly clock: Clock
  /** NDJSON, a line each; empty lines are skipped. */
  readonly lines: AsyncIterable<string> | Iterable<string>
}

export interface AppendReport {
  readonly appended: number
  readonly clamped: number
  /** Where the log stands in the partitions that were written. */
  readonly position: Position
}

const linesPerAppend = 1_000
/** Longest wait of a line for others to be appended with, milliseconds. */
const waitMs = 50

/**
 * Appends events from NDJSON: fields by name, and optionally `_op` (one that the stream takes; default: insert, or upsert
 * into a changelog), `_knownAt` (default: now) and `_partition` (default: by the key's hash). A line that only takes back
 * (retract, delete) needs the fields that say which record it is, and those of the record key.
 *
 * Errors: FS_EVENT_INVALID, naming the line. Lines before it are in the log, that line and those after it are not; the
 * message says how many were.
 */
export async function appendLines(options: AppendOptions): Promise<AppendReport> {
  const { log, stream, clock } = options
  const schema = streamSchema(stream.name, fieldsWritten(stream))
  await options.putSchema(stream.name, schema)
  const encoder = compileEncoder(schema)
  const guard = new JumpGuard(log, stream)
  const ends = new Map<number, PartitionPosition>()
  let pending = new Map<number, LogRecord[]>()
  let pendingLines = 0
  let appended = 0
  let clamped = 0
  let line = 0
  const write = async (): Promise<void> => {
    const batch = pending
    pending = new Map()
    pendingLines = 0
    for (const [partition, records] of batch) {
      const result = await log.append(stream.name, partition, records)
      ends.set(partition, { epoch: result.epoch, next: result.nextOffset })
      clamped += result.clamped
      appended += records.length
    }
  }
  // One write at a time; a failed one is met again by the next flush.
  let writing: Promise<void> = Promise.resolve()
  const flush = (): Promise<void> => {
    clearTimeout(timer)
    timer = undefined
    writing = writing.then(write)
    writing.catch(() => {})
    return writing
  }
  let timer: ReturnType<typeof setTimeout> | undefined
  for await (const text of options.lines) {
    line++
    if (text.trim() === '') continue
    try {
      const event = parseEvent(stream, text, clock.nowMs())
      if (event.isKnownAtGiven) checkKeepsKnownAt(log, stream, '_knownAt is given')
      if (!guard.isOpen) await guard.check(event.partition, event.knownAtMs)
      const records = pending.get(event.partition) ?? []
      pending.set(event.partition, records)
      records.push({ key: event.key, value: encoder.encode(event.fields), timestampMs: event.knownAtMs })
    } catch (error) {
      if (!(error instanceof FeatureStoreError)) throw error
      await flush()
      throw new FeatureStoreError(
        'FS_EVENT_INVALID',
        `line ${line}: ${error.message} (${appended} events before it are appended)`,
        { cause: error },
      )
    }
    if (++pendingLines >= linesPerAppend) await flush()
    else timer ??= setTimeout(() => void flush(), waitMs)
  }
  await flush()
  const described = (await log.describe(stream.name)) ?? []
  const partitions = described.map(
    ({ epochs, end }, index) => ends.get(index) ?? { epoch: epochs.at(-1)?.epoch ?? 0, next: end },
  )
  return { appended, clamped, position: { logId: log.logId, streams: { [stream.name]: partitions } } }
}

interface ParsedEvent {
  /** With `_op` where the stream takes several and declares no field for them. */
  readonly fields: Readonly<Record<string, Scalar>>
  readonly key: Uint8Array | null
  readonly partition: number
  readonly knownAtMs: number
  /** False: it is known now. */
  readonly isKnownAtGiven: boolean
}

const invalid = (message: string): FeatureStoreError => new FeatureStoreError('FS_EVENT_INVALID', message)

/** Errors: FS_EVENT_INVALID, FS_TIME_INVALID, FS_ENTITY_INVALID. */
export function parseEvent(stream: StreamDefinition, text: string, nowMs: number): ParsedEvent {
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (cause) {
    throw new FeatureStoreError('FS_EVENT_INVALID', 'is no JSON', { cause })
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json)) throw invalid('is no JSON object')
  const given = json as Readonly<Record<string, unknown>>
  for (const name of Object.keys(given)) {
    if (!Object.hasOwn(stream.fields, name) && ![opField, '_knownAt', '_partition'].includes(name)) {
      throw invalid(`stream ${stream.name} has no field ${name}; it has ${Object.keys(stream.fields).join(', ')}`)
    }
  }
  const op = operationOf(stream, given)
  const needed = takesBack(op) ? fieldsWritten(stream) : stream.fields
  const fields: Record<string, Scalar> = {}
  for (const name of Object.keys(stream.fields))
    fields[name] = name === stream.op ? opNameOf(op) : parseField(name, needed[name] as FieldType, given[name])
  if (isCorrectable(stream) && stream.op === undefined) fields[opField] = opNameOf(op)
  const key = recordKey(stream, (name) => fields[name] ?? null)
  const partition = given['_partition'] ?? recordPartition(stream, key)
  if (
    typeof partition !== 'number' ||
    !Number.isInteger(partition) ||
    partition < 0 ||
    partition >= stream.partitions
  ) {
    throw invalid(`_partition is ${JSON.stringify(partition)}: an integer from 0 to ${stream.partitions - 1}`)
  }
  const knownAtMs = given['_knownAt'] === undefined ? nowMs : parseInstant(given['_knownAt'], '_knownAt')
  const twice = keyGivenTwice(text, given)
  if (twice !== null) throw invalid(`${JSON.stringify(twice)} is there twice`)
  return { fields, key, partition, knownAtMs, isKnownAtGiven: given['_knownAt'] !== undefined }
}

const opNameOf = (op: OpCode): OpName => opNames[op] as OpName

function operationOf(stream: StreamDefinition, given: Readonly<Record<string, unknown>>): OpCode {
  const declared = stream.op === undefined ? undefined : (given[stream.op] ?? undefined)
  const word = given[opField] ?? declared
  if (word === undefined) return defaultOp(stream)
  const name = given[opField] === undefined ? (stream.op ?? opField) : opField
  if (declared !== undefined && declared !== word)
    throw invalid(`${opField} is ${JSON.stringify(word)}, field ${stream.op ?? ''} is ${JSON.stringify(declared)}`)
  const op = typeof word === 'string' ? opOf(stream, word) : null
  if (op === null)
    throw invalid(`${name} is ${JSON.stringify(word)}: stream ${stream.name} takes ${opsTaken(stream).join(', ')}`)
  return op
}

/**
 * A key that a flat JSON object has twice, of which parsing keeps the last one in silence; null for none.
 *
 * Every key and string has two quotes, so their number tells in nearly every line that there is none.
 */
function keyGivenTwice(text: string, given: Readonly<Record<string, unknown>>): string | null {
  let strings = 0
  for (const name in given) strings += typeof given[name] === 'string' ? 2 : 1
  let quotes = 0
  for (let at = text.indexOf('"'); at >= 0; at = text.indexOf('"', at + 1)) quotes++
  if (quotes === 2 * strings) return null
  const seen = new Set<string>()
  for (const [, name] of text.matchAll(/("(?:[^"\\]|\\.)*")(?=\s*:)|"(?:[^"\\]|\\.)*"/g)) {
    if (name === undefined) continue
    const key = JSON.parse(name) as string
    if (seen.has(key)) return key
    seen.add(key)
  }
  return null
}

const nonFinite: Readonly<Record<string, number>> = {
  NaN: Number.NaN,
  Infinity: Number.POSITIVE_INFINITY,
  '-Infinity': Number.NEGATIVE_INFINITY,
}

function parseField(name: string, field: FieldType, value: unknown): Scalar {
  const wrong = (): FeatureStoreError =>
    invalid(
      `field ${name} is ${JSON.stringify(value) ?? 'missing'}, not ${scalarText(field)}${field.nullable === true ? ' or null' : ''}`,
    )
  if (value === undefined || value === null) {
    if (field.nullable === true) return null
    throw wrong()
  }
  switch (field.type) {
    case 'string':
      if (typeof value !== 'string') throw wrong()
      return value
    case 'bool':
      if (typeof value !== 'boolean') throw wrong()
      return value
    case 'int32':
      if (typeof value !== 'number' || value !== (value | 0)) throw wrong()
      return value
    case 'int64': {
      if (typeof value === 'number' && Number.isSafeInteger(value)) return BigInt(value)
      if (
        typeof value !== 'string' ||
        !/^-?\d{1,19}$/.test(value) ||
        BigInt.asIntN(64, BigInt(value)) !== BigInt(value)
      )
        throw wrong()
      return BigInt(value)
    }
    case 'decimal': {
      // Parsing a JSON number loses its text: it is taken by its shortest one, and up to 15 digits.
      const unscaled = unscaledOfGiven(value, shapeOf(field))
      if (unscaled === null) throw wrong()
      return formatDecimal(unscaled, shapeOf(field).scale)
    }
    case 'float64': {
      // JSON writes 1e999 for what no double holds.
      if (typeof value === 'number' && (Number.isFinite(value) || field.allowNonFinite === true)) return value
      const special = typeof value === 'string' && field.allowNonFinite === true ? nonFinite[value] : undefined
      if (special === undefined) throw wrong()
      return special
    }
    case 'timestamp':
      return parseInstant(value, `field ${name}`)
  }
}
