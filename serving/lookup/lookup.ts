import { ttlStart, type AsOf } from '../../core/asof/visible.ts'
import type { Catalog } from '../../core/definition/catalog.ts'
import type { ColumnBuilder } from '../../core/engine/column-builder.ts'
import { deriveColumn } from '../../core/engine/derive.ts'
import type { EntityColumns } from '../../core/engine/entity-columns.ts'
import type { FeatureColumn } from '../../core/engine/feature-column.ts'
import { columnsFromHistory } from '../../core/engine/from-history.ts'
import type { ViewPlan } from '../../core/engine/plan.ts'
import { decodeRow } from '../../core/engine/row.ts'
import { FeatureStoreError, type ErrorCode } from '../../core/errors.ts'
import { encodeKey, shardOf } from '../../core/event/key.ts'
import { covers, emptyPosition, encodeToken, meet, recordCount, type Position } from '../../core/event/position.ts'
import type { FieldType, Scalar } from '../../core/event/types.ts'
import type { Clock } from '../../core/ports/environment.ts'
import type { EventQuery, OfflineStore } from '../../core/ports/offline-store.ts'
import type { OnlineStore, RowRead } from '../../core/ports/online-store.ts'
import { earliestMs, latestMs } from '../../core/time/time.ts'
import { parseReference, planFeatures, planService, type ServicePlan } from './service-plan.ts'
import type { FeatureLookup, LookupReply, LookupRequest } from './types.ts'

export interface LookupOptions {
  readonly catalog: Catalog
  readonly online: OnlineStore
  /** The full history, opened when a row cannot answer. */
  readonly offline: () => Promise<{
    readonly store: OfflineStore
    readonly position: (streams: readonly string[]) => Promise<Position>
  }>
  readonly clock: Clock
  readonly shards: number
  readonly historyMs: number
  readonly rowsMax: number
  readonly sleep: (ms: number) => Promise<void>
}

/** The rows of one view for a request: one key per request row, or the reason why there is none. */
interface ViewRows {
  readonly keys: readonly (Uint8Array | null)[]
  readonly keyErrors: ReadonlyMap<number, ErrorCode>
}

/** What a caller wants applied, and until when (milliseconds of the clock) it waits for it. */
interface LeastPosition {
  readonly position: Position | null
  readonly untilMs: number
}

const plansMax = 256
const pollMs = 5
/** Queries of one request that run at the same time. */
const offlineQueriesMax = 4

/** Answers from online rows; what they cannot answer exactly, from the offline history by the same finish. */
export class Lookup implements FeatureLookup {
  readonly #options: LookupOptions
  readonly #plans = new Map<string, ServicePlan>()

  constructor(options: LookupOptions) {
    this.#options = options
  }

