import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { NamedColumn } from '../../../schemas/arrow/columns.ts'
import { readCsv } from '../../../schemas/csv/read.ts'
import { csvChunks, writeCsv } from '../../../schemas/csv/write.ts'
import { formatDecimal } from '../../../core/number/decimal.ts'
import { digits, drawnColumns, listCells, scalarCells, type Cell } from '../arrow/columns.ts'

test('cells are strings, null where nothing stood, empty where "" did', () => {
  expect(readCsv('a,b,c\n1,,""\n" x ",y z,"p,q"\n')).toEqual({
    header: ['a', 'b', 'c'],
    rows: [
      ['1', null, ''],
      [' x ', 'y z', 'p,q'],
    ],
  })
})

test('quotes, embedded line ends, CRLF, a byte order mark and a last line without an end', () => {
  const text = '\uFEFFid,"the ""name"""\r\n1,"two\r\nlines"\r\n2,"say ""hi"""\r\n3,é✈'
  const expected = {
    header: ['id', 'the "name"'],
    rows: [
      ['1', 'two\r\nlines'],
      ['2', 'say "hi"'],
      ['3', 'é✈'],
    ],
  }
  expect(readCsv(text)).toEqual(expected)
  expect(readCsv(new TextEncoder().encode(text))).toEqual(expected)
})

test('blank lines are skipped, but are nulls in a file of one column', () => {
  expect(readCsv('a,b\n\n1,2\r\n\r\n').rows).toEqual([['1', '2']])
  expect(readCsv('a\n1\n\n""\n').rows).toEqual([['1'], [null], ['']])
  expect(readCsv('a,b\n').rows).toEqual([])
  expect(readCsv('a,b\n,').rows).toEqual([[null, null]])
})

test('what is malformed is refused by row and column', () => {
  const refused: readonly (readonly [string | Uint8Array, RegExp])[] = [
    ['', /no header/],
    ['a,,b\n', /no header/],
    ['a,b,a\n', /column a twice/],
    ['a,b\n1,2\n3\n', /row 2: it has 1 cells, the header 2/],
    ['a,b\n1,2,3\n', /row 1/],
    ['a,b\n1,"2\n', /row 1: the quote of cell 2 does not close/],
    ['a,b\n"1"x,2\n', /row 1: text behind the quotes of cell 1/],
    ['a,b\n1,x"y\n', /row 1: a quote inside the open cell 2/],
    [Uint8Array.of(0x61, 0x0a, 0xff), /not UTF-8/],
  ]
  for (const [input, message] of refused) {
    expect(() => readCsv(input)).toThrow(message)
    expect(() => readCsv(input)).toThrow(expect.objectContaining({ code: 'FS_FILE_INVALID' }))
  }
})

test('values are written exactly', () => {
  const columns: NamedColumn[] = [
    { name: 'x', column: scalarCells('float64', [0.1 + 0.2, -0, null], 9) },
    { name: 'n, m', column: scalarCells('int64', [-(2n ** 63n), 2n ** 63n - 1n, null], 9n) },
    { name: 'at', column: scalarCells('timestamp', [1577836800000, -1, null], 9) },
    { name: 'yes', column: scalarCells('bool', [true, false, null], true) },
    { name: 's', column: scalarCells('string', ['', 'a "b"\n', null], 'z') },
    { name: 'l', column: listCells('int64', [[1n, null, 2n], [], null], [9n], 9n) },
    { name: 'd', column: listCells('float64', [[0.5, Number.NaN], [1e21], null], [9], 9) },
  ]
  expect(writeCsv(columns)).toBe(
    'x,"n, m",at,yes,s,l,d\n' +
      '0.30000000000000004,-9223372036854775808,1577836800000,true,"","[""1"",null,""2""]","[0.5,""NaN""]"\n' +
      '0,9223372036854775807,-1,false,"a ""b""\n",[],[1e+21]\n' +
      ',,,,,,\n',
  )
})

const textOf = (cell: Cell | undefined, decimal: boolean): string | null => {
  if (cell === null || cell === undefined) return null
  if (decimal && !Array.isArray(cell)) return formatDecimal(cell as bigint, digits.scale)
  const item = (value: unknown): unknown =>
    decimal && value !== null
      ? formatDecimal(value as bigint, digits.scale)
      : typeof value === 'bigint' || (typeof value === 'number' && !Number.isFinite(value))
        ? String(value)
        : value
  return Array.isArray(cell) ? JSON.stringify(cell.map(item)) : String(cell)
}

test('what is written is read back, cell by cell', () => {
  fc.assert(
    fc.property(drawnColumns, ({ cells, columns }) => {
      const table = readCsv(writeCsv(columns))
      expect(table.header).toEqual(Object.keys(cells))
      table.header.forEach((name, index) => {
        expect(table.rows.map((row) => row[index])).toEqual(
          cells[name]?.map((cell) => textOf(cell, name.endsWith('decimal'))),
        )
      })
    }),
    { numRuns: 300 },
  )
})

test('long files come in pieces', () => {
  const values = Int32Array.from({ length: 10_000 }, (_, row) => row)
  const chunks = [...csvChunks([{ name: 'n', column: { type: 'int32', values, nulls: null } }])]
  expect(chunks.length).toBeGreaterThan(2)
  expect(readCsv(chunks.join('')).rows.length).toBe(10_000)
})
