import type { Catalog } from '../core/definition/catalog.ts'
import type { ServiceDefinition } from '../core/definition/types.ts'
import { type FeatureColumn } from '../core/engine/feature-column.ts'
import { featureColumnName } from '../core/engine/matrix.ts'
import { FeatureStoreError } from '../core/errors.ts'
import type { Position } from '../core/event/position.ts'
import { trainingSetLineage, type Metadata } from '../core/lineage/lineage.ts'
import { fileColumn, type NamedColumn } from '../schemas/arrow/columns.ts'
import { contentDigest } from '../schemas/arrow/digest.ts'
import { writeArrowFile } from '../schemas/arrow/write.ts'
import { csvChunks } from '../schemas/csv/write.ts'
import { labelName, type LabelSet } from './labels.ts'

export interface OutputOptions {
  readonly catalog: Catalog
  readonly service: ServiceDefinition
  readonly labels: LabelSet
  /** In the service's order, as a dataset has them. */
  readonly columns: readonly FeatureColumn[]
  readonly position: Position
}

export interface DatasetOutput {
  /** The label rows' own columns, then the features with their lineage. */
  readonly columns: readonly NamedColumn[]
  readonly metadata: Metadata
  /** Hex SHA-256 of the content: names, types and values. */
  readonly digest: string
}

/**
 * The columns of a training set with the lineage that explains them.
 *
 * Columns: entity keys, `as_of`, `known_as_of` if it was given, request fields, the columns handed on, `label` of rows
 *          drawn from a stream, then features as `view__feature` and derived features. A feature is null where its status
 *          carries no value, but for counts of an entity never seen, which are 0.
 * Errors:  FS_LABELS_INVALID when two columns have one name.
 */
export function describeDataset(options: OutputOptions): DatasetOutput {
  const { catalog, service, labels, position } = options
  const named = [
    ...labelColumns(labels),
    ...options.columns.map((column) => ({ name: featureColumnName(column.name), column: fileColumn(column) })),
  ]
  const names = named.map(({ name }) => name)
  const twice = names.find((name, index) => names.indexOf(name) !== index)
  if (twice !== undefined)
    throw new FeatureStoreError('FS_LABELS_INVALID', `column ${twice} would be twice in the training set: rename it`)
  const digest = contentDigest(named)
  const lineage = trainingSetLineage({ catalog, service, position, rows: labels.rows, contentDigest: digest })
  const columns = named.map(({ name, column, ...rest }, index) => {
    const isFeature = index >= named.length - options.columns.length
    const metadata = isFeature ? lineage.columns[name] : 'metadata' in rest ? rest.metadata : undefined
    return metadata === undefined ? { name, column } : { name, column, metadata }
  })
  return { columns, metadata: lineage.schema, digest }
}

/** The training set as an Arrow file. Same content, same bytes. */
export function writeDataset(options: OutputOptions): { readonly arrow: Uint8Array; readonly digest: string } {
  const { columns, metadata, digest } = describeDataset(options)
  return { arrow: writeArrowFile(columns, metadata), digest }
}

/** The training set as pieces of CSV, which has no room for lineage. */
export const writeDatasetCsv = (options: OutputOptions): Generator<string> =>
  csvChunks(describeDataset(options).columns)

function labelColumns(labels: LabelSet): NamedColumn[] {
  const plain = (columns: LabelSet['entities']): NamedColumn[] =>
    Object.entries(columns).map(([name, column]) => ({ name, column }))
  const time = (name: string, values: Float64Array): NamedColumn => ({
    name,
    column: { type: 'timestamp', values, nulls: null },
  })
  return [
    ...plain(labels.entities),
    time('as_of', labels.asOfMs),
    ...(labels.knownAsOfGiven ? [time('known_as_of', labels.knownAsOfMs)] : []),
    ...plain(labels.request),
    ...labels.passthrough,
    ...(labels.label === null
      ? []
      : [{ name: labelName, column: { type: 'bool', values: labels.label, nulls: null } as const }]),
  ]
}
