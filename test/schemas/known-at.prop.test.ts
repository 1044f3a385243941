import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { string, timestamp } from '../../core/definition/fields.ts'
import { stream } from '../../core/definition/stream.ts'
import type { StreamDefinition } from '../../core/definition/types.ts'
import type { DeadRecord } from '../../core/event/batch.ts'
import { knownAtsOf } from '../../core/asof/known-at.ts'
import { offset, offsetZero, type Offset } from '../../core/event/position.ts'
import { lawfulTraits, type EventLog } from '../../core/ports/event-log.ts'
import { compileEncoder, streamSchema } from '../../schemas/avro/index.ts'
import { encodeBatch } from '../../schemas/recordbatch/index.ts'
import { StreamReader } from '../../schemas/stream-reader.ts'

const taps = stream('taps', { fields: { at: timestamp(), who: string() }, eventTime: 'at' })
const schema = streamSchema('taps', taps.fields)
const good = compileEncoder(schema).encode({ at: 5, who: 'a' })
const bad = Uint8Array.of(9, 9)
const payloadOf = ({ isDead }: Written): Uint8Array => (isDead ? bad : good)

interface Written {
  readonly timestampMs: number
  readonly isDead: boolean
}

/** A log of one partition whose batches are those given, with the times that they have. `start`: what lies below is gone. */
function logOf(batches: readonly (readonly Written[])[], start: number) {
  let next = 0
  const all = batches.map((records) => {
    const bytes = encodeBatch(
      records.map((record) => ({ key: null, value: payloadOf(record), timestampMs: record.timestampMs })),
      { baseOffset: next },
    )
    const from = next
    next += records.length
    return { from, next, bytes }
  })
  let fetched = 0
  let chunk = new Uint8Array(0)
  const log: EventLog = {
    logId: 'log',
    traits: { ...lawfulTraits, timestamps: 'given' },
    create: () => Promise.reject(new Error('not here')),
    append: () => Promise.reject(new Error('not here')),
    nextSequence: () => Promise.reject(new Error('not here')),
    describe: async () => [
      { epochs: [{ epoch: 0, firstOffset: offsetZero }], start: offset(start), end: offset(next) },
    ],
    fetch: async (_stream, _partition, from: Offset) => {
      fetched++
      // A chunk is good until the next fetch.
      chunk.fill(0xff)
      const found = all.find((batch) => from < batch.next)
      if (found === undefined) return { bytes: new Uint8Array(0), baseOffset: from, nextOffset: from }
      chunk = found.bytes.slice()
      return { bytes: chunk, baseOffset: offset(found.from), nextOffset: offset(found.next) }
    },
  }
  return { log, end: next, fetchedOf: () => fetched }
}

const batches: fc.Arbitrary<Written[][]> = fc.array(
  fc.array(fc.record({ timestampMs: fc.integer({ min: -5, max: 30 }), isDead: fc.boolean() }), {
    minLength: 1,
    maxLength: 6,
  }),
  { minLength: 1, maxLength: 8 },
)

/** The plain twin: the greatest time of each record and all before it, from the log's first one on. */
const runningMaxima = (records: readonly Written[], start: number): number[] =>
  records.map((_, at) => Math.max(...records.slice(start, at + 1).map(({ timestampMs }) => timestampMs)))

async function readFrom(
  log: EventLog,
  from: number,
  learned: readonly (readonly [number, number])[] = [],
  of: StreamDefinition = taps,
  asks: readonly boolean[] = [],
) {
  const reader = new StreamReader({ log, stream: of, schemas: () => schema })
  for (const [next, knownAtMs] of learned) reader.learnKnownAt(0, next, knownAtMs)
  await reader.refresh()
  const found = new Map<number, number>()
  const dead: DeadRecord[] = []
  for (let at = offset(from), reads = 0; ; reads++) {
    if (asks[reads % asks.length] === true) reader.ask(0, at, 1_000)
    const batch = await reader.read(0, at, 1_000)
    if (batch === null) return { found, dead, reader }
    for (let row = 0; row < batch.count; row++) found.set(batch.offsets[row] as number, batch.knownAts[row] as number)
    for (const { offset: place, knownAt } of batch.dead) found.set(place, knownAt)
    dead.push(...batch.dead)
    at = batch.nextOffset
  }
}

