import fc from 'fast-check'
import { afterAll, describe, expect, it } from 'vitest'
import { statusName, valueAt, type FeatureValue } from '../../../core/engine/feature-column.ts'
import type { ViewFinisher } from '../../../core/engine/finish.ts'
import type { NaiveEvent } from '../../../core/engine/naive.ts'
import type { EntityEvents } from '../../../core/engine/state/view-state.ts'
import { ValidUntil } from '../../../core/engine/valid-until.ts'
import { ViewEngine } from '../../../core/engine/view-engine.ts'
import { encodeKey } from '../../../core/event/key.ts'
import {
  batchOf,
  correctedFields,
  fields,
  generatedCorrections,
  generatedEvent,
  logged,
} from '../../support/history.ts'
import { loadFrom, subjectOf, windows, type Subject } from './harness.ts'

const size = Math.ceil(Number(process.env['TIDEMARK_PROPERTY_RUNS'] ?? 150) / 4)
const spanMs = 9_000

/** How far it is to the end, and whether the end was one. */
const gains: { gainMs: number; changed: boolean }[] = []

/** Null where pruned events are needed. */
function finished(
  finisher: ViewFinisher,
  events: EntityEvents,
  asOfMs: number,
): (readonly [string, FeatureValue])[] | null {
  const builders = finisher.builders(1)
  if (!finisher.finish(events, { asOfMs, knownAsOfMs: Number.POSITIVE_INFINITY }, builders, 0)) return null
  return builders.map((builder) => {
    const column = builder.build()
    return [statusName(column.statuses[0] as number), valueAt(column, 0)]
  })
}

const same = (a: unknown, b: unknown): boolean =>
  Array.isArray(a) && Array.isArray(b)
    ? a.length === b.length && a.every((item, index) => same(item, b[index]))
    : Object.is(a, b)

function check(
  { kind, plan, finisher }: Subject,
  history: readonly NaiveEvent[],
  asked: readonly number[],
  shares: readonly number[],
): void {
  const engine = new ViewEngine(plan, 1, new Set([0]))
  for (const partition of [0, 1, 2]) {
    const own = history.filter((event) => event.partition === partition)
    const batch = batchOf('events', partition, own, kind === 'plain' ? fields : correctedFields)
    const entities = engine.resolve(batch)
    loadFrom(engine, new Map())
    engine.apply(
      batch,
      entities,
      () => 0,
      () => {},
    )
  }
  const validUntil = new ValidUntil(plan, finisher.features)
  const hold = (): void => {
    for (const who of ['a', 'b', 'ü\0']) {
      const entity = engine.find(encodeKey([who, 0], ['string', 'int32']))
      if (entity === null) continue
      const events = { state: engine.state, entity }
      for (const asOfMs of asked) {
        const from = finished(finisher, events, asOfMs)
        if (from === null) continue
        const untilMs = validUntil.at(events, asOfMs)
        expect(untilMs).toBeGreaterThan(asOfMs)
        const lastMs = Math.min(untilMs, asOfMs + 2 * spanMs) - 1
        const others = shares.map((share) => asOfMs + Math.floor(share * (lastMs - asOfMs)))
        for (const otherMs of [asOfMs + 1, ...others, lastMs]) {
          if (otherMs > lastMs) continue
          const other = finished(finisher, events, otherMs)
          if (!same(from, other)) expect({ asOfMs, otherMs, untilMs, got: other }).toEqual({ got: from })
        }
        if (untilMs < Number.POSITIVE_INFINITY)
          gains.push({ gainMs: untilMs - asOfMs, changed: !same(from, finished(finisher, events, untilMs)) })
      }
    }
  }
  hold()
  // Rows are pruned as they are taken.
  for (const { row } of engine.takeChanged()) expect(row.length).toBeGreaterThan(0)
  hold()
}

describe('what was finished stays as it is until the moment that is promised', () => {
  const asked = fc.array(fc.integer({ min: 999_000, max: 1_000_000 + 2 * spanMs }), { minLength: 3, maxLength: 8 })
  const shares = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 3, maxLength: 6 })
  for (const [title, over, where] of windows) {
    it(
      title,
      () => {
        const plain = subjectOf('plain', over, where)
        for (const hot of [false, true])
          fc.assert(
            fc.property(
              fc.array(generatedEvent(spanMs, 2_000, hot), { maxLength: hot ? 200 : 60, size: 'max' }),
              asked,
              shares,
              (generated, asOfs, parts) => check(plain, logged(generated), asOfs, parts),
            ),
            { numRuns: size },
          )
        for (const kind of ['id', 'changelog'] as const) {
          const subject = subjectOf(kind, over, where)
          fc.assert(
            fc.property(
              generatedCorrections({ kind, records: [30, 100], ids: 8, spanMs, delayMs: 2_000 }),
              asked,
              shares,
              (history, asOfs, parts) => check(subject, history, asOfs, parts),
            ),
            { numRuns: Math.ceil(size / 2) },
          )
        }
      },
      60_000,
    )
  }

  afterAll(() => {
    const share = (of: (gain: (typeof gains)[number]) => boolean): number => gains.filter(of).length / gains.length
    // Milliseconds between events are a few: most of what is promised is more than the next one, and ends with a change.
    expect(share(({ gainMs }) => gainMs > 1)).toBeGreaterThan(0.7)
    expect(share(({ changed }) => changed)).toBeGreaterThan(0.3)
  })
})
