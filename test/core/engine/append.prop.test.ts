import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { buildCatalog } from '../../../core/definition/catalog.ts'
import { float64, int32, nullable, string, timestamp } from '../../../core/definition/fields.ts'
import { count, last, max, stddev, sum } from '../../../core/definition/functions.ts'
import { entity, stream } from '../../../core/definition/stream.ts'
import { view } from '../../../core/definition/view.ts'
import { planView, type ViewPlan } from '../../../core/engine/plan.ts'
import { ViewEngine } from '../../../core/engine/view-engine.ts'
import type { DeadLetter, EventBatch } from '../../../core/event/batch.ts'
import { offset } from '../../../core/event/position.ts'
import { ensureSummary } from '../../../core/engine/state/summarise.ts'
import { appendBlock } from '../../../core/engine/state/event-store.ts'
import { loadFrom, storedAfter, type StoredRow } from './harness.ts'

const shards = 4
const runs = Number(process.env['TIDEMARK_PROPERTY_RUNS'] ?? 150)
const dayMs = 86_400_000

const cards = stream('cards', {
  fields: { card: string(), time: timestamp(), amount: float64(), tries: nullable(int32()) },
  eventTime: 'time',
})
const card = entity('card', { key: { card: string() } })

/** Without and with an order of ties; inputs that can be null, or one that cannot. */
const plans: Readonly<Record<string, ViewPlan>> = Object.fromEntries(
  (['sums', 'nulls', 'ordered'] as const).map((name) => {
    const catalog = buildCatalog([
      cards,
      card,
      view('of_cards', {
        from: cards,
        entity: card,
        features: ({ amount, tries }) => ({
          n: count().over(90 * dayMs),
          sum: sum(amount).over(90 * dayMs),
          most: max(amount).over(dayMs),
          spread: stddev(amount).over(dayMs),
          ...(name === 'nulls' ? { tries: sum(tries).over(dayMs) } : {}),
          ...(name === 'ordered' ? { last: last(tries).over(dayMs) } : {}),
        }),
      }),
    ])
    return [name, planView(catalog, 'of_cards', 3_600_000, { splitEvents: 16, partEvents: 8 })]
  }),
)

interface Row {
  readonly card: number
  /** Since the one before it in the log. */
  readonly stepMs: number
  readonly delayMs: number
  readonly amount: number
  readonly tries: number | null
}

const rows: fc.Arbitrary<Row> = fc.record({
  card: fc.oneof(fc.integer({ min: 0, max: 4 }), fc.constantFrom(0, 0, 0, -1)),
  stepMs: fc.oneof(fc.integer({ min: 0, max: 50 }), fc.constantFrom(0, 1, 1, 1_000, 26 * dayMs)),
  // Below 0: ahead of when it was known, by more than a view takes in the end.
  delayMs: fc.oneof(
    fc.constant(0),
    fc.integer({ min: 0, max: 40 }),
    fc.constantFrom(5_000, 30 * dayMs, -3 * dayMs, -30 * dayMs),
  ),
  amount: fc.constantFrom(0, -0, 1.25, 1e9, 0.1),
  tries: fc.option(fc.integer({ min: -3, max: 3 })),
})

const afters = fc.constantFrom('nothing', 'nothing', 'flush', 'evict', 'summarise', 'read', 'keep')
const batches = fc.array(
  fc.record({ rows: fc.array(rows, { minLength: 1, maxLength: 90, size: 'max' }), after: afters }),
  { minLength: 1, maxLength: 12, size: 'max' },
)

const table = { strings: ['c0', 'c1', 'c2', 'c3', 'c4'] }

/** An engine that is fed, with everything that it said. */
class Fed {
  readonly engine: ViewEngine
  readonly said: unknown[] = []
  readonly rows = new Map<string, StoredRow>()

  constructor(plan: ViewPlan, owned: ReadonlySet<number>, listens: boolean) {
    this.engine = new ViewEngine(plan, shards, owned)
    // Whoever listens is told of each event, so each goes its own way.
    if (listens) this.engine.onChange = () => {}
  }

  apply(batch: EventBatch, seen: readonly number[]): void {
    const { engine } = this
    const entities = engine.resolve(batch)
    loadFrom(engine, this.rows)
    const dead: [number, DeadLetter][] = []
    const newest = engine.apply(
      batch,
      entities,
      (shard) => seen[shard] ?? 0,
      (shard, letter) => dead.push([shard, letter]),
    )
    this.said.push(newest, dead, engine.changedCount, engine.memoryBytes())
  }

