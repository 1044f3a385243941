import { describe, expect, it } from 'vitest'
import { planView, type ViewPlan } from '../../../core/engine/plan.ts'
import type { FeatureStoreError } from '../../../core/errors.ts'
import { encodeKey } from '../../../core/event/key.ts'
import { stateDigest } from '../../../worker/audit/digest.ts'
import { catalog, flipped, openSystem, smallHistory, tampered } from './system.ts'

const plans = ['places', 'people'].map((name) => planView(catalog, name, 300))
const [, people] = plans as [ViewPlan, ViewPlan]

const noParts = {
  read: async () => ({ rows: [], positions: [] }),
  readParts: async () => [],
}

/** The state after the history, in appends of `size`, stopping `stops` times, over `shards` shards. */
async function stateAfter(size: number, stops: number, shards: number) {
  const system = await openSystem({ shards })
  for (let stop = 0; stop < stops; stop++) {
    const cut = (at: number): number => Math.floor((smallHistory.length * at) / stops)
    await system.append(smallHistory.slice(cut(stop), cut(stop + 1)), size)
    await system.project(size * 40)
  }
  return system.store
}

describe('the digest of the online state', () => {
  it('is the same for the same events, however batched, flushed and sharded', async () => {
    const digest = await stateDigest(await stateAfter(1, 1, 4), plans)
    expect(digest).toMatch(/^[0-9a-f]{64}$/)
    expect(await stateDigest(await stateAfter(5, 3, 4), plans)).toBe(digest)
    expect(await stateDigest(await stateAfter(2, 7, 64), [people, ...plans])).toBe(digest)
  })

  it('changes with any bit of any row, with a key and with the views asked', async () => {
    const store = await stateAfter(3, 2, 4)
    const digest = await stateDigest(store, plans)
    const key = encodeKey(['b'], ['string'])
    const seen = new Set([digest])
    for (let bit = 0; bit < 320; bit++)
      seen.add(
        await stateDigest(
          tampered(store, 'people', key, (row) => flipped(row, bit)),
          plans,
        ).catch((error: unknown) => (error as FeatureStoreError).code),
      )
    expect(seen.size).toBe(321)
    expect(await stateDigest(store, [people])).not.toBe(digest)
    expect(
      await stateDigest(
        {
          ...noParts,
          async *scan(view) {
            for await (const row of store.scan(view)) yield { ...row, key: flipped(row.key, 0) }
          },
        },
        plans,
      ),
    ).not.toBe(digest)
  })

  it('of no rows is that of no rows, and sorts keys by their bytes beyond one page of hashes', async () => {
    const rows = Array.from({ length: 3_000 }, (_, index) => ({
      shard: index % 7,
      key: Buffer.from([index >> 8, index & 0xff, 0xff - (index & 0x7f)]),
      row: Uint8Array.of(index & 0xff, 0, index >> 8),
    }))
    const of = (list: typeof rows) =>
      stateDigest(
        {
          ...noParts,
          async *scan() {
            yield* list
          },
        },
        [people],
      )
    expect(await of([])).toBe(await of([]))
    expect(await of(rows)).toBe(await of(rows.toReversed()))
    expect(await of(rows)).not.toBe(await of(rows.slice(1)))
  })
})
