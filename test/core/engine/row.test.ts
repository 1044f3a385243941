import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { buildCatalog } from '../../../core/definition/catalog.ts'
import { float64, string, timestamp } from '../../../core/definition/fields.ts'
import { last, sum } from '../../../core/definition/functions.ts'
import { entity, stream } from '../../../core/definition/stream.ts'
import { view } from '../../../core/definition/view.ts'
import { planView } from '../../../core/engine/plan.ts'
import { decodeRow, encodeRow } from '../../../core/engine/row.ts'
import type { EventStore } from '../../../core/engine/state/event-store.ts'
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

describe('the packed row without an order', () => {
  const tips = stream('tips', { fields: { at: timestamp(), who: string(), amount: float64() }, eventTime: 'at' })
  const tipped = view('tipped', { from: tips, entity: who, features: ({ amount }) => ({ sum: sum(amount) }) })
  const ofTips = planView(buildCatalog([tips, who, tipped]), 'tipped', 0)

  const rowOf = (events: readonly (readonly [timeMs: number, knownMs: number, amount: number])[]): Uint8Array => {
    const state = new ViewState(ofTips)
    const own = state.events.addEntity()
    for (const [timeMs, knownMs, amount] of events) {
      const record = state.events.insert(own, timeMs, knownMs, 0)
      const { layout } = state.events
      state.events.floats[record * (layout.stride >> 1) + (layout.inputs[0] ?? 0)] = amount
    }
    return encodeRow({ state, entity: own })
  }

  it('has no order, or this suite tests nothing', () => {
    expect(ofTips.layout.order).toBe(-1)
  })

  it('is the same in whatever order events of the same two times came', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.integer({ min: 0, max: 3 }), fc.integer({ min: 4, max: 6 }), fc.integer()), {
          maxLength: 150,
        }),
        (events) => {
          const sorted = events.toSorted((a, b) => a[0] - b[0] || a[1] - b[1] || a[2] - b[2])
          expect(Buffer.compare(rowOf(events), rowOf(sorted))).toBe(0)
          expect(Buffer.compare(rowOf(events), rowOf(events.toReversed()))).toBe(0)
        },
      ),
      { numRuns: Number(process.env['TIDEMARK_PROPERTY_RUNS'] ?? 150) },
    )
  })

  it('takes two bytes for a short delay and four for an amount in cents', () => {
    const some = rowOf([
      [0, 300, 1_234.56],
      [1_000, 3_000, 0.5],
    ])
    expect(some.length).toBe(40 + (1 + 2 * 4) + (1 + 2 * 2) + 2 + (1 + 1 + 2 * 4))
  })

  it('keeps delays that no integer of 32 bits holds, in both directions', () => {
    const far = 2 ** 40
    for (const delays of [
      [far, 1],
      [-far, 1],
      [2 ** 31, 0],
      [-(2 ** 31), 2 ** 31 - 1],
    ]) {
      const row = rowOf(delays.map((delay, index) => [index * far, index * far + delay, index] as const))
      const { state, entity: own } = decodeRow(ofTips, row)
      const { events } = state
      expect(delays.map((_, index) => events.timeAt(own, cursorOf(events, own, index)))).toEqual([0, far])
      expect(delays.map((_, index) => events.knownAt(own, cursorOf(events, own, index)))).toEqual(
        delays.map((delay, index) => index * far + delay),
      )
      expect(Buffer.compare(encodeRow({ state, entity: own }), row)).toBe(0)
    }
  })
})

function cursorOf(events: EventStore, entity: number, index: number): number {
  let cursor = 0
  for (let step = 0; step < index; step++) cursor = events.next(entity, cursor)
  return cursor
}