  /** The compiled plan of a service or a list of features. */
  plan(request: Pick<LookupRequest, 'service' | 'features'>): ServicePlan {
    const { service, features } = request
    if ((service === undefined) === (features === undefined || features.length === 0)) {
      throw new FeatureStoreError('FS_REQUEST_INVALID', 'a lookup names either a service or features')
    }
    const key = service === undefined ? `:${(features as readonly string[]).join(',')}` : service
    let plan = this.#plans.get(key)
    if (plan === undefined) {
      const { catalog, historyMs } = this.#options
      plan =
        service === undefined
          ? planFeatures(catalog, (features as readonly string[]).map(parseReference), historyMs)
          : planService(catalog, service, historyMs)
      if (this.#plans.size >= plansMax) this.#plans.delete(this.#plans.keys().next().value as string)
      this.#plans.set(key, plan)
    }
    return plan
  }

  async getFeatures(request: LookupRequest): Promise<LookupReply> {
    const plan = this.plan(request)
    const rows = checkRequest(plan, request, this.#options.rowsMax)
    const views = plan.views.map((view) => viewRows(view, request, rows))
    const least = this.#leastOf(plan, request)
    const { reads, position: online } = await this.#readOnline(plan, views, least)
    const asOf = this.#asOf(plan, request, reads)
    const builders = plan.views.map(({ finisher }) => finisher.builders(rows))
    const missing: { view: number; row: number }[] = []
    for (let view = 0; view < views.length; view++) {
      const { keys, keyErrors } = views[view] as ViewRows
      const { finisher } = plan.views[view] as ServicePlan['views'][number]
      const read = reads[view] as RowRead
      const decoded = new Map<string, EntityColumns | null>()
      const corrupt = new Set(read.corrupt)
      let at = 0
      keys.forEach((key, row) => {
        if (key === null)
          return setError(builders[view] as ColumnBuilder[], row, keyErrors.get(row) ?? 'FS_ENTITY_INVALID')
        const index = at++
        if (corrupt.has(index)) return setError(builders[view] as ColumnBuilder[], row, 'FS_ROW_CORRUPT')
        const id = Buffer.from(key).toString('latin1')
        try {
          let entity = decoded.get(id)
          if (entity === undefined) {
            const bytes = read.rows[index] ?? null
            entity = bytes === null ? null : decodeRow(finisher.plan, bytes)
            decoded.set(id, entity)
          }
          if (!finisher.finish(entity, asOf, builders[view] as ColumnBuilder[], row)) missing.push({ view, row })
        } catch (error) {
          if (!(error instanceof FeatureStoreError)) throw error
          setError(builders[view] as ColumnBuilder[], row, error.code)
        }
      })
    }
    const offline =
      missing.length === 0 ? null : await this.#finishOffline(plan, request, least, asOf, missing, builders)
    const position = offline === null ? online : meet(online, offline)
    return {
      asOfMs: asOf.asOfMs,
      knownAsOfMs: Number.isFinite(asOf.knownAsOfMs) ? asOf.knownAsOfMs : null,
      rows,
      columns: this.#columns(plan, request, rows, builders),
      position,
      token: encodeToken(position),
    }
  }

  async #readOnline(
    plan: ServicePlan,
    views: readonly ViewRows[],
    least: LeastPosition,
  ): Promise<{ reads: RowRead[]; position: Position }> {
    for (;;) {
      const reads = await Promise.all(
        views.map(({ keys }, view) => {
          const present = keys.filter((key) => key !== null)
          const name = (plan.views[view] as ServicePlan['views'][number]).finisher.plan.view.name
          return this.#options.online.read(
            name,
            present.map((key) => shardOf(key, this.#options.shards)),
            present,
          )
        }),
      )
      const position = await this.#positionOf(reads)
      if (await this.#isReached(position, least)) return { reads, position }
    }
  }

  /** Only streams behind the features count: others change nothing that is answered. */
  #leastOf(plan: ServicePlan, { minPosition, deadlineMs }: LookupRequest): LeastPosition {
    const untilMs = this.#options.clock.nowMs() + (deadlineMs ?? 5_000)
    if (minPosition === undefined) return { position: null, untilMs }
    const { logId, streams } = parseToken(minPosition)
    const relevant = Object.entries(streams).filter(([stream]) => plan.streams.includes(stream))
    return { position: { logId, streams: Object.fromEntries(relevant) }, untilMs }
  }

  /** Waits a little when it is not. Errors: FS_REQUEST_INVALID, FS_POSITION_NOT_REACHED. */
  async #isReached(position: Position, { position: least, untilMs }: LeastPosition): Promise<boolean> {
    if (least === null) return true
    if (least.logId !== position.logId)
      throw new FeatureStoreError('FS_REQUEST_INVALID', 'minPosition is of another log')
    if (covers(position, least)) return true
    if (this.#options.clock.nowMs() >= untilMs) {
      throw new FeatureStoreError(
        'FS_POSITION_NOT_REACHED',
        `${recordCount(position)} records are applied, ${recordCount(least)} were asked for`,
      )
    }
    await this.#options.sleep(pollMs)
    return false
  }

  /** The least position behind the rows read; of shard 0 where no row was asked for. */
  async #positionOf(reads: readonly RowRead[]): Promise<Position> {
    let position: Position | null = null
    for (const read of reads) {
      for (const shard of new Set(read.positions)) {
        if (shard === null) throw notReady()
        position = position === null ? shard.position : meet(position, shard.position)
      }
    }
    if (position !== null) return position
    const [first] = await this.#options.online.positions([0])
    if (first === undefined || first === null) throw notReady()
    return first.position
  }

