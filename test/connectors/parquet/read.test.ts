import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { readParquet } from '../../../connectors/parquet/read.ts'
import { scalarAt } from '../../../core/event/column.ts'
import type { Column, Scalar } from '../../../core/event/types.ts'

/** Written by pyarrow, four rows each, the third one null in every column but `id`. */
const fixture = (name: string): string => join(import.meta.dirname, 'fixtures', `${name}.parquet`)
const flights = join(import.meta.dirname, '../../../node_modules/vega-datasets/data/flights-3m.parquet')

const listed = (column: Column | undefined): Scalar[] => {
  if (column === undefined) return []
  return Array.from(column.values as ArrayLike<number | bigint>, (value, row) => {
    if (column.nulls?.[row] === 1) return null
    return column.type === 'string' ? (column.table.strings[Number(value)] ?? null) : value
  })
}

const expected: Record<string, { type: Column['type']; values: Scalar[] }> = {
  i8: { type: 'int32', values: [-128, 127, null, 0] },
  u16: { type: 'int32', values: [0, 65535, null, 1] },
  i32: { type: 'int32', values: [-2147483648, 2147483647, null, 0] },
  u32: { type: 'int64', values: [0n, 4294967295n, null, 1n] },
  i64: { type: 'int64', values: [-9223372036854775808n, 9223372036854775807n, null, 0n] },
  f32: { type: 'float64', values: [0.5, -1.5, null, 3] },
  f64: { type: 'float64', values: [0.1, -1e300, null, 5e-324] },
  yes: { type: 'bool', values: [1, 0, null, 1] },
  text: { type: 'string', values: ['b', '', null, 'zürich ✈'] },
  ms: { type: 'timestamp', values: [-1, 0, null, 1577836800123] },
  us: { type: 'timestamp', values: [-1, 0, null, 1577836800123] },
  ns: { type: 'timestamp', values: [-1, 0, null, 1577836800123] },
  zoned: { type: 'timestamp', values: [-1, 0, null, 1577836800123] },
  day: { type: 'timestamp', values: [-86400000, 0, null, 1577836800000] },
  id: { type: 'int64', values: [1n, 2n, 3n, 4n] },
}

describe('every type, whatever the encoding and the codec', () => {
  for (const codec of ['none', 'snappy', 'gzip', 'zstd', 'brotli', 'lz4']) {
    test(codec, async () => {
      const { rowCount, columns } = await readParquet(fixture(`types-${codec}`))
      expect(rowCount).toBe(4)
      expect(Object.keys(columns)).toEqual(Object.keys(expected))
      for (const [name, { type, values }] of Object.entries(expected)) {
        expect([name, columns[name]?.type]).toEqual([name, type])
        expect([name, listed(columns[name])]).toEqual([name, values])
      }
      expect(columns['id']?.nulls).toBeNull()
    })
  }
})

test('reads the columns asked for, in that order, and old INT96 timestamps', async () => {
  const { columns } = await readParquet(fixture('int96'), ['text', 'ns'])
  expect(Object.keys(columns)).toEqual(['text', 'ns'])
  expect(listed(columns['ns'])).toEqual(expected['ns']?.values)
})

test('a file without rows has empty columns', async () => {
  const { rowCount, columns } = await readParquet(fixture('empty'))
  expect(rowCount).toBe(0)
  expect(columns['text']).toEqual({ type: 'string', values: new Int32Array(), table: { strings: [] }, nulls: null })
})

test('what is not read is refused by name, beside columns that are', async () => {
  for (const [name, what] of Object.entries({
    price: /price has 19 digits behind the point/,
    list: /list is nested/,
    at: /at is/,
  }))
    await expect(readParquet(fixture('others'), [name])).rejects.toThrow(what)
  await expect(readParquet(fixture('others'))).rejects.toMatchObject({ code: 'FS_FILE_INVALID' })
  await expect(readParquet(fixture('others'), ['nowhere'])).rejects.toThrow(/no column nowhere/)
  const { columns } = await readParquet(fixture('others'), ['id'])
  expect(listed(columns['id'])).toEqual([1])
})

