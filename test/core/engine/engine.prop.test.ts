import fc from 'fast-check'
import { describe, it } from 'vitest'
import { generatedCorrections, generatedEvent, logged } from '../../support/history.ts'
import { check, drives, subjectOf, windows } from './harness.ts'

const size = Number(process.env['TIDEMARK_PROPERTY_RUNS'] ?? 150)

describe('the engine equals the naive twin, bit for bit', () => {
  const cases = windows.flatMap(([title, over, where], index) => {
    const numRuns = index < 4 ? size : Math.ceil(size / 2)
    return [
      { title, over, where, hot: false, eventsMax: 260, numRuns },
      { title: `one hot entity ${title}`, over, where, hot: true, eventsMax: 900, numRuns: Math.ceil(numRuns / 5) },
    ]
  })
  for (const { title, over, where, hot, eventsMax, numRuns } of cases) {
    it(`${title}: every function, any batches, flushes, evictions, restarts, owners, T, K and P`, () => {
      const subject = subjectOf('plain', over, where)
      const histories = fc.array(generatedEvent(9_000, 2_000, hot), {
        minLength: hot ? 300 : 30,
        maxLength: eventsMax,
        size: 'max',
      })
      fc.assert(
        fc.property(histories, drives, (generated, drive) => check(subject, logged(generated), drive)),
        { numRuns },
      )
    }, 120_000)
  }
})

describe('what is taken back no longer counts, and counted before', () => {
  for (const kind of ['id', 'changelog'] as const)
    for (const [title, over, where] of windows)
      for (const hot of [false, true])
        it(`${kind}, ${hot ? 'one hot entity ' : ''}${title}`, () => {
          const subject = subjectOf(kind, over, where)
          const histories = generatedCorrections({
            kind,
            hot,
            records: hot ? [150, 400] : [30, 120],
            ids: hot ? 60 : 8,
            spanMs: 9_000,
            delayMs: 2_000,
          })
          fc.assert(
            fc.property(histories, drives, (history, drive) => check(subject, history, drive)),
            { numRuns: Math.ceil(size / (hot ? 15 : 4)) },
          )
        }, 120_000)
})