describe('knownAt of a log that does not raise it', () => {
  it('is the running maximum of its partition, wherever a reader begins', async () => {
    await fc.assert(
      fc.asyncProperty(batches, fc.nat(), fc.nat(), fc.array(fc.boolean()), async (written, cut, begin, asks) => {
        const records = written.flat()
        const start = cut % records.length
        const from = start + (begin % (records.length - start))
        const { log } = logOf(written, start)
        const maxima = runningMaxima(records, start)
        const { found } = await readFrom(log, from, [], taps, asks)
        expect([...found].sort(([a], [b]) => a - b)).toEqual(
          records.map((_, at): [number, number] => [at, maxima[at] as number]).slice(from),
        )
      }),
    )
  })

  it('goes on from what a stored position says, and reads nothing twice then', async () => {
    await fc.assert(
      fc.asyncProperty(batches, fc.nat(), async (written, begin) => {
        const records = written.flat()
        const { log, fetchedOf } = logOf(written, 0)
        const maxima = runningMaxima(records, 0)
        const ends = written.map((_, index) => written.slice(0, index).flat().length)
        const from = ends[begin % ends.length] as number
        const { found } = await readFrom(log, from, from === 0 ? [] : [[from, maxima[from - 1] as number]])
        expect([...found.values()].length).toBe(records.length - from)
        for (const [at, knownAt] of found) expect(knownAt).toBe(maxima[at])
        // One fetch for each batch, and one that finds the end.
        expect(fetchedOf()).toBe(written.length - (begin % ends.length) + 1)
      }),
    )
  })

  it('of records that jump is that of those before, and they are dead letters, wherever a reader begins', async () => {
    let jumped = 0
    const jump = fc.integer({ min: 1, max: 25 })
    const timestamps = fc.constantFrom<'given' | 'raised'>('given', 'raised')
    await fc.assert(
      fc.asyncProperty(batches, fc.nat(), fc.nat(), jump, timestamps, async (written, cut, begin, maxJumpMs, trait) => {
        // A log that raises has them in order already; what jumps there is found as well.
        if (trait === 'raised') raiseAll(written)
        const records = written.flat()
        const start = cut % records.length
        const from = start + (begin % (records.length - start))
        const { log } = logOf(written, start)
        const times = records.slice(start).map(({ timestampMs }) => timestampMs)
        const plain = [...records.slice(0, start).map(() => null), ...knownAtsOf(times, maxJumpMs)]
        const of = stream('taps', { fields: taps.fields, eventTime: 'at', maxKnownAtJump: maxJumpMs })
        const { found, dead } = await readFrom({ ...log, traits: { ...lawfulTraits, timestamps: trait } }, from, [], of)
        expect([...found].sort(([a], [b]) => a - b)).toEqual(
          plain.map((known, at) => [at, known?.knownAtMs]).slice(from),
        )
        const refused = records.flatMap((record, at) =>
          at >= from && (record.isDead || plain[at]?.isRefused === true)
            ? [[at, record.isDead ? 'FS_DEAD_UNDECODABLE' : 'FS_DEAD_KNOWN_AT', payloadOf(record)]]
            : [],
        )
        expect(dead.map((record) => [record.offset, record.code, record.payload])).toEqual(refused)
        jumped += plain.filter((known) => known?.isRefused).length
      }),
    )
    expect(jumped).toBeGreaterThan(50)
  })

  it('is looked for once by a reader that waits at the end', async () => {
    const { log, end, fetchedOf } = logOf([[{ timestampMs: 1, isDead: false }], [{ timestampMs: 2, isDead: false }]], 0)
    const reader = new StreamReader({ log, stream: taps, schemas: () => schema })
    await reader.refresh()
    for (let poll = 0; poll < 5; poll++) expect(await reader.read(0, offset(end), 1_000)).toBeNull()
    // Two batches once, and the end five times.
    expect(fetchedOf()).toBe(7)
  })

  it('goes on from a stored position behind a jump without looking for it', async () => {
    const at = (timestampMs: number): Written => ({ timestampMs, isDead: false })
    const { log, fetchedOf } = logOf([[at(10), at(95)], [at(12)], [at(70), at(62)]], 0)
    const of = stream('taps', { fields: taps.fields, eventTime: 'at', maxKnownAtJump: 50 })
    const { found, dead } = await readFrom(log, 2, [[2, 10]], of)
    expect([...found]).toEqual([
      [2, 12],
      [4, 62],
      [3, 12],
    ])
    expect(dead).toMatchObject([
      { offset: 3, knownAt: 12, reason: 'known at 70, 58 ms beyond all before it: more than maxKnownAtJump of 50ms' },
    ])
    expect(fetchedOf()).toBe(3)
  })
})

function raiseAll(written: Written[][]): void {
  let newestMs = Number.NEGATIVE_INFINITY
  for (const batch of written)
    for (const [index, record] of batch.entries()) {
      newestMs = Math.max(newestMs, record.timestampMs)
      batch[index] = { ...record, timestampMs: newestMs }
    }
}
