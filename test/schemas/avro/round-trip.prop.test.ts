import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Column, type FieldType, type Scalar, type ScalarType } from '../../../core/event/types.ts'
import { formatDecimal, unscaledMax, unscaledOfCanonical } from '../../../core/number/decimal.ts'
import { earliestMs, latestMs } from '../../../core/time/time.ts'
import { type AvroSchema, type AvroType, compileEncoder, streamSchema } from '../../../schemas/avro/index.ts'
import { avscPayload, decodeAll, rowsOf } from './support.ts'

const extremes = [0, -1, 1, 63, 64, -64, -65, 2 ** 27, 2 ** 28, -(2 ** 28), 2 ** 31 - 1, -(2 ** 31)]
const bigExtremes = [
  ...extremes.map(BigInt),
  2n ** 32n,
  -(2n ** 32n),
  2n ** 55n - 1n,
  2n ** 56n,
  2n ** 63n - 1n,
  -(2n ** 63n),
]
const wholes = fc.oneof(fc.constantFrom(...extremes), fc.integer())
const safe = fc.oneof(
  fc.constantFrom(...extremes, Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER),
  fc.maxSafeInteger(),
)
const text = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 12 }),
  fc.constantFrom('', '\u0000', '\ufeffbom', 'ü', '🙂', 'a'.repeat(300)),
)
const digits = { precision: 18, scale: 3 }
const values: Readonly<Record<ScalarType, fc.Arbitrary<Scalar>>> = {
  string: text,
  bool: fc.boolean(),
  int32: wholes,
  int64: fc.oneof(fc.constantFrom(...bigExtremes), fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })),
  float64: fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => value + 0),
  timestamp: safe,
  decimal: fc
    .oneof(
      fc.constantFrom(0n, -1n, 127n, 128n, -128n, -129n, 2n ** 31n, 2n ** 32n, -(2n ** 32n), unscaledMax, -unscaledMax),
      fc.bigInt({ min: -unscaledMax, max: unscaledMax }),
    )
    .map((unscaled) => formatDecimal(unscaled, digits.scale)),
}
const scalarTypes = Object.keys(values) as ScalarType[]
const eventTimes = fc.oneof(fc.constantFrom(earliestMs, latestMs, 0), fc.integer({ min: earliestMs, max: latestMs }))

type Fields = Record<string, FieldType>
type Row = Record<string, Scalar>

const someFields: fc.Arbitrary<Fields> = fc
  .array(fc.record({ type: fc.constantFrom(...scalarTypes), nullable: fc.boolean() }), { maxLength: 7 })
  .map((types) => ({
    at: { type: 'timestamp' },
    ...Object.fromEntries(
      types.map(({ type, nullable }, index) => [
        `f${index}`,
        { type, ...(type === 'decimal' ? digits : {}), ...(nullable ? { nullable: true } : {}) } as FieldType,
      ]),
    ),
  }))

const rowOf = (fields: Fields): fc.Arbitrary<Row> =>
  fc.record(
    Object.fromEntries(
      Object.entries(fields).map(([name, { type, nullable }]) => [
        name,
        name === 'at' ? eventTimes : nullable === true ? fc.option(values[type]) : values[type],
      ]),
    ),
  )

const histories = someFields.chain((fields) =>
  fc.record({ fields: fc.constant(fields), rows: fc.array(rowOf(fields), { minLength: 1, maxLength: 20 }) }),
)

const branchNames: Readonly<Record<ScalarType, AvroType>> = {
  string: 'string',
  bool: 'boolean',
  int32: 'int',
  int64: 'long',
  float64: 'double',
  timestamp: 'long',
  decimal: { type: 'bytes', logicalType: 'decimal', ...digits },
}

/** A value as avsc wants it for an Avro type that fits the field: longs as bigint, unions wrapped. */
function forAvsc(value: Scalar, type: AvroType): unknown {
  if (Array.isArray(type)) {
    if (value === null) return null
    const branch = (type as readonly AvroType[]).find((one) => one !== 'null') as AvroType
    return { [nameOf(branch)]: forAvsc(value, branch) }
  }
  if (nameOf(type) === 'bytes') return Buffer.from(twosComplement(unscaledOfCanonical(value as string)))
  return nameOf(type) === 'long' ? BigInt(value as number | bigint) : value
}

/** Big-endian, in as few bytes as hold it, as Java's BigInteger has it. */
function twosComplement(value: bigint): number[] {
  const bytes: number[] = []
  for (let rest = value; ; rest >>= 8n) {
    bytes.unshift(Number(rest & 0xffn))
    if (rest >= -128n && rest < 128n) return bytes
  }
}

const nameOf = (type: AvroType): string => (typeof type === 'string' ? type : String((type as { type: unknown }).type))

const avscRow = (schema: AvroSchema, row: Row): Record<string, unknown> =>
  Object.fromEntries(schema.fields.map(({ name, type }) => [name, forAvsc(row[name] ?? null, type)]))

