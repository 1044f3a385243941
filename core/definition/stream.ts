import { FeatureStoreError } from '../errors.ts'
import type { FieldType, ScalarType } from '../event/types.ts'
import { typeOf } from '../expression/types.ts'
import { fieldExpression, type Expr, type ExprOf } from './expressions.ts'
import { checkFields, checkName, plainFields, type Field } from './fields.ts'
import { checkOptions, strictScope } from './options.ts'
import { dayMs } from '../time/time.ts'
import type { EntityDefinition, StreamDefinition } from './types.ts'

export type FieldMap = Readonly<Record<string, Field<ScalarType>>>
/** The fields of a stream as expressions, for the callbacks of definitions. */
export type FieldExpressions<F extends FieldMap> = { readonly [K in keyof F]: ExprOf<F[K]['type']> }

/** A stream definition that still knows its field types. */
export interface Stream<F extends FieldMap> extends StreamDefinition {
  readonly fields: F
}

/** Names of the fields that have one of the types. */
type NamesOf<F extends FieldMap, T extends ScalarType> = {
  [K in keyof F]: F[K]['type'] extends T ? K : never
}[keyof F] &
  string

export interface StreamOptions<F extends FieldMap> {
  readonly fields: F
  readonly eventTime: NamesOf<F, 'timestamp'>
  /**
   * The field that names an event, not nullable: records with the same id, entity key and event time are the same event.
   * The stream takes `insert` and `retract` then: a second insert within `dedupeSpan` is a duplicate and does not count, a
   * retract takes its event back from its own knownAt on, also when it comes first. Default: events have no identity and
   * cannot be taken back.
   */
  readonly id?: NamesOf<F, 'string' | 'int32' | 'int64'>
  /** Only with `id`: an insert known at most this long after the first one is its duplicate, milliseconds. Default: 7 days. */
  readonly dedupeSpan?: number
  /**
   * The stream is a changelog of rows, by `primaryKey`. It takes `upsert` (the default; `insert` is read as one) and
   * `delete`: a version of a row counts until the next record of its primary key is known. A delete needs no more than the
   * primary key and the event time.
   */
  readonly changelog?: true
  /** Only with `changelog`: fields that name a row, not nullable. */
  readonly primaryKey?: readonly NamesOf<F, 'string' | 'int32' | 'int64' | 'timestamp' | 'bool'>[]
  /**
   * Only with `id` or `changelog`: the string field, not nullable, that holds a record's operation. Default: the field `_op`
   * of the writer's schema where that has one; records without are inserts, or upserts of a changelog.
   */
  readonly op?: NamesOf<F, 'string'>
  /**
   * Fields of the record key, whose hash chooses the partition. Default: the primary key of a changelog, else none; events
   * go to partition 0 then, unless they name another.
   */
  readonly key?: readonly (keyof F & string)[]
  /** Default 1. */
  readonly partitions?: number
  /**
   * Whose time says when an event became known, where a log can keep either. Default, `logAppendTime`: the log's, as it
   * appends. `createTime`: the producer's, as the record bears it, raised to the newest of its partition; for history that
   * is written again, and producers whose clocks are trusted. On a log of another kind, the worker refuses to start.
   */
  readonly knownAt?: 'logAppendTime' | 'createTime'
  /**
   * A record that became known more than this after all before it in its partition is a dead letter, and those after it
   * are not raised to it, milliseconds: for clocks that are wrong by years. Longer than any silence of a partition, since
   * the first record after a longer one is dead too, and all that follow. Default: without bound.
   */
  readonly maxKnownAtJump?: number
  /** For `import`: when a row became known, as a timestamp. */
  readonly importKnownAt?: (fields: FieldExpressions<F>) => Expr<'timestamp' | 'float64'>
  readonly description?: string
}

const known = [
  'fields',
  'eventTime',
  'id',
  'dedupeSpan',
  'changelog',
  'primaryKey',
  'op',
  'key',
  'partitions',
  'knownAt',
  'maxKnownAtJump',
  'importKnownAt',
  'description',
]

export const expressionsOf = <F extends FieldMap>(owner: string, fields: F): FieldExpressions<F> =>
  strictScope(
    owner,
    'field',
    Object.fromEntries(
      Object.entries(fields).map(([name, field]) => [name, fieldExpression(name, field)]),
    ) as FieldExpressions<F>,
  )

/**
 * A stream of events. With `id`, or as a `changelog`, records can take back others: core/asof/corrections.ts says what
 * counts when.
 *
 *     stream('payments', { fields: { id: string(), at: timestamp(), card: string(), amount: float64() },
 *       eventTime: 'at', id: 'id' })
 *     stream('accounts', { fields: { account: int64(), at: timestamp(), owner: string(), limit: float64() },
 *       eventTime: 'at', changelog: true, primaryKey: ['account'] })
 *
 * Errors: FS_DEFINITION_INVALID.
 */
