/** The naive twin over the simulated log: what every value, dead letter and newest event time is at any position. */
import type { AsOf } from '../../core/asof/visible.ts'
import { refusal } from '../../core/asof/visible.ts'
import {
  acceptedEvents,
  countingEvents,
  differingDuplicates,
  naiveValue,
  type NaiveEvent,
} from '../../core/engine/naive.ts'
import type { ViewPlan } from '../../core/engine/plan.ts'
import { statusName, type FeatureValue } from '../../core/engine/feature-column.ts'
import { FeatureStoreError } from '../../core/errors.ts'
import { encodeKey, shardOf } from '../../core/event/key.ts'
import { Op } from '../../core/event/operation.ts'
import { nextOffset, type Position } from '../../core/event/position.ts'
import type { Scalar } from '../../core/event/types.ts'

export interface TwinEntity {
  readonly plan: ViewPlan
  readonly name: string
  readonly key: Uint8Array
  readonly shard: number
}

interface View {
  readonly plan: ViewPlan
  readonly entities: TwinEntity[]
  readonly byName: Map<string, NaiveEvent[]>
  /** Of a changelog: all records of a row, and the rows that an entity ever had a version of. */
  readonly byRow: Map<string, NaiveEvent[]>
  readonly rowsOf: Map<string, Set<string>>
  /** Keys that no entity can have. */
  readonly nameless: NaiveEvent[]
}

export class Twin {
  readonly views: readonly View[]
  readonly #shards: number
  /** Records of each stream that are no events, by their code. */
  readonly #dead: {
    readonly stream: string
    readonly partition: number
    readonly offset: number
    readonly code: string
  }[] = []

  constructor(plans: readonly ViewPlan[], shards: number) {
    this.#shards = shards
    this.views = plans.map((plan) => ({
      plan,
      entities: [],
      byName: new Map(),
      byRow: new Map(),
      rowsOf: new Map(),
      nameless: [],
    }))
  }

  addDead(stream: string, partition: number, offset: number, code: string): void {
    this.#dead.push({ stream, partition, offset, code })
  }

  add(stream: string, event: NaiveEvent): void {
    for (const view of this.views) if (view.plan.stream.name === stream) this.#addTo(view, event)
  }

  #addTo(view: View, event: NaiveEvent): void {
    const { plan } = view
    const values = plan.view.keyFields.map((field) => event.fields[field] ?? null)
    const name = values.join('/')
    const { primaryKey } = plan.stream
    if (primaryKey !== undefined) {
      const row = primaryKey.map((field) => String(event.fields[field])).join('/')
      push(view.byRow, row, event)
      const rows = view.rowsOf.get(name) ?? new Set()
      view.rowsOf.set(name, rows.add(row))
    }
    if (!view.byName.has(name)) {
      const key = keyOf(values, plan)
      if (key === null) {
        view.nameless.push(event)
        return
      }
      view.entities.push({ plan, name, key, shard: shardOf(key, this.#shards) })
    }
    push(view.byName, name, event)
  }

  /** Everything that was ever written of an entity, the newest last. */
  eventsOf({ plan, name }: TwinEntity): readonly NaiveEvent[] {
    return this.#view(plan).byName.get(name) ?? []
  }

  /** Every feature at (T, K, P). */
  valuesOf(entity: TwinEntity, position: Position, asOf: AsOf): readonly (readonly [string, FeatureValue])[] {
    const { plan, name } = entity
    const { view, stream } = plan
    const of = this.#view(plan)
    const below = (partition: number): number => nextOffset(position, stream.name, partition)
    const own =
      stream.primaryKey === undefined
        ? (of.byName.get(name) ?? [])
        : [...(of.rowsOf.get(name) ?? [])].flatMap((row) => of.byRow.get(row) ?? [])
    const accepted = acceptedEvents(view, own, below)
    let counting: readonly NaiveEvent[] = accepted
    if (plan.corrected) {
      counting = countingEvents(stream, view, accepted, asOf.knownAsOfMs).filter(
        (event) => view.keyFields.map((field) => event.fields[field] ?? null).join('/') === name,
      )
    }
    return view.features.map((feature) => {
      const { status, value } = naiveValue(view, plan.fields, feature, counting, asOf)
      return [statusName(status), value]
    })
  }

  /** Every dead letter below a position, as text. */
  deadLetters(): string[] {
    const letters = this.#dead.map((dead) => letterText({ ...dead, scope: `stream:${dead.stream}` }))
    for (const { plan, byName, nameless } of this.views) {
      const { view, stream } = plan
      const of = ({ partition, offset }: NaiveEvent, code: string): void => {
        letters.push(letterText({ scope: `view:${view.name}`, stream: stream.name, partition, offset, code }))
      }
      for (const event of nameless) of(event, 'FS_DEAD_KEY')
      for (const events of byName.values()) {
        for (const event of events) {
          const code = refusal(event.eventTimeMs, event.knownAtMs, view)
          if (code !== null) of(event, code)
        }
        const accepted = acceptedEvents(view, events, () => Number.POSITIVE_INFINITY)
        if (stream.id !== undefined)
          for (const event of differingDuplicates(stream, view, accepted)) of(event, 'FS_DEAD_DUPLICATE_DIFFERS')
      }
    }
    return letters.sort()
  }

  /** The newest event time that some view of the stream took. */
  newestOf(stream: string): number {
    let newest = Number.NEGATIVE_INFINITY
    for (const { plan, byName, nameless } of this.views) {
      if (plan.stream.name !== stream) continue
      for (const event of [...byName.values(), nameless.filter(({ op }) => op === Op.delete)].flat())
        if (refusal(event.eventTimeMs, event.knownAtMs, plan.view) === null)
          newest = Math.max(newest, event.eventTimeMs)
    }
    return newest
  }

  #view(plan: ViewPlan): View {
    return this.views.find((view) => view.plan.view.name === plan.view.name) as View
  }
}

export const letterText = (letter: {
  readonly scope: string
  readonly stream: string
  readonly partition: number
  readonly offset: number
  readonly code: string
}): string => `${letter.scope} ${letter.stream}/${letter.partition}@${letter.offset} ${letter.code}`

function push<V>(map: Map<string, V[]>, key: string, value: V): void {
  const list = map.get(key)
  if (list === undefined) map.set(key, [value])
  else list.push(value)
}

function keyOf(values: readonly Scalar[], plan: ViewPlan): Uint8Array | null {
  try {
    return encodeKey(values, plan.keyTypes)
  } catch (error) {
    if (error instanceof FeatureStoreError && error.code === 'FS_ENTITY_INVALID') return null
    throw error
  }
}
