import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  Dictionary,
  Float32,
  Int8,
  Int32,
  makeData,
  makeVector,
  tableFromArrays,
  tableFromIPC,
  tableToIPC,
  Table,
  TimestampNanosecond,
  Uint32,
  Utf8,
  vectorFromArray,
} from 'apache-arrow'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Status, type FeatureColumn } from '../../../core/engine/feature-column.ts'
import { contentDigest } from '../../../schemas/arrow/digest.ts'
import { readArrowFile } from '../../../schemas/arrow/read.ts'
import { batchRows, writeArrowFile } from '../../../schemas/arrow/write.ts'
import type { NamedColumn } from '../../../schemas/arrow/columns.ts'
import { cellsOf, drawnColumns } from './columns.ts'

const runs = { numRuns: 300 }
const named = (columns: ReturnType<typeof readArrowFile>['columns']): NamedColumn[] =>
  Object.entries(columns).map(([name, column]) => ({ name, column }))

test('every type, nulls and lists included, comes back from a file', () => {
  fc.assert(
    fc.property(drawnColumns, ({ cells, columns }) => {
      const file = readArrowFile(writeArrowFile(columns, {}))
      expect(Object.keys(file.columns)).toEqual(columns.map(({ name }) => name))
      for (const [name, column] of Object.entries(file.columns)) {
        expect([name, cellsOf(column)]).toEqual([name, cells[name]])
        if (cells[name]?.length !== 0) expect(column.type).toBe(columns.find((one) => one.name === name)?.column.type)
      }
    }),
    runs,
  )
})

test('equal content gives equal bytes and an equal digest, whatever stands in null slots', () => {
  fc.assert(
    fc.property(drawnColumns, ({ columns, otherwise }) => {
      const bytes = writeArrowFile(columns, { b: '2', a: '1' })
      expect(Buffer.compare(bytes, writeArrowFile(otherwise, { a: '1', b: '2' }))).toBe(0)
      expect(contentDigest(otherwise)).toBe(contentDigest(columns))
      expect(contentDigest(named(readArrowFile(bytes).columns))).toBe(contentDigest(columns))
    }),
    runs,
  )
})

test('large files are cut into record batches, which the digest does not see', () => {
  const rows = 2 * batchRows + 17
  const values = Float64Array.from({ length: rows }, (_, row) => row / 3)
  const nulls = Uint8Array.from({ length: rows }, (_, row) => (row % 1000 === 999 ? 1 : 0))
  const ends = Int32Array.from({ length: rows }, (_, row) => 2 * (row + 1))
  const items = { type: 'int32' as const, values: Int32Array.from({ length: 2 * rows }, (_, index) => index) }
  const columns: NamedColumn[] = [
    { name: 'x', column: { type: 'float64', values, nulls } },
    { name: 'pairs', column: { type: 'list', ends, items, itemNulls: null, nulls } },
  ]
  const bytes = writeArrowFile(columns, {})
  const table = tableFromIPC(bytes)
  expect(table.batches.map(({ numRows }) => numRows)).toEqual([batchRows, batchRows, 17])
  expect(table.getChild('x')?.get(batchRows + 1)).toBe((batchRows + 1) / 3)
  expect(
    table
      .getChild('pairs')
      ?.get(rows - 1)
      ?.toArray(),
  ).toEqual(Int32Array.of(2 * rows - 2, 2 * rows - 1))
  const read = readArrowFile(bytes)
  expect(read.rowCount).toBe(rows)
  expect(contentDigest(named(read.columns))).toBe(contentDigest(columns))
})

test('a feature is null where its status carries no value', () => {
  const feature: FeatureColumn = {
    name: 'v:mean',
    type: { kind: 'scalar', type: 'string' },
    fingerprint: 'f',
    statuses: Uint8Array.of(Status.PRESENT, Status.NOT_FOUND, Status.STALE, Status.ERROR),
    values: { type: 'string', values: ['a', '', 'b', ''] },
    errors: [{ row: 3, code: 'FS_ROW_CORRUPT' }],
  }
  const columns = [{ name: feature.name, column: feature, metadata: { 'tidemark.fingerprint': 'f' } }]
  const file = readArrowFile(writeArrowFile(columns, { 'tidemark.position': '{}' }))
  expect(cellsOf(Object.values(file.columns)[0]!)).toEqual(['a', null, 'b', null])
  expect(file.fieldMetadata).toEqual({ 'v:mean': { 'tidemark.fingerprint': 'f' } })
  expect(file.schemaMetadata).toEqual({ 'tidemark.position': '{}' })
})

test('the digest tells apart names, types, values, nulls and the bounds of lists', () => {
  const column = (name: string, values: number[], nulls: number[] | null = null): NamedColumn => ({
    name,
    column: { type: 'float64', values: Float64Array.from(values), nulls: nulls && Uint8Array.from(nulls) },
  })
  const list = (ends: number[], itemNulls: number[] | null = null): NamedColumn => ({
    name: 'a',
    column: {
      type: 'list',
      ends: Int32Array.from(ends),
      items: { type: 'string', values: ['x', 'y'] },
      itemNulls: itemNulls && Uint8Array.from(itemNulls),
      nulls: null,
    },
  })
  const int32: NamedColumn = { name: 'a', column: { type: 'int32', values: Int32Array.of(1, 2), nulls: null } }
  const digests = [
    [column('a', [1, 2])],
    [column('b', [1, 2])],
    [column('a', [2, 1])],
    [column('a', [1, 2], [0, 1])],
    [column('a', [1])],
    [column('a', [1, 2]), column('b', [1, 2])],
    [column('b', [1, 2]), column('a', [1, 2])],
    [int32],
    [list([1, 2])],
    [list([0, 2])],
    [list([0, 2], [0, 1])],
    [list([0, 2], [1, 0])],
    [list([0, 2], [1, 1])],
    [],
  ].map(contentDigest)
  expect(new Set(digests).size).toBe(digests.length)
  expect(contentDigest([column('a', [-0, Number.NaN])])).toBe(contentDigest([column('a', [0, -Number.NaN])]))
  expect(contentDigest([list([1, 2], [0, 0])])).toBe(contentDigest([list([1, 2])]))
  // Pinned: a digest is compared with one that another version has written.
  expect(digests[8]).toBe('db34a374778a33f897b09daffb8eb4ede5050818dc90fd27ee426c6ee0c9fac9')
  expect(digests[0]).toBe('a14118d61a287f31c46e980447f81a6afa870ceff942dcf9012aca8b93a5f526')
})

