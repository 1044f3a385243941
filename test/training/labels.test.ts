import { describe, expect, it } from 'vitest'
import { scalarAt } from '../../core/event/column.ts'
import type { Column } from '../../core/event/types.ts'
import { readCsv } from '../../schemas/csv/read.ts'
import { stringColumn } from '../../schemas/arrow/columns.ts'
import { labelsFromTable, labelTableOfCsv, type LabelSet, type LabelTable } from '../../training/labels.ts'
import { catalog, everything } from './support.ts'

const ofCsv = (text: string): LabelSet => labelsFromTable(catalog, everything, labelTableOfCsv(readCsv(text)))
const cells = (column: Column | undefined, rows: number) =>
  Array.from({ length: rows }, (_, row) => scalarAt(column as Column, row))

const header = 'who,region,as_of,planned,note\n'

describe('labels from CSV', () => {
  it('are typed by the definitions; other columns are handed on as text', () => {
    const labels = ofCsv(
      'outcome,who,region,as_of,known_as_of,planned,note\n' +
        'true,a,1,1000,2000,7,\n' +
        ',"",-2,1970-01-01T00:00:05Z,,+8,""\n',
    )
    expect(labels.rows).toBe(2)
    expect(cells(labels.entities['who'], 2)).toEqual(['a', ''])
    expect(cells(labels.entities['region'], 2)).toEqual([1, -2])
    expect([...labels.asOfMs]).toEqual([1_000, 5_000])
    expect([...labels.knownAsOfMs]).toEqual([2_000, 5_000])
    expect(labels.knownAsOfGiven).toBe(true)
    expect(labels.request['planned']?.type).toBe('int32')
    expect(cells(labels.request['planned'], 2)).toEqual([7, 8])
    expect(cells(labels.request['note'], 2)).toEqual([null, ''])
    expect(labels.passthrough.map(({ name, column }) => [name, cells(column as Column, 2)])).toEqual([
      ['outcome', ['true', null]],
    ])
    expect(labels.label).toBeNull()
  })

  it('keep a null key: it is an error of its row, not of the file', () => {
    const labels = ofCsv(`${header}a,1,1000,7,x\n,,1000,7,x\n`)
    expect(cells(labels.entities['who'], 2)).toEqual(['a', null])
    expect(cells(labels.entities['region'], 2)).toEqual([1, null])
  })

  it('without known_as_of are known as of as_of', () => {
    const labels = ofCsv(`${header}a,1,1000,7,x\n`)
    expect([labels.knownAsOfGiven, ...labels.knownAsOfMs]).toEqual([false, 1_000])
  })

  it.each([
    ['who,region,as_of,note\na,1,1,x\n', 'there is no column planned (int32)'],
    ['who,region,planned,note\na,1,1,x\n', 'there is no column as_of (timestamp)'],
    [`${header}a,1,,7,x\n`, 'row 1, column as_of: is null'],
    [`${header}a,1,1000,7,x\na,1,2001-01-01 10:00,7,x\n`, 'row 2, column as_of: "2001-01-01 10:00" is neither'],
    [`${header}a,1,999999999999999,7,x\n`, 'row 1, column as_of: 999999999999999 is outside'],
    [`${header}a,one,1000,7,x\n`, 'row 1, column region: "one" is no int32'],
    [`${header}a,2147483648,1000,7,x\n`, 'row 1, column region: "2147483648" is no int32'],
    [`${header}a,1,1000,1.5,x\n`, 'row 1, column planned: "1.5" is no int32'],
    [`${header}a,1,1000,,x\n`, 'row 1, column planned: is null'],
    ['who,region,as_of,planned,note,by_who__n\na,1,1000,7,x,3\n', 'column by_who__n has the name of a feature'],
  ])('are refused with row and column: %j', (text, message) => {
    let thrown: unknown
    try {
      ofCsv(text)
    } catch (error) {
      thrown = error
    }
    expect(thrown).toMatchObject({ code: 'FS_LABELS_INVALID', message: expect.stringContaining(message) })
  })
})

describe('labels from columns', () => {
  const table = (change: Record<string, Column | undefined> = {}): LabelTable => {
    const columns: Record<string, Column | undefined> = {
      who: stringColumn(['a', 'b'], null),
      region: { type: 'int64', values: BigInt64Array.of(1n, -5n), nulls: null },
      as_of: { type: 'timestamp', values: Float64Array.of(1_000, 2_000), nulls: null },
      planned: { type: 'int32', values: Int32Array.of(3, 4), nulls: null },
      note: stringColumn([null, 'x'], Uint8Array.of(1, 0)),
      weight: { type: 'float64', values: Float64Array.of(0.5, 1.5), nulls: null },
      ...change,
    }
    return { rows: 2, columns: Object.fromEntries(Object.entries(columns).filter(([, column]) => column)) as never }
  }

  it('narrow int64 to int32, take integers as instants, and hand on columns as they are', () => {
    const given = table({ as_of: { type: 'int64', values: BigInt64Array.of(7n, 8n), nulls: null } })
    const labels = labelsFromTable(catalog, everything, given)
    expect(labels.entities['region']).toEqual({ type: 'int32', values: Int32Array.of(1, -5), nulls: null })
    expect([...labels.asOfMs]).toEqual([7, 8])
    expect(labels.passthrough).toEqual([{ name: 'weight', column: given.columns['weight'] }])
  })

  it('take the instant of a text column', () => {
    const labels = labelsFromTable(
      catalog,
      everything,
      table({ as_of: stringColumn(['1970-01-01T01:00:00+01:00', '12'], null) }),
    )
    expect([...labels.asOfMs]).toEqual([0, 12])
  })

  it.each([
    [{ region: { type: 'int64', values: BigInt64Array.of(1n, 2n ** 31n), nulls: null } }, 'row 2, column region'],
    [
      { region: { type: 'float64', values: Float64Array.of(1, 2), nulls: null } },
      'column region is float64, not int32',
    ],
    [{ who: { type: 'int32', values: Int32Array.of(1, 2), nulls: null } }, 'column who is int32, not string'],
    [{ as_of: { type: 'bool', values: Uint8Array.of(0, 1), nulls: null } }, 'column as_of is bool'],
    [
      { as_of: { type: 'timestamp', values: Float64Array.of(1, 0), nulls: Uint8Array.of(0, 1) } },
      'row 2, column as_of: is null',
    ],
    [{ planned: { type: 'int32', values: Int32Array.of(1), nulls: null } }, 'column planned has 1 rows, the table 2'],
  ] as [Record<string, Column>, string][])('are refused with the reason: %#', (change, message) => {
    expect(() => labelsFromTable(catalog, everything, table(change))).toThrow(message)
  })
})
