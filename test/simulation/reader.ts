/** Reads rows as serving does, at any moment, and holds each against the naive twin at the very position it came with. */
import type { AsOf } from '../../core/asof/visible.ts'
import { statusName, valueAt, type FeatureValue } from '../../core/engine/feature-column.ts'
import { ViewFinisher } from '../../core/engine/finish.ts'
import type { ViewPlan } from '../../core/engine/plan.ts'
import { decodeParted, directoryOf, isHead } from '../../core/engine/row-parts.ts'
import { decodeRow } from '../../core/engine/row.ts'
import { ViewState, type EntityEvents } from '../../core/engine/state/view-state.ts'
import type { Position } from '../../core/event/position.ts'
import type { OnlineStore } from '../../core/ports/online-store.ts'
import type { Prng } from '../support/prng.ts'
import { Finding } from './finding.ts'
import type { Twin, TwinEntity } from './twin.ts'
import { tickMs } from './workload.ts'

/** How often a row is read whose parts are replaced meanwhile. */
const readsMax = 6

export interface Read {
  readonly events: EntityEvents | null
  /** Null: the shard has never been written. */
  readonly position: Position | null
}

export type RowReads = Pick<OnlineStore, 'read' | 'readParts'>

/** An entity's events as they are stored; null where parts were replaced at every read. */
export async function readEntity(store: RowReads, { plan, shard, key }: TwinEntity): Promise<Read | null> {
  const view = plan.view.name
  for (let reads = 0; reads < readsMax; reads++) {
    const { rows, positions } = await store.read(view, [shard], [key])
    const row = rows[0] ?? null
    const position = positions[0]?.position ?? null
    if (row === null) return { events: null, position }
    if (!isHead(row)) return { events: decodeRow(plan, row), position }
    const events = await partedEvents(store, plan, shard, key, row)
    if (events !== null) return { events, position }
  }
  return null
}

async function partedEvents(
  store: RowReads,
  plan: ViewPlan,
  shard: number,
  key: Uint8Array,
  row: Uint8Array,
): Promise<EntityEvents | null> {
  const names = directoryOf(plan, row).parts.map(({ name }) => name)
  const parts = await store.readParts(plan.view.name, shard, key, names)
  const byName = new Map(names.map((name, index) => [name, parts[index] ?? null]))
  const state = new ViewState(plan)
  const entity = state.events.addEntity()
  return decodeParted(state, entity, row, (name) => byName.get(name) ?? null) === null ? null : { state, entity }
}

/** What was checked. */
export interface Checks {
  reads: number
  answered: number
  refused: number
  unreadable: number
}

export class Checker {
  readonly #twin: Twin
  readonly #finishers: ReadonlyMap<string, ViewFinisher>
  readonly counts: Checks = { reads: 0, answered: 0, refused: 0, unreadable: 0 }

  constructor(plans: readonly ViewPlan[], twin: Twin) {
    this.#twin = twin
    this.#finishers = new Map(plans.map((plan) => [plan.view.name, new ViewFinisher(plan)]))
  }

  /** Throws a Finding where one feature differs by a bit. */
  check(entity: TwinEntity, { events, position }: Read, asOf: AsOf): void {
    const { plan, shard, name } = entity
    this.counts.reads++
    if (position === null) {
      if (events !== null) throw new Finding(`a row of ${plan.view.name} in shard ${shard}, which was never written`)
      return
    }
    const finisher = this.#finishers.get(plan.view.name) as ViewFinisher
    const builders = finisher.builders(1)
    if (!finisher.finish(events, asOf, builders, 0)) {
      this.counts.refused++
      return
    }
    this.counts.answered++
    const wanted = this.#twin.valuesOf(entity, position, asOf)
    builders.forEach((builder, index) => {
      const column = builder.build()
      const got = [statusName(column.statuses[0] as number), valueAt(column, 0)] as const
      const want = wanted[index] as readonly [string, FeatureValue]
      if (!sameBits(got, want))
        throw new Finding(
          `${finisher.features[index]?.reference} of ${name.slice(0, 40)} in shard ${shard} at T ${asOf.asOfMs}, K ${asOf.knownAsOfMs}, ` +
            `below ${textOf(position.streams[plan.stream.name]?.map(({ next }) => next))}: ${textOf(got)}, the twin says ${textOf(want)}`,
        )
    })
  }

  /** A moment near something that happened to the entity, often at the edge of a window. */
  asOf(random: Prng, entity: TwinEntity): AsOf {
    const events = this.#twin.eventsOf(entity)
    const newest = events.slice(-12)
    const near = newest.length === 0 ? 0 : random.pick(newest).eventTimeMs
    const latest = newest.reduce((most, { eventTimeMs }) => Math.max(most, eventTimeMs), near)
    const base = random.chance(0.5) ? near : latest
    const kind = random.unit()
    const edge = kind < 0.35 ? 0 : kind < 0.8 ? random.pick(edges) : random.integer(0, 40) * tickMs
    const asOfMs = base + edge + random.pick([0, 0, 1, -1, tickMs])
    const known = random.unit()
    const knownAsOfMs =
      known < 0.5 || newest.length === 0
        ? Number.POSITIVE_INFINITY
        : known < 0.7
          ? asOfMs
          : random.pick(newest).knownAtMs + random.integer(-1, 1)
    return { asOfMs, knownAsOfMs }
  }
}

/** Ends of the windows of workload.ts. */
const edges = [5_000, 1_000, 6_000, 10_000, 15_000, 20_000, 40_000]

const sameBits = (a: unknown, b: unknown): boolean =>
  Array.isArray(a) && Array.isArray(b)
    ? a.length === b.length && a.every((item, index) => sameBits(item, b[index]))
    : Object.is(a, b)

const textOf = (value: unknown): string =>
  JSON.stringify(value, (_, item: unknown) =>
    typeof item === 'bigint' ? `${item}n` : Object.is(item, -0) ? '-0' : item,
  )
