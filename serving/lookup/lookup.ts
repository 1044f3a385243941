import type { AsOf } from '../../core/asof/visible.ts'
import type { Catalog } from '../../core/definition/catalog.ts'
import { deriveColumn } from '../../core/engine/derive.ts'
import type { FeatureColumn } from '../../core/engine/feature-column.ts'
import { isHead } from '../../core/engine/row-parts.ts'
import { FeatureStoreError, type ErrorCode } from '../../core/errors.ts'
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
import { Arena, copyVector, type ArenaCounts } from './arena.ts'
import { askedKeys, checkRequest, withPlainDecimals, type AskedKeys } from './check-request.ts'
import { fromHistory, History, type OfflineHistory } from './history.ts'
import { PartReads, type HeadRead } from './part-reads.ts'
import { RowCache } from './row-cache.ts'
import { parseReference, planFeatures, planService, type ServicePlan } from './service-plan.ts'
import type { FeatureLookup, LookupReply, LookupRequest } from './types.ts'
import { ViewAnswer } from './view-answer.ts'

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
  /** Bytes of finished vectors kept; 0 keeps none. */
  readonly arenaBytesMax: number
  readonly sleep: (ms: number) => Promise<void>
}

/** Where the shards behind a reply stand. */
interface Standing {
  readonly shards: readonly ShardPosition[]
  readonly position: Position
  readonly agreed: boolean
}

/** What was read, and the arena where it may be used. */
interface Reading extends Omit<Standing, 'agreed'> {
  readonly answers: readonly ViewAnswer[]
  readonly reads: readonly RowRead[]
  readonly asOf: AsOf
  readonly arena: Arena | null
}

interface MissingKey {
  readonly view: number
  /** Index of its key. */
  readonly index: number
}

/** What a caller wants applied, and until when (milliseconds of the clock) it waits for it. */
interface LeastPosition {
  readonly position: Position | null
  readonly untilMs: number
}

const plansMax = 256
const pollMs = 5
const historyPollMs = 50
/**
 * Views are read one by one: a flush in between is seen by the later ones, and they are read again so often. So are rows
 * whose parts are replaced meanwhile; one whose parts are replaced at every read is FS_ONLINE_UNAVAILABLE.
 */
const readsMax = 8
/** Queries of one request that run at the same time. */
const offlineQueriesMax = 4

/** Answers from online rows; what they cannot answer exactly, from the offline history by the same finish. */
export class Lookup implements FeatureLookup {
  readonly #options: LookupOptions
  readonly #plans = new Map<string, ServicePlan>()
  readonly #history: History
  readonly #rows: RowCache
  readonly #arena: Arena

  constructor(options: LookupOptions) {
    this.#options = options
    this.#history = new History(options.offline)
    this.#rows = new RowCache(options.cacheBytesMax)
    this.#arena = new Arena(options.arenaBytesMax)
  }

