import type { AsOf } from '../core/asof/visible.ts'
import { fieldsReadBy, serviceScope, streamOf, viewOf, type Catalog } from '../core/definition/catalog.ts'
import { derivedFingerprint } from '../core/definition/fingerprint.ts'
import { referenceText, type ServiceDefinition } from '../core/definition/types.ts'
import type { ColumnBuilder } from '../core/engine/column-builder.ts'
import { ColumnarFinisher } from '../core/engine/columnar/finish.ts'
import { deriveColumn } from '../core/engine/derive.ts'
import type { FeatureColumn } from '../core/engine/feature-column.ts'
import { planView } from '../core/engine/plan.ts'
import { FeatureStoreError } from '../core/errors.ts'
import { takeBelow } from '../core/event/batch-ops.ts'
import type { EventBatch } from '../core/event/batch.ts'
import { scalarAt } from '../core/event/column.ts'
import { nextOffset, type Position } from '../core/event/position.ts'
import type { Column } from '../core/event/types.ts'
import { typeOf } from '../core/expression/types.ts'
import type { Clock } from '../core/ports/environment.ts'
import type { LabelSet } from './labels.ts'
import { ascending, inTotalOrder } from './total-order.ts'
import { ViewHistory } from './view-history.ts'

export interface ScanOptions {
  readonly catalog: Catalog
  readonly service: ServiceDefinition
  /** All records of the streams behind the service up to the position, each partition in order of offsets. */
  readonly scan: AsyncIterable<EventBatch>
  readonly position: Position
}

export interface FinishOptions {
  /**
   * What a careless join would have seen: everything known today, and what happened at the label's own moment, the
   * labelled event included. Only to show what such a join would have claimed.
   */
  readonly leaky?: boolean
}

export interface Dataset {
  /** In the service's order, derived features last. */
  readonly columns: readonly FeatureColumn[]
  readonly rows: number
}

/**
 * Features of a service for label rows, each as of its own (T, K), from one pass over history.
 *
 * Memory: about 50 bytes an event while it scans, then 16 bytes and its aggregated fields for each event and view.
 */
export class DatasetBuilder {
  readonly #catalog: Catalog
  readonly #service: ServiceDefinition
  readonly #views: ReadonlyMap<string, ViewHistory>

  private constructor(catalog: Catalog, service: ServiceDefinition, views: ReadonlyMap<string, ViewHistory>) {
    this.#catalog = catalog
    this.#service = service
    this.#views = views
  }

  /** Errors: FS_LOG_CORRUPT when the scan ends before the position. */
  static async scan({ catalog, service, scan, position }: ScanOptions): Promise<DatasetBuilder> {
    const plans = [...new Set(service.features.map(({ view }) => view))].map((view) => planView(catalog, view, 0))
    const gathered = new Map<string, { readonly fields: Set<string>; readonly batches: EventBatch[] }>()
    for (const { view, stream } of plans) {
      const { fields } = gathered.get(stream.name) ?? { fields: new Set<string>() }
      for (const field of fieldsReadBy(view, stream)) fields.add(field)
      gathered.set(stream.name, { fields, batches: [] })
    }
    const covered = new Map<string, number>()
    for await (const whole of scan) {
      const stream = gathered.get(whole.stream)
      if (stream === undefined) continue
      const batch = takeBelow(whole, nextOffset(position, whole.stream, whole.partition))
      covered.set(`${batch.stream}/${batch.partition}`, batch.nextOffset)
      if (batch.count > 0) stream.batches.push({ ...batch, columns: only(batch.columns, stream.fields), dead: [] })
    }
    for (const stream of gathered.keys())
      (position.streams[stream] ?? []).forEach(({ next }, partition) => {
        const reached = covered.get(`${stream}/${partition}`) ?? 0
        if (reached < next)
          throw new FeatureStoreError('FS_LOG_CORRUPT', `${stream}/${partition} ends at ${reached}, before ${next}`)
      })
    const views = new Map<string, ViewHistory>()
    for (const [stream, { batches }] of gathered) {
      const events = inTotalOrder(batches)
      for (const plan of plans)
        if (plan.stream.name === stream) views.set(plan.view.name, new ViewHistory(plan, events))
    }
    return new DatasetBuilder(catalog, service, views)
  }

