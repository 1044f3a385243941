/** Streams whose records correct others, over the fields of generatedCorrections, and views of them. */
import { buildCatalog, type Catalog } from '../../core/definition/catalog.ts'
import { int32, string } from '../../core/definition/fields.ts'
import {
  count,
  distinctCount,
  last,
  lastN,
  max,
  mean,
  min,
  rows,
  session,
  sum,
  tumbling,
} from '../../core/definition/functions.ts'
import { service } from '../../core/definition/service.ts'
import { entity, stream } from '../../core/definition/stream.ts'
import type { StreamDefinition, ViewDefinition } from '../../core/definition/types.ts'
import { view } from '../../core/definition/view.ts'
import { acceptedEvents, countingEvents, type NaiveEvent } from '../../core/engine/naive.ts'
import { declaredCorrected } from './declared.ts'

export const dedupeSpanMs = 250

const place = entity('place', { key: { who: string(), region: int32() } })
const person = entity('person', { key: { who: string() } })

const byId = stream('events', {
  fields: declaredCorrected,
  eventTime: 'at',
  id: 'id',
  dedupeSpan: dedupeSpanMs,
  key: ['who'],
  partitions: 3,
})
const byPrimaryKey = stream('events', {
  fields: declaredCorrected,
  eventTime: 'at',
  changelog: true,
  primaryKey: ['id', 'line'],
  partitions: 3,
})

export interface CorrectedProject {
  readonly catalog: Catalog
  readonly stream: StreamDefinition
  readonly views: readonly ViewDefinition[]
}

function project(from: typeof byId): CorrectedProject {
  const places = view('places', {
    from,
    entity: place,
    ttl: 900,
    lateness: 800,
    maxAhead: 30,
    features: ({ i, b, s, ok }) => ({
      n: count().over(400),
      i_mean: mean(i).over(400),
      i_rows: mean(i).over(rows(2)),
      i_min: min(i).over(500),
      b_sum: sum(b).over(700),
      s_last2: lastN(s, 2),
      s_distinct: distinctCount(s).over(500),
      n_ok: count()
        .where(ok)
        .over(tumbling(300, { take: 'last' })),
      i_session: mean(i).over(session(60)),
    }),
  })
  const people = view('people', {
    from,
    entity: person,
    features: ({ i, f, s }) => ({
      n: count(),
      f_sum: sum(f),
      i_mean: mean(i),
      i_max: max(i).over(600),
      s_last: last(s).over(600),
    }),
  })
  const all = service('all', { features: [places.all(), people.all()] })
  return { catalog: buildCatalog([from, place, person, places, people, all]), stream: from, views: [places, people] }
}

export const corrected: Readonly<Record<'id' | 'changelog', CorrectedProject>> = {
  id: project(byId),
  changelog: project(byPrimaryKey as unknown as typeof byId),
}

/** What naiveValue sees of one entity at K, below P. */
export const countingOf = (
  { stream: of }: CorrectedProject,
  definition: ViewDefinition,
  history: readonly NaiveEvent[],
  key: Readonly<Record<string, unknown>>,
  knownAsOfMs: number,
  below: (partition: number) => number = () => Number.POSITIVE_INFINITY,
): NaiveEvent[] =>
  countingEvents(of, definition, acceptedEvents(definition, history, below), knownAsOfMs).filter((event) =>
    definition.keyFields.every((field) => event.fields[field] === key[field]),
  )
