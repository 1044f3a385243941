import { takesBack } from '../core/definition/corrections.ts'
import { entityFieldsOf, keyTypesOf, serviceOf, streamOf, viewOf, type Catalog } from '../core/definition/catalog.ts'
import type { ServiceDefinition } from '../core/definition/types.ts'
import type { FeatureColumn } from '../core/engine/feature-column.ts'
import { scalarAt } from '../core/event/column.ts'
import { FeatureStoreError } from '../core/errors.ts'
import type { EventBatch } from '../core/event/batch.ts'
import { encodeKey } from '../core/event/key.ts'
import type { Position } from '../core/event/position.ts'
import { shapeOf, type Column, type FieldType, type Scalar } from '../core/event/types.ts'
import { formatDecimal, unscaledOfCanonical } from '../core/number/decimal.ts'
import type { FeatureLookup, LookupReply } from '../serving/lookup/types.ts'
import type { LabelSet } from '../training/labels.ts'
import { auditSamples, type AuditReport } from '../worker/audit/audit.ts'
import { sampledValues, samplesFromReply, type AuditSample } from '../worker/audit/sample.ts'
import { streamReader } from './readers.ts'
import type { OpenLog } from './stores.ts'

/** A repeatable source of numbers in [0, 1): mulberry32. An audit names its seed. */
export function seeded(seed: number): () => number {
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }
}

/** What lookups are asked with: rows that really occur, drawn from the log. */
export interface AskedRow {
  readonly entities: Readonly<Record<string, Scalar>>
  readonly request: Readonly<Record<string, Scalar>>
  readonly eventTimeMs: number
}

export interface Pool {
  readonly rows: readonly AskedRow[]
  readonly oldestMs: number
  readonly newestMs: number
}

const poolRowsMax = 4_096

/**
 * Draws rows for a service from events of the stream that has its entity fields (each event as likely as any other).
 * A request field that the stream lacks is null or zero.
 */
export async function drawPool(
  catalog: Catalog,
  open: OpenLog,
  service: ServiceDefinition,
  position: Position,
  random: () => number,
): Promise<Pool> {
  const entityFields = entityFieldsOf(catalog, new Set(service.features.map(({ view }) => view)))
  const wanted = Object.keys(entityFields)
  const streams = service.features.map(({ view }) => streamOf(catalog, viewOf(catalog, view).from))
  const stream =
    streams.find(({ fields }) => wanted.every((field) => field in fields)) ?? (streams[0] as (typeof streams)[number])
  const requestFields = Object.keys(service.request).filter(
    (field) => stream.fields[field]?.type === service.request[field]?.type,
  )
  const rows: AskedRow[] = []
  let oldestMs = Number.POSITIVE_INFINITY
  let newestMs = Number.NEGATIVE_INFINITY
  let seen = 0
  for await (const batch of streamReader(catalog, open, stream.name).scan(position.streams[stream.name] ?? [])) {
    for (let row = 0; row < batch.count; row++) {
      const time = batch.eventTimes[row] as number
      if (time < oldestMs) oldestMs = time
      if (time > newestMs) newestMs = time
      // What takes back an event need not have the fields that a row is asked with.
      if (batch.ops !== null && takesBack(batch.ops[row] as number)) continue
      // Reservoir sampling: after n events each is in the pool with the same chance.
      const place = seen++ < poolRowsMax ? rows.length : Math.floor(random() * seen)
      if (place < poolRowsMax) rows[place] = askedRow(batch, row, wanted, requestFields, entityFields, service)
    }
  }
  return {
    rows: rows.filter((row) => hasKeys(catalog, service, row)),
    oldestMs,
    newestMs,
  }
}

/** Whether a row names an entity of every view: an event whose key is null or too long is a dead letter. */
function hasKeys(catalog: Catalog, service: ServiceDefinition, { entities }: AskedRow): boolean {
  return service.features.every(({ view: name }) => {
    const view = viewOf(catalog, name)
    try {
      return (
        encodeKey(
          view.keyFields.map((field) => entities[field] ?? null),
          keyTypesOf(catalog, view),
        ).length >= 0
      )
    } catch (error) {
      if (error instanceof FeatureStoreError && error.code === 'FS_ENTITY_INVALID') return false
      throw error
    }
  })
}

function askedRow(
  batch: EventBatch,
  row: number,
  wanted: readonly string[],
  requestFields: readonly string[],
  entityFields: Readonly<Record<string, FieldType>>,
  service: ServiceDefinition,
): AskedRow {
  const cell = (field: string, type: FieldType): Scalar =>
    batch.columns[field] === undefined ? zeroOf(type) : scalarAt(batch.columns[field] as Column, row)
  return {
    entities: Object.fromEntries(wanted.map((field) => [field, cell(field, entityFields[field] as FieldType)])),
    request: Object.fromEntries(
      Object.entries(service.request).map(([field, type]) => [
        field,
        requestFields.includes(field) ? cell(field, type) : zeroOf(type),
      ]),
    ),
    eventTimeMs: batch.eventTimes[row] as number,
  }
}

const zeroOf = ({ type, nullable, scale = 0 }: FieldType): Scalar =>
  nullable === true
    ? null
    : type === 'string'
      ? ''
      : type === 'bool'
        ? false
        : type === 'int64'
          ? 0n
          : type === 'decimal'
            ? formatDecimal(0n, scale)
            : 0

