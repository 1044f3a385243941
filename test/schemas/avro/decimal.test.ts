import { describe, expect, it } from 'vitest'
import type { FieldType } from '../../../core/event/types.ts'
import { compileEncoder, streamSchema, type AvroSchema, type AvroType } from '../../../schemas/avro/index.ts'
import { avscPayload, decodeAll, rowsOf } from './support.ts'

const at: FieldType = { type: 'timestamp' }
const field = (precision: number, scale: number): FieldType => ({ type: 'decimal', precision, scale })
const schemaOf = (written: AvroType): AvroSchema => ({
  type: 'record',
  name: 'events',
  fields: [
    { name: 'f', type: written },
    { name: 'at', type: 'long' },
  ],
})

/** What becomes of decimal `f` that a writer wrote as `written`: its text, or the code of the dead letter. */
function fate(type: FieldType, written: AvroType, value: unknown): unknown {
  const schema = schemaOf(written)
  const batch = decodeAll([schema], [avscPayload(schema, { f: value, at: 5n })], { fields: { f: type, at } })
  return batch.dead[0]?.code ?? rowsOf(batch)[0]?.f
}

const decimal = (precision: number, scale: number): AvroType => ({
  type: 'bytes',
  logicalType: 'decimal',
  precision,
  scale,
})
const bytes = (...values: number[]): Buffer => Buffer.from(values)

describe('a decimal field, whatever its writer made of it', () => {
  it.each([
    ['the same digits', field(18, 2), decimal(18, 2), bytes(0x04, 0xd2), '12.34'],
    ['a negative one', field(18, 2), decimal(18, 2), bytes(0xff), '-0.01'],
    [
      'bytes of nothing but the sign before it',
      field(18, 2),
      decimal(38, 2),
      bytes(...Array<number>(12).fill(0xff), 0x9c),
      '-1.00',
    ],
    [
      'a sign that the next bit is not',
      field(18, 0),
      decimal(38, 0),
      bytes(0, 0x80, 0, 0, 0, 0, 0, 0, 0),
      'FS_DEAD_RANGE',
    ],
    ['more than 64 bits', field(18, 0), decimal(38, 0), bytes(1, 0, 0, 0, 0, 0, 0, 0, 0), 'FS_DEAD_RANGE'],
    ['no bytes', field(18, 2), decimal(18, 2), bytes(), 'FS_DEAD_RANGE'],
    ['the most digits', field(3, 1), decimal(3, 1), bytes(0x03, 0xe7), '99.9'],
    ['one more', field(3, 1), decimal(4, 1), bytes(0x03, 0xe8), 'FS_DEAD_RANGE'],
    ['the least', field(3, 1), decimal(3, 1), bytes(0xfc, 0x19), '-99.9'],
    ['one less', field(3, 1), decimal(4, 1), bytes(0xfc, 0x18), 'FS_DEAD_RANGE'],
    [
      '10^18 - 1',
      field(18, 18),
      decimal(18, 18),
      bytes(0x0d, 0xe0, 0xb6, 0xb3, 0xa7, 0x63, 0xff, 0xff),
      '0.999999999999999999',
    ],
    ['10^18', field(18, 18), decimal(19, 18), bytes(0x0d, 0xe0, 0xb6, 0xb3, 0xa7, 0x64, 0, 0), 'FS_DEAD_RANGE'],
    ['1 - 10^18', field(18, 0), decimal(18, 0), bytes(0xf2, 0x1f, 0x49, 0x4c, 0x58, 0x9c, 0, 1), '-999999999999999999'],
    ['-10^18', field(18, 0), decimal(19, 0), bytes(0xf2, 0x1f, 0x49, 0x4c, 0x58, 0x9c, 0, 0), 'FS_DEAD_RANGE'],
    ['a smaller scale', field(18, 2), decimal(18, 1), bytes(0xff), '-0.10'],
    ['a larger one, exact', field(18, 2), decimal(18, 3), bytes(0xff, 0x9c), '-0.10'],
    ['a larger one, not exact', field(18, 2), decimal(18, 3), bytes(0x65), 'FS_DEAD_RANGE'],
    [
      '1.5 of 38 digits, 30 behind the point',
      field(18, 2),
      decimal(38, 30),
      bytes(0x12, 0xee, 0xe9, 0x19, 0x17, 0xb0, 0xfa, 0xd6, 0x6f, 0x60, 0, 0, 0),
      'FS_DEAD_RANGE',
    ],
    ['no scale, which is 0', field(18, 2), { type: 'bytes', logicalType: 'decimal', precision: 4 }, bytes(7), '7.00'],
    ['an int', field(18, 2), 'int', -7, '-7.00'],
    ['a long at scale 0', field(3, 0), 'long', 999n, '999'],
    ['a long of more digits', field(3, 0), 'long', 1000n, 'FS_DEAD_RANGE'],
    ['a long of more digits, scaled', field(4, 2), 'long', -100n, 'FS_DEAD_RANGE'],
    ['the least long', field(18, 18), 'long', -(2n ** 63n), 'FS_DEAD_RANGE'],
    ['days since 1970', field(18, 2), { type: 'int', logicalType: 'date' }, 7, 'FS_DEAD_RANGE'],
    ['a double', field(18, 2), 'double', 1.5, 'FS_DEAD_RANGE'],
    ['text', field(18, 2), 'string', '1.50', 'FS_DEAD_RANGE'],
    ['bytes', field(18, 2), 'bytes', bytes(1), 'FS_DEAD_RANGE'],
    ['null', field(18, 2), ['null', decimal(18, 2)], null, 'FS_DEAD_NULL'],
    ['null, allowed', { ...field(18, 2), nullable: true } as FieldType, ['null', decimal(18, 2)], null, null],
    ['one of a union', field(18, 2), ['null', decimal(18, 2)], { bytes: bytes(1) }, '0.01'],
    [
      'a fixed',
      field(18, 2),
      { type: 'fixed', name: 'money', size: 3, logicalType: 'decimal', precision: 6, scale: 2 },
      bytes(0xff, 0xff, 0xfe),
      '-0.02',
    ],
    [
      'a fixed of a larger scale',
      field(18, 2),
      { type: 'fixed', name: 'money', size: 2, logicalType: 'decimal', precision: 4, scale: 3 },
      bytes(0, 10),
      '0.01',
    ],
  ] as const)('%s', (_, type, written, value, expected) => {
    expect(fate(type, written as AvroType, value)).toStrictEqual(expected)
  })

  it('of more bits than an int64 is what it is at its own scale, exactly', () => {
    // 12.34 with 18 digits behind the point: 12,340,000,000,000,000,000 is beyond 2^63.
    const wide = bytes(0, 0xab, 0x40, 0x7c, 0x9e, 0xb0, 0x52, 0, 0)
    expect(fate(field(18, 2), decimal(38, 18), wide)).toBe('12.34')
  })

  it('of a fixed that two fields share', () => {
    const schema: AvroSchema = {
      type: 'record',
      name: 'events',
      fields: [
        { name: 'f', type: { type: 'fixed', name: 'money', size: 1, logicalType: 'decimal', precision: 2, scale: 1 } },
        { name: 'g', type: 'money' },
        { name: 'at', type: 'long' },
      ],
    }
    const payload = avscPayload(schema, { f: bytes(5), g: bytes(0xfb), at: 5n })
    const batch = decodeAll([schema], [payload], { fields: { f: field(3, 1), g: field(3, 2), at } })
    expect(rowsOf(batch)).toEqual([{ f: '0.5', g: '-0.50', at: 5 }])
  })
})

