/** Seven days of card payments as a log of record batches in memory: the same bytes for the same options. */
import { seeded } from '../../cli/audit.ts'
import { FeatureStoreError } from '../../core/errors.ts'
import { offset, offsetZero, type Offset } from '../../core/event/position.ts'
import type { Column } from '../../core/event/types.ts'
import type { EventLog, LogChunk, LogRecord, PartitionInfo } from '../../core/ports/event-log.ts'
import { compileEncoder } from '../../schemas/avro/index.ts'
import { batchHeaderBytes, encodeBatch } from '../../schemas/recordbatch/index.ts'
import { ensure } from '../harness.ts'
import { cards, cardsSchema, cardText, spanMs } from './cards.ts'

export const batchRecords = 500
/** As the worker reads. */
export const readBytes = 256 * 1024

export const startMs = Date.UTC(2026, 0, 5)
/** After every event, and not a week after the first one that was not set back. */
export const endMs = startMs + spanMs

export interface DatasetOptions {
  readonly name: string
  readonly events: number
  readonly entities: number
  /** Which entity an event is of: drawn evenly, drawn by Zipf's law with this exponent, or one after the other. */
  readonly draw?: 'evenly' | 'in-turn' | { readonly zipf: number }
  /** Share of events that are set back in event time by 1 s to 1 h, evenly. */
  readonly setBack?: number
}

export interface Dataset {
  readonly name: string
  readonly events: number
  /** How many entities there are events of. */
  readonly entities: number
  readonly log: CardLog
  /** The entity of each event, by its offset. */
  readonly owners: Int32Array
  /** Events of each entity, by its number. */
  readonly perEntity: Int32Array
  /** Bytes of an event's Avro body, of its payload with the single-object header, and in its batch. */
  readonly bytes: { readonly body: number; readonly payload: number; readonly inBatch: number }
}

const knownAfterMsMax = 2_000
const setBackMsMin = 1_000
const setBackMsMax = 3_600_000
const bodyBytes = 36
const headerBytes = 10
/** More than a record takes. */
const recordBytesMax = 64

export function makeDataset(options: DatasetOptions): Dataset {
  const { name, events, entities, draw = 'evenly', setBack = 0 } = options
  const batches = Math.ceil(events / batchRecords)
  const random = seeded(7)
  const pick = drawer(draw, entities, random)
  const owners = new Int32Array(events)
  const encoder = compileEncoder(cardsSchema)
  const bytes = new Uint8Array(events * recordBytesMax + (batches + 1) * batchHeaderBytes)
  const starts = new Float64Array(batches + 1)
  const slice = new Slice()
  const stepMs = (spanMs - knownAfterMsMax - 1) / events
  let at = 0
  for (let first = 0; first < events; first += batchRecords) {
    starts[first / batchRecords] = at
    const knownAts: number[] = []
    for (let row = 0; row < Math.min(batchRecords, events - first); row++) {
      const entity = pick(first + row)
      owners[first + row] = entity
      // Drawn in order of knownAt, since that is the order of the log.
      const knownAt = Math.floor(startMs + knownAfterMsMax + (first + row + random()) * stepMs)
      let time = knownAt - Math.floor(random() * (knownAfterMsMax + 1))
      if (setBack > 0 && random() < setBack)
        time -= setBackMsMin + Math.floor(random() * (setBackMsMax - setBackMsMin + 1))
      slice.set(row, entity, time, random)
      knownAts.push(knownAt)
    }
    const columns = slice.columns()
    const batch = encodeBatch(
      knownAts.map((timestampMs, row): LogRecord => ({
        key: null,
        value: encoder.encodeRow(columns, row),
        timestampMs,
      })),
      { baseOffset: first, epoch: 0 },
    )
    bytes.set(batch, at)
    at += batch.length
  }
  starts[batches] = at
  return {
    name,
    events,
    ...counted(owners, entities),
    log: new CardLog(bytes.subarray(0, at), starts, events),
    bytes: { body: slice.payloadBytes(encoder) - headerBytes, payload: bodyBytes + headerBytes, inBatch: at / events },
  }
}

function counted(owners: Int32Array, entities: number): Pick<Dataset, 'owners' | 'perEntity' | 'entities'> {
  const perEntity = new Int32Array(entities)
  for (const owner of owners) perEntity[owner] = (perEntity[owner] as number) + 1
  return { owners, perEntity, entities: perEntity.reduce((count, events) => count + (events > 0 ? 1 : 0), 0) }
}

/** The first events of a data set, as one of its own. */
export const firstOf = (dataset: Dataset, events: number): Dataset =>
  events >= dataset.events
    ? dataset
    : {
        ...dataset,
        ...counted(dataset.owners.subarray(0, events), dataset.perEntity.length),
        events,
        log: dataset.log.head(events),
      }

type Drawer = (event: number) => number

function drawer(draw: Required<DatasetOptions>['draw'], entities: number, random: () => number): Drawer {
  if (draw === 'in-turn') return (event) => event % entities
  if (draw === 'evenly') return () => Math.floor(random() * entities)
  const sums = new Float64Array(entities)
  let sum = 0
  for (let rank = 0; rank < entities; rank++) sums[rank] = sum += (rank + 1) ** -draw.zipf
  return () => {
    const wanted = random() * sum
    let low = 0
    let high = entities - 1
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((sums[middle] as number) <= wanted) low = middle + 1
      else high = middle
    }
    return low
  }
}

