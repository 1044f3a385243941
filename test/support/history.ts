/** Generated event histories of a small stream: ties, disorder, nulls and extremes are likely, not rare. */
import fc from 'fast-check'
import type { EventBatch } from '../../core/event/batch.ts'
import { Op, type OpCode } from '../../core/event/operation.ts'
import { offset } from '../../core/event/position.ts'
import { shapeOf, type Column, type FieldType, type Scalar } from '../../core/event/types.ts'
import { formatDecimal, unscaledMax, unscaledOfCanonical } from '../../core/number/decimal.ts'
import type { NaiveEvent } from '../../core/engine/naive.ts'

export const fields: Readonly<Record<string, FieldType>> = {
  at: { type: 'timestamp' },
  who: { type: 'string' },
  region: { type: 'int32' },
  i: { type: 'int32', nullable: true },
  b: { type: 'int64', nullable: true },
  f: { type: 'float64', nullable: true, allowNonFinite: true },
  s: { type: 'string', nullable: true },
  ok: { type: 'bool', nullable: true },
  d: { type: 'decimal', precision: 18, scale: 2, nullable: true },
}

/** Fields of a stream whose records correct others: by `id`, or as a changelog by `id` and `line`. */
export const correctedFields: Readonly<Record<string, FieldType>> = {
  id: { type: 'string' },
  line: { type: 'int32' },
  ...fields,
}

export interface GeneratedEvent {
  readonly partition: number
  readonly eventTimeMs: number
  readonly delayMs: number
  readonly fields: Readonly<Record<string, Scalar>>
  readonly op?: OpCode
}

const int32s = fc.oneof(
  fc.integer({ min: -20, max: 20 }),
  fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
  fc.constantFrom(2 ** 31 - 1, -(2 ** 31), 65_535, 65_536),
)
const int64s = fc.oneof(
  fc.bigInt({ min: -20n, max: 20n }),
  fc.constantFrom(2n ** 63n - 1n, -(2n ** 63n), 2n ** 53n + 1n),
)
/** Unscaled; sums of the extremes leave the 18 digits. */
const decimals = fc
  .oneof(fc.bigInt({ min: -500n, max: 500n }), fc.constantFrom(unscaledMax, -unscaledMax, 10n ** 17n, 10n))
  .map((unscaled) => formatDecimal(unscaled, 2))
const floats = fc
  .oneof(
    fc.double({ min: -1000, max: 1000, noNaN: true }),
    fc.double(),
    fc.constantFrom(1e300, -1e300, 1e-300, 0.1, 0.2, Number.NaN, Number.POSITIVE_INFINITY, 5e-324),
  )
  .map((value) => value + 0)

const orNull = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { freq: 6, nil: null })

/** `hot`: all events belong to one entity, so that its windows hold whole runs. */
export const generatedEvent = (spanMs: number, delayMs: number, hot = false): fc.Arbitrary<GeneratedEvent> =>
  fc.record({
    partition: fc.nat({ max: 2 }),
    eventTimeMs: fc.integer({ min: 1_000_000, max: 1_000_000 + spanMs }),
    delayMs: fc.oneof(fc.constant(0), fc.integer({ min: -50, max: delayMs })),
    fields: fc.record({
      who: hot ? fc.constant('a') : fc.constantFrom('a', 'b', 'ü\0', ''),
      region: hot ? fc.constant(0) : fc.nat({ max: 1 }),
      i: orNull(int32s),
      b: orNull(int64s),
      f: orNull(floats),
      s: orNull(fc.constantFrom('x', 'y', 'zürich', '')),
      ok: orNull(fc.boolean()),
      d: orNull(decimals),
    }),
  })

export interface CorrectionShape {
  /** `id`: inserts and retracts by `id`; `changelog`: upserts and deletes by `id` and `line`. */
  readonly kind: 'id' | 'changelog'
  /** How many records. Default: 30 to 80. */
  readonly records?: readonly [min: number, max: number]
  /** Distinct ids; the fewer, the more corrections. Default 6. */
  readonly ids?: number
  /** Event times lie within. Default 1,000. */
  readonly spanMs?: number
  /** knownAt is up to this long after the event time, in steps of a tenth, so that ties are likely. Default 1,000. */
  readonly delayMs?: number
  /** All of one entity. Default: of three, and of some that no key can name. */
  readonly hot?: boolean
}

const tooLong = 'x'.repeat(1_100)

/** What of the declared values a record that only takes back holds. */
const emptied = (values: Readonly<Record<string, Scalar>>, keep: readonly string[]): Record<string, Scalar> =>
  Object.fromEntries(Object.entries(values).map(([name, value]) => [name, keep.includes(name) ? value : null]))

/**
 * Records of a stream that can be corrected, as the log has them, in order of arrival over three partitions. Ids repeat,
 * so that there are many duplicates, retracts before and after their events, rows that move to another entity, deletes of
 * what is there and of what is not, and records with the same knownAt.
 */
