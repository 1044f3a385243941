import fc from 'fast-check'
import { afterAll, describe, expect, it } from 'vitest'
import { tumbling } from '../../../core/definition/functions.ts'
import { generatedEvent, logged } from '../../support/history.ts'
import { check, drives, historyMs, tiledSubject, type AnyFeature } from './harness.ts'

const size = Number(process.env['TIDEMARK_PROPERTY_RUNS'] ?? 150)

const bounded = { ttl: 4_000, lateness: 1_500, maxAhead: 40 }
const exact = (feature: AnyFeature): AnyFeature => feature.over(300)
const views: readonly (readonly [string, Parameters<typeof tiledSubject>, number])[] = [
  ['beside exact windows', [bounded, exact, ({ ok }) => ok], 2_000],
  ['beside tumbling windows', [bounded, (feature) => feature.over(tumbling(250, { take: 'last' }))], 2_000],
  ['without a ttl, events as late as may be', [{}, exact, ({ i, s }) => i.gt(0).or(s.eq('x'))], 7_000],
  ['alone, without an order of ties', [{}, null, ({ ok }) => ok], 2_000],
]

describe('with tiles in place of old events, the engine equals the naive twin, bit for bit', () => {
  const asked = { current: 0, past: 0, pastAnswered: 0, tiled: 0 }
  for (const [title, of, delayMs] of views)
    for (const hot of [false, true])
      it(`${hot ? 'one hot entity ' : ''}${title}: any batches, flushes, evictions, restarts, owners, T, K and P`, () => {
        const subject = {
          ...tiledSubject(...of),
          onAsked: (
            events: Parameters<NonNullable<ReturnType<typeof tiledSubject>['onAsked']>>[0],
            asOf: { readonly asOfMs: number; readonly knownAsOfMs: number },
            answered: boolean,
          ) => {
            if (events === null) return
            const newestMs = events.state.events.newestMs(events.entity)
            if (events.state.tilesOf(events.entity) !== null) asked.tiled++
            if (asOf.knownAsOfMs === Infinity && asOf.asOfMs >= newestMs - historyMs) {
              asked.current++
              expect(answered, `at ${asOf.asOfMs}, newest ${newestMs}`).toBe(true)
              return
            }
            asked.past++
            if (answered) asked.pastAnswered++
          },
        }
        expect(subject.plan.tile).toMatchObject({ spanMs: 500, eventsMin: 2 })
        const histories = fc.array(generatedEvent(9_000, delayMs, hot), {
          minLength: hot ? 200 : 30,
          maxLength: hot ? 700 : 260,
          size: 'max',
        })
        fc.assert(
          fc.property(histories, drives, (generated, drive) => check(subject, logged(generated), drive)),
          { numRuns: Math.ceil(size / (hot ? 5 : 1)) },
        )
      }, 120_000)

  afterAll(() => {
    const all = asked.current + asked.past
    expect(asked.tiled / all).toBeGreaterThan(0.15)
    expect(asked.current / all).toBeGreaterThan(0.1)
    expect(asked.pastAnswered / asked.past).toBeGreaterThan(0.1)
  })
})
