/** A small project over the stream of test/support/history.ts: every kind of column that a training set can have. */
import { buildCatalog } from '../../core/definition/catalog.ts'
import { int32, nullable, string } from '../../core/definition/fields.ts'
import {
  count,
  days,
  distinctCount,
  last,
  lastN,
  max,
  mean,
  min,
  rows,
  series,
  session,
  stddev,
  sum,
  tumbling,
} from '../../core/definition/functions.ts'
import { model, service } from '../../core/definition/service.ts'
import { entity, stream } from '../../core/definition/stream.ts'
import { view } from '../../core/definition/view.ts'
import type { NaiveEvent } from '../../core/engine/naive.ts'
import type { EventBatch } from '../../core/event/batch.ts'
import { offset, type Position } from '../../core/event/position.ts'
import { batchOf } from '../support/history.ts'
import { declared } from '../support/declared.ts'

export const partitions = 3

export const events = stream('events', {
  fields: declared,
  eventTime: 'at',
  key: ['who'],
  partitions,
})
const who = entity('who', { key: { who: string() } })
const place = entity('place', { key: { who: string(), region: int32() } })

const byWho = view('by_who', {
  from: events,
  entity: who,
  ttl: 4_000,
  lateness: 1_500,
  maxAhead: 40,
  features: ({ i, b, f, s, at, ok }) => ({
    n: count().over(700),
    i_mean: mean(i).over(700),
    i_std: stddev(i),
    i_last3: lastN(i, 3),
    b_sum: sum(b).over(2_000),
    f_sum: sum(f),
    s_last: last(s),
    s_distinct: distinctCount(s).over(4_000),
    newest: max(at),
    ok_last: last(ok),
    s_last2: lastN(s, 2),
  }),
})
/** Without ttl, so its windows reach back for ever. */
const byPlace = view('by_place', {
  from: events,
  entity: place,
  features: ({ i }) => ({ n: count(), i_min: min(i), i_mean: mean(i) }),
})
/** Every kind of window, and conditions. */
const byWindow = view('by_window', {
  from: events,
  entity: who,
  ttl: 4_000,
  lateness: 1_500,
  features: ({ i, b, s, ok, d }) => ({
    d_sum: sum(d).over(2_000),
    d_std: stddev(d),
    d_last2: lastN(d, 2),
    d_max_above: max(d).where(d.gt(0.5)),
    i_std_shifted: stddev(i).over(700, { endsBefore: 400 }),
    i_mean_rows: mean(i).over(rows(4)),
    ok_rows: count().where(ok).over(rows(3)),
    i_mean_last: mean(i).over(tumbling(1_500, { take: 'last' })),
    n_current: count().over(tumbling(1_000, { take: 'current' })),
    i_mean_session: mean(i).over(session(300)),
    n_ok: count().where(ok),
    b_sum_if: sum(b).where(i.gt(0)),
    s_last2_ok: lastN(s, 2).where(ok).over(2_000),
    n_series: count().over(series(3_000, 1_000)),
    i_mean_series: mean(i).over(series(900, 300)),
    s_last_series: last(s).over(series(900, 450)),
    b_sum_series: sum(b).over(series(4_000, 1_000)),
    i_mean_coarse: mean(i).over(700, { resolution: 500 }),
  }),
})
/** Without ttl: days are longer than anything else here. */
const byDay = view('by_day', {
  from: events,
  entity: who,
  features: () => ({ n: count().over(tumbling(days(1), { take: 'current', zone: 'Asia/Kolkata' })) }),
})
export const windows = service('windows', { features: [byWindow.all(), byDay.all()] })

export const everything = service('everything', {
  features: [byWho.all(), byPlace.all()],
  request: { planned: int32(), note: nullable(string()) },
  derive: ({ by_who, by_place, request }) => ({
    above: by_who.i_mean.sub(by_place.i_mean),
    busy: by_who.n.gt(request.planned),
  }),
})
export const risk = service('risk', {
  features: [byWho.select('n', 'i_mean', 'ok_last'), byPlace.select('i_mean')],
  request: { region_again: int32() },
})
export const riskModel = model('risk_model', {
  service: risk,
  labels: { from: events, label: ({ i }) => i.gt(3), request: { region_again: 'region' }, sampleRows: 40 },
  trainUntil: 1_005_000,
})
export const catalog = buildCatalog([
  events,
  who,
  place,
  byWho,
  byPlace,
  byWindow,
  byDay,
  windows,
  everything,
  risk,
  riskModel,
])

/** Consecutive batches of each partition, partition after partition. */
export function batchesOf(history: readonly NaiveEvent[], size: number): EventBatch[] {
  const batches: EventBatch[] = []
  for (let partition = 0; partition < partitions; partition++) {
    const own = history.filter((event) => event.partition === partition)
    for (let from = 0; from < own.length; from += size)
      batches.push(batchOf('events', partition, own.slice(from, from + size)))
  }
  return batches
}

export async function* scanOf(batches: readonly EventBatch[]): AsyncGenerator<EventBatch> {
  yield* batches
}

export const positionOf = (history: readonly NaiveEvent[], share = 1): Position => ({
  logId: 'test-log',
  streams: {
    events: Array.from({ length: partitions }, (_, partition) => ({
      epoch: 0,
      next: offset(Math.floor(history.filter((event) => event.partition === partition).length * share)),
    })),
  },
})
