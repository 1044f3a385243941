import { describe, expect, it } from 'vitest'
import { buildCatalog } from '../../../core/definition/catalog.ts'
import { int32, timestamp } from '../../../core/definition/fields.ts'
import { count, last } from '../../../core/definition/functions.ts'
import { entity, stream } from '../../../core/definition/stream.ts'
import { view } from '../../../core/definition/view.ts'
import { planView } from '../../../core/engine/plan.ts'
import { ViewEngine } from '../../../core/engine/view-engine.ts'
import type { EventBatch } from '../../../core/event/batch.ts'
import { encodeKey, shardOf } from '../../../core/event/key.ts'
import { Op } from '../../../core/event/operation.ts'
import { offset } from '../../../core/event/position.ts'

const card = entity('card', { key: { card: int32() } })
const fields = { at: timestamp(), card: int32(), amount: int32() }
const taps = stream('taps', { fields, eventTime: 'at' })
const rows = stream('taps', { fields, eventTime: 'at', changelog: true, primaryKey: ['amount', 'card'], key: ['card'] })
const planOf = (from: typeof taps) =>
  planView(
    buildCatalog([
      from,
      card,
      view('v', { from, entity: card, features: ({ amount }) => ({ n: count(), l: last(amount).over(1_000) }) }),
    ]),
    'v',
    0,
  )
const shards = 4
const cards = Array.from({ length: 20 }, (_, index) => index)
const shardOfCard = (index: number): number => shardOf(encodeKey([index], ['int32']), shards)

const batch = (from: number, isChangelog = false): EventBatch => ({
  stream: 'taps',
  partition: 0,
  epoch: 0,
  firstOffset: offset(from),
  nextOffset: offset(from + cards.length),
  count: cards.length,
  offsets: Float64Array.from(cards, (index) => from + index),
  eventTimes: Float64Array.from(cards, (index) => from + index),
  knownAts: Float64Array.from(cards, (index) => from + index),
  columns: {
    at: { type: 'timestamp', values: Float64Array.from(cards, (index) => from + index), nulls: null },
    card: { type: 'int32', values: Int32Array.from(cards), nulls: null },
    amount: { type: 'int32', values: Int32Array.from(cards, () => 1), nulls: null },
  },
  ops: isChangelog ? new Uint8Array(cards.length).fill(Op.upsert) : null,
  dead: [],
})

function apply(engine: ViewEngine, own: EventBatch, takes?: Uint8Array): number {
  const resolved = engine.resolve(own, takes)
  let loaded = 0
  for (let missing = engine.unloaded(); missing.length > 0; missing = engine.unloaded()) {
    loaded += missing.length
    engine.load(
      missing,
      missing.map(() => null),
    )
  }
  engine.apply(
    own,
    resolved,
    (shard) => (takes === undefined || takes[shard] === 1 ? 0 : Number.POSITIVE_INFINITY),
    () => {},
  )
  return loaded
}

describe.each([
  ['events', taps, false],
  ['a changelog', rows as unknown as typeof taps, true],
])('shards of a view of %s', (_, from, isChangelog) => {
  const all = new Set([0, 1, 2, 3])
  const start = (owned: ReadonlySet<number> = all) => new ViewEngine(planOf(from), shards, owned)
  const perCard = isChangelog ? 2 : 1

  it('that are given up leave nothing to write, and begin with nothing when they are taken again', () => {
    const engine = start()
    apply(engine, batch(0, isChangelog))
    expect(engine.changedBytes(1)).toBeGreaterThan(0)
    engine.disown(new Set([1]))
    engine.own(1)
    expect(engine.changedBytes(1)).toBe(0)
    expect(new Set(Array.from(engine.takeChanged(), ({ shard }) => shard))).toEqual(new Set([0, 2, 3]))
    const inShard = cards.filter((index) => shardOfCard(index) === 1).length
    expect(apply(engine, batch(100, isChangelog))).toBe(inShard * perCard)
    const [changed] = Array.from(engine.takeChanged(new Set([1])))
    const fresh = start()
    apply(fresh, batch(100, isChangelog))
    expect(changed?.row).toEqual(Array.from(fresh.takeChanged(new Set([1])))[0]?.row)
  })

  it('that take nothing of a batch are neither loaded nor changed', () => {
    const engine = start()
    const inShard = cards.filter((index) => shardOfCard(index) === 2).length
    expect(apply(engine, batch(0, isChangelog), Uint8Array.of(0, 0, 1, 0))).toBe(inShard * perCard)
    expect(Array.from(engine.takeChanged(), ({ shard }) => shard)).toEqual(Array(inShard * perCard).fill(2))
  })

  it('are taken one by one, and what is not asked for stays changed', () => {
    const engine = start()
    apply(engine, batch(0, isChangelog))
    const together = start()
    apply(together, batch(0, isChangelog))
    const own = [3, 0, 2, 1].flatMap((shard) => Array.from(engine.takeChanged(new Set([shard]))))
    const name = ({ table, key }: { readonly table: string; readonly key: Uint8Array }) => `${table} ${key.join()}`
    const sorted = (changed: typeof own) => changed.sort((a, b) => (name(a) < name(b) ? -1 : 1))
    expect(sorted(own)).toEqual(sorted(Array.from(together.takeChanged())))
    expect(Array.from(engine.takeChanged())).toEqual([])
  })

  it('that are given up while a batch is loaded are neither asked for nor applied', () => {
    const engine = start()
    const own = batch(0, isChangelog)
    const resolved = engine.resolve(own, new Uint8Array(shards).fill(1))
    engine.disown(new Set([0, 1, 2, 3]))
    expect(engine.unloaded()).toEqual([])
    engine.apply(
      own,
      resolved,
      () => 0,
      () => {},
    )
    expect(Array.from(engine.takeChanged())).toEqual([])
  })
})
