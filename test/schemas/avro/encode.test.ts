import { describe, expect, it } from 'vitest'
import { type AvroSchema, type AvroType, compileEncoder } from '../../../schemas/avro/index.ts'
import { type Scalar } from '../../../core/event/types.ts'

const schemaOf = (type: AvroType): AvroSchema => ({ type: 'record', name: 'events', fields: [{ name: 'f', type }] })

describe('an encoder', () => {
  it.each([
    ['int', 1.5],
    ['int', 2 ** 31],
    ['int', '1'],
    ['int', null],
    ['long', 2 ** 53],
    ['long', 2n ** 63n],
    ['long', -0.5],
    ['double', 1n],
    ['boolean', 1],
    ['string', 5],
    ['string', '\ud800'],
    [['null', 'int'], 'x'],
    ['null', 0],
  ] as readonly [AvroType, Scalar][])('for %j refuses %s and names the field', (type, value) => {
    const encoder = compileEncoder(schemaOf(type))
    expect(() => encoder.encode({ f: value })).toThrow(
      expect.objectContaining({ code: 'FS_EVENT_INVALID', message: expect.stringContaining('field f') }),
    )
  })

  it('goes on after a refusal, and takes a missing value for null', () => {
    const encoder = compileEncoder(schemaOf(['null', 'long']))
    const before = encoder.encode({ f: 7 })
    const copy = before.slice()
    expect(() => encoder.encode({ f: 'x' })).toThrow()
    expect(encoder.encode({})).toEqual(encoder.encode({ f: null }))
    expect(encoder.encode({ f: 7n })).toEqual(before)
    expect(before).toEqual(copy)
  })

  it('refuses fields that are not there, a list of another length, and columns of another type', () => {
    const encoder = compileEncoder(schemaOf('int'))
    expect(() => encoder.encode({ f: 1, g: 2 })).toThrow(/"g"/)
    expect(() => encoder.encode([1, 2])).toThrow(/2 values/)
    const column = { type: 'float64', values: Float64Array.of(1), nulls: null } as const
    expect(() => encoder.encodeRow({ f: column }, 0)).toThrow(/field f/)
    expect(() => encoder.encodeRow({}, 0)).toThrow(/field f/)
  })

  it('writes payloads longer than its slab', () => {
    const encoder = compileEncoder(schemaOf('string'))
    for (const length of [65_000, 1000, 200_000, 10])
      expect(encoder.encode({ f: 'x'.repeat(length) }).length).toBeGreaterThan(length)
  })

  it('is not built for nested types', () => {
    for (const type of [{ type: 'array', items: 'int' }, ['int', 'string'], 'bytes', ['null', 'null']])
      expect(() => compileEncoder(schemaOf(type as AvroType))).toThrow(expect.objectContaining({ code: 'FS_NOT_YET' }))
  })
})
