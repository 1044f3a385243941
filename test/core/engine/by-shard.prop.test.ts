import fc from 'fast-check'
import { expect, it } from 'vitest'
import { byShard } from '../../../core/engine/state/by-shard.ts'

const numRuns = Number(process.env['TIDEMARK_PROPERTY_RUNS'] ?? 150)

it('entities by shard are the stable sort of those that are asked for, and the others are left as they were', () => {
  const shards = 5
  const asked = fc.option(fc.array(fc.integer({ min: 0, max: shards - 1 })), { nil: undefined })
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 1_000 })), asked, (entities, only) => {
      const shardOf = (entity: number): number => (entity * 7) % shards
      const isAsked = (entity: number): boolean => only?.includes(shardOf(entity)) ?? true
      const { taken, left } = byShard(entities, shardOf, shards, only && new Set(only))
      expect([...taken]).toEqual(entities.filter(isAsked).toSorted((a, b) => shardOf(a) - shardOf(b)))
      expect(left).toEqual(entities.filter((entity) => !isAsked(entity)))
    }),
    { numRuns },
  )
})