  #asOf(plan: ServicePlan, request: LookupRequest, reads: readonly RowRead[]): AsOf {
    if (request.asOfMs !== undefined)
      return { asOfMs: request.asOfMs, knownAsOfMs: request.knownAsOfMs ?? request.asOfMs }
    const knownAsOfMs = request.knownAsOfMs ?? Number.POSITIVE_INFINITY
    if (plan.clock === 'system') return { asOfMs: this.#options.clock.nowMs(), knownAsOfMs }
    let newest = Number.NEGATIVE_INFINITY
    for (const read of reads) {
      for (const shard of new Set(read.positions)) {
        for (const stream of plan.streams) newest = Math.max(newest, shard?.newestEventTimeMs[stream] ?? newest)
      }
    }
    return { asOfMs: Number.isFinite(newest) ? newest + 1 : this.#options.clock.nowMs(), knownAsOfMs }
  }

  async #finishOffline(
    plan: ServicePlan,
    request: LookupRequest,
    least: LeastPosition,
    asOf: AsOf,
    missing: readonly { view: number; row: number }[],
    builders: readonly ColumnBuilder[][],
  ): Promise<Position | null> {
    let position: Position
    let store: OfflineStore
    try {
      const offline = await this.#options.offline()
      store = offline.store
      do position = await offline.position(plan.streams)
      while (!(await this.#isReached(position, least)))
    } catch (error) {
      if (error instanceof FeatureStoreError && error.code === 'FS_POSITION_NOT_REACHED') throw error
      const code = error instanceof FeatureStoreError ? error.code : 'FS_OFFLINE_UNAVAILABLE'
      for (const { view, row } of missing) setError(builders[view] as ColumnBuilder[], row, code)
      return null
    }
    const queue = [...missing]
    const work = async (): Promise<void> => {
      for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
        const { finisher, keyFields } = plan.views[next.view] as ServicePlan['views'][number]
        const own = builders[next.view] as ColumnBuilder[]
        try {
          const key = Object.fromEntries(keyFields.map((field) => [field, request.entities[field]?.[next.row] ?? null]))
          finisher.finish(await fromHistory(store, finisher.plan, key, asOf, position), asOf, own, next.row)
        } catch (error) {
          if (!(error instanceof FeatureStoreError)) throw error
          setError(own, next.row, error.code)
        }
      }
    }
    await Promise.all(Array.from({ length: Math.min(offlineQueriesMax, missing.length) }, work))
    return position
  }

  #columns(
    plan: ServicePlan,
    request: LookupRequest,
    rows: number,
    builders: readonly ColumnBuilder[][],
  ): FeatureColumn[] {
    const built = builders.map((view) => view.map((builder) => builder.build()))
    const columns = plan.order.map(({ view, at }) => (built[view] as FeatureColumn[])[at] as FeatureColumn)
    if (plan.derived.length === 0) return columns
    const byName = new Map(columns.map((column) => [column.name, column]))
    const derived = plan.derived.map((definition) =>
      deriveColumn(definition, rows, byName, (field, row) => request.request[field]?.[row] ?? null),
    )
    return [...columns, ...derived]
  }
}

/**
 * An entity's columns as of (T, K) from the full history: what the longest window reaches. Only when nothing there is
 * visible is anything older read, which tells a value of an empty window from EXPIRED and NOT_FOUND.
 */
async function fromHistory(
  store: OfflineStore,
  plan: ViewPlan,
  key: EventQuery['key'],
  asOf: AsOf,
  position: Position,
): Promise<EntityColumns> {
  const { asOfMs, knownAsOfMs } = asOf
  const bounds = [
    ...new Set(
      [asOfMs, asOfMs - plan.reachMs, ttlStart(asOfMs, plan.view.ttlMs), earliestMs].map((bound) =>
        Math.max(bound, earliestMs),
      ),
    ),
  ].sort((a, b) => b - a)
  for (let index = 1; ; index++) {
    const toMs = bounds[index - 1] as number
    const fromMs = bounds[index] ?? toMs
    const history = await store.events({
      stream: plan.stream.name,
      key,
      fromMs,
      toMs,
      knownAtMsMax: knownAsOfMs,
      position,
    })
    const entity = columnsFromHistory(plan, history)
    if (entity.count > 0 || index >= bounds.length - 1) return entity
  }
}

const notReady = (): FeatureStoreError =>
  new FeatureStoreError('FS_NOT_READY', 'the online rows have not been built yet')

function setError(builders: readonly ColumnBuilder[], row: number, code: ErrorCode): void {
  for (const builder of builders) builder.setError(row, code)
}

