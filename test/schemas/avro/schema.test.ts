import avsc from 'avsc'
import { describe, expect, it } from 'vitest'
import { canonicalForm, fingerprint, fingerprintHex, parseSchema, streamSchema } from '../../../schemas/avro/index.ts'

const nested = {
  type: 'record',
  name: 'Outer',
  namespace: 'org.example',
  doc: 'falls away',
  fields: [
    { name: 'inner', type: { type: 'record', name: 'Inner', fields: [{ name: 'a', type: { type: 'int' } }] } },
    { name: 'again', type: ['null', 'Inner'], default: null },
    { name: 'list', type: { type: 'array', items: 'org.example.Inner' } },
    { name: 'map', type: { type: 'map', values: { type: 'long', logicalType: 'timestamp-millis' } } },
    { name: 'enum', type: { type: 'enum', name: 'other.Colour', symbols: ['RED', 'GREEN'], default: 'RED' } },
    { name: 'fixed', type: { type: 'fixed', name: 'Md5', size: 16 }, order: 'ignore' },
  ],
}

describe('Avro schemas', () => {
  it('have the fingerprints of the specification', () => {
    expect(fingerprint('null')).toBe(0x63dd24e7cc258f8an)
    expect(fingerprint({ type: 'null' })).toBe(0x63dd24e7cc258f8an)
    expect(fingerprintHex('null')).toBe('63dd24e7cc258f8a')
    expect(fingerprint('int')).toBe(0x7275d51a3f395c8fn)
    expect(fingerprint('string')).toBe(0x8f014872634503c7n)
  })

  it('have the canonical form that avsc gives them', () => {
    const flat = streamSchema('flights', {
      date: { type: 'timestamp' },
      delay: { type: 'int32', nullable: true },
      distance: { type: 'int64' },
      share: { type: 'float64' },
      origin: { type: 'string' },
      late: { type: 'bool' },
    })
    for (const schema of [nested, flat]) {
      const theirs = avsc.Type.forSchema(structuredClone(schema) as unknown as avsc.Schema).schema()
      expect(JSON.parse(canonicalForm(schema))).toEqual(JSON.parse(JSON.stringify(theirs)))
      expect(canonicalForm(schema)).toBe(JSON.stringify(theirs))
    }
  })

  it('of a stream are records of its fields in declared order', () => {
    expect(streamSchema('clicks', { at: { type: 'timestamp' }, page: { type: 'string', nullable: true } })).toEqual({
      type: 'record',
      name: 'clicks',
      fields: [
        { name: 'at', type: { type: 'long', logicalType: 'timestamp-millis' } },
        { name: 'page', type: ['null', 'string'] },
      ],
    })
  })

  it.each([
    ['no JSON', '{'],
    ['no record', '"int"'],
    ['an unknown type', { type: 'record', name: 'r', fields: [{ name: 'a', type: 'Missing' }] }],
    ['a name that is code', { type: 'record', name: 'r', fields: [{ name: 'a]=1;alert(1);[', type: 'int' }] }],
    ['a field twice', { type: 'record', name: 'r', fields: ['a', 'a'].map((name) => ({ name, type: 'int' })) }],
    ['a bad record name', { type: 'record', name: 'r-1', fields: [] }],
    ['no fields', { type: 'record', name: 'r' }],
    ['a type that is a number', { type: 'record', name: 'r', fields: [{ name: 'a', type: 5 }] }],
    [
      'a fixed without size',
      { type: 'record', name: 'r', fields: [{ name: 'a', type: { type: 'fixed', name: 'f' } }] },
    ],
  ])('with %s are refused', (_, schema) => {
    expect(() => parseSchema(schema)).toThrow(expect.objectContaining({ code: 'FS_DEFINITION_INVALID' }))
  })

  it('nested without end are refused', () => {
    let type: unknown = 'int'
    for (let depth = 0; depth < 1000; depth++) type = { type: 'array', items: type }
    expect(() => parseSchema({ type: 'record', name: 'r', fields: [{ name: 'a', type }] })).toThrow(/nested/)
  })
})
