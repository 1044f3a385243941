import { FeatureStoreError, notYet } from '../errors.ts'
import type { ScalarType } from '../event/types.ts'
import type { BoolExpr, Expr, ExprOf } from './expressions.ts'
import { fieldExpression } from './expressions.ts'
import { checkFields, checkName, plainFields } from './fields.ts'
import type { FeatureBuilder } from './functions.ts'
import { expressionsOf, type FieldExpressions, type FieldMap, type Stream } from './stream.ts'
import { checkOptions, strictScope } from './options.ts'
import type { ModelDefinition, ServiceDefinition } from './types.ts'
import type { Selection } from './view.ts'

/** Counts, sums and decimals read as float64 in expressions (exact up to 2^53); lists cannot be read. */
type Readable<T> =
  T extends FeatureBuilder<infer V>
    ? V extends 'int64' | 'decimal'
      ? ExprOf<'float64'>
      : V extends ScalarType
        ? ExprOf<V>
        : never
    : never

type ViewScope<S extends Selection> = {
  readonly [V in S as V['view']]: V extends Selection<string, infer F>
    ? { readonly [K in keyof F]: Readable<F[K]> }
    : never
}

/** What `derive` sees: the chosen features by view, and the request's fields. */
export type DeriveScope<S extends Selection, R extends FieldMap> = ViewScope<S> & {
  readonly request: FieldExpressions<R>
}

export interface ServiceOptions<S extends Selection, R extends FieldMap> {
  readonly features: readonly S[]
  /** Fields that the caller sends with a request. */
  readonly request?: R
  readonly derive?: (scope: DeriveScope<S, R>) => Readonly<Record<string, Expr<'float64'> | BoolExpr>>
  readonly clock?: 'system' | 'newestEvent'
  readonly description?: string
}

export interface Service<R extends FieldMap> extends ServiceDefinition {
  readonly request: R
}

/**
 * What one model or caller asks for at once.
 *
 * Errors: FS_DEFINITION_INVALID, FS_FEATURE_UNKNOWN.
 */
export function service<const S extends Selection, const R extends FieldMap = Record<never, never>>(
  name: string,
  options: ServiceOptions<S, R>,
): Service<R> {
  checkName('a service', name)
  checkOptions(`service ${name}`, options, ['features', 'request', 'derive', 'clock', 'description'])
  const invalid = (message: string) => new FeatureStoreError('FS_DEFINITION_INVALID', `service ${name}: ${message}`)
  const references = options.features.flatMap((selection) => selection.references)
  if (references.length === 0) throw invalid('it has no features')
  const request = (options.request ?? {}) as R
  if (Object.keys(request).length > 0) checkFields(`the request of service ${name}`, request)
  const clock = options.clock ?? 'system'
  if (clock !== 'system' && clock !== 'newestEvent')
    throw invalid(`clock is ${JSON.stringify(clock)}: 'system' or 'newestEvent'`)
  const scope = strictScope(`service ${name}`, 'view', {
    ...Object.fromEntries(
      [...new Set(references.map((reference) => reference.view))].map((view) => [
        view,
        strictScope(
          `service ${name}`,
          `feature of view ${view} called`,
          Object.fromEntries(
            // The type of a feature is checked when the project is compiled; here every feature has every method.
            references
              .filter((reference) => reference.view === view)
              .map(({ feature }) => [feature, fieldExpression(`${view}.${feature}`, { type: 'float64' })]),
          ),
        ),
      ]),
    ),
    request: strictScope(
      `service ${name}`,
      'request field',
      Object.fromEntries(
        Object.entries(request).map(([field, type]) => [field, fieldExpression(`request.${field}`, type)]),
      ),
    ),
  }) as unknown as DeriveScope<S, R>
  const derive = Object.entries(options.derive?.(scope) ?? {}).map(([derived, expression]) => {
    checkName(`a derived feature of service ${name}`, derived)
    return { name: derived, expression: expression.ast }
  })
  return {
    kind: 'service',
    name,
    features: references,
    request: plainFields(request) as R,
    derive,
    clock,
    ...(options.description === undefined ? {} : { description: options.description }),
  }
}

export interface ModelOptions<F extends FieldMap, R extends FieldMap> {
  readonly service: Service<R>
  readonly labels: {
    readonly from: Stream<F>
    readonly label: (fields: FieldExpressions<F>) => BoolExpr
    /** Stream field of each request field; default: the one of the same name. */
    readonly request?: { readonly [K in keyof R]?: keyof F & string }
    readonly sampleRows: number
  }
  /** Epoch milliseconds: label rows before it are fitted, the others evaluated. */
  readonly trainUntil: number
  readonly algorithm?: { readonly kind: 'logisticRegression'; readonly l2?: number }
}

/**
 * A model over a service, with labels drawn from the events of a stream.
 *
 * Errors: FS_DEFINITION_INVALID, FS_NOT_YET (algorithms but logisticRegression).
 */
export function model<const F extends FieldMap, const R extends FieldMap>(
  name: string,
  options: ModelOptions<F, R>,
): ModelDefinition {
  checkName('a model', name)
  checkOptions(`model ${name}`, options, ['service', 'labels', 'trainUntil', 'algorithm'])
  const { labels } = options
  checkOptions(`the labels of model ${name}`, labels, ['from', 'label', 'request', 'sampleRows'])
  const algorithm = options.algorithm ?? { kind: 'logisticRegression' }
  if (algorithm.kind !== 'logisticRegression')
    throw notYet(`model ${name}: algorithm ${JSON.stringify(algorithm.kind)}`)
  if (!Number.isSafeInteger(labels.sampleRows) || labels.sampleRows < 1) {
    throw new FeatureStoreError(
      'FS_DEFINITION_INVALID',
      `model ${name}: sampleRows is ${labels.sampleRows}: a positive integer`,
    )
  }
  const l2 = algorithm.l2 ?? 1
  if (!Number.isFinite(l2) || l2 < 0)
    throw new FeatureStoreError('FS_DEFINITION_INVALID', `model ${name}: l2 is ${l2}: a number from 0`)
  const request = Object.fromEntries(
    Object.keys(options.service.request).map((field) => {
      const source = labels.request?.[field] ?? field
      if (!Object.hasOwn(labels.from.fields, source)) {
        throw new FeatureStoreError(
          'FS_DEFINITION_INVALID',
          `model ${name}: stream ${labels.from.name} has no field ${source} for request field ${field}`,
        )
      }
      return [field, source]
    }),
  )
  return {
    kind: 'model',
    name,
    service: options.service.name,
    labels: {
      from: labels.from.name,
      label: labels.label(expressionsOf(`stream ${labels.from.name}`, labels.from.fields)).ast,
      request,
      sampleRows: labels.sampleRows,
    },
    trainUntilMs: options.trainUntil,
    algorithm: { kind: 'logisticRegression', l2 },
  }
}
