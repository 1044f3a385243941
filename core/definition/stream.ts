import { FeatureStoreError } from '../errors.ts'
import type { ScalarType } from '../event/types.ts'
import { typeOf } from '../expression/types.ts'
import { fieldExpression, type Expr, type ExprOf } from './expressions.ts'
import { checkFields, checkName, plainFields, type Field } from './fields.ts'
import { checkOptions, strictScope } from './options.ts'
import type { EntityDefinition, StreamDefinition } from './types.ts'

export type FieldMap = Readonly<Record<string, Field<ScalarType>>>
/** The fields of a stream as expressions, for the callbacks of definitions. */
export type FieldExpressions<F extends FieldMap> = { readonly [K in keyof F]: ExprOf<F[K]['type']> }

/** A stream definition that still knows its field types. */
export interface Stream<F extends FieldMap> extends StreamDefinition {
  readonly fields: F
}

export interface StreamOptions<F extends FieldMap> {
  readonly fields: F
  readonly eventTime: { [K in keyof F]: F[K]['type'] extends 'timestamp' ? K : never }[keyof F] & string
  /** Fields of the record key, whose hash chooses the partition. Default: none; events go to partition 0 then, unless they name another. */
  readonly key?: readonly (keyof F & string)[]
  /** Default 1. */
  readonly partitions?: number
  /** For `import`: when a row became known, as a timestamp. */
  readonly importKnownAt?: (fields: FieldExpressions<F>) => Expr<'timestamp' | 'float64'>
  readonly description?: string
}

const known = ['fields', 'eventTime', 'key', 'partitions', 'importKnownAt', 'description']
const later = ['id', 'op', 'changelog', 'primaryKey', 'knownAt', 'maxKnownAtJump', 'dedupeSpan']

export const expressionsOf = <F extends FieldMap>(owner: string, fields: F): FieldExpressions<F> =>
  strictScope(
    owner,
    'field',
    Object.fromEntries(
      Object.entries(fields).map(([name, { type }]) => [name, fieldExpression(name, type)]),
    ) as FieldExpressions<F>,
  )

/**
 * A stream of events.
 *
 * Errors: FS_DEFINITION_INVALID, FS_NOT_YET (id, op, changelog, primaryKey, knownAt, maxKnownAtJump, dedupeSpan).
 */
export function stream<const F extends FieldMap>(name: string, options: StreamOptions<F>): Stream<F> {
  checkName('a stream', name)
  checkOptions(`stream ${name}`, options, known, later)
  checkFields(`stream ${name}`, options.fields)
  const invalid = (message: string) => new FeatureStoreError('FS_DEFINITION_INVALID', `stream ${name}: ${message}`)
  const fields = plainFields(options.fields)
  const time = fields[options.eventTime]
  if (time?.type !== 'timestamp')
    throw invalid(`eventTime names ${JSON.stringify(options.eventTime)}, which is no timestamp field`)
  if (time.nullable === true) throw invalid(`eventTime names ${options.eventTime}, which is nullable`)
  const key = options.key ?? []
  for (const part of key) {
    const field = Object.hasOwn(fields, part) ? fields[part] : undefined
    if (field === undefined) throw invalid(`key names ${JSON.stringify(part)}, which is no field`)
    if (field.type === 'float64') throw invalid(`key names ${part}, a float64: keys are compared by their bytes`)
  }
  const partitions = options.partitions ?? 1
  if (!Number.isInteger(partitions) || partitions < 1 || partitions > 1024)
    throw invalid(`partitions is ${partitions}: an integer from 1 to 1,024`)
  const importKnownAt = options.importKnownAt?.(expressionsOf(`stream ${name}`, options.fields)).ast ?? null
  if (importKnownAt !== null && !['timestamp', 'float64'].includes(typeOf(importKnownAt, fields))) {
    throw invalid('importKnownAt is no time')
  }
  return {
    kind: 'stream',
    name,
    fields: fields as F,
    eventTime: options.eventTime,
    key,
    partitions,
    importKnownAt,
    ...(options.description === undefined ? {} : { description: options.description }),
  }
}

export interface Entity<K extends FieldMap> extends EntityDefinition {
  readonly key: K
}

/** Whom features describe. Key fields are strings, integers, timestamps or bools. */
export function entity<const K extends FieldMap>(
  name: string,
  options: { readonly key: K; readonly description?: string },
): Entity<K> {
  checkName('an entity', name)
  checkOptions(`entity ${name}`, options, ['key', 'description'])
  checkFields(`entity ${name}`, options.key)
  for (const [part, { type, nullable }] of Object.entries(options.key)) {
    if (type === 'float64')
      throw new FeatureStoreError('FS_DEFINITION_INVALID', `entity ${name}: key field ${part} is a float64`)
    if (nullable === true)
      throw new FeatureStoreError('FS_DEFINITION_INVALID', `entity ${name}: key field ${part} is nullable`)
  }
  const { description } = options
  return {
    kind: 'entity',
    name,
    key: plainFields(options.key) as K,
    ...(description === undefined ? {} : { description }),
  }
}
