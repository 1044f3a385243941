import {
  count,
  days,
  distinctCount,
  entity,
  every,
  hours,
  int32,
  last,
  lastN,
  max,
  mean,
  model,
  none,
  service,
  share,
  stddev,
  stream,
  string,
  timestamp,
  view,
} from 'tidemark'

/** One US flight. It is known when it has landed: scheduled time, flying time at 8 miles a minute, and its delay. */
export const flights = stream('flights', {
  fields: { date: timestamp(), delay: int32(), distance: int32(), origin: string(), destination: string() },
  eventTime: 'date',
  key: ['origin'],
  partitions: 4,
  importKnownAt: ({ date, distance, delay }) => date.add(distance.div(8).ceil().add(delay.max(0)).mul(60_000)),
})

export const origin = entity('origin', { key: { origin: string() } })
export const destination = entity('destination', { key: { destination: string() } })
export const route = entity('route', { key: { origin: string(), destination: string() } })

/**
 * How departures from an airport have been going.
 *
 * History once a day, not every 15 minutes: a flight is known hours after its date, so each adds a version to every quarter
 * of an hour in between. That is 5.7 rows a flight, 17 million for each of these views; once a day it is 139,000.
 */
export const originDelays = view('origin_delays', {
  from: flights,
  entity: origin,
  ttl: days(30),
  history: every(days(1)),
  features: ({ delay, destination }) => ({
    flights_1h: count().over(hours(1)),
    mean_delay_1h: mean(delay).over(hours(1)),
    max_delay_1h: max(delay).over(hours(1)),
    stddev_delay_1h: stddev(delay).over(hours(1)),
    late_share_1h: share(delay.gt(15)).over(hours(1)),
    flights_6h: count().over(hours(6)),
    mean_delay_6h: mean(delay).over(hours(6)),
    max_delay_6h: max(delay).over(hours(6)),
    stddev_delay_6h: stddev(delay).over(hours(6)),
    late_share_6h: share(delay.gt(15)).over(hours(6)),
    flights_1d: count().over(days(1)),
    mean_delay_1d: mean(delay).over(days(1)),
    max_delay_1d: max(delay).over(days(1)),
    stddev_delay_1d: stddev(delay).over(days(1)),
    late_share_1d: share(delay.gt(15)).over(days(1)),
    flights_7d: count().over(days(7)),
    mean_delay_7d: mean(delay).over(days(7)),
    max_delay_7d: max(delay).over(days(7)),
    stddev_delay_7d: stddev(delay).over(days(7)),
    late_share_7d: share(delay.gt(15)).over(days(7)),
    destinations_1d: distinctCount(destination).over(days(1)),
  }),
})

/** How busy and how late arrivals at an airport are. */
export const destinationDelays = view('destination_delays', {
  from: flights,
  entity: destination,
  ttl: days(30),
  history: none,
  features: ({ delay }) => ({
    flights_3h: count().over(hours(3)),
    mean_delay_3h: mean(delay).over(hours(3)),
  }),
})

/** How the same route went lately. */
export const routeDelays = view('route_delays', {
  from: flights,
  entity: route,
  ttl: days(30),
  history: none,
  features: ({ delay }) => ({
    flights_7d: count().over(days(7)),
    last_delay: last(delay),
    last_3_delays: lastN(delay, 3),
  }),
})

/** What the model asks for before a departure. */
export const delayRisk = service('delay_risk', {
  features: [originDelays.all(), destinationDelays.all(), routeDelays.all()],
  request: { distance: int32() },
  derive: ({ origin_delays }) => ({
    delay_trend: origin_delays.mean_delay_1h.sub(origin_delays.mean_delay_7d),
  }),
  clock: 'newestEvent',
})

/** Will this flight be more than 15 minutes late? Fitted on January to April 2001, evaluated on May and June. */
export const delayModel = model('delay_model', {
  service: delayRisk,
  labels: { from: flights, label: ({ delay }) => delay.gt(15), sampleRows: 200_000 },
  trainUntil: Date.UTC(2001, 4, 1),
})
