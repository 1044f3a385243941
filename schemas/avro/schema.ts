import { FeatureStoreError } from '../../core/errors.ts'
import { type FieldType, type ScalarType, shapeOf } from '../../core/event/types.ts'

/** Avro schemas as their JSON says them (specification 1.11, "Schema Declaration"). */
export type AvroType = string | AvroNode | readonly AvroType[]

export interface AvroNode {
  readonly type: AvroType
  readonly name?: string
  readonly namespace?: string
  readonly logicalType?: string
  readonly fields?: readonly AvroField[]
  readonly symbols?: readonly string[]
  readonly items?: AvroType
  readonly values?: AvroType
  readonly size?: number
  readonly precision?: number
  readonly scale?: number
}

export interface AvroField {
  readonly name: string
  readonly type: AvroType
  readonly default?: unknown
}

/** What a stream's payload is: a record. */
export interface AvroSchema extends AvroNode {
  readonly type: 'record'
  readonly name: string
  readonly fields: readonly AvroField[]
}

export const primitives: ReadonlySet<string> = new Set([
  'null',
  'boolean',
  'int',
  'long',
  'float',
  'double',
  'bytes',
  'string',
])

/** A schema is input from outside: it is bounded before anything is made of it. */
export const schemaBytesMax = 1024 * 1024
export const schemaDepthMax = 64
const identifier = /^[A-Za-z_][A-Za-z0-9_]*$/
const dotted = /^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$/

const avroTypes: Readonly<Record<Exclude<ScalarType, 'decimal'>, AvroType>> = {
  string: 'string',
  bool: 'boolean',
  int32: 'int',
  int64: 'long',
  float64: 'double',
  timestamp: { type: 'long', logicalType: 'timestamp-millis' },
}

/** Bytes of a decimal that is written as fixed. */
const fixedBytes = 8

/**
 * Decimals are bytes. As a fixed they have their digits in a name and so in the fingerprint of the schema, which the scale
 * of bytes is not part of.
 */
function avroType(field: string, { type, precision, scale }: FieldType, asFixed: boolean): AvroType {
  if (type !== 'decimal') return avroTypes[type]
  const digits = { logicalType: 'decimal', ...shapeOf({ precision, scale }) }
  return asFixed
    ? { type: 'fixed', name: `${field}_decimal_${precision}_${scale}`, size: fixedBytes, ...digits }
    : { type: 'bytes', ...digits }
}

/**
 * The schema that Tidemark writes a stream with: its fields in declared order, a nullable one as ["null", T]. `asFixed`
 * names decimals that do not have the digits of the stream's own field.
 */
export function streamSchema(
  name: string,
  fields: Readonly<Record<string, FieldType>>,
  asFixed: ReadonlySet<string> = new Set(),
): AvroSchema {
  const schema: AvroSchema = {
    type: 'record',
    name,
    fields: Object.entries(fields).map(([field, declared]) => {
      const type = avroType(field, declared, asFixed.has(field))
      return { name: field, type: declared.nullable === true ? ['null', type] : type }
    }),
  }
  canonicalForm(schema)
  return schema
}

/**
 * A record schema from its JSON text or value, checked: known types, valid and unique names, bounded size and depth.
 *
 * Errors: FS_DEFINITION_INVALID.
 */
export function parseSchema(input: unknown): AvroSchema {
  let schema = input
  if (typeof input === 'string') {
    if (input.length > schemaBytesMax) throw invalid(`is longer than ${schemaBytesMax} bytes`)
    try {
      schema = JSON.parse(input)
    } catch (cause) {
      throw new FeatureStoreError('FS_DEFINITION_INVALID', 'an Avro schema is no JSON', { cause })
    }
  }
  canonicalForm(schema)
  if ((schema as AvroNode).type !== 'record') throw invalid('of a stream is no record')
  return schema as AvroSchema
}

/**
 * Parsing Canonical Form (specification, "Transforming into Parsing Canonical Form"): full names, only the attributes
 * that decide how bytes are read, in a fixed order, without white space. Logical types and defaults are not in it.
 *
 * Errors: FS_DEFINITION_INVALID for what is no Avro schema.
 */
export function canonicalForm(schema: unknown): string {
  return canonical(schema, '', new Set(), 0)
}

