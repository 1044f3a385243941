import { takesBack } from '../core/definition/corrections.ts'
import { entityFieldsOf, serviceOf, streamOf, type Catalog } from '../core/definition/catalog.ts'
import type { ModelDefinition } from '../core/definition/types.ts'
import { Interner } from '../core/engine/interner.ts'
import type { EventBatch } from '../core/event/batch.ts'
import type { Column, ScalarType } from '../core/event/types.ts'
import { compileExpression } from '../core/expression/compile.ts'
import { fieldsOf } from '../core/expression/expression.ts'
import type { LabelSet } from './labels.ts'

/** Fields of the model's stream that its label rows take. */
export function labelFields(catalog: Catalog, model: ModelDefinition): string[] {
  const stream = streamOf(catalog, model.labels.from)
  const keys = Object.keys(entityKeyFields(catalog, model))
  const { label, request } = model.labels
  return [...new Set([stream.eventTime, ...keys, ...Object.values(request), ...fieldsOf(label)])]
}

const entityKeyFields = (catalog: Catalog, model: ModelDefinition): ReturnType<typeof entityFieldsOf> =>
  entityFieldsOf(
    catalog,
    serviceOf(catalog, model.service).features.map(({ view }) => view),
  )

/**
 * Label rows of a model, drawn from the events of its stream: each event is one, as of its own event time and known as
 * of the same. Events whose label or entity key is null are left out.
 *
 * Sample: the `sampleRows` events with the smallest hashes of (partition, offset), ties by (partition, offset); all of
 *         them when there are fewer. It depends on the events alone, not on batches or the order of partitions.
 * Order:  (as-of, partition, offset).
 * Memory: at most twice the sample and one batch.
 */
export async function labelsFromStream(
  catalog: Catalog,
  model: ModelDefinition,
  batches: AsyncIterable<EventBatch>,
): Promise<LabelSet> {
  const stream = streamOf(catalog, model.labels.from)
  const keys = Object.keys(entityKeyFields(catalog, model))
  const kept = [...new Set([...keys, ...Object.values(model.labels.request)])]
  const labelOf = compileExpression(model.labels.label, stream.fields)
  const sample = new Sample(model.labels.sampleRows)
  for await (const batch of batches) {
    if (batch.stream !== stream.name || batch.count === 0) continue
    const label = labelOf(batch.columns, batch.count) as Column & { readonly type: 'bool' }
    const masks = [label, ...keys.map((name) => batch.columns[name] as Column)].flatMap(({ nulls }) => nulls ?? [])
    // What takes back an event is none.
    if (batch.ops !== null) masks.push(Uint8Array.from(batch.ops, (op) => (takesBack(op) ? 1 : 0)))
    sample.take(batch, label, masks, kept)
  }
  const rows = sample.finish()
  const column = (field: string): Column => gathered(rows, field, (stream.fields[field] as { type: ScalarType }).type)
  const asOfMs = Float64Array.from(rows, ({ from, at }) => from.times[at] as number)
  return {
    rows: rows.length,
    entities: Object.fromEntries(keys.map((name) => [name, column(name)])),
    asOfMs,
    knownAsOfMs: asOfMs,
    knownAsOfGiven: false,
    request: Object.fromEntries(Object.entries(model.labels.request).map(([name, field]) => [name, column(field)])),
    passthrough: [],
    label: Uint8Array.from(rows, ({ from, at }) => from.labels[at] as number),
  }
}

/** Candidates out of one batch, in its order. */
interface Candidates {
  readonly partition: number
  readonly hashes: Uint32Array
  readonly offsets: Float64Array
  readonly times: Float64Array
  readonly labels: Uint8Array
  readonly columns: Readonly<Record<string, Column>>
}

interface SampledRow {
  readonly from: Candidates
  readonly at: number
}

/** Finalizer of MurmurHash3 (Appleby): every bit of the input moves every bit of the output. */
function mix(value: number): number {
  let h = value
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return h ^ (h >>> 16)
}

const partitionSeed = (partition: number): number => mix(Math.imul(partition + 1, 0x9e3779b9))

/** Unsigned 32 bits out of a partition's seed and an offset below 2^53. */
function hashOf(seed: number, offset: number): number {
  const high = Math.floor(offset / 4_294_967_296)
  return mix(mix((offset | 0) ^ seed) ^ high) >>> 0
}

/**
 * Keeps candidates up to a hash that falls as they come in: above twice the sample, the largest half goes. Ties at the
 * bound stay until the end, which settles them.
 */
class Sample {
  readonly #rowsMax: number
  #kept: Candidates[] = []
  #count = 0
  #hashMax = 0xffffffff

  constructor(rowsMax: number) {
    this.#rowsMax = rowsMax
  }

  take(
    batch: EventBatch,
    label: Column & { readonly type: 'bool' },
    masks: readonly Uint8Array[],
    fields: readonly string[],
  ): void {
    const seed = partitionSeed(batch.partition)
    const rows = new Int32Array(batch.count)
    const hashes = new Uint32Array(batch.count)
    let count = 0
    for (let row = 0; row < batch.count; row++) {
      const hash = hashOf(seed, batch.offsets[row] as number)
      if (hash > this.#hashMax || masks.some((mask) => mask[row] === 1)) continue
      rows[count] = row
      hashes[count++] = hash
    }
    if (count === 0) return
    const from = rows.subarray(0, count)
    this.#kept.push({
      partition: batch.partition,
      hashes: hashes.slice(0, count),
      offsets: pickFloats(batch.offsets, from),
      times: pickFloats(batch.eventTimes, from),
      labels: pickBytes(label.values, from),
      columns: Object.fromEntries(fields.map((name) => [name, pick(batch.columns[name] as Column, from)])),
    })
    this.#count += count
    if (this.#count > 2 * this.#rowsMax) this.#shrink()
  }