test('decimals of any size in the file are exact', async () => {
  const d9 = { type: 'decimal', precision: 9, scale: 2 }
  const fixed = await readParquet(fixture('decimals-fixed'))
  expect(fixed.columns).toMatchObject({ d9, d18: { precision: 18, scale: 18 }, d38: { precision: 18, scale: 3 } })
  const texts = (columns: typeof fixed.columns, name: string): Scalar[] =>
    [0, 1, 2, 3].map((row) => scalarAt(columns[name] as Column, row))
  const integers = await readParquet(fixture('decimals-integers'))
  expect(integers.columns).toMatchObject({ d9, d18: { precision: 18, scale: 18 } })
  for (const { columns } of [fixed, integers]) {
    expect(texts(columns, 'd9')).toEqual(['1.10', '-9999999.99', null, '9999999.99'])
    const nines = '999999999999999999'
    expect(texts(columns, 'd18')).toEqual(['0.000000000000000001', `-0.${nines}`, null, '0.000000000000000000'])
  }
  expect(texts(fixed.columns, 'd38')).toEqual(['999999999999999.999', '-999999999999999.999', null, '-0.001'])
  await expect(readParquet(fixture('decimals-wide'))).rejects.toMatchObject({
    code: 'FS_FILE_INVALID',
    message: expect.stringContaining('column wide has more than 18 digits in row 2') as unknown,
  })
})

test('a column of nulls alone, whose type nobody knew, is one of nulls', async () => {
  const { columns, rowCount } = await readParquet(fixture('all-null'))
  expect(rowCount).toBe(2)
  expect(columns['n']).toEqual({ type: 'int32', values: new Int32Array(2), nulls: Uint8Array.of(1, 1) })
})

test('a codec that is not read is refused with what to write instead', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'tidemark-parquet-'))
  try {
    for (const [codec, number] of Object.entries({ LZ4: 5, LZO: 3 })) {
      const bytes = await readFile(fixture('types-lz4'))
      // In the footer, `codec` of a column is a compact thrift i32 after the path: 0x15, and LZ4_RAW is 7, zigzag 14.
      for (let at = bytes.length - 8 - bytes.readUInt32LE(bytes.length - 8); at < bytes.length - 8; at++)
        if (bytes[at] === 0x15 && bytes[at + 1] === 14) bytes[at + 1] = 2 * number
      await writeFile(join(folder, codec), bytes)
      await expect(readParquet(join(folder, codec), ['i32'])).rejects.toMatchObject({
        code: 'FS_FILE_INVALID',
        message: expect.stringContaining(`compressed with ${codec}`) as unknown,
        remedy: expect.stringContaining('LZ4_RAW') as unknown,
      })
    }
  } finally {
    await rm(folder, { recursive: true })
  }
})

test('another format, a torn file and no file are FS_FILE_INVALID', async () => {
  await expect(readParquet(fixture('missing'))).rejects.toMatchObject({ code: 'FS_FILE_INVALID', kind: 'data' })
  await expect(readParquet(import.meta.filename)).rejects.toMatchObject({ code: 'FS_FILE_INVALID' })
  const folder = await mkdtemp(join(tmpdir(), 'tidemark-parquet-'))
  try {
    await writeFile(join(folder, 'short'), 'PAR1')
    await expect(readParquet(join(folder, 'short'))).rejects.toMatchObject({ code: 'FS_FILE_INVALID' })
  } finally {
    await rm(folder, { recursive: true })
  }
})

test('a byte order mark is part of a string, and bytes that are no UTF-8 are refused', async () => {
  const { columns } = await readParquet(fixture('byte-order-mark'))
  expect(columns['s']).toMatchObject({ type: 'string', table: { strings: ['\ufeffk', 'k', '\ufeff'] } })
  await expect(readParquet(fixture('no-utf8'))).rejects.toMatchObject({ code: 'FS_FILE_INVALID' })
})

test('three million flights: whole minutes in order, 229 origins, nothing null', async () => {
  const { rowCount, columns } = await readParquet(flights, ['date', 'origin', 'delay'])
  expect(rowCount).toBe(3_000_000)
  const { date, origin, delay } = columns
  if (date?.type !== 'timestamp' || origin?.type !== 'string' || delay?.type !== 'int64') throw new Error('types')
  expect([date.nulls, origin.nulls, delay.nulls]).toEqual([null, null, null])
  let unordered = 0
  let fractional = 0
  for (let row = 0; row < rowCount; row++) {
    if (row > 0 && (date.values[row] as number) < (date.values[row - 1] as number)) unordered++
    if ((date.values[row] as number) % 60_000 !== 0) fractional++
  }
  expect([unordered, fractional]).toEqual([0, 0])
  expect(new Date(date.values[0] as number).toISOString()).toBe('2001-01-01T00:01:00.000Z')
  expect(new Set(origin.table.strings).size).toBe(229)
  expect(origin.table.strings.length).toBe(229)
  const [least, most] = delay.values.reduce(
    ([min, max], value) => [value < min ? value : min, value > max ? value : max],
    [0n, 0n],
  )
  expect([least, most]).toEqual([-1116n, 1688n])
}, 30_000)
