import { describe, expect, it } from 'vitest'
import { buildCatalog } from '../../../core/definition/catalog.ts'
import { string, timestamp } from '../../../core/definition/fields.ts'
import { last } from '../../../core/definition/functions.ts'
import { entity, stream } from '../../../core/definition/stream.ts'
import { view } from '../../../core/definition/view.ts'
import { EntityColumns, newTables } from '../../../core/engine/entity-columns.ts'
import { planView } from '../../../core/engine/plan.ts'
import { decodeRow, encodeRow } from '../../../core/engine/row.ts'

const words = stream('words', { fields: { at: timestamp(), who: string(), word: string() }, eventTime: 'at' })
const who = entity('who', { key: { who: string() } })
const lastWord = view('last_word', { from: words, entity: who, features: ({ word }) => ({ word: last(word) }) })
const plan = planView(buildCatalog([words, who, lastWord]), 'last_word', 0)

describe('the packed row', () => {
  it('keeps every character of a string, a leading byte order mark included', () => {
    const texts = ['\ufeffbom', 'bom', '', '\0', 'zürich', '\ufeff']
    const tables = newTables(plan.inputs)
    const columns = new EntityColumns(plan.inputs, 1, tables)
    texts.forEach((text, index) => {
      const slot = columns.insert(index, index, 0, index)
      const input = columns.inputs[0]
      if (input !== undefined) input.values[slot] = tables[0]?.code(text) ?? 0
    })
    const decoded = decodeRow(plan, encodeRow(plan, columns)).inputs[0]
    const codes = Array.from(decoded?.values as Int32Array).slice(0, texts.length)
    expect(codes.map((code) => decoded?.table?.strings[code])).toEqual(texts)
  })

  it('of another format or another definition is refused, and so is one that was cut', () => {
    const row = encodeRow(plan, new EntityColumns(plan.inputs, 1, newTables(plan.inputs)))
    const other = row.slice()
    other[0] = 9
    expect(() => decodeRow(plan, other)).toThrow(expect.objectContaining({ code: 'FS_STATE_FORMAT' }))
    expect(() => decodeRow({ ...plan, fingerprint: 'f'.repeat(64) }, row)).toThrow(
      expect.objectContaining({ code: 'FS_STATE_FORMAT' }),
    )
    expect(() => decodeRow(plan, row.subarray(0, row.length - 1))).toThrow(
      expect.objectContaining({ code: 'FS_ROW_CORRUPT' }),
    )
  })
})