test('reads what others write: small integers, float32, dictionaries, nanoseconds, sliced streams', () => {
  const nanoseconds = makeData({
    type: new TimestampNanosecond(),
    nullCount: 1,
    nullBitmap: Uint8Array.of(0b101),
    data: BigInt64Array.of(-1n, 0n, 1577836800123456789n),
  })
  const table = new Table({
    small: vectorFromArray([1, -2, null], new Int8()),
    wide: vectorFromArray([1, 4294967295, null], new Uint32()),
    single: vectorFromArray([0.5, -1.5, null], new Float32()),
    word: vectorFromArray(['b', null, 'b'], new Dictionary(new Utf8(), new Int32())),
    at: makeVector(nanoseconds),
  })
  const whole = readArrowFile(tableToIPC(table, 'stream')).columns
  expect(Object.fromEntries(Object.entries(whole).map(([name, column]) => [name, cellsOf(column)]))).toEqual({
    small: [1, -2, null],
    wide: [1n, 4294967295n, null],
    single: [0.5, -1.5, null],
    word: ['b', null, 'b'],
    at: [-1, null, 1577836800123],
  })
  expect(Object.values(whole).map(({ type }) => type)).toEqual(['int32', 'int64', 'float64', 'string', 'timestamp'])
})

const fixture = (name: string): Uint8Array => readFileSync(join(import.meta.dirname, 'fixtures', `rows-${name}.arrow`))

test.each(['lz4', 'zstd'])('buffers compressed with %s, dictionaries included, read as those that are not', (codec) => {
  const plain = readArrowFile(fixture('none'))
  const compressed = readArrowFile(fixture(codec))
  expect(compressed.rowCount).toBe(600)
  const cells = (file: typeof plain) =>
    Object.fromEntries(Object.entries(file.columns).map(([name, column]) => [name, cellsOf(column)]))
  expect(cells(compressed)).toEqual(cells(plain))
  expect(cells(compressed)['text']?.slice(0, 3)).toEqual([null, 'sensor 1', 'sensor 2'])
  expect(contentDigest(named(compressed.columns))).toBe(contentDigest(named(plain.columns)))
})

test.each(['lz4', 'zstd'])('damaged %s buffers are FS_FILE_INVALID or other values, never a crash', (codec) => {
  const bytes = fixture(codec)
  for (let at = 8; at < bytes.length; at += 13) {
    const damaged = bytes.slice()
    damaged[at] = (damaged[at] as number) ^ 0x55
    try {
      readArrowFile(damaged)
    } catch (error) {
      expect(error).toMatchObject({ code: 'FS_FILE_INVALID' })
    }
  }
})

test('other bytes and other types are FS_FILE_INVALID', () => {
  expect(() => readArrowFile(new TextEncoder().encode('a,b\n1,2\n'))).toThrow(
    expect.objectContaining({ code: 'FS_FILE_INVALID' }),
  )
  const unsigned = tableToIPC(tableFromArrays({ big: BigUint64Array.of(1n) }))
  expect(() => readArrowFile(unsigned)).toThrow(/big is of type Uint64/)
  const short: NamedColumn[] = [1, 2].map((length) => ({
    name: `of ${length}`,
    column: { type: 'bool', values: new Uint8Array(length), nulls: null },
  }))
  expect(() => writeArrowFile(short, {})).toThrow(expect.objectContaining({ code: 'FS_INTERNAL' }))
})

test('a file without rows keeps its fields', () => {
  const columns: NamedColumn[] = [{ name: 'x', column: { type: 'int64', values: new BigInt64Array(), nulls: null } }]
  const file = readArrowFile(writeArrowFile(columns, { k: 'v' }))
  expect(file).toEqual({
    rowCount: 0,
    columns: { x: { type: 'int64', values: new BigInt64Array(), nulls: null } },
    schemaMetadata: { k: 'v' },
    fieldMetadata: {},
  })
})

test('decimals of every width that pyarrow writes, in a slice, are exact', () => {
  const file = readArrowFile(readFileSync(join(import.meta.dirname, 'fixtures', 'decimals.arrow')))
  const cells = Object.fromEntries(Object.entries(file.columns).map(([name, column]) => [name, cellsOf(column)]))
  expect(cells).toEqual({
    d128: [null, -999_999_999_999_999_999n, -1n],
    d38: [null, -999_999_999_999_999_999n, 0n],
    d64: [null, -123_456_789n, 0n],
    d256: [null, -7n, 0n],
    list: [null, [], [-5n]],
  })
  expect(file.columns).toMatchObject({
    d128: { type: 'decimal', precision: 18, scale: 2 },
    d38: { precision: 18, scale: 3 },
    d64: { precision: 9, scale: 1 },
    list: { items: { type: 'decimal', precision: 5, scale: 1 } },
  })
  const wide = readFileSync(join(import.meta.dirname, 'fixtures', 'decimals-wide.arrow'))
  expect(() => readArrowFile(wide)).toThrow('Arrow column wide has more than 18 digits in row 2')
})
