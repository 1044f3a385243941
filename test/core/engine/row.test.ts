import { describe, expect, it } from 'vitest'
import { buildCatalog } from '../../../core/definition/catalog.ts'
import { string, timestamp } from '../../../core/definition/fields.ts'
import { last } from '../../../core/definition/functions.ts'
import { entity, stream } from '../../../core/definition/stream.ts'
import { view } from '../../../core/definition/view.ts'
import { planView } from '../../../core/engine/plan.ts'
import { decodeRow, encodeRow } from '../../../core/engine/row.ts'
import { ViewState, type EntityEvents } from '../../../core/engine/state/view-state.ts'

const words = stream('words', { fields: { at: timestamp(), who: string(), word: string() }, eventTime: 'at' })
const who = entity('who', { key: { who: string() } })
const lastWord = view('last_word', { from: words, entity: who, features: ({ word }) => ({ word: last(word) }) })
const plan = planView(buildCatalog([words, who, lastWord]), 'last_word', 0)

const fresh = (): EntityEvents => {
  const state = new ViewState(plan)
  return { state, entity: state.events.addEntity() }
}

const wordAt = ({ state, entity }: EntityEvents, cursor: number): string | undefined => {
  const { words, layout } = state.events
  const record = state.events.recordAt(entity, cursor)
  return state.tables[0]?.strings[words[record * layout.stride + (layout.inputs[0] ?? 0)] ?? 0]
}

describe('the packed row', () => {
  it('keeps every character of a string, a leading byte order mark included', () => {
    const texts = ['\ufeffbom', 'bom', '', '\0', 'zürich', '\ufeff']
    const { state, entity: own } = fresh()
    texts.forEach((text, index) => {
      const record = state.events.insert(own, index, index, index)
      const { layout } = state.events
      state.events.words[record * layout.stride + (layout.inputs[0] ?? 0)] = state.tables[0]?.code(text) ?? 0
    })
    const decoded = decodeRow(plan, encodeRow({ state, entity: own }))
    expect(texts.map((_, index) => wordAt(decoded, index))).toEqual(texts)
  })

  it('of another format or another definition is refused, and so is one that was cut', () => {
    const row = encodeRow(fresh())
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
