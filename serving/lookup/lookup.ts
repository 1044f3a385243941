import type { AsOf } from '../../core/asof/visible.ts'
import type { Catalog } from '../../core/definition/catalog.ts'
import type { ColumnBuilder } from '../../core/engine/column-builder.ts'
import { deriveColumn } from '../../core/engine/derive.ts'
import type { FeatureColumn } from '../../core/engine/feature-column.ts'
import type { EntityEvents } from '../../core/engine/state/view-state.ts'
import { FeatureStoreError, type ErrorCode } from '../../core/errors.ts'
import { shardOf } from '../../core/event/key.ts'
import {
  covers,
  decodeToken,
  encodeToken,
  meet,
  ofStreams,
  recordCount,
  samePosition,
  type Position,
} from '../../core/event/position.ts'
import type { Clock } from '../../core/ports/environment.ts'
import type { OfflineStore } from '../../core/ports/offline-store.ts'
import type { OnlineStore, RowRead, ShardPosition } from '../../core/ports/online-store.ts'
import { checkRequest, viewRows, withPlainDecimals, type ViewRows } from './check-request.ts'
import { fromHistory, History, type OfflineHistory } from './history.ts'
import { RowCache } from './row-cache.ts'
import { parseReference, planFeatures, planService, type ServicePlan } from './service-plan.ts'
import type { FeatureLookup, LookupReply, LookupRequest } from './types.ts'

export interface LookupOptions {
  readonly catalog: Catalog
  readonly online: OnlineStore
  /** The full history, opened when a row cannot answer. */
  readonly offline: () => Promise<OfflineHistory>
  readonly clock: Clock
  readonly shards: number
  readonly historyMs: number
  readonly rowsMax: number
  /** Stored bytes of rows kept decoded. */
  readonly cacheBytesMax: number
  readonly sleep: (ms: number) => Promise<void>
}

/** Where the shards behind a reply stand. */
interface Standing {
  readonly shards: readonly ShardPosition[]
  readonly position: Position
  readonly agreed: boolean
}

interface MissingRow {
  readonly view: number
  readonly row: number
}

/** What a caller wants applied, and until when (milliseconds of the clock) it waits for it. */
interface LeastPosition {
  readonly position: Position | null
  readonly untilMs: number
}

const plansMax = 256
const pollMs = 5
const historyPollMs = 50
/** Views are read one by one: a flush in between is seen by the later ones, and they are read again so often. */
const readsMax = 8
/** Queries of one request that run at the same time. */
const offlineQueriesMax = 4

/** Answers from online rows; what they cannot answer exactly, from the offline history by the same finish. */
export class Lookup implements FeatureLookup {
  readonly #options: LookupOptions
  readonly #plans = new Map<string, ServicePlan>()
  readonly #history: History
  readonly #rows: RowCache

