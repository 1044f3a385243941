import { describe, expect, it } from 'vitest'
import { MemoryLog } from '../../connectors/memory/log.ts'
import { int32, string, timestamp } from '../../core/definition/fields.ts'
import { stream } from '../../core/definition/stream.ts'
import { offset } from '../../core/event/position.ts'
import { compileEncoder, fingerprintHex, streamSchema, type AvroSchema } from '../../schemas/avro/index.ts'
import { LoggedSchemas, schemaStream } from '../../schemas/schema-log.ts'
import { StreamReader } from '../../schemas/stream-reader.ts'

const taps = stream('taps', { fields: { at: timestamp(), who: string() }, eventTime: 'at' })
const first = streamSchema('taps', taps.fields)
const second = streamSchema('taps', { ...taps.fields, more: int32() })
const micros: AvroSchema = {
  ...first,
  fields: first.fields.map((field) =>
    field.name === 'at' ? { ...field, type: { type: 'long', logicalType: 'timestamp-micros' } } : field,
  ),
}

describe('schemas kept in the log', () => {
  it('are found by every reader, and kept once', async () => {
    const log = new MemoryLog('log')
    const writer = new LoggedSchemas(log)
    const reader = new LoggedSchemas(log)
    await reader.load()
    expect(await writer.putSchema('taps', first, 1)).toBe(fingerprintHex(first))
    await writer.putSchema('taps', second, 2)
    await writer.putSchema('taps', first, 3)
    await new LoggedSchemas(log).putSchema('taps', second, 4)
    expect((await log.describe(schemaStream))?.[0]?.end).toBe(2)
    expect(reader.schema('taps', fingerprintHex(first))).toBeUndefined()
    await Promise.all([reader.load(), reader.load()])
    expect(reader.schema('taps', fingerprintHex(first))).toEqual(first)
    expect(reader.schema('taps', fingerprintHex(second))).toEqual(second)
    expect(reader.schema('clicks', fingerprintHex(first))).toBeUndefined()
  })

  it('of one fingerprint mean one thing', async () => {
    const log = new MemoryLog('log')
    await new LoggedSchemas(log).putSchema('taps', first, 1)
    expect(fingerprintHex(micros)).toBe(fingerprintHex(first))
    await expect(new LoggedSchemas(log).putSchema('taps', micros, 2)).rejects.toMatchObject({
      code: 'FS_DEFINITION_INVALID',
    })
    expect((await log.describe(schemaStream))?.[0]?.end).toBe(1)
  })

  it('a record that is no schema, or another one, stops the reader', async () => {
    for (const [key, value] of [
      ['taps/0123456789abcdef', JSON.stringify(first)],
      ['taps/0123456789abcdef', '{'],
    ] as const) {
      const log = new MemoryLog('log')
      await log.create(schemaStream, { partitions: 1 })
      const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)
      await log.append(schemaStream, 0, [{ key: bytes(key), value: bytes(value), timestampMs: 1 }])
      await expect(new LoggedSchemas(log).load()).rejects.toMatchObject({ code: 'FS_LOG_CORRUPT' })
    }
  })

  it('are looked for before a record is given up, so that a reader that knew less decodes the same', async () => {
    const log = new MemoryLog('log')
    await log.create('taps', { partitions: 1 })
    const writer = new LoggedSchemas(log)
    const kept = new LoggedSchemas(log)
    let loads = 0
    const reader = new StreamReader({
      log,
      stream: taps,
      schemas: Object.assign((name: string, fingerprint: string) => kept.schema(name, fingerprint), {
        load: () => {
          loads++
          return kept.load()
        },
      }),
    })
    const write = async (schema: AvroSchema, put: boolean): Promise<void> => {
      if (put) await writer.putSchema('taps', schema, 1)
      const value = compileEncoder(schema).encode(
        Object.fromEntries(schema.fields.map(({ name }) => [name, name === 'at' ? 5 : name === 'more' ? 1 : 'a'])),
      )
      await log.append('taps', 0, [{ key: null, value, timestampMs: 6 }])
    }
    await reader.refresh()
    await write(first, true)
    await write(second, true)
    const known = await reader.read(0, offset(0), 1_000_000)
    expect([known?.count, known?.dead.length, loads]).toEqual([2, 0, 1])
    await write(first, false)
    await write(streamSchema('taps', { ...taps.fields, other: string() }), false)
    const unknown = await reader.read(0, offset(2), 1_000_000)
    expect([unknown?.count, unknown?.dead.map(({ code }) => code), loads]).toEqual([1, ['FS_DEAD_UNDECODABLE'], 2])
  })
})
