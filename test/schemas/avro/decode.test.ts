import { describe, expect, it } from 'vitest'
import { offset, offsetZero } from '../../../core/event/position.ts'
import { type FieldType } from '../../../core/event/types.ts'
import { earliestMs, latestMs } from '../../../core/time/time.ts'
import { type AvroSchema, type AvroType, compileEncoder, streamSchema } from '../../../schemas/avro/index.ts'
import { avscPayload, chunkOf, decodeAll, decoderOf, rowsOf } from './support.ts'

const at: FieldType = { type: 'timestamp' }
const schemaOf = (fields: Readonly<Record<string, AvroType>>): AvroSchema => ({
  type: 'record',
  name: 'events',
  fields: Object.entries(fields).map(([name, type]) => ({ name, type })),
})

/** What becomes of field `f` of type `type` that a writer wrote as `written`: its value, or the code of the dead letter. */
function fate(type: FieldType, written: AvroType, value: unknown): unknown {
  const schema = schemaOf({ f: written, at: 'long' })
  const batch = decodeAll([schema], [avscPayload(schema, { f: value, at: 5n })], { fields: { f: type, at } })
  return batch.dead[0]?.code ?? rowsOf(batch)[0]?.f
}

describe('a field of the stream, whatever its writer made of it', () => {
  it.each([
    ['int32', 'long', 2n ** 31n - 1n, 2 ** 31 - 1],
    ['int32', 'long', 2n ** 31n, 'FS_DEAD_RANGE'],
    ['int32', 'long', -(2n ** 31n), -(2 ** 31)],
    ['int32', 'long', -(2n ** 31n) - 1n, 'FS_DEAD_RANGE'],
    ['int32', 'long', 2n ** 32n, 'FS_DEAD_RANGE'],
    ['int64', 'int', -5, -5n],
    ['int64', 'long', -(2n ** 63n), -(2n ** 63n)],
    ['timestamp', 'long', 2n ** 53n - 1n, 2 ** 53 - 1],
    ['timestamp', 'long', 2n ** 53n, 'FS_DEAD_RANGE'],
    ['timestamp', 'long', -(2n ** 53n), 'FS_DEAD_RANGE'],
    ['timestamp', 'int', -1, -1],
    ['float64', 'float', 0.5, 0.5],
    ['float64', 'int', 7, 7],
    ['float64', 'long', 2n ** 53n, 'FS_DEAD_RANGE'],
    ['float64', 'double', Number.NaN, 'FS_DEAD_NON_FINITE'],
    ['float64', 'double', Number.NEGATIVE_INFINITY, 'FS_DEAD_NON_FINITE'],
    ['float64', 'float', Number.POSITIVE_INFINITY, 'FS_DEAD_NON_FINITE'],
    ['float64', 'double', -0, 0],
    ['string', 'bytes', Buffer.from('über'), 'über'],
    ['string', 'bytes', Buffer.from([0xc3]), 'FS_DEAD_UNDECODABLE'],
    ['string', 'bytes', Buffer.from([0xc0, 0x80]), 'FS_DEAD_UNDECODABLE'],
    ['string', 'bytes', Buffer.from([0xed, 0xa0, 0x80]), 'FS_DEAD_UNDECODABLE'],
    ['string', 'int', 7, 'FS_DEAD_RANGE'],
    ['bool', 'string', 'true', 'FS_DEAD_RANGE'],
    ['int32', 'double', 7, 'FS_DEAD_RANGE'],
    ['int32', ['null', 'int'], null, 'FS_DEAD_NULL'],
    ['int32', ['null', 'int'], { int: 7 }, 7],
    ['int32', ['string', 'null', 'long', 'int'], { long: 8n }, 8],
    ['int32', ['string', 'null', 'long', 'int'], { string: '8' }, 'FS_DEAD_RANGE'],
    ['int32', 'null', null, 'FS_DEAD_NULL'],
    ['int32', { type: 'array', items: 'int' }, [1, 2], 'FS_DEAD_RANGE'],
  ] as const)('%s written as %j with %s', (type, written, value, expected) => {
    expect(fate({ type }, written as AvroType, value)).toStrictEqual(expected)
  })

  it('takes NaN and infinities where it allows them', () => {
    const type: FieldType = { type: 'float64', allowNonFinite: true }
    for (const value of [Number.NaN, Infinity, -Infinity]) expect(fate(type, 'double', value)).toBe(value)
    expect(fate(type, 'double', -0)).toBe(0)
  })

  it('takes microseconds as the milliseconds they lie in', () => {
    const micros = { type: 'long', logicalType: 'timestamp-micros' }
    for (const [value, expected] of [
      [1999n, 1],
      [-1n, -1],
      [-1000n, -1],
      [9_007_199_254_740_993_999n, 9_007_199_254_740_993],
      [253_370_764_799_999_999n, 253_370_764_799_999],
    ] as const)
      expect(fate({ type: 'timestamp' }, micros, value)).toBe(
        expected > Number.MAX_SAFE_INTEGER ? 'FS_DEAD_RANGE' : expected,
      )
    expect(fate({ type: 'timestamp' }, { type: 'long', logicalType: 'timestamp-nanos' }, 5n)).toBe('FS_DEAD_RANGE')
  })

  it('that the writer lacks is null, or dead where it cannot be', () => {
    const schema = schemaOf({ at: 'long' })
    const payload = avscPayload(schema, { at: 5n })
    const nullable = decodeAll([schema], [payload], { fields: { f: { type: 'int32', nullable: true }, at } })
    expect(rowsOf(nullable)).toEqual([{ f: null, at: 5 }])
    const strict = decodeAll([schema], [payload], { fields: { f: { type: 'int32' }, at } })
    expect(strict.dead).toMatchObject([{ code: 'FS_DEAD_NULL', reason: 'the field f is null or missing' }])
  })
})