  constructor(options: LookupOptions) {
    this.#options = options
    this.#history = new History(options.offline)
    this.#rows = new RowCache(options.cacheBytesMax)
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

  async getFeatures(given: LookupRequest): Promise<LookupReply> {
    const plan = this.plan(given)
    const rows = checkRequest(plan, given, this.#options.rowsMax)
    const request = withPlainDecimals(plan.requestFields, given)
    const views = plan.views.map((view) => viewRows(view, request, rows))
    const least = this.#leastOf(plan, request)
    const { reads, shards, position } = await this.#readOnline(plan, views, least)
    const asOf = this.#asOf(plan, request, shards)
    const builders = plan.views.map(({ finisher }) => finisher.builders(rows))
    const missing: MissingRow[] = []
    for (let view = 0; view < views.length; view++) {
      const { keys, keyErrors } = views[view] as ViewRows
      const { finisher } = plan.views[view] as ServicePlan['views'][number]
      const read = reads[view] as RowRead
      const decoded = new Map<string, EntityEvents | null>()
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
            entity = bytes === null ? null : this.#rows.decode(finisher.plan, id, bytes)
            decoded.set(id, entity)
          }
          if (!finisher.finish(entity, asOf, builders[view] as ColumnBuilder[], row)) missing.push({ view, row })
        } catch (error) {
          if (!(error instanceof FeatureStoreError)) throw error
          setError(builders[view] as ColumnBuilder[], row, error.code)
        }
      })
    }
    if (missing.length > 0)
      await this.#finishOffline(plan, request, least.untilMs, { asOf, position }, missing, builders)
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
  ): Promise<Omit<Standing, 'agreed'> & { readonly reads: RowRead[] }> {
    for (let tries = 1; ; tries++) {
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
      const { shards, position, agreed } = await this.#positionOf(reads)
      if (!agreed && tries < readsMax) continue
      if (await this.#isReached(position, least)) return { reads, shards, position }
    }
  }

  /** Only streams behind the features count: others change nothing that is answered. */
  #leastOf(plan: ServicePlan, { minPosition, deadlineMs }: LookupRequest): LeastPosition {
    const untilMs = this.#options.clock.nowMs() + (deadlineMs ?? 5_000)
    if (minPosition === undefined) return { position: null, untilMs }
    return { position: ofStreams(decodeToken(minPosition), plan.streams), untilMs }
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

  /** The shards behind the rows read (shard 0 where no row was asked for), their least position, and whether all stand there. */
  async #positionOf(reads: readonly RowRead[]): Promise<Standing> {
    let shards = [...new Set(reads.flatMap((read) => read.positions))]
    if (shards.length === 0) shards = [...(await this.#options.online.positions([0]))]
    const standing = shards.filter((shard) => shard !== null)
    const [first, ...others] = standing
    if (first === undefined || standing.length < shards.length) throw notReady()
    return {
      shards: standing,
      position: others.reduce((least, { position }) => meet(least, position), first.position),
      agreed: others.every(({ position }) => samePosition(position, first.position)),
    }
  }

  #asOf(plan: ServicePlan, request: LookupRequest, shards: readonly ShardPosition[]): AsOf {
    if (request.asOfMs !== undefined)
      return { asOfMs: request.asOfMs, knownAsOfMs: request.knownAsOfMs ?? request.asOfMs }
    const knownAsOfMs = request.knownAsOfMs ?? Number.POSITIVE_INFINITY
    if (plan.clock === 'system') return { asOfMs: this.#options.clock.nowMs(), knownAsOfMs }
    const newest = shards.flatMap(({ newestEventTimeMs }) =>
      plan.streams.map((stream) => newestEventTimeMs[stream] ?? Number.NEGATIVE_INFINITY),
    )
    const newestMs = Math.max(...newest)
    return { asOfMs: Number.isFinite(newestMs) ? newestMs + 1 : this.#options.clock.nowMs(), knownAsOfMs }
  }

  /** The rows that the online store cannot answer exactly, at the very position of the others. */
  async #finishOffline(
    plan: ServicePlan,
    request: LookupRequest,
    untilMs: number,
    at: { readonly asOf: AsOf; readonly position: Position },
    missing: readonly MissingRow[],
    builders: readonly ColumnBuilder[][],
  ): Promise<void> {
    const { asOf } = at
    const position = ofStreams(at.position, plan.streams)
    let store: OfflineStore | null = null
    let code: ErrorCode = 'FS_POSITION_NOT_REACHED'
    try {
      for (store = await this.#history.covering(position); store === null && this.#options.clock.nowMs() < untilMs;) {
        await this.#options.sleep(historyPollMs)
        store = await this.#history.covering(position)
      }
    } catch (error) {
      code = error instanceof FeatureStoreError ? error.code : 'FS_OFFLINE_UNAVAILABLE'
    }
    const queue = [...missing]
    const work = async (held: OfflineStore): Promise<void> => {
      for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
        const { finisher, keyFields } = plan.views[next.view] as ServicePlan['views'][number]
        const own = builders[next.view] as ColumnBuilder[]
        try {
          const key = Object.fromEntries(keyFields.map((field) => [field, request.entities[field]?.[next.row] ?? null]))
          finisher.finish(await fromHistory(held, finisher.plan, key, asOf, position), asOf, own, next.row)
        } catch (error) {
          if (!(error instanceof FeatureStoreError)) throw error
          setError(own, next.row, error.code)
        }
      }
    }
    if (store === null) for (const { view, row } of missing) setError(builders[view] as ColumnBuilder[], row, code)
    else await Promise.all(Array.from({ length: Math.min(offlineQueriesMax, missing.length) }, () => work(store)))
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

const notReady = (): FeatureStoreError =>
  new FeatureStoreError('FS_NOT_READY', 'the online rows have not been built yet')

function setError(builders: readonly ColumnBuilder[], row: number, code: ErrorCode): void {
  for (const builder of builders) builder.setError(row, code)
}
