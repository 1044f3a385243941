import { expect, it } from 'vitest'
import { EntityTable } from '../../../core/engine/state/entity-table.ts'
import { EventStore } from '../../../core/engine/state/event-store.ts'
import { recordLayout } from '../../../core/engine/state/record-layout.ts'
import { encodeKey, murmur2, shardOf } from '../../../core/event/key.ts'
import { Prng } from '../../support/prng.ts'

it('entities whose keys have the same hash are told apart, and each is found again', () => {
  const layout = recordLayout({ inputs: [], ordered: false, corrected: false, identified: false })
  const table = new EntityTable(new EventStore(layout, 0), 64)
  const random = new Prng(1)
  const keys = Array.from({ length: 200_000 }, () => encodeKey([`${random.word()} ${random.word()}`], ['string']))
  // Among so many, some hashes are the same.
  expect(new Set(keys.map(murmur2)).size).toBeLessThan(keys.length)
  const entities = keys.map((key) => table.add(key))
  expect(new Set(entities).size).toBe(keys.length)
  let wrong = 0
  keys.forEach((key, index) => {
    const entity = entities[index] as number
    if (table.find(key) !== entity || table.add(key) !== entity || table.shard(entity) !== shardOf(key, 64)) wrong++
    if (index % 100 === 0) expect(table.key(entity)).toEqual(key)
  })
  expect(wrong).toBe(0)
  expect(table.find(encodeKey(['none'], ['string']))).toBe(-1)
})
