import { describe, expect, it } from 'vitest'
import { opNames } from '../../../core/event/operation.ts'
import type { FieldType, Scalar } from '../../../core/event/types.ts'
import { type AvroSchema, type AvroType, compileEncoder } from '../../../schemas/avro/index.ts'
import { decodeAll, rowsOf, type Reading } from './support.ts'

const fields = {
  id: { type: 'string' },
  at: { type: 'timestamp' },
  who: { type: 'string' },
  n: { type: 'int64' },
  kind: { type: 'string' },
} as const satisfies Record<string, FieldType>

const maybe = (type: AvroType): AvroType => ['null', type]
const schemaOf = (types: Readonly<Record<string, AvroType>>): AvroSchema => ({
  type: 'record',
  name: 'e',
  fields: Object.entries(types).map(([name, type]) => ({ name, type })),
})
const types = { id: maybe('string'), at: maybe('long'), who: maybe('string'), n: maybe('long'), kind: maybe('string') }
/** The operation last, so that nulls are met before it. */
const written = schemaOf({ ...types, _op: 'string' })

type Line = Readonly<Record<string, Scalar>>
const full: Line = { id: 'x', at: 5, who: 'a', n: 7n, kind: 'insert' }
const bare: Line = { id: 'x', at: 5, who: null, n: null, kind: null }

function decode(schema: AvroSchema, lines: readonly Line[], reading: Partial<Reading>) {
  const encoder = compileEncoder(schema)
  return decodeAll(
    [schema],
    lines.map((line) => encoder.encode(line)),
    { fields, ...reading },
  )
}

describe('_op of the writer', () => {
  const takenBy = (corrections: Reading['corrections']): (string | undefined)[] => {
    const batch = decode(
      written,
      [...opNames, 'Insert', '', 'insertx'].map((_op) => ({ ...full, _op })),
      corrections === undefined ? {} : { corrections },
    )
    expect(batch.dead.every(({ code }) => code === 'FS_DEAD_OP')).toBe(true)
    expect(batch.ops === null).toBe(corrections === undefined)
    return [...batch.offsets].map((at, row) => `${opNames[at]} as ${opNames[batch.ops?.[row] ?? 0]}`)
  }
  it('is one that the stream takes, or makes a dead record', () => {
    expect(takenBy(undefined)).toEqual(['insert as insert'])
    expect(takenBy({ id: 'id' })).toEqual(['insert as insert', 'retract as retract'])
    expect(takenBy({ primaryKey: ['id'] })).toEqual(['insert as upsert', 'upsert as upsert', 'delete as delete'])
  })
  it('is the default where it is null, or the writer has none', () => {
    const nullable = schemaOf({ ...types, _op: maybe('string') })
    expect(decode(nullable, [{ ...full, _op: null }], { corrections: { id: 'id' } }).ops).toEqual(Uint8Array.of(0))
    expect(decode(schemaOf(types), [full], { corrections: { primaryKey: ['id'] } }).ops).toEqual(Uint8Array.of(2))
  })
  it('of another type than string is none that a stream takes', () => {
    const number = schemaOf({ ...types, _op: 'int' })
    expect(decode(number, [{ ...full, _op: 1 }], { corrections: { id: 'id' } }).dead[0]?.code).toBe('FS_DEAD_OP')
    expect(decode(number, [{ ...full, _op: 0 }], {}).dead[0]?.code).toBe('FS_DEAD_OP')
  })
})

describe('a declared field of the operation', () => {
  const corrections = { id: 'id', op: 'kind' }
  it('is read and stays a field; _op of the writer is passed over', () => {
    const lines = ['insert', 'retract', 'upsert'].map((kind) => ({ ...full, kind, _op: 'nothing' }))
    const batch = decode(written, lines, { corrections })
    expect(batch.ops).toEqual(Uint8Array.of(0, 1))
    expect(rowsOf(batch).map(({ kind }) => kind)).toEqual(['insert', 'retract'])
    expect(batch.dead).toMatchObject([{ offset: 2, code: 'FS_DEAD_OP' }])
    expect(decode(written, lines, { corrections, projection: ['n'] }).ops).toEqual(Uint8Array.of(0, 1))
  })
  it('may not be null', () => {
    expect(decode(written, [{ ...bare, _op: '' }], { corrections }).dead[0]?.code).toBe('FS_DEAD_NULL')
  })
})

describe('a record that only takes back', () => {
  const corrections = { id: 'id' }
  it('may lack every field but those that say which record it is', () => {
    const lines = [{ ...full }, { ...bare }, { ...full, n: 9n }].map((line, row) => ({
      ...line,
      _op: row === 1 ? 'retract' : 'insert',
    }))
    const batch = decode(written, lines, { corrections })
    expect(rowsOf(batch)).toEqual([full, bare, { ...full, n: 9n }])
    expect(batch.columns['n']?.nulls).toEqual(Uint8Array.of(0, 1, 0))
    for (const lacking of ['id', 'at'])
      expect(decode(written, [{ ...bare, [lacking]: null, _op: 'retract' }], { corrections }).count).toBe(0)
    const changelog = { primaryKey: ['id', 'n'] }
    const codes = decode(written, [{ ...bare, _op: 'delete' }], { corrections: changelog }).dead.map(({ code }) => code)
    expect(codes).toEqual(['FS_DEAD_NULL'])
  })
  it('may be of a writer who lacks them', () => {
    const short = schemaOf({ _op: 'string', id: 'string', at: 'long' })
    const lines = ['retract', 'insert', 'retract'].map((_op) => ({ _op, id: 'x', at: 5 }))
    const batch = decode(short, lines, { corrections })
    expect(rowsOf(batch)).toEqual([bare, bare])
    expect(batch.dead).toMatchObject([{ offset: 1, code: 'FS_DEAD_NULL', reason: 'the field who is null or missing' }])
  })
  it('is dead for a value that does not fit all the same', () => {
    const text = schemaOf({ ...types, n: 'string', _op: 'string' })
    expect(decode(text, [{ ...bare, n: 'x', _op: 'retract' }], { corrections }).dead[0]?.code).toBe('FS_DEAD_RANGE')
  })
})

it('an insert that lacks a field is dead, and the first problem counts', () => {
  const insert = { ...bare, _op: 'insert' }
  expect(decode(written, [insert], { corrections: { id: 'id' } }).dead).toMatchObject([
    { code: 'FS_DEAD_NULL', reason: 'the field who is null or missing' },
  ])
  const text = schemaOf({ ...types, n: 'string', _op: 'string' })
  expect(decode(text, [{ ...insert, n: 'x' }], { corrections: { id: 'id' } }).dead[0]?.code).toBe('FS_DEAD_NULL')
  expect(decode(text, [{ ...full, n: 'x', _op: 'no' }], { corrections: { id: 'id' } }).dead[0]?.code).toBe(
    'FS_DEAD_RANGE',
  )
})
