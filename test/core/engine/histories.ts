/** A share of the small histories, as a suite. */
import { describe, expect, it } from 'vitest'
import type { StreamKind } from './harness.ts'
import {
  difference,
  expectedOf,
  generatedCase,
  shrunk,
  toJson,
  traitsOf,
  type HistoryCase,
  type Tally,
} from './history-cases.ts'

/** Histories in all, over the three kinds of streams. */
export const historiesTotal = Number(process.env['TIDEMARK_HISTORIES'] ?? 102_000)
const seed = Number(process.env['TIDEMARK_SEED'] ?? 20_260_101)
/** Replays one history: its index, as a failure says it. */
const only = process.env['TIDEMARK_HISTORY']
const parts = 4

/** Of every so many histories it is counted what they are made of. */
const traitsEvery = 8
const traitsOfAll = [
  ...['ties', 'late', 'FS_DEAD_TOO_LATE', 'FS_DEAD_TOO_EARLY', 'nulls', '-0', 'not finite', '2^53 and more'],
  ...['31 bits of time', 'knownAt 31 bits later'],
]
const traitsOfKind: Readonly<Record<StreamKind, readonly string[]>> = {
  plain: [],
  id: ['duplicates', 'retracted before arrival', 'retracted after arrival'],
  changelog: ['replaced', 'deleted'],
}

function addTraits(traits: Record<string, number>, kind: StreamKind, history: HistoryCase): void {
  const own = traitsOf(history)
  expect(own['records']).toBeGreaterThan(29)
  if (kind !== 'plain') expect(own['corrections']).toBeGreaterThan(2)
  for (const [trait, times] of Object.entries(own)) traits[trait] = (traits[trait] ?? 0) + times
}

export function smallHistories(kind: StreamKind): void {
  describe(`small histories of a stream, ${kind}: the engine equals the naive twin, bit for bit`, () => {
    const each = Math.ceil(historiesTotal / 3 / parts)
    for (let part = 0; part < parts; part++)
      it(`histories ${part * each} to ${(part + 1) * each - 1}`, { timeout: 600_000 }, () => {
        const tally: Tally = { answered: 0, refused: 0, statuses: {} }
        const traits: Record<string, number> = {}
        let histories = 0
        for (let index = part * each; index < (part + 1) * each; index++) {
          if (only !== undefined && Number(only) !== index) continue
          const history = generatedCase(kind, index, seed)
          if (index % traitsEvery === 0) addTraits(traits, kind, history)
          const found = difference(history, tally)
          if (found !== null) fail(kind, index, found)
          histories++
        }
        if (only !== undefined) return
        expect(histories).toBe(each)
        if (each < 2_000) return
        expect(tally.answered / (tally.answered + tally.refused)).toBeGreaterThan(0.5)
        for (const status of ['PRESENT', 'NULL', 'NOT_FOUND', 'EXPIRED', 'OVERFLOW'])
          expect(tally.statuses[status], status).toBeGreaterThan(each / 500)
        for (const trait of [...traitsOfAll, ...traitsOfKind[kind]])
          expect(traits[trait], trait).toBeGreaterThan(each / traitsEvery / 20)
      })
  })
}

function fail(kind: StreamKind, index: number, found: string): never {
  const smallest = shrunk(generatedCase(kind, index, seed))
  const name = `TIDEMARK_SEED=${seed} TIDEMARK_HISTORY=${index}`
  throw new Error(
    `history ${index} of kind ${kind} (${name}): ${found}\n` +
      `made smaller: ${difference(smallest) ?? 'passes'}\n` +
      `as a case for test/regressions/histories/:\n${toJson({ about: '', ...smallest, expected: expectedOf(smallest) })}`,
  )
}
