import { describe, expect, it } from 'vitest'
import { MemoryLog } from '../../connectors/memory/log.ts'
import { RegistrySchemas } from '../../connectors/registry/schemas.ts'
import { int32, nullable, string, timestamp } from '../../core/definition/fields.ts'
import { stream } from '../../core/definition/stream.ts'
import type { EventBatch } from '../../core/event/batch.ts'
import { scalarAt } from '../../core/event/column.ts'
import { offset } from '../../core/event/position.ts'
import {
  compileEncoder,
  registryIdOf,
  singleObjectHeader,
  streamSchema,
  type AvroSchema,
  type FieldValues,
} from '../../schemas/avro/index.ts'
import { StreamReader, type WriterSchemas } from '../../schemas/stream-reader.ts'
import { serverOfFile, startRegistry } from '../support/services.ts'

const taps = stream('taps', { fields: { at: timestamp(), who: string(), more: nullable(int32()) }, eventTime: 'at' })
const { more, ...plain } = taps.fields
/** Before the field came, and with it. */
const [older, newer] = [streamSchema('taps', plain), streamSchema('taps', { ...plain, more })]

/** As producers write it that use the registry: 00, the id, the record. */
function framed(schema: AvroSchema, id: number, values: FieldValues): Uint8Array {
  const record = compileEncoder(schema).encode(values).subarray(singleObjectHeader(schema).length)
  const header = Buffer.alloc(5)
  header.writeUInt32BE(id, 1)
  return Buffer.concat([header, record])
}

/** A log of its own for each test, and what was written read with the registry's schemas. */
async function logAndReader(url: string) {
  const schemas = new RegistrySchemas({ url, timeoutMs: 5_000 })
  const idsOf = (refs: readonly string[]): number[] => refs.flatMap((ref) => registryIdOf(ref) ?? [])
  const writers: WriterSchemas = Object.assign(
    (_: string, ref: string) => idsOf([ref]).map((id) => schemas.schema(id))[0],
    { load: (_: string, refs: readonly string[]) => schemas.load(idsOf(refs)) },
  )
  const log = new MemoryLog()
  await log.create('taps', { partitions: 1 })
  const reader = new StreamReader({ log, stream: taps, schemas: writers })
  let at = offset(0)
  return {
    async write(...values: readonly Uint8Array[]): Promise<void> {
      await log.append(
        'taps',
        0,
        values.map((value) => ({ key: null, value, timestampMs: 1 })),
      )
    },
    /** What was written since it was last called; after an error, the same again. */
    async read(): Promise<EventBatch> {
      await reader.refresh()
      const batch = await reader.read(0, at, 1 << 20)
      if (batch === null) throw new Error('there is nothing to read')
      at = batch.nextOffset
      return batch
    },
  }
}

function rowsOf({ columns, count }: EventBatch): unknown[] {
  const value = (name: string, row: number): unknown => {
    const column = columns[name]
    return column === undefined ? undefined : scalarAt(column, row)
  }
  return Array.from({ length: count }, (_, row) => [value('who', row), value('more', row)])
}

describe('schemas of a registry that runs', async () => {
  const registry = await serverOfFile('registry', startRegistry)

  const register = async (subject: string, body: object): Promise<number> => {
    const response = await fetch(`${registry().address}/subjects/${subject}/versions`, {
      method: 'POST',
      headers: { 'content-type': 'application/vnd.schemaregistry.v1+json' },
      body: JSON.stringify(body),
    })
    const { id } = (await response.json()) as { readonly id: unknown }
    if (typeof id !== 'number') throw new Error(`the registry answers ${response.status}`)
    return id
  }
  const avro = (schema: unknown) => ({ schema: JSON.stringify(schema) })

  it('read payloads of several writers by their ids; an id that it has not is a dead letter', async () => {
    const [first, second] = [await register('taps-value', avro(older)), await register('taps-value', avro(newer))]
    expect(second).not.toBe(first)
    const { read, write } = await logAndReader(registry().address)
    await write(
      framed(older, first, { at: 1, who: 'ann' }),
      framed(newer, second, { at: 2, who: 'bob', more: 7 }),
      framed(newer, 999_999, { at: 3, who: 'nobody', more: 8 }),
      framed(older, first, { at: 4, who: 'cyd' }),
    )
    const batch = await read()
    expect(rowsOf(batch)).toEqual([
      ['ann', null],
      ['bob', 7],
      ['cyd', null],
    ])
    expect(batch.dead).toMatchObject([{ offset: 2, code: 'FS_DEAD_UNDECODABLE' }])
    expect(batch.dead[0]?.reason).toContain('999999')
  })

  it('that are no Avro record, or lean on another subject, count as unknown', async () => {
    const proto = await register('proto-value', {
      schemaType: 'PROTOBUF',
      schema: 'syntax = "proto3"; message Tap { int64 at = 1; string who = 2; }',
    })
    await register('who', avro({ type: 'record', name: 'Who', fields: [{ name: 'name', type: 'string' }] }))
    const leaning = await register('leaning-value', {
      ...avro({
        type: 'record',
        name: 'taps',
        fields: [
          { name: 'at', type: 'long' },
          { name: 'who', type: 'Who' },
        ],
      }),
      references: [{ name: 'Who', subject: 'who', version: 1 }],
    })
    const { read, write } = await logAndReader(registry().address)
    await write(framed(older, proto, { at: 1, who: 'a' }), framed(older, leaning, { at: 1, who: 'b' }))
    const batch = await read()
    expect([batch.count, batch.dead.map(({ code }) => code)]).toEqual([
      0,
      ['FS_DEAD_UNDECODABLE', 'FS_DEAD_UNDECODABLE'],
    ])
  })

  it('go on by what is known while the registry is down; what is not waits for it and is no dead letter', async () => {
    const [first, second] = [await register('down-value', avro(older)), await register('down-value', avro(newer))]
    const { read, write } = await logAndReader(registry().address)
    await write(framed(older, first, { at: 1, who: 'ann' }))
    expect(rowsOf(await read())).toEqual([['ann', null]])
    await registry().stop()
    await write(framed(older, first, { at: 2, who: 'bob' }))
    expect(rowsOf(await read())).toEqual([['bob', null]])
    await write(framed(newer, second, { at: 3, who: 'cyd', more: 9 }), framed(older, first, { at: 4, who: 'dan' }))
    await expect(read()).rejects.toMatchObject({ code: 'FS_REGISTRY_UNAVAILABLE', kind: 'unavailable' })
    await expect(read()).rejects.toMatchObject({ code: 'FS_REGISTRY_UNAVAILABLE' })
    await registry().restart()
    const batch = await read()
    expect(rowsOf(batch)).toEqual([
      ['cyd', 9],
      ['dan', null],
    ])
    expect(batch.dead).toEqual([])
  }, 120_000)
})