function canonical(schema: unknown, namespace: string, known: Set<string>, depth: number): string {
  if (depth > schemaDepthMax) throw invalid(`is nested more than ${schemaDepthMax} deep`)
  if (typeof schema === 'string') return JSON.stringify(reference(schema, namespace, known))
  if (Array.isArray(schema))
    return `[${schema.map((branch) => canonical(branch, namespace, known, depth + 1)).join(',')}]`
  if (typeof schema !== 'object' || schema === null) throw invalid('has a type that is neither name, object nor union')
  const node = schema as AvroNode
  switch (node.type) {
    case 'record':
    case 'error': {
      const name = define(node, namespace, known)
      const inner = name.includes('.') ? name.slice(0, name.lastIndexOf('.')) : ''
      return `{"name":${JSON.stringify(name)},"type":"${node.type}","fields":[${fieldsOf(node)
        .map(
          (field) => `{"name":${JSON.stringify(field.name)},"type":${canonical(field.type, inner, known, depth + 1)}}`,
        )
        .join(',')}]}`
    }
    case 'enum': {
      const symbols = node.symbols
      if (!Array.isArray(symbols) || !symbols.every((symbol) => typeof symbol === 'string' && identifier.test(symbol)))
        throw invalid('has an enum without valid symbols')
      return `{"name":${JSON.stringify(define(node, namespace, known))},"type":"enum","symbols":${JSON.stringify(symbols)}}`
    }
    case 'fixed': {
      if (!Number.isSafeInteger(node.size) || (node.size as number) < 0) throw invalid('has a fixed without a size')
      return `{"name":${JSON.stringify(define(node, namespace, known))},"type":"fixed","size":${node.size}}`
    }
    case 'array':
      return `{"type":"array","items":${canonical(node.items, namespace, known, depth + 1)}}`
    case 'map':
      return `{"type":"map","values":${canonical(node.values, namespace, known, depth + 1)}}`
    default:
      // {"type": "long", "logicalType": …}: the attributes fall away.
      return canonical(node.type, namespace, known, depth + 1)
  }
}

function fieldsOf(node: AvroNode): readonly AvroField[] {
  if (!Array.isArray(node.fields)) throw invalid('has a record without fields')
  const seen = new Set<string>()
  for (const { name } of node.fields as readonly AvroField[]) {
    if (typeof name !== 'string' || !identifier.test(name))
      throw invalid(`has a field with the name ${JSON.stringify(name)}`)
    if (seen.has(name)) throw invalid(`has the field ${name} twice`)
    seen.add(name)
  }
  return node.fields as readonly AvroField[]
}

function reference(name: string, namespace: string, known: ReadonlySet<string>): string {
  if (primitives.has(name)) return name
  const full = fullName(name, namespace)
  if (!known.has(full)) throw invalid(`names an unknown type ${JSON.stringify(name)}`)
  return full
}

function define(node: AvroNode, namespace: string, known: Set<string>): string {
  const name = node.name
  if (typeof name !== 'string' || !dotted.test(name)) throw invalid(`has the name ${JSON.stringify(name)}`)
  if (node.namespace !== undefined && node.namespace !== '' && !dotted.test(node.namespace))
    throw invalid(`has the namespace ${JSON.stringify(node.namespace)}`)
  const full = fullName(name, node.namespace ?? namespace)
  if (known.has(full) || primitives.has(full)) throw invalid(`defines ${full} twice`)
  known.add(full)
  return full
}

export const fullName = (name: string, namespace: string): string =>
  name.includes('.') || namespace === '' ? name : `${namespace}.${name}`

const invalid = (what: string): FeatureStoreError =>
  new FeatureStoreError('FS_DEFINITION_INVALID', `an Avro schema ${what}`)

const emptyFingerprint = 0xc15d213aa4d7a795n
let fingerprintTable: BigUint64Array | undefined

/** CRC-64-AVRO (specification, "Schema Fingerprints") of the Parsing Canonical Form. */
export function fingerprint(schema: unknown): bigint {
  fingerprintTable ??= makeFingerprintTable()
  let crc = emptyFingerprint
  for (const byte of new TextEncoder().encode(canonicalForm(schema)))
    crc = (crc >> 8n) ^ (fingerprintTable[Number(crc & 0xffn) ^ byte] as bigint)
  return crc
}

function makeFingerprintTable(): BigUint64Array {
  const table = new BigUint64Array(256)
  for (let byte = 0; byte < 256; byte++) {
    let crc = BigInt(byte)
    for (let bit = 0; bit < 8; bit++) crc = crc & 1n ? (crc >> 1n) ^ emptyFingerprint : crc >> 1n
    table[byte] = crc
  }
  return table
}

/** Sixteen hex digits, as people write the number: the name that schemas are kept under. */
export const fingerprintHex = (schema: unknown): string => fingerprint(schema).toString(16).padStart(16, '0')

/**
 * Single-object encoding (specification, "Single-object encoding"): a payload explains itself.
 *
 *     0xc3 0x01 | fingerprint, 8 bytes, little-endian | body
 */
export const singleObjectBytes = 10
export const singleObjectMagic = [0xc3, 0x01] as const

export function singleObjectHeader(schema: unknown): Uint8Array {
  const header = new Uint8Array(singleObjectBytes)
  header.set(singleObjectMagic)
  new DataView(header.buffer).setBigUint64(2, fingerprint(schema), true)
  return header
}