  /** Vectors kept finished: how many keys they answered, and what they take. */
  get arena(): Readonly<ArenaCounts> & { readonly bytes: number } {
    return { ...this.#arena.counts, bytes: this.#arena.bytes }
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
    const asked = plan.views.map((view) => askedKeys(view, request, rows, this.#options.shards))
    const least = this.#leastOf(plan, request)
    const parts = new PartReads(this.#options.online, this.#rows)
    for (let tries = 1; ; tries++) {
      const reading = await this.#readOnline(plan, request, asked, least)
      const { answers, asOf, position } = reading
      await parts.read(this.#headsOf(reading), asOf)
      const found = answers.map((_, view) => this.#finishOnline(reading, view, parts))
      parts.settle()
      // Rows are read again where parts were replaced, or where other or more of them are needed.
      if (found.some(({ again }) => again) && tries < readsMax) continue
      const missing = found.flatMap((view) => view.missing)
      if (missing.length > 0)
        await this.#finishOffline(plan, request, least.untilMs, { asOf, position }, missing, answers)
      return {
        asOfMs: asOf.asOfMs,
        knownAsOfMs: Number.isFinite(asOf.knownAsOfMs) ? asOf.knownAsOfMs : null,
        rows,
        columns: this.#columns(plan, request, rows, answers),
        position,
        token: encodeToken(position),
      }
    }
  }

  /** Rows that are stored as a head and parts. */
  #headsOf({ answers, reads }: Reading): HeadRead[] {
    return answers.flatMap(({ finisher, asked, open }, view) =>
      open.flatMap((index, at): HeadRead[] => {
        const row = reads[view]?.rows[at] ?? null
        if (row === null || !isHead(row)) return []
        const { keys, ids, shards } = asked
        const [key, id, shard] = [keys[index] as Uint8Array, ids[index] as string, shards[index] as number]
        return [{ plan: finisher.plan, shard, key, id, row }]
      }),
    )
  }

  /** Finishes what is open of one view: what its rows cannot answer, and whether some must be read again. */
  #finishOnline(
    { answers, reads, asOf, arena }: Reading,
    view: number,
    parts: PartReads,
  ): { readonly missing: MissingKey[]; readonly again: boolean } {
    const { finisher, asked, builders, open, setError } = answers[view] as ViewAnswer
    const read = reads[view] as RowRead
    const vectors = arena?.of(finisher)
    const corrupt = new Set(read.corrupt)
    const missing: MissingKey[] = []
    let again = false
    open.forEach((index, at) => {
      if (corrupt.has(at)) return setError(index, 'FS_ROW_CORRUPT')
      const id = asked.ids[index] as string
      const row = read.rows[at] ?? null
      const version = arena?.version(asked.shards[index] as number, read.positions[at] as ShardPosition) ?? -1
      const place = vectors?.findByRow(id, asOf.asOfMs, version, row)
      if (arena !== null) arena.counts[place === undefined ? 'misses' : 'hits']++
      if (place !== undefined) return copyVector(place, builders, index)
      const head = row !== null && isHead(row) ? { plan: finisher.plan, id } : null
      const replaced = (): void => {
        again = true
        setError(index, 'FS_ONLINE_UNAVAILABLE')
      }
      try {
        let events = null
        if (head !== null) {
          const found = parts.eventsOf(head)
          if (found.kind === 'error') return setError(index, found.code)
          if (found.kind === 'gone') return replaced()
          events = found.events
        } else if (row !== null) events = this.#rows.decode(finisher.plan, id, row)
        if (!finisher.finish(events, asOf, builders, index)) {
          if (head !== null && parts.widen(head, asOf)) return replaced()
          missing.push({ view, index })
        } else vectors?.keep(id, asOf.asOfMs, version, { row, events }, builders, index)
      } catch (error) {
        if (!(error instanceof FeatureStoreError)) throw error
        setError(index, error.code)
      }
    })
    return { missing, again }
  }

  async #readOnline(
    plan: ServicePlan,
    request: LookupRequest,
    asked: readonly AskedKeys[],
    least: LeastPosition,
  ): Promise<Reading> {
    const { online } = this.#options
    for (let tries = 1; ; tries++) {
      const recalls = tries < readsMax ? await this.#recalls(plan, request, asked) : null
      const answers = plan.views.map(({ finisher }, view) => new ViewAnswer(finisher, asked[view] as AskedKeys))
      for (const answer of answers) answer.recall(recalls?.arena ?? null, recalls?.asOf.asOfMs ?? 0, recalls?.versions)
      const reads = await Promise.all(answers.map((answer) => answer.read(online)))
      const found = [...(recalls?.positions ?? []), ...reads.flatMap(({ positions }) => positions)]
      const { shards, position, agreed } = await this.#positionOf(found)
      if (!agreed && tries < readsMax) continue
      if (!(await this.#isReached(position, least))) continue
      const asOf = recalls?.asOf ?? this.#asOf(plan, request, shards)
      return { answers, reads, shards, position, asOf, arena: recalls?.arena ?? null }
    }
  }

  /**
   * Where the shards stand before anything is read, and the T of what is asked: what was finished at these positions and
   * holds at T need not be read. Null where T is not now, K is not everything, or there is nothing to recall.
   */
  async #recalls(plan: ServicePlan, request: LookupRequest, asked: readonly AskedKeys[]) {
    const arena = this.#arena
    if (arena.bytesMax === 0 || request.asOfMs !== undefined || request.knownAsOfMs !== undefined) return null
    const shards = [...new Set(asked.flatMap((keys) => keys.shards))]
    if (shards.length === 0) return null
    const positions = await this.#options.online.positions(shards)
    const versions = new Map<number, number>()
    const standing: ShardPosition[] = []
    for (let index = 0; index < shards.length; index++) {
      const position = positions[index] ?? null
      if (position === null) return null
      versions.set(shards[index] as number, arena.version(shards[index] as number, position))
      standing.push(position)
    }
    return { arena, positions: standing, versions, asOf: this.#asOf(plan, request, standing) }
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
  async #positionOf(positions: readonly (ShardPosition | null)[]): Promise<Standing> {
    let shards = [...new Set(positions)]
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

  /** The keys that the online store cannot answer exactly, at the very position of the others. */
  async #finishOffline(
    plan: ServicePlan,
    request: LookupRequest,
    untilMs: number,
    at: { readonly asOf: AsOf; readonly position: Position },
    missing: readonly MissingKey[],
    answers: readonly ViewAnswer[],
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
        const { finisher, asked, builders, setError } = answers[next.view] as ViewAnswer
        const { keyFields } = plan.views[next.view] as ServicePlan['views'][number]
        try {
          const row = asked.firstRows[next.index] as number
          const key = Object.fromEntries(keyFields.map((field) => [field, request.entities[field]?.[row] ?? null]))
          finisher.finish(await fromHistory(held, finisher.plan, key, asOf, position), asOf, builders, next.index)
        } catch (error) {
          if (!(error instanceof FeatureStoreError)) throw error
          setError(next.index, error.code)
        }
      }
    }
    if (store === null) for (const { view, index } of missing) answers[view]?.setError(index, code)
    else await Promise.all(Array.from({ length: Math.min(offlineQueriesMax, missing.length) }, () => work(store)))
  }

  #columns(plan: ServicePlan, request: LookupRequest, rows: number, answers: readonly ViewAnswer[]): FeatureColumn[] {
    const built = answers.map((answer) => answer.columns(rows))
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