describe('the event time', () => {
  const schema = schemaOf({ at: ['null', 'long'] })
  it.each([
    [{ long: BigInt(earliestMs) }, undefined],
    [{ long: BigInt(latestMs) }, undefined],
    [{ long: BigInt(earliestMs) - 1n }, 'FS_DEAD_EVENT_TIME'],
    [{ long: BigInt(latestMs) + 1n }, 'FS_DEAD_EVENT_TIME'],
    [{ long: 2n ** 63n - 1n }, 'FS_DEAD_EVENT_TIME'],
    [null, 'FS_DEAD_EVENT_TIME'],
  ])('%o', (value, code) => {
    expect(decodeAll([schema], [avscPayload(schema, { at: value })], { fields: { at } }).dead[0]?.code).toBe(code)
  })

  it('that the writer lacks makes every record dead', () => {
    const without = schemaOf({ other: 'int' })
    const batch = decodeAll([without], [avscPayload(without, { other: 1 })], { fields: { at } })
    expect(batch.dead[0]?.code).toBe('FS_DEAD_EVENT_TIME')
  })

  it('has to be a timestamp of the stream', () => {
    expect(() => decoderOf([], { fields: { at }, eventTime: 'when' })).toThrow(/when/)
    expect(() => decoderOf([], { fields: { at: { type: 'int64' } } })).toThrow(/timestamp/)
    expect(() => decoderOf([], { fields: { at }, projection: ['toString'] })).toThrow(/toString/)
  })
})

describe('a payload', () => {
  const fields = { at, page: { type: 'string' }, ms: { type: 'int32', nullable: true } } as const
  const schema = streamSchema('events', fields)
  const encoder = compileEncoder(schema)
  const good = encoder.encode({ at: 1, page: 'home', ms: 300 })

  it('cut anywhere, or with a byte too many, is dead, and the next one is read', () => {
    for (let end = 0; end < good.length; end++) {
      const batch = decodeAll([schema], [good, good.slice(0, end), good], { fields })
      expect(batch.count).toBe(2)
      expect(batch.dead).toMatchObject([{ offset: 1, knownAt: 1001, code: 'FS_DEAD_UNDECODABLE' }])
      expect(batch.dead[0]?.payload).toEqual(good.slice(0, end))
    }
    const longer = Uint8Array.from([...good, 0])
    expect(decodeAll([schema], [longer, good], { fields }).dead).toMatchObject([
      { offset: 0, code: 'FS_DEAD_UNDECODABLE', payload: longer },
    ])
  })

  it('with a string longer than itself, or a negative one, is dead even where the chunk goes on', () => {
    for (const length of [200, 127, 1]) {
      const payload = good.slice()
      payload[11] = length
      expect(decodeAll([schema], [payload, good, good], { fields }).dead).toMatchObject([
        { offset: 0, code: 'FS_DEAD_UNDECODABLE' },
      ])
    }
  })

  it('of an unknown schema, or in no single-object encoding, is dead and says so', () => {
    const unknown = compileEncoder(streamSchema('unknown', fields)).encode({ at: 1, page: 'home' })
    const batch = decodeAll([schema], [unknown, new Uint8Array(0), Uint8Array.from({ length: 30 })], { fields })
    expect(batch.dead.map(({ code }) => code)).toEqual(Array(3).fill('FS_DEAD_UNDECODABLE'))
    expect(batch.dead[0]?.reason).toMatch(/^no schema has the fingerprint [0-9a-f]{16}$/)
    expect(batch.dead[1]?.reason).toMatch(/single-object/)
  })

  it('of a schema that comes later is read from then on', () => {
    const schemas: AvroSchema[] = []
    const decoder = decoderOf(schemas, { fields })
    expect(decoder.decode(chunkOf([good]), 0, 0, offsetZero).count).toBe(0)
    schemas.push(schema)
    expect(decoder.decode(chunkOf([good]), 0, 0, offsetZero).count).toBe(1)
  })

  it('that says a nested value is deeper than the stack is dead', () => {
    const nested: AvroSchema = schemaOf({
      at: 'long',
      tree: { type: 'record', name: 'Tree', fields: [{ name: 'kids', type: { type: 'array', items: 'Tree' } }] },
    })
    const header = avscPayload(nested, { at: 1n, tree: { kids: [{ kids: [] }, { kids: [{ kids: [] }] }] } })
    const deep = Uint8Array.from([...header.slice(0, 11), ...new Uint8Array(100_000).fill(2)])
    const many = Uint8Array.from([...header.slice(0, 11), 0xfe, 0xff, 0xff, 0xff, 0xff, 0x7f])
    const batch = decodeAll([nested], [header, deep, many], { fields: { at } })
    expect(batch.count).toBe(1)
    expect(batch.dead.map(({ code }) => code)).toEqual(['FS_DEAD_UNDECODABLE', 'FS_DEAD_UNDECODABLE'])
  })
})

