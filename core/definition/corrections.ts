/** What a stream's declarations say about the operations of its records (core/asof/corrections.ts says what they do). */
import { Op, opNames, type OpCode, type OpName } from '../event/operation.ts'
import type { FieldType } from '../event/types.ts'
import type { EventTable } from '../ports/offline-store.ts'
import type { StreamDefinition, ViewDefinition } from './types.ts'

type Correctable = Pick<StreamDefinition, 'id' | 'primaryKey'>

/** Name of the operation in the payload of a stream without a field for it. Fields of definitions do not begin with "_". */
export const opField = '_op'

export const isChangelog = (stream: Correctable): boolean => stream.primaryKey !== undefined

/** The primary key names the entity: no row of the changelog ever moves from one to another. */
export const staysWithEntity = (stream: Correctable, { keyFields }: Pick<ViewDefinition, 'keyFields'>): boolean =>
  stream.primaryKey !== undefined && keyFields.every((field) => stream.primaryKey?.includes(field))
/** Whether a record of the stream can take back another. */
export const isCorrectable = (stream: Correctable): boolean => stream.id !== undefined || isChangelog(stream)

/** The operation of a record that names none. */
export const defaultOp = (stream: Correctable): OpCode => (isChangelog(stream) ? Op.upsert : Op.insert)

/** Operations that a record may name, as people write them; `insert` into a changelog is read as `upsert`. */
export const opsTaken = (stream: Correctable): readonly OpName[] =>
  isChangelog(stream) ? ['upsert', 'delete', 'insert'] : stream.id === undefined ? ['insert'] : ['insert', 'retract']

/** What the name of an operation means on the stream, null where the stream does not take it. */
export function opOf(stream: Correctable, name: string): OpCode | null {
  if (!(opNames as readonly string[]).includes(name) || !opsTaken(stream).includes(name as OpName)) return null
  const code = Op[name as OpName]
  return code === Op.insert ? defaultOp(stream) : code
}

/** Whether the record takes back and adds nothing: such a record need not carry the other fields. */
export const takesBack = (op: OpCode | number): boolean => op === Op.retract || op === Op.delete

/** Fields that say which record it is: there in every record, also in one that only takes back. */
export const identityFields = (
  stream: Pick<StreamDefinition, 'id' | 'primaryKey' | 'eventTime' | 'op'>,
): ReadonlySet<string> =>
  new Set([
    stream.eventTime,
    ...(stream.id === undefined ? [] : [stream.id]),
    ...(stream.primaryKey ?? []),
    ...(stream.op === undefined ? [] : [stream.op]),
  ])

/**
 * The stream's fields as its records hold them: what a retract or delete need not carry is nullable, whatever the
 * declaration says. Of a stream without corrections, the declared ones.
 */
export function fieldsHeld(stream: StreamDefinition): Readonly<Record<string, FieldType>> {
  if (!isCorrectable(stream)) return stream.fields
  const identity = identityFields(stream)
  return nullableBut(stream.fields, (name) => identity.has(name))
}

/** The offline table of the stream. */
export const tableOf = (stream: StreamDefinition): EventTable => {
  const { name, id, op, primaryKey, maxKnownAtJumpMs } = stream
  // Absent where nothing of it is declared, so that tables stay which were made before there was more of it.
  const reading = {
    ...(isCorrectable(stream) ? { id, op, primaryKey } : {}),
    ...(maxKnownAtJumpMs === undefined ? {} : { maxKnownAtJumpMs }),
  }
  return {
    stream: name,
    fields: fieldsHeld(stream),
    ...(Object.keys(reading).length === 0 ? {} : { reading: JSON.stringify(reading) }),
  }
}

/** The fields that Tidemark writes a stream with: `_op` first where it has no field of its own; the record key is there. */
export function fieldsWritten(
  stream: StreamDefinition,
  fields: Readonly<Record<string, FieldType>> = stream.fields,
): Readonly<Record<string, FieldType>> {
  if (!isCorrectable(stream)) return fields
  const identity = identityFields(stream)
  const written = nullableBut(fields, (name) => identity.has(name) || stream.key.includes(name))
  return stream.op === undefined ? { [opField]: { type: 'string' }, ...written } : written
}

const nullableBut = (
  fields: Readonly<Record<string, FieldType>>,
  keep: (name: string) => boolean,
): Record<string, FieldType> =>
  Object.fromEntries(
    Object.entries(fields).map(([name, field]) => [name, keep(name) ? field : { ...field, nullable: true }]),
  )
