import fc from 'fast-check'
import { expect, test } from 'vitest'
import { sameShardPosition } from '../../../connectors/kit/shard-state.ts'
import {
  checkedName,
  keysOfShard,
  partName,
  partPrefix,
  positionName,
  viewPrefix,
} from '../../../connectors/redis/layout.ts'
import { offset } from '../../../core/event/position.ts'
import type { ShardPosition } from '../../../core/ports/online-store.ts'

const numRuns = Number(process.env['TIDEMARK_PROPERTY_RUNS'] ?? 150)

const partitions = fc.array(
  fc.record({ epoch: fc.integer({ min: 0, max: 1 }), next: fc.integer({ min: 0, max: 2 }).map(offset) }),
  { maxLength: 2 },
)
const position: fc.Arbitrary<ShardPosition> = fc.record({
  position: fc.record({
    logId: fc.constantFrom('a', 'b'),
    // Orders of keys, and names that begin like another.
    streams: fc.oneof(
      fc.record({ s: partitions, s1: partitions }, { requiredKeys: [] }),
      fc.record({ s1: partitions, s: partitions }, { requiredKeys: [] }),
    ),
  }),
  newestEventTimeMs: fc.dictionary(fc.constantFrom('s', 's1'), fc.integer()),
})

test('two positions have one name exactly where they are the same', () => {
  let same = 0
  fc.assert(
    fc.property(fc.option(position), fc.option(position), (a, b) => {
      expect(positionName(a) === positionName(b)).toBe(sameShardPosition(a, b))
      if (sameShardPosition(a, b)) same++
    }),
    { numRuns: 20 * numRuns },
  )
  expect(same).toBeGreaterThan(0)
})

test('what does not count in a position does not count in its name', () => {
  const at = (streams: ShardPosition['position']['streams'], newest = 0): ShardPosition => ({
    position: { logId: 'log', streams },
    newestEventTimeMs: { a: newest },
  })
  const one = [{ epoch: 1, next: offset(7) }]
  const name = positionName(at({ a: one, b: one }))
  expect(positionName(at({ b: one, a: one }, 99))).toBe(name)
  expect(positionName(at({ a: one, b: one, c: [] }))).toBe(name)
  expect(positionName(at({ a: [...one, ...one] }))).not.toBe(name)
  expect(name).toHaveLength(43)
  expect(positionName(null)).toBe('')
})

test('parts of different rows never share a name', () => {
  const names = new Map<string, string>()
  const key = fc.uint8Array({ maxLength: 4 })
  fc.assert(
    fc.property(fc.constantFrom('v', 'vv'), key, fc.integer({ min: 0, max: 300 }), (view, bytes, name) => {
      const field = Buffer.concat([partPrefix(view, bytes), partName(name)]).toString('hex')
      const meant = JSON.stringify([view, [...bytes], name])
      expect(names.get(field) ?? meant).toBe(meant)
      names.set(field, meant)
    }),
    { numRuns: 20 * numRuns },
  )
})

test('names that would move the hash tag, or end a view early, are refused', () => {
  for (const name of ['', '{', 'a}b', 'a\0'])
    expect(() => checkedName('the prefix', name)).toThrow(expect.objectContaining({ code: 'FS_CONFIG_INVALID' }))
  expect(checkedName('the prefix', 'tidemark-1')).toBe('tidemark-1')
  expect(() => viewPrefix('a\0b')).toThrow(expect.objectContaining({ code: 'FS_INTERNAL' }))
  for (const shard of [-1, 1.5, 65_536, Number.NaN])
    expect(() => keysOfShard('p', 'g', shard)).toThrow(expect.objectContaining({ code: 'FS_INTERNAL' }))
})
