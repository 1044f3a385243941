import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { balance, nextShares, type Member } from '../../../connectors/kafka/balance.ts'

const rounds = fc
  .record({
    shards: fc.integer({ min: 1, max: 70 }),
    owned: fc.array(fc.array(fc.integer({ min: -1, max: 80 }), { maxLength: 70 }), { maxLength: 9 }),
  })
  .map(({ shards, owned }) => ({
    shards,
    members: owned.map((shardsOf, index): Member => ({
      id: `member-${index}`,
      owned: shardsOf,
      generation: index % 3,
    })),
  }))

/** Every shard once, sizes that differ by one at most. */
function checkShares(shares: ReadonlyMap<string, readonly number[]>, members: readonly Member[], shards: number): void {
  expect([...shares.keys()].sort()).toEqual(members.map(({ id }) => id).sort())
  if (members.length === 0) return
  expect([...shares.values()].flat().sort((a, b) => a - b)).toEqual(Array.from({ length: shards }, (_, n) => n))
  const sizes = [...shares.values()].map(({ length }) => length)
  expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1)
}

/** Who has each shard: the one who had it last. */
function ownersOf(members: readonly Member[], shards: number): ReadonlyMap<number, string> {
  const owners = new Map<number, string>()
  for (let shard = 0; shard < shards; shard++) {
    const having = members.filter(({ owned }) => owned.includes(shard))
    const newest = Math.max(...having.map(({ generation }) => generation))
    const [owner] = having
      .filter(({ generation }) => generation === newest)
      .map(({ id }) => id)
      .sort()
    if (owner !== undefined) owners.set(shard, owner)
  }
  return owners
}

describe('shares of one round', () => {
  it('give nobody what another has; given up, every shard has one owner in the round after', () => {
    fc.assert(
      fc.property(rounds, ({ members, shards }) => {
        const owners = ownersOf(members, shards)
        const target = balance(members, shards)
        const shares = nextShares(members, shards)
        expect([...shares.keys()]).toEqual([...target.keys()])
        for (const [id, share] of target)
          expect(shares.get(id)).toEqual(share.filter((shard) => (owners.get(shard) ?? id) === id))
        const given = members.map(({ id }) => ({ id, owned: shares.get(id) ?? [], generation: 9 }))
        const after = nextShares(given, shards)
        checkShares(after, members, shards)
        // What was given in the first round stays in the second.
        for (const [id, share] of shares) expect(after.get(id)).toEqual(expect.arrayContaining([...share]))
      }),
    )
  })

  it('of two that believe to have one, the older belief does not count', () => {
    const slept = { id: 'a', owned: [2, 3], generation: 4 }
    const awake = { id: 'b', owned: [0, 1, 2, 3], generation: 5 }
    expect([...nextShares([slept, awake], 4)]).toEqual([
      ['b', [0, 1]],
      ['a', []],
    ])
  })
})

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
            Array.from({ length: before }, (_, index) => ({ id: `m${index}`, owned: [], generation: 0 })),
            shards,
          )
          // Some leave, or some come.
          const members = Array.from({ length: after }, (_, index) => ({
            id: `m${index}`,
            owned: first.get(`m${index}`) ?? [],
            generation: 1,
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
