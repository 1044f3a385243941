/** Feature history as it comes, batch by batch, equals its definition: F at every boundary and every K, by the plain twin. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { buildCatalog } from '../../../core/definition/catalog.ts'
import { string } from '../../../core/definition/fields.ts'
import { count, last, lastN, max, mean, series } from '../../../core/definition/functions.ts'
import { entity, stream } from '../../../core/definition/stream.ts'
import { view } from '../../../core/definition/view.ts'
import type { ViewDefinition } from '../../../core/definition/types.ts'
import { statusName, valueAt } from '../../../core/engine/feature-column.ts'
import { FeatureHistory } from '../../../core/engine/feature-history.ts'
import { acceptedEvents, countingEvents, naiveValue, type NaiveEvent } from '../../../core/engine/naive.ts'
import { planView, type ViewPlan } from '../../../core/engine/plan.ts'
import { Op } from '../../../core/event/operation.ts'
import type { Scalar } from '../../../core/event/types.ts'
import type { FeatureRows } from '../../../core/ports/feature-history-store.ts'
import { scalarAt } from '../../../core/event/column.ts'
import { corrected } from '../../support/corrected.ts'
import {
  batchOf,
  correctedFields,
  fields,
  generatedCorrections,
  generatedEvent,
  logged,
} from '../../support/history.ts'
import { declared } from '../../support/declared.ts'

const size = Number(process.env['TIDEMARK_PROPERTY_RUNS'] ?? 150)

interface Subject {
  readonly plan: ViewPlan
  readonly definition: ViewDefinition
  readonly fields: typeof fields
}

const plainStream = stream('events', {
  fields: declared,
  eventTime: 'at',
  key: ['who'],
  partitions: 3,
})
const who = entity('who', { key: { who: string() } })
const plainView = (ttl?: number) =>
  view('plain', {
    from: plainStream,
    entity: who,
    ...(ttl === undefined ? {} : { ttl }),
    maxAhead: 30,
    features: ({ i, f, s }) => ({
      n: count().over(150),
      i_mean: mean(i).over(100),
      f_max: max(f).over(150),
      s_last: last(s),
      s_last2: lastN(s, 2),
      n_each: count().over(series(90, 30)),
    }),
  })

const subjects: Readonly<Record<string, Subject>> = {
  plain: subjectOf(plainView()),
  'plain with a ttl': subjectOf(plainView(160)),
  ...Object.fromEntries(
    (['id', 'changelog'] as const).flatMap((kind) =>
      corrected[kind].views.map((definition): [string, Subject] => [
        `${kind}, ${definition.name}`,
        { plan: planView(corrected[kind].catalog, definition.name, 0), definition, fields: correctedFields },
      ]),
    ),
  ),
}

function subjectOf(definition: ReturnType<typeof plainView>): Subject {
  return { plan: planView(buildCatalog([plainStream, who, definition]), 'plain', 0), definition, fields }
}

type Table = Map<string, string>

const rowName = (key: readonly Scalar[], asOf: number, knownAt: number): string => JSON.stringify([key, asOf, knownAt])
const text = (value: unknown): string =>
  JSON.stringify(value, (_, part: unknown) =>
    typeof part === 'bigint' || typeof part === 'number' ? `${typeof part} ${Object.is(part, -0) ? '-0' : part}` : part,
  )

/** The rows below a position, as the header of core/engine/feature-history.ts defines them. */
function naiveTable(
  { plan, definition }: Subject,
  history: readonly NaiveEvent[],
  below: readonly number[],
  stepMs: number,
): Table {
  const applied = history.filter(({ offset, partition }) => offset < (below[partition] as number))
  const newest = Math.max(...applied.map(({ knownAtMs }) => knownAtMs))
  const accepted = acceptedEvents(definition, history, (partition) => below[partition] as number)
  const knowns = [...new Set(applied.map(({ knownAtMs }) => knownAtMs))].sort((a, b) => a - b)
  const counting = new Map<number, NaiveEvent[]>()
  const seenAt = (known: number): NaiveEvent[] => {
    let seen = counting.get(known)
    if (seen === undefined) counting.set(known, (seen = countingEvents(plan.stream, definition, accepted, known)))
    return seen
  }
  const keyOf = (event: NaiveEvent): readonly Scalar[] => definition.keyFields.map((name) => event.fields[name] ?? null)
  const boundaries = new Map<string, readonly [readonly Scalar[], number]>()
  for (const event of accepted) {
    const key = keyOf(event)
    if (event.op === Op.retract || event.op === Op.delete) continue
    if (key.some((part) => part === null || String(part).length > 1_000)) continue
    const asOf = (Math.floor(event.eventTimeMs / stepMs) + 1) * stepMs
    if (asOf < newest) boundaries.set(rowName(key, asOf, 0), [key, asOf])
  }
  const table: Table = new Map()
  for (const [key, asOf] of boundaries.values()) {
    let before = ''
    for (const known of [asOf, ...knowns.filter((at) => at > asOf)]) {
      const own = seenAt(known).filter((event) => keyOf(event).every((part, index) => part === key[index]))
      const values = plan.features.map(({ definition: feature }) => {
        const { status, value } = naiveValue(definition, plan.fields, feature, own, {
          asOfMs: asOf,
          knownAsOfMs: known,
        })
        return [statusName(status), value]
      })
      const now = text(values)
      // Before it is found for the first time, an entity has no version that says so.
      const isVersion = known === asOf ? values[0]?.[0] !== 'NOT_FOUND' : now !== before
      if (isVersion) table.set(rowName(key, asOf, known), now)
      before = now
    }
  }
  return table
}

