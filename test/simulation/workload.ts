/**
 * What flows: three streams with all that makes events hard (late, too late, too early, duplicates by id, others that differ,
 * retracts before and after their events, moves in a changelog, records that do not decode, keys that are too long), and
 * views of them. Moments are multiples of `tickMs`, so that ties and window edges are hit and not missed by a hair.
 */
import { buildCatalog, streamOf, type Catalog } from '../../core/definition/catalog.ts'
import { float64, int32, nullable, string, timestamp } from '../../core/definition/fields.ts'
import { count, distinctCount, last, lastN, max, mean, rows, share, sum } from '../../core/definition/functions.ts'
import { entity, stream } from '../../core/definition/stream.ts'
import { view } from '../../core/definition/view.ts'
import { Op, opNames, type OpCode } from '../../core/event/operation.ts'
import type { Scalar } from '../../core/event/types.ts'
import type { LogRecord } from '../../core/ports/event-log.ts'
import {
  compileEncoder,
  fingerprintHex,
  streamSchema,
  type AvroSchema,
  type RowEncoder,
} from '../../schemas/avro/index.ts'
import type { WriterSchemas } from '../../schemas/stream-reader.ts'
import type { Prng } from '../support/prng.ts'

export const tickMs = 100
/** Event time of the first moment, and how many times as fast it goes as the clock of the simulation. */
export const startMs = 1_700_000_000_000
export const speed = 10

const taps = stream('taps', {
  fields: { at: timestamp(), card: int32(), n: nullable(int32()), amount: nullable(float64()) },
  eventTime: 'at',
  partitions: 2,
})
const orders = stream('orders', {
  fields: { id: string(), op: string(), at: timestamp(), who: string(), n: nullable(int32()) },
  eventTime: 'at',
  id: 'id',
  op: 'op',
  dedupeSpan: 6_000,
  partitions: 2,
})
const accounts = stream('accounts', {
  fields: { id: int32(), op: string(), at: timestamp(), owner: int32(), level: nullable(int32()) },
  eventTime: 'at',
  changelog: true,
  primaryKey: ['id'],
  op: 'op',
})
/** As accounts, but a row never leaves its owner: its versions lie beside the rows of the owner. */
const seats = stream('seats', {
  fields: { id: int32(), op: string(), at: timestamp(), owner: int32(), level: nullable(int32()) },
  eventTime: 'at',
  changelog: true,
  primaryKey: ['owner', 'id'],
  op: 'op',
})
const card = entity('card', { key: { card: int32() } })
const person = entity('person', { key: { who: string() } })
const owner = entity('owner', { key: { owner: int32() } })

const byCard = view('by_card', {
  from: taps,
  entity: card,
  lateness: 8_000,
  maxAhead: 1_000,
  features: ({ n, amount }) => ({
    n_20s: count().over(20_000),
    sum_20s: sum(amount).over(20_000),
    mean_5s: mean(n).over(5_000, { endsBefore: 1_000 }),
    share_10s: share(n.gt(0)).over(10_000),
    last_10s: last(n).over(10_000),
  }),
})
/** Never pruned: the rows of busy cards are heads and parts. */
const cardLife = view('card_life', {
  from: taps,
  entity: card,
  features: ({ n, amount }) => ({
    n: count(),
    sum: sum(n),
    mean: mean(amount),
    newest: lastN(n, 3),
    kinds: distinctCount(n).over(30_000),
    ten: sum(amount).over(rows(10)),
  }),
})
const byPerson = view('by_person', {
  from: orders,
  entity: person,
  ttl: 40_000,
  lateness: 6_000,
  maxAhead: 1_000,
  features: ({ n }) => ({
    n_15s: count().over(15_000),
    n_all: count(),
    sum: sum(n),
    last: lastN(n, 2),
    max_10s: max(n).over(10_000),
  }),
})
const byOwner = view('by_owner', {
  from: accounts,
  entity: owner,
  features: ({ level }) => ({ n: count(), level: sum(level), newest: last(level).over(60_000) }),
})
const seated = view('seated', {
  from: seats,
  entity: owner,
  features: ({ level }) => ({ n: count(), level: sum(level), newest: last(level).over(60_000) }),
})

const keyed = [taps, orders, card, person, byCard, cardLife, byPerson] as const

/** A changelog whose rows move between entities needs one owner of all shards. */
export const catalogs: Readonly<Record<'alone' | 'shared', Catalog>> = {
  alone: buildCatalog([...keyed, accounts, owner, byOwner]),
  shared: buildCatalog([...keyed, seats, owner, seated]),
}

const schemas = new Map<string, AvroSchema>(
  [taps, orders, accounts, seats].map(({ name, fields }) => [name, streamSchema(name, fields)]),
)
const encoders = new Map<string, RowEncoder>([...schemas].map(([name, schema]) => [name, compileEncoder(schema)]))
const fingerprints = new Map([...schemas].map(([name, schema]) => [name, fingerprintHex(schema)]))

export const writerSchemas: WriterSchemas = (name, fingerprint) =>
  fingerprints.get(name) === fingerprint ? schemas.get(name) : undefined

export const partitionsOf = (catalog: Catalog): Record<string, number> =>
  Object.fromEntries([...catalog.streams.keys()].map((name) => [name, streamOf(catalog, name).partitions]))

