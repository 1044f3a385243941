import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { MemoryLog } from '../../connectors/memory/log.ts'
import { offset, type PartitionPosition } from '../../core/event/position.ts'
import { knownAtFrom, LagMeter, leastOf, LogLag, summaryOf } from '../../worker/lag.ts'

const at = (...nexts: readonly number[]): PartitionPosition[] => nexts.map((next) => ({ epoch: 0, next: offset(next) }))

async function logOf(...partitions: readonly (readonly number[])[]): Promise<MemoryLog> {
  const log = new MemoryLog()
  await log.create('taps', { partitions: partitions.length })
  for (const [partition, knownAts] of partitions.entries())
    for (const timestampMs of knownAts)
      await log.append('taps', partition, [{ key: null, value: new Uint8Array(3), timestampMs }])
  return log
}

describe('lag by what a worker reads and stores', () => {
  const lagOf = (meter: LagMeter, end: number, stored: number, nowMs: number) =>
    meter.measure({ taps: at(end) }, { taps: at(stored) }, nowMs)[0]

  it('is the time since the newest record that is stored was known, as long as others wait', () => {
    const meter = new LagMeter()
    expect(lagOf(meter, 30, 0, 1_000)).toMatchObject({ offsets: 30, lagMs: null })
    meter.read('taps', 0, 10, 400)
    meter.read('taps', 0, 20, 500)
    expect(lagOf(meter, 30, 0, 1_000)).toMatchObject({ applied: 0, offsets: 30, lagMs: null })
    expect(lagOf(meter, 30, 10, 1_000)).toMatchObject({ applied: 10, offsets: 20, lagMs: 600 })
    expect(lagOf(meter, 30, 15, 1_100)).toMatchObject({ offsets: 15, lagMs: 700 })
    expect(lagOf(meter, 30, 20, 1_100)).toMatchObject({ offsets: 10, lagMs: 600 })
    meter.read('taps', 0, 30, 900)
    expect(lagOf(meter, 30, 30, 1_100)).toEqual({
      stream: 'taps',
      partition: 0,
      end: 30,
      applied: 30,
      offsets: 0,
      lagMs: 0,
    })
  })

  it('of a partition that was idle is not the time for which it was', () => {
    const meter = new LagMeter()
    meter.read('taps', 0, 5, 100)
    expect(lagOf(meter, 5, 5, 86_400_000)).toMatchObject({ offsets: 0, lagMs: 0 })
    // A record has come since.
    expect(lagOf(meter, 6, 5, 86_400_250)).toMatchObject({ offsets: 1, lagMs: 250 })
    expect(lagOf(meter, 7, 5, 86_400_900)).toMatchObject({ offsets: 2, lagMs: 900 })
  })

  it('is not known of a store that has lost something, until that is read again', () => {
    const meter = new LagMeter()
    meter.read('taps', 0, 20, 500)
    expect(lagOf(meter, 30, 20, 600)).toMatchObject({ lagMs: 100 })
    expect(lagOf(meter, 30, 4, 700)).toMatchObject({ applied: 4, offsets: 26, lagMs: null })
    meter.read('taps', 0, 12, 300)
    expect(lagOf(meter, 30, 12, 700)).toMatchObject({ lagMs: 400 })
  })

  it('of clocks that differ is never negative', () => {
    const meter = new LagMeter()
    meter.read('taps', 0, 20, 9_000)
    expect(lagOf(meter, 30, 20, 600)).toMatchObject({ lagMs: 0 })
  })

  it('equals the newest knownAt below what is stored, at most told too high where many reads wait', () => {
    const sizes = fc.array(fc.tuple(fc.nat({ max: 5 }), fc.nat({ max: 50 })), { minLength: 1, maxLength: 300 })
    fc.assert(
      fc.property(sizes, fc.array(fc.nat({ max: 100 }), { maxLength: 5 }), (reads, shares) => {
        const meter = new LagMeter()
        const known: { next: number; ms: number }[] = []
        let next = 0
        let ms = 0
        for (const [count, step] of reads) {
          next += count + 1
          ms += step
          known.push({ next, ms })
          meter.read('taps', 0, next, ms)
        }
        const end = next + 1
        const nowMs = ms + 10
        for (const share of shares.toSorted((a, b) => a - b)) {
          const stored = Math.floor((next * share) / 100)
          const wanted = known.findLast((mark) => mark.next <= stored)
          const { lagMs, offsets } = lagOf(meter, end, stored, nowMs) ?? { lagMs: -1, offsets: -1 }
          expect(offsets).toBe(end - stored)
          if (known.length <= 64) expect(lagMs).toBe(wanted === undefined ? null : nowMs - wanted.ms)
          else if (lagMs !== null) expect(lagMs).toBeGreaterThanOrEqual(nowMs - (wanted?.ms ?? Infinity))
        }
        // The last read is never forgotten.
        expect(lagOf(meter, end, next, nowMs)?.lagMs).toBe(10)
      }),
      { numRuns: Number(process.env['TIDEMARK_PROPERTY_RUNS'] ?? 100) },
    )
  })
})