  after(what: string): void {
    const { engine } = this
    if (what === 'summarise') engine.summarise()
    if (what === 'evict') engine.evictClean()
    // As reading does, of runs too that are not full.
    if (what === 'read')
      for (let entity = 0; entity < engine.entityCount; entity++)
        for (let run = 0; run < engine.state.events.runsOf(entity); run++)
          ensureSummary(engine.state, engine.state.events.runAt(entity, run))
    if (what === 'keep')
      for (let entity = 0; entity < engine.entityCount; entity += 2) this.said.push(engine.keep(entity))
    if (what !== 'flush') return
    for (const changed of engine.takeChanged()) {
      const name = `${changed.table}/${Buffer.from(changed.key).toString('hex')}`
      this.rows.set(name, storedAfter(this.rows.get(name), changed))
      this.said.push(name, Buffer.from(changed.row).toString('hex'))
    }
    this.said.push([...engine.versions])
  }
}

function batchOf(of: readonly Row[], from: number, clock: { ms: number }): EventBatch {
  const knownAts = Float64Array.from(of, ({ stepMs }) => (clock.ms += stepMs))
  return {
    stream: 'cards',
    partition: 2,
    epoch: 0,
    firstOffset: offset(from),
    nextOffset: offset(from + of.length),
    count: of.length,
    offsets: Float64Array.from(of, (_, row) => from + row),
    eventTimes: Float64Array.from(of, ({ delayMs }, row) => (knownAts[row] as number) - delayMs),
    knownAts,
    columns: {
      card: {
        type: 'string',
        values: Int32Array.from(of, (row) => Math.max(0, row.card)),
        table,
        nulls: of.some((row) => row.card < 0) ? Uint8Array.from(of, (row) => (row.card < 0 ? 1 : 0)) : null,
      },
      amount: { type: 'float64', values: Float64Array.from(of, ({ amount }) => amount), nulls: null },
      tries: {
        type: 'int32',
        values: Int32Array.from(of, ({ tries }) => tries ?? 7),
        nulls: of.some(({ tries }) => tries === null) ? Uint8Array.from(of, ({ tries }) => +(tries === null)) : null,
      },
    },
    ops: null,
    dead: [],
  }
}

describe('rows appended together', () => {
  for (const [name, plan] of Object.entries(plans))
    it(`${name}: leave what each alone leaves, whatever is flushed, kept and forgotten between`, () => {
      fc.assert(
        fc.property(
          batches,
          fc.constantFrom([0, 1, 2, 3], [0, 1, 2, 3], [1, 3]),
          fc.constantFrom([0, 0, 0, 0], [0, 40, 0, 3]),
          // In order, one after the other: nothing but the next row undoes what was made of a run.
          fc.boolean(),
          (made, owned, seen, calm) => {
            const sides = [false, true].map((listens) => new Fed(plan, new Set(owned), listens))
            const clock = { ms: 1_700_000_000_000 }
            let from = 0
            for (const { rows: drawn, after } of made) {
              const of = calm ? drawn.map((row) => ({ ...row, stepMs: 1 + (row.stepMs % 50), delayMs: 0 })) : drawn
              const batch = batchOf(of, from, clock)
              from += of.length
              for (const side of sides) {
                side.apply(batch, seen)
                side.after(after)
              }
            }
            for (const side of sides) side.after('flush')
            const [together, alone] = sides.map(({ said }) => said)
            expect(together).toEqual(alone)
            expect(together?.length).toBeGreaterThan(0)
          },
        ),
        { numRuns: runs },
      )
    })

  it('in blocks: a batch of several, with rows that go alone at their edges', () => {
    const plan = plans['sums'] as ViewPlan
    const of = Array.from({ length: appendBlock * 3 + 7 }, (_, row): Row => {
      const delayMs = [appendBlock - 1, appendBlock, 2 * appendBlock + 1].includes(row) ? 9_000 : 0
      return { card: row % 3, stepMs: 3, delayMs, amount: row / 4, tries: null }
    })
    const clock = { ms: 1_700_000_000_000 }
    const batch = batchOf(of, 0, clock)
    const sides = [false, true].map((listens) => new Fed(plan, new Set([0, 1, 2, 3]), listens))
    for (const side of sides) {
      side.apply(batch, [0, 0, 0, 0])
      side.after('flush')
    }
    expect(sides[0]?.said).toEqual(sides[1]?.said)
    expect(sides[0]?.said[0]).toBe(clock.ms)
  })
})