describe('a decoder', () => {
  const fields = { at, page: { type: 'string' }, note: { type: 'string', nullable: true } } as const
  const schema = streamSchema('events', fields)
  const encoder = compileEncoder(schema)

  it('skips what lies below the offset asked for', () => {
    const payloads = ['a', 'b', 'c', 'd'].map((page, index) => encoder.encode({ at: index, page }))
    const batch = decoderOf([schema], { fields }).decode(chunkOf(payloads, 100), 3, 7, offset(102))
    expect(batch).toMatchObject({ partition: 3, epoch: 7, firstOffset: 102, nextOffset: 104, count: 2 })
    expect([...batch.offsets]).toEqual([102, 103])
    const none = decoderOf([schema], { fields }).decode(chunkOf(payloads, 100), 3, 7, offset(104))
    expect(none).toMatchObject({ count: 0, dead: [], nextOffset: 104 })
  })

  it('keeps the code of a string while it lives, over chunks and thousands of strings', () => {
    const decoder = decoderOf([schema], { fields })
    const pages = Array.from({ length: 5000 }, (_, index) => `page ${index % 2500} ü`)
    const read = () =>
      decoder.decode(chunkOf(pages.map((page, index) => encoder.encode({ at: index, page }))), 0, 0, offsetZero)
    const first = read()
    const second = read()
    expect(second.columns.page?.values).toEqual(first.columns.page?.values)
    expect(rowsOf(second).map(({ page }) => page)).toEqual(pages)
    expect(second.columns.page).toHaveProperty('table.strings.length', 2500)
    expect(first.columns.note?.nulls).toEqual(new Uint8Array(5000).fill(1))
    expect(first.columns.page?.nulls).toBeNull()
  })

  it('reads writers that take turns', () => {
    const narrow = schemaOf({ page: 'string', at: 'long' })
    const payloads = Array.from({ length: 10 }, (_, index) =>
      index % 2 === 0
        ? encoder.encode({ at: index, page: `p${index}`, note: 'n' })
        : avscPayload(narrow, { at: BigInt(index), page: `p${index}` }),
    )
    expect(rowsOf(decodeAll([schema, narrow], payloads, { fields }))).toEqual(
      payloads.map((_, index) => ({ at: index, page: `p${index}`, note: index % 2 === 0 ? 'n' : null })),
    )
  })

  it('leaves no mark of a dead record on the row that takes its place', () => {
    const wide = schemaOf({ at: 'long', note: ['null', 'string'], page: ['null', 'string'] })
    const payloads = [
      avscPayload(wide, { at: 1n, note: null, page: null }),
      avscPayload(wide, { at: 2n, note: { string: 'n' }, page: { string: 'p' } }),
    ]
    const batch = decodeAll([wide], payloads, { fields })
    expect(rowsOf(batch)).toEqual([{ at: 2, page: 'p', note: 'n' }])
    expect(batch.columns.note?.nulls).toBeNull()
  })
})