  /** A row whose key is null or longer than 1,024 bytes has ERROR in the features of that view, FS_ENTITY_INVALID. */
  finish(labels: LabelSet, { leaky = false }: FinishOptions = {}): Dataset {
    const byName = new Map<string, FeatureColumn>()
    for (const [name, history] of this.#views) {
      const wanted = this.#service.features.filter(({ view }) => view === name).map(({ feature }) => feature)
      for (const column of finishView(history, wanted, labels, leaky)) byName.set(column.name, column)
    }
    const scope = serviceScope(this.#catalog, this.#service)
    const derived = this.#service.derive.map((definition) =>
      deriveColumn(
        {
          definition,
          type: typeOf(definition.expression, scope) === 'bool' ? 'bool' : 'float64',
          fingerprint: derivedFingerprint(this.#catalog, this.#service, definition.name),
        },
        labels.rows,
        byName,
        (field, row) => scalarAt(labels.request[field] as Column, row),
      ),
    )
    const features = this.#service.features.map((reference) => byName.get(referenceText(reference)) as FeatureColumn)
    return { columns: [...features, ...derived], rows: labels.rows }
  }
}

export interface BuildOptions extends ScanOptions {
  readonly labels: LabelSet
  readonly clock: Clock
}

/** One scan and one finish, timed in milliseconds. */
export async function buildDataset(
  options: BuildOptions,
): Promise<Dataset & { readonly scanMs: number; readonly finishMs: number }> {
  const { clock, labels } = options
  const started = clock.nowMs()
  const builder = await DatasetBuilder.scan(options)
  const scanned = clock.nowMs()
  const dataset = builder.finish(labels)
  return { ...dataset, scanMs: scanned - started, finishMs: clock.nowMs() - scanned }
}

/** Streams that a data set of the service reads, and the fields of each. */
export function scannedStreams(catalog: Catalog, service: ServiceDefinition): ReadonlyMap<string, readonly string[]> {
  const streams = new Map<string, readonly string[]>()
  for (const { view: name } of service.features) {
    const view = viewOf(catalog, name)
    const stream = streamOf(catalog, view.from)
    const fields = new Set([...(streams.get(stream.name) ?? []), ...fieldsReadBy(view, stream)])
    streams.set(stream.name, [...fields])
  }
  return streams
}

const only = (
  columns: Readonly<Record<string, Column>>,
  names: ReadonlySet<string>,
): Readonly<Record<string, Column>> => Object.fromEntries(Object.entries(columns).filter(([name]) => names.has(name)))

function finishView(
  history: ViewHistory,
  features: readonly string[],
  labels: LabelSet,
  leaky: boolean,
): FeatureColumn[] {
  const finisher = new ColumnarFinisher(history.plan, features)
  const owners = history.resolve(labels.entities, labels.rows)
  const rows = byEntity(owners, ascending(labels.asOfMs), history.entityCount)
  const asOf = { asOfMs: 0, knownAsOfMs: 0 }
  // Written one behind the other and put in the order of rows column by column: a row of all columns is all over memory.
  const finished = finisher.builders(labels.rows)
  let entity = -1
  rows.forEach((row, index) => {
    const owner = owners[row] as number
    if (owner < 0) return
    if (owner !== entity) finisher.begin(history.columns, (entity = owner))
    const atMs = labels.asOfMs[row] as number
    asOf.asOfMs = leaky ? atMs + 1 : atMs
    asOf.knownAsOfMs = leaky ? Number.POSITIVE_INFINITY : (labels.knownAsOfMs[row] as number)
    finisher.finish(asOf satisfies AsOf, finished, index)
  })
  const builders = finisher.builders(labels.rows)
  builders.forEach((builder, at) => {
    const from = finished[at] as ColumnBuilder
    rows.forEach((row, index) => {
      // As in a lookup: a key that no event can have is an error of its row, never of the set.
      if ((owners[row] as number) < 0) builder.setError(row, 'FS_ENTITY_INVALID')
      else builder.copy(row, from, index)
    })
  })
  return builders.map((builder) => builder.build())
}

/** Rows with those of one entity side by side, each entity's in the order given. */
function byEntity(owners: Int32Array, order: Int32Array, entities: number): Int32Array {
  const starts = new Int32Array(entities + 2)
  for (const owner of owners) starts[owner + 2] = (starts[owner + 2] as number) + 1
  for (let index = 1; index < starts.length; index++)
    starts[index] = (starts[index] as number) + (starts[index - 1] as number)
  const rows = new Int32Array(owners.length)
  for (const row of order) {
    const at = (owners[row] as number) + 1
    rows[starts[at] as number] = row
    starts[at] = (starts[at] as number) + 1
  }
  return rows
}
