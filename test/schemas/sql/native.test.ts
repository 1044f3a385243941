import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  concatBlocks,
  type DecodedColumn,
  encodeNativeBlock,
  int64ToNumbers,
  type NativeBlock,
  type NativeColumn,
  NativeDecoder,
} from '../../../schemas/sql/native.ts'

/** Strings, numbers and bigints of a decoded column, null where it is. */
function valuesOf({ data, nulls }: DecodedColumn): unknown[] {
  const values: unknown[] =
    'codes' in data ? Array.from(data.codes, (code) => data.strings[code]) : Array.from<unknown>(data)
  return values.map((value, row) => (nulls?.[row] === 1 ? null : value))
}

function decode(chunks: readonly Uint8Array[]): NativeBlock[] {
  const decoder = new NativeDecoder()
  const blocks = chunks.flatMap((chunk) => decoder.push(chunk))
  decoder.end()
  return blocks
}

function cut(bytes: Uint8Array, at: readonly number[]): Uint8Array[] {
  const marks = [0, ...[...at].map((mark) => mark % (bytes.length + 1)).sort((a, b) => a - b), bytes.length]
  return marks.slice(1).map((end, index) => bytes.slice(marks[index], end))
}

const row = fc.record({
  int32: fc.integer(),
  int64: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  time: fc.maxSafeInteger(),
  float: fc.double(),
  text: fc.string({ unit: 'binary', maxLength: 200 }),
  code: fc.integer({ min: 0, max: 3 }),
  maybe: fc.option(fc.integer()),
  maybeText: fc.option(fc.string({ unit: 'binary' })),
})
type Row = typeof row extends fc.Arbitrary<infer T> ? T : never

const names = ['', 'JFK', 'a\n\nb', 'ü'.repeat(100)]

function columnsOf(rows: readonly Row[]): NativeColumn[] {
  const nulls = (field: 'maybe' | 'maybeText'): Uint8Array => Uint8Array.from(rows, (r) => (r[field] === null ? 1 : 0))
  const coded = { codes: Int32Array.from(rows, (r) => r.code), strings: names }
  return [
    { name: 'int32', type: 'Int32', data: Int32Array.from(rows, (r) => r.int32) },
    { name: 'int64', type: 'Int64', data: BigInt64Array.from(rows, (r) => r.int64) },
    { name: 'decimal', type: 'Decimal(18, 3)', data: BigInt64Array.from(rows, (r) => r.int64) },
    { name: 'time', type: "DateTime64(3, 'UTC')", data: Float64Array.from(rows, (r) => r.time) },
    { name: 'float', type: 'Float64', data: Float64Array.from(rows, (r) => r.float) },
    { name: 'text', type: 'String', data: rows.map((r) => r.text) },
    { name: 'coded', type: 'String', data: coded },
    { name: 'low', type: 'LowCardinality(String)', data: coded },
    { name: 'maybe', type: 'Nullable(Int32)', data: Int32Array.from(rows, (r) => r.maybe ?? 7), nulls: nulls('maybe') },
    {
      name: 'maybeText',
      type: 'Nullable(String)',
      data: rows.map((r) => r.maybeText ?? 'x'),
      nulls: nulls('maybeText'),
    },
    { name: 'flag', type: 'UInt8', data: Uint8Array.from(rows, (r) => r.code & 1) },
  ]
}

const expected = (rows: readonly Row[]): unknown[][] => [
  rows.map((r) => r.int32),
  rows.map((r) => r.int64),
  rows.map((r) => r.int64),
  rows.map((r) => BigInt(r.time)),
  rows.map((r) => r.float),
  rows.map((r) => r.text.toWellFormed()),
  rows.map((r) => names[r.code]),
  rows.map((r) => names[r.code]),
  rows.map((r) => r.maybe),
  rows.map((r) => r.maybeText?.toWellFormed() ?? null),
  rows.map((r) => r.code & 1),
]