/** Columns with the rows' values, as a decoder would make them. */
function columnsOf(fields: Fields, rows: readonly Row[]): Record<string, Column> {
  return Object.fromEntries(
    Object.entries(fields).map(([name, { type }]): [string, Column] => {
      const cells = rows.map((row) => row[name] ?? null)
      const nulls = cells.includes(null) ? Uint8Array.from(cells, (cell) => (cell === null ? 1 : 0)) : null
      switch (type) {
        case 'int64':
          return [name, { type, values: BigInt64Array.from(cells, (cell) => BigInt(cell ?? 0)), nulls }]
        case 'int32':
          return [name, { type, values: Int32Array.from(cells, Number), nulls }]
        case 'bool':
          return [name, { type, values: Uint8Array.from(cells, Number), nulls }]
        case 'decimal':
          return [
            name,
            {
              type,
              ...digits,
              values: BigInt64Array.from(cells, (cell) => unscaledOfCanonical(String(cell ?? 0))),
              nulls,
            },
          ]
        case 'string': {
          const strings = [...new Set(cells.map((cell) => (cell ?? '') as string))]
          const codes = Int32Array.from(cells, (cell) => strings.indexOf((cell ?? '') as string))
          return [name, { type, values: codes, table: { strings }, nulls }]
        }
        case 'float64':
        case 'timestamp':
          return [name, { type, values: Float64Array.from(cells, Number), nulls }]
      }
    }),
  )
}

describe('payloads', () => {
  it('are the bytes of avsc, from values, lists and columns alike', () => {
    fc.assert(
      fc.property(histories, ({ fields, rows }) => {
        const schema = streamSchema('events', fields)
        const encoder = compileEncoder(schema)
        const columns = columnsOf(fields, rows)
        rows.forEach((row, index) => {
          const theirs = avscPayload(schema, avscRow(schema, row))
          expect(encoder.encode(row)).toEqual(theirs)
          expect(encoder.encode(schema.fields.map(({ name }) => row[name] ?? null))).toEqual(theirs)
          expect(encoder.encodeRow(columns, index)).toEqual(theirs)
        })
      }),
      { numRuns: 60 },
    )
  })

  it('decode to what was written', () => {
    fc.assert(
      fc.property(histories, ({ fields, rows }) => {
        const schema = streamSchema('events', fields)
        const encoder = compileEncoder(schema)
        const batch = decodeAll(
          [schema],
          rows.map((row) => encoder.encode(row)),
          { fields },
        )
        expect(batch.dead).toEqual([])
        expect(rowsOf(batch)).toEqual(rows)
        expect([...batch.eventTimes]).toEqual(rows.map(({ at }) => at))
        expect([...batch.offsets]).toEqual(rows.map((_, index) => index))
        expect([...batch.knownAts]).toEqual(rows.map((_, index) => 1000 + index))
      }),
      { numRuns: 100 },
    )
  })

  it('from a wider writer, with fields in another order and others between, decode the same', () => {
    fc.assert(
      fc.property(histories, fc.infiniteStream(fc.nat()), ({ fields, rows }, choices) => {
        const choose = (count: number): number => (choices.next().value as number) % count
        const extras: readonly AvroType[] = [
          'string',
          'double',
          { type: 'array', items: 'int' },
          { type: 'map', values: 'long' },
        ]
        const written: { name: string; type: AvroType }[] = []
        const extraValues: Record<string, unknown> = {}
        for (const [name, { type, nullable }] of Object.entries(fields)) {
          const base = type === 'int32' && choose(2) === 0 ? 'long' : branchNames[type]
          const union: AvroType = choose(2) === 0 ? ['null', base] : [base, 'null']
          written.splice(choose(written.length + 1), 0, {
            name,
            type: nullable === true || choose(2) === 0 ? union : base,
          })
          if (choose(3) > 0) continue
          const extra = choose(extras.length)
          written.splice(choose(written.length + 1), 0, { name: `x_${name}`, type: extras[extra] as AvroType })
          extraValues[`x_${name}`] = ['text', 1.5, [1, 2, 3], { a: 5n, b: -6n }][extra]
        }
        const writer: AvroSchema = { type: 'record', name: 'wide', fields: written }
        const payloads = rows.map((row) =>
          avscPayload(
            writer,
            Object.fromEntries(
              written.map(({ name, type }) => [name, extraValues[name] ?? forAvsc(row[name] ?? null, type)]),
            ),
          ),
        )
        const batch = decodeAll([writer], payloads, { fields })
        expect(batch.dead).toEqual([])
        expect(rowsOf(batch)).toEqual(rows)
      }),
      { numRuns: 100 },
    )
  })

  it('damaged anywhere become dead letters or events, the same ones for every projection, and never an exception', () => {
    fc.assert(
      fc.property(
        histories,
        fc.array(fc.record({ row: fc.nat(), at: fc.nat(), byte: fc.nat(255), cut: fc.boolean() }), { maxLength: 12 }),
        ({ fields, rows }, damages) => {
          const schema = streamSchema('events', fields)
          const encoder = compileEncoder(schema)
          const payloads = rows.map((row) => encoder.encode(row).slice())
          for (const { row, at, byte, cut } of damages) {
            const payload = payloads[row % payloads.length] as Uint8Array
            const index = at % (payload.length + 1)
            if (cut) payloads[row % payloads.length] = payload.slice(0, index)
            else if (index < payload.length) payload[index] = byte
          }
          const all = decodeAll([schema], payloads, { fields })
          expect(all.count + all.dead.length).toBe(rows.length)
          const few = decodeAll([schema], payloads, { fields, projection: [] })
          expect(few.dead).toEqual(all.dead)
          expect(few.columns).toEqual({})
          expect(few.eventTimes).toEqual(all.eventTimes)
        },
      ),
      { numRuns: 300 },
    )
  })
})