describe('lag of a store, by the log', () => {
  it('is the time since the first record that waits was known', async () => {
    const log = await logOf([100, 200, 300, 400], [150], [])
    const lag = new LogLag(log, { taps: at(4, 1, 0) }, 1_000)
    const lags = await lag.of({ taps: at(2, 1) }, ['taps'])
    expect(lags.map(({ applied, offsets, lagMs }) => [applied, offsets, lagMs])).toEqual([
      [2, 2, 700],
      [1, 0, 0],
      [0, 0, 0],
    ])
    expect(summaryOf(lags)).toEqual({ offsets: 2, lagMs: 700, worst: { stream: 'taps', partition: 0 } })
    expect(summaryOf(await lag.of({ taps: at(4, 1, 0) }, ['taps']))).toEqual({ offsets: 0, lagMs: 0, worst: null })
    expect(await lag.of({}, ['taps'])).toMatchObject([{ lagMs: 900 }, { lagMs: 850 }, { lagMs: 0 }])
    expect(await lag.of({ taps: at(2, 1) }, ['others'])).toEqual([])
  })

  it('asks the log once for each place, and is not known where the log cannot say', async () => {
    const log = await logOf([100, 200])
    let fetches = 0
    const counted = Object.assign(Object.create(log) as MemoryLog, {
      fetch: (...[stream, partition, from]: Parameters<MemoryLog['fetch']>) => {
        fetches++
        return from === 0 ? Promise.reject(new Error('trimmed')) : log.fetch(stream, partition, from, 1)
      },
    })
    const lag = new LogLag(counted, { taps: at(2) }, 1_000)
    for (let times = 0; times < 3; times++)
      expect(await lag.of({ taps: at(1) }, ['taps'])).toMatchObject([{ offsets: 1, lagMs: 800 }])
    expect(fetches).toBe(1)
    const unknown = await lag.of({}, ['taps'])
    expect(unknown).toMatchObject([{ offsets: 2, lagMs: null }])
    expect(summaryOf(unknown)).toMatchObject({ offsets: 2, lagMs: null, worst: { partition: 0 } })
  })

  it('finds the record behind offsets that belong to none', async () => {
    const log = await logOf([100, 200, 300])
    const sparse = Object.assign(Object.create(log) as MemoryLog, {
      fetch: async (...[stream, partition, from, bytes]: Parameters<MemoryLog['fetch']>) =>
        from < 2
          ? { bytes: new Uint8Array(0), baseOffset: from, nextOffset: offset(from + 1) }
          : log.fetch(stream, partition, from, bytes),
    })
    expect(await knownAtFrom(sparse, 'taps', 0, 0)).toBe(300)
    expect(await knownAtFrom(sparse, 'taps', 0, 3)).toBe(null)
  })
})

it('the least of many positions is that of every partition by itself', () => {
  const ends = { taps: at(9, 9), others: at(4) }
  expect(leastOf(ends, [{ taps: at(5, 7), others: at(4) }, { taps: at(6, 2) }])).toEqual({
    taps: at(5, 2),
    others: at(0),
  })
  expect(leastOf(ends, [])).toEqual({ taps: at(0, 0), others: at(0) })
})