  finish(): SampledRow[] {
    const rows: SampledRow[] = []
    if (this.#count > this.#rowsMax) this.#shrink()
    for (const from of this.#kept) for (let at = 0; at < from.hashes.length; at++) rows.push({ from, at })
    const hash = ({ from, at }: SampledRow): number => from.hashes[at] as number
    const offset = ({ from, at }: SampledRow): number => from.offsets[at] as number
    const time = ({ from, at }: SampledRow): number => from.times[at] as number
    if (rows.length > this.#rowsMax) {
      const place = (a: SampledRow, b: SampledRow): number =>
        hash(a) - hash(b) || a.from.partition - b.from.partition || offset(a) - offset(b)
      rows.sort(place).length = this.#rowsMax
    }
    return rows.sort((a, b) => time(a) - time(b) || a.from.partition - b.from.partition || offset(a) - offset(b))
  }

  #shrink(): void {
    const all = new Uint32Array(this.#count)
    let at = 0
    for (const { hashes } of this.#kept) {
      all.set(hashes, at)
      at += hashes.length
    }
    this.#hashMax = all.sort()[this.#rowsMax - 1] as number
    this.#kept = this.#kept
      .map((candidates) => upTo(candidates, this.#hashMax))
      .filter(({ hashes }) => hashes.length > 0)
    this.#count = this.#kept.reduce((sum, { hashes }) => sum + hashes.length, 0)
  }
}

function upTo(candidates: Candidates, hashMax: number): Candidates {
  const { hashes } = candidates
  const rows = new Int32Array(hashes.length)
  let count = 0
  for (let row = 0; row < hashes.length; row++) if ((hashes[row] as number) <= hashMax) rows[count++] = row
  if (count === hashes.length) return candidates
  const from = rows.subarray(0, count)
  return {
    partition: candidates.partition,
    hashes: Uint32Array.from(from, (row) => hashes[row] as number),
    offsets: pickFloats(candidates.offsets, from),
    times: pickFloats(candidates.times, from),
    labels: pickBytes(candidates.labels, from),
    columns: Object.fromEntries(Object.entries(candidates.columns).map(([name, column]) => [name, pick(column, from)])),
  }
}

function pickFloats(values: Float64Array, rows: Int32Array): Float64Array {
  const picked = new Float64Array(rows.length)
  for (let index = 0; index < rows.length; index++) picked[index] = values[rows[index] as number] as number
  return picked
}
function pickInts(values: Int32Array, rows: Int32Array): Int32Array {
  const picked = new Int32Array(rows.length)
  for (let index = 0; index < rows.length; index++) picked[index] = values[rows[index] as number] as number
  return picked
}
function pickBytes(values: Uint8Array, rows: Int32Array): Uint8Array {
  const picked = new Uint8Array(rows.length)
  for (let index = 0; index < rows.length; index++) picked[index] = values[rows[index] as number] as number
  return picked
}

function pick(column: Column, rows: Int32Array): Column {
  const nulls = column.nulls === null ? null : pickBytes(column.nulls, rows)
  switch (column.type) {
    case 'int32':
      return { ...column, values: pickInts(column.values, rows), nulls }
    case 'string':
      return { ...column, values: pickInts(column.values, rows), nulls }
    case 'bool':
      return { ...column, values: pickBytes(column.values, rows), nulls }
    case 'int64':
      return { ...column, values: BigInt64Array.from(rows, (row) => column.values[row] as bigint), nulls }
    case 'decimal':
      return { ...column, values: BigInt64Array.from(rows, (row) => column.values[row] as bigint), nulls }
    default:
      return { ...column, values: pickFloats(column.values, rows), nulls }
  }
}

function emptyValues(type: ScalarType, rows: number): Column['values'] {
  switch (type) {
    case 'int32':
    case 'string':
      return new Int32Array(rows)
    case 'bool':
      return new Uint8Array(rows)
    case 'int64':
    case 'decimal':
      return new BigInt64Array(rows)
    default:
      return new Float64Array(rows)
  }
}

/** One column over rows of many batches; strings get codes of one table. */
function gathered(rows: readonly SampledRow[], field: string, type: ScalarType): Column {
  const values = emptyValues(type, rows.length)
  const table = new Interner()
  let nulls: Uint8Array | null = null
  rows.forEach(({ from, at }, row) => {
    const column = from.columns[field] as Column
    if (column.nulls?.[at] === 1) {
      nulls ??= new Uint8Array(rows.length)
      nulls[row] = 1
    } else if (column.type === 'string')
      values[row] = table.code(column.table.strings[column.values[at] as number] as string)
    else values[row] = column.values[at] as number | bigint
  })
  return (type === 'string' ? { type, values, table, nulls } : { type, values, nulls }) as Column
}
