import {
  entityFieldsOf,
  serviceOf,
  serviceScope,
  streamOf,
  viewOf,
  type Catalog,
} from '../../core/definition/catalog.ts'
import { derivedFingerprint } from '../../core/definition/fingerprint.ts'
import type { DerivedDefinition, FeatureReference, ServiceDefinition } from '../../core/definition/types.ts'
import { ViewFinisher } from '../../core/engine/finish.ts'
import { planView } from '../../core/engine/plan.ts'
import { FeatureStoreError } from '../../core/errors.ts'
import type { FieldType, ScalarType } from '../../core/event/types.ts'
import { typeOf } from '../../core/expression/types.ts'

export interface DerivedPlan {
  readonly definition: DerivedDefinition
  readonly type: 'float64' | 'bool'
  readonly fingerprint: string
}

/** What a request asks for, compiled once: no registry work per request. */
export interface ServicePlan {
  readonly name: string
  readonly entityFields: Readonly<Record<string, FieldType>>
  readonly requestFields: Readonly<Record<string, FieldType>>
  readonly views: readonly {
    readonly finisher: ViewFinisher
    readonly keyFields: readonly string[]
    readonly keyTypes: readonly ScalarType[]
  }[]
  /** Where each column of the reply is: view index and position among its features. */
  readonly order: readonly { readonly view: number; readonly at: number }[]
  readonly derived: readonly DerivedPlan[]
  readonly clock: ServiceDefinition['clock']
  /** Streams behind the features. */
  readonly streams: readonly string[]
}

/** `view:feature`, or `view@version:feature`, which this version refuses. Errors: FS_REQUEST_INVALID, FS_NOT_YET. */
export function parseReference(text: string): FeatureReference {
  const match = /^([A-Za-z]\w*)(@\d+)?:([A-Za-z]\w*)$/.exec(text)
  if (match === null)
    throw new FeatureStoreError(
      'FS_REQUEST_INVALID',
      `${JSON.stringify(text)} is no feature reference: write view:feature`,
    )
  if (match[2] !== undefined) throw new FeatureStoreError('FS_NOT_YET', `${text}: pinning a version is not built yet`)
  return { view: match[1] as string, feature: match[3] as string }
}

export function planService(catalog: Catalog, name: string, historyMs: number): ServicePlan {
  const service = serviceOf(catalog, name)
  const scope = serviceScope(catalog, service)
  const derived = service.derive.map((definition): DerivedPlan => ({
    definition,
    type: typeOf(definition.expression, scope) === 'bool' ? 'bool' : 'float64',
    fingerprint: derivedFingerprint(catalog, service, definition.name),
  }))
  return {
    ...planFeatures(catalog, service.features, historyMs),
    name,
    requestFields: service.request,
    derived,
    clock: service.clock,
  }
}

/** A plan for features named one by one: no request fields, nothing derived, now is the wall clock's. */
export function planFeatures(
  catalog: Catalog,
  references: readonly FeatureReference[],
  historyMs: number,
): ServicePlan {
  const names = [...new Set(references.map(({ view }) => view))]
  const views = names.map((name) => {
    const plan = planView(catalog, name, historyMs)
    const features = references.filter(({ view }) => view === name).map(({ feature }) => feature)
    for (const feature of features) {
      if (!plan.features.some(({ definition }) => definition.name === feature)) {
        throw new FeatureStoreError(
          'FS_FEATURE_UNKNOWN',
          `view ${name} has no feature ${feature}; it has ${plan.view.features.map((known) => known.name).join(', ')}`,
        )
      }
    }
    return { finisher: new ViewFinisher(plan, features), keyFields: plan.view.keyFields, keyTypes: plan.keyTypes }
  })
  return {
    name: '',
    entityFields: entityFieldsOf(catalog, names),
    requestFields: {},
    views,
    order: references.map((reference) => {
      const view = names.indexOf(reference.view)
      return {
        view,
        at: (views[view] as (typeof views)[number]).finisher.features.findIndex(
          ({ definition }) => definition.name === reference.feature,
        ),
      }
    }),
    derived: [],
    clock: 'system',
    streams: [...new Set(names.map((name) => streamOf(catalog, viewOf(catalog, name).from).name))],
  }
}