export interface SampleRequest {
  readonly lookup: FeatureLookup
  readonly service: string
  readonly pool: Pool
  readonly rows: number
  readonly random: () => number
  /** Rows asked at one T. */
  readonly rowsPerTime: number
}

const columnsOf = (rows: readonly AskedRow[], part: 'entities' | 'request'): Record<string, Scalar[]> =>
  Object.fromEntries(
    Object.keys(rows[0]?.[part] ?? {}).map((field) => [field, rows.map((row) => row[part][field] ?? null)]),
  )

async function ask(
  { lookup, service, pool, rows, random, rowsPerTime }: SampleRequest,
  kind: AuditSample['kind'],
  timeMs: () => number,
): Promise<AuditSample[]> {
  const samples: AuditSample[] = []
  while (samples.length < rows && pool.rows.length > 0) {
    const chosen = Array.from(
      { length: Math.min(rowsPerTime, rows - samples.length) },
      () => pool.rows[Math.floor(random() * pool.rows.length)] as AskedRow,
    )
    const entities = columnsOf(chosen, 'entities')
    const request = columnsOf(chosen, 'request')
    const reply: LookupReply = await lookup.getFeatures({ service, entities, request, asOfMs: Math.floor(timeMs()) })
    samples.push(...samplesFromReply(kind, service, entities, request, reply))
  }
  return samples
}

const weekMs = 7 * 86_400_000

/** Rows as a caller sees them now: T uniform within the week after the newest event applied. */
export const sampleOnline = (request: SampleRequest, newestMs: number): Promise<AuditSample[]> =>
  ask(request, 'online', () => newestMs + 1 + request.random() * weekMs)

/** As-of answers at any past T: most are beyond what a row keeps, and come from the offline store. */
export const samplePast = (request: SampleRequest): Promise<AuditSample[]> =>
  ask(
    request,
    'as-of',
    () => request.pool.oldestMs + request.random() * (request.pool.newestMs - request.pool.oldestMs),
  )

/** Rows of a training set, each at its own (T, K). */
export function sampleTraining(
  service: string,
  labels: LabelSet,
  columns: readonly FeatureColumn[],
  position: Position,
  rows: number,
  random: () => number,
): AuditSample[] {
  const cells = (source: Readonly<Record<string, Column>>, row: number): Record<string, Scalar> =>
    Object.fromEntries(Object.entries(source).map(([name, column]) => [name, scalarAt(column, row)]))
  return Array.from({ length: Math.min(rows, labels.rows) }, () => Math.floor(random() * labels.rows)).map((row) => ({
    kind: 'training',
    service,
    entities: cells(labels.entities, row),
    request: cells(labels.request, row),
    asOfMs: labels.asOfMs[row] as number,
    knownAsOfMs: labels.knownAsOfMs[row] as number,
    position,
    values: sampledValues(columns, row),
  }))
}

/** Recomputes every sampled value from the log by the naive twin. */
export const runAudit = (catalog: Catalog, open: OpenLog, samples: readonly AuditSample[]): Promise<AuditReport> =>
  auditSamples({ catalog, samples, readers: (stream) => streamReader(catalog, open, stream) })

/** Label rows like those a training set has, from the pool: each as of its own event. */
export function labelsOfPool(catalog: Catalog, service: string, pool: Pool, rows: number): LabelSet {
  const definition = serviceOf(catalog, service)
  const entityFields = entityFieldsOf(catalog, new Set(definition.features.map(({ view }) => view)))
  const chosen = pool.rows.slice(0, rows)
  const times = Float64Array.from(chosen, ({ eventTimeMs }) => eventTimeMs)
  const columns = (part: 'entities' | 'request', fields: Readonly<Record<string, FieldType>>): Record<string, Column> =>
    Object.fromEntries(
      Object.entries(fields).map(([name, field]) => [
        name,
        columnOf(
          field,
          chosen.map((row) => row[part][name] ?? null),
        ),
      ]),
    )
  return {
    rows: chosen.length,
    entities: columns('entities', entityFields),
    asOfMs: times,
    knownAsOfMs: times,
    knownAsOfGiven: false,
    request: columns('request', definition.request),
    passthrough: [],
    label: null,
  }
}

function columnOf(field: FieldType, values: readonly Scalar[]): Column {
  const { type } = field
  const nulls = values.includes(null) ? Uint8Array.from(values, (value) => (value === null ? 1 : 0)) : null
  switch (type) {
    case 'string': {
      const strings = [...new Set(values)].filter((value) => value !== null) as string[]
      const codes = new Map(strings.map((text, code) => [text, code]))
      return {
        type,
        values: Int32Array.from(values, (value) => codes.get(value as string) ?? 0),
        table: { strings },
        nulls,
      }
    }
    case 'bool':
      return { type, values: Uint8Array.from(values, Number), nulls }
    case 'int32':
      return { type, values: Int32Array.from(values, Number), nulls }
    case 'int64':
      return { type, values: BigInt64Array.from(values, (value) => BigInt((value ?? 0) as number)), nulls }
    case 'decimal':
      return {
        type,
        ...shapeOf(field),
        values: BigInt64Array.from(values, (value) => unscaledOfCanonical((value ?? '0') as string)),
        nulls,
      }
    default:
      return { type, values: Float64Array.from(values, Number), nulls }
  }
}
