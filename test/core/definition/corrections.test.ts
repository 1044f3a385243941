import { describe, expect, test } from 'vitest'
import { buildCatalog } from '../../../core/definition/catalog.ts'
import { defaultOp, fieldsHeld, fieldsWritten, isCorrectable, opOf } from '../../../core/definition/corrections.ts'
import { float64, int64, nullable, string, timestamp } from '../../../core/definition/fields.ts'
import {
  count,
  days,
  distinctCount,
  first,
  last,
  lastN,
  max,
  mean,
  min,
  rows,
  session,
} from '../../../core/definition/functions.ts'
import { entity, stream } from '../../../core/definition/stream.ts'
import type { FieldMap } from '../../../core/definition/stream.ts'
import { view } from '../../../core/definition/view.ts'
import { Op } from '../../../core/event/operation.ts'

const fields = { id: string(), at: timestamp(), who: string(), x: float64(), note: nullable(string()), op: string() }
const plain = stream('plain', { fields, eventTime: 'at', key: ['who'] })
const withId = stream('with_id', { fields, eventTime: 'at', id: 'id', key: ['who'] })
const withOp = stream('with_op', { fields, eventTime: 'at', id: 'id', op: 'op' })
const changelog = stream('changelog', { fields, eventTime: 'at', changelog: true, primaryKey: ['id'] })
const nullableOnes = (of: FieldMap): string[] => Object.keys(of).filter((name) => of[name]?.nullable === true)

describe('operations', () => {
  test.each([
    [plain, Op.insert, { insert: Op.insert, retract: null, upsert: null, delete: null, Insert: null, '': null }],
    [withId, Op.insert, { insert: Op.insert, retract: Op.retract, upsert: null, delete: null, toString: null }],
    [changelog, Op.upsert, { insert: Op.upsert, retract: null, upsert: Op.upsert, delete: Op.delete }],
  ] as const)('%# are those that the stream takes', (of, whenNone, meant) => {
    expect(defaultOp(of)).toBe(whenNone)
    for (const [name, code] of Object.entries(meant)) expect(opOf(of, name)).toBe(code)
  })
  test('only a stream with an id or a primary key can be corrected', () => {
    expect([plain, withId, withOp, changelog].map(isCorrectable)).toEqual([false, true, true, true])
  })
})

describe('fields', () => {
  test('a record that takes back needs no other fields than those that say which record it is', () => {
    expect(fieldsHeld(plain)).toBe(plain.fields)
    expect(nullableOnes(fieldsHeld(withId) as FieldMap)).toEqual(['who', 'x', 'note', 'op'])
    expect(nullableOnes(fieldsHeld(withOp) as FieldMap)).toEqual(['who', 'x', 'note'])
    expect(nullableOnes(fieldsHeld(changelog) as FieldMap)).toEqual(['who', 'x', 'note', 'op'])
  })
  test('are written with the operation first, unless a field has it, and with the record key', () => {
    expect(fieldsWritten(plain)).toBe(plain.fields)
    expect(Object.keys(fieldsWritten(withId))).toEqual(['_op', ...Object.keys(fields)])
    expect(nullableOnes(fieldsWritten(withId) as FieldMap)).toEqual(['x', 'note', 'op'])
    expect(Object.keys(fieldsWritten(withOp))).toEqual(Object.keys(fields))
    expect(nullableOnes(fieldsWritten(changelog) as FieldMap)).toEqual(['who', 'x', 'note', 'op'])
  })
})

describe('a function without an inverse', () => {
  const who = entity('who', { key: { who: string() } })
  type Made = Parameters<typeof view>[1]['features']
  const catalog = (from: typeof withId | typeof plain | typeof changelog, features: Made, options: object = {}) =>
    buildCatalog([from, who, view('v', { from, entity: who, features, ...options } as never)])
  const functions: Record<string, (x: never) => ReturnType<typeof min>> = {
    min: (x) => min(x),
    max: (x) => max(x),
    first: (x) => first(x) as never,
    last: (x) => last(x) as never,
    lastN: (x) => lastN(x, 3) as never,
  }
  test.each(Object.entries(functions))('%s for ever needs a ttl where events can be taken back', (name, make) => {
    const over = (window?: never): Made =>
      (({ x }: { x: never }) => ({ f: window === undefined ? make(x) : make(x).over(window) })) as never
    for (const features of [over(), over(rows(3) as never)]) {
      for (const from of [withId, changelog])
        expect(() => catalog(from, features)).toThrow(
          expect.objectContaining({
            code: 'FS_DEFINITION_INVALID',
            message: expect.stringContaining(`view v: feature f: ${name} has no inverse`) as string,
            remedy: expect.stringContaining('Give the view v a ttl') as string,
          }),
        )
      catalog(plain, features)
      catalog(withId, features, { ttl: days(1) })
    }
    catalog(withId, over(days(1) as never))
    catalog(withId, over(session(5) as never))
  })
  test('distinctCount of the last rows is one', () => {
    const features: Made = ({ note }) => ({ f: distinctCount(note as never).over(rows(3)) })
    expect(() => catalog(withId, features)).toThrow(/distinctCount has no inverse/)
  })
  test('count and mean have one', () => {
    catalog(withId, ({ x }) => ({ n: count(), m: mean(x as never), r: mean(x as never).over(rows(3)) }))
  })
})

test('an int64 names an event as well as a string', () => {
  expect(stream('s', { fields: { n: int64(), at: timestamp() }, eventTime: 'at', id: 'n' }).id).toBe('n')
})