/** A record on its way to the log. */
export interface Draft {
  readonly partition: number
  /** Null: bytes that do not decode. */
  readonly event: {
    readonly eventTimeMs: number
    readonly op: OpCode
    readonly fields: Readonly<Record<string, Scalar>>
  } | null
}

interface Order {
  readonly id: string
  readonly at: number
  readonly who: string
  readonly n: number | null
}

const people = Array.from({ length: 14 }, (_, index) => `person ${index}`)
const tooLong = 'x'.repeat(1_100)
const cards = 24
/** Orders that are still retracted or sent again. */
const recentOrders = 24

/** The records of a seed, in the order in which they are written. */
export class Workload {
  readonly #random: Prng
  #orders = 0
  #recent: Order[] = []
  /** Retracted before they come. */
  #owed: Order[] = []

  constructor(random: Prng) {
    this.#random = random
  }

  /** A record of a stream, written at `nowMs` of event time. */
  draft(stream: string, nowMs: number): Draft {
    const random = this.#random
    switch (stream) {
      case 'taps':
        return random.chance(0.015) ? this.#broken(2) : this.#tap(nowMs)
      case 'orders':
        return random.chance(0.015) ? this.#broken(2) : this.#order(nowMs)
      default:
        return random.chance(0.015) ? this.#broken(1) : this.#account(nowMs)
    }
  }

  #broken(partitions: number): Draft {
    return { partition: this.#random.integer(0, partitions - 1), event: null }
  }

  /** When something happened that is written now: mostly just before, at times long before, or after. */
  #eventTime(nowMs: number): number {
    const random = this.#random
    const kind = random.unit()
    const delayMs =
      kind < 0.6
        ? random.integer(0, 600)
        : kind < 0.88
          ? random.integer(0, 6_000)
          : kind < 0.95
            ? random.integer(5_900, 14_000)
            : -random.integer(0, 1_600)
    return Math.floor((nowMs - delayMs) / tickMs) * tickMs
  }

  #tap(nowMs: number): Draft {
    const random = this.#random
    const at = this.#eventTime(nowMs)
    const amount = random.chance(0.05)
      ? random.pick([1e16, -1e16, 0.1, 1e-9, Number.NaN])
      : random.integer(-9_999, 9_999) / 100
    return {
      partition: random.integer(0, 1),
      event: {
        eventTimeMs: at,
        op: Op.insert,
        fields: {
          at,
          card: random.chance(0.35) ? random.integer(0, 1) : random.integer(0, cards - 1),
          n: random.chance(0.1) ? null : random.integer(-9, 9),
          amount: random.chance(0.1) ? null : amount,
        },
      },
    }
  }

  #order(nowMs: number): Draft {
    const random = this.#random
    const kind = random.unit()
    const known = this.#recent
    if (this.#owed.length > 0 && kind < 0.3) return orderDraft(this.#owed.shift() as Order, Op.insert)
    if (known.length > 0 && kind < 0.42) {
      const again = random.pick(known)
      return orderDraft(random.chance(0.4) ? { ...again, n: random.integer(50, 59) } : again, Op.insert)
    }
    if (known.length > 0 && kind < 0.62) return orderDraft(random.pick(known), Op.retract)
    const who = random.chance(0.02) ? tooLong : random.pick(people)
    const n = random.chance(0.1) ? null : random.integer(-9, 9)
    const order = { id: `order ${this.#orders++}`, at: this.#eventTime(nowMs), who, n }
    if (known.push(order) > recentOrders) known.shift()
    if (kind < 0.9) return orderDraft(order, Op.insert)
    this.#owed.push(order)
    return orderDraft(order, Op.retract)
  }

  #account(nowMs: number): Draft {
    const random = this.#random
    const at = this.#eventTime(nowMs)
    const fields = { id: random.integer(0, 19), at, owner: random.integer(0, 5), level: random.integer(0, 99) }
    return { partition: 0, event: { eventTimeMs: at, op: random.chance(0.15) ? Op.delete : Op.upsert, fields } }
  }
}

/** All orders of a person lie in one partition, so that which of two came first is the log's to say. */
const orderDraft = ({ id, at, who, n }: Order, op: OpCode): Draft => ({
  partition: who === tooLong ? 0 : people.indexOf(who) % 2,
  event: { eventTimeMs: at, op, fields: { id, at, who, n } },
})

/** As the log holds it; which records are dead in it, with the code of their dead letter. */
export function recordOf(stream: string, { event }: Draft, timestampMs: number): LogRecord {
  if (event === null) return { key: null, value: Uint8Array.of(1, 2, 3), timestampMs }
  const encoder = encoders.get(stream) as RowEncoder
  const { fields, op } = event
  const value = encoder.encode(stream === 'taps' ? fields : { ...fields, op: opNames[op] as string })
  return { key: null, value: value.slice(), timestampMs }
}

/** The code under which a record is dead for its stream, null for an event. */
export const deadCodeOf = ({ event }: Draft): 'FS_DEAD_UNDECODABLE' | 'FS_DEAD_NON_FINITE' | null => {
  if (event === null) return 'FS_DEAD_UNDECODABLE'
  return Number.isNaN(event.fields['amount']) ? 'FS_DEAD_NON_FINITE' : null
}
