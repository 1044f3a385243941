import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { offsetZero } from '../../../core/event/position.ts'
import { type FieldType } from '../../../core/event/types.ts'
import { createStreamDecoder, fingerprintHex, registryIdOf, streamSchema } from '../../../schemas/avro/index.ts'
import { avscPayload, avscType, chunkOf, rowsOf } from './support.ts'

const fields: Readonly<Record<string, FieldType>> = {
  at: { type: 'timestamp' },
  who: { type: 'string' },
  n: { type: 'int32', nullable: true },
}
const { n: _, ...older } = fields
const schemas = [streamSchema('taps', older), streamSchema('taps', fields)]

/** Confluent's: 0, the id in four bytes, the record. */
function registered(id: number, schema: (typeof schemas)[number], value: unknown): Uint8Array {
  const head = Buffer.alloc(5)
  head.writeUInt32BE(id, 1)
  return Uint8Array.from([...head, ...avscType(schema).toBuffer(value)])
}

const decode = (payloads: readonly Uint8Array[], known: Readonly<Record<string, (typeof schemas)[number]>>) => {
  const decoder = createStreamDecoder({ stream: 'taps', fields, eventTime: 'at', schemas: (ref) => known[ref] })
  return { batch: decoder.decode(chunkOf(payloads), 0, 0, offsetZero), unknown: decoder.unknownSchemas }
}

describe('payloads of a schema registry', () => {
  const ids = [1, 2 ** 32 - 1, 0x01020304, 0] as const

  it('mixed with single objects of other schemas give the same events', () => {
    const records = fc.array(
      fc.record({
        at: fc.nat(),
        who: fc.string({ maxLength: 4 }),
        n: fc.option(fc.integer()),
        schema: fc.nat(1),
        id: fc.option(fc.constantFrom(...ids)),
      }),
      { minLength: 1, maxLength: 30 },
    )
    fc.assert(
      fc.property(records, (rows) => {
        const known = Object.fromEntries(schemas.map((schema) => [fingerprintHex(schema), schema]))
        // An id names one schema: even places the first, odd ones the second.
        ids.forEach((id, index) => (known[`#${id}`] = schemas[index % 2] as (typeof schemas)[number]))
        const payloads = rows.map(({ at, who, n, schema: chosen, id }) => {
          const index = id === null ? chosen : ids.indexOf(id) % 2
          const schema = schemas[index] as (typeof schemas)[number]
          const value = { at: BigInt(at), who, ...(index === 1 ? { n: n === null ? null : { int: n } } : {}) }
          return id === null ? avscPayload(schema, value) : registered(id, schema, value)
        })
        const { batch, unknown } = decode(payloads, known)
        expect([batch.dead, unknown]).toEqual([[], []])
        expect(rowsOf(batch)).toEqual(
          rows.map(({ at, who, n, schema: chosen, id }) => ({
            at,
            who,
            n: (id === null ? chosen : ids.indexOf(id) % 2) === 1 ? n : null,
          })),
        )
      }),
    )
  })

  it('whose id nobody knows are dead and say so, and are asked for', () => {
    const schema = schemas[0] as (typeof schemas)[number]
    const value = { at: 5n, who: 'a' }
    const { batch, unknown } = decode([registered(7, schema, value), registered(8, schema, value)], { '#8': schema })
    expect(batch.dead).toMatchObject([{ offset: 0, code: 'FS_DEAD_UNDECODABLE', reason: 'no schema has the id 7' }])
    expect([batch.count, unknown]).toEqual([1, ['#7']])
  })

  it('cut anywhere are dead, and with another magic byte too', () => {
    const schema = schemas[0] as (typeof schemas)[number]
    const whole = registered(8, schema, { at: 5n, who: 'abc' })
    for (let length = 0; length < whole.length; length++) {
      const { batch } = decode([whole.subarray(0, length)], { '#8': schema })
      expect([batch.count, batch.dead.map(({ code }) => code)]).toEqual([0, ['FS_DEAD_UNDECODABLE']])
    }
    for (const magic of [1, 0xc3, 0xff]) {
      const { batch } = decode([Uint8Array.from([magic, ...whole.subarray(1)])], { '#8': schema })
      expect([batch.count, batch.dead.map(({ code }) => code)]).toEqual([0, ['FS_DEAD_UNDECODABLE']])
    }
  })
})

it('a reference is a fingerprint or an id', () => {
  expect(registryIdOf('#4294967295')).toBe(4294967295)
  expect(registryIdOf('0123456789abcdef')).toBeNull()
})