describe('a writer of decimals', () => {
  it('as fixed has the digits in the fingerprint of its schema, and decodes to the same', () => {
    const fields = { f: field(9, 4), at }
    const schema = streamSchema('events', fields, new Set(['f']))
    expect(schema.fields[0]?.type).toEqual({
      type: 'fixed',
      name: 'f_decimal_9_4',
      size: 8,
      logicalType: 'decimal',
      precision: 9,
      scale: 4,
    })
    const rows = ['0.0001', '-0.0001', '12345.6789', '-99999.9999'].map((f, index) => ({ f, at: index }))
    const encoder = compileEncoder(schema)
    const batch = decodeAll(
      [schema],
      rows.map((row) => encoder.encode(row)),
      { fields: { ...fields, f: field(18, 4) } },
    )
    expect(rowsOf(batch)).toEqual(rows)
  })

  it('refuses what does not fit, and names the field', () => {
    const encoder = compileEncoder(streamSchema('events', { f: field(3, 1), at }))
    for (const f of ['1.25', '100.0', '1e1', '', 'x', 1.5, 10n, true])
      expect(() => encoder.encode({ f, at: 0 })).toThrow(expect.objectContaining({ code: 'FS_EVENT_INVALID' }))
    const column = { type: 'decimal', precision: 3, scale: 2, values: new BigInt64Array(1), nulls: null } as const
    expect(() => encoder.encodeRow({ f: column }, 0)).toThrow('decimal(3, 1), its column decimal(3, 2)')
  })
})