/** Errors: FS_REQUEST_INVALID. */
export function parseToken(token: string): Position {
  try {
    const parsed = JSON.parse(Buffer.from(token, 'base64url').toString()) as Partial<Position>
    const { logId, streams } = parsed
    if (
      typeof logId === 'string' &&
      typeof streams === 'object' &&
      streams !== null &&
      Object.values(streams).every(arePositions)
    )
      return { ...emptyPosition(logId), streams }
  } catch {
    // falls through to the one error
  }
  throw new FeatureStoreError('FS_REQUEST_INVALID', 'minPosition is no token of a reply')
}

const arePositions = (partitions: unknown): boolean =>
  Array.isArray(partitions) &&
  partitions.every(
    (position: unknown) =>
      typeof position === 'object' && position !== null && 'next' in position && Number.isSafeInteger(position.next),
  )

/** Checks names, types and lengths; returns the number of rows. */
function checkRequest(plan: ServicePlan, request: LookupRequest, rowsMax: number): number {
  const invalid = (message: string): FeatureStoreError => new FeatureStoreError('FS_REQUEST_INVALID', message)
  const lengths = new Map<string, number>()
  const check = (
    kind: string,
    declared: Readonly<Record<string, FieldType>>,
    given: Readonly<Record<string, readonly Scalar[]>>,
  ): void => {
    for (const name of Object.keys(given)) {
      if (!(name in declared))
        throw invalid(`${kind} ${name} is not asked for; what is: ${Object.keys(declared).join(', ') || 'nothing'}`)
    }
    for (const [name, field] of Object.entries(declared)) {
      const values = given[name]
      if (values === undefined) throw invalid(`${kind} ${name} (${field.type}) is missing`)
      lengths.set(name, values.length)
      if (kind === 'request field') values.forEach((value, row) => checkScalar(name, field, value, row))
    }
  }
  check('key field', plan.entityFields, request.entities)
  check('request field', plan.requestFields, request.request)
  const distinct = new Set(lengths.values())
  if (distinct.size > 1)
    throw invalid(`columns differ in length: ${[...lengths].map(([name, length]) => `${name} ${length}`).join(', ')}`)
  const rows = [...distinct][0] ?? 0
  if (rows > rowsMax)
    throw new FeatureStoreError('FS_LIMIT_EXCEEDED', `${rows} rows in one request; at most ${rowsMax} are allowed`)
  for (const [name, timeMs] of [
    ['asOfMs', request.asOfMs],
    ['knownAsOfMs', request.knownAsOfMs],
  ] as const) {
    if (timeMs !== undefined && !(Number.isSafeInteger(timeMs) && timeMs >= earliestMs && timeMs <= latestMs)) {
      throw new FeatureStoreError(
        'FS_TIME_INVALID',
        `${name} is ${timeMs}: epoch milliseconds within the years 1 to 9998`,
      )
    }
  }
  return rows
}

function checkScalar(name: string, field: FieldType, value: Scalar, row: number): void {
  const wrong = (what: string): FeatureStoreError =>
    new FeatureStoreError('FS_REQUEST_INVALID', `request field ${name}, row ${row}: ${what}`)
  if (value === null) {
    if (field.nullable === true) return
    throw wrong('is null')
  }
  const number = typeof value === 'number' || typeof value === 'bigint'
  switch (field.type) {
    case 'string':
      if (typeof value !== 'string') throw wrong('is no string')
      return
    case 'bool':
      if (typeof value !== 'boolean') throw wrong('is no bool')
      return
    case 'int32':
      if (!number || !Number.isInteger(Number(value)) || Number(value) !== (Number(value) | 0))
        throw wrong(`${String(value)} is no int32`)
      return
    case 'int64':
    case 'timestamp':
      if (!number || (typeof value === 'number' && !Number.isSafeInteger(value)))
        throw wrong(`${String(value)} is no ${field.type}`)
      return
    case 'float64':
      if (!number || !(Number.isFinite(Number(value)) || field.allowNonFinite === true))
        throw wrong(`${String(value)} is no finite float64`)
  }
}

function viewRows(view: ServicePlan['views'][number], request: LookupRequest, rows: number): ViewRows {
  const keyErrors = new Map<number, ErrorCode>()
  const keys = Array.from({ length: rows }, (_, row): Uint8Array | null => {
    try {
      return encodeKey(
        view.keyFields.map((field) => request.entities[field]?.[row] ?? null),
        view.keyTypes,
      )
    } catch (error) {
      if (!(error instanceof FeatureStoreError)) throw error
      keyErrors.set(row, error.code)
      return null
    }
  })
  return { keys, keyErrors }
}