function put(table: Table, rows: FeatureRows): void {
  for (let row = 0; row < rows.count; row++) {
    const key = rows.keys.map((column) => scalarAt(column, row))
    const name = rowName(key, rows.asOfs[row] as number, rows.knownAts[row] as number)
    if (rows.removed[row] === 1) table.delete(name)
    else
      table.set(
        name,
        text(rows.features.map((column) => [statusName(column.statuses[row] as number), valueAt(column, row)])),
      )
  }
}

interface Drive {
  /** Which partition goes on, and by how many records. */
  readonly steps: readonly {
    readonly partition: number
    readonly records: number
    readonly take: boolean
    readonly restart: boolean
  }[]
  readonly stepMs: number
}
const drives: fc.Arbitrary<Drive> = fc.record({
  steps: fc.array(
    fc.record({
      partition: fc.nat({ max: 2 }),
      records: fc.integer({ min: 1, max: 25 }),
      take: fc.boolean(),
      restart: fc.nat({ max: 5 }).map((of) => of === 0),
    }),
    { minLength: 1, maxLength: 25 },
  ),
  stepMs: fc.constantFrom(1, 40, 100, 250),
})

function check(subject: Subject, history: readonly NaiveEvent[], { steps, stepMs }: Drive): void {
  const partitions = [0, 1, 2].map((partition) => history.filter((event) => event.partition === partition))
  const table: Table = new Map()
  const below = [0, 0, 0]
  let engine = new FeatureHistory(subject.plan, stepMs)
  const feed = (partition: number, records: number): void => {
    const from = below[partition] as number
    const own = (partitions[partition] as NaiveEvent[]).slice(from, from + records)
    if (own.length === 0) return
    engine.apply(batchOf('events', partition, own, subject.fields))
    below[partition] = from + own.length
  }
  const take = (): void => {
    for (const rows of engine.take()) put(table, rows)
    const wanted = naiveTable(subject, history, below, stepMs)
    expect(Object.fromEntries([...table].sort())).toEqual(Object.fromEntries([...wanted].sort()))
  }
  for (const { partition, records, take: takes, restart } of steps) {
    feed(partition, records)
    if (!takes) continue
    take()
    if (!restart) continue
    engine = new FeatureHistory(subject.plan, stepMs)
    const stood = [...below]
    below.fill(0)
    for (const again of [2, 0, 1]) feed(again, stood[again] as number)
    engine.skip()
  }
  for (const partition of [0, 1, 2]) feed(partition, 10_000)
  take()
}

describe('feature history equals its definition, whatever the batches, takes and restarts', () => {
  for (const [title, subject] of Object.entries(subjects))
    it(
      title,
      () => {
        const kind = subject.plan.stream.id !== undefined ? 'id' : 'changelog'
        const histories =
          subject.fields === fields
            ? fc.array(generatedEvent(600, 300), { minLength: 5, maxLength: 60, size: 'max' }).map(logged)
            : generatedCorrections({ kind, records: [10, 60] })
        fc.assert(
          fc.property(histories, drives, (history, drive) => check(subject, history, drive)),
          { numRuns: Math.ceil(size / 2) },
        )
      },
      120_000,
    )
})