export function stream<const F extends FieldMap>(name: string, options: StreamOptions<F>): Stream<F> {
  checkName('a stream', name)
  checkOptions(`stream ${name}`, options, known)
  checkFields(`stream ${name}`, options.fields)
  const invalid = (message: string) => new FeatureStoreError('FS_DEFINITION_INVALID', `stream ${name}: ${message}`)
  const fields = plainFields(options.fields)
  const time = fields[options.eventTime]
  if (time?.type !== 'timestamp')
    throw invalid(`eventTime names ${JSON.stringify(options.eventTime)}, which is no timestamp field`)
  if (time.nullable === true) throw invalid(`eventTime names ${options.eventTime}, which is nullable`)
  const corrections = correctionsOf(options, fields, invalid)
  const key = options.key ?? corrections.primaryKey ?? []
  for (const part of key) {
    const field = Object.hasOwn(fields, part) ? fields[part] : undefined
    if (field === undefined) throw invalid(`key names ${JSON.stringify(part)}, which is no field`)
    if (field.type === 'float64' || field.type === 'decimal')
      throw invalid(`key names ${part}, a ${field.type}: keys are compared by their bytes`)
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
    ...corrections,
    ...knownAtOf(options, invalid),
    ...(options.description === undefined ? {} : { description: options.description }),
  }
}

/** The declared ones only, as below. */
function knownAtOf(
  { knownAt, maxKnownAtJump }: Pick<StreamOptions<FieldMap>, 'knownAt' | 'maxKnownAtJump'>,
  invalid: (message: string) => FeatureStoreError,
): Pick<StreamDefinition, 'knownAt' | 'maxKnownAtJumpMs'> {
  if (knownAt !== undefined && knownAt !== 'createTime' && knownAt !== 'logAppendTime')
    throw invalid(`knownAt is ${JSON.stringify(knownAt)}: 'logAppendTime' (the default) or 'createTime'`)
  if (maxKnownAtJump !== undefined && (!Number.isSafeInteger(maxKnownAtJump) || maxKnownAtJump < 1))
    throw invalid(`maxKnownAtJump is ${String(maxKnownAtJump)}: a number of milliseconds, 1 or more`)
  return {
    ...(knownAt === 'createTime' ? { knownAt } : {}),
    ...(maxKnownAtJump === undefined ? {} : { maxKnownAtJumpMs: maxKnownAtJump }),
  }
}

/** The declared ones only: a definition without them is what it was before there were any. */
function correctionsOf<F extends FieldMap>(
  { id, dedupeSpan, changelog, primaryKey, op }: StreamOptions<F>,
  fields: Readonly<Record<string, FieldType>>,
  invalid: (message: string) => FeatureStoreError,
): Pick<StreamDefinition, 'id' | 'dedupeSpanMs' | 'op' | 'primaryKey'> {
  const check = (option: string, name: unknown, types: readonly ScalarType[]): void => {
    const field = typeof name === 'string' && Object.hasOwn(fields, name) ? fields[name] : undefined
    if (field === undefined) throw invalid(`${option} names ${JSON.stringify(name)}, which is no field`)
    if (!types.includes(field.type))
      throw invalid(`${option} names ${String(name)}, a ${field.type}: it takes ${types.join(', ')}`)
    if (field.nullable === true) throw invalid(`${option} names ${String(name)}, which is nullable`)
  }
  if (changelog !== undefined && changelog !== true) throw invalid('changelog is true, or left out')
  if (changelog === true && primaryKey === undefined) throw invalid('a changelog needs a primaryKey: what names a row')
  if (primaryKey !== undefined && changelog === undefined) throw invalid('primaryKey is only for changelog: true')
  if (id !== undefined && changelog === true)
    throw invalid('id and changelog exclude each other: a row of a changelog is named by its primaryKey')
  if (dedupeSpan !== undefined && id === undefined) throw invalid('dedupeSpan is only for a stream with an id')
  if (dedupeSpan !== undefined && (!Number.isSafeInteger(dedupeSpan) || dedupeSpan < 0))
    throw invalid(`dedupeSpan is ${String(dedupeSpan)}: a number of milliseconds, 0 or more`)
  if (op !== undefined && id === undefined && changelog === undefined)
    throw invalid('op is only for a stream with an id or a changelog: others take inserts alone')
  if (id !== undefined) check('id', id, ['string', 'int32', 'int64'])
  if (op !== undefined) check('op', op, ['string'])
  if (primaryKey !== undefined) {
    if (!Array.isArray(primaryKey) || primaryKey.length === 0) throw invalid('primaryKey names no field')
    for (const part of primaryKey) check('primaryKey', part, ['string', 'int32', 'int64', 'timestamp', 'bool'])
    if (new Set<string>(primaryKey).size < primaryKey.length) throw invalid('primaryKey names a field twice')
  }
  if (op !== undefined && [id, ...(primaryKey ?? [])].includes(op as never))
    throw invalid(`op names ${op}, which also says which record it is`)
  return {
    ...(id === undefined ? {} : { id, dedupeSpanMs: dedupeSpan ?? 7 * dayMs }),
    ...(op === undefined ? {} : { op }),
    ...(primaryKey === undefined ? {} : { primaryKey: [...primaryKey] }),
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
    if (type === 'float64' || type === 'decimal')
      throw new FeatureStoreError('FS_DEFINITION_INVALID', `entity ${name}: key field ${part} is a ${type}`)
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