describe('Native blocks', () => {
  test('what is encoded is decoded, wherever the chunks are cut and however many blocks follow each other', () => {
    const blocks = fc.array(fc.array(row, { minLength: 1, maxLength: 12 }), { minLength: 1, maxLength: 3 })
    fc.assert(
      fc.property(blocks, fc.array(fc.nat(), { maxLength: 40 }), (parts, cuts) => {
        const bytes = Buffer.concat(parts.map((rows) => encodeNativeBlock(columnsOf(rows), rows.length)))
        const decoded = decode(cut(bytes, cuts))
        expect(decoded.map((block) => block.columns.map(valuesOf))).toEqual(parts.map(expected))
        const whole = concatBlocks(decoded)
        expect(whole.columns.map(valuesOf)).toEqual(expected(parts.flat()))
        expect(int64ToNumbers(whole.columns[3]?.data as BigInt64Array)).toEqual(
          Float64Array.from(parts.flat(), (r) => r.time + 0),
        )
      }),
      { numRuns: 60 },
    )
  })

  test('one byte at a time', () => {
    const rows = fc.sample(row, { numRuns: 20, seed: 1 })
    const bytes = encodeNativeBlock(columnsOf(rows), rows.length)
    const decoded = decode(Array.from(bytes, (byte) => Uint8Array.of(byte)))
    expect(decoded.map((block) => block.columns.map(valuesOf))).toEqual([expected(rows)])
  })

  test('the layout is as ClickHouse writes it', () => {
    const block = encodeNativeBlock(
      [
        { name: 'a', type: 'Nullable(Int32)', data: Int32Array.of(1, 99), nulls: Uint8Array.of(0, 1) },
        { name: 's', type: 'String', data: ['x', Uint8Array.of(0, 255)] },
      ],
      2,
    )
    const type = 'Nullable(Int32)'
    expect(block).toEqual(
      Buffer.from(
        [2, 2, 1, 97, type.length, ...Buffer.from(type), 0, 1, 1, 0, 0, 0, 0, 0, 0, 0].concat([
          1,
          115,
          6,
          ...Buffer.from('String'),
          1,
          120,
          2,
          0,
          255,
        ]),
      ),
    )
  })

  test('the same rows give the same bytes, whatever lies at a null', () => {
    const encode = (hidden: number): Buffer =>
      encodeNativeBlock(
        [{ name: 'a', type: 'Nullable(Int32)', data: Int32Array.of(hidden), nulls: Uint8Array.of(1) }],
        1,
      )
    expect(encode(5)).toEqual(encode(6))
  })

  test('a low-cardinality column with more keys than a byte or two can number', () => {
    for (const count of [256, 257, 65_536, 65_537]) {
      const strings = Array.from({ length: count }, (_, index) => `k${index}`)
      const codes = Int32Array.from({ length: count + 10 }, (_, index) => index % count)
      const column: NativeColumn = { name: 'l', type: 'LowCardinality(String)', data: { codes, strings } }
      const [block] = decode([encodeNativeBlock([column], codes.length)])
      expect(valuesOf(block?.columns[0] as DecodedColumn)).toEqual(Array.from(codes, (code) => strings[code]))
    }
  })

  test('an answer that ends inside a block is an error, an empty one is not', () => {
    const bytes = encodeNativeBlock([{ name: 'a', type: 'Int32', data: Int32Array.of(1, 2) }], 2)
    for (let length = 1; length < bytes.length; length++)
      expect(() => decode([bytes.subarray(0, length)])).toThrow(
        expect.objectContaining({ code: 'FS_OFFLINE_UNAVAILABLE' }),
      )
    expect(decode([])).toEqual([])
    expect(concatBlocks([])).toEqual({ rows: 0, columns: [] })
  })

  test('a type without a typed array, and data that does not fit its type, are refused', () => {
    expect(() => encodeNativeBlock([{ name: 'a', type: 'UUID', data: [] }], 0)).not.toThrow()
    expect(() => encodeNativeBlock([{ name: 'a', type: 'Array(Int32)', data: Int32Array.of(1) }], 1)).toThrow(
      'Array(Int32)',
    )
    expect(() => encodeNativeBlock([{ name: 'a', type: 'Int32', data: Float64Array.of(1) }], 1)).toThrow('another kind')
    expect(() => encodeNativeBlock([{ name: 'a', type: 'Int32', data: Int32Array.of(1) }], 2)).toThrow('1 values')
  })
})
