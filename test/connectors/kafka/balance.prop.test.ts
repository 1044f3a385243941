import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { balance, type Member } from '../../../connectors/kafka/balance.ts'

const rounds = fc
  .record({
    shards: fc.integer({ min: 1, max: 70 }),
    owned: fc.array(fc.array(fc.integer({ min: -1, max: 80 }), { maxLength: 70 }), { maxLength: 9 }),
  })
  .map(({ shards, owned }) => ({
    shards,
    members: owned.map((shardsOf, index): Member => ({ id: `member-${index}`, owned: shardsOf })),
  }))

/** Every shard once, sizes that differ by one at most. */
function checkShares(shares: ReadonlyMap<string, readonly number[]>, members: readonly Member[], shards: number): void {
  expect([...shares.keys()].sort()).toEqual(members.map(({ id }) => id).sort())
  if (members.length === 0) return
  expect([...shares.values()].flat().sort((a, b) => a - b)).toEqual(Array.from({ length: shards }, (_, n) => n))
  const sizes = [...shares.values()].map(({ length }) => length)
  expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1)
}

describe('shares of the shards', () => {
  it('cover every shard once and are as equal as can be', () => {
    fc.assert(
      fc.property(rounds, ({ members, shards }) => {
        checkShares(balance(members, shards), members, shards)
      }),
    )
  })

  it('do not depend on the order of the members', () => {
    fc.assert(
      fc.property(rounds, fc.infiniteStream(fc.nat()), ({ members, shards }, keys) => {
        const shuffled = members
          .map((member) => ({ member, key: keys.next().value as number }))
          .sort((a, b) => a.key - b.key)
        const again = balance(
          shuffled.map(({ member }) => member),
          shards,
        )
        expect(new Map([...again].sort())).toEqual(new Map([...balance(members, shards)].sort()))
      }),
    )
  })

  it('that are equal already stay; of others no more moves than must', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 70 }),
        fc.integer({ min: 1, max: 8 }),
        fc.integer({ min: 1, max: 8 }),
        (shards, before, after) => {
          const first = balance(
            Array.from({ length: before }, (_, index) => ({ id: `m${index}`, owned: [] })),
            shards,
          )
          // Some leave, or some come.
          const members = Array.from({ length: after }, (_, index) => ({
            id: `m${index}`,
            owned: first.get(`m${index}`) ?? [],
          }))
          const second = balance(members, shards)
          checkShares(second, members, shards)
          const stayed = members.reduce(
            (sum, { id, owned }) => sum + owned.filter((shard) => second.get(id)?.includes(shard)).length,
            0,
          )
          // Nobody keeps more than the largest share, and only so many have the largest.
          const [least, larger] = [Math.floor(shards / after), shards % after]
          const sizes = members.map(({ owned }) => owned.length).sort((a, b) => b - a)
          const possible = sizes.reduce(
            (sum, size, index) => sum + Math.min(size, index < larger ? least + 1 : least),
            0,
          )
          expect(stayed).toBe(possible)
          if (before === after) expect(second).toEqual(first)
        },
      ),
    )
  })
})
