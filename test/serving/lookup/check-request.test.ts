import { expect, test } from 'vitest'
import { MemoryOnlineStore } from '../../../connectors/memory/online-store.ts'
import { buildCatalog } from '../../../core/definition/catalog.ts'
import { decimal, int32, nullable, string, timestamp } from '../../../core/definition/fields.ts'
import { count } from '../../../core/definition/functions.ts'
import { service } from '../../../core/definition/service.ts'
import { entity, stream } from '../../../core/definition/stream.ts'
import { view } from '../../../core/definition/view.ts'
import { statusName, valueAt } from '../../../core/engine/feature-column.ts'
import type { Scalar } from '../../../core/event/types.ts'
import { Lookup } from '../../../serving/lookup/lookup.ts'
import { OnlineProjection } from '../../../worker/online-projection.ts'

const taps = stream('taps', { fields: { at: timestamp(), card: string() }, eventTime: 'at' })
const card = entity('card', { key: { card: string() } })
const byCard = view('by_card', { from: taps, entity: card, features: () => ({ n: count() }) })
const risk = service('risk', {
  features: [byCard.all()],
  request: { limit: int32(), bonus: nullable(int32()), note: nullable(string()), price: nullable(decimal(5, 2)) },
  derive: ({ by_card, request }) => ({
    left: request.limit.sub(by_card.n),
    with_bonus: request.limit.add(request.bonus),
    noted: request.note.isNull(),
    dear: request.price.gte(0.1),
    exactly: request.price.eq('7'),
  }),
})
const catalog = buildCatalog([taps, card, byCard, risk])

async function derivedOf(request: Readonly<Record<string, readonly Scalar[]>>) {
  const online = new MemoryOnlineStore({ bytes: (length) => new Uint8Array(length).fill(7) })
  const settings = { shards: 2, historyMs: 0, memoryBytesMax: 1_000 }
  const projection = await OnlineProjection.start(catalog, online, 'log', settings)
  projection.begin('taps', 0, 0)
  await projection.flush()
  const lookup = new Lookup({
    catalog,
    online,
    offline: async () => Promise.reject(new Error('rows answer')),
    clock: { nowMs: () => 5 },
    shards: settings.shards,
    historyMs: 0,
    rowsMax: 10,
    cacheBytesMax: 0,
    arenaBytesMax: 0,
    sleep: async () => {},
  })
  const { columns } = await lookup.getFeatures({ service: 'risk', entities: { card: ['a', 'b'] }, request })
  return Object.fromEntries(
    columns
      .slice(1)
      .map((column) => [
        column.name,
        [0, 1].map((row) => valueAt(column, row) ?? statusName(column.statuses[row] as number)),
      ]),
  )
}

test('a nullable request field that is left out is null in every row', async () => {
  expect(await derivedOf({ limit: [3, 4] })).toEqual({
    left: [3, 4],
    with_bonus: ['NULL', 'NULL'],
    noted: [true, true],
    dear: ['NULL', 'NULL'],
    exactly: ['NULL', 'NULL'],
  })
  expect(await derivedOf({ limit: [3, 4], bonus: [null, null], note: [null, null] })).toEqual(
    await derivedOf({ limit: [3, 4] }),
  )
})

test('one of them may be left out and another one given, with nulls', async () => {
  expect(await derivedOf({ limit: [3, 4], bonus: [null, 10] })).toEqual({
    left: [3, 4],
    with_bonus: ['NULL', 14],
    noted: [true, true],
    dear: ['NULL', 'NULL'],
    exactly: ['NULL', 'NULL'],
  })
})

test('a field that is not nullable has to be there, and a given one has as many rows as the others', async () => {
  const refused = { code: 'FS_REQUEST_INVALID' }
  await expect(derivedOf({ bonus: [1, 2] })).rejects.toMatchObject({
    ...refused,
    message: expect.stringMatching(/limit .*missing/) as unknown,
  })
  await expect(derivedOf({ limit: [1, 2], bonus: [1] })).rejects.toMatchObject({
    ...refused,
    message: expect.stringMatching(/differ in length/) as unknown,
  })
  await expect(derivedOf({ limit: [1, null] })).rejects.toMatchObject({
    ...refused,
    message: expect.stringMatching(/row 1: is null/) as unknown,
  })
})

test('a decimal is taken as text or as a number, exactly', async () => {
  const of = async (...price: readonly Scalar[]) => {
    const { dear, exactly } = await derivedOf({ limit: [3, 4], price })
    return { dear, exactly }
  }
  expect(await of('7', 0.1)).toEqual({ dear: [true, true], exactly: [true, false] })
  expect(await of(7n, '0.09')).toEqual({ dear: [true, false], exactly: [true, false] })
  expect(await of('7.0', '+7.000')).toEqual({ dear: [true, true], exactly: [true, true] })
  for (const price of ['1.234', 0.125, '1000', 'x', true])
    await expect(of(price, 1)).rejects.toMatchObject({
      code: 'FS_REQUEST_INVALID',
      message: expect.stringContaining('is no decimal(5, 2)') as unknown,
    })
})
