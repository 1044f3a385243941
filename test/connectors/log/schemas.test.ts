import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { LogSchemas } from '../../../connectors/log/index.ts'
import { type AvroSchema, fingerprintHex, streamSchema } from '../../../schemas/avro/index.ts'
import { logOf, stream, testFolder } from './support.ts'

const schema = streamSchema('clicks', { at: { type: 'timestamp' }, page: { type: 'string', nullable: true } })
const withTime = (type: unknown): AvroSchema =>
  ({ ...schema, fields: [{ name: 'at', type }, schema.fields[1]] }) as AvroSchema

describe('schemas beside the log', () => {
  it('are kept by fingerprint and found by other processes', async () => {
    const root = testFolder()
    await logOf(root, [1])
    const schemas = new LogSchemas(root)
    expect(schemas.schema(stream, fingerprintHex(schema))).toBeUndefined()
    const fingerprint = schemas.putSchema(stream, schema)
    expect(schemas.putSchema(stream, schema)).toBe(fingerprint)
    expect(readdirSync(join(root, stream, 'schemas'))).toEqual([`${fingerprint}.avsc`])
    expect(new LogSchemas(root).schema(stream, fingerprint)).toEqual(schema)
    expect(schemas.schema(stream, '../../secret')).toBeUndefined()
    expect(() => schemas.putSchema('other', schema)).toThrow(expect.objectContaining({ code: 'FS_STREAM_UNKNOWN' }))
  })

  it('that share a fingerprint and mean other values do not take each other’s place', async () => {
    const root = testFolder()
    await logOf(root, [1])
    const schemas = new LogSchemas(root)
    schemas.putSchema(stream, schema)
    schemas.putSchema(stream, withTime('long'))
    const micros = withTime({ type: 'long', logicalType: 'timestamp-micros' })
    expect(fingerprintHex(micros)).toBe(fingerprintHex(schema))
    expect(() => schemas.putSchema(stream, micros)).toThrow(expect.objectContaining({ code: 'FS_DEFINITION_INVALID' }))
  })

  it('are one where decimals only have more digits before the point, and two where they have others behind it', async () => {
    const root = testFolder()
    await logOf(root, [1])
    const schemas = new LogSchemas(root)
    const of = (precision: number, scale: number): AvroSchema =>
      streamSchema('clicks', { price: { type: 'decimal', precision, scale } })
    schemas.putSchema(stream, of(9, 2))
    expect(schemas.putSchema(stream, of(18, 2))).toBe(fingerprintHex(of(9, 2)))
    expect(() => schemas.putSchema(stream, of(9, 3))).toThrow(
      expect.objectContaining({ code: 'FS_DEFINITION_INVALID' }),
    )
  })

  it('under another’s name are refused', async () => {
    const root = testFolder()
    await logOf(root, [1])
    const fingerprint = new LogSchemas(root).putSchema(stream, schema)
    const path = join(root, stream, 'schemas', `${fingerprint}.avsc`)
    writeFileSync(path, JSON.stringify(streamSchema('clicks', { at: { type: 'timestamp' } })))
    expect(() => new LogSchemas(root).schema(stream, fingerprint)).toThrow(
      expect.objectContaining({ code: 'FS_FILE_INVALID' }),
    )
  })
})