/** The columns of one batch. Values are drawn from ranges whose varints are all of one length. */
class Slice {
  readonly #ints = {
    merchant: new Int32Array(batchRecords),
    country: new Int32Array(batchRecords),
    category: new Int32Array(batchRecords),
    terminal: new Int32Array(batchRecords),
    attempt: new Int32Array(batchRecords),
    auth: new Int32Array(batchRecords),
  }
  readonly #times = new Float64Array(batchRecords)
  readonly #amounts = new Float64Array(batchRecords)
  readonly #present = new Uint8Array(batchRecords)
  #texts: string[] = []
  readonly #codes = Int32Array.from({ length: batchRecords }, (_, row) => row)

  set(row: number, entity: number, time: number, random: () => number): void {
    const { merchant, country, category, terminal, attempt, auth } = this.#ints
    const drawn = Math.floor(random() * 0x1_0000_0000)
    this.#texts[row] = cardText(entity)
    this.#times[row] = time
    // 0.01 to 2,000.00: many small amounts, few large ones.
    this.#amounts[row] = (1 + Math.floor(random() ** 3 * 200_000)) / 100
    merchant[row] = 8_192 + (drawn & 0xffff)
    country[row] = drawn & 63
    category[row] = 64 + ((drawn >>> 8) & 0xfff)
    terminal[row] = 8_192 + ((drawn >>> 12) & 0xfffff) * 0.9
    this.#present[row] = drawn & 1
    attempt[row] = (drawn >>> 3) & 3
    auth[row] = 8_192 + ((drawn >>> 5) & 0x7ffff)
  }

  columns(): Readonly<Record<string, Column>> {
    const ints = Object.fromEntries(
      Object.entries(this.#ints).map(([name, values]) => [name, { type: 'int32', values, nulls: null }] as const),
    )
    const columns: Readonly<Record<string, Column>> = {
      ...ints,
      card: { type: 'string', values: this.#codes, table: { strings: this.#texts }, nulls: null },
      time: { type: 'timestamp', values: this.#times, nulls: null },
      amount: { type: 'float64', values: this.#amounts, nulls: null },
      present: { type: 'bool', values: this.#present, nulls: null },
    }
    this.#texts = this.#texts.slice()
    return columns
  }

  /** Bytes of the rows at hand, which are all of one length. */
  payloadBytes(encoder: ReturnType<typeof compileEncoder>): number {
    const columns = this.columns()
    const lengths = new Set(this.#texts.map((_, row) => encoder.encodeRow(columns, row).length))
    ensure(lengths.size === 1, `payloads are of ${lengths.size} lengths`)
    const [length = 0] = lengths
    ensure(length === bodyBytes + headerBytes, `an event has ${length - headerBytes} bytes, not ${bodyBytes}`)
    return length
  }
}

/** An EventLog of one stream with one partition, which nobody writes to; chunks are parts of one array, not copies. */
export class CardLog implements EventLog {
  readonly logId = 'bench'
  readonly bytes: Uint8Array
  readonly records: number
  readonly #starts: Float64Array

  constructor(bytes: Uint8Array, starts: Float64Array, records: number) {
    this.bytes = bytes
    this.records = records
    this.#starts = starts
  }

  /** As `fetch`, without a promise. */
  chunk(from: number, bytesMax: number): LogChunk {
    const first = Math.floor(from / batchRecords)
    const base = this.#starts[first] as number
    const batches = this.#starts.length - 1
    let next = Math.min(first + 1, batches)
    while (next < batches && (this.#starts[next + 1] as number) - base <= bytesMax) next++
    return {
      bytes: this.bytes.subarray(base, this.#starts[next]),
      baseOffset: offset(first * batchRecords),
      nextOffset: offset(Math.min(next * batchRecords, this.records)),
    }
  }

  /** The first `records` records of it, a whole number of batches. */
  head(records: number): CardLog {
    const batches = records / batchRecords
    ensure(Number.isInteger(batches), `${records} records are no whole number of batches`)
    const starts = this.#starts.subarray(0, batches + 1)
    return new CardLog(this.bytes.subarray(0, starts[batches]), starts, records)
  }

  *chunks(): Generator<LogChunk> {
    for (let from = 0; from < this.records;) {
      const chunk = this.chunk(from, readBytes)
      yield chunk
      from = chunk.nextOffset
    }
  }

  describe(stream: string): Promise<readonly PartitionInfo[] | null> {
    const partition = { epochs: [{ epoch: 0, firstOffset: offsetZero }], start: offsetZero, end: offset(this.records) }
    return Promise.resolve(stream === cards.name ? [partition] : null)
  }

  fetch(_stream: string, _partition: number, from: Offset, bytesMax: number): Promise<LogChunk> {
    return Promise.resolve(this.chunk(from, bytesMax))
  }

  create(): Promise<never> {
    return readOnly()
  }
  append(): Promise<never> {
    return readOnly()
  }
  nextSequence(): Promise<number> {
    return Promise.resolve(0)
  }
}

const readOnly = (): Promise<never> => Promise.reject(new FeatureStoreError('FS_INTERNAL', 'this log is only read'))
