import { expect, test } from 'vitest'
import { RowVersions } from '../../../core/engine/state/row-versions.ts'
import type { Column } from '../../../core/event/types.ts'

test('a row has a name however long its primary key is, and another key another one', () => {
  const long = 'ü'.repeat(1_000)
  const strings = ['a', `${long}a`, `${long}b`, 'x'.repeat(1_023), 'x'.repeat(1_024), 'x'.repeat(1_025)]
  const texts: Column = {
    type: 'string',
    values: Int32Array.from([0, 1, 2, 3, 4, 5, 1]),
    table: { strings },
    nulls: null,
  }
  const lines: Column = { type: 'int32', values: new Int32Array(7), nulls: null }
  for (const [fields, types] of [
    [['text'], ['string']],
    [
      ['line', 'text'],
      ['int32', 'string'],
    ],
  ] as const) {
    const rows = new RowVersions(fields, types, 4).resolve({ text: texts, line: lines }, 7)
    expect(rows).not.toContain(null)
    expect(rows[6]).toBe(rows[1])
    expect(new Set(rows).size).toBe(6)
    for (const row of rows) expect(row?.key.length).toBeLessThanOrEqual(1_024)
  }
})
