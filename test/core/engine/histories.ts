/** A share of the small histories, as a suite. */
import { describe, expect, it } from 'vitest'
import type { StreamKind } from './harness.ts'
import { correctionsOf, difference, expectedOf, generatedCase, shrunk, toJson, type Tally } from './history-cases.ts'

/** Histories in all, over the three kinds of streams. */
export const historiesTotal = Number(process.env['TIDEMARK_HISTORIES'] ?? 102_000)
const seed = Number(process.env['TIDEMARK_SEED'] ?? 20_260_101)
/** Replays one history: its index, as a failure says it. */
const only = process.env['TIDEMARK_HISTORY']
const parts = 4

export function smallHistories(kind: StreamKind): void {
  describe(`small histories of a stream, ${kind}: the engine equals the naive twin, bit for bit`, () => {
    const each = Math.ceil(historiesTotal / 3 / parts)
    for (let part = 0; part < parts; part++)
      it(`histories ${part * each} to ${(part + 1) * each - 1}`, { timeout: 600_000 }, () => {
        const tally: Tally = { answered: 0, refused: 0, statuses: {} }
        let histories = 0
        for (let index = part * each; index < (part + 1) * each; index++) {
          if (only !== undefined && Number(only) !== index) continue
          const history = generatedCase(kind, index, seed)
          // What the histories are said to be.
          if (history.records.length < 30) expect.fail(`history ${index} has ${history.records.length} records`)
          if (kind !== 'plain' && index % 16 === 0)
            expect(correctionsOf(history.spec, history.records)).toBeGreaterThan(2)
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