export function generatedCorrections({
  kind,
  records = [30, 80],
  ids = 6,
  spanMs = 1_000,
  delayMs = 1_000,
  hot = false,
}: CorrectionShape): fc.Arbitrary<NaiveEvent[]> {
  const changelog = kind === 'changelog'
  const step = Math.max(1, Math.floor(delayMs / 10))
  const record = fc
    .record({
      event: generatedEvent(spanMs, delayMs, hot),
      id: fc.nat({ max: ids - 1 }),
      line: fc.nat({ max: 1 }),
      steps: fc.integer({ min: 0, max: 10 }),
      takesBack: fc.nat({ max: 9 }).map((of) => of < 4),
      odd: fc.nat({ max: 19 }),
      bare: fc.boolean(),
    })
    .map(({ event, id, line, steps, takesBack, odd, bare }): GeneratedEvent => {
      // By id: an event time and an entity of its own, so that records find each other; sometimes another one.
      const own = 1_000_000 + ((id * 7_919) % (spanMs + 1))
      const eventTimeMs = changelog || odd === 0 ? event.eventTimeMs : own
      const who = hot || changelog ? event.fields['who'] : (['a', 'b', 'ü\0'][id % 3] as string)
      const moved = hot ? who : odd === 1 ? event.fields['who'] : odd === 2 ? tooLong : who
      const values = {
        ...event.fields,
        id: `id ${id}`,
        line: changelog ? line : 0,
        who: moved as Scalar,
        region: changelog ? (event.fields['region'] as Scalar) : 0,
      }
      const kept = changelog ? ['id', 'line'] : odd === 3 ? ['id'] : ['id', 'who', 'region']
      return {
        partition: event.partition,
        eventTimeMs,
        // Around the event time of the id, whatever the record's own is.
        delayMs: Math.floor(own / step) * step + steps * step - eventTimeMs,
        op: changelog ? (takesBack ? Op.delete : Op.upsert) : takesBack ? Op.retract : Op.insert,
        fields: takesBack && bare ? emptied(values, kept) : values,
      }
    })
  return fc.array(record, { minLength: records[0], maxLength: records[1], size: 'max' }).map(logged)
}

/** What the log makes of generated events: offsets by partition in order of arrival, knownAt never decreasing. */
export function logged(events: readonly GeneratedEvent[]): NaiveEvent[] {
  const arrival = events.map((event, index) => ({ event, index, known: event.eventTimeMs + event.delayMs }))
  arrival.sort((a, b) => a.known - b.known || a.index - b.index)
  const next = new Map<number, number>()
  return arrival.map(({ event, known }) => {
    const at = next.get(event.partition) ?? 0
    next.set(event.partition, at + 1)
    return {
      partition: event.partition,
      offset: at,
      eventTimeMs: event.eventTimeMs,
      knownAtMs: known,
      fields: { ...event.fields, at: event.eventTimeMs },
      ...(event.op === undefined ? {} : { op: event.op }),
    }
  })
}

function column(field: FieldType, values: readonly Scalar[]): Column {
  const { type } = field
  const mask = values.some((value) => value === null)
    ? Uint8Array.from(values, (value) => (value === null ? 1 : 0))
    : null
  switch (type) {
    case 'string': {
      const strings = [...new Set(values.filter((value) => value !== null))] as string[]
      return {
        type,
        values: Int32Array.from(values, (value) => strings.indexOf(value as string)),
        table: { strings },
        nulls: mask,
      }
    }
    case 'int64':
      return { type, values: BigInt64Array.from(values, (value) => (value as bigint | null) ?? 0n), nulls: mask }
    case 'decimal':
      return {
        type,
        ...shapeOf(field),
        values: BigInt64Array.from(values, (value) => (value === null ? 0n : unscaledOfCanonical(value as string))),
        nulls: mask,
      }
    case 'int32':
      return { type, values: Int32Array.from(values, Number), nulls: mask }
    case 'bool':
      return { type, values: Uint8Array.from(values, Number), nulls: mask }
    default:
      return { type, values: Float64Array.from(values, Number), nulls: mask }
  }
}

/** Consecutive events of one partition as a batch. */
export function batchOf(
  stream: string,
  partition: number,
  events: readonly NaiveEvent[],
  of: Readonly<Record<string, FieldType>> = fields,
): EventBatch {
  const firstOffset = events[0]?.offset ?? 0
  return {
    stream,
    partition,
    epoch: 0,
    firstOffset: offset(firstOffset),
    nextOffset: offset(firstOffset + events.length),
    count: events.length,
    offsets: Float64Array.from(events, (event) => event.offset),
    eventTimes: Float64Array.from(events, (event) => event.eventTimeMs),
    knownAts: Float64Array.from(events, (event) => event.knownAtMs),
    columns: Object.fromEntries(
      Object.entries(of).map(([name, type]) => [
        name,
        column(
          type,
          events.map((event) => event.fields[name] ?? null),
        ),
      ]),
    ),
    ops: events.some(({ op }) => op !== undefined) ? Uint8Array.from(events, ({ op }) => op ?? Op.insert) : null,
    dead: [],
  }
}
