import { buildCatalog, type Catalog } from '../../../core/definition/catalog.ts'
import { int32, nullable, string, timestamp } from '../../../core/definition/fields.ts'
import { count, days, hours, last, max, mean } from '../../../core/definition/functions.ts'
import { model, service } from '../../../core/definition/service.ts'
import { entity, stream } from '../../../core/definition/stream.ts'
import type { Definition } from '../../../core/definition/types.ts'
import { view } from '../../../core/definition/view.ts'
import { decideApply } from '../../../core/registry/decide.ts'
import { readRegistryEvent, type ModelRegistration, type RegistryEvent } from '../../../core/registry/events.ts'
import { evolve, initialState, type RegistryState } from '../../../core/registry/state.ts'

export const flights = stream('flights', {
  fields: { date: timestamp(), delay: int32(), origin: string(), note: nullable(string()) },
  eventTime: 'date',
  key: ['origin'],
  partitions: 2,
})
export const origin = entity('origin', { key: { origin: string() } })
export const originDelays = view('origin_delays', {
  from: flights,
  entity: origin,
  ttl: days(30),
  features: ({ delay }) => ({
    flights_1h: count().over(hours(1)),
    mean_delay_1d: mean(delay).over(days(1)),
    last_delay: last(delay),
  }),
})
export const delayRisk = service('delay_risk', {
  features: [originDelays.all()],
  derive: ({ origin_delays }) => ({ surprise: origin_delays.last_delay.sub(origin_delays.mean_delay_1d) }),
})
export const delayModel = model('delay_model', {
  service: delayRisk,
  labels: { from: flights, label: ({ delay }) => delay.gt(15), sampleRows: 100 },
  trainUntil: 0,
})

export const project: readonly Definition[] = [flights, origin, originDelays, delayRisk, delayModel]

/** The same view with one feature new, one changed and one gone. */
export const otherDelays = view('origin_delays', {
  from: flights,
  entity: origin,
  ttl: days(30),
  features: ({ delay }) => ({
    flights_1h: count().over(hours(1)),
    mean_delay_1d: mean(delay).over(days(2)),
    max_delay: max(delay).over(hours(6)),
  }),
})

/** The project with some definitions in place of those of the same kind and name, or beside them. */
export function catalogWith(...others: readonly Definition[]): Catalog {
  const replaced = project.filter(
    ({ kind, name }) => !others.some((other) => other.kind === kind && other.name === name),
  )
  return buildCatalog([...replaced, ...others])
}

/** Events as they come back from the log. */
export const replay = (events: readonly RegistryEvent[], from: RegistryState = initialState): RegistryState =>
  events.reduce((state, event) => evolve(state, readRegistryEvent(JSON.parse(JSON.stringify(event)))), from)

export const apply = (catalog: Catalog, state: RegistryState = initialState): RegistryState =>
  replay(decideApply(catalog, state), state)

export const registration: Omit<ModelRegistration, 'features'> = {
  model: 'delay_model',
  service: 'delay_risk',
  metrics: { auc: 0.75 },
  trainingSet: 'abc',
  token: 'def',
  onnx: { digest: '012', path: 'models/delay_model/1/model.onnx' },
}
