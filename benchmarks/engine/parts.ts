/**
 * Where stored rows are best split (core/engine/row-parts.ts): `node benchmarks/engine/parts.ts`. One hot entity with a
 * sliding window that holds a number of events; each flush brings 200 events, of which one in ten is late by up to a tenth
 * of the window. Printed: what a flush writes and takes, what a read of the newest 2,000 events fetches and takes with
 * nothing decoded yet, and after one more flush with the rest decoded. Not part of a suite: it is how constants are chosen.
 */
import { buildCatalog } from '../../core/definition/catalog.ts'
import { float64, string, timestamp } from '../../core/definition/fields.ts'
import { count, mean } from '../../core/definition/functions.ts'
import { entity, stream } from '../../core/definition/stream.ts'
import { view } from '../../core/definition/view.ts'
import { PartedRow, stretchOf } from '../../core/engine/parted-row.ts'
import { planView, type RowSplit } from '../../core/engine/plan.ts'
import { isHead } from '../../core/engine/row-parts.ts'
import { decodeRow } from '../../core/engine/row.ts'
import { ViewEngine } from '../../core/engine/view-engine.ts'
import type { EventBatch } from '../../core/event/batch.ts'
import { offset } from '../../core/event/position.ts'

const stepMs = 1_000
const flushEvents = 200
const flushes = 60
const readEvents = 2_000

const taps = stream('taps', { fields: { at: timestamp(), who: string(), amount: float64() }, eventTime: 'at' })
const who = entity('who', { key: { who: string() } })

/** The same numbers at every run. */
let seed = 1
const random = (): number => {
  seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0
  return seed / 2 ** 32
}

function batchOf(first: number, rows: number, lateMs: number): EventBatch {
  const eventTimes = Float64Array.from({ length: rows }, (_, row) => {
    const now = (first + row) * stepMs
    return random() < 0.1 ? now - Math.floor(random() * lateMs) : now
  })
  const amounts = Float64Array.from(eventTimes, () => Math.round(random() * 10_000) / 100)
  return {
    stream: 'taps',
    partition: 0,
    epoch: 0,
    firstOffset: offset(first),
    nextOffset: offset(first + rows),
    count: rows,
    offsets: Float64Array.from({ length: rows }, (_, row) => first + row),
    eventTimes,
    knownAts: Float64Array.from({ length: rows }, (_, row) => (first + row) * stepMs + 5),
    ops: null,
    columns: {
      at: { type: 'timestamp', values: eventTimes, nulls: null },
      who: { type: 'string', values: new Int32Array(rows), table: { strings: ['a'] }, nulls: null },
      amount: { type: 'float64', values: amounts, nulls: null },
    },
    dead: [],
  }
}

function measure(held: number, split: RowSplit): string {
  seed = 1
  const spanMs = held * stepMs
  const hot = view('hot', {
    from: taps,
    entity: who,
    features: ({ amount }) => ({ n: count().over(spanMs), mean: mean(amount).over(spanMs) }),
  })
  const plan = planView(buildCatalog([taps, who, hot]), 'hot', 0, split)
  const engine = new ViewEngine(plan, 1, new Set([0]))
  const parts = new Map<number, Uint8Array>()
  let row: Uint8Array = new Uint8Array(0)
  let writtenBytes = 0
  let spentMs = 0
  const step = (first: number, rows: number): void => {
    const batch = batchOf(first, rows, spanMs / 10)
    const entities = engine.resolve(batch)
    engine.load(engine.unloaded(), [])
    engine.apply(
      batch,
      entities,
      () => 0,
      () => {},
    )
    const started = performance.now()
    for (const changed of engine.takeChanged()) {
      row = changed.row
      writtenBytes += changed.row.length
      for (const { name, bytes } of changed.parts?.put ?? []) {
        parts.set(name, bytes)
        writtenBytes += bytes.length
      }
      for (const name of changed.parts?.drop ?? []) parts.delete(name)
    }
    spentMs += performance.now() - started
  }
  // Full, and then for a while, so that parts are as they will be.
  step(0, held)
  let next = held
  for (let flush = 0; flush < 40; flush++, next += flushEvents) step(next, flushEvents)
  writtenBytes = 0
  spentMs = 0
  for (let flush = 0; flush < flushes; flush++, next += flushEvents) step(next, flushEvents)
  const written = writtenBytes / flushes / 1_000
  const spent = (spentMs / flushes) * 1_000

  let fetched = 0
  const read = (parted: PartedRow): void => {
    if (!isHead(row)) {
      decodeRow(plan, row)
      fetched += row.length
      return
    }
    const directory = parted.setHead(row)
    const stretch = stretchOf(directory, next * stepMs, Math.min(readEvents, held) * stepMs)
    const missing = new Set(parted.missing(directory, stretch))
    fetched += row.length
    for (const part of directory.parts) {
      if (!missing.has(part.name)) continue
      const bytes = parts.get(part.name) as Uint8Array
      fetched += bytes.length
      parted.add(part, bytes)
    }
    parted.assemble(stretch)
  }
  const rounds = held > 100_000 ? 20 : 200
  read(new PartedRow(plan))
  fetched = 0
  const started = performance.now()
  for (let round = 0; round < rounds; round++) read(new PartedRow(plan))
  const cold = ((performance.now() - started) / rounds) * 1_000
  const coldBytes = fetched / rounds / 1_000
  const warm = new PartedRow(plan)
  read(warm)
  let warmMs = 0
  for (let flush = 0; flush < 30; flush++, next += flushEvents) {
    step(next, flushEvents)
    const before = performance.now()
    read(warm)
    warmMs += performance.now() - before
  }
  return [written, spent, coldBytes, cold, (warmMs / 30) * 1_000].map((value) => value.toFixed(0).padStart(10)).join('')
}

console.log(`${' '.repeat(22)}KB/flush  µs/flush   KB/read   µs cold   µs next`)
for (const held of [400, 2_000, 20_000, 200_000, 1_000_000])
  for (const partEvents of [64, 128, 256, 512, 1_024, Number.POSITIVE_INFINITY]) {
    if (partEvents !== Number.POSITIVE_INFINITY && 2 * partEvents >= held) continue
    const split = { splitEvents: 2 * partEvents, partEvents }
    console.log(`${String(held).padStart(9)} ${String(partEvents).padStart(8)} ${measure(held, split)}`)
  }
